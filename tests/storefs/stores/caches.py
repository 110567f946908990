"""Binary caches for tests, made by hand, so that any part of them can be wrong."""

from __future__ import annotations

import hashlib

from storefs.formats.compression import EXTENSIONS, compress
from storefs.formats.hashes import Hash, hash_bytes
from storefs.formats.nar import nar_of_bytes
from storefs.formats.narinfo import NarInfo
from storefs.formats.path_info import PathInfo
from storefs.formats.signatures import SecretKey, sign_info
from storefs.formats.store_path import StoreDir, StorePath

KEY = SecretKey.generate("test-1")
PUBLIC_KEY = KEY.public_key()


def path_named(name: str) -> StorePath:
    """A store path that is the same whenever the name is."""
    return StorePath.from_digest(hashlib.sha256(name.encode()).digest()[:20], name)


class HandMadeCache:
    """The files of a cache, by key.

    Attributes:
        files: what the cache consists of; change at will.
    """

    def __init__(self, directory: StoreDir, compression: str = "xz", priority: int = 40) -> None:
        self.directory = directory
        self.compression = compression
        text = f"StoreDir: {directory.path}\nWantMassQuery: 1\nPriority: {priority}\n"
        self.files: dict[str, bytes] = {"/nix-cache-info": text.encode()}

    def add(
        self,
        name: str,
        references: list[str] | None = None,
        content: bytes | None = None,
        *,
        nar: bytes | None = None,
        sign: bool = True,
        **changes: object,
    ) -> StorePath:
        """Add a path, a file unless a NAR is given; `changes` falsify its narinfo before it is signed."""
        if nar is None:
            nar = nar_of_bytes(content if content is not None else f"content of {name}".encode())
        packed = b"".join(compress([nar], self.compression))
        path = path_named(name)
        info = PathInfo(
            path, hash_bytes("sha256", nar), len(nar), [path_named(each) for each in references or []]
        ).replace(**changes)
        if sign:
            info = sign_info(info, self.directory, [KEY])
        file_hash: Hash = hash_bytes("sha256", packed)
        url = f"nar/{file_hash.to_string('base32', False)}.nar{EXTENSIONS[self.compression]}"
        narinfo = NarInfo(info, url, self.compression, file_hash, len(packed))
        self.files["/" + url] = packed
        self.files[self.key(name)] = narinfo.to_text(self.directory).encode()
        return path

    def key(self, name: str) -> str:
        """The target of a path's narinfo."""
        return f"/{path_named(name).hash_part}.narinfo"

    def nar_key(self, name: str) -> str:
        """The target of a path's NAR."""
        lines = self.files[self.key(name)].decode().splitlines()
        return "/" + next(line for line in lines if line.startswith("URL: ")).removeprefix("URL: ")

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a narinfo's text."""
        text = self.files[self.key(name)].decode()
        assert old in text
        self.files[self.key(name)] = text.replace(old, new).encode()
