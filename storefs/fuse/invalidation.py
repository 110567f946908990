"""Making the kernel forget paths that were removed or replaced, without cutting off who still reads them.

Runs in the control thread when a collector, or a repair, says what it removed; see `storefs.stores.mount_control` for
the order of events. Opens are not announced to us, but the kernel can be asked whether it knows an inode, and two of
its rules make that enough:

- dropping a name from the root drops every unused name and inode beneath it;
- whoever uses a file, or is looking one up this moment, keeps the directory it is in.

So the directories of a tree that is about to lose its records are first closed: nothing is looked up or listed in them
any more. Then the kernel is asked which of them it knows. Every file in those that loses its last name is held by the
view: its bytes, or its open blob. Once a second the kernel is asked whether it still knows the held files; the others
are let go. To make it forget them when their last user is gone, their names are dropped as well.

Somebody who stands in a closed directory finds it stale (ESTALE), as on NFS. A walk along a path that meets a closed
directory starts again at the root, by the kernel's own rule, and finds the new tree of a path that was replaced. Only
calls that make something new don't walk again: they are told that their name is free, and so meet EROFS.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Protocol

from storefs.fuse.view import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from storefs.fuse.view import Forest, Inode, View

_SNAPSHOT_DIRECTORIES = 500  # how many directories are read in one snapshot, which must not live long
# The kernel starts a walk that met a stale directory once more, not twice: replacing a path again and again, as fast as
# it goes, must not meet the same walk twice. Seconds.
_GRACE = (0.001, 0.003, 0.009, 0.027)
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY}


class Notifier(Protocol):
    """What a transport can tell the kernel, and ask it."""

    def invalidate_entry(self, directory: Inode, name: bytes) -> None:
        """Make the kernel forget a name and everything unused beneath it. Blocks for as long as a look-up.

        Raises:
            OSError: ENOENT, it did not know the name; ENODEV, the mount is gone.
        """

    def invalidate_bytes(self, inode: Inode) -> None:
        """Make the kernel read a file's bytes again. Blocks while some of them are being read.

        Raises:
            OSError: ENOENT, it did not know the inode; ENODEV, the mount is gone.
        """

    def is_in_use(self, inode: Inode) -> bool:
        """Ask the kernel whether it knows an inode. Makes it ask for the attributes again."""


class Invalidator:
    """Forgets paths and keeps what is in use, for one served view. Used in one thread.

    Args:
        notifier: the transport.
        view: what it serves.
        forest: this thread's own source of records.
    """

    def __init__(self, notifier: Notifier, view: View, forest: Forest) -> None:
        self._notifier = notifier
        self._view = view
        self._forest = forest

    def forget_name(self, name: bytes) -> None:
        """Make the kernel look a path up again. Those who have one of its files open keep it."""
        self._drop(ROOT, name)

    def forget_paths(self, names: Iterable[bytes], roots: Iterable[Inode]) -> int:
        """Make the kernel forget removed paths; hold what of their trees may still be in use.

        Args:
            names: of the removed or replaced paths.
            roots: inodes of the roots of the trees that are about to lose their records, and have them still.

        Returns:
            how many files are held because of this call, before the first sweep.

        Raises:
            OSError: the mount is gone (ENODEV, ENOTCONN): there is nothing left that could remember.
        """
        replaced = False
        for name in names:
            self._drop(ROOT, name)
            replaced |= self._is_valid(name)
        self._view.close_blobs()
        directories, lost, exposed = self._survey(list(roots))
        occupied = self._wait_for_walkers(directories)
        names_in = {directory: frozenset(name for name, _ in self._names(directory)) for directory in occupied}
        self._view.close_directories({**dict.fromkeys(directories), **names_in})
        crowded = self._in_use(directories)
        for directory in crowded:
            exposed.update(inode for _, inode in self._names(directory) if inode in lost)
        held = self._view.hold(exposed, lost, self._forest)
        for directory in crowded:
            for name, inode in self._names(directory):
                if inode in held:
                    self._drop(directory, name)
        if replaced:
            # Equal files are one inode, in the new tree and in those of other paths, which keep it known to the kernel:
            # what it has of them may be from before a repair.
            for inode in lost:
                self._refresh(inode)
        return len(held)

    def chore(self) -> Callable[[], None] | None:
        """Return what has to be done from time to time while anything is held or closed, None if nothing is."""
        return self._sweep if self._view.held_inodes() or self._view.closed_directories() else None

    def _sweep(self) -> None:
        """Let go of held files that the kernel knows no more, and of directories whose records are gone."""
        for inode in self._view.held_inodes():
            if not self._notifier.is_in_use(inode):
                self._view.let_go(inode)
        for inode in self._view.closed_directories():
            if self._children(inode) is None:
                self._view.reopen_directory(inode)

    def _wait_for_walkers(self, directories: list[Inode]) -> list[Inode]:
        """Give who is on the way through these directories the time to leave them, and return those still in use.

        Who stays is no walker, or one that does not get the processor.
        """
        for seconds in _GRACE:
            directories = self._in_use(directories)
            if not directories:
                break
            time.sleep(seconds)
        return directories

    def _in_use(self, directories: list[Inode]) -> list[Inode]:
        return [directory for directory in directories if self._notifier.is_in_use(directory)]

    def _survey(self, roots: list[Inode]) -> tuple[list[Inode], dict[Inode, int], set[Inode]]:
        """Walk trees, without recursion because they may be very deep.

        Returns:
            all directories, how many names each file loses, and the files that are roots themselves: whoever looks one
            up holds the store directory, not one of ours.
        """
        directories: list[Inode] = []
        lost: dict[Inode, int] = {}
        single = set()
        shared: dict[bytes, int] = {}  # how many directories are left that have these entries
        pending = list(roots)
        for root in roots:
            if self._children(root) is None:
                lost[root] = lost.get(root, 0) + 1
                single.add(root)
        while pending:
            try:
                for _ in range(min(len(pending), _SNAPSHOT_DIRECTORIES)):
                    inode = pending.pop()
                    children = self._forest.children(inode)
                    if children is None:
                        continue
                    directories.append(inode)
                    listing, sharers = self._forest.sharing(inode)
                    others = shared.get(listing, sharers) - 1
                    if listing:
                        shared[listing] = others
                    # Entries that directories share are one name each, which the last of these takes with it.
                    names = 0 if others else 1
                    for child, is_directory in children:
                        if is_directory:
                            pending.append(child)
                        else:
                            lost[child] = lost.get(child, 0) + names
            finally:
                self._forest.end()
        return directories, lost, single

    def _children(self, inode: Inode) -> list[tuple[Inode, bool]] | None:
        try:
            return self._forest.children(inode)
        finally:
            self._forest.end()

    def _names(self, directory: Inode) -> list[tuple[bytes, Inode]]:
        try:
            return self._forest.names(directory)
        finally:
            self._forest.end()

    def _is_valid(self, name: bytes) -> bool:
        try:
            return self._forest.find_path(name) is not None
        finally:
            self._forest.end()

    def _refresh(self, inode: Inode) -> None:
        try:
            self._notifier.invalidate_bytes(inode)
        except OSError as error:
            if error.errno not in _GONE:
                raise

    def _drop(self, directory: Inode, name: bytes) -> None:
        try:
            self._notifier.invalidate_entry(directory, name)
        except OSError as error:
            if error.errno not in _GONE:
                raise
