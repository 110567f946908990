"""Graphs of references: closures, forwards and backwards, and orders in which everything comes after what it needs.

Works on any `storefs.api.Store`; one that answers for many paths at once (`reference_graph`) is asked so.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.path_info import InvalidPathError
from storefs.stores.known_outputs import known_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from storefs.api import Store
    from storefs.formats.store_path import StorePath

    Graph = dict[StorePath, tuple[StorePath, ...]]


class ReferenceCycleError(StoreError):
    """Paths refer to each other in a circle, so none can come first."""


def closure_graph(store: Store, paths: Iterable[StorePath]) -> Graph:
    """What ``paths`` reach by references, themselves included: each path with its references, sorted.

    Raises InvalidPathError.
    """
    fast = getattr(store, "reference_graph", None)
    if fast is not None:
        graph: Graph = fast(paths)
        return graph
    result: Graph = {}
    todo = list(paths)
    while todo:
        path = todo.pop()
        if path not in result:
            result[path] = store.path_info(path).references
            todo.extend(each for each in result[path] if each not in result)
    return result


def closure(store: Store, paths: Iterable[StorePath]) -> set[StorePath]:
    """What ``paths`` reach by references, themselves included; raises InvalidPathError."""
    return set(closure_graph(store, paths))


def closure_with_outputs(store: Store, paths: Iterable[StorePath]) -> set[StorePath]:
    """Like ``closure``, and every derivation in it brings its valid outputs with theirs."""
    result: set[StorePath] = set()
    todo = set(paths)
    while todo:
        new = closure(store, todo) - result
        result |= new
        outputs: set[StorePath] = set()
        for path in new:
            if path.is_derivation:
                outputs.update(known_outputs(store, store.derivation(path)).values())
        todo = store.valid_paths(outputs) - result
    return result


def referrers_closure(
    store: Store, paths: Iterable[StorePath], *, keep_outputs: bool = False, keep_derivations: bool = False
) -> set[StorePath]:
    """Every valid path that reaches one of ``paths``, themselves included; raises InvalidPathError.

    With the settings' names as switches, what a collector would keep for their sake counts as reaching.
    """
    result: set[StorePath] = set()
    todo = list(paths)
    while todo:
        path = todo.pop()
        if path in result:
            continue
        if not store.is_valid(path):
            raise InvalidPathError(store.directory, path)
        result.add(path)
        todo.extend(store.referrers(path))
        if keep_outputs:
            todo.extend(store.valid_derivers(path))
        if keep_derivations and path.is_derivation:
            for output in known_outputs(store, store.derivation(path)).values():
                info = store.find_path_info(output)
                if info and info.deriver == path:
                    todo.append(info.path)
    return result


def references_first(graph: Mapping[StorePath, Iterable[StorePath]], paths: Iterable[StorePath]) -> list[StorePath]:
    """``paths`` sorted so that each comes after those of them that it refers to; ties as Nix breaks them.

    Raises ReferenceCycleError.
    """
    wanted = set(paths)
    result: list[StorePath] = []
    done: set[StorePath] = set()
    for start in sorted(wanted):
        if start in done:
            continue
        stack = [(start, iter(graph.get(start, ())))]
        entered = {start}
        done.add(start)
        while stack:
            path, references = stack[-1]
            for reference in references:
                if reference in entered and reference != path:
                    raise ReferenceCycleError(
                        f"cycle detected in the references of '{reference.base_name}' from '{path.base_name}'"
                    )
                if reference in wanted and reference not in done:
                    done.add(reference)
                    entered.add(reference)
                    stack.append((reference, iter(graph.get(reference, ()))))
                    break
            else:
                stack.pop()
                entered.discard(path)
                result.append(path)
    return result


def sorted_references_first(store: Store, paths: Iterable[StorePath]) -> list[StorePath]:
    """Valid ``paths`` sorted so that each comes after those of them that it refers to."""
    paths = list(paths)
    graph = {path: store.path_info(path).references for path in paths}
    return references_first(graph, paths)
