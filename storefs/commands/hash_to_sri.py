"""`verglas hash to-sri`: spell a hash in another way."""

from __future__ import annotations

from storefs.commands.operations.respelling import OPTIONS, respell
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas hash to-sri", "Convert hashes to SRI, as in sha256-BASE64", operands="HASH...", options=OPTIONS
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    return respell(invocation, "sri")
