"""`verglas why-depends`: through which references one path needs another."""

from __future__ import annotations

import os
import sys

from storefs.errors import UsageError
from storefs.installable_options import INSTALLABLES
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from storefs.api import Store
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

    Graph = Mapping[StorePath, tuple[StorePath, ...]]

COMMAND = Command(
    "verglas why-depends",
    "Show why one path needs another",
    operands="PATH DEPENDENCY | -f FILE ATTRIBUTE DEPENDENCY",
    installables=True,
    options=(
        Option("--all", "-a", help="all ways, not only a shortest one"),
        Option("--precise", help="also show which files mention the dependency, and where"),
        *INSTALLABLES,
    ),
    examples=(("verglas why-depends ./result $(readlink -f /bin/gcc)", "how a compiler came to be needed"),),
)

_MARGIN = 32  # bytes shown on each side of a reference


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.operands import to_store_path
    from storefs.stores.any_store import open_any_store
    from storefs.stores.closure import closure_graph

    if len(invocation.operands) != 2:
        raise UsageError("two paths are wanted: the one that depends, and the one that it depends on")
    store = open_any_store(invocation.config)
    try:
        start, goal = (to_store_path(store.directory, operand) for operand in invocation.operands)
        graph = closure_graph(store, [start])
        if goal not in graph:
            show = store.directory.print
            sys.stderr.write(f"'{show(start)}' does not depend on '{show(goal)}'\n")
            return 0
        precise = invocation.flag("--precise")
        drawing = _Drawing(store, graph, goal, show_all=invocation.flag("--all"), precise=precise)
        sys.stdout.write("\n".join(drawing.draw(start)) + "\n")
    finally:
        store.close()
    return 0


def _distances(graph: Graph, goal: StorePath) -> dict[StorePath, int]:
    """How many references each path is away from the goal; those that do not reach it are missing."""
    referrers: dict[StorePath, list[StorePath]] = {}
    for path, references in graph.items():
        for reference in references:
            referrers.setdefault(reference, []).append(path)
    distances = {goal: 0}
    todo = [goal]
    for path in todo:  # grows while it is walked: breadth first
        for referrer in referrers.get(path, ()):
            if referrer not in distances:
                distances[referrer] = distances[path] + 1
                todo.append(referrer)
    return distances


class _Drawing:
    """The tree of all references that lead to the goal, or of one shortest way."""

    def __init__(self, store: Store, graph: Graph, goal: StorePath, *, show_all: bool, precise: bool) -> None:
        self._store = store
        self._graph = graph
        self._goal = goal
        self._all = show_all
        self._precise = precise
        self._distances = _distances(graph, goal)
        self._drawn: set[StorePath] = set()
        self._lines: list[str] = []

    def draw(self, start: StorePath) -> list[str]:
        self._lines = [self._store.directory.print(start)]
        self._below(start, "")
        return self._lines

    def _below(self, path: StorePath, indent: str) -> None:
        if path == self._goal or path in self._drawn:
            return
        self._drawn.add(path)
        nearer = self._next(path)
        mentions = _mentions(self._store, path, nearer) if self._precise else {}
        for index, each in enumerate(nearer):
            last = index == len(nearer) - 1
            branch, inner = ("└───", "    ") if last else ("├───", "│   ")
            shown = self._store.directory.print(each)
            for number, line in enumerate(mentions.get(each.hash_part, ())):
                self._lines.append(f"{indent}{inner if number else branch}{line}")
            self._lines.append(f"{indent}{inner}→ {shown}" if self._precise else f"{indent}{branch}{shown}")
            self._below(each, indent + inner)

    def _next(self, path: StorePath) -> list[StorePath]:
        """The references that lead to the goal, the nearest first."""
        distances = self._distances
        nearer = sorted(
            (each for each in self._graph[path] if each in distances and each != path),
            key=lambda each: (distances[each], each),
        )
        return nearer if self._all else nearer[:1]


def _mentions(store: Store, path: StorePath, references: Iterable[StorePath]) -> dict[str, list[str]]:
    """Return hash part -> lines that say which files of `path` contain it, with what is around it."""
    from storefs.formats.byte_reader import ByteReader
    from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink, parse_nar

    found: dict[str, list[str]] = {each.hash_part: [] for each in references}
    folders: list[str] = []
    name, content = "", b""
    for event in parse_nar(ByteReader(store.nar(path))):
        if isinstance(event, (Regular, Symlink, Directory)):
            _note(found, name, content)
            name, content = "/".join([*folders[1:], os.fsdecode(event.name)]) or "/", b""
        if isinstance(event, Directory):
            folders.append(os.fsdecode(event.name))
        elif isinstance(event, EndDirectory):
            folders.pop()
        elif isinstance(event, Symlink):
            target = os.fsdecode(event.target)
            for part, lines in found.items():
                if part in target:
                    lines.append(f"{name} -> {target}")
        elif not isinstance(event, Regular):
            content += event
    _note(found, name, content)
    return found


def _note(found: dict[str, list[str]], name: str, content: bytes) -> None:
    for part, lines in found.items():
        at = content.find(part.encode())
        if at >= 0:
            around = content[max(0, at - _MARGIN) : at + len(part) + _MARGIN]
            text = "".join([chr(byte) if 32 <= byte < 127 else "." for byte in around])
            lines.append(f"{name}: …{text}…")
