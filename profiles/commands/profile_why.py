"""`verglas profile why`: through which declared packages something is in the profile."""

from __future__ import annotations

import json
from contextlib import closing

from profiles.closures import closure_infos
from profiles.flow import elements_of
from profiles.live import live_generation
from profiles.package_names import BadSelectorError, PackageName, Selector
from profiles.profile_options import JSON, PROFILE, profile_of
from storefs.errors import StoreError, UsageError
from storefs.options import Command
from storefs.stores.open import open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from storefs.api import Store
    from storefs.formats.path_info import PathInfo
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile why",
    "Show through which packages something is in the profile",
    operands="PACKAGE",
    options=(PROFILE, JSON),
    description="PACKAGE is a name, as in openssl, or name and version, or a store path. The shortest chain of "
    "references from each package that was asked for is shown.",
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    if len(invocation.operands) != 1:
        raise UsageError("name one package, as in 'verglas profile why openssl'")
    word = invocation.operands[0]
    with closing(open_store(invocation.config)) as store:
        elements = elements_of(store, live_generation(profile_of(invocation)))
        roots = {store.directory.parse(path): each.name for each in elements for path in each.outputs.values()}
        infos = closure_infos(store, roots)
        wanted = _matching(store, word, infos)
    if not wanted:
        raise StoreError(f"nothing in the profile is called '{word}'")
    chains = [chain for root in roots if (chain := _shortest(root, wanted, infos))]
    if invocation.flag("--json"):
        print(json.dumps([[store.directory.print(path) for path in chain] for chain in chains]))
        return 0
    for chain in chains:
        for depth, path in enumerate(chain):
            print("    " * depth + ("└── " if depth else "") + store.directory.print(path))
    return 0


def _matching(store: Store, word: str, infos: Mapping[StorePath, PathInfo]) -> set[StorePath]:
    if store.directory.is_in_store(word):
        return {store.directory.to_store_path(word)[0]} & infos.keys()
    try:
        selector = Selector(word)
    except BadSelectorError as error:
        raise UsageError(str(error)) from None
    return {path for path in infos if selector.matches(PackageName(path.name))}


def _shortest(root: StorePath, wanted: set[StorePath], infos: Mapping[StorePath, PathInfo]) -> list[StorePath]:
    """Return the shortest chain of references from `root` to one of `wanted`, [] if there is none."""
    came_from: dict[StorePath, StorePath | None] = {root: None}
    todo = [root]
    for path in todo:  # grows while it is walked: breadth first
        if path in wanted:
            chain: list[StorePath] = []
            step: StorePath | None = path
            while step is not None:
                chain.append(step)
                step = came_from[step]
            return chain[::-1]
        for reference in infos[path].references:
            if reference not in came_from:
                came_from[reference] = path
                todo.append(reference)
    return []
