"""`verglas hash to-base64`: spell a hash in another way."""

from __future__ import annotations

from storefs.commands.operations.respelling import OPTIONS, respell
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command("verglas hash to-base64", "Convert hashes to base-64", operands="HASH...", options=OPTIONS)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    return respell(invocation, "base64")
