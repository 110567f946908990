"""`verglas push`: closures of this store into a binary cache, signed."""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.logs import info
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas push",
    "Add store paths and what they refer to to a binary cache",
    operands="URI [PATH...]",
    options=(
        Option("--stdin", help="read the paths from standard input"),
        Option("--compression", takes=("METHOD",), help="zstd (the default), xz, bzip2, gzip, br or none"),
        Option("--compression-level", takes=("NUMBER",), help="how hard to compress, on the method's own scale"),
        Option("--sign-with", takes=("FILE",), help="sign with this secret key; may be repeated"),
        Option("--no-listings", help="do not write .ls files, which let others look into paths without fetching them"),
        Option("--priority", takes=("NUMBER",), help="of a cache that is made; lower is asked first (default 50)"),
    ),
    description="""
URI is `file:///DIR`, `s3://BUCKET` or an HTTP server that accepts PUT. A cache that does not exist is made. Keys of the
setting `secret-key-files` sign too. Results of builds are pushed with their build logs where there are some.

What is pushed is there completely or not at all: a path is announced only when everything it refers to is.
""",
    examples=(
        ("verglas push file:///srv/cache ./result", "make or fill a cache that any web server can offer"),
        ("verglas push s3://builds?region=eu-west-1 --sign-with /etc/cache.key ./result", "fill a bucket"),
    ),
)


def run(invocation: Invocation) -> int:
    """Push."""
    import sys
    from contextlib import closing

    from builder.build_log import find_build_log, read_build_log
    from storefs.commands.operations.operands import to_store_path
    from storefs.stores.cache_uri import Caches, is_cache_uri, split_uri
    from storefs.stores.cache_writer import CacheWriter, read_secret_key
    from storefs.stores.copy_between import copy_to_cache, source_closure
    from storefs.stores.open import open_store
    from storefs.stores.store_source import StoreSource

    config = invocation.config
    if not invocation.operands or not is_cache_uri(invocation.operands[0]):
        raise UsageError("verglas push takes a binary cache's URI and the paths to add to it")
    uri, *operands = invocation.operands
    if invocation.flag("--stdin"):
        operands += sys.stdin.read().split()
    if not operands:
        raise UsageError("name the paths to push, or say '--stdin'")
    _, parameters = split_uri(uri)
    key_files = [*config.words("secret-key-files"), *invocation.values("--sign-with")]
    if parameters.get("secret-key"):
        key_files.append(parameters["secret-key"])
    level = invocation.value("--compression-level") or parameters.get("compression-level") or "-1"
    priority = invocation.value("--priority") or ""
    if not level.removeprefix("-").isdigit() or (priority and not priority.isdigit()):
        raise UsageError("levels and priorities are numbers")
    with Caches(config) as caches, closing(open_store(config)) as store:
        paths = {to_store_path(store.directory, operand) for operand in operands}
        source = StoreSource(store, store.uri, trusted=True)
        writer = CacheWriter(
            caches.open_cache(uri),
            compression=invocation.value("--compression") or parameters.get("compression") or "zstd",
            level=int(level),
            keys=[read_secret_key(path) for path in key_files],
            listings=not invocation.flag("--no-listings"),
        )
        writer.prepare(priority=int(priority) if priority else None)
        infos = source_closure(source, paths, recursive=True)
        count = copy_to_cache(source, infos, writer)
        for deriver in sorted({each.deriver for each in infos if each.deriver is not None}):
            log_file = find_build_log(config, deriver)
            if log_file is not None:
                writer.add_log(deriver.base_name, b"".join(read_build_log(log_file)))
    info(f"pushed {count} of {len(infos)} paths; the others were there already")
    return 0
