"""Streams of several paths: `nix-store --export` and `--import`, and trees written to the host's file system.

Additions are registered in groups, so that a hundred small paths cost a few transactions, not a hundred.
"""

from __future__ import annotations

from storefs.castore.restore import restore
from storefs.formats.byte_reader import ByteReader
from storefs.formats.export import read_export, write_export
from storefs.formats.path_info import PathInfo
from storefs.metadata.tree_events import tree_events
from storefs.stores.closure import sorted_references_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.api import Intake, Store, Tree
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.store_path import StorePath
    from storefs.stores.local import LocalStore

_GROUP_PATHS = 64
_GROUP_BYTES = 64 << 20


def export_paths(store: Store, paths: Iterable[StorePath]) -> Iterator[bytes]:
    """Yield the export stream of valid paths, references first; raises InvalidPathError."""
    infos = [store.path_info(path) for path in sorted_references_first(store, paths)]
    return write_export(infos, lambda info: store.nar(info.path), store.directory)


def import_paths(store: Store, chunks: Iterable[Buffer]) -> Iterator[StorePath]:
    """Take in an export stream and yield each of its paths once it is valid; what was valid already is yielded too.

    Raises what `storefs.formats.export.read_export` and registering raise; the groups before the error stay valid.
    """
    return _Importer(store, chunks).run()


class _Importer:
    def __init__(self, store: Store, chunks: Iterable[Buffer]) -> None:
        self._store = store
        self._intake: Intake | None = None
        self._stream = read_export(ByteReader(chunks), store.directory, self._take)

    def run(self) -> Iterator[StorePath]:
        while group := self._import_group():
            yield from group

    def _take(self, chunks: Iterator[bytes]) -> Tree:
        assert self._intake is not None
        return self._intake.add_nar(chunks)

    def _import_group(self) -> list[StorePath]:
        group: list[tuple[Tree, PathInfo]] = []
        size = 0
        with self._store.intake() as self._intake:
            for tree, exported in self._stream:
                self._store.add_temp_root(exported.path)
                references, deriver = exported.references, exported.deriver
                group.append((tree, PathInfo(exported.path, tree.nar_hash, tree.nar_size, references, deriver)))
                size += tree.nar_size
                if len(group) == _GROUP_PATHS or size >= _GROUP_BYTES:
                    break
            if group:
                self._intake.register(group)
        return [info.path for _, info in group]


def restore_path(store: LocalStore, path: StorePath, destination: str) -> None:
    """Write the contents of a valid path to the host path ``destination``, which must not exist."""
    restore(tree_events(store.reader, store.root_inode(path)), destination)
