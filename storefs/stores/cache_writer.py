"""Adding to a binary cache: NARs compressed and hashed in one pass, narinfos signed, in an order that keeps the cache
closed under references at every moment.

Blocking; several threads upload at once. Files and their order are those of Nix's binary-cache-store.cc, so Nix reads
what is written here and the other way round.
"""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

from storefs.errors import StoreError, SystemRefusedError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.compression import EXTENSIONS, check_method, open_compressor
from storefs.formats.hashes import Hasher
from storefs.formats.nar_listing import debug_files, list_nar
from storefs.formats.narinfo import NarInfo
from storefs.formats.signatures import SecretKey, sign_info
from storefs.logs import INFO, log
from storefs.stores.copying import topological
from storefs.stores.offer_query import query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from storefs.config import Config
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StorePath
    from storefs.stores.binary_cache import BinaryCache

_WORKERS = 4  # compressors run outside of Python's lock
_AHEAD = 64  # paths that are given to them at once: an upload may be of a hundred thousand
_PIECE = 1 << 18
_IN_MEMORY = 4 << 20  # bytes of a compressed NAR that need no temporary file


class UploadError(StoreError):
    """A path could not be added to a cache."""


class CacheWriter:
    """One cache, open for adding.

    Args:
        cache: the cache.
        compression: its method for new NARs.
        level: of the compression, -1 for its default.
        keys: sign every narinfo with each of them.
        listings: also write `.ls` files.
        debug_info: also write `debuginfo/BUILD-ID.debug` files, which tell debuggers where to find debug information.
    """

    def __init__(
        self,
        cache: BinaryCache,
        *,
        compression: str = "xz",
        level: int = -1,
        keys: Sequence[SecretKey] = (),
        listings: bool = False,
        debug_info: bool = False,
    ) -> None:
        self._cache = cache
        self._transport = cache.transport
        self._compression = check_method(compression)
        self._level = level
        self._keys = keys
        self._listings = listings
        self._debug_info = debug_info

    @classmethod
    def from_parameters(cls, cache: BinaryCache, parameters: dict[str, str], config: Config) -> CacheWriter:
        """Make one as a store URI's parameters ask for: `compression`, `compression-level`, `secret-key`,
        `write-nar-listing`, `index-debug-info`.

        Raises:
            StoreError: a parameter or the key is malformed.
        """
        del config
        level = parameters.get("compression-level", "-1")
        key_file = parameters.get("secret-key", "")
        return cls(
            cache,
            compression=parameters.get("compression", "xz"),
            level=int(level) if level.removeprefix("-").isdigit() else -1,
            keys=[read_secret_key(key_file)] if key_file else [],
            listings=parameters.get("write-nar-listing", "") in ("1", "true", "yes"),
            debug_info=parameters.get("index-debug-info", "") in ("1", "true", "yes"),
        )

    def prepare(self, *, priority: int | None = None, want_mass_query: bool = True) -> None:
        """Write `nix-cache-info` if the cache has none.

        Raises:
            StoreError: the cache can't be written, or belongs to another store directory.
        """
        description = self._cache.description()
        if description is None:
            text = f"StoreDir: {self._cache.directory.path}\n"
            if want_mass_query:
                text += "WantMassQuery: 1\n"
            if priority is not None:
                text += f"Priority: {priority}\n"
            self._put_bytes("nix-cache-info", text.encode(), "text/x-nix-cache-info")
        elif description.get("StoreDir", self._cache.directory.path) != self._cache.directory.path:
            raise UploadError(
                f"binary cache '{self._cache.uri}' is for Nix stores with prefix '{description['StoreDir']}', "
                f"not '{self._cache.directory.path}'"
            )

    def missing(self, infos: Iterable[PathInfo]) -> list[PathInfo]:
        """Those that the cache has not got, references first. Asks about all of them at once."""
        infos = list(infos)
        present = query([self._cache], [info.path for info in infos])
        return [info for info in topological(infos) if info.path not in present]

    def add_all(
        self,
        infos: Sequence[PathInfo],
        open_nar: Callable[[PathInfo], Iterable[bytes]],
        on_path: Callable[[StorePath, str], None] | None = None,
    ) -> None:
        """Add paths; a narinfo is written only when those of its references are.

        Args:
            infos: references first, as `missing` returns them.
            open_nar: opens the NAR of one of them; called from several threads.
            on_path: told about each path when it begins.

        Raises:
            StoreError: the first failure; what refers to a path that failed is not added either.
        """

        def add(info: PathInfo, before: list[Future[None]]) -> None:
            (on_path or self._report)(info.path, self._cache.uri)
            narinfo = self._upload_nar(info, open_nar(info))
            # Threads take paths in order, so what is waited for has begun already.
            for future in before:
                future.result()
            self.put_narinfo(narinfo)

        under_way: dict[StorePath, Future[None]] = {}
        with ThreadPoolExecutor(_WORKERS, "upload") as pool:
            for info in infos:
                if len(under_way) >= _AHEAD:
                    under_way.pop(next(iter(under_way))).result()
                before = [under_way[each] for each in info.references if each in under_way]
                under_way[info.path] = pool.submit(add, info, before)
            for future in under_way.values():
                future.result()

    def add_realisations(self, realisations: Iterable[Realisation]) -> None:
        """Keep what outputs of derivations are; their paths are there."""
        for realisation in realisations:
            self._put_bytes(f"realisations/{realisation.id}.doi", realisation.to_json(), "application/json")

    def add_log(self, name: str, content: bytes) -> None:
        """Keep the log of a build under the derivation's base name."""
        self._put_bytes(f"log/{name}", content, "text/plain; charset=utf-8")

    def put_narinfo(self, narinfo: NarInfo) -> None:
        """Write what the cache says about a path whose NAR is there; readers see the old or the new file."""
        key = f"{narinfo.info.path.hash_part}.narinfo"
        self._put_bytes(key, narinfo.to_text(self._cache.directory).encode(), "text/x-nix-narinfo")
        self._cache.forget(narinfo.info.path)

    def _upload_nar(self, info: PathInfo, pieces: Iterable[bytes]) -> NarInfo:
        nar_hasher, file_hasher = Hasher("sha256"), Hasher("sha256")
        shown = self._cache.directory.print(info.path)
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            compressor = open_compressor(self._compression, self._level)

            def write(packed: bytes) -> None:
                file_hasher.update(packed)
                spool.write(packed)

            def watched() -> Iterator[bytes]:
                for piece in pieces:
                    nar_hasher.update(piece)
                    write(compressor.compress(piece))
                    yield piece

            listing = None
            if self._listings or self._debug_info:
                listing = list_nar(ByteReader(watched()))
            else:
                for _ in watched():
                    pass
            write(compressor.flush())
            if nar_hasher.finish() != info.nar_hash:
                raise UploadError(
                    f"path '{shown}' was modified: it has hash '{nar_hasher.finish().to_string('base32', True)}' "
                    f"instead of '{info.nar_hash.to_string('base32', True)}'; 'verglas verify' says more"
                )
            file_hash, size = file_hasher.finish(), spool.tell()
            key = f"nar/{file_hash.to_string('base32', False)}.nar{EXTENSIONS[self._compression]}"
            if not self._transport.exists(key):
                self._transport.put(key, lambda: _read_again(spool), size, "application/x-nix-nar")
        if listing is not None and self._listings:
            self._put_json(f"{info.path.hash_part}.ls", listing)
        if listing is not None and self._debug_info:
            for build_id, member in debug_files(listing):
                if not self._transport.exists(f"debuginfo/{build_id}"):
                    self._put_json(f"debuginfo/{build_id}", {"archive": f"../{key}", "member": member})
        return NarInfo(sign_info(info, self._cache.directory, self._keys), key, self._compression, file_hash, size)

    def _put_json(self, key: str, value: object) -> None:
        content = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        self._put_bytes(key, content.encode("utf-8", "surrogateescape"), "application/json")

    def _put_bytes(self, key: str, content: bytes, content_type: str) -> None:
        self._transport.put(key, lambda: [content], len(content), content_type)

    def _report(self, path: StorePath, uri: str) -> None:
        log(INFO, f"copying path '{self._cache.directory.print(path)}' to '{uri}'...")


def _read_again(spool: tempfile.SpooledTemporaryFile[bytes] | BinaryIO) -> Iterator[bytes]:
    spool.seek(0)
    return iter(lambda: spool.read(_PIECE), b"")


def read_secret_key(path: str) -> SecretKey:
    """Read a key file as `nix-store --generate-binary-cache-key` writes it.

    Raises:
        StoreError: it can't be read or is no key.
    """
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return SecretKey(file.read())
    except OSError as error:
        raise SystemRefusedError("reading a secret key", error) from error
