"""`verglas copy` and `nix copy`: closures from one store or binary cache to another."""

from __future__ import annotations

from storefs.errors import StoreError, UsageError
from storefs.installable_options import INSTALLABLES
from storefs.logs import info, warn
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

COMMAND = Command(
    "verglas copy",
    "Copy store paths and what they refer to between stores and binary caches",
    operands="PATH... | -f FILE [ATTRIBUTE...]",
    installables=True,
    options=(
        Option("--from", takes=("URI",), help="where from: a binary cache or a store; by default this store"),
        Option("--to", takes=("URI",), help="where to: a binary cache or a store; by default this store"),
        Option("--all", help="copy everything that is valid"),
        Option("--no-recursive", help="copy the paths alone, not what they refer to"),
        Option("--recursive", "-r", help="copy what the paths refer to as well; the default", hidden=True),
        Option("--derivation", help="operands that are derivations mean themselves", hidden=True),
        Option("--no-check-sigs", help="believe the source without signatures"),
        Option("--substitute-on-destination", "-s", help="let an ssh store fetch what its substituters have"),
        *INSTALLABLES,
    ),
    description="""
Binary caches are named `https://HOST/PATH`, `file:///DIR` or `s3://BUCKET`; stores `/DIR` (a chroot store), `daemon`,
`unix://SOCKET`, `ssh://HOST`. Parameters follow a `?`, joined by `&`: `compression` (xz, zstd, bzip2, gzip, br, none),
`compression-level`, `secret-key=FILE` to sign what is uploaded, `write-nar-listing=1` to write `.ls` files too.

Only what the destination lacks is copied, and nothing becomes valid there before its hash was compared and a trusted
key's signature, or its own name, vouched for it.
""",
    examples=(
        ("verglas copy --to file:///srv/cache?secret-key=/etc/key ./result", "fill a binary cache"),
        ("verglas copy --from https://cache.example.org /nix/store/...-hello", "fetch from one"),
    ),
)


def run(invocation: Invocation) -> int:
    """Copy."""
    from contextlib import closing, nullcontext

    from storefs.commands.operations.operands import operand_paths
    from storefs.config import load_config
    from storefs.experimental import CA_DERIVATIONS, has_feature
    from storefs.stores.cache_uri import Caches, is_cache_uri
    from storefs.stores.copy_between import copy_to_cache, copy_to_store, open_copy_source, open_writer, source_closure
    from storefs.stores.copying import Trust
    from storefs.stores.open import open_store
    from storefs.stores.showing import show_paths

    config = invocation.config
    source_uri, target_uri = invocation.value("--from"), invocation.value("--to")
    if source_uri is None and target_uri is None:
        raise UsageError("say where to copy from or to, with '--from' or '--to'")
    if not invocation.operands and not invocation.flag("--all"):
        raise UsageError("name the paths to copy, or say '--all'")
    with Caches(config) as caches, closing(open_store(config)) as store:
        # What is here is believed by a cache, which is ours to fill, but not by another store.
        to_store = target_uri is not None and not is_cache_uri(target_uri)
        source = open_copy_source(caches, source_uri, store, trusted=not to_store)
        realisations: list[Realisation] = []
        paths: set[StorePath] = set()
        if has_feature(config, CA_DERIVATIONS):
            from storefs.commands.operations.realised_operands import find_outputs, split_operands

            built, invocation.operands = split_operands(invocation)
            paths, realisations = find_outputs(store, source, built)
        paths.update(operand_paths(invocation, store))
        if invocation.flag("--all"):
            if source_uri is not None and is_cache_uri(source_uri):
                raise UsageError("binary caches do not tell what they have; name the paths to copy")
            origin = (
                store if source_uri is None else open_store(load_config(config.environment(), store_uri=source_uri))
            )
            paths.update(origin.all_valid_paths())
        if target_uri is not None and is_cache_uri(target_uri):
            infos = source_closure(source, paths, recursive=not invocation.flag("--no-recursive"))
            writer = open_writer(caches, config, target_uri)
            count = copy_to_cache(source, infos, writer)
            writer.add_realisations(realisations)
            info(f"copied {count} of {len(infos)} paths; the others were there already")
            return 0
        if target_uri is not None and target_uri.startswith("ssh://"):
            from storefs.stores.copy_between import read_nar
            from storefs.stores.ssh_copy import copy_to_ssh, open_ssh

            infos = source_closure(source, paths, recursive=not invocation.flag("--no-recursive"))
            substitute = invocation.flag("--substitute-on-destination")
            with closing(open_ssh(config, target_uri, store.directory, write=True)) as remote:
                copy_to_ssh(remote, infos, lambda each: read_nar(source, each), substitute=substitute)
            return 0
        # Who receives decides whom to believe: `--to /dir?require-sigs=false`.
        settings = invocation.settings
        other = config if target_uri is None else load_config(config.environment(), settings, store_uri=target_uri)
        require = other.boolean("require-sigs") and not invocation.flag("--no-check-sigs")
        trust = Trust(store.directory, other.words("trusted-public-keys"), require)
        with nullcontext(store) if target_uri is None else closing(open_store(other)) as target:
            copy_to_store(source, paths, target, trust)
            for realisation in realisations:
                trust.check_realisation(realisation, source.uri, source_is_trusted=source.is_trusted)
            try:
                target.register_realisations(realisations)
            except StoreError as error:
                # A daemon may have the feature off; the paths are there all the same.
                if "experimental Nix feature" not in str(error):
                    raise
                warn(str(error))
            show_paths(other, target.uri, paths)
    return 0
