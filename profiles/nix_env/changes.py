"""Changing a profile as nix-env does: install, upgrade, uninstall, set flags, set.

Each reads the live generation, computes the packages of the next one, and starts over if somebody else was faster.
Evaluation happens on the evaluation's thread, building and switching outside of it. Rules: nix-env.cc and user-env.cc
of Nix 2.8.
"""

from __future__ import annotations

from evaluator.builtins.versions import compare_versions
from profiles.generations import current_link
from profiles.live import commit
from profiles.nix_env.selection import compare_priorities
from profiles.package_names import PackageName, selectors
from profiles.store_reader import StoreReader
from profiles.user_environment import add_user_environment
from storefs import logs
from storefs.errors import StoreError, UsageError
from storefs.formats.derived_path import DerivedPath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evaluator.session import Session
    from profiles.available import Available
    from profiles.elements import Element
    from profiles.nix_env.choosing import Source

    AnyPackage = Available | Element
    Prebuilt = Callable[[str], bool]


class Changer:
    """Makes changes to one profile.

    Args:
        source: where packages come from.
        profile: the profile's path.
        dry_run: change nothing.
        prebuilt: with --prebuilt-only: whether an output path need not be built. None otherwise.
        force_name: what the packages are called instead, '' for their own names.
    """

    def __init__(
        self, source: Source, profile: str, *, dry_run: bool, prebuilt: Prebuilt | None, force_name: str
    ) -> None:
        self._source = source
        self._session: Session = source.session
        self._profile = profile
        self._dry_run = dry_run
        self._prebuilt = prebuilt
        self._force_name = force_name

    def install(self, words: list[str], *, preserve_installed: bool, remove_all: bool) -> None:
        """Install packages, in place of installed ones of the same names."""

        def chosen() -> list[Element]:
            packages = self._source.choose(words, newest_only=True)
            packages = [package for package in packages if self._is_wanted(package)]
            for package in packages:
                if self._force_name:
                    package.set_name(self._force_name)
            return [package.element() for package in packages]

        new = self._session.run(chosen)
        names = {PackageName(element.name).name for element in new}
        while True:
            token = current_link(self._profile)
            elements = list(new)
            if not remove_all:
                for element in self._installed():
                    if not preserve_installed and PackageName(element.name).name in names and not element.keep:
                        logs.info(f"replacing old '{element.name}'")
                    else:
                        elements.append(element)
                for element in new:
                    logs.info(f"installing '{element.name}'")
            if self._finish(elements, new, token):
                return

    def upgrade(self, words: list[str], may_replace: Callable[[int], bool]) -> None:
        """Replace installed packages by better ones of the same name.

        Args:
            words: selectors, or what else the source understands.
            may_replace: whether a version is acceptable, given how the installed one compares with it (-1: older).
        """
        while True:
            token = current_link(self._profile)
            installed = self._installed()
            elements = self._session.run(lambda old=installed: self._upgraded(old, words, may_replace))  # type: ignore[misc]
            if self._finish(elements, elements, token):
                return

    def _upgraded(
        self, installed: list[Element], words: list[str], may_replace: Callable[[int], bool]
    ) -> list[Element]:
        available = self._source.choose(words, newest_only=False)
        elements = []
        for element in installed:
            best = None if element.keep else self._best(element, available, may_replace)
            if best is None or best.out_path == element.out_path:
                elements.append(element)
                continue
            order = compare_versions(PackageName(element.name).version, PackageName(best.name).version)
            logs.info(f"{'upgrading' if order <= 0 else 'downgrading'} '{element.name}' to '{best.name}'")
            elements.append(best.element())
        return elements

    def _best(
        self, element: Element, available: Sequence[AnyPackage], may_replace: Callable[[int], bool]
    ) -> AnyPackage | None:
        """The package of the same name that wins by priority, then by version; never one of less priority."""
        name = PackageName(element.name)
        best: AnyPackage | None = None
        for package in available:
            candidate = PackageName(package.name)
            if candidate.name != name.name or compare_priorities(element, package) > 0:
                continue
            if not may_replace(compare_versions(name.version, candidate.version)):
                continue
            order = -1
            if best is not None:
                order = compare_priorities(best, package)
                if order == 0:
                    order = compare_versions(PackageName(best.name).version, candidate.version)
            if order < 0 and self._is_wanted(package):
                best = package
        return best

    def uninstall(self, words: list[str], resolve: Callable[[str], str]) -> None:
        """Remove packages, by selectors or by the paths of their outputs, which `resolve` makes absolute."""
        while True:
            token = current_link(self._profile)
            elements = self._installed()
            for word in words:
                if "/" in word:
                    path = resolve(word)
                    elements, removed = _partition(elements, lambda each, path=path: each.out_path != path)  # type: ignore[misc]
                else:
                    (selector,) = selectors([word])
                    elements, removed = _partition(
                        elements,
                        lambda each, selector=selector: not selector.matches(PackageName(each.name)),  # type: ignore[misc]
                    )
                if not removed:
                    logs.warn(f"selector '{word}' matched no installed derivations")
                for element in removed:
                    logs.info(f"uninstalling '{element.name}'")
            if self._dry_run or self._finish(elements, [], token):
                return

    def set_flag(self, name: str, value: str, words: list[str]) -> None:
        """Set an attribute of `meta` of installed packages."""
        if name == "priority" and not value.removeprefix("-").isdecimal():
            raise UsageError(f"a priority is a whole number, not '{value}'")
        while True:
            token = current_link(self._profile)
            chosen = selectors(words)
            elements = [element.copy() for element in self._installed()]
            for element in elements:
                for selector in chosen:
                    if selector.matches(PackageName(element.name)):
                        logs.info(f"setting flag on '{element.name}'")
                        selector.hits += 1
                        element.meta[name] = value
                        break
            for selector in chosen:
                if not selector.hits and selector.text != "*":
                    raise StoreError(f"selector '{selector.text}' matches no derivations")
            if self._dry_run or self._finish(elements, [], token):
                return

    def set_profile(self, words: list[str]) -> None:
        """Make one package the whole profile."""

        def chosen() -> tuple[str, str]:
            packages = self._source.choose(words, newest_only=True)
            if len(packages) != 1:
                raise StoreError("--set requires exactly one derivation")
            return packages[0].drv_path, packages[0].out_path

        drv_path, out_path = self._session.run(chosen)
        parse = self._session.store.directory.parse
        targets = [DerivedPath(parse(drv_path), ()) if drv_path else DerivedPath(parse(out_path))]
        if self._session.store.is_valid(parse(out_path)):
            targets = []
        self._say_missing(targets)
        if self._dry_run:
            return
        self._build(targets)
        self._session.store.add_temp_root(parse(out_path))
        commit(self._profile, out_path, self._session.config, store=self._session.store)

    def _installed(self) -> list[Element]:
        return self._session.run(lambda: self._source.installed(self._profile))

    def _is_wanted(self, package: AnyPackage) -> bool:
        return self._prebuilt is None or self._prebuilt(package.out_path)

    def _finish(self, elements: list[Element], new: list[Element], token: str) -> bool:
        """Build what is new, then the environment, and switch; returns False if the profile changed meanwhile."""
        targets = self._targets(elements)
        self._say_missing(self._targets(new))
        if self._dry_run:
            return True
        self._build(targets)
        store, config = self._session.store, self._session.config
        environment = add_user_environment(
            store,
            elements,
            StoreReader(store),
            logs.warn,
            keep_derivations=config.boolean("keep-env-derivations"),
        )
        target = store.directory.print(environment)
        if commit(self._profile, target, config, expected=token, store=store) is not None:
            return True
        logs.info(f"profile '{self._profile}' changed while we were busy; restarting")
        return False

    def _targets(self, elements: list[Element]) -> list[DerivedPath]:
        """What must be realised. Packages that are valid already need no builder."""
        store = self._session.store
        parse = store.directory.parse
        targets = []
        for element in elements:
            paths = [parse(path) for path in element.outputs.values()]
            if element.drv_path:
                if len(store.valid_paths(paths)) < len(set(paths)):
                    targets.append(DerivedPath(parse(element.drv_path), ()))
            else:
                targets += [DerivedPath(path) for path in paths if not store.is_valid(path)]
        return targets

    def _say_missing(self, targets: list[DerivedPath]) -> None:
        if targets:
            self._session.announce(targets)

    def _build(self, targets: list[DerivedPath]) -> None:
        if targets:
            self._session.require_success(self._session.build(targets))


def _partition(elements: list[Element], keep: Callable[[Element], bool]) -> tuple[list[Element], list[Element]]:
    """Split into what is kept and what is not, in the order in which `std::partition` leaves a doubly linked list.

    That is what nix-env does, and the order of a user environment's packages is part of its path.
    """
    items = list(elements)
    first, last = 0, len(items)
    while True:
        while first < last and keep(items[first]):
            first += 1
        if first == last:
            return items[:first], items[first:]
        last -= 1
        while first < last and not keep(items[last]):
            last -= 1
        if first == last:
            return items[:first], items[first:]
        items[first], items[last] = items[last], items[first]
        first += 1
