"""Where `nix-env` takes packages to install from: expressions, functions, attribute paths, store paths, a profile."""

from __future__ import annotations

from evaluator.attr_path import find_along_path
from evaluator.core.calls import call1
from evaluator.core.values import force
from profiles.elements import Element
from profiles.nix_env.expressions import load_packages, load_source, packages_of_value
from profiles.nix_env.selection import NoMatchError, filter_by_selectors, installed_elements
from profiles.store_links import follow_to_store
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.session import Session
    from profiles.available import Available

FROM_SELECTORS = "selectors"
FROM_EXPRESSIONS = "expressions"
FROM_ATTRIBUTES = "attributes"
FROM_PROFILE = "profile"


class Source:
    """What packages are chosen from.

    Attributes:
        session: the evaluation.
        kind: one of the constants above.
        path: the file or folder with expressions.
        profile: the profile to take from, with FROM_PROFILE.
        system_filter: only packages for this system; `*` for all.
    """

    __slots__ = ("kind", "path", "profile", "session", "system_filter")

    def __init__(self, session: Session, kind: str, path: str, profile: str, system_filter: str) -> None:
        self.session = session
        self.kind = kind
        self.path = path
        self.profile = profile
        self.system_filter = system_filter

    def installed(self, profile: str) -> list[Element]:
        """Return the packages of a profile."""
        return installed_elements(profile, lambda: self.session.store, self._evaluated_manifest)

    def _evaluated_manifest(self, path: str) -> list[Element]:
        value = self.session.state.evaluate_file(self.session.io.resolve_expr_path(path))
        return [package.element() for package in packages_of_value(self.session, value)]

    def choose(self, words: list[str], *, newest_only: bool) -> list[Available | Element]:
        """Return the packages that the operands of a command mean. Runs on the evaluation's thread.

        Raises:
            StoreError, NixError: an operand means nothing.
        """
        kind, session = self.kind, self.session
        if kind == FROM_SELECTORS and words and "/" in words[0]:
            return [self._store_path(word) for word in words]
        if kind == FROM_SELECTORS:
            available: list[Available | Element] = [*load_packages(session, self.path, self.system_filter)]
            if not available and words and words[0] != "*":
                raise NoMatchError(
                    f"selector '{words[0]}' matches no derivations: '{self.path}' has none at all; "
                    "'nix-channel --add URL' and 'nix-channel --update' bring some, '-f FILE' names others"
                )
            return filter_by_selectors(available, words, session.settings.current_system, newest_only=newest_only)
        if kind == FROM_PROFILE:
            installed: list[Available | Element] = [*self.installed(self.profile)]
            return filter_by_selectors(installed, words, session.settings.current_system, newest_only=newest_only)
        root = load_source(session, self.path)
        found: list[Available | Element] = []
        for word in words:
            if kind == FROM_ATTRIBUTES:
                value, _ = find_along_path(session.state, word, session.auto_args, root)
            else:
                value = call1(force(session.evaluate_expression(word)), root, 0)
            found += packages_of_value(session, value)
        return found

    def _store_path(self, word: str) -> Element:
        """A store path as a package: of a derivation the output `out` is meant."""
        session = self.session
        directory = session.store_io.directory
        path = follow_to_store(directory.path, word)
        text = directory.print(path)
        if not path.is_derivation:
            return Element(path.name, text)
        output = session.store_io.derivation(text).outputs.get("out")
        if output is None or output.path is None:
            raise StoreError(f"derivation '{text}' has no output 'out' with a known path")
        return Element(path.name, directory.print(output.path), drv_path=text)
