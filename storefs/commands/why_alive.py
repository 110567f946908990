"""`verglas why-alive`: the root that keeps a path, and the chain from it to the path."""

from __future__ import annotations

import sys

from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.gc.why_alive import Chain
    from storefs.options import Invocation
    from storefs.stores.local import LocalStore

COMMAND = Command(
    "verglas why-alive",
    "Say why the garbage collector keeps a path",
    operands="PATH...",
    options=(Option("--json", help="print a list of objects"),),
    description="""
Names the root (a link, a running program) and the shortest chain of references from it to the path. The exit status
is 1 if a path is kept by nothing.
""",
    examples=(("verglas why-alive /nix/store/...-openssl-1.1", "find out who still needs it"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.commands.operations.operands import to_store_path
    from storefs.commands.operations.verifying import require_local
    from storefs.gc.why_alive import find_chain
    from storefs.stores.open import open_store

    if not invocation.operands:
        raise UsageError("say which paths")
    config = invocation.config
    store = open_store(config)
    try:
        local = require_local(store)
        collector = local.collector()
        try:
            roots = collector.roots()
        finally:
            collector.close()
        found = []
        for operand in invocation.operands:
            path = to_store_path(local.directory, operand)
            local.path_info(path)
            chain = find_chain(
                local.environment,
                path,
                roots,
                keep_derivations=config.boolean("keep-derivations"),
                keep_outputs=config.boolean("keep-outputs"),
            )
            found.append((local.directory.print(path), chain))
        if invocation.flag("--json"):
            _print_json(local, found)
        else:
            for shown, chain in found:
                _print_text(local, shown, chain)
        return int(any(chain is None for _, chain in found))
    finally:
        store.close()


def _print_text(store: LocalStore, shown: str, chain: Chain | None) -> None:
    if chain is None:
        sys.stdout.write(f"{shown} is kept by nothing\n")
        return
    for reason in chain.reasons:
        sys.stdout.write(reason + "\n")
    sys.stdout.write(f"  keeps {store.directory.print(chain.root)}\n")
    for depth, (how, path) in enumerate(chain.steps, 2):
        sys.stdout.write(f"{'  ' * depth}{how} {store.directory.print(path)}\n")


def _print_json(store: LocalStore, found: list[tuple[str, Chain | None]]) -> None:
    import json

    rows = []
    for shown, chain in found:
        row: dict[str, object] = {"path": shown, "alive": chain is not None}
        if chain is not None:
            row["roots"] = chain.reasons
            row["rootPath"] = store.directory.print(chain.root)
            row["chain"] = [{"how": how, "path": store.directory.print(path)} for how, path in chain.steps]
        rows.append(row)
    sys.stdout.write(json.dumps(rows) + "\n")
