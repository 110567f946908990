"""`verglas key generate-secret`: a new key to sign store paths with."""

from __future__ import annotations

import sys

from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas key generate-secret",
    "Print a new secret key for signing store paths",
    options=(Option("--key-name", takes=("NAME",), help="what the key is called, as in cache.example.org-1"),),
    examples=(("verglas key generate-secret --key-name cache.example.org-1 > secret.key", "keep it to yourself"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.formats.signatures import SecretKey

    name = invocation.value("--key-name")
    if name is None:
        raise UsageError("required argument '--key-name' is missing")
    sys.stdout.write(SecretKey.generate(name).to_string())
    return 0
