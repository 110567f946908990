"""Garbage collector roots: symbolic links that keep paths alive, found and made.

    <state_dir>/gcroots/...         links into the store, at any depth; also empty files named like a path
    <state_dir>/gcroots/auto/HASH   links to links elsewhere (indirect roots), removed when what they name is gone
    <state_dir>/profiles/...        the same, for generations

Running processes' needs are in runtime_roots.py and temp_roots.py.  The layout and the rules are Nix's.
"""

from __future__ import annotations

import errno
import os

from storefs import logs
from storefs.durable import make_directories, replace_symlink
from storefs.errors import StoreError
from storefs.formats.hashes import hash_bytes
from storefs.formats.store_path import BadStorePath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.formats.store_path import StoreDir, StorePath


class RootError(StoreError):
    """A root can't be made."""


def find_roots(state_dir: str, store_dir: StoreDir) -> Iterator[tuple[StorePath, str]]:
    """Yield (path, link) for everything that the links keep, whether the path is valid or not.

    Removes stale indirect roots and says so.  Unreadable places are named and skipped.
    """
    for name in ("gcroots", "profiles"):
        yield from _search(f"{state_dir}/{name}", f"{state_dir}/gcroots/auto/", store_dir)


def _search(top: str, auto: str, store_dir: StoreDir) -> Iterator[tuple[StorePath, str]]:
    pending = [top]
    while pending:
        path = pending.pop()
        try:
            if os.path.islink(path):
                found = _follow(path, auto, store_dir)
                if found is not None:
                    yield found
                continue
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda each: each.name):
                    if entry.is_symlink():
                        found = _follow(entry.path, auto, store_dir)
                        if found is not None:
                            yield found
                    elif entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        named = store_dir.maybe_parse(f"{store_dir.path}/{entry.name}")
                        if named is not None:
                            yield named, entry.path
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.ENOENT, errno.ENOTDIR):
                raise
            if path != top:
                logs.info(f"cannot read potential root '{path}'")


def _follow(link: str, auto: str, store_dir: StoreDir) -> tuple[StorePath, str] | None:
    try:
        target = os.readlink(link)
        if store_dir.is_in_store(target):
            return store_dir.to_store_path(target)[0], link
        target = os.path.normpath(os.path.join(os.path.dirname(link), target))
        if not os.path.lexists(target):
            if link.startswith(auto):
                logs.info(f"removing stale link from '{link}' to '{target}'")
                os.unlink(link)
            return None
        if not os.path.islink(target):
            return None
        final = os.readlink(target)
        if store_dir.is_in_store(final):
            return store_dir.to_store_path(final)[0], target
    except BadStorePath:
        return None
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.ENOENT, errno.ENOTDIR):
            raise
        logs.info(f"cannot read potential root '{link}'")
    return None


def add_permanent_root(store_dir: StoreDir, link: str, path: StorePath) -> None:
    """Make ``link``, in a directory that collectors search, keep ``path``; atomically, replacing a link to elsewhere.

    Raises RootError where the link can't be made or something else is in its place.
    """
    _make_link(store_dir, _checked(store_dir, link), path)


def add_indirect_root(state_dir: str, store_dir: StoreDir, link: str, path: StorePath) -> str:
    """Make ``link``, anywhere, keep ``path`` until somebody removes it; returns its absolute path.

    Raises RootError where the link can't be made or something else is in its place.
    """
    link = make_root_link(store_dir, link, path)
    register_indirect_root(state_dir, link)
    return link


def make_root_link(store_dir: StoreDir, link: str, path: StorePath) -> str:
    """Make ``link`` lead to ``path``, atomically, without telling any collector; returns its absolute path.

    Raises RootError where the link can't be made or something else is in its place.
    """
    link = _checked(store_dir, link)
    _make_link(store_dir, link, path)
    return link


def register_indirect_root(state_dir: str, link: str) -> None:
    """Tell collectors of a link that exists, or soon will; raises RootError."""
    name = hash_bytes("sha1", os.fsencode(link)).to_string("base32", False)
    auto = f"{state_dir}/gcroots/auto"
    try:
        make_directories(auto)
        replace_symlink(f"{auto}/{name}", link)
    except OSError as error:
        raise RootError(f"cannot register the root '{link}' in '{auto}': {error.strerror}") from error


def _checked(store_dir: StoreDir, link: str) -> str:
    link = os.path.abspath(link)
    if store_dir.is_in_store(link):
        raise RootError(
            f"creating a garbage collector root ({link}) in the Nix store is forbidden "
            "(are you running nix-build inside the store?)"
        )
    if os.path.lexists(link) and not (os.path.islink(link) and store_dir.is_in_store(os.readlink(link))):
        raise RootError(f"cannot create symlink '{link}'; already exists")
    return link


def _make_link(store_dir: StoreDir, link: str, path: StorePath) -> None:
    try:
        make_directories(os.path.dirname(link))
        replace_symlink(link, store_dir.print(path))
    except OSError as error:
        raise RootError(f"cannot create symlink '{link}': {error.strerror}") from error
