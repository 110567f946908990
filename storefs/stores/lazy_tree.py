"""One path of a lazy mount: its tree as a listing tells it, in the records that a mount answers with.

Where the listing comes from, who fetches the bytes and what may be shown when is decided in `lazy.py`, its only user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from storefs.metadata import trees
from storefs.stores.turn import Turn

if TYPE_CHECKING:
    from storefs.formats.narinfo import NarInfo
    from storefs.formats.store_path import StorePath
    from storefs.stores.offer_query import Source


class BadListingError(Exception):
    """A listing that can't be shown."""


class LazyTree:
    """One path: its tree, and its bytes once they are here.

    Attributes:
        path: the store path.
        source, narinfo: who has it, and what they say.
        first: its lowest inode number; those of a tree are consecutive.
        entry: the root's entry record.
        bytes: the NAR, whose hash is what the narinfo says; None until it is here, and when it is needed no more.
        turn: to fetch the bytes.
        is_registered: the path has become valid with this tree and these contents.
        is_refuted: the listing turned out not to be that of the NAR: nothing of this tree is to be believed.
    """

    __slots__ = (
        "_directories",
        "_files",
        "_links",
        "_places",
        "bytes",
        "entry",
        "first",
        "is_refuted",
        "is_registered",
        "last",
        "listing",
        "narinfo",
        "path",
        "source",
        "turn",
    )

    def __init__(self, path: StorePath, source: Source, narinfo: NarInfo, listing: dict[str, Any], first: int) -> None:
        self.path = path
        self.source = source
        self.narinfo = narinfo
        self.listing = listing
        self.first = self.last = first
        self.turn = Turn()  # to fetch the bytes
        self.bytes: memoryview | None = None
        self.is_refuted = False
        self.is_registered = False
        self._directories: dict[int, bytes] = {}
        self._files: dict[int, tuple[int, int, int]] = {}  # size, mode, offset in the NAR
        self._links: dict[int, bytes] = {}
        self._places: dict[int, tuple[int, bytes]] = {}  # the directory that it is in, its name there
        inode, size, mode = self._plant(listing)
        self.entry = trees.encode_entry(inode, size, mode)

    def _plant(self, node: dict[str, Any]) -> tuple[int, int, int]:
        """Give a node of the listing, and everything below it, their inodes; returns (inode, size, mode)."""
        inode = self.last
        self.last += 1
        kind = node.get("type")
        if kind == "regular":
            size = _natural(node.get("size"))
            mode = trees.file_mode(node.get("executable") is True)
            self._files[inode] = (size, mode, _natural(node.get("narOffset")))
            return inode, size, mode
        if kind == "symlink" and isinstance(node.get("target"), str):
            target = node["target"].encode("utf-8", "surrogateescape")
            self._links[inode] = target
            return inode, len(target), trees.MODE_SYMLINK
        if kind == "directory" and isinstance(node.get("entries"), dict):
            entries = []
            named = [(name.encode("utf-8", "surrogateescape"), child) for name, child in node["entries"].items()]
            for name, child in sorted(named, key=lambda pair: pair[0]):
                if not name or name in (b".", b"..") or b"/" in name or b"\0" in name or len(name) > 255:
                    raise BadListingError
                if not isinstance(child, dict):
                    raise BadListingError
                entry = self._plant(child)
                self._places[entry[0]] = inode, name
                entries.append((name, *entry))
            self._directories[inode] = trees.encode_directory(inode, entries)
            return inode, 0, trees.MODE_DIRECTORY
        raise BadListingError

    def directory(self, inode: int) -> bytes | None:
        """The directory record, None if the inode is no directory."""
        return self._directories.get(inode)

    def attributes(self, inode: int) -> bytes:
        """The attribute record."""
        file = self._files.get(inode)
        if file is not None:
            return trees.encode_attr(inode, file[0], file[1])
        link = self._links.get(inode)
        if link is not None:
            return trees.encode_attr(inode, len(link), trees.MODE_SYMLINK)
        return trees.encode_attr(inode, 0, trees.MODE_DIRECTORY)

    def content(self, inode: int) -> bytes | memoryview | None:
        """A link's target or a file's bytes, None if they are not here yet.

        Listings are not signed: who follows a link could be led anywhere by one, so that links wait for the NAR, too.
        """
        data = self.bytes
        if data is None:
            return None
        link = self._links.get(inode)
        if link is not None:
            return link
        size, _, offset = self._files[inode]
        return data[offset : offset + size]

    def names(self, inode: int) -> list[bytes]:
        """The names that lead from the root of the tree to an inode."""
        names: list[bytes] = []
        while (place := self._places.get(inode)) is not None:
            inode, name = place
            names.append(name)
        return names[::-1]


def _natural(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise BadListingError
    return value
