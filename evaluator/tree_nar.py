"""The NAR serialisation of what an evaluation sees at a path, for hashing it or for copying it into a store.

Unlike `storefs`' own walk over the host's files this one goes through `EvalIO`, so that it also serves paths inside a
store that is not mounted, and filters written in Nix. Nothing is written.
"""

from __future__ import annotations

import os

from storefs.errors import StoreError
from storefs.formats.nar import NarWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from evaluator.eval_io import EvalIO


class NotStorableError(StoreError):
    """A socket, a device or a pipe: a store cannot hold it."""


def write_tree(io: EvalIO, path: str, keep: Callable[[str, str], bool] | None, sink: Callable[[bytes], object]) -> None:
    """Give the NAR of `path` to `sink`, piece by piece.

    Args:
        io: the effects.
        path: a file, a symbolic link or a directory.
        keep: called with the path and type of everything beneath `path`; False leaves it out.
        sink: takes the pieces.

    Raises:
        OSError: something can't be read.
        NotStorableError: something is neither a file, a link nor a directory.
    """
    kind = io.file_type(path)
    if kind is None:
        raise FileNotFoundError(2, "No such file or directory", path)
    _node(io, NarWriter(), path, b"", kind, keep, sink)


def _node(
    io: EvalIO,
    writer: NarWriter,
    path: str,
    name: bytes,
    kind: str,
    keep: Callable[[str, str], bool] | None,
    sink: Callable[[bytes], object],
) -> None:
    if kind == "regular":
        content = io.read_file(path)
        sink(writer.regular(name, io.is_executable(path), len(content)))
        sink(content)
        sink(writer.end_regular(len(content)))
    elif kind == "symlink":
        sink(writer.symlink(name, os.fsencode(io.read_link(path))))
    elif kind == "directory":
        sink(writer.directory(name))
        for entry, entry_kind in sorted((os.fsencode(key), value) for key, value in io.list_dir(path).items()):
            below = f"{path}/{os.fsdecode(entry)}" if path != "/" else "/" + os.fsdecode(entry)
            if keep is None or keep(below, entry_kind):
                _node(io, writer, below, entry, entry_kind, keep, sink)
        sink(writer.end_directory())
    else:
        raise NotStorableError(f"file '{path}' has an unsupported type")
