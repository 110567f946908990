"""`verglas why-depends`: through which references one path needs another."""

from __future__ import annotations

import sys

from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from storefs.formats.store_path import StoreDir, StorePath
    from storefs.options import Invocation

    Graph = Mapping[StorePath, tuple[StorePath, ...]]

COMMAND = Command(
    "verglas why-depends",
    "Show why one path needs another",
    operands="PATH DEPENDENCY",
    options=(Option("--all", "-a", help="all ways, not only a shortest one"),),
    examples=(
        ("verglas why-depends ./result $(readlink -f /bin/gcc)", "how a compiler came to be needed"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.operands import to_store_path
    from storefs.stores.closure import closure_graph
    from storefs.stores.open import open_store

    if len(invocation.operands) != 2:
        raise UsageError("two paths are wanted: the one that depends, and the one that it depends on")
    store = open_store(invocation.config)
    try:
        start, goal = (to_store_path(store.directory, operand) for operand in invocation.operands)
        graph = closure_graph(store, [start])
    finally:
        store.close()
    if goal not in graph:
        sys.stderr.write(f"'{store.directory.print(start)}' does not depend on '{store.directory.print(goal)}'\n")
        return 0
    distances = _distances(graph, goal)
    lines = [store.directory.print(start)]
    _draw(graph, distances, start, goal, "", invocation.flag("--all"), lines, store.directory)
    sys.stdout.write("\n".join(lines) + "\n")
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


def _draw(
    graph: Graph,
    distances: Mapping[StorePath, int],
    path: StorePath,
    goal: StorePath,
    indent: str,
    show_all: bool,
    lines: list[str],
    directory: StoreDir,
) -> None:
    if path == goal:
        return
    nearer = sorted(
        (each for each in graph[path] if each != path and each in distances), key=lambda each: (distances[each], each)
    )
    if not show_all:
        nearer = nearer[:1]
    else:
        # A way that does not come nearer would lead in circles, and every other way is drawn where it is a shortest.
        nearer = [each for each in nearer if distances[each] < distances[path]] or nearer[:1]
    for index, each in enumerate(nearer):
        last = index == len(nearer) - 1
        lines.append(f"{indent}{'└───' if last else '├───'}{directory.print(each)}")
        _draw(graph, distances, each, goal, indent + ("    " if last else "│   "), show_all, lines, directory)
