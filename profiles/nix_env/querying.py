"""`nix-env --query`: from the command line to the printed answer. Installed packages are told without an evaluator."""

from __future__ import annotations

import sys

from profiles.nix_env.query import Facts, Wanted, gather, rows
from profiles.nix_env.selection import filter_by_selectors, installed_elements
from profiles.profile_options import profile_of
from storefs.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from profiles.available import Available
    from profiles.elements import Element
    from storefs.api import Store
    from storefs.config import Config
    from storefs.options import Invocation

_COLUMNS = {
    "--status": "status",
    "--attr-path": "attr_path",
    "-P": "attr_path",
    "--compare-versions": "compare_versions",
    "--system": "system",
    "--drv-path": "drv_path",
    "--out-path": "out_path",
    "--description": "description",
    "--meta": "meta",
    "--prebuilt-only": "prebuilt_only",
}


def query(invocation: Invocation) -> str:
    """Return the answer to a query."""
    wanted = _wanted(invocation)
    available, compare = invocation.flag("--available"), wanted.compare_versions
    if wanted.attr_path and not available:
        raise UsageError("--attr-path(-P) only works with --available")
    if available or compare:
        return _query_available(invocation, wanted)
    return _Installed(invocation, wanted).answer()


def _query_available(invocation: Invocation, wanted: Wanted) -> str:
    from evaluator.session import open_session  # noqa: PLC0415  only what is offered must be evaluated
    from profiles.nix_env.expressions import load_packages  # noqa: PLC0415
    from profiles.nix_env.sources import source_of  # noqa: PLC0415

    session = open_session(invocation, read_only=True)
    source = source_of(invocation, session)
    available = invocation.flag("--available")

    def answer() -> str:
        needs_installed = not available or wanted.compare_versions or wanted.status
        installed = source.installed(profile_of(invocation)) if needs_installed else []
        offered = load_packages(session, source.path, source.system_filter, invocation.value("--attr") or "")
        first: Sequence[Available | Element] = offered if available else installed
        others: Sequence[Available | Element] = installed if available else offered
        chosen = filter_by_selectors([*first], invocation.operands, session.settings.current_system, newest_only=False)
        marks = lambda paths: _marks(session.config, session.store_io.store, paths)  # noqa: E731
        return _render(invocation, gather(chosen, others, installed, wanted, marks), wanted)

    return session.run(answer)


class _Installed:
    """A query about installed packages only."""

    def __init__(self, invocation: Invocation, wanted: Wanted) -> None:
        self._invocation = invocation
        self._wanted = wanted
        self._opened: Store | None = None

    def answer(self) -> str:
        invocation, wanted, config = self._invocation, self._wanted, self._invocation.config
        installed = installed_elements(profile_of(invocation), self._store, self._evaluated)
        chosen = filter_by_selectors([*installed], invocation.operands, config.text("system"), newest_only=False)
        facts = gather(chosen, [], installed, wanted, lambda paths: _marks(config, self._store(), paths))
        return _render(invocation, facts, wanted)

    def _store(self) -> Store:
        if self._opened is None:
            from storefs.stores.open import open_store  # noqa: PLC0415  a mounted profile is read without it

            self._opened = open_store(self._invocation.config)
        return self._opened

    def _evaluated(self, path: str) -> list[Element]:
        """Read a manifest that is more than data."""
        from evaluator.session import open_session  # noqa: PLC0415  nix-env writes plain data only
        from profiles.nix_env.expressions import packages_of_value  # noqa: PLC0415

        # A process opens a store once, and the evaluation wants it.
        if self._opened is not None:
            getattr(self._opened, "close")()  # noqa: B009  what is opened has it, the interface does not
        session = open_session(self._invocation)
        self._opened = session.store
        return session.run(lambda: [each.element() for each in packages_of_value(session, session.evaluate_file(path))])


def _wanted(invocation: Invocation) -> Wanted:
    wanted = Wanted()
    for name, _ in invocation.given:
        if name in _COLUMNS:
            setattr(wanted, _COLUMNS[name], True)
    wanted.name = not invocation.flag("--no-name")
    return wanted


def _render(invocation: Invocation, facts: Facts, wanted: Wanted) -> str:
    from profiles.nix_env import output  # noqa: PLC0415  after the last look at the machine

    if invocation.flag("--json"):
        return output.as_json(facts, wanted)
    if invocation.flag("--xml"):
        return output.as_xml(facts, wanted)
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return output.as_table(rows(facts, wanted, _red if is_terminal else str))


def _marks(config: Config, store: Store | None, paths: Collection[str]) -> tuple[set[str], set[str]]:
    from profiles.nix_env.prebuilt import ask_store  # noqa: PLC0415  few queries want to know

    return ask_store(config, store, paths)


def _red(text: str) -> str:
    return f"\x1b[31;1m{text}\x1b[0m"
