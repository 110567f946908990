"""Texts on their way into the store: derivations and what `builtins.toFile` makes, written many at a time.

A transaction for each would cost more than evaluating them. Used by `store_io` only.
"""

from __future__ import annotations

from storefs.formats.hashes import Hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from storefs.api import Store
    from storefs.formats.store_path import StorePath


class Text:
    """A text that was added: kept until it is written, afterwards only what it refers to."""

    __slots__ = ("content", "digest", "outputs", "references")

    def __init__(self, content: bytes | None, digest: bytes, references: list[str], outputs: list[str]) -> None:
        self.content = content
        self.digest = digest
        self.references = references
        self.outputs = outputs


def write_texts(store: Store, texts: Mapping[StorePath, Text]) -> None:
    """Register texts in one transaction, those that are valid already left as they are; they give up their content.

    Blocks on the disk; raises StoreError.
    """
    from storefs.formats.path_info import PathInfo  # noqa: PLC0415  only when something is written

    for path in texts:
        store.add_temp_root(path)
    present = store.valid_paths(texts)
    with store.intake() as intake:
        additions = []
        for path, text in texts.items():
            content, text.content = text.content, None
            if path in present or content is None:
                continue
            tree = intake.add_bytes(content)
            references = [store.directory.parse(reference) for reference in text.references]
            ca = f"text:{Hash('sha256', text.digest).to_string('base32', True)}"
            additions.append((tree, PathInfo(path, tree.nar_hash, tree.nar_size, references=references, ca=ca)))
        if additions:
            intake.register(additions)
