"""The stream of `nix-store --export`: NARs, each followed by what is known about its path.

Per path the word 1, the NAR, the magic `NIXE`, the path, its references, its deriver or an empty string, and the word
0 (or 1 and a signature of a kind no longer in use); at the end the word 0. Words are 64-bit little-endian, strings as
in NARs. References come before what refers to them.

Sans-I/O. Used by `nix-store --export/--import`, the daemon and the serve protocol. Semantics: export-import.cc of
Nix 2.8.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.hashes import Hasher
from storefs.formats.nar import NarStream, parse_nar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from storefs.formats.byte_reader import ByteReader
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StoreDir, StorePath

    T = TypeVar("T")

_MAGIC = 0x4558494E  # "NIXE"
_MAX_STRING = 64 << 10
_MAX_REFERENCES = 1 << 20


class BadExportError(StoreError):
    """A stream that `nix-store --export` would not have written."""


class ChangedPathError(StoreError):
    """A path that is to be exported is not what was registered."""


class ExportedPath:
    """What an export says about one path. The hash is not among it: whoever takes the NAR computes it.

    Attributes:
        path: the path.
        references: what it refers to, maybe itself.
        deriver: what made it, if known.
    """

    __slots__ = ("deriver", "path", "references")

    def __init__(self, path: StorePath, references: list[StorePath], deriver: StorePath | None) -> None:
        self.path = path
        self.references = references
        self.deriver = deriver


def write_export(
    infos: Iterable[PathInfo], nar: Callable[[PathInfo], Iterable[bytes]], store_dir: StoreDir
) -> Iterator[bytes]:
    """Yield an export.

    Args:
        infos: the paths, references before referrers.
        nar: opens the NAR of one of them.
        store_dir: the logical store.

    Raises:
        ChangedPathError: a NAR has not the hash that was registered; what was yielded is no whole export.
    """
    for info in infos:
        yield _word(1)
        yield from write_exported(info, nar(info), store_dir)
    yield _word(0)


def write_exported(info: PathInfo, nar: Iterable[bytes], store_dir: StoreDir) -> Iterator[bytes]:
    """Yield one path as it stands in an export, without the word before it: what old daemons' clients ask for.

    Whoever imports it has nothing to compare the contents with, so damage must not get that far. A hash of zeros is one
    that nobody knows.

    Raises:
        ChangedPathError: the NAR, which has been yielded, has another hash than is registered.
    """
    hasher = Hasher("sha256")
    for piece in nar:
        hasher.update(piece)
        yield piece
    found = hasher.finish()
    if found != info.nar_hash and any(info.nar_hash.digest):
        raise ChangedPathError(
            f"hash of path '{store_dir.print(info.path)}' has changed from '{info.nar_hash.to_string('base32', True)}' "
            f"to '{found.to_string('base32', True)}'!"
        )
    yield b"".join(
        (
            _word(_MAGIC),
            _string(store_dir.print(info.path)),
            _word(len(info.references)),
            *(_string(store_dir.print(reference)) for reference in info.references),
            _string(store_dir.print(info.deriver) if info.deriver is not None else ""),
            _word(0),
        )
    )


def read_export(
    reader: ByteReader, store_dir: StoreDir, take: Callable[[Iterator[bytes]], T]
) -> Iterator[tuple[T, ExportedPath]]:
    """Read an export, one path after the other.

    Args:
        reader: stands at the beginning, and is left behind the end.
        store_dir: the logical store.
        take: consumes the pieces of a NAR to their end; what it returns is yielded with what followed the NAR.

    Raises:
        BadExportError, BadNarError, BadStorePath: the stream is not an export into this store.
        UnexpectedEndError: it is truncated.
    """
    while True:
        more = _read_word(reader)
        if more == 0:
            return
        if more != 1:
            raise BadExportError("input doesn't look like something created by 'nix-store --export'")
        # The NAR has no length in front: it must be parsed to find its end.
        chunks = NarStream(parse_nar(reader))
        taken = take(chunks)
        for _ in chunks:
            raise RuntimeError("`take` did not read the NAR to its end")
        if _read_word(reader) != _MAGIC:
            raise BadExportError("Nix archive cannot be imported; wrong format")
        path = store_dir.parse(_read_string(reader))
        count = _read_word(reader)
        if count > _MAX_REFERENCES:
            raise BadExportError(f"imported archive of '{store_dir.print(path)}' claims {count} references")
        references = [store_dir.parse(_read_string(reader)) for _ in range(count)]
        deriver = _read_string(reader)
        signed = _read_word(reader)
        if signed == 1:
            _read_string(reader)  # a signature made with OpenSSL by Nix before 2.0, worth nothing today
        elif signed != 0:
            raise BadExportError(f"imported archive of '{store_dir.print(path)}' ends with an unknown field")
        yield taken, ExportedPath(path, references, store_dir.parse(deriver) if deriver else None)


def _word(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _string(text: str) -> bytes:
    data = text.encode()
    return _word(len(data)) + data + bytes(-len(data) & 7)


def _read_word(reader: ByteReader) -> int:
    return int.from_bytes(reader.exact(8), "little")


def _read_string(reader: ByteReader) -> str:
    length = _read_word(reader)
    if length > _MAX_STRING:
        raise BadExportError(f"an export contains a string of {length} bytes")
    data = reader.exact((length + 7) & ~7)
    if any(data[length:]):
        raise BadExportError("an export contains non-zero padding")
    return data[:length].decode("utf-8", "surrogateescape")
