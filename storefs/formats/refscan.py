"""Finds which store paths some bytes refer to, by looking for their hash parts.

A path counts as referenced if and only if its 32-character hash part occurs anywhere in the bytes; nothing need
precede it. Sans-I/O, fed piece by piece. Used by the builder (outputs), `castore/ingest.py` and content addressing.
Semantics: `RefScanSink` of Nix 2.8's references.cc; Dolstra's thesis, section 5.2.2.

It runs over every byte that is ever built, so it must keep up with hashing: in compiled code (`hash_part_search`), or,
where that is not compiled, without a loop per byte:

1. Every sixth byte is looked at. Thirty-two characters in a row from the base-32 alphabet show there as five in a row;
   `translate` and `find` skip what has no such run (all but a few hundred bytes per megabyte of machine code). Where
   there are many, as in prose, every third byte is looked at, which then show as ten in a row.
2. Around each run, or in the whole piece when there are many even so (base-64, hexadecimal), the bytes are read as
   64-bit words. Thirty-two bytes cover three whole aligned words, one of which has a number divisible by three; so it
   is enough to look up every third word in a set of all 8-byte substrings of all candidates. The cost does not depend
   on the number of candidates.
3. Only where that set is hit is the candidate itself searched for.
"""

from __future__ import annotations

from sys import byteorder

from storefs.formats.hash_part_search import SEARCHES, HashPartSearch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HASH_LENGTH = 32

_PIECE = 1 << 16  # fits the second-level cache together with its sample
_STRIDES = (6, 3)  # from the fastest look to the closest one
_RUNS = tuple(b"y" * (HASH_LENGTH // stride) for stride in _STRIDES)
_RETRY = 32  # pieces after which the fastest look is tried again
_MANY = 48  # runs in one piece, from where on one look at all of it is cheaper than a look at each
_ALPHABET = b"0123456789abcdfghijklmnpqrsvwxyz"
_WHOLE = b"y" * HASH_LENGTH
_IS_BASE32 = bytes(ord("y") if byte in _ALPHABET else ord(".") for byte in range(256))


class ReferenceScanner:
    """Scans a stream for a fixed set of hash parts.

    Args:
        hash_parts: the candidates, 32 characters each.

    Attributes:
        found: the candidates seen so far.
    """

    __slots__ = ("_level", "_pieces", "_search", "_tail", "_wanted", "_words", "found")

    def __init__(self, hash_parts: Iterable[str]) -> None:
        self.found: set[str] = set()
        self._wanted: set[bytes] = set()
        self._words: dict[int, tuple[bytes, ...]] = {}
        self._tail = b""
        self._level = 0  # what the last piece needed: an index of _STRIDES, or beyond it for all words
        self._pieces = 0
        self._search: HashPartSearch | None = None
        for text in hash_parts:
            part = text.encode("ascii")
            if len(part) != HASH_LENGTH:
                raise ValueError(f"'{text}' is not the hash part of a store path")
            self._wanted.add(part)
        if SEARCHES and all(part.translate(_IS_BASE32) == _WHOLE for part in self._wanted):
            self._search = HashPartSearch(list(self._wanted))
            return
        for part in self._wanted:
            for word in _words_of(part):
                self._words[word] = (*self._words.get(word, ()), part)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Scan the next bytes of the stream; a hash part may begin in one call and end in a later one."""
        if not self._wanted or not data:
            return
        data = memoryview(data)
        joint = self._tail + bytes(data[: HASH_LENGTH - 1])
        if self._tail and len(joint) >= HASH_LENGTH:
            self._scan(joint)
        if self._search is not None:
            self._scan(data)
        else:
            step = _PIECE - HASH_LENGTH + 1
            for start in range(0, max(len(data) - HASH_LENGTH + 1, 0), step):
                self._scan(bytes(data[start : start + _PIECE]))
        rest = bytes(data[max(len(data) - HASH_LENGTH + 1, 0) :])
        self._tail = (self._tail + rest)[-(HASH_LENGTH - 1) :] if len(rest) < HASH_LENGTH - 1 else rest

    def boundary(self) -> None:
        """Say that what comes next does not continue what came before, as between two files."""
        self._tail = b""

    def _scan(self, piece: bytes | memoryview) -> None:
        if self._search is not None:
            self.found.update(part.decode("ascii") for part in self._search.search(piece))
            return
        if not self._wanted:
            return
        piece = bytes(piece)
        self._pieces += 1
        if self._pieces % _RETRY == 0:
            self._level = 0
        done = 0
        while self._level < len(_STRIDES):
            done = self._look_at_runs(piece, done, _STRIDES[self._level], _RUNS[self._level])
            if done >= len(piece):
                return
            self._level += 1
        self._look(piece[done:])

    def _look_at_runs(self, piece: bytes, begin: int, stride: int, run: bytes) -> int:
        """Look around runs from `begin` on; return the length of the piece, or where too many of them end it."""
        sample = piece[begin::stride].translate(_IS_BASE32)
        start = sample.find(run)
        runs = 0
        while start >= 0:
            runs += 1
            if runs > _MANY:
                return max(begin + stride * (start - 1) + 1, begin)
            end = sample.find(b".", start + len(run))
            if end < 0:
                end = len(sample)
            region = piece[max(begin + stride * (start - 1) + 1, begin) : begin + stride * end]
            if _WHOLE in region.translate(_IS_BASE32):
                self._look(region)
            start = sample.find(run, end)
        return len(piece)

    def _look(self, region: bytes) -> None:
        words = memoryview(region)[: len(region) & ~7].cast("Q")[::3]
        if self._words.keys().isdisjoint(words):
            return
        for word in self._words.keys() & set(words):
            for part in self._words.get(word, ()):
                if part in self._wanted and part in region:
                    self._discard(part)

    def _discard(self, part: bytes) -> None:
        self.found.add(part.decode("ascii"))
        self._wanted.discard(part)
        for word in _words_of(part):
            left = tuple(other for other in self._words.get(word, ()) if other != part)
            if left:
                self._words[word] = left
            else:
                self._words.pop(word, None)


def _words_of(part: bytes) -> set[int]:
    return {int.from_bytes(part[at : at + 8], byteorder) for at in range(len(part) - 7)}
