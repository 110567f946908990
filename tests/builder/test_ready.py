"""In which order builds are tried, and how often: by goals alone, without a builder."""

from __future__ import annotations

from builder.goal import Goal
from builder.ready import Attempt, ReadyBuilds
from storefs.formats.derivation import Derivation
from storefs.formats.store_path import StorePath


def goal(number: int, system: str = "x86_64-linux", **env: str) -> Goal:
    path = StorePath(f"{number:032}-g{number:04}.drv")
    return Goal(path, Derivation(f"g{number:04}", {}, {}, set(), system, "/bin/sh", [], env), None)


class Machine:
    """One place; counts what it is asked, and who gets it."""

    def __init__(self) -> None:
        self.free = 1
        self.asked: list[Goal] = []
        self.started: list[Goal] = []
        self.answer = Attempt.NO_ROOM

    def attempt(self, goal: Goal) -> Attempt:
        self.asked.append(goal)
        if not self.free:
            return self.answer
        self.free -= 1
        self.started.append(goal)
        return Attempt.STARTED

    def run_all(self, ready: ReadyBuilds) -> None:
        while ready:
            ready.start(self.attempt)
            self.free = 1


def test_the_number_of_questions_is_linear() -> None:
    ready, machine = ReadyBuilds(), Machine()
    goals = [goal(number) for number in range(1000)]
    for each in reversed(goals):
        ready.add(each)
    machine.run_all(ready)
    assert machine.started == goals
    assert len(machine.asked) <= 3000


def test_each_is_asked_for_once_for_itself() -> None:
    """A hook may decide by the derivation's name."""
    ready, machine = ReadyBuilds(), Machine()
    machine.free = 0
    goals = [goal(number) for number in range(20)]
    for each in goals:
        ready.add(each)
    ready.start(machine.attempt)
    assert machine.asked == goals
    ready.start(machine.attempt)
    assert machine.asked == [*goals, goals[0]]


def test_kinds_do_not_wait_for_each_other() -> None:
    ready, machine = ReadyBuilds(), Machine()
    machine.free = 0
    kinds = [goal(0), goal(1, "i686-linux"), goal(2, requiredSystemFeatures="kvm"), goal(3, preferLocalBuild="1")]
    for each in [*kinds, goal(4), goal(5, "i686-linux")]:
        ready.add(each)
    ready.start(machine.attempt)
    machine.asked.clear()
    ready.start(machine.attempt)
    assert machine.asked == kinds


def test_what_is_postponed_waits_behind_its_kind() -> None:
    ready, machine = ReadyBuilds(), Machine()
    machine.free, machine.answer = 0, Attempt.POSTPONED
    goals = [goal(number) for number in range(3)]
    for each in goals:
        ready.add(each)
    for _ in range(5):
        ready.start(machine.attempt)
        assert ready.postponed
    assert machine.asked == [*goals, *goals, goals[0]]
    machine.run_all(ready)
    assert not ready.postponed
    assert sorted(machine.started, key=Goal.order) == goals


def test_what_has_a_malformed_attribute_is_a_kind_too() -> None:
    ready, machine = ReadyBuilds(), Machine()
    machine.free = 0
    ready.add(goal(0, __json="{"))
    ready.start(machine.attempt)
    machine.run_all(ready)
    assert len(machine.started) == 1
