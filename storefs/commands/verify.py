"""`verglas verify` and `nix store verify`: check that the store is whole, and that its paths are trusted."""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.installable_options import INSTALLABLES
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation
    from storefs.stores.any_store import AnyStore

COMMAND = Command(
    "verglas verify",
    "Check the integrity of the store",
    operands="[PATH...]",
    installables=True,
    options=(
        Option("--quick", help="only metadata, presence and sizes: do not read the contents"),
        Option("--recursive", "-r", help="everything that the paths need, too"),
        Option("--all", help="all paths of the store"),
        Option("--sigs-needed", "-n", takes=("NUMBER",), help="also require signatures by NUMBER trusted keys"),
        Option("--no-contents", help="do not read the contents of the paths that are named"),
        Option("--no-trust", help="with 'nix store verify', which requires one otherwise: no signature is needed"),
        Option("--derivation", help="operands that are derivations mean themselves", hidden=True),
        *INSTALLABLES,
    ),
    description="""
        Reads every byte of the given paths, or of all, on all processors, and compares with the hash that was
        registered. The exit status is 1 if something is wrong, 2 if a path is not trusted, 3 for both. What was built
        here is trusted, and what is named by its own content; anything else needs a signature, when signatures are
        asked for. Builds and collections may run meanwhile. `verglas repair PATH` mends a path.
    """,
    examples=(("verglas verify -r ./result --sigs-needed 1", "is what a program needs intact and signed?"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from storefs.stores.any_store import open_any_store

    needed = invocation.value("--sigs-needed", "0") or "0"
    if not needed.isdigit():
        raise UsageError(f"'--sigs-needed' takes a number, not '{needed}'")
    store = open_any_store(invocation.config)
    try:
        if invocation.operands or invocation.flag("--all"):
            return _verify_paths(invocation, store, int(needed))
        return _verify_everything(invocation, store)
    finally:
        store.close()


def _verify_everything(invocation: Invocation, store: AnyStore) -> int:
    from storefs.commands.operations.verifying import verify
    from storefs.stores.local import LocalStore

    if not isinstance(store, LocalStore):
        from storefs.stores.nar_store import NarStore  # a quick check takes as long as loading this

        if isinstance(store, NarStore):
            raise UsageError("name the paths to check, or say '--all'")
    return verify(store, check_contents=not invocation.flag("--quick"), repair=None)


def _verify_paths(invocation: Invocation, store: AnyStore, needed: int) -> int:
    from storefs.commands.operations.operands import operand_paths
    from storefs.commands.operations.verifying import untrusted_paths, verify_paths
    from storefs.stores.closure import closure

    paths = sorted(store.all_valid_paths()) if invocation.flag("--all") else operand_paths(invocation, store)
    if invocation.flag("--recursive"):
        paths = sorted(closure(store, paths))
    status = 0 if invocation.flag("--no-contents") else verify_paths(store, paths)
    with_trust = invocation.program == "nix" or invocation.value("--sigs-needed") is not None
    if with_trust and not invocation.flag("--no-trust"):
        keys = invocation.config.words("trusted-public-keys")
        status |= 2 * bool(untrusted_paths(store, paths, keys, needed))
    return status
