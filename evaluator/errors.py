"""Errors of Nix programs, and how they are shown: texts and form are those of current Nix.

`NixError` and its subclasses say that the Nix expression is wrong, never that the evaluator is. Only AssertionError and
ThrownError are caught by `builtins.tryEval`. An error carries positions as integers (see source.py); `positions` is set
at the border of the evaluation (evaluation.py), after which `str(error)` is the full report without the leading
"error: ", whose continuation lines are indented to stand below it. This module knows nothing of values.
"""

from __future__ import annotations

from evaluator.source import DERIVATION_NIX
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from evaluator.source import Position, Positions

#: No position at all.
NO_POS = 0
#: The position of the call of the builtin that is running; the evaluator fills it in when the error leaves the builtin.
CALL_SITE = -1

_RED = "\x1b[31;1m"
_BLUE = "\x1b[34;1m"
_YELLOW = "\x1b[35;1m"
_NORMAL = "\x1b[0m"
_INDENT = " " * 7  # the length of "error: "
_FEW_FRAMES = 5  # so many repeated frames of a trace are shown and not counted


class Shown:
    """A value in a message, which is then a tuple of texts and these.

    It is written out when somebody reads the message, so raising an error costs little.
    """

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class NixError(StoreError):
    """An error of the Nix program.

    `message` is one paragraph or more, `pos` where it happened, `call_pos` the call of the function that found it,
    `traces` (pos, text) from the inside to the outside, `suggestions` names that were perhaps meant.
    """

    def __init__(
        self, message: str | tuple[str | Shown, ...], pos: int = CALL_SITE, suggestions: Iterable[str] = ()
    ) -> None:
        super().__init__(message)
        self._message = message
        self.pos = pos
        self.suggestions = tuple(suggestions)
        self.traces: list[tuple[int, str | tuple[str | Shown, ...]]] = []
        self.call_pos = NO_POS
        self.positions: Positions | None = None
        self.show_trace = False

    @property
    def message(self) -> str:
        """The text without positions and traces."""
        return self._written(self._message)

    def _written(self, message: str | tuple[str | Shown, ...]) -> str:
        if isinstance(message, str):
            return message
        positions = self.positions
        if positions is None:
            return "".join([part if isinstance(part, str) else "…" for part in message])
        parts = [part if isinstance(part, str) else positions.show_value(part.value) for part in message]
        return "".join(parts)

    def introduce(self, text: str) -> None:
        """Put a text before the message: what the user had asked for, where that is not in the expression."""
        message = self._message
        self._message = text + message if isinstance(message, str) else (text, *message)

    def add_trace(self, pos: int, text: str | tuple[str | Shown, ...]) -> None:
        """Remember what was being done when the error passed by. Nearest first; an empty text says nothing."""
        if text:
            self.traces.append((pos, text))

    def of_operator(self, pos: int) -> NixError:
        """Return this error, blaming the operator at `pos`, which is shown when no trace is; CALL_SITE in a builtin."""
        if pos != CALL_SITE:
            self.pos = NO_POS
            self.call_pos = pos
        return self

    def settle(self, pos: int) -> None:
        """Replace CALL_SITE by `pos`: the error leaves the builtin that was called there."""
        if self.pos == CALL_SITE:
            self.pos = pos
        if self.traces and self.traces[-1][0] == CALL_SITE:
            self.traces = [(pos if p == CALL_SITE else p, text) for p, text in self.traces]

    def leave_builtin(self, pos: int, name: str) -> None:
        """Note that the error leaves the builtin `name`, called at `pos`: a trace says so, and where CALL_SITE is."""
        if self.pos == CALL_SITE:
            self.pos = NO_POS
            self.call_pos = pos
        if self.traces and self.traces[-1][0] == CALL_SITE:
            self.traces = [(NO_POS if p == CALL_SITE else p, text) for p, text in self.traces]
        # The one builtin whose purpose is a line of the trace needs no second one.
        if name != "addErrorContext":
            self.traces.append((pos, f"while calling the '{name}' builtin"))

    def visible_traces(self) -> list[tuple[int, str]]:
        """Return the traces that a user wants to see: not those inside the definition of `derivation`."""
        return [(pos, self._written(text)) for pos, text in self.traces if not self._is_ours(pos)]

    def _is_ours(self, pos: int) -> bool:
        """Whether a position is in the definition of `derivation`, of which users know nothing."""
        source = None if self.positions is None else self.positions.source_of(pos)
        return source is not None and source.name == DERIVATION_NIX

    def report(self, show_trace: bool = False, colour: bool = False) -> str:
        """Return the report, from after "error:" on, as current Nix prints it.

        The trace goes from the outside in, so that what went wrong stands last, nearest to the prompt.
        """
        traces = self._trace_lines(colour) if show_trace else []
        lines = [self.message]
        if traces:
            lines += self._where(self.pos, "", colour)
        else:
            place = self._place()
            lines += self._where(place, "", colour)
            if self.pos and self.call_pos != place:
                lines += self._where(self.call_pos, "called ", colour)
        if self.suggestions:
            names = [f"{_YELLOW}{name}{_NORMAL}" if colour else name for name in self.suggestions]
            meant = names[0] if len(names) == 1 else "one of " + ", ".join(names[:-1]) + " or " + names[-1]
            lines.append(f"Did you mean {meant}?")
        if traces:
            word = f"{_RED}error:{_NORMAL}" if colour else "error:"
            lines = ["", *traces, *f"{word} {lines[0]}".split("\n"), *lines[1:]]
        lines = "\n".join(lines).rstrip().split("\n")
        return "\n".join([lines[0].rstrip(), *[(_INDENT + line).rstrip() for line in lines[1:]]])

    def _place(self) -> int:
        """Return the position that an error without its trace must tell: the nearest call that is to blame.

        What the program says itself, by `throw` and `abort`, is about something else than that call.
        """
        place = self.pos or self.call_pos
        if (place and not self._is_ours(place)) or isinstance(self, (ThrownError, Abort)):
            return place
        return next((pos for pos, _ in self.visible_traces() if pos > 0), place)

    def _where(self, pos: int, margin: str, colour: bool) -> list[str]:
        place = self.positions.resolve(pos) if self.positions is not None else None
        if place is None:
            return []
        head, *lines = _place(place, colour)
        return [margin + head, *lines]

    def _trace_lines(self, colour: bool) -> list[str]:
        """The trace, each frame once: many that repeat are only counted."""
        out: list[str] = []
        seen: set[tuple[int, str]] = set()
        skipped: list[tuple[int, str]] = []

        def show(frame: tuple[int, str]) -> None:
            pos, text = frame
            out.extend([f"… {text}", *self._where(pos, "  ", colour), ""])

        def show_skipped() -> None:
            if len(skipped) > _FEW_FRAMES:
                out.extend([f"({len(skipped)} duplicate frames omitted)", ""])
                seen.clear()
            else:
                for frame in skipped:
                    show(frame)
            skipped.clear()

        for frame in reversed(self.visible_traces()):
            if frame in seen:
                skipped.append(frame)
                continue
            seen.add(frame)
            show_skipped()
            show(frame)
        show_skipped()
        return out

    def __str__(self) -> str:
        text = self.report(self.show_trace)
        shown = (self._place(), self.call_pos)
        if not self.show_trace and any(pos not in shown for pos, _ in self.visible_traces()):
            text += "\n(use '--show-trace' to show detailed location information)"
        return text


def _place(place: Position, colour: bool) -> list[str]:
    """Return "at FILE:LINE:COLUMN:" and the lines around, with a caret."""
    where = place.where()
    out = [f"{_BLUE}at {_YELLOW}{where}{_NORMAL}:" if colour else f"at {where}:"]
    source = place.source
    error_line = source.line(place.line)
    if error_line is None:
        return out
    if place.line > 1:
        out.append(f" {place.line - 1:5d}| {source.line(place.line - 1)}")
    caret = f"{_RED}^{_NORMAL}" if colour else "^"
    out += [f" {place.line:5d}| {error_line}", "      |" + " " * place.column + caret]
    following = source.line(place.line + 1)
    if following is not None:
        out.append(f" {place.line + 1:5d}| {following}")
    return out


def best_matches(names: Iterable[str], wanted: str) -> tuple[str, ...]:
    """Return at most five of `names` within two edits of `wanted`, the nearest first."""
    length = len(wanted)
    near = []
    for name in names:
        if abs(len(name) - length) <= 2:
            distance = _levenshtein(wanted, name)
            if distance <= 2:
                near.append((distance, name))
    return tuple(name for _, name in sorted(near)[:5])


def _levenshtein(first: str, second: str) -> int:
    previous = list(range(len(second) + 1))
    for i, a in enumerate(first):
        current = [i + 1]
        for j, b in enumerate(second):
            current.append(min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a != b)))
        previous = current
    return previous[-1]


class ParseError(NixError):
    """The text is not a Nix expression."""


class EvalError(NixError):
    """Evaluation failed."""


class NixTypeError(EvalError):
    """A value of the wrong type."""


class NixAssertionError(EvalError):
    """An `assert` failed. Caught by tryEval."""


class ThrownError(NixAssertionError):
    """`throw`, or a file that the search path lacks. Caught by tryEval."""


class Abort(EvalError):
    """`abort`."""


class UndefinedVarError(NixError):
    """A variable that nothing defines."""


class MissingArgumentError(EvalError):
    """A function called automatically lacks an argument without default."""


class RestrictedPathError(NixError):
    """Restricted or pure evaluation forbids this access."""


class InfiniteRecursion(EvalError):
    """A value needs itself; `start` is its thunk."""

    def __init__(self, pos: int = CALL_SITE, start: object = None) -> None:
        super().__init__("infinite recursion encountered", pos)
        self.start = start


class StackOverflow(EvalError):
    """Calls nest too deeply."""

    def __init__(self, pos: int = NO_POS) -> None:
        super().__init__("stack overflow (possible infinite recursion)", pos)


class Interrupted(BaseException):
    """The user interrupted the evaluation (SIGINT); not an error of the program, so nothing catches it by accident."""
