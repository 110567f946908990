"""Where everything is and how it is set: directories from the environment, settings from nix.conf.

The only module that reads the environment. A `Config` is passed on, never looked up; `load_config` is called by
`storefs.cli` and by tests. The rules are those of Nix 2.8 (its manual, "Common Environment Variables" and "nix.conf").
"""

from __future__ import annotations

import os

from storefs.errors import UsageError
from storefs.logs import warn
from storefs.settings import DEFAULTS, canonical_name, kind_of, parse_lines, parse_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from storefs.settings import Value

DEFAULT_STORE_DIR = "/nix/store"
DEFAULT_STATE_DIR = "/nix/var/nix"
DEFAULT_LOG_DIR = "/nix/var/log/nix"
DEFAULT_CONF_DIR = "/etc/nix"


class Config:
    """One run's directories and settings. Made by `load_config`; treated as immutable.

    Attributes:
        store_dir: the logical store directory, the one inside store paths (`/nix/store`).
        root: '' or the directory of a chroot store, below which the physical directories lie.
        physical_store_dir: where the store directory lies on this machine: below `root` for a chroot store.
        state_dir, log_dir, conf_dir: physical directories.
        store_uri: what `--store` or NIX_REMOTE asked for: 'auto', 'local', 'daemon', 'unix://...', a URI.
    """

    __slots__ = (
        "_environ",
        "_overrides",
        "_own",
        "conf_dir",
        "log_dir",
        "physical_store_dir",
        "root",
        "state_dir",
        "store_dir",
        "store_uri",
        "values",
    )

    def __init__(self, environ: Mapping[str, str], values: dict[str, Value], store_uri: str) -> None:
        self._environ = environ
        self.values = values
        self._overrides: dict[str, str] = {}
        self._own: set[str] = set()
        self.store_dir = _directory(environ, ("NIX_STORE_DIR", "NIX_STORE"), DEFAULT_STORE_DIR)
        self.conf_dir = _directory(environ, ("NIX_CONF_DIR",), DEFAULT_CONF_DIR)
        self.root, self.store_uri, parameters = _split_store_uri(store_uri)
        self.store_dir = parameters.get("store") or self.store_dir
        # Below a root it is here whatever the logical directory: Nix 2.8 has it so.
        self.physical_store_dir = parameters.get("real") or (
            self.root + DEFAULT_STORE_DIR if self.root else self.store_dir
        )
        if self.root or "state" in parameters:
            self.state_dir = parameters.get("state") or self.root + DEFAULT_STATE_DIR
            self.log_dir = parameters.get("log") or self.root + DEFAULT_LOG_DIR
        else:
            self.state_dir = _directory(environ, ("NIX_STATE_DIR",), "") or _default_state_dir(environ, self.store_uri)
            log = DEFAULT_LOG_DIR if self.state_dir == DEFAULT_STATE_DIR else self.state_dir + "/log"
            self.log_dir = _directory(environ, ("NIX_LOG_DIR",), log)

    @property
    def verglas_dir(self) -> str:
        """The directory of our own state: the LMDB environment, the blobs, the reserve, the mounts' sockets."""
        return self.state_dir + "/verglas"

    def variable(self, name: str, default: str = "") -> str:
        """Return an environment variable of this run; an unset one gives `default`."""
        return self._environ.get(name, default)

    def environment(self) -> dict[str, str]:
        """Return a copy of the whole environment, for a program that is started on the user's behalf."""
        return dict(self._environ)

    @property
    def home(self) -> str:
        """The user's home directory."""
        return self._environ.get("HOME") or os.path.expanduser("~")

    def xdg(self, kind: str) -> str:
        """Return the user's XDG base directory for 'config', 'data', 'state' or 'cache'."""
        fallback = {"config": ".config", "data": ".local/share", "state": ".local/state", "cache": ".cache"}[kind]
        return self._environ.get(f"XDG_{kind.upper()}_HOME") or f"{self.home}/{fallback}"

    @property
    def max_jobs(self) -> int:
        """How many builds may run at once: the setting, or for 'auto' one on each processor."""
        jobs = self.integer("max-jobs")
        return len(os.sched_getaffinity(0)) if jobs < 0 else jobs

    def boolean(self, name: str) -> bool:
        """Return a setting that is true or false."""
        value = self.setting(name)
        assert isinstance(value, bool), name
        return value

    def integer(self, name: str) -> int:
        """Return a setting that is a number: of bytes, seconds or things, see nix.conf(5)."""
        value = self.setting(name)
        assert isinstance(value, int), name
        return value

    def text(self, name: str) -> str:
        """Return a setting that is a string."""
        value = self.setting(name)
        assert isinstance(value, str), name
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """Return a setting that is a list."""
        value = self.setting(name)
        assert isinstance(value, tuple), name
        return value

    def setting(self, name: str) -> Value:
        """Return the typed value of a setting; a name that is not in the table is a bug (KeyError)."""
        value = self.values.get(name)
        if value is None:
            value = DEFAULTS[name]
            if value is None:
                value = self._late_default(name)
            self.values[name] = value
        return value

    def overrides(self) -> dict[str, str]:
        """Return what the command line set, as text."""
        return dict(self._overrides)

    def own_settings(self) -> dict[str, Value]:
        """Return what the user set, in files of his own, in NIX_CONFIG or on the command line: not the machine's."""
        return {name: self.values[name] for name in self._own}

    def with_settings(self, pairs: Iterable[tuple[str, str]]) -> Config:
        """Return a copy in which the (name, value) pairs hold as if given with `--option`."""
        other = Config.__new__(Config)
        for slot in Config.__slots__:
            setattr(other, slot, getattr(self, slot))
        other.values = dict(self.values)
        other._overrides = dict(self._overrides)
        other._own = set(self._own)
        for name, value in pairs:
            other._set(name, value, "the command line")
            other._overrides[name] = value
        return other

    def with_client_settings(self, pairs: Iterable[tuple[str, str]]) -> Config:
        """Return a copy with the settings of a client, who may be another release: what we do not know is left out."""
        return self.with_settings(
            (name, value) for name, value in pairs if canonical_name(name.removeprefix("extra-")) is not None
        )

    def _set(self, name: str, text: str, origin: str) -> None:
        known = canonical_name(name)
        if known is None and name.startswith("extra-"):
            base = canonical_name(name.removeprefix("extra-"))
            if base is not None and kind_of(base) is tuple:
                self.values[base] = self.words(base) + tuple(text.split())
                self._own.add(base)
                return
        if known is None:
            warn(f"unknown setting '{name}' in {origin}")
            return
        self.values[known] = parse_value(known, text)
        self._own.add(known)

    def _late_default(self, name: str) -> Value:
        if name == "build-users-group":
            return "nixbld" if os.geteuid() == 0 else ""
        if name == "builders":
            return f"@{self.conf_dir}/machines"
        if name == "cores":
            return len(os.sched_getaffinity(0))
        if name == "netrc-file":
            return f"{self.conf_dir}/netrc"
        if name == "system":
            return current_system()
        if name == "extra-platforms":
            return ("i686-linux", *_x86_levels()) if current_system() == "x86_64-linux" else ()
        if name == "system-features":
            kvm = ("kvm",) if os.access("/dev/kvm", os.R_OK | os.W_OK) else ()
            return ("benchmark", "big-parallel", *kvm, "nixos-test")
        raise KeyError(name)


def current_system() -> str:
    """Return the machine in Nix's spelling, as in 'x86_64-linux'."""
    machine = os.uname().machine
    return {"i386": "i686", "i586": "i686", "arm64": "aarch64"}.get(machine, machine) + "-linux"


# The x86-64 psABI's micro-architecture levels: what each adds, in the words of /proc/cpuinfo.
_X86_LEVELS = (
    (),
    ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"),
    ("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"),
    ("avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"),
)


def _x86_levels() -> tuple[str, ...]:
    """Return the systems `x86_64-v1-linux` ... that this machine is, as libcpuid tells Nix."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line.split() for line in file if line.startswith("flags")), [])
    except OSError:
        flags = []
    levels = 0
    while levels < len(_X86_LEVELS) and all(flag in flags for flag in _X86_LEVELS[levels]):
        levels += 1
    return tuple(f"x86_64-v{level}-linux" for level in range(1, levels + 1))


def load_config(
    environ: Mapping[str, str] | None = None, options: Iterable[tuple[str, str]] = (), store_uri: str | None = None
) -> Config:
    """Read the environment and the configuration files.

    Args:
        environ: the environment; this process's own if None.
        options: (name, value) pairs of the command line, which win over every file.
        store_uri: the argument of `--store`; None leaves it to NIX_REMOTE and the setting `store`.

    Raises:
        UsageError: a file or a value can't be understood.
    """
    environ = dict(os.environ) if environ is None else environ
    options = list(options)
    config = Config(environ, {}, store_uri or environ.get("NIX_REMOTE") or dict(options).get("store") or "auto")
    _read_file(config, f"{config.conf_dir}/nix.conf", required=False)
    config._own.clear()
    for path in user_files(config):
        _read_file(config, path, required=False)
    for name, value in parse_lines(environ.get("NIX_CONFIG", ""), "NIX_CONFIG"):
        config._set(name, value, "NIX_CONFIG")
    parameters = _settings_of(store_uri or environ.get("NIX_REMOTE") or "")
    return config.with_settings([*options, *parameters]) if options or parameters else config


def _settings_of(store_uri: str) -> list[tuple[str, str]]:
    """Return the settings among the parameters of a store that is opened here, as in `/dir?system-features=kvm`."""
    base, _, query = store_uri.partition("?")
    if not query or not _is_local(base):
        return []
    from urllib.parse import unquote  # noqa: PLC0415  3 ms, for few

    pairs = [part.partition("=") for part in query.split("&")]
    return [(name, unquote(value)) for name, _, value in pairs if canonical_name(name) not in {None, "store"}]


def user_files(config: Config) -> list[str]:
    """Return the user's configuration files, those that win last, whether they exist or not."""
    listed = config.variable("NIX_USER_CONF_FILES")
    if listed:
        return list(reversed(listed.split(":")))
    folders = [config.xdg("config"), *config.variable("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    return [f"{folder}/nix/nix.conf" for folder in reversed(folders)]


def _read_file(config: Config, path: str, *, required: bool, depth: int = 0) -> None:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        if required:
            raise UsageError(f"file '{path}' included by the configuration can't be read: {error.strerror}") from error
        return
    if depth > 16:
        raise UsageError(f"configuration file '{path}' includes itself")
    for name, value in parse_lines(text, path):
        if name in {"include", "!include"}:
            included = os.path.join(os.path.dirname(path), value)
            _read_file(config, included, required=name == "include", depth=depth + 1)
        else:
            config._set(name, value, f"'{path}'")


def _directory(environ: Mapping[str, str], names: tuple[str, ...], default: str) -> str:
    for name in names:
        value = environ.get(name)
        if value:
            return _absolute(value, name)
    return default


def _absolute(path: str, source: str) -> str:
    """The canonical form of a directory that a variable or a parameter names: never one of where somebody stands."""
    if not path.startswith("/"):
        raise UsageError(f"not an absolute path: '{path}' ({source})")
    return os.path.abspath(path)


def _default_state_dir(environ: Mapping[str, str], store_uri: str) -> str:
    """The system's state directory, or the user's own where that one is not writable and has no daemon."""
    ours = DEFAULT_STATE_DIR + "/verglas"
    if os.geteuid() == 0 or store_uri not in {"auto", "local"} or os.access(ours, os.W_OK):
        return DEFAULT_STATE_DIR
    if store_uri == "auto" and os.path.exists(DEFAULT_STATE_DIR + "/daemon-socket/socket"):
        return DEFAULT_STATE_DIR
    home = environ.get("HOME") or os.path.expanduser("~")
    return os.path.abspath(environ.get("XDG_STATE_HOME") or f"{home}/.local/state") + "/verglas"


def _split_store_uri(store_uri: str) -> tuple[str, str, dict[str, str]]:
    """Split a store URI into a chroot store's root directory, the URI that remains, and the directories it names.

    The root is '' if it is no chroot store; the directories are those of `store=`, `real=`, `state=` and `log=`, for
    stores that are opened here. A word with a slash and without a scheme is a directory, as Nix has it.
    """
    base, _, query = store_uri.partition("?")
    if not _is_local(base):
        return "", store_uri, {}
    directories = {}
    if query:
        from urllib.parse import unquote  # noqa: PLC0415  3 ms, for few

        for part in query.split("&"):
            key, _, value = part.partition("=")
            if key in {"root", "store", "real", "state", "log"} and value:
                directories[key] = _absolute(unquote(value), f"'{key}=' of the store")
    root = directories.pop("root", "") if base.startswith("local") else os.path.abspath(base)
    return root, "local" if root or directories else store_uri, directories


def _is_local(base: str) -> bool:
    """Whether a store URI, without its parameters, means a store that is opened in this process."""
    first, slash, _ = base.partition("/")
    return base == "local" or base.startswith("local://") or (bool(slash) and ":" not in first)
