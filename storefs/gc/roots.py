"""Garbage collector roots: symbolic links that keep paths alive, found and made.

    <state_dir>/gcroots/...         links into the store, at any depth; also empty files named like a path
    <state_dir>/gcroots/auto/HASH   links to links elsewhere (indirect roots), removed when what they name is gone
    <state_dir>/profiles/...        the same, for generations

Running processes' needs are in runtime_roots.py and temp_roots.py.  The layout and the rules are Nix's.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from storefs import logs
from storefs.durable import is_in_use, make_directories, replace_symlink
from storefs.errors import StoreError
from storefs.formats.hashes import hash_bytes
from storefs.formats.store_path import BadStorePath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.formats.store_path import StoreDir, StorePath


# Nanoseconds: the coarsest time of modification that a file system keeps.
_CLOCK_TICK = 2_000_000_000


class RootError(StoreError):
    """A root can't be made."""


def find_roots(state_dir: str, store_dir: StoreDir) -> Iterator[tuple[StorePath, str]]:
    """Yield (path, link) for everything that the links keep, whether the path is valid or not.

    Removes stale indirect roots and says so.  Unreadable places are named and skipped.
    """
    return LinkedRoots(state_dir, store_dir).find()


class LinkedRoots:
    """What the links keep, asked again and again: a directory that did not change is not read again.

    Whoever makes an indirect root renames its link in ``gcroots/auto``, also where it only leads to another path now:
    so that directory tells of it.  Used in one thread.
    """

    __slots__ = ("_auto", "_known", "_store_dir", "_told", "_tops")

    def __init__(self, state_dir: str, store_dir: StoreDir) -> None:
        self._tops = (f"{state_dir}/gcroots", f"{state_dir}/profiles")
        self._auto = f"{state_dir}/gcroots/auto/"
        self._store_dir = store_dir
        self._known: dict[str, _Folder] = {}
        self._told: set[str] = set()  # what was said to be unreadable

    def find(self) -> Iterator[tuple[StorePath, str]]:
        """See `find_roots`."""
        for top in self._tops:
            pending = [top]
            while pending:
                path = pending.pop()
                try:
                    folder = self._folder(path)
                except OSError as error:
                    if error.errno not in (errno.EACCES, errno.ENOENT, errno.ENOTDIR):
                        raise
                    if path != top and path not in self._told:
                        self._told.add(path)
                        logs.info(f"cannot read potential root '{path}'")
                    continue
                yield from folder.found
                pending += folder.below

    def _folder(self, path: str) -> _Folder:
        status = os.lstat(path)
        known = self._known.get(path)
        if known is None or known.state != (status.st_ino, status.st_mtime_ns) or known.is_young:
            self._known[path] = known = self._read(path, status)
        return known

    def _read(self, path: str, status: os.stat_result) -> _Folder:
        result = _Folder(status)
        if stat.S_ISLNK(status.st_mode):
            result.add(_follow(path, self._auto, self._store_dir))
            return result
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if entry.is_symlink():
                    result.add(_follow(entry.path, self._auto, self._store_dir))
                elif entry.is_dir(follow_symlinks=False):
                    result.below.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    named = self._store_dir.maybe_parse(f"{self._store_dir.path}/{entry.name}")
                    if named is not None:
                        result.found.append((named, entry.path))
        return result


class _Folder:
    """What one directory has, as of when it was read."""

    __slots__ = ("below", "found", "is_young", "state")

    def __init__(self, status: os.stat_result) -> None:
        self.state = (status.st_ino, status.st_mtime_ns)
        # Clocks of file systems stand still for a while: the next change might leave the time as it is.
        self.is_young = time.time_ns() - status.st_mtime_ns < _CLOCK_TICK
        self.found: list[tuple[StorePath, str]] = []
        self.below: list[str] = []

    def add(self, found: tuple[StorePath, str] | None) -> None:
        if found is not None:
            self.found.append(found)


def _follow(link: str, auto: str, store_dir: StoreDir) -> tuple[StorePath, str] | None:
    try:
        target = os.readlink(link)
        if store_dir.is_in_store(target):
            return store_dir.to_store_path(target)[0], link
        target = os.path.normpath(os.path.join(os.path.dirname(link), target))
        if not os.path.lexists(target) and not (link.startswith(auto) and _leads_somewhere_after_all(link, target)):
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


def _leads_somewhere_after_all(link: str, target: str) -> bool:
    """Remove an automatic root that leads nowhere, unless it does lead somewhere now.

    Whoever makes a root makes the target first.  It may do so while we look, and find its link in place: then that must
    not go, and comes back if it went.
    """
    if is_in_use(link):
        return False
    logs.info(f"removing stale link from '{link}' to '{target}'")
    os.unlink(link)
    if not os.path.lexists(target):
        return False
    replace_symlink(link, target)
    return True


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
