"""The SHA-256 of stored trees' NARs, in a process for each thread that asks for much: where verifying spends its time.

Threads of one process would wait for each other: every small file takes the interpreter's lock several times, for a few
microseconds each, and handing it over costs more than that.  For stores/verify.py.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress

from storefs.errors import StoreError
from storefs.formats.hashes import Hash
from storefs.metadata.schema import KEY
from storefs.metadata.trees import TreeDamagedError
from storefs.stores.nar_hash_server import nar_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

    from storefs.castore.blobs import BlobStore
    from storefs.metadata.environment import Environment

# Bytes that a thread hashes itself before it starts a process, which takes 30 ms.
_PROCESS_PAYS = 32 << 20
_PROGRAM = "from storefs.stores.nar_hash_server import serve; serve(sys.argv[1])"


class NarHashers:
    """Hashes for any number of threads, each with a process of its own once it pays.  A context manager."""

    def __init__(
        self, env: Environment, verglas_dir: str, blobs: BlobStore, *, process_pays: int = _PROCESS_PAYS
    ) -> None:
        """``process_pays`` is made small by tests."""
        self._env = env
        self._blobs = blobs
        self._verglas_dir = verglas_dir
        self._process_pays = process_pays
        self._of_thread = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ended = False

    def __enter__(self) -> NarHashers:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for process in self._processes:
            process.kill()  # it changes nothing, and may be at a large tree that nobody wants any more
            process.wait()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.close()
            with suppress(BrokenPipeError):  # a question that it never got is sent again
                process.stdin.close()
        self._processes.clear()

    @property
    def processes(self) -> list[int]:
        """The ids of the processes that were started."""
        return [process.pid for process in self._processes]

    def hash(self, root: int, likely_size: int) -> tuple[Hash, int]:
        """What `nar_hash` says; ``likely_size`` in bytes decides who does the work.

        Raises what `nar_hash` raises, and StoreError in threads that outlive this object.
        """
        mine = self._of_thread
        mine.total = getattr(mine, "total", 0) + likely_size
        if mine.total < self._process_pays:
            return nar_hash(self._env, self._blobs, root)
        if getattr(mine, "process", None) is None:
            mine.process = subprocess.Popen(
                # With our path, and so without `site`, which takes a fifth of its start.
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    f"import sys; sys.path[:] = {sys.path}; {_PROGRAM}",
                    self._verglas_dir,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # ^C is for us, who end it
            )
            self._processes.append(mine.process)
        answer = _ask(mine.process, root)
        if self._ended:
            raise StoreError("the check was interrupted")
        if not answer:
            return nar_hash(self._env, self._blobs, root)  # somebody killed it, or it says here what is wrong
        kind, _, text = answer.rstrip(b"\n").partition(b" ")
        if kind == b"damaged":
            raise TreeDamagedError(text.decode(errors="surrogateescape"))
        return Hash("sha256", bytes.fromhex(kind.decode())), int(text)


def _ask(process: subprocess.Popen[bytes], root: int) -> bytes:
    asked: IO[bytes] | None = process.stdin
    answers: IO[bytes] | None = process.stdout
    assert asked is not None
    assert answers is not None
    try:
        asked.write(KEY.pack(root))
        asked.flush()
        return answers.readline()
    except (BrokenPipeError, ValueError):
        return b""
