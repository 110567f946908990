"""What `nix-store --dump-db` writes and `--load-db` and `--register-validity` read: one record of lines for each path.

    /nix/store/...-x
    <SHA-256 of the NAR, base 16>      } only in the form with hashes
    <size of the NAR>                  }
    <deriver, or an empty line>
    <number of references>
    <one reference a line>

Sans-I/O.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.hashes import parse_unprefixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.formats.hashes import Hash
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StoreDir, StorePath


class BadRegistrationError(StoreError):
    """Lines that are no registration."""


class Registration:
    """One record; ``nar_hash`` is None in the form without hashes."""

    __slots__ = ("deriver", "nar_hash", "nar_size", "path", "references")

    def __init__(
        self,
        path: StorePath,
        nar_hash: Hash | None,
        nar_size: int,
        deriver: StorePath | None,
        references: list[StorePath],
    ) -> None:
        self.path = path
        self.nar_hash = nar_hash
        self.nar_size = nar_size
        self.deriver = deriver
        self.references = references


def write_registration(info: PathInfo, store_dir: StoreDir) -> str:
    """The record of a path, with hash."""
    lines = [
        store_dir.print(info.path),
        info.nar_hash.to_string("base16", False),
        str(info.nar_size),
        store_dir.print(info.deriver) if info.deriver else "",
        str(len(info.references)),
        *(store_dir.print(reference) for reference in info.references),
    ]
    return "".join(line + "\n" for line in lines)


def read_registrations(lines: Iterable[str], store_dir: StoreDir, *, with_hashes: bool) -> Iterator[Registration]:
    """Yield the records in ``lines``, which come with or without their line ends.

    Raises BadRegistrationError, BadStorePath, BadHash.
    """
    stream = (line.rstrip("\n") for line in lines)
    for first in stream:
        if not first:
            return  # Nix stops at an empty path as well
        path = store_dir.parse(first)
        nar_hash = parse_unprefixed(_next(stream, first), "sha256") if with_hashes else None
        nar_size = _number(_next(stream, first), first) if with_hashes else 0
        deriver = _next(stream, first)
        count = _number(_next(stream, first), first)
        references = [store_dir.parse(_next(stream, first)) for _ in range(count)]
        yield Registration(path, nar_hash, nar_size, store_dir.parse(deriver) if deriver else None, references)


def _next(stream: Iterator[str], path: str) -> str:
    line = next(stream, None)
    if line is None:
        raise BadRegistrationError(f"the registration of '{path}' is cut short")
    return line


def _number(text: str, path: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise BadRegistrationError(f"the registration of '{path}' has '{text}' where a number belongs")
    return int(text)
