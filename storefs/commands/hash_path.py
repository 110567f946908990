"""`verglas hash-path`: the hash of the NAR of a path."""

from __future__ import annotations

import sys

from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas hash-path",
    "Print the hash of the NAR of a path",
    operands="PATH...",
    options=(
        Option("--type", takes=("ALGO",), help="md5, sha1, sha256 (the default) or sha512"),
        Option("--base16", help="print base 16"),
        Option("--base32", help="print base 32"),
        Option("--base64", help="print base 64"),
        Option("--sri", help="print ALGO-BASE64 (the default)"),
    ),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.hashing import hash_operand
    from storefs.formats.hashes import parse_hash_algo

    algo = parse_hash_algo(invocation.value("--type", "sha256") or "sha256")
    bases = [name[2:] for name, _ in invocation.given if name in ("--base16", "--base32", "--base64", "--sri")]
    base = bases[-1] if bases else "sri"  # the last one given, as in Nix
    for operand in invocation.operands:
        sys.stdout.write(hash_operand(invocation.config, operand, algo, base, flat=False) + "\n")
    return 0
