"""The SHA-256 of one stored tree's NAR, and the process that does nothing else: see `storefs.stores.nar_hashing`.

Imports no more than that takes, since one such process starts for each processor.
"""

from __future__ import annotations

import gc
import sys

from storefs.castore.blobs import BlobError, BlobStore
from storefs.formats.hashes import Hash, new_hashlib
from storefs.metadata.environment import open_environment
from storefs.metadata.nar_reader import nar_buffers
from storefs.metadata.records import CorruptRecordError
from storefs.metadata.schema import KEY
from storefs.metadata.trees import TreeDamagedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.metadata.environment import Environment


def nar_hash(env: Environment, blobs: BlobStore, root: int) -> tuple[Hash, int]:
    """The SHA-256 and the size of the NAR of the tree at ``root``; reads all of it, in this thread.

    Raises TreeDamagedError, BlobError, CorruptRecordError.
    """
    state = new_hashlib("sha256")
    size = 0
    for piece in nar_buffers(env, blobs, root):
        state.update(piece)
        size += len(piece)
    return Hash("sha256", state.digest()), size


def serve(verglas_dir: str) -> None:
    """What such a process does: for each inode that it reads, a line with hash and size, or with what is wrong."""
    gc.disable()  # there are no cycles to find among millions of short-lived tuples
    env = open_environment(f"{verglas_dir}/db")
    blobs = BlobStore(verglas_dir)
    while key := sys.stdin.buffer.read(KEY.size):
        try:
            found, size = nar_hash(env, blobs, KEY.unpack(key)[0])
            answer = f"{found.digest.hex()} {size}"
        except (TreeDamagedError, BlobError, CorruptRecordError) as error:
            answer = f"damaged {error}"
        sys.stdout.buffer.write(answer.encode(errors="surrogateescape") + b"\n")
        sys.stdout.buffer.flush()
    env.close()
