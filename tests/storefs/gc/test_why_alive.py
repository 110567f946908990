from __future__ import annotations

from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StorePath
from storefs.gc.why_alive import KEEPS_DERIVATION, REFERS, find_chain
from storefs.stores.local import LocalStore
from tests.storefs.gc.test_collector import add, derivation_and_output, path_named


def chain(
    store: LocalStore, path: StorePath, *roots: str, keep_derivations: bool = False
) -> list[tuple[str, str]] | None:
    found = find_chain(
        store.environment,
        path,
        {path_named(root): [f"/link/{root}"] for root in roots},
        keep_derivations=keep_derivations,
        keep_outputs=False,
    )
    if found is None:
        return None
    return [(found.reasons[0], found.root.name), *((how, step.name) for how, step in found.steps)]


def test_the_shortest_chain_is_found(local_store: LocalStore) -> None:
    add(local_store, "lib")
    add(local_store, "tool", references=("lib",))
    add(local_store, "app", references=("tool",))
    add(local_store, "suite", references=("app", "tool"))
    assert chain(local_store, path_named("lib"), "suite") == [
        ("/link/suite", "suite"),
        (REFERS, "tool"),
        (REFERS, "lib"),
    ]
    assert chain(local_store, path_named("lib"), "lib", "suite") == [("/link/lib", "lib")]
    assert chain(local_store, path_named("suite"), "lib") is None
    assert chain(local_store, path_named("never"), "lib") is None


def test_what_settings_keep_is_explained(local_store: LocalStore) -> None:
    drv, out = derivation_and_output(local_store)
    with local_store.intake() as intake:
        tree = intake.add_bytes(b"x")
        intake.register([(tree, PathInfo(path_named("app"), tree.nar_hash, tree.nar_size, [out]))])
    assert chain(local_store, drv, "app") is None
    assert chain(local_store, drv, "app", keep_derivations=True) == [
        ("/link/app", "app"),
        (REFERS, "made"),
        (KEEPS_DERIVATION, "made.drv"),
    ]
