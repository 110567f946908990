"""Looks at files by absolute path: those below the store directory through the store object, others on this machine.

So a profile can be planned, read and diffed while the store is mounted nowhere. Symbolic links are followed across the
border. A local store is asked for single directories; any other kind for whole archives, which are kept.
"""

from __future__ import annotations

from evaluator.host_files import HostFiles
from storefs.stores.local import LocalStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from storefs.api import Store
    from storefs.formats.store_path import StorePath

    class Looker(Protocol):
        """Looks into one store. The second argument is '' or a path below the store path that begins with a slash."""

        def file_type(self, path: StorePath, rest: str) -> str | None:
            """Return regular, directory or symlink; None if nothing is there."""

        def read_file(self, path: StorePath, rest: str) -> bytes:
            """Return the content of a regular file; raises OSError."""

        def read_link(self, path: StorePath, rest: str) -> str:
            """Return the target of a link; raises OSError."""

        def list_dir(self, path: StorePath, rest: str) -> dict[str, str]:
            """Return names and types in a directory; raises OSError."""


_TYPE = 0o170000  # of a mode: the bits that say what it is
_KINDS = {0o040000: "directory", 0o120000: "symlink", 0o100000: "regular"}


class StoreReader(HostFiles):
    """See the module. May block on the disk; not thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looker: Looker = _LocalLooker(store) if isinstance(store, LocalStore) else _looker_at_archives(store)
        self._valid: dict[str, StorePath | None] = {}
        self._prefix = store.directory.path + "/"

    def _inside(self, path: str) -> tuple[StorePath, str] | None:
        """The store path that `path` lies in and the rest of it; None if it is not in a valid one."""
        if not path.startswith(self._prefix):
            return None
        base_name, slash, rest = path[len(self._prefix) :].partition("/")
        if base_name not in self._valid:
            store_path = self._store.directory.maybe_parse(self._prefix + base_name)
            is_valid = store_path is not None and self._store.is_valid(store_path)
            self._valid[base_name] = store_path if is_valid else None
        found = self._valid[base_name]
        return None if found is None else (found, slash + rest)

    def file_type(self, path: str) -> str | None:
        """See `HostFiles`."""
        inside = self._inside(path)
        return super().file_type(path) if inside is None else self._looker.file_type(*inside)

    def read_file(self, path: str) -> bytes:
        """See `HostFiles`; links are followed."""
        path = self.resolve(path)
        inside = self._inside(path)
        return super().read_file(path) if inside is None else self._looker.read_file(*inside)

    def read_link(self, path: str) -> str:
        """See `HostFiles`."""
        inside = self._inside(path)
        return super().read_link(path) if inside is None else self._looker.read_link(*inside)

    def list_dir(self, path: str) -> dict[str, str]:
        """See `HostFiles`; links are followed."""
        inside = self._inside(path)
        if inside is not None:
            try:
                return self._looker.list_dir(*inside)
            except (FileNotFoundError, NotADirectoryError):
                pass  # perhaps there is a link on the way
        path = self.resolve(path)
        inside = self._inside(path)
        return super().list_dir(path) if inside is None else self._looker.list_dir(*inside)


def _looker_at_archives(store: Store) -> Looker:
    from evaluator.store_files import StoreFiles  # noqa: PLC0415  not for a local store

    return StoreFiles(store)


class _LocalLooker:
    """Looks into a LocalStore, an object at a time."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._roots: dict[str, int] = {}
        # Directories that were seen in a listing: whoever walks a tree asks for them next.
        self._directories: dict[tuple[str, str], int] = {}

    def _find(self, path: StorePath, rest: str) -> tuple[int, str] | None:
        """The inode and the type of what is there."""
        seen = self._directories.get((path.base_name, rest))
        if seen is not None:
            return seen, "directory"
        root = self._roots.get(path.base_name)
        if root is None:
            root = self._roots[path.base_name] = self._store.root_inode(path)
        entry = self._store.reader.find(root, rest[1:].encode("utf-8", "surrogateescape"))
        return None if entry is None else (entry.inode, _KINDS[entry.mode & _TYPE])

    def _need(self, path: StorePath, rest: str, kind: str) -> int:
        found = self._find(path, rest)
        if found is None:
            raise FileNotFoundError(2, "No such file or directory", self._store.directory.print(path) + rest)
        if found[1] != kind:
            error = {"directory": (20, "Not a directory"), "symlink": (22, "Invalid argument")}.get(kind)
            code, text = error or (21, "Is a directory")
            raise OSError(code, text, self._store.directory.print(path) + rest)
        return found[0]

    def file_type(self, path: StorePath, rest: str) -> str | None:
        found = self._find(path, rest)
        return None if found is None else found[1]

    def read_file(self, path: StorePath, rest: str) -> bytes:
        return self._store.reader.read(self._need(path, rest, "regular"))

    def read_link(self, path: StorePath, rest: str) -> str:
        return self._store.reader.target(self._need(path, rest, "symlink")).decode("utf-8", "surrogateescape")

    def list_dir(self, path: StorePath, rest: str) -> dict[str, str]:
        found = {}
        for encoded, inode, _, mode in self._store.reader.listing(self._need(path, rest, "directory")):
            name = encoded.decode("utf-8", "surrogateescape")
            found[name] = kind = _KINDS[mode & _TYPE]
            if kind == "directory":
                self._directories[path.base_name, f"{rest}/{name}"] = inode
        return found
