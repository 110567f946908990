"""`nix-prefetch-url`: download a file into the store and print its hash.

Options and output are those of Nix 2.8 (`nix-prefetch-url(1)`).
"""

from __future__ import annotations

import os
import sys

from storefs.errors import UsageError
from storefs.installable_options import EVALUATION
from storefs.logs import info
from storefs.options import Command, Option
from storefs.stores.showing import show_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.session import Session
    from storefs.options import Invocation

COMMAND = Command(
    "nix-prefetch-url",
    "Download a file into the store and print its hash",
    operands="URL [HASH]",
    options=(
        Option("--type", takes=("ALGORITHM",), help="md5, sha1, sha256 (the default) or sha512"),
        Option("--print-path", help="print the store path too"),
        Option("--unpack", help="unpack the archive and hash the tree in it"),
        Option("--name", takes=("NAME",), help="the name of the store path instead of the last part of the URL"),
        Option("--attr", "-A", takes=("PATH",), help="the URL is in an attribute of the file given instead of it"),
        *EVALUATION,
    ),
    examples=(("nix-prefetch-url https://example.org/x.tar.gz", "print what `fetchurl` needs as sha256"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from evaluator.session import open_session

    session = open_session(invocation)
    path = session.run(lambda: _prefetch(session, invocation))
    store = session.store_io.store
    if store is not None:
        show_paths(session.stores.eval_config, store.uri, [store.directory.parse(path)])
    return 0


def _prefetch(session: Session, invocation: Invocation) -> str:
    from storefs.formats.hashes import hash_bytes, parse_hash

    operands = list(invocation.operands)
    algo = invocation.value("--type") or "sha256"
    name = invocation.value("--name")
    unpack = invocation.flag("--unpack")
    if invocation.value("--attr") is not None:
        url, stored_name, unpack = _url_of_attribute(session, invocation)
        name = name or stored_name
        operands = [url, *operands[1:]]
    if not 1 <= len(operands) <= 2:
        raise UsageError("you must specify a URL")
    url = operands[0]
    name = name or os.path.basename(url)
    if not name:
        raise UsageError(f"can't work out a file name from '{url}'; give one with --name")
    expected = parse_hash(operands[1], algo) if len(operands) == 2 else None
    if expected is not None and algo != "sha256":
        raise UsageError("an expected hash must be SHA-256")
    path = session.io.download(url, name, unpack=unpack, expected=expected)
    digest = session.io.nar_hash(path) if unpack else hash_bytes(algo, session.io.read_file(path))
    if not invocation.flag("--print-path"):
        info(f"path is '{path}'")
    sys.stdout.write(digest.to_string("base16" if algo == "md5" else "base32", False) + "\n")
    if invocation.flag("--print-path"):
        sys.stdout.write(path + "\n")
    return path


def _url_of_attribute(session: Session, invocation: Invocation) -> tuple[str, str, bool]:
    """The first URL, the name and the mode of a `fetchurl` derivation in an expression."""
    from evaluator.attr_path import find_along_path
    from evaluator.core.calls import force_attrs, force_list, force_string

    root = session.evaluate_file(invocation.operands[0] if invocation.operands else "./default.nix")
    found, _ = find_along_path(session.state, invocation.value("--attr") or "", session.auto_args, root)
    attrs = force_attrs(found)
    urls = force_list(attrs.get("urls", []))
    if not urls:
        raise UsageError("the attribute has no 'urls'")
    name = force_string(attrs["name"]) if "name" in attrs else ""
    recursive = "outputHashMode" in attrs and force_string(attrs["outputHashMode"]) == "recursive"
    return force_string(urls[0]), name, recursive
