"""What a run looked like: a nested log on the terminal, and JUnit XML; `page` has HTML."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(slots=True)
class Entry:
    """One line of the log, with what happened inside it."""

    text: str
    machine: str = ""
    seconds: float | None = None
    at: float = 0.0  # seconds after the beginning
    failed: bool = False
    subtest: bool = False
    console: bool = False
    picture: bytes | None = None
    children: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a test ended; `failure` is None if it passed."""

    name: str
    seconds: float
    failure: str | None


class Report:
    """The log of one run. Safe for threads: the consoles of all machines write into it.

    Args:
        name: of the test.
        quiet: leave out the machines' consoles on the terminal; they are in the page and in error messages anyway.
    """

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        self.name = name
        self.root = Entry(name)
        self._open = [self.root]
        self._quiet = quiet
        self._lock = threading.Lock()
        self._colour = sys.stderr.isatty()
        self._begun = time.monotonic()

    def log(self, text: str, machine: str = "") -> Entry:
        """Add a line."""
        with self._lock:
            entry = Entry(text, machine, at=self._now())
            self._open[-1].children.append(entry)
            self._print(entry)
        return entry

    def console(self, machine: str, line: str) -> None:
        """Add a line that a machine wrote to its console."""
        with self._lock:
            self._open[-1].children.append(Entry(line, machine, at=self._now(), console=True))
            if not self._quiet:
                self._print(Entry(f"# {line}", machine), dim=True)

    def show_consoles(self, show: bool) -> None:
        """Show what machines write to their consoles on the terminal, or do not."""
        self._quiet = not show

    def picture(self, machine: str, name: str, png: bytes) -> None:
        """Add a screenshot."""
        self.log(f"screenshot {name}", machine).picture = png

    @contextmanager
    def nested(self, text: str, machine: str = "", *, subtest: bool = False) -> Iterator[None]:
        """Everything that is logged in this context belongs under `text`, which gets its time at the end."""
        entry = self.log(text, machine)
        entry.subtest = subtest
        with self._lock:
            self._open.append(entry)
        begun = time.monotonic()
        try:
            yield
        except BaseException:
            entry.failed = True
            raise
        finally:
            entry.seconds = time.monotonic() - begun
            with self._lock:
                self._open.remove(entry)
                if entry.seconds >= 0.1:
                    self._print(Entry(f"(finished: {_first_line(text)}, in {entry.seconds:.2f} seconds)", machine))

    def write_junit(self, path: Path, failure: str | None) -> None:
        """Write JUnit XML: a test case for each subtest, or one for the whole script if there are none."""
        subtests = [entry for entry in walk(self.root) if entry.subtest]
        suite = ElementTree.Element("testsuite", name=self.name)
        for entry in subtests or [self.root]:
            seconds = entry.seconds if entry.seconds is not None else time.monotonic() - self._begun
            case = ElementTree.SubElement(
                suite, "testcase", classname=self.name, name=entry.text, time=f"{seconds:.3f}"
            )
            if entry.failed or (failure and not subtests):
                ElementTree.SubElement(case, "failure", message=(failure or "failed").splitlines()[0]).text = failure
        if failure and subtests and not any(entry.failed for entry in subtests):
            case = ElementTree.SubElement(suite, "testcase", classname=self.name, name="outside of subtests")
            ElementTree.SubElement(case, "failure", message=failure.splitlines()[0]).text = failure
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(sum(case.find("failure") is not None for case in suite)))
        ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)

    def end(self) -> None:
        """Note how long the whole of it took."""
        self.root.seconds = self._now()

    def _now(self) -> float:
        return time.monotonic() - self._begun

    def _print(self, entry: Entry, *, dim: bool = False) -> None:
        indent = "  " * (len(self._open) - 1)
        prefix = f"{entry.machine}: " if entry.machine else ""
        text = f"{indent}{prefix}{entry.text}"
        if self._colour:
            text = f"\x1b[2m{text}\x1b[0m" if dim else f"\x1b[1m{text}\x1b[0m"
        print(text, file=sys.stderr, flush=True)


def walk(entry: Entry) -> Iterator[Entry]:
    """Yield everything below an entry, in the order in which it happened."""
    for child in entry.children:
        yield child
        yield from walk(child)


def _first_line(text: str) -> str:
    first, more, _ = text.partition("\n")
    return f"{first} ..." if more else first
