"""Random trees for tests, as plain values and as NAR events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

from hypothesis import strategies as st

from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink

if TYPE_CHECKING:
    from storefs.formats.nar import Event

# bytes: a regular file; (bytes,): an executable one; str: a symbolic link; dict: a directory
Tree = Union[bytes, tuple[bytes], str, dict[bytes, "Tree"]]

_NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))
_TARGETS = st.text(min_size=1, max_size=12, alphabet=st.characters(min_codepoint=1, max_codepoint=255))
_CONTENTS = st.one_of(st.binary(max_size=40), st.integers(0, 70).map(lambda count: b"x" * count * 10))


def trees() -> st.SearchStrategy[Tree]:
    """Files, links and directories of all shapes, small."""
    leaves = st.one_of(_CONTENTS, _CONTENTS.map(lambda content: (content,)), _TARGETS)
    return st.recursive(leaves, lambda children: st.dictionaries(_NAMES, children, max_size=4), max_leaves=12)


def events_of(tree: Tree, name: bytes = b"") -> list[Event]:
    """The NAR events that tell ``tree``."""
    if isinstance(tree, dict):
        inner = [event for key in sorted(tree) for event in events_of(tree[key], key)]
        return [Directory(name), *inner, EndDirectory()]
    if isinstance(tree, str):
        return [Symlink(name, tree.encode())]
    executable, content = (True, tree[0]) if isinstance(tree, tuple) else (False, tree)
    return [Regular(name, executable, len(content)), *([content] if content else [])]
