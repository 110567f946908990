"""The error of contents that are not what their registration says, whichever store finds out."""

from __future__ import annotations

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.formats.hashes import Hash


class HashMismatchError(StoreError):
    """What was taken in is not what its registration says."""

    exit_code = 102

    def __init__(self, path: str, expected: Hash, got: Hash) -> None:
        texts = expected.to_string("base32", True), got.to_string("base32", True)
        super().__init__(f"hash mismatch importing path '{path}';\n  specified: {texts[0]}\n  got:       {texts[1]}")
