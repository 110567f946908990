"""Graphs of references: closures, forwards and backwards, and orders in which everything comes after what it needs.

Works on any `storefs.api.Store`; one that answers for many paths at once (`ranked_closure`) is asked so.

Paths are ordered by ranks, their places among all names sorted: numbers are compared a hundred times while two names
are once.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.path_info import InvalidPathError
from storefs.stores.known_outputs import known_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from storefs.api import Store
    from storefs.formats.store_path import StorePath

    Graph = dict[StorePath, tuple[StorePath, ...]]


class ReferenceCycleError(StoreError):
    """Paths refer to each other in a circle, so none can come first."""


def closure_graph(store: Store, paths: Iterable[StorePath]) -> Graph:
    """What ``paths`` reach by references, themselves included: each path with its references, sorted.

    Raises InvalidPathError.
    """
    fast = getattr(store, "ranked_closure", None)
    if fast is not None:
        names: list[StorePath]
        names, ranked = fast(paths)
        name = names.__getitem__
        return {path: tuple(map(name, ranks)) for path, ranks in zip(names, ranked, strict=True)}
    result: Graph = {}
    todo = list(paths)
    while todo:
        path = todo.pop()
        if path not in result:
            result[path] = store.path_info(path).references
            todo.extend(each for each in result[path] if each not in result)
    return result


def ordered_closure(store: Store, paths: Iterable[StorePath]) -> list[StorePath]:
    """What ``paths`` reach by references, themselves included, as `references_first` orders it.

    Raises InvalidPathError, ReferenceCycleError.
    """
    fast = getattr(store, "ranked_closure", None)
    if fast is None:
        graph = closure_graph(store, paths)
        return references_first(graph, graph)
    return _by_rank(*fast(paths))


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
    names = sorted(set(paths), key=_base_name)
    ranks = {path: rank for rank, path in enumerate(names)}
    return _by_rank(names, [[ranks[each] for each in graph.get(path, ()) if each in ranks] for path in names])


def _base_name(path: StorePath) -> str:
    return path.base_name


def _by_rank(names: list[StorePath], ranked: Sequence[Sequence[int]]) -> list[StorePath]:
    """Depth first from each path in turn, each as soon as its last reference is out."""
    result: list[StorePath] = []
    untouched, entered, done = 0, 1, 2
    states = bytearray(len(names))
    for start in range(len(names)):
        if states[start] != untouched:
            continue
        states[start] = entered
        stack = [(start, iter(ranked[start]))]
        while stack:
            rank, references = stack[-1]
            for reference in references:
                state = states[reference]
                if state == untouched:
                    states[reference] = entered
                    stack.append((reference, iter(ranked[reference])))
                    break
                if state == entered and reference != rank:
                    raise ReferenceCycleError(
                        f"cycle detected in the references of '{names[reference].base_name}' "
                        f"from '{names[rank].base_name}'"
                    )
            else:
                stack.pop()
                states[rank] = done
                result.append(names[rank])
    return result


def sorted_references_first(store: Store, paths: Iterable[StorePath]) -> list[StorePath]:
    """Valid ``paths`` sorted so that each comes after those of them that it refers to."""
    paths = list(paths)
    graph = {path: store.path_info(path).references for path in paths}
    return references_first(graph, paths)
