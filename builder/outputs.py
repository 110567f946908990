"""From what a builder left behind to registered store objects: checked, scanned, hashed, taken in, all or none.

Blocking; called in the thread of the build after its last process is gone, so that nothing changes beneath it.
Semantics: `registerOutputs` of Nix 2.8.
"""

from __future__ import annotations

import os
import time

from builder.failures import HashMismatchError, NotDeterministicError, OutputRejectedError
from builder.output_checks import check_outputs
from builder.output_inspection import inspect
from builder.rewriting import rewrite_stream
from storefs.formats.content_address import FLAT, RECURSIVE, ContentAddress
from storefs.formats.derivation import FIXED
from storefs.formats.hashes import Hash, Hasher
from storefs.formats.nar import ROOT_HEAD, regular_node
from storefs.formats.path_info import PathInfo
from storefs.formats.refscan import ReferenceScanner
from storefs.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.environment import BuildAttributes
    from storefs.api import Intake, Tree
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath
    from storefs.stores.local import LocalStore

_PIECE = 1 << 20


@record(frozen=True, slots=True)
class Produced:
    """What a build left.

    Attributes:
        derivation, drv_path: what was built.
        attributes: its attributes.
        folder: the host directory in which the builder's store directory was writable.
        scratch: output name -> the path it was built at.
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
    keep: frozenset[str]
    inputs: frozenset[StorePath]
    owner: int
    move: bool
    repair: bool


@record(slots=True)
class _Output:
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


def register_outputs(
    store: LocalStore,
    produced: Produced,
    sign: Callable[[PathInfo], PathInfo],
    before_commit: Callable[[Mapping[str, Hash]], None],
) -> dict[str, PathInfo]:
    """Register the outputs of a build in one transaction and return what was registered.

    Args:
        store: where.
        produced: what.
        sign: adds signatures to what is registered.
        before_commit: is told the NAR hashes when everything is taken in and checked, and may raise.

    Raises:
        OutputRejectedError: an output is missing, suspicious, part of a cycle, or breaks a demand; nothing is valid.
        HashMismatchError: a fixed output has another hash; what was made is valid at the path that follows from it.
        StoreError: the store refused.
    """
    with store.intake(repair=produced.repair) as intake:
        outputs, mismatch = _take_in(store, produced, intake)
        infos = {output.name: output.info(produced.drv_path) for output in outputs}
        check_outputs(infos, produced.attributes, produced.derivation.name, store.directory, store.path_info)
        before_commit({name: info.nar_hash for name, info in infos.items()})
        intake.register([(output.tree, sign(infos[output.name])) for output in outputs], replace=produced.repair)
    if mismatch is not None:
        raise mismatch
    return infos


def hash_outputs(store: LocalStore, produced: Produced) -> dict[str, Hash]:
    """Return the NAR hashes of what a build left, for comparing rounds. Registers nothing.

    Raises:
        OutputRejectedError: an output is missing, suspicious, or part of a cycle.
    """
    with store.intake() as intake:
        outputs, _ = _take_in(store, produced, intake)
    return {output.name: output.tree.nar_hash for output in outputs}


def compare_outputs(
    store: LocalStore, produced: Produced, on_difference: Callable[[str, StorePath], str | None]
) -> dict[str, PathInfo]:
    """Compare what a build left with what is valid, for `--check`. Registers nothing.

    Args:
        store: has the outputs.
        produced: what was built again.
        on_difference: called with an output's host path and store path before the error is raised; returns where the
            new output was kept, or None.

    Raises:
        NotDeterministicError: an output differs.
        HashMismatchError: a fixed output has another hash.
        OutputRejectedError: an output is missing.
    """
    with store.intake() as intake:
        outputs, mismatch = _take_in(store, produced, intake)
    found = {}
    for output in outputs:
        info = store.find_path_info(output.path)
        if info is None:
            continue
        found[output.name] = info
        if info.nar_hash != output.tree.nar_hash:
            shown = store.directory.print(produced.drv_path)
            host_path = f"{produced.folder}/{produced.scratch[output.name].base_name}"
            kept = on_difference(host_path, output.path)
            message = (
                f"derivation '{shown}' may not be deterministic: output '{store.directory.print(output.path)}' differs"
            )
            raise NotDeterministicError(message + (f" from '{kept}'" if kept else ""))
    if mismatch is not None:
        raise mismatch
    return found


def _take_in(store: LocalStore, produced: Produced, intake: Intake) -> tuple[list[_Output], HashMismatchError | None]:
    """Take in every output that is not kept."""
    derivation = produced.derivation
    shown = store.directory.print(produced.drv_path)
    fixed = derivation.kind() is FIXED
    finals = {name: output.path for name, output in derivation.outputs.items()}
    candidates = {path.hash_part: path for path in produced.inputs}
    candidates.update({path.hash_part: path for path in produced.scratch.values()})
    rewrites = {
        scratch.hash_part: final.hash_part
        for name, scratch in produced.scratch.items()
        if (final := finals[name]) is not None and final != scratch
    }
    outputs = []
    mismatch = None
    for name in sorted(derivation.outputs):
        if name in produced.keep:
            continue
        final = finals[name]
        assert final is not None
        host_path = f"{produced.folder}/{produced.scratch[name].base_name}"
        said = f"'{store.directory.print(final)}' for output '{name}'"
        try:
            inspect(host_path, produced.owner, shown=said, private=produced.move)
        except FileNotFoundError:
            raise OutputRejectedError(
                f"builder for '{shown}' failed to produce output path for output '{name}' at "
                f"'{store.directory.print(final)}'"
            ) from None
        ca = ""
        if fixed:
            address, content, references = _take_in_fixed(intake, host_path, candidates, produced, shown)
            ca = str(address)
            actual = address.store_path(store.directory, derivation.name)
            output = derivation.outputs[name]
            promised = Hash(output.hash_type, bytes.fromhex(output.hash))
            if address.hash != promised:
                mismatch = HashMismatchError(
                    f"hash mismatch in fixed-output derivation '{shown}':\n"
                    f"  specified: {promised.to_string('sri', True)}\n"
                    f"     got:    {address.hash.to_string('sri', True)}"
                )
                final = actual
            tree = content
        else:
            tree, references = _take_in_tree(intake, host_path, candidates, produced.move, rewrites)
        by_scratch = {scratch: finals[each] for each, scratch in produced.scratch.items()}
        outputs.append(
            _Output(name, final, tree, {by_scratch.get(reference) or reference for reference in references}, ca)
        )
    _refuse_cycles(outputs, shown)
    return outputs, mismatch


def _take_in_tree(
    intake: Intake, host_path: str, candidates: Mapping[str, StorePath], move: bool, rewrites: Mapping[str, str]
) -> tuple[Tree, set[StorePath]]:
    """Take in one output; with `rewrites` the made-up hash parts in it are replaced."""
    scanner = ReferenceScanner(candidates)
    if not rewrites:
        tree = intake.add_tree(host_path, move=move, nar_sink=scanner.feed)
        return tree, {candidates[part] for part in scanner.found}
    import tempfile  # noqa: PLC0415  rare

    with tempfile.TemporaryFile(dir=os.path.dirname(host_path)) as spool:

        def note(piece: bytes) -> None:
            scanner.feed(piece)
            spool.write(piece)

        tree = intake.add_tree(host_path, nar_sink=note)
        if not scanner.found.isdisjoint(rewrites):
            spool.seek(0)
            pieces = iter(lambda: spool.read(_PIECE), b"")
            table = {old.encode(): new.encode() for old, new in rewrites.items()}
            tree = intake.add_nar(rewrite_stream(pieces, table))
    return tree, {candidates[part] for part in scanner.found}


def _take_in_fixed(
    intake: Intake, host_path: str, candidates: Mapping[str, StorePath], produced: Produced, shown: str
) -> tuple[ContentAddress, Tree, set[StorePath]]:
    """Take in the output of a fixed-output derivation and find its content address."""
    output = produced.derivation.outputs["out"]
    scanner = ReferenceScanner(candidates)
    whole, flat = Hasher(output.hash_type), _FlatHasher(output.hash_type)
    feed = whole.update if output.is_recursive else flat.feed

    def note(piece: bytes) -> None:
        scanner.feed(piece)
        feed(piece)

    tree = intake.add_tree(host_path, nar_sink=note)
    found = whole.finish() if output.is_recursive else flat.finish()
    if found is None:
        raise OutputRejectedError(
            f"output path '{host_path}' should be a non-executable regular file "
            "since recursive hashing is not enabled (outputHashMode=flat)"
        )
    address = ContentAddress(RECURSIVE if output.is_recursive else FLAT, found)
    references = {candidates[part] for part in scanner.found}
    if references:
        listed = ", ".join(sorted(path.base_name for path in references))
        raise OutputRejectedError(f"fixed-output derivation '{shown}' may not refer to store paths, but does: {listed}")
    return address, tree, references


class _FlatHasher:
    """Hashes the contents of a regular file while its NAR goes by.

    The file must not be read a second time for that: whoever still has it open for writing could let it have the
    promised contents for the hash, and others for the store.
    """

    _BEGINNING = (ROOT_HEAD + regular_node(False, 0))[:-8]  # the size follows

    def __init__(self, algorithm: str) -> None:
        self._hasher = Hasher(algorithm)
        self._head = b""
        self._left = -1

    def feed(self, piece: bytes) -> None:
        """Take in more of the NAR."""
        if self._left < 0:
            self._head += piece
            size_at = len(self._BEGINNING)
            if len(self._head) < size_at + 8:
                return
            self._left = int.from_bytes(self._head[size_at : size_at + 8], "little")
            piece = self._head[size_at + 8 :]
        content = piece[: self._left]
        self._left -= len(content)
        self._hasher.update(content)

    def finish(self) -> Hash | None:
        """The hash; None if it is no regular file, or an executable one."""
        return self._hasher.finish() if self._head.startswith(self._BEGINNING) else None


def _refuse_cycles(outputs: list[_Output], shown: str) -> None:
    """Refuse outputs that refer to each other in a circle; a reference to oneself is no cycle."""
    by_path = {output.path: output for output in outputs}
    done: set[str] = set()

    def visit(output: _Output, trail: list[str]) -> None:
        if output.name in done:
            return
        for reference in sorted(output.references):
            other = by_path.get(reference)
            if other is None or other is output:
                continue
            if other.name in trail:
                raise OutputRejectedError(
                    f"cycle detected in build of '{shown}' in the references of output '{other.name}' "
                    f"from output '{output.name}'"
                )
            visit(other, [*trail, other.name])
        done.add(output.name)

    for output in outputs:
        visit(output, [output.name])
