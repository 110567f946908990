"""A lazy mount and the binary caches that it shows paths from, for tests."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

from storefs.formats.byte_reader import ByteReader
from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink, write_nar
from storefs.formats.nar_listing import list_nar
from storefs.formats.store_path import StoreDir, StorePath
from tests.http_server import HttpServer
from tests.storefs.fuse.mounted_store import MountedStore
from tests.storefs.stores.caches import PUBLIC_KEY, HandMadeCache, path_named

if TYPE_CHECKING:
    from pathlib import Path

BIG = os.urandom(300_000)


def package(name: str) -> bytes:
    """The NAR of a small package."""
    script = f"#!/bin/sh\necho this is {name}\n".encode()
    return b"".join(
        write_nar(
            [
                Directory(b""),
                Regular(b"big", False, len(BIG)),
                BIG,
                Directory(b"bin"),
                Regular(b"run", True, len(script)),
                script,
                EndDirectory(),
                Regular(b"empty", False, 0),
                Symlink(b"link", b"bin/run"),
                EndDirectory(),
            ]
        )
    )


class Lazy:
    """A cache, its server, and a lazy mount that substitutes from it.

    Attributes:
        spare: another cache, which is asked about what the first has not.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.store = MountedStore(folder, "--lazy", *options)
        self.directory = StoreDir(str(self.store.root))
        self.cache = HandMadeCache(self.directory, compression="zstd")
        self.spare = HandMadeCache(self.directory, compression="zstd", priority=50)
        self.server, self.spare_server = HttpServer(self.cache.files), HttpServer(self.spare.files)
        self.store.environ["NIX_CONFIG"] = (
            f"substituters = {self.server.url} {self.spare_server.url}\ntrusted-public-keys = {PUBLIC_KEY}\n"
            "connect-timeout = 1\nbuild-users-group =\n"
        )

    def add(self, name: str, references: list[str] | None = None, *, listing: bool = True, spare: bool = False) -> Path:
        nar = package(name)
        for cache in (self.cache, self.spare) if spare else (self.cache,):
            path = cache.add(name, references, nar=nar)
            if listing:
                cache.files[self.listing_key(name)] = json.dumps(list_nar(ByteReader([nar]))).encode()
        return self.store.root / path.base_name

    def listing_key(self, name: str) -> str:
        return f"/{path_named(name).hash_part}.ls"

    def close(self) -> None:
        self.server.close()
        self.spare_server.close()
        self.store.close()

    def is_valid(self, name: str) -> bool:
        shown = self.directory.print(path_named(name))
        done = subprocess.run(
            ["nix-store", "--check-validity", shown], env=self.store.environ, capture_output=True, check=False
        )
        return done.returncode == 0

    def nars(self) -> list[str]:
        return [target for target in self.server.targets if target.startswith("/nar/")]

    def path(self, name: str) -> StorePath:
        return path_named(name)
