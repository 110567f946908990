"""`nix-store --query`: everything that can be asked about paths."""

from __future__ import annotations

import sys

from storefs.commands.operations.operands import to_store_path
from storefs.errors import StoreError, UsageError
from storefs.stores import closure
from storefs.stores.known_outputs import known_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from storefs.api import Store
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

    Realise = Callable[[StorePath], None]
    FindRoots = Callable[[], dict[StorePath, list[str]]]

QUERIES = (
    "--outputs",
    "--requisites",
    "--references",
    "--referrers",
    "--referrers-closure",
    "--deriver",
    "--valid-derivers",
    "--binding",
    "--hash",
    "--size",
    "--tree",
    "--graph",
    "--graphml",
    "--resolve",
    "--roots",
)


def run_query(invocation: Invocation, store: Store, realise: Realise, find_roots: FindRoots) -> int:
    """Answer on standard output.

    Args:
        invocation: which query, its flags and operands.
        store: who is asked.
        realise: makes a path valid, for --force-realise.
        find_roots: the collector's roots, for --roots.
    """
    chosen = [name for name in QUERIES if invocation.flag(name)]
    if len(chosen) > 1:
        raise UsageError(f"query type '{chosen[1]}' conflicts with earlier flag")
    query = chosen[0] if chosen else "--outputs"
    asker = _Asker(invocation, store, realise, find_roots)
    sys.stdout.writelines(line + "\n" for line in asker.answer(query))
    return 0


class _Asker:
    def __init__(self, invocation: Invocation, store: Store, realise: Realise, find_roots: FindRoots) -> None:
        self._invocation = invocation
        self._store = store
        self._realise = realise
        self._find_roots = find_roots
        self._print = store.directory.print

    def answer(self, query: str) -> Iterable[str]:
        store = self._store
        if query == "--outputs":
            return (self._print(path) for operand in self._operands() for path in self._with_outputs(operand, True))
        if query in ("--requisites", "--references", "--referrers", "--referrers-closure"):
            return map(self._print, self._relatives(query))
        if query == "--deriver":
            infos = [store.path_info(path) for path in self._operands()]
            return [self._print(info.deriver) if info.deriver else "unknown-deriver" for info in infos]
        if query == "--valid-derivers":
            return [self._print(each) for path in self._operands() for each in store.valid_derivers(path)]
        if query == "--binding":
            return self._bindings()
        if query == "--hash":
            return [store.path_info(path).nar_hash.to_string("base32", True) for path in self._targets()]
        if query == "--size":
            return [str(store.path_info(path).nar_size) for path in self._targets()]
        if query == "--resolve":
            return [self._print(path) for path in self._operands()]
        if query == "--tree":
            return self._trees()
        if query == "--roots":
            return self._roots()
        from storefs.commands.operations.graphs import dot_graph, graphml

        draw = dot_graph if query == "--graph" else graphml
        return draw(store, self._targets())

    def _operands(self) -> list[StorePath]:
        return [to_store_path(self._store.directory, operand) for operand in self._invocation.operands]

    def _targets(self) -> list[StorePath]:
        use_output = self._invocation.flag("--use-output")
        return [path for operand in self._operands() for path in self._with_outputs(operand, use_output)]

    def _with_outputs(self, path: StorePath, use_output: bool) -> list[StorePath]:
        """The path itself, or the outputs of a derivation that stands for them."""
        if self._invocation.flag("--force-realise"):
            self._realise(path)
        if not use_output or not path.is_derivation:
            return [path]
        derivation = self._store.derivation(path)
        outputs = known_outputs(self._store, derivation)
        if len(outputs) < len(derivation.outputs):
            raise StoreError(
                "Cannot use output path of floating content-addressed derivation until we know what it is "
                f"(e.g. by building it): '{self._print(path)}'"
            )
        return sorted(outputs.values())

    def _relatives(self, query: str) -> list[StorePath]:
        store = self._store
        targets = self._targets()
        if query == "--requisites":
            if self._invocation.flag("--include-outputs"):
                found = closure.closure_with_outputs(store, targets)
                return closure.sorted_references_first(store, found)
            return closure.ordered_closure(store, targets)
        if query == "--references":
            found = {each for path in targets for each in store.path_info(path).references}
        elif query == "--referrers":
            found = {each for path in targets for each in store.referrers(path)}
        else:
            found = closure.referrers_closure(store, targets)
        return closure.sorted_references_first(store, found)

    def _bindings(self) -> Iterator[str]:
        name = self._invocation.value("--binding")
        assert name is not None
        for operand in self._operands():
            path: StorePath | None = operand
            if not operand.is_derivation:
                path = self._store.path_info(operand).deriver
                if path is None:
                    raise StoreError(f"deriver of path '{self._print(operand)}' is not known")
            assert path is not None
            value = self._store.derivation(path).env.get(name)
            if value is None:
                raise StoreError(f"derivation '{self._print(path)}' has no environment binding named '{name}'")
            yield value

    def _trees(self) -> Iterator[str]:
        done: set[StorePath] = set()
        for top in self._operands():
            graph = closure.closure_graph(self._store, [top])
            # (path, padding of its line, padding of its children's lines); a stack, because chains can be long
            stack = [(top, "", "")]
            while stack:
                path, first, rest = stack.pop()
                if path in done:
                    yield f"{first}{self._print(path)} [...]"
                    continue
                done.add(path)
                yield first + self._print(path)
                # What others need comes first, which keeps the tree flat (as in Nix); the stack turns the order round.
                children = closure.references_first(graph, graph[path])
                for index, child in enumerate(reversed(children)):
                    last = index == 0
                    stack.append((child, rest + ("└───" if last else "├───"), rest + ("    " if last else "│   ")))

    def _roots(self) -> Iterator[str]:
        config = self._invocation.config
        reaching = closure.referrers_closure(
            self._store,
            self._targets(),
            keep_outputs=config.boolean("keep-outputs"),
            keep_derivations=config.boolean("keep-derivations"),
        )
        for path, links in self._find_roots().items():
            if path in reaching:
                yield from (f"{link} -> {self._print(path)}" for link in links)
