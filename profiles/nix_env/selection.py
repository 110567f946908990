"""Picking packages by selectors, and asking a profile for its own. Rules: nix-env.cc of Nix 2.8."""

from __future__ import annotations

import os

from profiles.elements import parse_manifest
from profiles.package_names import PackageName, Selector, selectors
from profiles.printed_data import NotPlainError
from storefs import logs
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from profiles.available import Available
    from profiles.elements import Element
    from storefs.api import Store

    AnyPackage = Available | Element
    P = TypeVar("P", Available, Element, AnyPackage)

_MOST_HINTS = 3


class NoMatchError(StoreError):
    """A selector selects nothing."""


def installed_elements(
    profile: str, store: Callable[[], Store], evaluate: Callable[[str], list[Element]]
) -> list[Element]:
    """Return the packages of a profile, or of a user environment; none if there is no profile.

    Args:
        profile: the path of the profile.
        store: opens the store, where there is something to read.
        evaluate: reads the manifest at a path that is more than plain data.

    Raises:
        StoreError: it is a profile of `nix profile`.
    """
    if not os.path.lexists(profile):
        return []
    text = _mounted_manifest(profile)
    return _parsed(text, profile, evaluate) if text is not None else _from_store(profile, store(), evaluate)


def _mounted_manifest(profile: str) -> bytes | None:
    """The manifest as this machine sees it, where the store is mounted: no database has to be opened."""
    try:
        with open(f"{profile}/manifest.nix", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return None


def _parsed(text: bytes, profile: str, evaluate: Callable[[str], list[Element]]) -> list[Element]:
    try:
        return parse_manifest(text.decode("utf-8", "surrogateescape"))
    except NotPlainError:
        return evaluate(f"{profile}/manifest.nix")


def _from_store(profile: str, store: Store, evaluate: Callable[[str], list[Element]]) -> list[Element]:
    from profiles.store_reader import StoreReader  # noqa: PLC0415  a mounted store is read without it

    reader = StoreReader(store)
    try:
        folder = reader.resolve(profile)
        names = reader.list_dir(folder)
    except OSError:
        return []
    if "manifest.json" in names:
        raise StoreError(f"profile '{profile}' is incompatible with 'nix-env'; please use 'nix profile' instead")
    if "manifest.nix" not in names:
        return []
    return _parsed(reader.read_file(f"{folder}/manifest.nix"), profile, evaluate)


def filter_by_selectors(packages: Sequence[P], words: list[str], this_system: str, *, newest_only: bool) -> list[P]:
    """Return the packages that selectors select, in the order of the selectors; all of them without selectors.

    Args:
        packages: in order.
        words: the selectors.
        this_system: wins where packages of one name are for several systems.
        newest_only: of each name only the best: by system, then priority, then version, then order.

    Raises:
        NoMatchError: a selector selects nothing.
    """
    chosen: list[P] = []
    done: set[int] = set()
    names = [PackageName(package.name) for package in packages]
    for selector in selectors(words or ["*"]):
        matches = [index for index, name in enumerate(names) if selector.matches(name)]
        selector.hits += len(matches)
        if not matches and selector.text != "*":
            raise _no_match(selector, names)
        if newest_only:
            matches = _newest(packages, names, matches, this_system)
        for index in matches:
            if index not in done:
                done.add(index)
                chosen.append(packages[index])
    return chosen


def _no_match(selector: Selector, names: list[PackageName]) -> NoMatchError:
    text = f"selector '{selector.text}' matches no derivations"
    near: set[str] = set()
    for name in names:
        if name.name.startswith(selector.name.name):
            near.add(name.name)
            if len(near) == _MOST_HINTS:
                break
    if near:
        text += ", maybe you meant:" + "".join(f"\n{name}" for name in sorted(near))
    return NoMatchError(text)


def _newest(packages: Sequence[P], names: list[PackageName], matches: list[int], this_system: str) -> list[int]:
    from evaluator.builtins.versions import compare_versions  # noqa: PLC0415  queries do not compare

    best: dict[str, int] = {}
    multiple: set[str] = set()
    for index in matches:
        name = names[index]
        other = best.get(name.name)
        order = 1
        if other is not None:
            order = _compare_systems(packages[index].system, packages[other].system, this_system)
            if order == 0:
                order = compare_priorities(packages[index], packages[other])
            if order == 0:
                order = compare_versions(name.version, names[other].version)
        if order > 0:
            best[name.name] = index
            multiple.discard(name.full)
        elif order == 0:
            multiple.add(name.full)
    for short in sorted(best):
        if short in multiple:
            logs.warn(f"there are multiple derivations named '{short}'; using the first one")
    return [best[short] for short in sorted(best)]


def _compare_systems(one: str, other: str, this_system: str) -> int:
    if one == other:
        return 0
    return 1 if one == this_system else -1 if other == this_system else 0


def compare_priorities(one: AnyPackage, other: AnyPackage) -> int:
    """Return more than 0 if `one` wins a conflict, less if `other` does. Lower numbers win; none counts as 0 here."""
    return other.meta_number("priority", 0) - one.meta_number("priority", 0)
