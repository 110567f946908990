"""Making the kernel forget paths that were removed or replaced, without cutting off who still reads them.

Called in the control thread when a collector, or a repair, says what it removed; see `storefs.stores.mount_control`
for the order of events. The kernel's caches hold three things of a collected path:

- its name in the root directory: dropped by a notification, with every unused name and inode beneath it;
- inodes somebody still uses, open or mapped. Opens are not announced to us, but the kernel says whether it knows an
  inode: for each file of the removed tree that it does know, the view keeps bytes or an open blob until the kernel
  sends its FORGET;
- directories somebody stands in. They live on as long as the kernel caches them, and are stale (ESTALE) otherwise.

A file that a valid path shares with the removed one may be held needlessly for a while; that costs a descriptor.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.fuse.view import Forest, Inode, View


class Notifier(Protocol):
    """What a transport can tell the kernel."""

    def invalidate_path(self, name: bytes) -> None:
        """Make the kernel forget a store path and everything cached beneath it."""

    def is_in_use(self, inode: Inode) -> bool:
        """Ask the kernel whether it knows an inode."""


def forget_paths(notifier: Notifier, view: View, forest: Forest, names: Iterable[bytes], roots: Iterable[Inode]) -> int:
    """Make the kernel forget removed paths; hold what of their trees is still in use.

    Args:
        notifier: the transport.
        view: what it serves.
        forest: the calling thread's own source of records, in which the removed trees still have theirs.
        names: of the removed paths.
        roots: inodes of their trees' roots.

    Returns:
        how many files are held because of this call.

    Raises:
        OSError: the mount is gone (ENODEV, ENOTCONN): there is nothing left that could remember.
    """
    for name in names:
        try:
            notifier.invalidate_path(name)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.ENOTDIR}:
                raise
    return view.hold(_files_beneath(forest, roots), notifier.is_in_use, forest)


def _files_beneath(forest: Forest, roots: Iterable[Inode]) -> Iterator[Inode]:
    """Yield the inodes of all files and symbolic links of the trees, without recursion: trees may be very deep."""
    pending = list(roots)
    while pending:
        inode = pending.pop()
        forest.begin()
        try:
            children = forest.children(inode)
        finally:
            forest.end()
        if children is None:
            yield inode
            continue
        for child, is_directory in children:
            if is_directory:
                pending.append(child)
            else:
                yield child
