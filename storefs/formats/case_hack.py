"""`use-case-hack`: trees whose names differ in case only, on file systems that ignore case.

Where two names of a directory would be one, the later gets a suffix when a tree is written out, and loses it when the
tree is read. As in Nix 2.8 (archive.cc), so trees written by either can be read by both. Events in, events out.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.formats.nar import Event

_SUFFIX = b"~nix~case~hack~"


class NameCollisionError(StoreError):
    """Two entries of a directory are one without their suffixes."""


def plain_name(name: bytes) -> bytes:
    """Return a name without its suffix: by this entries are to be sorted before `without_suffixes` sees them."""
    return name.partition(_SUFFIX)[0]


def with_suffixes(events: Iterable[Event]) -> Iterator[Event]:
    """Pass a tree on with names that also differ in more than case."""
    seen: list[dict[bytes, int]] = []  # how often each name, in lower case, was met in each open directory
    for event in events:
        if isinstance(event, (Directory, Regular, Symlink)):
            if seen:
                key = event.name.lower()
                count = seen[-1].get(key, -1) + 1
                seen[-1][key] = count
                if count:
                    event.name += _SUFFIX + str(count).encode()
            if isinstance(event, Directory):
                seen.append({})
        elif isinstance(event, EndDirectory):
            seen.pop()
        yield event


def without_suffixes(events: Iterable[Event]) -> Iterator[Event]:
    """Pass a tree of files on with the names that it had before; it is told in the order of these.

    Raises:
        NameCollisionError: two entries would have the same name.
    """
    last: list[tuple[bytes, bytes]] = []  # in each open directory, the last name: as it is, and without suffix
    for event in events:
        if isinstance(event, (Directory, Regular, Symlink)):
            if last:
                plain = plain_name(event.name)
                if plain == last[-1][1]:
                    both = " and ".join(f"'{name.decode('utf-8', 'replace')}'" for name in (last[-1][0], event.name))
                    raise NameCollisionError(f"file name collision in between {both}: 'use-case-hack' is set")
                last[-1] = event.name, plain
                event.name = plain
            if isinstance(event, Directory):
                last.append((b"", b""))
        elif isinstance(event, EndDirectory):
            last.pop()
        yield event
