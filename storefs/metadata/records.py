"""The value of a row in ``paths``: to bytes and back.  Pure; the layout is in `storefs.metadata.schema`."""

from __future__ import annotations

from struct import error as struct_error

from storefs.errors import StoreError
from storefs.metadata.schema import FLAG_ULTIMATE, PATH_HEADER

_HEADER_SIZE = PATH_HEADER.size
_NAME_SIZE_AT = 65


class CorruptRecordError(StoreError):
    """A row of the database is not what was written."""


class PathRecord:
    """What a row in ``paths`` says; treated as immutable.

    ``name`` is what follows the dash of the base name; ``deriver`` a base name or ''; ``root`` an inode.
    """

    __slots__ = (
        "ca",
        "deriver",
        "id",
        "name",
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
        name: str,
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
        self.name = name
        self.deriver = deriver
        self.ca = ca
        self.signatures = signatures

    def encode(self) -> bytes:
        """The bytes of the row."""
        name = self.name.encode("ascii")
        deriver = self.deriver.encode("ascii")
        ca = self.ca.encode("ascii")
        signatures = "\n".join(self.signatures).encode("utf-8")
        header = PATH_HEADER.pack(
            self.id,
            self.root,
            self.nar_size,
            self.registration_time,
            self.nar_hash,
            FLAG_ULTIMATE if self.ultimate else 0,
            len(name),
            len(deriver),
            len(ca),
            len(signatures),
        )
        return b"".join((header, name, deriver, ca, signatures))


def decode_path_record(value: bytes) -> PathRecord:
    """Read a row of ``paths``; raises CorruptRecordError."""
    try:
        fields = PATH_HEADER.unpack_from(value)
        path_id, root, nar_size, time, nar_hash, flags, name_size, deriver_size, ca_size, signatures_size = fields
        deriver_at = _HEADER_SIZE + name_size
        ca_at = deriver_at + deriver_size
        signatures_at = ca_at + ca_size
        if signatures_at + signatures_size != len(value):
            raise CorruptRecordError("a path's record in the store database has a wrong length")
        signatures = value[signatures_at:].decode("utf-8")
        return PathRecord(
            path_id,
            root,
            nar_size,
            time,
            nar_hash,
            bool(flags & FLAG_ULTIMATE),
            value[_HEADER_SIZE:deriver_at].decode("ascii"),
            value[deriver_at:ca_at].decode("ascii"),
            value[ca_at:signatures_at].decode("ascii"),
            tuple(signatures.split("\n")) if signatures else (),
        )
    except (struct_error, UnicodeDecodeError) as error:
        raise CorruptRecordError("a path's record in the store database is damaged") from error


def name_of(value: bytes) -> bytes:
    """The name alone: enough to compare, without decoding the rest."""
    return value[_HEADER_SIZE : _HEADER_SIZE + value[_NAME_SIZE_AT]]


def root_of(value: bytes) -> int:
    """The root inode alone."""
    return int.from_bytes(value[8:16], "little")


def id_of(value: bytes) -> int:
    """The path id alone."""
    return int.from_bytes(value[0:8], "little")
