"""The value of a row in ``paths``: to bytes and back.  Pure; the layout is in `storefs.metadata.schema`."""

from __future__ import annotations

from _struct import error as struct_error  # type: ignore[attr-defined]

from storefs.errors import StoreError
from storefs.formats import nixbase32
from storefs.formats.store_path import HASH_PART_LENGTH, StorePath
from storefs.metadata.schema import DIGEST_SIZE, FLAG_ULTIMATE, PATH_HEADER

_HEADER_SIZE = PATH_HEADER.size


class CorruptRecordError(StoreError):
    """A row of the database is not what was written."""


class PathRecord:
    """What a row in ``paths`` says; treated as immutable.

    ``deriver`` is a base name or ''; ``root`` an inode. The path itself is the row's key, see `path_key`.
    """

    __slots__ = (
        "ca",
        "deriver",
        "id",
        "nar_hash",
        "nar_size",
        "registration_time",
        "root",
        "signatures",
        "ultimate",
    )

    def __init__(
        self,
        id: int,
        root: int,
        nar_size: int,
        registration_time: int,
        nar_hash: bytes,
        ultimate: bool,
        deriver: str,
        ca: str,
        signatures: tuple[str, ...],
    ) -> None:
        self.id = id
        self.root = root
        self.nar_size = nar_size
        self.registration_time = registration_time
        self.nar_hash = nar_hash
        self.ultimate = ultimate
        self.deriver = deriver
        self.ca = ca
        self.signatures = signatures

    def encode(self) -> bytes:
        """The bytes of the row."""
        deriver = self.deriver.encode("ascii")
        ca = self.ca.encode("ascii")
        signatures = "\n".join(self.signatures).encode("utf-8", "surrogateescape")
        header = PATH_HEADER.pack(
            self.id,
            self.root,
            self.nar_size,
            self.registration_time,
            self.nar_hash,
            FLAG_ULTIMATE if self.ultimate else 0,
            len(deriver),
            len(ca),
            len(signatures),
        )
        return b"".join((header, deriver, ca, signatures))


def split_path_record(value: bytes) -> tuple[int, int, int, int, bytes, bool, bytes, bytes, bytes]:
    """The fields of a row of ``paths`` as they lie there, in the order of PathRecord's; raises CorruptRecordError."""
    try:
        fields = PATH_HEADER.unpack_from(value)
    except struct_error as error:
        raise CorruptRecordError("a path's record in the store database is damaged") from error
    path_id, root, nar_size, time, nar_hash, flags, deriver_size, ca_size, signatures_size = fields
    ca_at = _HEADER_SIZE + deriver_size
    signatures_at = ca_at + ca_size
    if signatures_at + signatures_size != len(value):
        raise CorruptRecordError("a path's record in the store database has a wrong length")
    ultimate = bool(flags & FLAG_ULTIMATE)
    deriver, ca, signatures = value[_HEADER_SIZE:ca_at], value[ca_at:signatures_at], value[signatures_at:]
    return path_id, root, nar_size, time, nar_hash, ultimate, deriver, ca, signatures


def decode_path_record(value: bytes) -> PathRecord:
    """Read a row of ``paths``; raises CorruptRecordError."""
    path_id, root, nar_size, time, nar_hash, ultimate, deriver, ca, signatures = split_path_record(value)
    try:
        return PathRecord(
            path_id,
            root,
            nar_size,
            time,
            nar_hash,
            ultimate,
            deriver.decode("ascii"),
            ca.decode("ascii"),
            tuple(signatures.decode("utf-8", "surrogateescape").split("\n")) if signatures else (),
        )
    except UnicodeDecodeError as error:
        raise CorruptRecordError("a path's record in the store database is damaged") from error


def path_key(path: StorePath) -> bytes:
    """The key of a path's row in ``paths``."""
    return path.digest + path.base_name[HASH_PART_LENGTH + 1 :].encode("ascii")


def path_of_key(key: bytes) -> StorePath:
    """The path whose row has this key."""
    return StorePath.trusted(f"{nixbase32.encode(key[:DIGEST_SIZE])}-{key[DIGEST_SIZE:].decode('ascii')}")


def root_of(value: bytes) -> int:
    """The root inode alone."""
    return int.from_bytes(value[8:16], "little")


def id_of(value: bytes) -> int:
    """The path id alone."""
    return int.from_bytes(value[0:8], "little")
