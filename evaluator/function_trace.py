"""`trace-function-calls`: a line on standard error when a function is entered and one when it is left, for profilers.

The format is that of Nix 2.8 (function-trace.cc), down to which calls have an "undefined position": those that `map`
and its kind put off. Tools that draw flame graphs read it. Every call is a line, so the evaluation takes many times as
long; `verglas eval --profile` draws the same picture for less.
"""

from __future__ import annotations

import time

from storefs.logs import info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.source import Positions


class FunctionTrace:
    """Is told of every call (`core.values.Counters.tracer`).

    Args:
        positions: resolves the positions of calls.
    """

    def __init__(self, positions: Positions) -> None:
        self._positions = positions
        self._entered: list[int] = []

    def enter(self, pos: int) -> None:
        """Note a call; `pos` is 0 if nobody knows where it is, -1 for what a builtin calls: that counts as its call."""
        if pos < 0:
            pos = self._entered[-1] if self._entered else 0
        self._entered.append(pos)
        self._say("entered", pos)

    def leave(self) -> None:
        """Note that the innermost call has ended, well or not."""
        self._say("exited", self._entered.pop())

    def _say(self, what: str, pos: int) -> None:
        place = self._positions.resolve(pos)
        if place is None:
            shown = "undefined position"
        else:
            file = place.source.name or f"({place.source.origin})"
            shown = f"{file}:{place.line}:{place.column}"
        info(f"function-trace {what} {shown} at {time.time_ns()}")
