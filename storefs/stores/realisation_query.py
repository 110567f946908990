"""Asking substituters what an output of a derivation is, and on what that rests. Blocking; nothing is registered.

Semantics: drv-output-substitution-goal.cc of Nix 2.8, with one check more: who is believed about a path's contents only
with a trusted signature is believed about a realisation only with one, because it chooses among signed paths.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.logs import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storefs.api import Store
    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StorePath
    from storefs.stores.copying import Trust
    from storefs.stores.offer_query import Source


def find_realisations(store: Store, sources: Sequence[Source], trust: Trust, output: DrvOutput) -> list[Realisation]:
    """Return the realisation of an output and those that it rests on and that are not registered yet.

    Dependencies come first; the last is that of `output`. Nothing where no substituter has one that can be true
    together with what is registered here.
    """
    for source in sources:
        found = _ask(source, trust, output)
        if found is None:
            continue
        gathered = _gather(store, [source, *(each for each in sources if each is not source)], trust, found)
        if gathered is not None:
            return gathered
    return []


def _gather(
    store: Store, sources: Sequence[Source], trust: Trust, realisation: Realisation
) -> list[Realisation] | None:
    """What a realisation rests on and itself, dependencies first; None if it can't be had, or contradicts the store."""
    ordered: list[Realisation] = []
    paths: dict[DrvOutput, StorePath] = {realisation.id: realisation.path}
    answered: dict[DrvOutput, Realisation] = {}
    entered: set[DrvOutput] = set()  # or known here; marked late, so what several rest on comes before all of these
    stack: list[tuple[Realisation, bool]] = [(realisation, False)]
    while stack:
        current, done = stack.pop()
        if done:
            ordered.append(current)
            continue
        if current.id in entered:
            continue
        entered.add(current.id)
        stack.append((current, True))
        for output, path in current.dependencies.items():
            if paths.setdefault(output, path) != path:
                return None
            if output in entered:
                continue
            local = store.realisation(output)
            if local is not None:
                if local.path == path:
                    entered.add(output)
                    continue
                warn(
                    f"substituter '{sources[0].uri}' has an incompatible realisation for '{output}', ignoring.\n"
                    f"Local:  {store.directory.print(local.path)}\n"
                    f"Remote: {store.directory.print(path)}"
                )
                return None
            found = answered.get(output)
            if found is None:
                answers = (_ask(source, trust, output) for source in sources)
                found = next((answer for answer in answers if answer is not None and answer.path == path), None)
                if found is None:
                    return None
                answered[output] = found
            stack.append((found, False))
    return ordered


def _ask(source: Source, trust: Trust, output: DrvOutput) -> Realisation | None:
    if not source.is_usable():
        return None
    found = source.realisation(output)
    if found is None:
        return None
    try:
        trust.check_realisation(found, source.uri, source_is_trusted=source.is_trusted)
    except StoreError as error:
        warn(str(error))
        return None
    return found
