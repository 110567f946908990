"""Places that keep whole NARs, as stores: a binary cache, or a machine behind the serve protocol.

`NarStore` gives `storefs.api.Store` to what can only be asked "what do you know of these paths", "give me this NAR" and
"take this one". Opened by `any_store` for `--store file:///DIR` and `--store ssh://HOST`. Blocking; used in one thread.
"""

from __future__ import annotations

from storefs.errors import StoreError, UsageError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.derivation import read_derivation
from storefs.formats.nar import Regular, parse_nar
from storefs.formats.narinfo import NarInfo, parse_narinfo
from storefs.formats.path_info import InvalidPathError, PathInfo
from storefs.stores.offer_query import query
from storefs.stores.remote_intake import RemoteIntake
from storefs.stores.text_paths import add_text_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Protocol

    from storefs.formats.derivation import Derivation
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StoreDir, StorePath
    from storefs.stores.binary_cache import BinaryCache
    from storefs.stores.cache_writer import CacheWriter
    from storefs.stores.serve import ServeStore

    class Place(Protocol):
        """Where NARs are."""

        @property
        def uri(self) -> str:
            """Its name in messages."""

        @property
        def directory(self) -> StoreDir:
            """The logical store directory."""

        def path_infos(self, paths: Iterable[StorePath]) -> dict[StorePath, PathInfo]:
            """What it knows about those of `paths` that it has."""

        def all_paths(self) -> list[StorePath]:
            """Everything that it has; UsageError if it does not tell."""

        def nar(self, path: StorePath) -> Iterator[bytes]:
            """The NAR of a path that it has."""

        def add(self, info: PathInfo, chunks: Iterable[bytes]) -> None:
            """Take a path whose references it has."""

        def add_signatures(self, info: PathInfo, signatures: Sequence[str]) -> None:
            """Keep more signatures of a path that it has."""

        def realisation(self, output: DrvOutput) -> Realisation | None:
            """What it says an output is."""

        def add_realisations(self, realisations: Sequence[Realisation]) -> None:
            """Keep what outputs are."""

        def close(self) -> None:
            """End what was opened for it."""


class CachePlace:
    """A binary cache as a `Place`.

    Args:
        cache: read from.
        open_writer: what writes to it; called with the first addition.
        on_close: what else is to be closed.
    """

    def __init__(
        self, cache: BinaryCache, open_writer: Callable[[], CacheWriter], on_close: Callable[[], None]
    ) -> None:
        self._cache = cache
        self._open_writer = open_writer
        self._writer: CacheWriter | None = None
        self._on_close = on_close
        self.uri = cache.uri
        self.directory = cache.directory

    def path_infos(self, paths: Iterable[StorePath]) -> dict[StorePath, PathInfo]:
        """See `Place`."""
        return {path: narinfo.info for path, (_, narinfo) in query([self._cache], list(paths)).items()}

    def all_paths(self) -> list[StorePath]:
        """See `Place`; only directories tell."""
        keys = self._cache.transport.keys()
        if keys is None:
            raise UsageError("binary caches do not tell what they have; name the paths")
        found = []
        for key in keys:
            data = self._cache.transport.get(key) if key.endswith(".narinfo") else None
            if data is not None:
                found.append(parse_narinfo(data, self.directory, f"{self.uri}/{key}", None).info.path)
        return sorted(found)

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """See `Place`."""
        narinfo = self._cache.ask(path)
        if not isinstance(narinfo, NarInfo):
            raise InvalidPathError(self.directory, path)
        with self._cache.open_nar(narinfo) as pieces:
            yield from pieces

    def add(self, info: PathInfo, chunks: Iterable[bytes]) -> None:
        """See `Place`."""
        self._writing().add_all([info], lambda _: chunks)
        self._cache.forget(info.path)  # the writer has a cache of its own, with a memory of its own

    def add_signatures(self, info: PathInfo, signatures: Sequence[str]) -> None:
        """See `Place`."""
        narinfo = self._cache.ask(info.path)
        assert isinstance(narinfo, NarInfo)
        signed = info.replace(signatures=(*info.signatures, *signatures))
        self._writing().put_narinfo(
            NarInfo(signed, narinfo.url, narinfo.compression, narinfo.file_hash, narinfo.file_size)
        )
        self._cache.forget(info.path)

    def realisation(self, output: DrvOutput) -> Realisation | None:
        """See `Place`."""
        return self._cache.realisation(output)

    def add_realisations(self, realisations: Sequence[Realisation]) -> None:
        """See `Place`."""
        self._writing().add_realisations(realisations)

    def _writing(self) -> CacheWriter:
        if self._writer is None:
            self._writer = self._open_writer()
        return self._writer

    def close(self) -> None:
        """See `Place`."""
        self._on_close()


class ServePlace:
    """A machine behind `nix-store --serve --write` as a `Place`."""

    def __init__(self, remote: ServeStore) -> None:
        self._remote = remote
        self.uri = remote.uri
        self.directory = remote.directory
        self.path_infos = remote.path_infos
        self.nar = remote.nar
        self.add = remote.add_nar
        self.close = remote.close

    def all_paths(self) -> list[StorePath]:
        """See `Place`."""
        raise UsageError(f"'{self.uri}' does not tell what it has; name the paths")

    def add_signatures(self, info: PathInfo, signatures: Sequence[str]) -> None:
        """See `Place`."""
        raise UsageError(f"'{self.uri}' does not take signatures; 'ssh-ng://' does")

    def realisation(self, output: DrvOutput) -> Realisation | None:
        """See `Place`; the protocol has no such question."""
        del output
        return None

    def add_realisations(self, realisations: Sequence[Realisation]) -> None:
        """See `Place`."""
        raise UsageError(f"'{self.uri}' does not take realisations; 'ssh-ng://' does")


class NarStore:
    """See the module and `storefs.api.Store`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.uri = place.uri
        self.directory = place.directory

    def close(self) -> None:
        """End the connection."""
        self._place.close()

    def is_valid(self, path: StorePath) -> bool:
        """See `storefs.api.Store`."""
        return bool(self._place.path_infos([path]))

    def valid_paths(self, paths: Iterable[StorePath]) -> set[StorePath]:
        """See `storefs.api.Store`."""
        return set(self._place.path_infos(list(paths)))

    def all_valid_paths(self) -> Iterator[StorePath]:
        """See `storefs.api.Store`; UsageError from what does not tell."""
        return iter(self._place.all_paths())

    def path_info(self, path: StorePath) -> PathInfo:
        """See `storefs.api.Store`."""
        info = self.find_path_info(path)
        if info is None:
            raise InvalidPathError(self.directory, path)
        return info

    def find_path_info(self, path: StorePath) -> PathInfo | None:
        """See `storefs.api.Store`."""
        return self._place.path_infos([path]).get(path)

    def from_hash_part(self, hash_part: str) -> StorePath | None:
        """See `storefs.api.Store`."""
        return next((path for path in self._place.all_paths() if path.hash_part == hash_part), None)

    def referrers(self, path: StorePath) -> list[StorePath]:
        """See `storefs.api.Store`."""
        infos = self._place.path_infos(self._place.all_paths())
        return sorted(info.path for info in infos.values() if path in info.references)

    def valid_derivers(self, path: StorePath) -> list[StorePath]:
        """See `storefs.api.Store`; only the one that made it is known."""
        deriver = self.path_info(path).deriver
        return [deriver] if deriver is not None and self.is_valid(deriver) else []

    def derivation(self, path: StorePath) -> Derivation:
        """See `storefs.api.Store`."""
        events = parse_nar(ByteReader(self.nar(path)))
        if not isinstance(next(events), Regular):
            raise StoreError(f"'{self.directory.print(path)}' is no regular file, so it is no derivation")
        content = b"".join(bytes(piece) for piece in events if isinstance(piece, (bytes, bytearray, memoryview)))
        return read_derivation(content, self.directory, path)

    def nar(self, path: StorePath) -> Iterator[bytes]:
        """See `storefs.api.Store`."""
        self.path_info(path)
        return self._place.nar(path)

    def intake(self) -> RemoteIntake:
        """See `storefs.api.Store`; each path becomes valid by itself, references first."""
        return RemoteIntake(self)

    def add_text(self, name: str, content: bytes, references: Iterable[StorePath] = ()) -> StorePath:
        """See `storefs.api.Store`."""
        return add_text_path(self, name, content, references)

    def add_nar(self, info: PathInfo, chunks: Iterable[bytes], *, repair: bool = False) -> None:
        """Add one path, or with `repair` put it again.

        Raises:
            InvalidPathError: it refers to what is not there.
        """
        if not repair and self.is_valid(info.path):
            return
        needed = [reference for reference in info.references if reference != info.path]
        present = self.valid_paths(needed)
        for reference in needed:
            if reference not in present:
                raise InvalidPathError(self.directory, reference)
        self._place.add(info, chunks)

    def add_many(self, additions: Sequence[tuple[PathInfo, Iterable[bytes]]]) -> None:
        """Add paths, references first."""
        for info, chunks in additions:
            self.add_nar(info, chunks)

    def add_signatures(self, path: StorePath, signatures: Iterable[str]) -> None:
        """Keep more signatures of a valid path."""
        self._place.add_signatures(self.path_info(path), list(signatures))

    def realisation(self, output: DrvOutput) -> Realisation | None:
        """See `storefs.api.Store`."""
        return self._place.realisation(output)

    def register_realisations(self, realisations: Sequence[Realisation]) -> None:
        """See `storefs.api.Store`."""
        self._place.add_realisations(realisations)

    def add_temp_root(self, path: StorePath) -> None:
        """See `storefs.api.Store`; nothing is collected from here."""
