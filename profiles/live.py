"""What is live: asking, committing a new generation, going back. The part of a switch that needs no evaluation.

Beside each generation of a declared profile lies what made it:

    profile-7-link -> /nix/store/...-user-environment
    profile-7-declaration/profile.yaml, profile.yaml.lock, inputs
    profile-7-declaration/source-NAME -> the expressions of a channel, kept by this link

Imports little: `verglas profile apply` with nothing to do and every rollback go through here and no further.
"""

from __future__ import annotations

import os

from profiles.generations import (
    choose_generation,
    create_generation,
    current_link,
    current_number,
    declaration_dir,
    find_generations,
    locked,
    remove_folder,
    switch_link,
)
from storefs import logs
from storefs.durable import replace_file, sync_directory, temporary_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from profiles.generations import Generation
    from storefs.api import Store
    from storefs.config import Config


def is_live(profile: str, text: bytes, lock_text: bytes | None, system: str) -> bool:
    """Whether the live generation is what this declaration and lock file would give, told without evaluating anything.

    Reads a few small files: the generation's record, and the files with overrides. A declaration with expressions of
    its own (`path: ./x.nix`) is never known to be live.
    """
    link = current_link(profile)
    if not link or lock_text is None:
        return False
    folder = declaration_dir(os.path.join(os.path.dirname(profile), link))
    if read_if_there(f"{folder}/profile.yaml") != text or read_if_there(f"{folder}/profile.yaml.lock") != lock_text:
        return False
    first, *inputs = (read_if_there(f"{folder}/inputs") or b"").decode("utf-8", "surrogateescape").splitlines() or [""]
    return first == system and all(_is_unchanged(line) for line in inputs)


def _is_unchanged(line: str) -> bool:
    digest, _, path = line.partition(" ")
    return digest == digest_of(path)


def digest_of(path: str) -> str:
    """Return what a record says about the file at `path`: its SHA-256 in base 16, '' if it is not there."""
    from storefs.formats.hashes import hash_bytes  # noqa: PLC0415  most declarations have no such files

    content = read_if_there(path)
    return "" if content is None else hash_bytes("sha256", content).to_string("base16", False)


def commit(
    profile: str,
    target: str,
    config: Config,
    *,
    expected: str | None = None,
    record: Mapping[str, bytes] | None = None,
    sources: Mapping[str, str] | None = None,
    store: Store | None = None,
) -> Generation | None:
    """Make a store path the live generation of a profile, durably.

    Args:
        profile: its absolute path.
        target: the store path, valid and protected by the caller.
        config: knows where roots are registered.
        expected: what `current_link` said when the work began; None for whatever is live now.
        record: files to keep beside the generation.
        sources: names and store paths of channels' states, to keep beside it.
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
    if store is not None:
        from storefs.stores.showing import show_paths  # noqa: PLC0415  a switch back shows nothing new

        first = record is not None and generation.number == 1
        show_paths(config, store.uri, [store.directory.parse(target)], first=first)
    return generation


def protect(config: Config, link: str, store: Store | None = None) -> None:
    """Make a link keep what it points to from being collected, if its place alone does not do so already."""
    add_to_daemon = getattr(store, "add_indirect_root", None)  # what only the client of a daemon has
    if add_to_daemon is not None:
        add_to_daemon(link)
        return
    for folder in ("profiles", "gcroots"):
        if link.startswith(f"{config.state_dir}/{folder}/"):
            return
    from storefs.gc.roots import register_indirect_root  # noqa: PLC0415  hashes, which a switch back has no use for

    register_indirect_root(config.state_dir, link)


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


def declared_text(generation: Generation) -> tuple[bytes, bytes] | None:
    """Return the profile.yaml and the profile.yaml.lock that made a generation, None if it was not made from any."""
    folder = declaration_dir(generation.path)
    text, lock = read_if_there(f"{folder}/profile.yaml"), read_if_there(f"{folder}/profile.yaml.lock")
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
    sources: Mapping[str, str],
    protect_link: Callable[[str], object],
) -> None:
    folder = declaration_dir(link)
    temporary = temporary_name(folder)
    os.mkdir(temporary)
    for name, content in record.items():
        replace_file(f"{temporary}/{name}", content)
    for name, source in sources.items():
        os.symlink(source, f"{temporary}/source-{name}")
    sync_directory(temporary)
    if os.path.isdir(folder):
        # The same environment, declared in other words. Without a record for a moment: less than a wrong one.
        remove_folder(folder)
    os.rename(temporary, folder)
    sync_directory(os.path.dirname(folder))
    for name in sources:
        protect_link(f"{folder}/source-{name}")


def read_if_there(path: str) -> bytes | None:
    """Return the content of a file, None if there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
