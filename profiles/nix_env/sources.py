"""Which source of packages a command line of nix-env means."""

from __future__ import annotations

import os

from profiles.nix_env.choosing import FROM_ATTRIBUTES, FROM_EXPRESSIONS, FROM_PROFILE, FROM_SELECTORS, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.session import Session
    from storefs.options import Invocation

_KINDS = {"--from-expression": FROM_EXPRESSIONS, "--attr": FROM_ATTRIBUTES, "--from-profile": FROM_PROFILE}


def source_of(invocation: Invocation, session: Session) -> Source:
    """Return the source; the last option that chooses one wins."""
    kind = FROM_SELECTORS
    for name, _ in invocation.given:
        kind = _KINDS.get(name, kind)
    file = invocation.value("--file")
    path = f"{invocation.config.home}/.nix-defexpr"
    if file is not None:
        path = session.run(lambda: session.file_argument(file))
    profile = os.path.abspath(invocation.value("--from-profile") or ".")
    return Source(session, kind, path, profile, invocation.value("--system-filter") or "*")
