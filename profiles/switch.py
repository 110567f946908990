"""From a resolved declaration to a user environment, and what belongs to a switch besides: lock file and hooks.

Everything that can fail happens first; then the lock file is written, then the generation's link, and then one rename
makes it live (`live.commit`). A process killed at any moment leaves the old generation live or the new one. Used by
`flow.py`; `nix-env` has its own way to an environment.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from profiles.buildenv import ConflictError
from profiles.elements import Element
from profiles.live import digest_of, read_if_there
from profiles.lock import print_lock
from profiles.resolve import PackageError
from profiles.store_reader import StoreReader
from profiles.user_environment import add_user_environment
from storefs import logs
from storefs.durable import replace_file
from storefs.errors import StoreError
from storefs.formats.nar import Directory, EndDirectory, Symlink, write_nar
from storefs.formats.path_info import PathInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from profiles.declaration import Declaration
    from profiles.generations import Generation
    from profiles.lock import Lock
    from profiles.resolve import Resolution
    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.nar import Event
    from storefs.formats.store_path import StorePath

LINKS_NAME = "profile-links"  # the element that a declaration's `links` become


class HookError(StoreError):
    """An activation hook failed; the generation is live all the same."""


def record_of(declaration: Declaration, resolution: Resolution, lock_text: bytes, system: str) -> dict[str, bytes]:
    """Return the files to keep beside the generation that a declaration makes."""
    inputs = [system]
    for package, resolved in zip(declaration.packages, resolution.packages, strict=True):
        if package.override:
            inputs.append(f"{digest_of(package.override)} {package.override}")
        if package.path and package.path != resolved.element.out_path:
            inputs.append(f"- {package.path}")  # an expression may read anything
    text = "\n".join(inputs) + "\n"
    return {
        "profile.yaml": declaration.text,
        "profile.yaml.lock": lock_text,
        "inputs": text.encode("utf-8", "surrogateescape"),
    }


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


def write_lock(path: str, lock: Lock) -> bytes:
    """Write the lock file if it differs, durably, and return its text."""
    text = print_lock(lock)
    if read_if_there(path) != text:
        replace_file(path, text)
    return text


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
    found = []
    for file in (conflict.existing, conflict.added):
        entry = (0, file, declaration.path)
        for package, locked_package in zip(declaration.packages, resolution.packages, strict=True):
            if any(file.startswith(path + "/") for path in locked_package.element.outputs.values()):
                entry = (package.line, f"'{package.label}'", declaration.where(package))
        found.append(entry)
    # Which of them was there first depends on hashes; the declaration's order does not.
    (line, earlier, _), (_, later, where) = sorted(found)
    return PackageError(
        where,
        f"{later} and {earlier} (line {line}) both have '{conflict.name}', with the same priority "
        f"{conflict.priority}; give the one you want a 'priority' below {conflict.priority}, or remove the other",
    )
