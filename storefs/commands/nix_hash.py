"""`nix-hash`: hashes of host files and trees, and hashes respelled."""

from __future__ import annotations

import sys

from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "nix-hash",
    "Compute the cryptographic hash of a path",
    operands="PATH...|HASH...",
    options=(
        Option("--flat", help="hash the bytes of a file, not its NAR"),
        Option("--type", takes=("ALGO",), help="md5 (the default), sha1, sha256 or sha512"),
        Option("--base16", help="print base 16 (the default)"),
        Option("--base32", help="print base 32"),
        Option("--base64", help="print base 64"),
        Option("--sri", help="print ALGO-BASE64"),
        Option("--truncate", help="fold the hash to 160 bits"),
        Option("--to-base16", help="the operands are hashes; print them in base 16", operation=True),
        Option("--to-base32", help="the operands are hashes; print them in base 32", operation=True),
        Option("--to-base64", help="the operands are hashes; print them in base 64", operation=True),
        Option("--to-sri", help="the operands are hashes; print them as ALGO-BASE64", operation=True),
    ),
    examples=(("nix-hash --type sha256 --base32 dir", "the NAR hash of a directory"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.hashing import hash_operand
    from storefs.formats.hashes import parse_hash, parse_hash_algo

    algo = parse_hash_algo(invocation.value("--type", "md5") or "md5")
    conversion = invocation.operation()
    if conversion is not None:
        base = conversion.removeprefix("--to-")
        for operand in invocation.operands:
            sys.stdout.write(parse_hash(operand, algo).to_string(base, base == "sri") + "\n")
        return 0
    base = next((base for base in ("base32", "base64", "sri") if invocation.flag(f"--{base}")), "base16")
    for operand in invocation.operands:
        text = hash_operand(
            invocation.config,
            operand,
            algo,
            base,
            flat=invocation.flag("--flat"),
            truncate=invocation.flag("--truncate"),
        )
        sys.stdout.write(text + "\n")
    return 0
