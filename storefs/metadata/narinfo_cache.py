"""What binary caches said, kept between commands: a small database of its own, which may be deleted at any time.

Answers in it save round trips and are never believed more than the cache itself: signatures and hashes are checked
when something is fetched. Written without syncing: after a power cut it may be damaged, and then it is thrown away.

    key                             value
    ------------------------------  -------------------------------------------------------------------------------
    b"i" + cache                    u64 time, then b"STOREDIR\\nPRIORITY\\nWANTMASSQUERY"
    b"n" + cache + digest           u64 time, then nothing: at that time the cache had no such path
    b"n" + cache + digest           u64 time, then lines: base name, URL, compression, file hash, file size, NAR hash,
                                    NAR size, references, deriver, content address, signatures
    b"r" + cache + output           u64 time, then the text of a realisation

*cache* is the 16-byte truncated SHA-256 of the cache's URI and the store directory; *digest* the 20 bytes of a hash
part; *output* the same of what an output of a derivation is called; times are seconds since the epoch, little-endian;
hashes are `algo:hex`; lists are separated by spaces.

Used by `stores/binary_cache.py`. Thread-safe. Nobody else's business.
"""

from __future__ import annotations

import time

from storefs.errors import StoreError
from storefs.formats.hashes import Hash, hash_bytes
from storefs.formats.narinfo import NarInfo
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.logs import warn
from storefs.metadata.environment import open_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from storefs.metadata.environment import Environment, Transaction

_INFO_TTL = 7 * 24 * 3600  # seconds, as in Nix: nix-cache-info hardly ever changes
_PURGE_INTERVAL = 24 * 3600
_PURGE_KEY = b"purged"
_MAP_SIZE = 1 << 30
_STAMP = 8


class NarInfoCache:
    """The open database.

    Args:
        path: its directory, made if need be. If it can't be used, nothing is remembered, and nobody is bothered.
        positive_ttl: seconds for which a hit is believed.
        negative_ttl: seconds for which a miss is.
    """

    def __init__(self, path: str, positive_ttl: int, negative_ttl: int) -> None:
        self._positive_ttl = positive_ttl
        self._negative_ttl = negative_ttl
        self._environment = _open(path)

    def close(self) -> None:
        """Close the database; may be called again."""
        environment, self._environment = self._environment, None
        if environment is not None:
            environment.close()

    def cache_info(self, cache: bytes) -> str | None:
        """What was remembered with `put_cache_info`, None if that is nothing or old."""
        value = self._get(b"i" + cache)
        if value is None or _age(value) > _INFO_TTL:
            return None
        return value[_STAMP:].decode()

    def put_cache_info(self, cache: bytes, text: str) -> None:
        """Remember a cache's description."""
        self._update({b"i" + cache: _now() + text.encode()})

    def find(self, cache: bytes, path: StorePath) -> NarInfo | bool | None:
        """Look a path up: its NarInfo, False for a miss that is remembered, None for not known."""
        value = self._get(b"n" + cache + path.digest)
        if value is None:
            return None
        if len(value) == _STAMP:
            return False if _age(value) < self._negative_ttl else None
        if _age(value) >= self._positive_ttl:
            return None
        narinfo = _decode(value)
        return narinfo if narinfo is not None and narinfo.info.path == path else None

    def put(self, cache: bytes, found: Mapping[StorePath, NarInfo], missing: Iterable[StorePath]) -> None:
        """Remember answers, all in one transaction."""
        rows = {b"n" + cache + path.digest: _encode(narinfo) for path, narinfo in found.items()}
        if self._negative_ttl:
            rows.update((b"n" + cache + path.digest, _now()) for path in missing)
        self._update(rows)

    def forget(self, cache: bytes, path: StorePath) -> None:
        """Forget an answer that turned out to be wrong."""
        self._update({b"n" + cache + path.digest: None})

    def realisation(self, cache: bytes, output: str) -> bytes | None:
        """What a cache said the output of this name is, None for not known."""
        value = self._get(_realisation_key(cache, output))
        return None if value is None or _age(value) >= self._positive_ttl else value[_STAMP:]

    def put_realisation(self, cache: bytes, output: str, text: bytes) -> None:
        """Remember what a cache said an output is."""
        self._update({_realisation_key(cache, output): _now() + text})

    def _get(self, key: bytes) -> bytes | None:
        environment = self._environment
        if environment is None:
            return None
        try:
            with environment.snapshot() as txn:
                return txn.get(key, db=environment.narinfo)
        except StoreError as error:
            self._give_up(error)
            return None

    def _update(self, rows: Mapping[bytes, bytes | None]) -> None:
        environment = self._environment
        if environment is None or environment.read_only or not rows:
            return

        def work(txn: Transaction) -> None:
            for key, value in sorted(rows.items()):
                if value is None:
                    txn.delete(key, db=environment.narinfo)
                else:
                    txn.put(key, value, db=environment.narinfo)
            purged = txn.get(_PURGE_KEY, db=environment.narinfo)
            if purged is None or _age(purged) > _PURGE_INTERVAL:
                self._purge(environment, txn)

        try:
            environment.update(work)
        except StoreError as error:
            self._give_up(error)

    def _purge(self, environment: Environment, txn: Transaction) -> None:
        with txn.cursor(db=environment.narinfo) as cursor:
            more = cursor.first()
            while more:
                value = cursor.value()
                ttl = self._negative_ttl if len(value) == _STAMP else self._positive_ttl
                more = cursor.delete() if cursor.key()[:1] in (b"n", b"r") and _age(value) > ttl else cursor.next()
        txn.put(_PURGE_KEY, _now(), db=environment.narinfo)

    def _give_up(self, error: StoreError) -> None:
        warn(f"the cache of binary cache answers is out of order and was left aside: {error}")
        self.close()


def cache_id(uri: str, store_dir: str) -> bytes:
    """The key of a cache: its URI without what does not change its answers, and the store that it is asked about."""
    return hash_bytes("sha256", f"{uri.rstrip('/')}\0{store_dir}".encode()).digest[:16]


def _realisation_key(cache: bytes, output: str) -> bytes:
    return b"r" + cache + hash_bytes("sha256", output.encode()).digest[:16]


def _open(path: str) -> Environment | None:
    for attempt in (1, 2):
        try:
            return open_environment(path, map_size=_MAP_SIZE, sync=False)
        except StoreError:
            if attempt == 1:
                import shutil  # noqa: PLC0415  4 ms, hardly ever

                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            break
    return None


def _now() -> bytes:
    return int(time.time()).to_bytes(_STAMP, "little")


def _age(value: bytes) -> int:
    return int(time.time()) - int.from_bytes(value[:_STAMP], "little")


def _encode(narinfo: NarInfo) -> bytes:
    info = narinfo.info
    lines = (
        info.path.base_name,
        narinfo.url,
        narinfo.compression,
        narinfo.file_hash.to_string("base16", True) if narinfo.file_hash is not None else "",
        str(narinfo.file_size),
        info.nar_hash.digest.hex(),
        str(info.nar_size),
        " ".join([reference.base_name for reference in info.references]),
        info.deriver.base_name if info.deriver is not None else "",
        info.ca,
        " ".join(info.signatures),
    )
    return _now() + "\n".join(lines).encode()


def _decode(value: bytes) -> NarInfo | None:
    lines = value[_STAMP:].decode().split("\n")
    if len(lines) != 11:
        return None
    name, url, compression, file_hash, file_size, nar_hash, nar_size, references, deriver, ca, signatures = lines
    # Everything here was validated when it came in, so it is not validated a second time.
    trusted = StorePath.trusted
    info = PathInfo(
        trusted(name),
        Hash("sha256", bytes.fromhex(nar_hash)),
        int(nar_size),
        [trusted(reference) for reference in references.split()],
        trusted(deriver) if deriver else None,
        signatures.split(),
        ca,
    )
    algo, _, digest = file_hash.partition(":")
    return NarInfo(info, url, compression, Hash(algo, bytes.fromhex(digest)) if digest else None, int(file_size))
