"""Files inside valid store paths, read through a store object, so that no mount is needed to evaluate.

A store path's NAR is read once and kept as a tree; what an evaluation reads this way is source code and small results.
Used by `store_io.py` only.
"""

from __future__ import annotations

from storefs.formats.byte_reader import ByteReader
from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink, parse_nar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.api import Store
    from storefs.formats.store_path import StorePath


class _Node:
    __slots__ = ("content", "entries", "executable", "kind")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.executable = False
        self.content = b""  # of a file; the target of a link
        self.entries: dict[str, _Node] = {}


class StoreFiles:
    """Looks into store paths. Not thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._trees: dict[str, _Node] = {}

    def _find(self, path: StorePath, rest: str) -> _Node | None:
        root = self._trees.get(path.base_name)
        if root is None:
            root = self._trees[path.base_name] = _read_tree(self._store, path)
        node: _Node | None = root
        for part in rest.split("/"):
            if part and node is not None:
                node = node.entries.get(part)
        return node

    def _need(self, path: StorePath, rest: str, kind: str) -> _Node:
        node = self._find(path, rest)
        shown = self._store.directory.print(path) + rest
        if node is None:
            raise FileNotFoundError(2, "No such file or directory", shown)
        if node.kind != kind:
            if kind == "directory":
                raise NotADirectoryError(20, "Not a directory", shown)
            if node.kind == "directory":
                raise IsADirectoryError(21, "Is a directory", shown)
            raise OSError(22, "Invalid argument", shown)
        return node

    def file_type(self, path: StorePath, rest: str) -> str | None:
        """Return what `EvalIO.file_type` does, for `rest` below `path`."""
        node = self._find(path, rest)
        return None if node is None else node.kind

    def read_file(self, path: StorePath, rest: str) -> bytes:
        """Return the content of a regular file."""
        return self._need(path, rest, "regular").content

    def read_link(self, path: StorePath, rest: str) -> str:
        """Return the target of a symbolic link."""
        return self._need(path, rest, "symlink").content.decode("utf-8", "surrogateescape")

    def list_dir(self, path: StorePath, rest: str) -> dict[str, str]:
        """Return names and types in a directory."""
        return {name: node.kind for name, node in self._need(path, rest, "directory").entries.items()}

    def is_executable(self, path: StorePath, rest: str) -> bool:
        """Return whether a regular file is executable."""
        return self._need(path, rest, "regular").executable


def _read_tree(store: Store, path: StorePath) -> _Node:
    holder = _Node("directory")
    open_nodes = [holder]
    current = holder
    pieces: list[bytes] = []
    for event in parse_nar(ByteReader(store.nar(path))):
        if isinstance(event, Regular):
            current = _Node("regular")
            current.executable = event.executable
            pieces = []
            open_nodes[-1].entries[_name(event.name)] = current
        elif isinstance(event, Symlink):
            node = _Node("symlink")
            node.content = event.target
            open_nodes[-1].entries[_name(event.name)] = node
        elif isinstance(event, Directory):
            node = _Node("directory")
            open_nodes[-1].entries[_name(event.name)] = node
            open_nodes.append(node)
        elif isinstance(event, EndDirectory):
            open_nodes.pop()
        else:
            pieces.append(bytes(event))
            current.content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return holder.entries[""]


def _name(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
