"""A registered tree as NAR events: for copies that transform or restore what they read.

For the stores and the commands; where a NAR's bytes are wanted, `TreeReader.nar` makes them faster.
"""

from __future__ import annotations

from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink
from storefs.metadata import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.formats.nar import Event
    from storefs.metadata.tree_reader import TreeEntry, TreeReader

_NODES_AT_ONCE = 64  # at most 1 MiB of small contents is held


def tree_events(reader: TreeReader, root: int) -> Iterator[Event]:
    """Yield the tree at ``root`` as NAR events."""
    entry = reader.entry(root)
    if not entry.is_directory:
        yield from _node_events(reader, b"", reader.node(root))
        return
    yield Directory(b"")
    stack = [iter(_in_groups(reader.entries(root)))]
    pending: list[list[tuple[TreeEntry, bytes | None]]] = [[]]
    while stack:
        group = pending[-1]
        if not group:
            entries = next(stack[-1], None)
            if entries is None:
                yield EndDirectory()
                stack.pop()
                pending.pop()
                continue
            group.extend(reader.with_nodes(entries))
            group.reverse()
        child, node = group.pop()
        if node is not None:
            yield from _node_events(reader, child.name, node)
        else:
            yield Directory(child.name)
            stack.append(iter(_in_groups(reader.entries(child.inode))))
            pending.append([])


def _node_events(reader: TreeReader, name: bytes, node: bytes) -> Iterator[Event]:
    if trees.node_kind(node) == trees.SYMLINK:
        yield Symlink(name, trees.node_payload(node))
        return
    size = trees.node_size(node)
    yield Regular(name, trees.node_mode(node) == trees.MODE_EXECUTABLE, size)
    yield from reader.pieces_of(node)


def _in_groups(entries: list[TreeEntry]) -> list[list[TreeEntry]]:
    return [entries[start : start + _NODES_AT_ONCE] for start in range(0, len(entries), _NODES_AT_ONCE)]
