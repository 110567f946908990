"""`nix-env`'s operations that make a new generation: from the command line to `changes.Changer`.

Each takes the command line and returns what to print: nothing.
"""

from __future__ import annotations

from evaluator.session import open_session
from profiles.nix_env.changes import Changer
from profiles.nix_env.prebuilt import ask_store
from profiles.nix_env.sources import source_of
from profiles.profile_options import profile_of
from profiles.store_links import follow_to_store
from storefs.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.session import Session
    from storefs.options import Invocation

# How the installed version compares with a candidate's (-1: it is older) that is good enough.
_ACCEPTABLE = {"--lt": (-1,), "--leq": (-1, 0), "--eq": (0,), "--always": (-1, 0, 1)}


def install(invocation: Invocation) -> str:
    """Install packages."""
    _changer(invocation).install(
        invocation.operands,
        preserve_installed=invocation.flag("--preserve-installed") or invocation.flag("-P"),
        remove_all=invocation.flag("--remove-all"),
    )
    return ""


def upgrade(invocation: Invocation) -> str:
    """Upgrade installed packages."""
    acceptable = _ACCEPTABLE["--lt"]
    for name, _ in invocation.given:
        acceptable = _ACCEPTABLE.get(name, acceptable)
    _changer(invocation).upgrade(invocation.operands, lambda order: order in acceptable)
    return ""


def uninstall(invocation: Invocation) -> str:
    """Remove packages."""

    def output_path(word: str) -> str:
        return f"{invocation.config.store_dir}/{follow_to_store(invocation.config.store_dir, word)}"

    _changer(invocation).uninstall(invocation.operands, output_path)
    return ""


def set_profile(invocation: Invocation) -> str:
    """Make one package the whole profile."""
    _changer(invocation).set_profile(invocation.operands)
    return ""


def set_flag(invocation: Invocation) -> str:
    """Set a meta attribute of installed packages."""
    if len(invocation.operands) < 2:
        raise UsageError("not enough arguments to '--set-flag'")
    name, value, *words = invocation.operands
    _changer(invocation).set_flag(name, value, words)
    return ""


def _changer(invocation: Invocation) -> Changer:
    session = open_session(invocation)
    return Changer(
        source_of(invocation, session),
        profile_of(invocation),
        dry_run=invocation.flag("--dry-run"),
        prebuilt=(lambda path: _is_prebuilt(session, path)) if invocation.flag("--prebuilt-only") else None,
        force_name=invocation.value("--force-name") or "",
    )


def _is_prebuilt(session: Session, path: str) -> bool:
    return any(ask_store(session.config, session.store, [path]))
