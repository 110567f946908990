"""`nix-store --realise`, `--repair-path`, and what else makes paths valid or whole."""

from __future__ import annotations

import sys

from builder.validity import all_valid
from storefs import logs
from storefs.api import BuildMode, Missing
from storefs.commands.operations.operands import to_path_and_outputs
from storefs.errors import StoreError
from storefs.experimental import CA_DERIVATIONS, has_feature
from storefs.formats.derived_path import DerivedPath
from storefs.stores.known_outputs import known_outputs
from storefs.stores.local import LocalStore
from storefs.stores.showing import show_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation
    from storefs.stores.remote import RemoteStore

    Store = LocalStore | RemoteStore


def realise_operands(invocation: Invocation, store: Store) -> int:
    """`nix-store --realise PATH...`: print what is valid then, and keep it with --add-root."""
    wanted = [to_path_and_outputs(store.directory, operand) for operand in invocation.operands]
    targets = [DerivedPath(path, outputs if path.is_derivation else None) for path, outputs in wanted]
    floating = has_feature(invocation.config, CA_DERIVATIONS)
    if _mode(invocation) is not BuildMode.NORMAL or not all_valid(store, targets, floating_allowed=floating):
        remaining = _realise(invocation, store, wanted, targets)
        if remaining is None:
            return 0
        wanted = remaining
    if invocation.flag("--dry-run") or invocation.flag("--ignore-unknown"):
        return 0
    root = invocation.value("--add-root")
    if root is None and any(wanted) and not invocation.flag("--no-output"):
        logs.warn("you did not specify '--add-root'; the result might be removed by the garbage collector")
    for number, (path, outputs) in enumerate(wanted, 1):
        results = _results(store, path, outputs)
        if number == 1:
            show_paths(invocation.config, store.uri, results.values())
        for line in sorted(
            _keep(invocation, store, result, root and _link_name(root, number, name))
            for name, result in results.items()
        ):
            if not invocation.flag("--no-output"):
                sys.stdout.write(line + "\n")
    return 0


def _realise(
    invocation: Invocation,
    store: Store,
    wanted: Sequence[tuple[StorePath, tuple[str, ...]]],
    targets: Sequence[DerivedPath],
) -> list[tuple[StorePath, tuple[str, ...]]] | None:
    """Say what there is to do, and do it; returns what was realised, None with --dry-run."""
    from builder.reports import missing_lines

    missing = _missing(invocation, store, targets)
    pairs = list(zip(wanted, targets, strict=True))
    if invocation.flag("--ignore-unknown"):
        pairs = [(each, target) for each, target in pairs if target.path not in missing.unknown]
        missing = Missing(
            missing.will_build, missing.will_substitute, frozenset(), missing.download_size, missing.nar_size
        )
    for line in missing_lines(missing, store):
        logs.info(line)
    if invocation.flag("--dry-run"):
        return None
    _build(invocation, store, [target for _, target in pairs], _mode(invocation))
    return [each for each, _ in pairs]


def realise_path(invocation: Invocation, store: Store, path: StorePath) -> None:
    """Make a path valid; of a derivation, all its outputs."""
    _build(invocation, store, [DerivedPath(path, () if path.is_derivation else None)], BuildMode.NORMAL)


def repairer(invocation: Invocation, store: Store) -> Callable[[StorePath], None]:
    """A function that makes a damaged valid path whole again, or raises StoreError."""
    if not isinstance(store, LocalStore):
        raise StoreError(f"repairing paths is not supported by store '{store.uri}'")

    def repair(path: StorePath) -> None:
        _build(invocation, store, [DerivedPath(path, None)], BuildMode.REPAIR)

    return repair


def _mode(invocation: Invocation) -> BuildMode:
    if invocation.flag("--repair"):
        return BuildMode.REPAIR
    return BuildMode.CHECK if invocation.flag("--check") else BuildMode.NORMAL


def _missing(invocation: Invocation, store: Store, targets: Sequence[DerivedPath]) -> Missing:
    if not isinstance(store, LocalStore):
        return store.missing(targets)
    from builder.open import open_builder_now

    with open_builder_now(invocation.config, store) as builder:
        return builder.missing_now(targets)


def _build(invocation: Invocation, store: Store, targets: Sequence[DerivedPath], mode: BuildMode) -> None:
    if not isinstance(store, LocalStore):
        store.build_paths(targets, mode.value)
        return
    from builder.open import open_builder_now
    from builder.reports import require_success

    with open_builder_now(invocation.config, store) as builder:
        require_success(builder.build_now(targets, mode), store.directory)


def _results(store: Store, path: StorePath, outputs: tuple[str, ...]) -> dict[str, StorePath]:
    """What one operand stands for: its wanted outputs by their names, or itself."""
    if not path.is_derivation:
        return {"out": path}
    derivation = store.derivation(path)
    made = known_outputs(store, derivation)
    for name in outputs or derivation.outputs:
        if name not in derivation.outputs:
            raise StoreError(f"derivation '{store.directory.print(path)}' does not have an output named '{name}'")
        if name not in made:
            raise StoreError(f"the path of output '{name}' of '{store.directory.print(path)}' is not known")
    return {name: made[name] for name in outputs or sorted(derivation.outputs)}


def _link_name(root: str, number: int, output: str) -> str:
    return root + (f"-{number}" if number > 1 else "") + ("" if output == "out" else f"-{output}")


def _keep(invocation: Invocation, store: Store, path: StorePath, link: str | None) -> str:
    if not link:
        return store.directory.print(path)
    from storefs.gc.roots import add_indirect_root, make_root_link

    store.add_temp_root(path)
    if isinstance(store, LocalStore):
        return add_indirect_root(invocation.config.state_dir, store.directory, link, path)
    link = make_root_link(store.directory, link, path)
    store.add_indirect_root(link)
    return link
