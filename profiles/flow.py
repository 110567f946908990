"""The steps of `verglas profile`, put together: prepare (read, resolve), compare, realise, finish.

Each verb in `commands/profile_*.py` uses some of them. What is shown is decided here once, so that `plan` and `apply`
speak alike. Creates the evaluation's session.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluator.session import Session
from profiles.closure_diff import ClosureDiff, diff_closures
from profiles.closures import closure_sizes
from profiles.elements import parse_manifest
from profiles.generations import current_link, declaration_dir
from profiles.live import commit, declared_text, live_generation
from profiles.lock import Lock, parse_lock, read_lock
from profiles.manifest import parse_declaration, read_declaration
from profiles.printed_data import NotPlainError
from profiles.profile_options import lock_path
from profiles.resolve import Everything, Resolution, resolve, selected_names
from profiles.store_reader import StoreReader
from profiles.switch import build_environment, record_of, run_hooks, write_lock
from storefs import logs
from storefs.api import Missing
from storefs.errors import StoreError
from storefs.formats.derived_path import DerivedPath

if TYPE_CHECKING:
    from collections.abc import Collection

    from profiles.declaration import Declaration
    from profiles.elements import Element
    from profiles.generations import Generation
    from profiles.profile_options import Place
    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.store_path import StorePath


_NOTHING = Missing(frozenset(), frozenset(), frozenset(), 0, 0)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A declaration and what it means.

    Attributes:
        place: where its files and its profile are.
        session: has the store, and writes to it.
        declaration: what is wanted.
        resolution: what that is.
        targets: what is not valid yet.
    """

    place: Place
    session: Session
    declaration: Declaration
    resolution: Resolution
    targets: list[DerivedPath]


def prepare(
    place: Place, config: Config, *, text: bytes | None = None, upgrade: Collection[str] | Everything = ()
) -> Prepared:
    """Read and resolve a declaration.

    Args:
        place: its files.
        config: the store's.
        text: what to read instead of the file.
        upgrade: see `resolve`.

    Raises:
        ManifestError, PackageError, StoreError, NixError.
    """
    if text is None:
        declaration = read_declaration(place.manifest, config.home)
    else:
        declaration = parse_declaration(text, place.manifest, config.home)
    lock = read_lock(place.lock)
    _check_upgrade(upgrade, declaration)
    session = Session(config)
    resolution = session.run(lambda: resolve(session, declaration, lock, logs.info, upgrade))
    return Prepared(place, session, declaration, resolution, _unrealised(session, resolution))


def missing_of(prepared: Prepared) -> Missing:
    """Return what realising it would take: asks the substituters, which whoever realises it does anyway."""
    return prepared.session.missing(prepared.targets) if prepared.targets else _NOTHING


def realise(prepared: Prepared) -> None:
    """Build and download what is missing.

    Raises:
        StoreError: something could not be built; with every failure's text and Nix's exit status.
    """
    if not prepared.targets:
        return
    prepared.session.require_success(prepared.session.build(prepared.targets))


def join(prepared: Prepared) -> StorePath:
    """Make the environment of what is realised, a tree in the store; the profile is not touched.

    Raises:
        PackageError: packages conflict.
    """
    session = prepared.session
    return build_environment(session.store, prepared.declaration, prepared.resolution, session.config)


def finish(prepared: Prepared, environment: StorePath) -> Generation:
    """Make a generation of an environment, and make it live.

    Raises:
        HookError: it is live, and a hook failed.
    """
    place, session = prepared.place, prepared.session
    lock_text = write_lock(place.lock, prepared.resolution.lock)
    generation = commit(
        place.profile,
        session.store.directory.print(environment),
        session.config,
        record=record_of(prepared.declaration, prepared.resolution, lock_text, session.settings.current_system),
        sources={name: channel.store_path for name, channel in prepared.resolution.lock.channels.items()},
        store=session.store,
    )
    assert generation is not None
    run_hooks(prepared.declaration.activation, place.profile, generation, session.config)
    return generation


def elements_of(store: Store, generation: Generation | None) -> list[Element]:
    """Return the packages of a generation; none for None.

    Raises:
        StoreError: its manifest can't be read.
    """
    if generation is None:
        return []
    try:
        text = StoreReader(store).read_file(f"{generation.path}/manifest.nix")
    except OSError as error:
        raise StoreError(f"generation {generation.number} has no readable manifest.nix: {error.strerror}") from error
    try:
        return parse_manifest(text.decode("utf-8", "surrogateescape"))
    except NotPlainError as error:
        raise StoreError(f"generation {generation.number}: {error}") from None


def compare_generations(store: Store, before: Generation | None, after: Generation | None) -> ClosureDiff:
    """Return how the packages of two generations differ, with all that they need; None stands for an empty one.

    Raises:
        StoreError: what one of them needs is not in the store any more.
    """
    old, new = _side(store, before), _side(store, after)
    return diff_closures(old[0], new[0], old[1], new[1])


def _side(store: Store, generation: Generation | None) -> tuple[dict[str, int], list[str]]:
    """The closure of a generation's packages, and the names of those that were asked for."""
    if generation is None:
        return {}, []
    if StoreReader(store).file_type(f"{generation.target()}/manifest.nix") is None:
        # Made by `nix-env --set`: the generation is the package.
        return closure_sizes(store, [store.directory.to_store_path(generation.target())[0]]), []
    elements = elements_of(store, generation)
    paths = [store.directory.parse(path) for each in elements for path in each.outputs.values()]
    return closure_sizes(store, paths), selected_names(elements)


def compare_with_plan(prepared: Prepared) -> ClosureDiff:
    """Return how what is declared differs from what is live.

    What is not built or downloaded yet has no known references; it counts with its own outputs only, without a size.
    """
    store = prepared.session.store
    live = live_generation(prepared.place.profile)
    old = elements_of(store, live)
    new = prepared.resolution.elements
    before: dict[str, int] = {}
    if live is not None:
        before = closure_sizes(store, [store.directory.parse(path) for each in old for path in each.outputs.values()])
    wanted = [store.directory.parse(path) for element in new for path in element.outputs.values()]
    valid = store.valid_paths(wanted)
    after = closure_sizes(store, valid)
    after.update({path.base_name: 0 for path in wanted if path not in valid})
    return diff_closures(before, after, selected_names(old), selected_names(new))


def declaration_of(generation: Generation, home: str) -> tuple[Declaration, Lock] | None:
    """Return the declaration and the lock that made a generation, None if it was not made from any."""
    texts = declared_text(generation)
    if texts is None:
        return None
    path = f"{declaration_dir(generation.path)}/profile.yaml"
    return parse_declaration(texts[0], path, home), parse_lock(texts[1], lock_path(path))


def is_profile_new(place: Place) -> bool:
    """Whether the profile has no live generation."""
    return not current_link(place.profile) or not os.path.lexists(place.profile)


def _unrealised(session: Session, resolution: Resolution) -> list[DerivedPath]:
    """The targets whose outputs are not all valid."""
    store, directory = session.store, session.store.directory
    outputs = {path for element in resolution.elements for path in element.outputs.values()}
    valid = {directory.print(path) for path in store.valid_paths([directory.parse(path) for path in outputs])}
    unrealised = []
    for element in resolution.elements:
        absent = [name for name, path in sorted(element.outputs.items()) if path not in valid]
        if absent and element.drv_path:
            unrealised.append(DerivedPath(directory.parse(element.drv_path), tuple(absent)))
        else:
            unrealised += [DerivedPath(directory.parse(element.outputs[name])) for name in absent]
    return unrealised


def _check_upgrade(upgrade: Collection[str] | Everything, declaration: Declaration) -> None:
    if isinstance(upgrade, Everything):
        return
    known = {*declaration.channels, *(package.label for package in declaration.packages)}
    for name in upgrade:
        if name not in known:
            import difflib  # noqa: PLC0415  only when something is wrong

            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise StoreError(f"'{name}' is neither a package nor a channel of '{declaration.path}'{hint}")
