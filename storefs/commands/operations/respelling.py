"""`verglas hash to-base16`, `to-base32`, `to-base64` and `to-sri`: one operation, four spellings."""

from __future__ import annotations

import sys

from storefs.options import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

OPTIONS = (Option("--type", takes=("ALGO",), help="md5, sha1, sha256 or sha512, where the hash does not say itself"),)


def respell(invocation: Invocation, base: str) -> int:
    """Print each operand in another spelling.

    Raises:
        BadHash: an operand is no hash, or does not say of which algorithm it is.
    """
    from storefs.formats.hashes import parse_hash

    for operand in invocation.operands:
        sys.stdout.write(parse_hash(operand, invocation.value("--type")).to_string(base, base == "sri") + "\n")
    return 0
