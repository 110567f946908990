"""The builds that could start now, in the order in which they are tried. Pure; for `scheduler`, in one thread.

Whether another machine takes a build is a question to somebody else: a program, or locks in the file system. So none
is asked for again just because another one has ended. Each is asked for once when it becomes ready. After that its
answer is taken to be that of all builds of its kind, which differ in nothing that a machine is chosen by: of each kind
only the first is tried, and the next one only after it was started. N builds that become ready in N rounds are 3 N
questions at most, where one question for each ready build in each round would be N * N.
"""

from __future__ import annotations

import heapq

from builder.environment import BadAttributeError, BuildAttributes
from storefs.api import BuildMode
from storefs.records import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.goal import Goal

    _Kind = tuple[str, tuple[str, ...], bool, BuildMode]
    _Entry = tuple[tuple[object, ...], int, Goal]


class Attempt(Enum):
    """What became of trying to start a build."""

    STARTED = "started"
    NO_ROOM = "no room"  # until one of those that run has ended
    POSTPONED = "postponed"  # by somebody who does not say until when


class _Queue:
    """Goals by their order."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, goal: Goal, rank: int) -> None:
        heapq.heappush(self._heap, ((rank, *goal.order()), id(goal), goal))

    def pop(self) -> Goal:
        return heapq.heappop(self._heap)[2]

    @property
    def first(self) -> _Entry:
        return self._heap[0]


class ReadyBuilds:
    """Goals that only need a place.

    Attributes:
        postponed: whether some must be tried again after a while, even if nothing ends.
    """

    def __init__(self) -> None:
        self._fresh = _Queue()
        self._tried: dict[_Kind, _Queue] = {}
        self._rank = 0
        self.postponed = False

    def __bool__(self) -> bool:
        return bool(self._fresh) or any(self._tried.values())

    def add(self, goal: Goal) -> None:
        """A build became ready."""
        self._fresh.push(goal, 0)

    def start(self, attempt: Callable[[Goal], Attempt]) -> None:
        """Try to start builds, until there is nothing left to try."""
        self.postponed = False
        closed: set[_Kind] = set()
        while queues := list(self._open(closed)):
            queue = min(queues, key=lambda queue: queue.first)
            goal = queue.pop()
            outcome = attempt(goal)
            if outcome is Attempt.STARTED:
                continue
            kind = _kind(goal)
            closed.add(kind)
            rank = 0
            if outcome is Attempt.POSTPONED:
                # Behind the others of its kind: whoever postpones may have meant this one alone.
                self.postponed = True
                self._rank += 1
                rank = self._rank
            self._tried.setdefault(kind, _Queue()).push(goal, rank)

    def _open(self, closed: set[_Kind]) -> Iterator[_Queue]:
        if self._fresh:
            yield self._fresh
        yield from (queue for kind, queue in self._tried.items() if queue and kind not in closed)


def _kind(goal: Goal) -> _Kind:
    assert goal.derivation is not None
    try:
        attributes = BuildAttributes(goal.derivation)
        features = tuple(sorted(attributes.required_features()))
        local = attributes.boolean("preferLocalBuild")
    except BadAttributeError:
        features, local = (), True  # it will fail here, and say so
    return goal.derivation.system, features, local, goal.mode
