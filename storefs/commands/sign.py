"""`verglas sign`: vouch for paths with a secret key."""

from __future__ import annotations

from storefs import logs
from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas sign",
    "Sign paths of the store",
    operands="PATH...",
    options=(
        Option("--key-file", "-k", takes=("FILE",), help="the secret key"),
        Option("--recursive", "-r", help="everything that the paths need, too"),
        Option("--all", help="all paths of the store"),
    ),
    examples=(("verglas sign -k secret.key -r ./result", "so that others may trust what they copy from here"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.operands import operand_paths
    from storefs.formats.signatures import SecretKey
    from storefs.stores.any_store import open_any_store
    from storefs.stores.closure import closure

    file = invocation.value("--key-file")
    if file is None:
        raise UsageError("you must specify a secret key file using '-k'")
    with open(file, encoding="utf-8") as opened:
        key = SecretKey(opened.read().strip())
    store = open_any_store(invocation.config)
    count = 0
    try:
        paths = operand_paths(invocation, store)
        if invocation.flag("--all"):
            paths = sorted(store.all_valid_paths())
        elif invocation.flag("--recursive"):
            paths = sorted(closure(store, paths))
        for path in paths:
            info = store.path_info(path)
            signature = key.sign(info.fingerprint(store.directory))
            if signature not in info.signatures:
                store.add_signatures(path, [signature])
                count += 1
    finally:
        store.close()
    logs.info(f"added {count} signatures")
    return 0
