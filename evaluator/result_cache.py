"""The result cache: what a command printed the last time, and everything that this depended on.

An entry is found by what was asked: the command line, the working directory, the settings, the search path, the program
itself. It holds the output and every observation that the evaluation made (`recording_io.py`): files read, directories
listed, links followed, what did not exist, environment variables, store paths that must be valid. It is used if every
observation would be the same now. No flakes, no lock files: any expression will do.

Files are compared by inode, size, mtime and ctime; where these differ, or are so young that a change could have kept
them, by a hash of the content. An entry begins with a hash of itself, so damage means a miss. Nothing here raises: a
cache that can't be read or written is none. It imports nothing of the evaluator, because a hit must be fast.
"""

from __future__ import annotations

import marshal
import os
import stat
import time
from _blake2 import blake2b

from evaluator.nix_path import nix_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.config import Config
    from storefs.options import Invocation

    #: what was looked at: (kind, path or name, answer, signature)
    Observation = tuple[str, str, object, tuple[int, ...] | None]

FORMAT = 2
#: An evaluation that took less CPU time than this many seconds is not worth an entry.
WORTH_IT = 0.04
# A file changed within this time before it was read may change again without its times changing.
_RACY_NS = 2_000_000_000
_HASH_SIZE = 20
_MOST_FILES = 2_000
_HERE = os.path.dirname(os.path.abspath(__file__))

TYPES = {stat.S_IFREG: "regular", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


def digest(data: bytes) -> bytes:
    """Return a short hash."""
    return blake2b(data, digest_size=_HASH_SIZE).digest()


def signature(path: str) -> tuple[int, ...] | None:
    """Return what tells whether a file or directory changed, links followed; None if it can't be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def is_regular(found: tuple[int, ...]) -> bool:
    """Whether a signature is that of a regular file."""
    return stat.S_ISREG(found[4])


def listing_digest(entries: dict[str, str]) -> bytes:
    """Return a hash of the names and types in a directory."""
    return digest("\0".join(f"{name}\0{entries[name]}" for name in sorted(entries)).encode("utf-8", "surrogateescape"))


class ResultCache:
    """The entry of one command line.

    Args:
        config: for the cache directory, and because settings are part of what was asked.
        invocation: the command line.
    """

    def __init__(self, config: Config, invocation: Invocation) -> None:
        asked = repr((
            FORMAT,
            [os.stat(f"{_HERE}/{folder}").st_mtime_ns for folder in (".", "core", "builtins", "corepkgs")],
            invocation.program,
            invocation.given,
            invocation.operands,
            os.getcwd(),
            (config.store_dir, config.state_dir, config.root, config.store_uri, config.home),
            config.text("system"),  # a home may be on machines of several kinds
            sorted(config.values.items()),
            nix_path(config),
        ))  # fmt: skip
        self._begun = time.process_time()  # what starting the command took is paid for in any case
        self._directory = f"{config.xdg('cache')}/verglas/results"
        self._file = f"{self._directory}/{digest(asked.encode('utf-8', 'surrogateescape')).hex()}"
        self._variable = config.variable

    def find(self, is_valid: Callable[[str], bool]) -> list[str] | None:
        """Return the remembered output if nothing that it depends on changed, else None.

        Args:
            is_valid: tells whether a store path is valid; asked only where that mattered.
        """
        entry = self._load()
        if entry is None:
            return None
        written, observations, output = entry
        for kind, path, answer, known in observations:
            if not self._holds(kind, path, answer, known, written, is_valid):
                return None
        return output

    def _load(self) -> tuple[int, list[Observation], list[str]] | None:
        try:
            with open(self._file, "rb") as file:
                data = file.read()
        except OSError:
            return None
        if len(data) <= _HASH_SIZE or digest(data[_HASH_SIZE:]) != data[:_HASH_SIZE]:
            return None
        loaded: tuple[int, list[Observation], list[str]] = marshal.loads(data[_HASH_SIZE:])
        return loaded

    def _holds(
        self,
        kind: str,
        path: str,
        answer: object,
        known: tuple[int, ...] | None,
        written: int,
        is_valid: Callable[[str], bool],
    ) -> bool:
        """Whether an observation would be the same now."""
        if kind == "type":
            return _type(path) == answer
        if kind == "variable":
            return self._variable(path) == answer
        if kind == "valid":
            return is_valid(path) == answer
        if kind == "link":
            try:
                return os.readlink(path) == answer
            except OSError:
                return False
        now = signature(path)
        if now is None or (kind in {"file", "copy"} and not is_regular(now)):
            return False
        if now == known and max(now[2], now[3]) + _RACY_NS < written:
            return True
        return _content(kind, path) == answer

    def store(self, observations: list[Observation], output: list[str]) -> None:
        """Remember an output; the cache never grows beyond some thousand entries."""
        if time.process_time() - self._begun < WORTH_IT:
            return
        body = marshal.dumps((time.time_ns(), observations, output))
        partial = f"{self._file}.{os.getpid()}"
        try:
            os.makedirs(self._directory, exist_ok=True)
            names = os.listdir(self._directory)
            if len(names) > _MOST_FILES:
                self._shrink(names)
            with open(partial, "wb") as file:
                file.write(digest(body) + body)
            os.replace(partial, self._file)
        except OSError:
            pass

    def _shrink(self, names: list[str]) -> None:
        """Drop the older half."""
        paths = [f"{self._directory}/{name}" for name in names]
        ages = {path: found[2] for path in paths if (found := signature(path)) is not None}
        for path in sorted(ages, key=ages.__getitem__)[: len(ages) // 2]:
            os.unlink(path)


def _type(path: str) -> str | None:
    """What `EvalIO.file_type` says; where that raises, something that it never says."""
    try:
        return TYPES.get(stat.S_IFMT(os.lstat(path).st_mode), "unknown")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return "refused"


def _content(kind: str, path: str) -> object:
    """What was remembered of a file or directory, anew."""
    try:
        if kind == "file":
            with open(path, "rb") as file:
                return digest(file.read())
        if kind == "executable":
            return bool(os.stat(path).st_mode & stat.S_IXUSR)
        if kind == "copy":
            return b""  # nobody knows what it was
        with os.scandir(path) as entries:
            return listing_digest({entry.name: _type(entry.path) or "unknown" for entry in entries})
    except OSError:
        return None
