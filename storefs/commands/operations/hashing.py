"""Hashes of host files and trees: `nix-hash`, `nix hash file`, `nix hash path`."""

from __future__ import annotations

import binascii

from storefs.castore.host_tree import host_events, host_runs
from storefs.formats import nixbase32
from storefs.formats.hashes import Hash, Hasher, compress_digest
from storefs.formats.nar import write_nar
from storefs.stores.adding import hash_flat_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.config import Config

_BATCH = 256 << 10


def hash_operand(config: Config, path: str, algo: str, base: str, *, flat: bool, truncate: bool = False) -> str:
    """The hash of a file's bytes (``flat``) or of a path's NAR, spelled in ``base``; raises StoreError."""
    result = hash_flat_file(path, algo) if flat else hash_nar(path, algo, case_hack=config.boolean("use-case-hack"))
    if not truncate or len(result.digest) <= 20:
        return result.to_string(base, base == "sri")
    digest = compress_digest(result.digest, 20)
    if base == "base32":
        return nixbase32.encode(digest)
    if base == "base16":
        return digest.hex()
    text = binascii.b2a_base64(digest, newline=False).decode()
    return f"{algo}-{text}" if base == "sri" else text


def host_nar(path: str, *, case_hack: bool) -> Iterator[bytes]:
    """The NAR of a host path; ``case_hack`` undoes what `nix-store --restore` did to its names."""
    if case_hack:
        from storefs.formats.case_hack import plain_name, without_suffixes

        return write_nar(without_suffixes(host_events(path, order=plain_name)))
    return write_nar(host_runs(path))


def hash_nar(path: str, algo: str, *, case_hack: bool = False) -> Hash:
    """The hash of the NAR of a host path; raises HostTreeError."""
    hasher = Hasher(algo)
    batch: list[bytes] = []
    size = 0
    for piece in host_nar(path, case_hack=case_hack):
        batch.append(piece)
        size += len(piece)
        if size >= _BATCH:
            hasher.update(b"".join(batch))
            batch.clear()
            size = 0
    hasher.update(b"".join(batch))
    return hasher.finish()
