"""Reference graphs for Graphviz (`--graph`) and in GraphML (`--graphml`)."""

from __future__ import annotations

import heapq

from storefs.stores.closure import closure_graph

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from storefs.api import Store
    from storefs.formats.store_path import StorePath

_COLOURS = ("black", "red", "green", "blue", "magenta", "burlywood")


def dot_graph(store: Store, paths: Iterable[StorePath]) -> Iterator[str]:
    """Yield the lines of a Graphviz file: an edge leads from what is referred to."""
    yield "digraph G {"
    edges = 0
    for path, references in _as_found(store, paths):
        yield f'"{path}" [label = "{path.name}", shape = box, style = filled, fillcolor = "#ff0000"];'
        for reference in references:
            if reference != path:
                yield f'"{reference}" -> "{path}" [color = "{_COLOURS[edges % len(_COLOURS)]}"];'
                edges += 1
    yield "}"


def graphml(store: Store, paths: Iterable[StorePath]) -> Iterator[str]:
    """Yield the lines of a GraphML file."""
    yield "<?xml version='1.0' encoding='utf-8'?>"
    yield "<graphml xmlns='http://graphml.graphdrawing.org/xmlns'"
    yield "    xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'"
    yield "    xsi:schemaLocation='http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd'>"
    yield "<key id='narSize' for='node' attr.name='narSize' attr.type='long'/>"
    yield "<key id='name' for='node' attr.name='name' attr.type='string'/>"
    yield "<key id='type' for='node' attr.name='type' attr.type='string'/>"
    yield "<graph id='G' edgedefault='directed'>"
    for path, references in _as_found(store, paths):
        kind = "derivation" if path.is_derivation else "output-path"
        size = store.path_info(path).nar_size
        yield f'  <node id="{path}">'
        yield f'    <data key="narSize">{size}</data>'
        yield f'    <data key="name">{path.name}</data>'
        yield f'    <data key="type">{kind}</data>'
        yield "  </node>"
        for reference in references:
            if reference != path:
                yield f'  <edge source="{path}" target="{reference}"/>'
    yield "</graph>"
    yield "</graphml>"


def _as_found(store: Store, paths: Iterable[StorePath]) -> Iterator[tuple[StorePath, Sequence[StorePath]]]:
    """Yield a closure in Nix's order: of the paths that were named or referred to so far, the first comes next."""
    graph: Mapping[StorePath, Sequence[StorePath]] = closure_graph(store, paths)
    waiting = sorted(set(paths))
    known = set(waiting)
    while waiting:
        path = heapq.heappop(waiting)
        yield path, graph[path]
        for reference in graph[path]:
            if reference not in known:
                known.add(reference)
                heapq.heappush(waiting, reference)
