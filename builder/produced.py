"""What a build left, and its outputs on their way into the store. Values only."""

from __future__ import annotations

import time

from storefs.formats.path_info import PathInfo
from storefs.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.environment import BuildAttributes
    from storefs.api import Tree
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath


@record(frozen=True, slots=True)
class Produced:
    """What a build left.

    Attributes:
        derivation, drv_path: what was built.
        attributes: its attributes.
        folder: the host directory in which the builder's store directory was writable.
        scratch: output name -> the path it was built at.
        known: output name -> the path that it is going to have, of those of which that is known.
        keep: outputs that were valid before and stay as they are.
        inputs: the closure that outputs may refer to.
        owner: the uid that must own the outputs.
        move: large files may be moved instead of copied: nobody else can have been handed an open one.
        repair: give valid outputs the new contents.
    """

    derivation: Derivation
    drv_path: StorePath
    attributes: BuildAttributes
    folder: str
    scratch: Mapping[str, StorePath]
    known: Mapping[str, StorePath]
    keep: frozenset[str]
    inputs: frozenset[StorePath]
    owner: int
    move: bool
    repair: bool

    def candidates(self) -> dict[str, StorePath]:
        """What outputs may refer to, by hash part: the inputs' closure, and where outputs were built."""
        return {path.hash_part: path for path in (*self.inputs, *self.scratch.values())}

    def host_path(self, name: str) -> str:
        """Where an output lies."""
        return f"{self.folder}/{self.scratch[name].base_name}"


@record(slots=True)
class Output:
    """One output on its way."""

    name: str
    path: StorePath  # the final one
    tree: Tree
    references: set[StorePath]  # final ones
    ca: str = ""

    def info(self, drv_path: StorePath) -> PathInfo:
        """What will be registered."""
        return PathInfo(
            self.path,
            self.tree.nar_hash,
            self.tree.nar_size,
            self.references,
            drv_path,
            (),
            self.ca,
            int(time.time()),
            True,
        )
