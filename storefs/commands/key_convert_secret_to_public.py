"""`verglas key convert-secret-to-public`: what others need to trust a key."""

from __future__ import annotations

import sys

from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas key convert-secret-to-public",
    "Print the public half of the secret key on standard input",
    examples=(("verglas key convert-secret-to-public < secret.key", "for 'trusted-public-keys' in nix.conf"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.formats.signatures import SecretKey

    sys.stdout.write(SecretKey(sys.stdin.read().strip()).public_key())
    return 0
