"""`nix-copy-closure`: closures to and from other machines over ssh."""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.logs import INFO, log
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "nix-copy-closure",
    "Copy store paths and what they refer to to or from another machine over ssh",
    operands="[USER@]HOST PATH...",
    options=(
        Option("--to", help="copy to HOST; the default"),
        Option("--from", help="copy from HOST"),
        Option("--gzip", help="let ssh compress"),
        Option("--bzip2", help="as --gzip", hidden=True),
        Option("--xz", help="as --gzip", hidden=True),
        Option("--include-outputs", help="of derivations, copy the outputs as well, as far as they are valid"),
        Option("--use-substitutes", "-s", help="let HOST fetch what its own substituters have"),
        Option("--dry-run", help="only show what would be copied"),
        Option("--show-progress", help="accepted and ignored", hidden=True),
    ),
    description="""
Only paths that the other side lacks are copied. HOST needs `nix-store`, real Nix's or ours, in its PATH. Signatures are
not asked for when copying from HOST: who may log in there is trusted with what it holds.
""",
    examples=(("nix-copy-closure --to alice@itchy ./result", "bring a build to another machine"),),
)


def run(invocation: Invocation) -> int:
    """Copy."""
    from contextlib import closing

    from storefs.commands.operations.operands import to_store_path
    from storefs.stores.closure import closure, closure_with_outputs
    from storefs.stores.copy_between import copy_to_store
    from storefs.stores.copying import Trust
    from storefs.stores.open import open_store
    from storefs.stores.showing import show_paths
    from storefs.stores.ssh_copy import SshSource, copy_to_ssh, open_ssh

    config = invocation.config
    backwards = invocation.flag("--from")
    if backwards and invocation.flag("--to"):
        raise UsageError("nix-copy-closure copies either to or from a machine")
    if not invocation.operands:
        raise UsageError("nix-copy-closure takes a machine and the paths to copy")
    host, *operands = invocation.operands
    uri = host if "://" in host else f"ssh://{host}"
    if any(invocation.flag(name) for name in ("--gzip", "--bzip2", "--xz")):
        uri += ("&" if "?" in uri else "?") + "compress=true"
    dry_run = invocation.flag("--dry-run")
    with (
        closing(open_store(config)) as store,
        closing(open_ssh(config, uri, store.directory, write=not backwards)) as remote,
    ):
        paths = [to_store_path(store.directory, operand) for operand in operands]
        if backwards:
            source = SshSource(remote)
            source.learn_closure(paths)
            if dry_run:
                for path in source.closure(paths):
                    if not store.is_valid(path):
                        log(INFO, f"would copy '{store.directory.print(path)}'")
                return 0
            copy_to_store(source, paths, store, Trust(store.directory, (), False))
            show_paths(config, store.uri, paths)
            return 0
        wanted = closure_with_outputs(store, paths) if invocation.flag("--include-outputs") else closure(store, paths)
        infos = [store.path_info(path) for path in wanted]
        substitute = invocation.flag("--use-substitutes")
        copy_to_ssh(remote, infos, lambda info: store.nar(info.path), substitute=substitute, dry_run=dry_run)
    return 0
