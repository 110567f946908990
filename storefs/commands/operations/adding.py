"""Adding files and trees, and NARs of host paths: `nix-store --add`, `--add-fixed`, `--dump`, `--restore` ..."""

from __future__ import annotations

import os
import sys

from storefs.castore.host_tree import host_events
from storefs.castore.restore import restore
from storefs.errors import UsageError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.hashes import parse_hash, parse_hash_algo
from storefs.formats.nar import parse_nar, write_nar
from storefs.formats.store_path import StoreDir
from storefs.stores.adding import add_host_path
from storefs.stores.transfer import export_paths, import_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.api import Store
    from storefs.formats.store_path import StorePath

_BATCH = 256 << 10


def add_paths(store: Store, sources: Iterable[str]) -> int:
    """`--add`: recursive SHA-256."""
    for source in sources:
        path = add_host_path(store, source, base_name(source))
        sys.stdout.write(store.directory.print(path) + "\n")
    return 0


def add_fixed(store: Store, operands: list[str], *, recursive: bool) -> int:
    """`--add-fixed ALGO FILE...`."""
    if not operands:
        raise UsageError("first argument must be hash algorithm")
    algo = parse_hash_algo(operands[0])
    for source in operands[1:]:
        path = add_host_path(store, source, base_name(source), recursive=recursive, algo=algo)
        sys.stdout.write(store.directory.print(path) + "\n")
    return 0


def print_fixed_path(directory: str, operands: list[str], *, recursive: bool) -> int:
    """`--print-fixed-path ALGO HASH NAME`; needs no store."""
    if len(operands) != 3:
        raise UsageError("'--print-fixed-path' requires three arguments")
    algo, digest, name = operands
    store_dir = StoreDir(directory)
    path = store_dir.make_fixed_output_path(recursive, parse_hash(digest, parse_hash_algo(algo)), name)
    sys.stdout.write(store_dir.print(path) + "\n")
    return 0


def dump(operands: list[str]) -> int:
    """`--dump PATH`: the NAR of a host path; needs no store."""
    if len(operands) != 1:
        raise UsageError("only one argument allowed")
    write_out(write_nar(host_events(operands[0])))
    return 0


def restore_stdin(operands: list[str]) -> int:
    """`--restore PATH`: a NAR to host files; needs no store."""
    if len(operands) != 1:
        raise UsageError("only one argument allowed")
    restore(parse_nar(ByteReader(read_in())), operands[0])
    return 0


def export_to_stdout(store: Store, paths: Iterable[StorePath]) -> int:
    """`--export`."""
    write_out(export_paths(store, paths))
    return 0


def import_from_stdin(store: Store) -> int:
    """`--import`."""
    for path in import_paths(store, read_in()):
        sys.stdout.write(store.directory.print(path) + "\n")
    return 0


def base_name(source: str) -> str:
    """The name that a source gets in the store."""
    return os.path.basename(os.path.normpath(source))


def read_in() -> Iterator[bytes]:
    """Yield what comes on standard input."""
    while piece := os.read(0, 1 << 20):
        yield piece


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
    while view:
        view = view[os.write(1, view) :]
