"""The contents of a regular file, hashed while its NAR goes by, for outputs that are named by a flat file's hash."""

from __future__ import annotations

from builder.failures import OutputRejectedError
from storefs.formats.nar import ROOT_HEAD, regular_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.hash_modulo import ModuloHasher
    from storefs.formats.hashes import Hash, Hasher


class FlatHasher:
    """See the module.

    The file must not be read a second time for its hash: whoever still has it open for writing could let it have the
    promised contents for the hash, and others for the store.
    """

    _BEGINNING = (ROOT_HEAD + regular_node(False, 0))[:-8]  # the size follows

    def __init__(self, hasher: Hasher | ModuloHasher) -> None:
        self._hasher = hasher
        self._head = b""
        self._left = -1

    def feed(self, piece: Buffer) -> None:
        """Take in more of the NAR."""
        if self._left < 0:
            self._head += piece
            size_at = len(self._BEGINNING)
            if len(self._head) < size_at + 8:
                return
            self._left = int.from_bytes(self._head[size_at : size_at + 8], "little")
            piece = self._head[size_at + 8 :]
        content = piece[: self._left]
        self._left -= len(content)
        self._hasher.update(content)

    def finish(self) -> Hash | None:
        """The hash; None if it is no regular file, or an executable one."""
        return self._hasher.finish() if self._head.startswith(self._BEGINNING) else None


def not_flat(path: str) -> OutputRejectedError:
    """What to say of an output that is something else."""
    return OutputRejectedError(
        f"output path '{path}' should be a non-executable regular file "
        "since recursive hashing is not enabled (outputHashMode=flat)"
    )
