"""Talking to the processes that serve mounts: one line of JSON there, one line back, over a unix socket.

Every mount listens in `<verglas_dir>/mounts/`, a directory that only the owner of the state may enter. This is the
asking side; `storefs.fuse.control` answers. Requests are objects with an `op`:

    {"op": "forget", "names": [...], "roots": [...]}    paths were removed: make the kernel forget them, and keep what
                                                        is in use; their bytes may be removed after the answer
    {"op": "status"}                                    counters, where it is mounted, process id
    {"op": "retire"}                                    detach the mount, serve on until nobody uses it, then end

and the answer has `ok`, and `error` where that is false. A socket nobody listens on belongs to a dead process and is
removed.
"""

from __future__ import annotations

import os
import socket

from storefs.errors import EnvironmentUnfitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Message = dict[str, object]

SUFFIX = ".sock"
PATIENCE = 30.0  # seconds after which a mount that does not answer counts as stuck


class MountStuckError(EnvironmentUnfitError):
    """A mount's process is there but does not answer."""


def sockets_dir(verglas_dir: str) -> str:
    """Return where the mounts of this state listen."""
    return verglas_dir + "/mounts"


def through_descriptor(directory: int, name: str) -> str:
    """Return a short path for a socket in an open directory: socket paths are limited to 107 bytes."""
    return f"/proc/self/fd/{directory}/{name}"


def ask_all(verglas_dir: str, request: Message) -> list[Message]:
    """Send a request to every living mount of this state and return their answers. Blocks until all have answered.

    Raises:
        MountStuckError: one did not answer in time; the others were asked nevertheless.
    """
    answers = []
    stuck = None
    for name in _socket_names(verglas_dir):
        try:
            answer = _ask(verglas_dir, name, request)
        except TimeoutError:
            stuck = name
            continue
        if answer is not None:
            answers.append(answer)
    if stuck is not None:
        raise MountStuckError(
            f"the mount process behind '{sockets_dir(verglas_dir)}/{stuck}' does not answer; is it stopped?"
        )
    return answers


def forget_paths(verglas_dir: str, names: Sequence[str], roots: Sequence[int]) -> None:
    """Tell every mount that paths were removed or replaced, and wait until it is safe to remove their bytes.

    Call it after the commit that removes the paths and before the one that removes their trees' records.

    Args:
        verglas_dir: the state.
        names: base names of the store paths.
        roots: inodes of the roots of the trees that they had; together, all that are about to lose their records.

    Raises:
        MountStuckError: a mount did not answer in time. Open files may be cut off if the bytes are removed anyway.
    """
    ask_all(verglas_dir, {"op": "forget", "names": list(names), "roots": list(roots)})


def receive_line(connection: socket.socket) -> bytes:
    """Return everything up to and including the first newline, or what came before the other side closed."""
    pieces = []
    while True:
        piece = connection.recv(1 << 16)
        pieces.append(piece)
        if not piece or piece.endswith(b"\n"):
            return b"".join(pieces)


def _socket_names(verglas_dir: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(sockets_dir(verglas_dir)) if name.endswith(SUFFIX))
    except FileNotFoundError:
        return []


def _ask(verglas_dir: str, name: str, request: Message) -> Message | None:
    import json  # noqa: PLC0415  no mount asks another one, and most stores have one at most

    directory = os.open(sockets_dir(verglas_dir), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE)
            try:
                connection.connect(through_descriptor(directory, name))
                connection.sendall(json.dumps(request).encode() + b"\n")
                line = receive_line(connection)
            except ConnectionRefusedError:
                _remove_dead(directory, name)
                return None
            except (FileNotFoundError, ConnectionError):
                return None  # it ended meanwhile
            if not line.endswith(b"\n"):
                return None
            answer: Message = json.loads(line)
            return answer
    finally:
        os.close(directory)


def _remove_dead(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        pass  # somebody else was faster, or the file system is read-only: harmless either way
