"""Sources of Nix expressions, and positions in them.

A position is one integer: the number that `Positions.add` gave to the source, plus the byte offset in its text. 0 is
"no position". Line and column are worked out only when somebody looks, and counted as Nix 2.8 counts them: lines end in
LF, CR or CR LF, columns are bytes and start at 1. Nothing here reads files; any layer of the evaluator may use it.
"""

from __future__ import annotations

from _bisect import bisect_right  # `bisect` has the same, and takes 0.2 ms more to import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: What Nix calls the file that defines `derivation`; traces do not mention it.
DERIVATION_NIX = "//builtin/derivation.nix"


class Source:
    """One text: `name` is the file's path (empty otherwise), `origin` is "file", "string" or "stdin"."""

    __slots__ = ("_line_starts", "base", "name", "origin", "text")

    def __init__(self, text: bytes, name: str = "", origin: str = "string") -> None:
        self.text = text
        self.name = name
        self.origin = origin
        self.base = 0
        self._line_starts: list[int] | None = None

    def line_starts(self) -> list[int]:
        """Return the byte offsets at which lines start, in ascending order."""
        starts = self._line_starts
        if starts is None:
            starts = [0]
            text = self.text
            crs = b"\r" in text
            at = 0
            while True:
                newline = text.find(b"\n", at)
                if crs:
                    cr = text.find(b"\r", at, len(text) if newline < 0 else newline)
                    if cr >= 0 and cr + 1 != newline:
                        newline = cr
                if newline < 0:
                    break
                at = newline + 1
                starts.append(at)
            self._line_starts = starts
        return starts

    def line(self, number: int) -> str | None:
        """Return line `number` (from 1) without its line end, or None when there is no such line."""
        starts = self.line_starts()
        if not 1 <= number <= len(starts):
            return None
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[starts[number - 1] : end].decode("utf-8", "replace").rstrip("\r\n")


class Position:
    """A resolved position. `str()` of it is how positions are mentioned inside messages."""

    __slots__ = ("column", "line", "source")

    def __init__(self, source: Source, line: int, column: int) -> None:
        self.source = source
        self.line = line
        self.column = column

    @property
    def file(self) -> str:
        """The file's path; for expressions that are not files their whole text, which is what Nix 2.8 reports."""
        if self.source.origin == "file":
            return self.source.name
        return self.source.text.decode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        return self.where()

    def where(self) -> str:
        """Return the position as it stands after "at" in an error report."""
        origin = self.source.origin
        name = self.source.name if origin == "file" else f"«{origin}»"
        return f"{name}:{self.line}:{self.column}"


class Positions:
    """The table that turns positions of all sources of one evaluation back into text. Not thread-safe.

    `show_value` writes a value for a message; whoever opens the evaluation sets it. It lies here because it says where
    functions are from, and because all that errors know of their evaluation is this table.
    """

    __slots__ = ("_bases", "_next", "_sources", "show_value")

    def __init__(self) -> None:
        self.show_value: Callable[[object], str] = repr
        self._bases: list[int] = []
        self._sources: list[Source] = []
        self._next = 1

    def add(self, source: Source) -> int:
        """Register `source`, set and return its base: position = base + byte offset."""
        source.base = base = self._next
        self._bases.append(base)
        self._sources.append(source)
        self._next = base + len(source.text) + 2
        return base

    def source_of(self, pos: int) -> Source | None:
        """Return the source that `pos` lies in, None for "no position"."""
        if pos <= 0 or not self._bases:
            return None
        return self._sources[bisect_right(self._bases, pos) - 1]

    def resolve(self, pos: int) -> Position | None:
        """Return file, line and column of `pos`, None for "no position"."""
        source = self.source_of(pos)
        if source is None:
            return None
        offset = pos - source.base
        starts = source.line_starts()
        line = bisect_right(starts, offset)
        return Position(source, line, offset - starts[line - 1] + 1)

    def show(self, pos: int) -> str:
        """Return `pos` as Nix mentions it inside a message."""
        return str(self.resolve(pos) or "undefined position")
