"""From a declaration to the generation that is live: plan it, build it, switch to it, and go back.

Everything that can fail happens first; then the lock file is written, then the generation's link, and then one rename
makes it live. A process killed at any moment leaves the old generation live or the new one. Beside each generation of
a declared profile lies what made it:

    profile-7-link -> /nix/store/...-user-environment
    profile-7-declaration/profile.yaml, profile.yaml.lock
    profile-7-declaration/source-NAME -> the expressions of a channel, kept by this link

Used by the `verglas profile` commands; `nix-env` has its own way to an environment and shares `commit`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from profiles.buildenv import ConflictError
from profiles.elements import Element
from profiles.generations import (
    choose_generation,
    create_generation,
    current_link,
    current_number,
    declaration_dir,
    find_generations,
    locked,
    switch_link,
)
from profiles.lock import print_lock
from profiles.resolve import PackageError
from profiles.store_reader import StoreReader
from profiles.user_environment import add_user_environment
from storefs import logs
from storefs.durable import replace_file, sync_directory, temporary_name
from storefs.errors import StoreError
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import Directory, EndDirectory, Symlink, write_nar
from storefs.formats.path_info import PathInfo
from storefs.gc.roots import register_indirect_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from profiles.declaration import Declaration
    from profiles.generations import Generation
    from profiles.lock import Lock, LockedChannel
    from profiles.resolve import Resolution
    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.nar import Event
    from storefs.formats.store_path import StorePath

LINKS_NAME = "profile-links"  # the element that a declaration's `links` become


@runtime_checkable
class RootKeeper(Protocol):
    """A store that registers roots itself: the client of a daemon."""

    def add_indirect_root(self, link: str) -> None:
        """Register the link at this absolute path."""


class HookError(StoreError):
    """An activation hook failed; the generation is live all the same."""


def is_live(profile: str, text: bytes, lock_text: bytes | None, system: str) -> bool:
    """Whether the live generation is what this declaration and lock file would give, told without evaluating anything.

    Reads a few small files: the generation's record, and the files with overrides. A declaration with expressions of
    its own (`path: ./x.nix`) is never known to be live.
    """
    link = current_link(profile)
    if not link or lock_text is None:
        return False
    folder = declaration_dir(os.path.join(os.path.dirname(profile), link))
    if _read(f"{folder}/profile.yaml") != text or _read(f"{folder}/profile.yaml.lock") != lock_text:
        return False
    first, *inputs = (_read(f"{folder}/inputs") or b"").decode("utf-8", "surrogateescape").splitlines() or [""]
    return first == system and all(_is_unchanged(line) for line in inputs)


def record_of(declaration: Declaration, resolution: Resolution, lock_text: bytes, system: str) -> dict[str, bytes]:
    """Return the files to keep beside the generation that a declaration makes."""
    inputs = [system]
    for package, resolved in zip(declaration.packages, resolution.packages, strict=True):
        if package.override:
            inputs.append(f"{_digest(package.override)} {package.override}")
        if package.path and package.path != resolved.element.out_path:
            inputs.append(f"- {package.path}")  # an expression may read anything
    text = "\n".join(inputs) + "\n"
    return {
        "profile.yaml": declaration.text,
        "profile.yaml.lock": lock_text,
        "inputs": text.encode("utf-8", "surrogateescape"),
    }


def _is_unchanged(line: str) -> bool:
    digest, _, path = line.partition(" ")
    return digest == _digest(path)


def _digest(path: str) -> str:
    content = _read(path)
    return "" if content is None else hash_bytes("sha256", content).to_string("base16", False)


def build_environment(store: Store, declaration: Declaration, resolution: Resolution, config: Config) -> StorePath:
    """Return the user environment of resolved packages whose outputs are all valid.

    Raises:
        PackageError: two packages conflict; says where both are declared and the ways out.
        StoreError: the store refuses.
    """
    elements = resolution.elements
    if declaration.links:
        elements = [*elements, _links_element(store, declaration.links)]
    try:
        return add_user_environment(
            store,
            elements,
            StoreReader(store),
            logs.warn,
            keep_derivations=config.boolean("keep-env-derivations"),
        )
    except ConflictError as conflict:
        raise _explain(conflict, declaration, resolution) from None


def commit(
    profile: str,
    target: str,
    config: Config,
    *,
    expected: str | None = None,
    record: Mapping[str, bytes] | None = None,
    sources: Mapping[str, LockedChannel] | None = None,
    store: Store | None = None,
) -> Generation | None:
    """Make a store path the live generation of a profile, durably.

    Args:
        profile: its absolute path.
        target: the store path, valid and protected by the caller.
        config: knows where roots are registered.
        expected: what `current_link` said when the work began; None for whatever is live now.
        record: files to keep beside the generation.
        sources: channels' states to keep beside it.
        store: the one that the target is in; a daemon's registers roots for its clients.

    Returns None, having changed nothing, if the live generation is no longer the expected one.
    """
    with locked(profile, logs.info):
        if expected is not None and current_link(profile) != expected:
            return None
        generations = find_generations(profile)
        is_new = not generations or generations[-1].target() != target
        number = generations[-1].number + is_new if generations else 1
        if record is not None:
            _keep_record(f"{profile}-{number}-link", record, sources or {}, lambda link: protect(config, link, store))
        generation = create_generation(profile, target, lambda link: protect(config, link, store))
        switch_link(profile, generation.path)
        return generation


def protect(config: Config, link: str, store: Store | None = None) -> None:
    """Make a link keep what it points to from being collected, if its place alone does not do so already."""
    if isinstance(store, RootKeeper):
        store.add_indirect_root(link)
        return
    for folder in ("profiles", "gcroots"):
        if link.startswith(f"{config.state_dir}/{folder}/"):
            return
    register_indirect_root(config.state_dir, link)


def write_lock(path: str, lock: Lock) -> bytes:
    """Write the lock file if it differs, durably, and return its text."""
    text = print_lock(lock)
    if _read(path) != text:
        replace_file(path, text)
    return text


def roll_back(profile: str, number: int | None, *, dry_run: bool = False) -> tuple[int, Generation]:
    """Make an older generation live, or the one with this number; returns the number before and the generation.

    Raises:
        GenerationError: there is none.
    """
    with locked(profile, logs.info):
        before, generation = choose_generation(profile, number)
        if not dry_run:
            switch_link(profile, generation.path)
    return before, generation


def run_hooks(commands: tuple[str, ...], profile: str, generation: Generation, config: Config) -> None:
    """Run activation hooks, one after the other, with `sh -c`. Blocks.

    Raises:
        HookError: one failed; the others were not run.
    """
    environment = config.environment() | {"PROFILE": profile, "GENERATION": str(generation.number)}
    for command in commands:
        done = subprocess.run(["/bin/sh", "-c", command], env=environment, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise HookError(
                f"generation {generation.number} is live, and its activation hook '{command}' failed with status "
                f"{done.returncode}; 'verglas profile rollback' goes back"
            )


def declared_text(generation: Generation) -> tuple[bytes, bytes] | None:
    """Return the profile.yaml and the profile.yaml.lock that made a generation, None if it was not made from any."""
    folder = declaration_dir(generation.path)
    text, lock = _read(f"{folder}/profile.yaml"), _read(f"{folder}/profile.yaml.lock")
    return None if text is None or lock is None else (text, lock)


def live_generation(profile: str) -> Generation | None:
    """Return the live generation, None if there is none."""
    number = current_number(profile)
    for generation in find_generations(profile):
        if generation.number == number:
            return generation
    return None


def _keep_record(
    link: str,
    record: Mapping[str, bytes],
    sources: Mapping[str, LockedChannel],
    protect_link: Callable[[str], object],
) -> None:
    folder = declaration_dir(link)
    temporary = temporary_name(folder)
    os.mkdir(temporary)
    for name, content in record.items():
        replace_file(f"{temporary}/{name}", content)
    for name, source in sources.items():
        os.symlink(source.store_path, f"{temporary}/source-{name}")
    sync_directory(temporary)
    if os.path.isdir(folder):
        # The same environment, declared in other words. Without a record for a moment: less than a wrong one.
        shutil.rmtree(folder)
    os.rename(temporary, folder)
    sync_directory(os.path.dirname(folder))
    for name in sources:
        protect_link(f"{folder}/source-{name}")


def _links_element(store: Store, links: Mapping[str, str]) -> Element:
    """Put the declared links into the store, as a package of its own: real nix-env then keeps them, too."""
    tree: dict[str, object] = {}
    for name, target in links.items():
        *folders, last = name.split("/")
        place = tree
        for folder in folders:
            inner = place.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise StoreError(f"the link '{name}' lies below another link")
            place = inner
        if last in place:
            raise StoreError(f"the link '{name}' lies above another link")
        place[last] = target
    with store.intake() as intake:
        added = intake.add_nar([b"".join(write_nar(_tree_events(b"", tree)))])
        path = store.directory.make_fixed_output_path(True, added.nar_hash, LINKS_NAME)
        store.add_temp_root(path)
        ca = "fixed:r:" + added.nar_hash.to_string("base32", True)
        if not store.is_valid(path):
            intake.register([(added, PathInfo(path, added.nar_hash, added.nar_size, ca=ca))])
    return Element(LINKS_NAME, store.directory.print(path))


def _tree_events(name: bytes, tree: Mapping[str, object]) -> Iterator[Event]:
    yield Directory(name)
    for encoded, entry in sorted((os.fsencode(each), entry) for each, entry in tree.items()):
        if isinstance(entry, dict):
            yield from _tree_events(encoded, entry)
        else:
            yield Symlink(encoded, os.fsencode(str(entry)))
    yield EndDirectory()


def _explain(conflict: ConflictError, declaration: Declaration, resolution: Resolution) -> PackageError:
    """Say a conflict in the terms of the declaration."""
    labels, wheres = [], []
    for file in (conflict.existing, conflict.added):
        label, where = file, declaration.path
        for package, locked_package in zip(declaration.packages, resolution.packages, strict=True):
            if any(file.startswith(path + "/") for path in locked_package.element.outputs.values()):
                label, where = f"'{package.label}'", declaration.where(package)
        labels.append(label)
        wheres.append(where)
    line = wheres[0].rpartition(":")[2]
    return PackageError(
        wheres[1],
        f"{labels[1]} and {labels[0]} (line {line}) both have '{conflict.name}', with the same priority "
        f"{conflict.priority}; give the one you want a 'priority' below {conflict.priority}, or remove the other",
    )


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
