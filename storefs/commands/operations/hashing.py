"""Hashes of host files and trees: `nix-hash`, `nix hash file`, `nix hash path`."""

from __future__ import annotations

import binascii

from storefs.castore.host_tree import host_events
from storefs.formats import nixbase32
from storefs.formats.hashes import Hash, Hasher, compress_digest
from storefs.formats.nar import write_nar
from storefs.stores.adding import hash_flat_file

_BATCH = 256 << 10


def hash_operand(path: str, algo: str, base: str, *, flat: bool, truncate: bool = False) -> str:
    """The hash of a file's bytes (``flat``) or of a path's NAR, spelled in ``base``; raises StoreError."""
    result = hash_flat_file(path, algo) if flat else hash_nar(path, algo)
    if not truncate or len(result.digest) <= 20:
        return result.to_string(base, base == "sri")
    digest = compress_digest(result.digest, 20)
    if base == "base32":
        return nixbase32.encode(digest)
    if base == "base16":
        return digest.hex()
    text = binascii.b2a_base64(digest, newline=False).decode()
    return f"{algo}-{text}" if base == "sri" else text


def hash_nar(path: str, algo: str) -> Hash:
    """The hash of the NAR of a host path; raises HostTreeError."""
    hasher = Hasher(algo)
    batch: list[bytes] = []
    size = 0
    for piece in write_nar(host_events(path)):
        batch.append(piece)
        size += len(piece)
        if size >= _BATCH:
            hasher.update(b"".join(batch))
            batch.clear()
            size = 0
    hasher.update(b"".join(batch))
    return hasher.finish()
