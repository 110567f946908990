"""`verglas profile upgrade`: take the newest state of channels, and apply."""

from __future__ import annotations

from profiles.commands.profile_apply import apply
from profiles.profile_options import JSON, PLACE, place_of
from profiles.resolve import Everything
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile upgrade",
    "Take the newest state of channels into the lock file, and apply",
    operands="[PACKAGE|CHANNEL...]",
    options=(*PLACE, JSON),
    description="Without operands all channels are fetched anew and every package but the pinned ones follows. With "
    "operands only those packages, or the packages of those channels; a pinned package follows only if it is named.",
    examples=(
        ("verglas profile upgrade", "upgrade everything that is not pinned"),
        ("verglas profile upgrade git", "upgrade one package and leave the others in the state they are in"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    upgrade = set(invocation.operands) or Everything()
    return apply(place_of(invocation), invocation.config, as_json=invocation.flag("--json"), upgrade=upgrade)
