"""Copying closures from anywhere to anywhere: stores and binary caches, by their URIs. What copy commands stand on.

Blocking. Only what the destination lacks is sent; it is asked about everything in one question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storefs.errors import StoreError
from storefs.formats.narinfo import NarInfo
from storefs.formats.path_info import PathInfo
from storefs.stores.binary_cache import BinaryCache
from storefs.stores.cache_uri import is_cache_uri, split_uri
from storefs.stores.cache_writer import CacheWriter
from storefs.stores.copying import Trust, topological
from storefs.stores.offer_query import query
from storefs.stores.store_source import StoreSource
from storefs.stores.substitution import Substitution

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.store_path import StorePath
    from storefs.stores.cache_uri import Caches
    from storefs.stores.offer_query import Source


class NothingToCopyError(StoreError):
    """A path is not where it should be copied from."""


def source_closure(source: Source, paths: Collection[StorePath], *, recursive: bool) -> list[PathInfo]:
    """What there is to copy, references first.

    Raises:
        NothingToCopyError: the source lacks one of `paths`, or something they refer to.
    """
    found = {path: answer[1] for path, answer in query([source], paths, recursive=recursive).items()}
    wanted = set(paths)
    if recursive:
        wanted.update(reference for narinfo in found.values() for reference in narinfo.info.references)
    for path in sorted(wanted):
        if path not in found:
            raise NothingToCopyError(f"path '{path.base_name}' is not valid in '{source.uri}'")
    return topological(found[path].info for path in wanted)


def copy_to_cache(source: Source, infos: list[PathInfo], writer: CacheWriter) -> int:
    """Add paths to a binary cache; returns how many it lacked."""
    missing = writer.missing(infos)
    writer.add_all(missing, lambda info: read_nar(source, info))
    return len(missing)


def read_nar(source: Source, info: PathInfo) -> Iterator[bytes]:
    """The NAR of a path that the source has; raises StoreError."""
    narinfo = source.known(info.path)
    if not isinstance(narinfo, NarInfo):
        raise NothingToCopyError(f"path '{info.path.base_name}' is not valid in '{source.uri}' any more")
    with source.open_nar(narinfo) as pieces:
        yield from pieces


def copy_to_store(
    source: Source,
    paths: Collection[StorePath],
    store: Store,
    trust: Trust,
    on_path: Callable[[StorePath, str], None] | None = None,
) -> None:
    """Make paths, and what they refer to, valid in a store.

    Raises:
        SubstitutionError: something could not be had, or nobody trusted vouches for it.
    """
    Substitution(store, [source], trust, on_path).fetch_all(paths)


def copy_all(origin: Store, store: Store, paths: Collection[StorePath]) -> None:
    """Make paths, and what they refer to, valid in a store, from another that is believed.

    Raises:
        StoreError: something could not be had.
    """
    copy_to_store(StoreSource(origin, origin.uri, trusted=True), paths, store, Trust(store.directory, (), False))


def open_copy_source(caches: Caches, uri: str | None, store: Store, *, trusted: bool = True) -> Source:
    """The source of a copy: a cache or store by URI; None for the store at hand, which may be believed."""
    if uri is None:
        return StoreSource(store, store.uri, trusted=trusted)
    return caches.open_source(uri)


def open_writer(caches: Caches, config: Config, uri: str) -> CacheWriter:
    """A binary cache to copy to.

    Raises:
        StoreError: it can't be opened or written.
    """
    assert is_cache_uri(uri)
    _, parameters = split_uri(uri)
    cache: BinaryCache = caches.open_cache(uri)
    writer = CacheWriter.from_parameters(cache, parameters, config)
    writer.prepare(want_mass_query=False)  # Nix's caches do not ask for that either until somebody says so
    return writer
