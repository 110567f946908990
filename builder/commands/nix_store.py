"""`nix-store`: every operation on a store, spelled as Nix spells it.

Stands in builder because it can realise; everything else is a call into `storefs/commands/operations`, imported only by
the operation that needs it, so that a query starts at once.
"""

from __future__ import annotations

import os
import sys

from storefs.errors import UsageError
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation
    from storefs.stores.local import LocalStore
    from storefs.stores.remote import RemoteStore

    Store = LocalStore | RemoteStore


def _operation(*spellings: str, help: str) -> Option:
    return Option(*spellings, help=help, operation=True)


COMMAND = Command(
    "nix-store",
    "Manipulate or query the Nix store",
    operands="[PATH...]",
    options=(
        _operation("--realise", "--realize", "-r", help="make paths valid, by building or downloading"),
        _operation("--add", "-A", help="add files or directories"),
        _operation("--add-fixed", help="add with a given hash algorithm, which is the first operand"),
        _operation("--print-fixed-path", help="print where a fixed output would go: ALGO HASH NAME"),
        _operation("--delete", help="remove paths that nothing needs"),
        _operation("--query", "-q", help="ask about paths; --outputs unless another query is given"),
        _operation("--print-env", help="print the environment of a derivation for a shell"),
        _operation("--read-log", "-l", help="print build logs"),
        _operation("--dump-db", help="print what is registered"),
        _operation("--load-db", help="register what --dump-db printed"),
        _operation("--register-validity", help="register paths whose files are in the store directory"),
        _operation("--check-validity", help="fail if a path is not valid"),
        _operation("--gc", help="remove what nothing needs"),
        _operation("--dump", help="write the NAR of a host path to standard output"),
        _operation("--restore", help="unpack a NAR from standard input to a host path"),
        _operation("--export", help="write paths in a stream to standard output"),
        _operation("--import", help="read such a stream from standard input"),
        _operation("--init", help="make the store"),
        _operation("--verify", help="check that everything registered is there"),
        _operation("--verify-path", help="check the contents of paths"),
        _operation("--repair-path", help="fetch or rebuild the contents of paths"),
        _operation("--optimise", "--optimize", help="share equal files; they are shared from the start"),
        _operation("--query-failed-paths", help="print outputs whose builds failed, with 'build-cache-failure'"),
        _operation("--clear-failed-paths", help="let these outputs be built again; '*' for all"),
        _operation("--serve", help="speak the serve protocol on standard input and output, for ssh:// stores"),
        _operation("--generate-binary-cache-key", help="make a key pair: NAME SECRET-FILE PUBLIC-FILE"),
        # queries
        Option("--outputs", help="query: the outputs of derivations"),
        Option("--requisites", "-R", help="query: everything that the paths need"),
        Option("--references", help="query: what the paths refer to"),
        Option("--referrers", "--referers", help="query: what refers to the paths"),
        Option("--referrers-closure", "--referers-closure", help="query: everything that needs the paths"),
        Option("--deriver", "-d", help="query: the derivation that made the path"),
        Option("--valid-derivers", help="query: the valid derivations that make the path"),
        Option("--binding", "-b", takes=("NAME",), help="query: a variable of a derivation's environment"),
        Option("--hash", help="query: the SHA-256 of the contents"),
        Option("--size", help="query: the size of the contents as a NAR"),
        Option("--tree", help="query: the references as a tree"),
        Option("--graph", help="query: the references as a Graphviz graph"),
        Option("--graphml", help="query: the references as GraphML"),
        Option("--resolve", help="query: the path that a link leads to"),
        Option("--roots", help="query: the garbage collector roots that keep the path"),
        Option("--use-output", "-u", help="ask about the outputs of a derivation, not the derivation"),
        Option("--force-realise", "--force-realize", "-f", help="realise before asking"),
        Option("--include-outputs", help="with --requisites: the outputs of derivations too"),
        # the others' flags
        Option("--add-root", takes=("PATH",), help="keep what is realised by a link at PATH"),
        Option("--indirect", help="accepted for old scripts: every root is indirect"),
        Option("--no-output", help="do not print the paths that were realised"),
        Option("--write", help="with --serve: the client may add paths and build"),
        Option("--dry-run", help="only say what realising would do"),
        Option("--ignore-unknown", help="pass over paths that nobody can make"),
        Option("--check", help="build again and compare"),
        Option("--repair", help="mend what is damaged"),
        Option("--recursive", help="with --add-fixed and --print-fixed-path: hash the NAR"),
        Option("--reregister", help="with --register-validity: also what is valid already"),
        Option("--hash-given", help="with --register-validity: the input has hashes"),
        Option("--print-invalid", help="with --check-validity: print instead of failing"),
        Option("--print-roots", help="with --gc: only print the roots"),
        Option("--print-live", help="with --gc: only print what would be kept"),
        Option("--print-dead", help="with --gc: only print what would be removed"),
        Option("--max-freed", takes=("BYTES",), help="with --gc: stop when so much is freed (K, M, G and T multiply)"),
        Option("--ignore-liveness", help="with --delete: whatever the roots say"),
        Option("--check-contents", help="with --verify: read every byte"),
    ),
    examples=(
        ("nix-store -r /nix/store/...-hello.drv", "build a derivation and print its output"),
        ("nix-store -qR ./result", "print everything that a result needs"),
        ("nix-store --gc --max-freed 10G", "free ten gigabytes"),
    ),
)


def run(invocation: Invocation) -> int:
    """Run the one operation that was asked for."""
    name = invocation.operation()
    if name is None:
        raise UsageError("no operation specified")
    handler = _WITHOUT_STORE.get(name)
    if handler is not None:
        return handler(invocation)
    from storefs.stores.open import open_store

    store = open_store(invocation.config)
    try:
        return _WITH_STORE[name](invocation, store)
    finally:
        store.close()


# Operations that need no store, or open it in their own way


def _gc(invocation: Invocation) -> int:
    from storefs.commands.operations import collecting

    _no_operands(invocation)
    if invocation.flag("--print-roots"):
        return collecting.print_roots(invocation.config)
    if invocation.flag("--print-live") or invocation.flag("--print-dead"):
        return collecting.print_liveness(invocation.config, live=invocation.flag("--print-live"))
    from storefs.settings import parse_size

    limit = invocation.value("--max-freed")
    return collecting.collect_garbage(
        invocation.config, collecting.NO_LIMIT if limit is None else max(0, parse_size("--max-freed", limit))
    )


def _delete(invocation: Invocation) -> int:
    from storefs.commands.operations import collecting
    from storefs.commands.operations.operands import to_store_path
    from storefs.formats.store_path import StoreDir

    directory = StoreDir(invocation.config.store_dir)
    paths = [to_store_path(directory, operand) for operand in invocation.operands]
    return collecting.delete_paths(invocation.config, paths, ignore_liveness=invocation.flag("--ignore-liveness"))


def _dump(invocation: Invocation) -> int:
    from storefs.commands.operations import adding

    return adding.dump(invocation.config, invocation.operands)


def _restore(invocation: Invocation) -> int:
    from storefs.commands.operations import adding

    return adding.restore_stdin(invocation.config, invocation.operands)


def _print_fixed_path(invocation: Invocation) -> int:
    from storefs.commands.operations import adding

    return adding.print_fixed_path(
        invocation.config.store_dir, invocation.operands, recursive=invocation.flag("--recursive")
    )


def _generate_key(invocation: Invocation) -> int:
    from storefs.commands.operations import keys

    return keys.generate_binary_cache_key(invocation.operands)


# Operations on an open store


def _realise(invocation: Invocation, store: Store) -> int:
    from builder.commands.operations import realising

    return realising.realise_operands(invocation, store)


def _add(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import adding

    return adding.add_paths(invocation.config, store, invocation.operands)


def _add_fixed(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import adding

    return adding.add_fixed(invocation.config, store, invocation.operands, recursive=invocation.flag("--recursive"))


def _query(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations.queries import run_query

    def realise(path: StorePath) -> None:
        from builder.commands.operations import realising

        realising.realise_path(invocation, store, path)

    def find_roots() -> dict[StorePath, list[str]]:
        from storefs.commands.operations import collecting

        return collecting.find_roots(store)

    return run_query(invocation, store, realise, find_roots)


def _print_env(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations.derivations import print_environment

    if len(invocation.operands) != 1:
        raise UsageError("'--print-env' requires one derivation store path")
    return print_environment(store, store.directory.parse(os.path.abspath(invocation.operands[0])))


def _read_log(invocation: Invocation, store: Store) -> int:
    from builder.commands.operations.logs import print_logs

    return print_logs(invocation.config, store, _paths(invocation, store))


def _dump_db(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import registrations

    paths = _paths(invocation, store) if invocation.operands else sorted(store.all_valid_paths())
    return registrations.dump_registrations(store, paths)


def _load_db(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import registrations

    _no_operands(invocation)
    return registrations.register_from_stdin(store, with_hashes=True, reregister=True)


def _register_validity(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import registrations

    _no_operands(invocation)
    return registrations.register_from_stdin(
        store, with_hashes=invocation.flag("--hash-given"), reregister=invocation.flag("--reregister")
    )


def _check_validity(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import registrations

    return registrations.check_validity(
        store, _paths(invocation, store), print_invalid=invocation.flag("--print-invalid")
    )


def _export(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import adding

    return adding.export_to_stdout(store, _paths(invocation, store))


def _import(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import adding

    _no_operands(invocation)
    return adding.import_from_stdin(invocation.config, store)


def _init(invocation: Invocation, store: Store) -> int:
    _no_operands(invocation)
    return 0


def _verify(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import verifying

    _no_operands(invocation)
    repair = None
    if invocation.flag("--repair"):
        from builder.commands.operations import realising

        repair = realising.repairer(invocation, store)
    return verifying.verify(store, check_contents=invocation.flag("--check-contents"), repair=repair)


def _verify_path(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import verifying

    return verifying.verify_paths(store, _paths(invocation, store))


def _repair_path(invocation: Invocation, store: Store) -> int:
    from builder.commands.operations import realising

    repair = realising.repairer(invocation, store)
    for path in _paths(invocation, store):
        repair(path)
    return 0


def _optimise(invocation: Invocation, store: Store) -> int:
    from storefs.commands.operations import verifying

    _no_operands(invocation)
    return verifying.optimise(store)


def _query_failed_paths(invocation: Invocation) -> int:
    from builder.failed_builds import failed_paths

    _no_operands(invocation)
    config = invocation.config
    sys.stdout.write("".join(f"{config.store_dir}/{name}\n" for name in failed_paths(config)))
    return 0


def _clear_failed_paths(invocation: Invocation) -> int:
    from builder.failed_builds import failed_paths, forget_failures
    from storefs.formats.store_path import StoreDir

    config, operands = invocation.config, invocation.operands
    directory = StoreDir(config.store_dir)
    names = failed_paths(config) if "*" in operands else [directory.parse(each).base_name for each in operands]
    forget_failures(config, names)
    return 0


def _serve(invocation: Invocation) -> int:
    from contextlib import closing

    from storefs.stores.open import open_store

    _no_operands(invocation)
    config, may_write = invocation.config, invocation.flag("--write")
    if config.store_uri.startswith("ssh://"):
        from storefs.stores.ssh_copy import relay

        return relay(config, config.store_uri, write=may_write)
    from builder.serve_session import serve_stdio

    with closing(open_store(config)) as store:
        return serve_stdio(config, store, may_write=may_write)


_WITHOUT_STORE = {
    "--clear-failed-paths": _clear_failed_paths,
    "--delete": _delete,
    "--dump": _dump,
    "--gc": _gc,
    "--generate-binary-cache-key": _generate_key,
    "--print-fixed-path": _print_fixed_path,
    "--query-failed-paths": _query_failed_paths,
    "--restore": _restore,
    "--serve": _serve,
}
_WITH_STORE = {
    "--add": _add,
    "--add-fixed": _add_fixed,
    "--check-validity": _check_validity,
    "--dump-db": _dump_db,
    "--export": _export,
    "--import": _import,
    "--init": _init,
    "--load-db": _load_db,
    "--optimise": _optimise,
    "--print-env": _print_env,
    "--query": _query,
    "--read-log": _read_log,
    "--realise": _realise,
    "--register-validity": _register_validity,
    "--repair-path": _repair_path,
    "--verify": _verify,
    "--verify-path": _verify_path,
}


def _paths(invocation: Invocation, store: Store) -> list[StorePath]:
    from storefs.commands.operations.operands import to_store_path

    return [to_store_path(store.directory, operand) for operand in invocation.operands]


def _no_operands(invocation: Invocation) -> None:
    if invocation.operands:
        raise UsageError("no arguments expected")
