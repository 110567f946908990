"""A binary cache with a made-up closure, served by a process of its own: what bench_caches.py asks.

    python -m bench.cache_fixture STORE_DIR SECONDS_PER_ANSWER PATHS DEPTH BYTES_PER_PATH

Prints the URL and the top path; for every line on standard input prints how many narinfos were asked for and how many
requests were answered at one time since the line before, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys

from storefs.formats.byte_reader import ByteReader
from storefs.formats.compression import compress
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import Directory, EndDirectory, Regular, nar_of_bytes, write_nar
from storefs.formats.nar_listing import list_nar
from storefs.formats.narinfo import NarInfo
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StoreDir, StorePath
from tests.http_server import HttpServer

SCRIPT = b"#!/bin/sh\necho hello\n"
PROGRAM = b"".join(
    write_nar(
        [
            Directory(b""),
            Directory(b"bin"),
            Regular(b"hello", True, len(SCRIPT)),
            SCRIPT,
            EndDirectory(),
            EndDirectory(),
        ]
    )
)


def make_files(directory: StoreDir, count: int, depth: int, size: int) -> tuple[dict[str, bytes], str]:
    """Return a cache's files and its top path, a program: `count` paths in `depth` levels, six references each."""
    rng = random.Random(7)
    levels: list[list[StorePath]] = []
    for level in range(depth):
        width = 1 if level == 0 else (count - 1) // (depth - 1) + (level <= (count - 1) % (depth - 1))
        levels.append(
            [
                StorePath.from_digest(
                    hashlib.sha256(b"%d/%d" % (level, index)).digest()[:20], f"package-{level}.{index}"
                )
                for index in range(width)
            ]
        )
    files = {"/nix-cache-info": f"StoreDir: {directory.path}\nWantMassQuery: 1\n".encode()}
    for level, paths in enumerate(levels):
        below = levels[level + 1] if level + 1 < depth else []
        for index, path in enumerate(paths):
            # Every path of the next level is referred to by somebody, so the closure is everything.
            references = below[index :: len(paths)]
            if below and len(references) < 6:
                references = references + rng.sample(below, min(6 - len(references), len(below)))
            nar = PROGRAM if level == 0 else nar_of_bytes(rng.randbytes(size // 4) * 4)
            packed = b"".join(compress([nar], "zstd"))
            info = PathInfo(path, hash_bytes("sha256", nar), len(nar), references)
            file_hash = hash_bytes("sha256", packed)
            url = f"nar/{file_hash.to_string('base32', False)}.nar.zst"
            files["/" + url] = packed
            narinfo = NarInfo(info, url, "zstd", file_hash, len(packed))
            files[f"/{path.hash_part}.narinfo"] = narinfo.to_text(directory).encode()
            files[f"/{path.hash_part}.ls"] = json.dumps(list_nar(ByteReader([nar]))).encode()
    return files, directory.print(levels[0][0])


def main() -> None:
    store_dir, delay, count, depth, size = sys.argv[1:]
    files, top = make_files(StoreDir(store_dir), int(count), int(depth), int(size))
    with HttpServer(files, delay=float(delay)) as server:
        print(json.dumps({"url": server.url, "top": top}), flush=True)
        for _ in sys.stdin:
            narinfos = sum(target.endswith(".narinfo") for target in server.targets)
            print(json.dumps({"narinfos": narinfos, "at_once": server.most_at_once}), flush=True)
            server.log.clear()
            server.most_at_once = 0


if __name__ == "__main__":
    main()
