"""The hash that a path's content address promises, computed while the contents pass by.

What is named by its own content needs nobody's signature, once this hash was compared. Used wherever contents come in
from somebody else.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.content_address import FLAT, RECURSIVE, TEXT
from storefs.formats.hash_modulo import ModuloHasher
from storefs.formats.hashes import Hasher
from storefs.formats.nar import Regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.formats.content_address import ContentAddress
    from storefs.formats.hashes import Hash
    from storefs.formats.nar import Event
    from storefs.formats.path_info import PathInfo


class ContentMismatchError(StoreError):
    """Contents that do not have the hash which their path promises."""

    exit_code = 102

    def __init__(self, path: str, expected: Hash, got: Hash) -> None:
        super().__init__(
            f"ca hash mismatch importing path '{path}';\n"
            f"  specified: {expected.to_string('base32', True)}\n"
            f"  got:       {got.to_string('base32', True)}"
        )


class ContentHash:
    """Computes the hash that a content address promises, while the contents pass by.

    Args:
        address: what is promised.
        info: of the path, if it may refer to itself: the hash is then that of the contents without that.
    """

    def __init__(self, address: ContentAddress, info: PathInfo | None = None) -> None:
        self._address = address
        recursive = address.method == RECURSIVE
        refers_to_itself = info is not None and info.path in info.references
        self._is_nar_hash = recursive and address.hash.algo == "sha256" and not refers_to_itself
        self._hasher: Hasher | ModuloHasher = Hasher(address.hash.algo)
        if info is not None and refers_to_itself:
            self._hasher = ModuloHasher(address.hash.algo, info.path.hash_part)
        # To be given the NAR as well, if it is not None.
        self.nar_sink = self._hasher.update if recursive and not self._is_nar_hash else None

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass the events on, and hash the contents of a flat file."""
        flat = self._address.method in {FLAT, TEXT}
        for event in events:
            if flat and not isinstance(event, Regular):
                if not isinstance(event, (bytes, bytearray, memoryview)):
                    raise StoreError("regular file expected")
                self._hasher.update(event)
            yield event

    def finish(self, nar_hash: Hash) -> Hash:
        """Return the hash."""
        return nar_hash if self._is_nar_hash else self._hasher.finish()
