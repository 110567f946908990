"""Letting paths into a local store whose contents somebody else sends: what is believed, and what is checked.

A path's content is believed if a trusted key signed its NAR hash, or if the path is a hash of the content itself and
that has been recomputed here. What a client claims beyond that is worth nothing. Used by the daemon and by
`nix-store --import`; may block for as long as the sender takes.
"""

from __future__ import annotations

import tempfile

from storefs.errors import StoreError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.content_address import RECURSIVE, ContentAddress, parse_content_address, parse_method
from storefs.formats.export import read_export
from storefs.formats.hashes import Hasher
from storefs.formats.nar import NarStream, Regular, parse_nar
from storefs.formats.path_info import PathInfo
from storefs.formats.signatures import PublicKeys, is_trusted
from storefs.stores.content_hash import ContentHash, ContentMismatchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.api import Tree
    from storefs.config import Config
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.nar import Event
    from storefs.formats.store_path import StorePath
    from storefs.stores.local import LocalStore
    from storefs.stores.local_intake import LocalIntake

# What one commit makes valid at most: it takes about as long for a hundred small paths as for one.
_GROUP_PATHS = 128
_GROUP_BYTES = 64 << 20
_SPOOL_IN_MEMORY = 1 << 20  # bytes of a flat file of unknown size that are kept in memory


class UntrustedPathError(StoreError):
    """A path whose contents nobody vouches for who is trusted here."""


def admit_nars(
    store: LocalStore,
    config: Config,
    additions: Iterable[tuple[PathInfo, Iterable[Buffer]]],
    *,
    repair: bool,
    check_signatures: bool,
) -> None:
    """Make paths valid from their NARs, several of them with one commit.

    Args:
        store: where they go.
        config: says which keys are trusted, and whether signatures are wanted at all.
        additions: what the sender says about each path, and its NAR, which is read before the next one is asked for;
            references come first.
        repair: replace the contents of paths that are valid already.
        check_signatures: whether the sender must be able to show signatures.

    Raises:
        UntrustedPathError: nobody who is trusted vouches for a path.
        StoreError: the contents are not those that were promised, or not a NAR. What came before the path that is
            refused becomes valid all the same.
    """
    trusted = not (check_signatures and config.boolean("require-sigs"))
    keys = None if trusted else PublicKeys(config.words("trusted-public-keys"))
    stream = iter(additions)
    while _admit_group(store, keys, stream, repair=repair):
        pass


def _admit_group(
    store: LocalStore, keys: PublicKeys | None, stream: Iterator[tuple[PathInfo, Iterable[Buffer]]], *, repair: bool
) -> bool:
    """Take as many paths in as one commit is good for; returns whether there may be more."""
    with store.intake(repair=repair) as intake:
        group: dict[StorePath, tuple[Tree, PathInfo]] = {}
        size = 0
        try:
            for info, chunks in stream:
                if keys is not None and not is_trusted(info, store.directory, keys):
                    shown = store.directory.print(info.path)
                    raise UntrustedPathError(f"cannot add path '{shown}' because it lacks a valid signature")
                store.add_temp_root(info.path)
                if not repair and (info.path in group or store.is_valid(info.path)):
                    for _ in chunks:
                        pass
                    continue
                group[info.path] = (_take_in(store, intake, info, chunks), info)
                size += info.nar_size
                if len(group) >= _GROUP_PATHS or size >= _GROUP_BYTES:
                    return True
        finally:
            _register(intake, list(group.values()), replace=repair)
    return False


def _take_in(store: LocalStore, intake: LocalIntake, info: PathInfo, chunks: Iterable[Buffer]) -> Tree:
    shown = store.directory.print(info.path)
    address = parse_content_address(info.ca) if info.ca else None
    reader = ByteReader(() if isinstance(chunks, NarStream) else chunks)
    events = chunks.events if isinstance(chunks, NarStream) else parse_nar(reader)
    if address is None:
        tree = intake.add_events(events)
    else:
        content_hash = ContentHash(address, info)
        tree = intake.add_events(content_hash.watch(events), nar_sink=content_hash.nar_sink)
        got = content_hash.finish(tree.nar_hash)
        if got != address.hash:
            raise ContentMismatchError(shown, address.hash, got)
    if not reader.at_end():
        raise StoreError(f"something follows the end of the archive of '{shown}'")
    return tree


def _register(intake: LocalIntake, group: list[tuple[Tree, PathInfo]], *, replace: bool) -> None:
    try:
        if group:
            intake.register(group, replace=replace)
    except StoreError:
        if len(group) == 1:
            raise
        for addition in group:  # those before the bad one become valid, and its error is the one that is told
            intake.register([addition], replace=replace)


def admit_content(
    store: LocalStore,
    name: str,
    method: str,
    chunks: Iterable[Buffer],
    references: Iterable[StorePath],
    *,
    repair: bool,
) -> PathInfo:
    """Add an object whose path is computed here from its content, and return what is registered.

    Args:
        store: where it goes.
        name: the part of the path behind the hash.
        method: 'text:sha256', 'fixed:ALGO' (chunks are a file) or 'fixed:r:ALGO' (chunks are a NAR).
        chunks: the content.
        references: what it refers to.
        repair: replace the contents of a path that is valid already.

    Raises:
        StoreError: the name, the method or the content can't be.
    """
    kind, algorithm = parse_method(method)
    references = tuple(references)
    hasher = Hasher(algorithm)
    with store.intake(repair=repair) as intake, tempfile.SpooledTemporaryFile(_SPOOL_IN_MEMORY) as spool:
        if kind == RECURSIVE:
            plain = algorithm == "sha256"
            tree = intake.add_nar(chunks, nar_sink=None if plain else hasher.update)
            content_hash = tree.nar_hash if plain else hasher.finish()
        else:
            for chunk in chunks:
                hasher.update(chunk)
                spool.write(chunk)
            content_hash = hasher.finish()
            size = spool.tell()
            spool.seek(0)
            tree = intake.add_events(_flat_events(spool, size))
        address = ContentAddress(kind, content_hash)
        path = address.store_path(store.directory, name, references)
        store.add_temp_root(path)
        if repair or not store.is_valid(path):
            info = PathInfo(path, tree.nar_hash, tree.nar_size, references, ca=str(address))
            intake.register([(tree, info)], replace=repair)
    return store.path_info(path)


def admit_export(
    store: LocalStore, config: Config, chunks: Iterable[Buffer], *, check_signatures: bool
) -> list[StorePath]:
    """Add all paths of an export stream, each as soon as it has arrived, and return them in its order.

    Raises:
        UntrustedPathError: signatures are wanted, which this format does not carry.
        StoreError: the stream is none, or a reference is missing.
    """
    imported = []
    checked = check_signatures and config.boolean("require-sigs")
    with store.intake() as intake:
        stream = read_export(ByteReader(chunks), store.directory, intake.add_nar)
        for tree, exported in stream:
            info = PathInfo(exported.path, tree.nar_hash, tree.nar_size, exported.references, exported.deriver)
            shown = store.directory.print(info.path)
            if not store.is_valid(info.path):
                if checked:
                    raise UntrustedPathError(f"imported archive of '{shown}' lacks a signature")
                store.add_temp_root(info.path)
                intake.register([(tree, info)])
            imported.append(info.path)
    return imported


def _flat_events(file: tempfile.SpooledTemporaryFile[bytes], size: int) -> Iterator[Event]:
    yield Regular(b"", executable=False, size=size)
    while piece := file.read(1 << 18):
        yield piece
