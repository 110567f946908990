"""Adding files and trees, and NARs of host paths: `nix-store --add`, `--add-fixed`, `--dump`, `--restore` ..."""

from __future__ import annotations

import os
import sys

from storefs.castore.host_tree import HostTreeError
from storefs.castore.restore import restore
from storefs.commands.operations.hashing import hash_nar, host_nar
from storefs.commands.operations.reading import find_object
from storefs.errors import StoreError, SystemRefusedError, UsageError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.hashes import parse_hash, parse_hash_algo
from storefs.formats.nar import parse_nar
from storefs.formats.store_path import StoreDir
from storefs.stores.adding import add_host_path, flat_file, hash_flat_file
from storefs.stores.any_store import open_any_store
from storefs.stores.open import open_store
from storefs.stores.showing import show_paths
from storefs.stores.transfer import export_paths, import_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.store_path import StorePath

_BATCH = 256 << 10


def add_paths(config: Config, store: Store, sources: Iterable[str]) -> int:
    """`--add`: recursive SHA-256."""
    return _print_paths(config, store, (add_host_path(store, source, base_name(source)) for source in sources))


def _print_paths(config: Config, store: Store, paths: Iterable[StorePath]) -> int:
    """Print paths one by one as they become valid; what was printed can be opened when the command is over."""
    printed = []
    try:
        for path in paths:
            sys.stdout.write(store.directory.print(path) + "\n")
            printed.append(path)
    finally:
        show_paths(config, store.uri, printed)
    return 0


def add_named(config: Config, source: str, name: str | None, *, recursive: bool, dry_run: bool) -> str:
    """Add one source under ``name`` (None: its own), or only tell its path; returns the path."""
    name = name or base_name(source)
    if dry_run:
        store_dir = StoreDir(config.store_dir)
        found = hash_nar(source, "sha256") if recursive else hash_flat_file(flat_file(source), "sha256")
        return store_dir.print(store_dir.make_fixed_output_path(recursive, found, name))
    store = open_any_store(config)
    try:
        path = add_host_path(store, source, name, recursive=recursive)
        show_paths(config, store.uri, [path])
        return store.directory.print(path)
    finally:
        store.close()


def add_fixed(config: Config, store: Store, operands: list[str], *, recursive: bool) -> int:
    """`--add-fixed ALGO FILE...`; a symbolic link is no file."""
    if not operands:
        raise UsageError("first argument must be hash algorithm")
    algo = parse_hash_algo(operands[0])

    def add(source: str) -> StorePath:
        if not recursive and os.path.islink(source):
            raise HostTreeError(f"'{source}' is a symbolic link and no regular file")
        return add_host_path(store, source, base_name(source), recursive=recursive, algo=algo)

    return _print_paths(config, store, map(add, operands[1:]))


def print_fixed_path(directory: str, operands: list[str], *, recursive: bool) -> int:
    """`--print-fixed-path ALGO HASH NAME`; needs no store."""
    if len(operands) != 3:
        raise UsageError("'--print-fixed-path' requires three arguments")
    algo, digest, name = operands
    store_dir = StoreDir(directory)
    path = store_dir.make_fixed_output_path(recursive, parse_hash(digest, parse_hash_algo(algo)), name)
    sys.stdout.write(store_dir.print(path) + "\n")
    return 0


def dump(config: Config, operands: list[str]) -> int:
    """`--dump PATH`: the NAR of a host path; or of something in the store, which need not be mounted for that."""
    if len(operands) != 1:
        raise UsageError("only one argument allowed")
    source = os.path.abspath(operands[0])
    if os.path.lexists(source) or not StoreDir(config.store_dir).is_in_store(source):
        write_out(host_nar(operands[0], case_hack=config.boolean("use-case-hack")))
        return 0
    store = open_store(config)
    try:
        local, entry, _ = find_object(store, source)
        write_out(local.reader.nar(entry.inode))
    finally:
        store.close()
    return 0


def restore_stdin(config: Config, operands: list[str]) -> int:
    """`--restore PATH`: a NAR to host files; needs no store."""
    if len(operands) != 1:
        raise UsageError("only one argument allowed")
    events = parse_nar(ByteReader(read_in()))
    if config.boolean("use-case-hack"):
        from storefs.formats.case_hack import with_suffixes

        events = with_suffixes(events)
    restore(events, operands[0])
    return 0


def export_to_stdout(store: Store, paths: Iterable[StorePath]) -> int:
    """`--export`."""
    write_out(export_paths(store, paths))
    return 0


def import_from_stdin(config: Config, store: Store) -> int:
    """`--import`."""
    return _print_paths(config, store, import_paths(store, read_in()))


def base_name(source: str) -> str:
    """The name that a source gets in the store."""
    return os.path.basename(os.path.normpath(source))


def read_in() -> Iterator[bytes]:
    """Yield what comes on standard input; SystemRefusedError where it is closed or a directory."""
    try:
        while piece := os.read(0, 1 << 20):
            yield piece
    except OSError as error:
        raise SystemRefusedError("reading standard input", error) from error


def write_out(pieces: Iterable[bytes]) -> None:
    """Write bytes to standard output, in large pieces."""
    sys.stdout.flush()
    batch: list[bytes] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= _BATCH:
            _write_all(b"".join(batch))
            batch.clear()
            size = 0
    _write_all(b"".join(batch))


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(1, view) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write to standard output: {error.strerror}") from error
