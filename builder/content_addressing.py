"""Closures rewritten to paths that follow from their contents: `nix store make-content-addressed`, `fetchClosure`.

What a path contains then vouches for it, whoever made it, and no signature is needed. Each path is copied with the
names of what it refers to replaced by the new ones; its own name is found by hashing the contents without it, and put
in then. Blocking. Semantics: make-content-addressed.cc of Nix 2.8; here nothing is held in memory, so each path is
read twice.
"""

from __future__ import annotations

from builder.rewriting import rewrite_stream
from storefs import logs
from storefs.errors import StoreError
from storefs.formats.content_address import RECURSIVE, ContentAddress
from storefs.formats.hash_modulo import ModuloHasher
from storefs.formats.path_info import PathInfo
from storefs.stores.content_hash import ContentMismatchError
from storefs.stores.copy_between import copy_to_store, read_nar, source_closure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.store_path import StorePath
    from storefs.stores.offer_query import Source


class ClosureMismatchError(StoreError):
    """A closure is not what an expression says it is."""


def make_content_addressed(source: Source, store: Store, paths: Collection[StorePath]) -> dict[StorePath, StorePath]:
    """Make the rewritten closure of some paths of a source valid in a store, and return the new path of each.

    Paths of the closure that are named by their contents already are rewritten, too, if what they refer to is.

    Raises:
        StoreError: one of them is not valid, or can't be read or added.
    """
    moved: dict[StorePath, StorePath] = {}
    for info in source_closure(source, paths, recursive=True):
        moved[info.path] = _rewrite(source, store, info, moved)
    return moved


def _rewrite(source: Source, store: Store, info: PathInfo, moved: dict[StorePath, StorePath]) -> StorePath:
    directory = store.directory
    refers_to_itself = info.path in info.references
    others = [path for path in info.references if path != info.path]
    names = {_name(store, path): _name(store, moved[path]) for path in others if moved[path] != path}
    hasher = ModuloHasher("sha256", info.path.hash_part)
    for piece in rewrite_stream(read_nar(source, info), names):
        hasher.update(piece)
    address = ContentAddress(RECURSIVE, hasher.finish())
    references = sorted(moved[path] for path in others)
    path = address.store_path(store.directory, info.path.name, references, refers_to_itself)
    logs.info(f"rewriting '{directory.print(info.path)}' to '{directory.print(path)}'")
    store.add_temp_root(path)
    if store.is_valid(path):
        return path
    own = {info.path.hash_part.encode(): path.hash_part.encode()}
    with store.intake() as intake:
        # Whoever gave one NAR may give another the second time, and nobody would ever doubt what has this name.
        again = ModuloHasher("sha256", path.hash_part)
        tree = intake.add_nar(_watched(rewrite_stream(rewrite_stream(read_nar(source, info), names), own), again))
        if (found := again.finish()) != address.hash:
            raise ContentMismatchError(directory.print(path), address.hash, found)
        if refers_to_itself:
            references = sorted([*references, path])
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size, references, ca=str(address)))])
    return path


def _watched(pieces: Iterable[bytes], hasher: ModuloHasher) -> Iterator[bytes]:
    for piece in pieces:
        hasher.update(piece)
        yield piece


def _name(store: Store, path: StorePath) -> bytes:
    return store.directory.print(path).encode()


def fetch_closure(
    config: Config,
    store: Store,
    uri: str,
    path: StorePath,
    *,
    rewritten: StorePath | None,
    rewrite: bool,
    content_addressed: bool,
) -> StorePath:
    """Make a path of a binary cache and what it refers to valid, and return the path it has here (`fetchClosure`).

    Args:
        config: settings.
        store: where it is wanted.
        uri: of the cache: `https://` or `http://`, without parameters.
        path: which one.
        rewritten: the path that it must have when it was rewritten, None if that is to be found out.
        rewrite: take it under a name that follows from its contents.
        content_addressed: refuse one that has no such name.

    Raises:
        ClosureMismatchError: it is not the one that was expected, or none was.
        StoreError: it can't be had, or nobody who is trusted vouches for it.
    """
    from storefs.stores.cache_uri import Caches  # noqa: PLC0415  HTTP, for who fetches

    scheme, _, rest = uri.partition("://")
    # Nix's own tests have a directory for a cache.
    if scheme not in {"http", "https"} and not (scheme == "file" and config.variable("_NIX_IN_TEST")):
        raise ClosureMismatchError("'fetchClosure' only supports http:// and https:// stores")
    if "?" in rest:
        raise ClosureMismatchError(f"'fetchClosure' does not support URL query parameters (in '{uri}')")
    shown = store.directory.print
    target = rewritten if rewrite else path
    if target is None or not store.is_valid(target):
        with Caches(config) as caches:
            source = caches.open_source(uri)
            if rewrite:
                found = make_content_addressed(source, store, [path])[path]
                yielded = f"rewriting '{shown(path)}' to content-addressed form yielded '{shown(found)}'"
                if rewritten is None:
                    raise ClosureMismatchError(
                        f"{yielded}; please set this in the 'toPath' attribute passed to 'fetchClosure'"
                    )
                if found != rewritten:
                    raise ClosureMismatchError(f"{yielded}, while '{shown(rewritten)}' was expected")
            else:
                copy_to_store(source, [path], store, caches.trust())
    assert target is not None
    if content_addressed and not store.path_info(target).ca:
        raise ClosureMismatchError(
            f"in pure mode, 'fetchClosure' requires a content-addressed path, which '{shown(target)}' isn't"
        )
    return target
