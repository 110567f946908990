"""The hash of contents that mention their own store path: of what they are without it, and of where it stands.

The path is a hash of the contents, so that its hash part in them can't be known before. It is replaced by zero bytes
for hashing, and the places are hashed afterwards, so that contents with real zeros there have another hash. Where
nothing is found this is the plain hash. Sans-I/O. Semantics: `HashModuloSink` in references.cc of Nix 2.8; Dolstra's
thesis, section 6.4.1.
"""

from __future__ import annotations

from storefs.formats.hashes import Hasher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.formats.hashes import Hash


class ModuloHasher:
    """Hashes a stream.

    Args:
        algorithm: as in `sha256`.
        hash_part: the 32 characters that stand for the contents themselves.
    """

    def __init__(self, algorithm: str, hash_part: str) -> None:
        self._hasher = Hasher(algorithm)
        self._part = hash_part.encode("ascii")
        self._zeros = bytes(len(self._part))
        self._held = b""
        self._position = 0  # of the beginning of what is held
        self._places: list[int] = []

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Take in more of the contents."""
        data = self._held + piece
        found = data.find(self._part)
        while found >= 0:
            self._places.append(self._position + found)
            data = data[:found] + self._zeros + data[found + len(self._part) :]
            found = data.find(self._part, found + len(self._part))
        # What is held back may be the beginning of the hash part, never a whole one.
        cut = max(len(data) - len(self._part) + 1, 0)
        self._hasher.update(data[:cut])
        self._held = data[cut:]
        self._position += cut

    def finish(self) -> Hash:
        """Return the hash."""
        self._hasher.update(self._held)
        for place in self._places:
            self._hasher.update(b"|%d" % place)
        return self._hasher.finish()
