"""A store that lives in memory and ends with its process: for tests and for dry runs.

Implements `storefs.api.Store` and passes the same contract tests as the local store, so what is tested with it holds
there.  Contents are kept as NARs; nothing is shared, nothing is durable, nothing is collected.  Usable from any thread.
"""

from __future__ import annotations

import time
from threading import Lock

from storefs.castore.host_tree import host_runs
from storefs.errors import StoreError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.derivation import read_derivation
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import BadNarError, Regular, nar_of_bytes, parse_nar, write_nar
from storefs.formats.path_info import InvalidPathError, PathInfo
from storefs.formats.store_path import HASH_PART_LENGTH, StorePath
from storefs.stores.mismatch import HashMismatchError
from storefs.stores.text_paths import add_text_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from storefs.api import Tree
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.derivation import Derivation
    from storefs.formats.hashes import Hash
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StoreDir


class MemoryTree:
    """Implements `storefs.api.Tree`."""

    __slots__ = ("nar", "nar_hash", "nar_size")

    def __init__(self, nar: bytes) -> None:
        self.nar = nar
        self.nar_hash: Hash = hash_bytes("sha256", nar)
        self.nar_size = len(nar)


class MemoryStore:
    """See the module."""

    uri = "memory"

    def __init__(self, directory: StoreDir) -> None:
        self.directory = directory
        self.temp_roots: set[StorePath] = set()
        self._lock = Lock()
        self._objects: dict[StorePath, tuple[PathInfo, bytes]] = {}
        self._realisations: dict[DrvOutput, Realisation] = {}

    def __enter__(self) -> MemoryStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing: the store ends with its last user."""

    def is_valid(self, path: StorePath) -> bool:
        """See `storefs.api.Store`."""
        return path in self._objects

    def valid_paths(self, paths: Iterable[StorePath]) -> set[StorePath]:
        """See `storefs.api.Store`."""
        return {path for path in paths if path in self._objects}

    def all_valid_paths(self) -> Iterator[StorePath]:
        """See `storefs.api.Store`."""
        return iter(sorted(self._objects, key=lambda path: path.digest))

    def path_info(self, path: StorePath) -> PathInfo:
        """See `storefs.api.Store`."""
        return self._object(path)[0]

    def find_path_info(self, path: StorePath) -> PathInfo | None:
        """See `storefs.api.Store`."""
        found = self._objects.get(path)
        return None if found is None else found[0]

    def from_hash_part(self, hash_part: str) -> StorePath | None:
        """See `storefs.api.Store`."""
        if len(hash_part) != HASH_PART_LENGTH:
            raise StoreError(f"invalid hash part '{hash_part}'")
        return next((path for path in self._objects if path.hash_part == hash_part), None)

    def referrers(self, path: StorePath) -> list[StorePath]:
        """See `storefs.api.Store`."""
        self._object(path)
        return sorted(info.path for info, _ in list(self._objects.values()) if path in info.references)

    def valid_derivers(self, path: StorePath) -> list[StorePath]:
        """See `storefs.api.Store`."""
        found = []
        for each in list(self._objects):
            if each.is_derivation and any(output.path == path for output in self.derivation(each).outputs.values()):
                found.append(each)
        return sorted(found)

    def derivation(self, path: StorePath) -> Derivation:
        """See `storefs.api.Store`."""
        return read_derivation(self._only_file(path), self.directory, path)

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """See `storefs.api.Store`."""
        return iter([self._object(path)[1]])

    def intake(self) -> MemoryIntake:
        """See `storefs.api.Store`."""
        return MemoryIntake(self)

    def add_text(self, name: str, content: bytes, references: Iterable[StorePath] = ()) -> StorePath:
        """See `storefs.api.Store`."""
        return add_text_path(self, name, content, references)

    def add_temp_root(self, path: StorePath) -> None:
        """See `storefs.api.Store`; nothing is ever collected, so this only remembers."""
        self.temp_roots.add(path)

    def realisation(self, output: DrvOutput) -> Realisation | None:
        """See `storefs.api.Store`."""
        return self._realisations.get(output)

    def register_realisations(self, realisations: Sequence[Realisation]) -> None:
        """See `storefs.api.Store`."""
        for realisation in realisations:
            self._object(realisation.path)
            old = self._realisations.get(realisation.id)
            if old is not None and not realisation.is_compatible_with(old):
                raise StoreError(f"the output '{realisation.id}' is another path already")
            signatures = () if old is None else old.signatures
            self._realisations[realisation.id] = realisation.with_signatures(signatures)

    def register(self, additions: Sequence[tuple[MemoryTree, PathInfo]], replace: bool) -> None:
        """What `MemoryIntake.register` does."""
        with self._lock:
            coming = {info.path for _, info in additions}
            new = {}
            for tree, info in additions:
                if info.nar_hash != tree.nar_hash:
                    raise HashMismatchError(self.directory.print(info.path), info.nar_hash, tree.nar_hash)
                for reference in info.references:
                    if reference not in coming and reference not in self._objects:
                        raise InvalidPathError(self.directory, reference)
                if info.path.is_derivation:
                    content = _file_in(tree.nar)
                    read_derivation(content, self.directory, info.path)
                if replace or info.path not in self._objects:
                    registered = info.registration_time or int(time.time())
                    new[info.path] = (info.replace(nar_size=tree.nar_size, registration_time=registered), tree.nar)
            self._objects.update(new)

    def _object(self, path: StorePath) -> tuple[PathInfo, bytes]:
        found = self._objects.get(path)
        if found is None:
            raise InvalidPathError(self.directory, path)
        return found

    def _only_file(self, path: StorePath) -> bytes:
        return _file_in(self._object(path)[1])


class MemoryIntake:
    """Implements `storefs.api.Intake`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __enter__(self) -> MemoryIntake:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_tree(
        self,
        source: str,
        *,
        move: bool = False,
        nar_sink: Callable[[Buffer], object] | None = None,
        keep: Callable[[bytes, str], bool] | None = None,
    ) -> MemoryTree:
        """See `storefs.api.Intake`; nothing is ever moved."""
        nar = b"".join(write_nar(host_runs(source, keep)))
        if nar_sink is not None:
            nar_sink(nar)
        return MemoryTree(nar)

    def add_nar(self, chunks: Iterable[Buffer], *, nar_sink: Callable[[Buffer], object] | None = None) -> MemoryTree:
        """See `storefs.api.Intake`."""
        reader = ByteReader(chunks)
        nar = b"".join(write_nar(parse_nar(reader)))
        if not reader.at_end():
            raise BadNarError("something follows its end")
        if nar_sink is not None:
            nar_sink(nar)
        return MemoryTree(nar)

    def add_bytes(self, content: bytes, *, executable: bool = False) -> MemoryTree:
        """See `storefs.api.Intake`."""
        return MemoryTree(nar_of_bytes(content, executable))

    def prepare(self) -> None:
        """See `storefs.api.Intake`; memory does not last."""

    def register(self, additions: Sequence[tuple[Tree, PathInfo]], *, replace: bool = False) -> None:
        """See `storefs.api.Intake`."""
        ours = []
        for tree, info in additions:
            if not isinstance(tree, MemoryTree):
                raise TypeError("a tree of another store")
            ours.append((tree, info))
        self._store.register(ours, replace)


def _file_in(nar: bytes) -> bytes:
    events = parse_nar(ByteReader([nar]))
    if not isinstance(next(events), Regular):
        raise StoreError("regular file expected")
    return b"".join(bytes(piece) for piece in events if isinstance(piece, (bytes, bytearray, memoryview)))
