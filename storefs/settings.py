"""The keys of nix.conf: their types, defaults and older names. A table and a parser, no I/O.

Names, meanings and defaults are those of Nix 2.8 (its manual, chapter "nix.conf"); the keys of our own are marked.
"""

from __future__ import annotations

from storefs.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    Value = bool | int | str | tuple[str, ...]

_OFFICIAL_CACHE = "https://cache.nixos.org/"
_OFFICIAL_KEY = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
_NO_LIMIT = 2**64 - 1
_MOST_AT_ONCE = 2**32 - 1
#: What `builtins.nixVersion` says. The language has what this release has; Nixpkgs of 2026 asks for 2.18 at least.
LANGUAGE_RELEASE = "2.31.2"

# Defaults that depend on the machine or on the directories are filled in by `storefs.config` (marked None).
DEFAULTS: dict[str, Value | None] = {
    "abort-on-warn": False,
    "access-tokens": (),
    "allow-dirty": True,
    "allow-import-from-derivation": True,
    "allow-new-privileges": False,
    "allow-symlinked-store": False,
    "allow-unsafe-native-code-during-evaluation": False,
    "allowed-uris": (),
    "allowed-users": ("*",),
    "auto-mount": True,  # ours: show the store, in the background, where a command prints a path that is not there
    "auto-optimise-store": False,
    "build-cache-failure": False,  # Nix 1.x
    "build-hook": "",
    "build-poll-interval": 5,
    "build-users-group": None,
    "builders": None,
    "builders-use-substitutes": False,
    "compress-build-log": True,
    "connect-timeout": 0,
    "cores": None,
    "diff-hook": "",
    "download-attempts": 5,
    "enforce-determinism": True,
    "eval-cache": True,
    "experimental-features": (),
    "extra-platforms": None,
    "fallback": False,
    "filter-syscalls": True,
    "flake-registry": "",
    "fsync-metadata": True,
    "fsync-store-paths": True,  # Nix: since 2.25, and false; here what is visible is durable unless somebody says no
    "gc-reserved-space": 8388608,
    "hashed-mirrors": (),
    "http-connections": 150,  # Nix: 25; row B2 says why more
    "http2": True,
    "ignored-acls": ("security.selinux", "system.nfs4_acl"),
    "impersonate-linux-26": False,
    "keep-build-log": True,
    "keep-derivations": True,
    "keep-env-derivations": False,
    "keep-failed": False,
    "keep-going": False,
    "keep-outputs": False,
    "lint-absolute-path-literals": "ignore",
    "lint-short-path-literals": "ignore",
    "lint-url-literals": "ignore",
    "log-lines": 10,
    "max-build-log-size": 0,
    "max-free": _NO_LIMIT,
    "max-jobs": 1,
    "max-silent-time": 0,
    "min-free": 0,
    "min-free-check-interval": 5,
    "nar-buffer-size": 33554432,
    "narinfo-cache-negative-ttl": 3600,
    "narinfo-cache-positive-ttl": 2592000,
    "netrc-file": None,
    "nix-path": (),
    "nix-version": LANGUAGE_RELEASE,  # ours: what `builtins.nixVersion` says
    "parse-cache": True,  # ours
    "plugin-files": (),
    "post-build-hook": "",
    "pre-build-hook": "",
    "preallocate-contents": False,
    "print-build-trace": False,  # Nix 1.x
    "print-missing": True,
    "pure-eval": False,
    "repeat": 0,
    "require-sigs": True,
    "restrict-eval": False,
    "run-diff-hook": False,
    "sandbox": "true",
    "sandbox-build-dir": "/build",
    "sandbox-dev-shm-size": "50%",
    "sandbox-fallback": True,
    "sandbox-paths": (),
    "secret-key-files": (),
    "show-trace": False,
    "stalled-download-timeout": 300,
    "store": "auto",
    "substitute": True,
    "substituters": (_OFFICIAL_CACHE,),
    "sync-before-registering": False,
    "system": None,
    "system-features": None,
    "tarball-ttl": 3600,
    "timeout": 0,
    "trace-function-calls": False,
    "trace-verbose": False,
    "transport": "auto",  # ours: how the store is mounted, auto, kernel or pyfuse3
    "trusted-public-keys": (_OFFICIAL_KEY,),
    "trusted-substituters": (),
    "trusted-users": ("root",),
    "use-case-hack": False,
    "use-cgroups": False,
    "use-xdg-base-directories": False,
    "user-agent-suffix": "",
    "verbosity": 3,  # ours, and of Nix 1: what -v and --quiet start from
    "warn-dirty": True,
}

# The types of the settings whose default is not fixed.
_LATE_TYPES: dict[str, type] = {
    "build-users-group": str,
    "builders": str,
    "cores": int,
    "extra-platforms": tuple,
    "netrc-file": str,
    "system": str,
    "system-features": tuple,
}

ALIASES = {
    "binary-cache-public-keys": "trusted-public-keys",
    "binary-caches": "substituters",
    "binary-caches-parallel-connections": "http-connections",
    "build-chroot-dirs": "sandbox-paths",
    "build-compress-log": "compress-build-log",
    "build-cores": "cores",
    "build-fallback": "fallback",
    "build-impersonate-linux-26": "impersonate-linux-26",
    "build-keep-log": "keep-build-log",
    "build-max-jobs": "max-jobs",
    "build-max-log-size": "max-build-log-size",
    "build-max-silent-time": "max-silent-time",
    "build-repeat": "repeat",
    "build-sandbox-paths": "sandbox-paths",
    "build-timeout": "timeout",
    "build-use-chroot": "sandbox",
    "build-use-sandbox": "sandbox",
    "build-use-substitutes": "substitute",
    "env-keep-derivations": "keep-env-derivations",
    "gc-keep-derivations": "keep-derivations",
    "gc-keep-outputs": "keep-outputs",
    "trusted-binary-caches": "trusted-substituters",
}

_SUFFIXES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class BadSettingError(UsageError):
    """A setting has a value that its type does not allow."""

    def __init__(self, name: str, value: str, wanted: str) -> None:
        super().__init__(f"setting '{name}' has invalid value '{value}': {wanted} is wanted")
        self.name = name
        self.value = value


def canonical_name(name: str) -> str | None:
    """Return the current name of a setting, None for one that nobody knows."""
    name = ALIASES.get(name, name)
    return name if name in DEFAULTS else None


def kind_of(name: str) -> type:
    """Return the type of a known setting: bool, int, str or tuple."""
    return _LATE_TYPES.get(name) or type(DEFAULTS[name])


def parse_value(name: str, text: str) -> Value:
    """Return the typed value of the known setting `name`.

    Raises:
        BadSettingError: `text` does not fit the type.
    """
    kind = kind_of(name)
    if kind is bool:
        if text in {"true", "yes", "1"}:
            return True
        if text in {"false", "no", "0"}:
            return False
        raise BadSettingError(name, text, "true or false")
    if kind is int:
        if text == "auto" and name in {"max-jobs", "cores"}:
            return 0 if name == "cores" else -1
        return parse_size(name, text)
    if kind is tuple:
        return tuple(text.split())
    if name == "sandbox":
        return _parse_sandbox(text)
    return text


def parse_size(name: str, text: str) -> int:
    """Return a whole number that may end in K, M, G or T, which multiply by powers of 1024.

    Raises:
        BadSettingError: `text` is none; the text names `name`.
    """
    factor = _SUFFIXES.get(text[-1:].upper(), 1)
    digits = text if factor == 1 else text[:-1]
    if not digits.isascii() or not digits.isdigit():
        raise BadSettingError(name, text, "a whole number")
    number = int(digits) * factor
    if number > (_MOST_AT_ONCE if name in {"cores", "max-jobs"} else _NO_LIMIT):
        raise BadSettingError(name, text, "a smaller number")
    return number


def _parse_sandbox(text: str) -> str:
    if text in {"true", "yes", "1"}:
        return "true"
    if text in {"false", "no", "0"}:
        return "false"
    if text == "relaxed":
        return text
    raise BadSettingError("sandbox", text, "true, false or relaxed")


def parse_lines(text: str, origin: str) -> list[tuple[str, str]]:
    """Split configuration text into (name, value) pairs; `include FILE` and `!include FILE` come out as pairs too.

    Raises:
        UsageError: a line is neither `name = value` nor an include; the text names `origin`.
    """
    pairs = []
    for number, raw in enumerate(text.splitlines(), 1):
        words = raw.partition("#")[0].split()
        if not words:
            continue
        if words[0] in {"include", "!include"} and len(words) == 2:
            pairs.append((words[0], words[1]))
        elif len(words) >= 2 and words[1] == "=":
            pairs.append((words[0], " ".join(words[2:])))
        else:
            raise UsageError(f"illegal configuration line '{raw.strip()}' in '{origin}', line {number}")
    return pairs
