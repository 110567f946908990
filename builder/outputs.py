"""From what a builder left behind to registered store objects: checked, scanned, hashed, taken in, all or none.

Blocking; called in the thread of the build after its last process is gone, so that nothing changes beneath it.
Semantics: `registerOutputs` of Nix 2.8.
"""

from __future__ import annotations

import os

from builder.failures import HashMismatchError, NotDeterministicError, OutputRejectedError
from builder.flat_contents import FlatHasher, not_flat
from builder.floating_outputs import take_in_floating
from builder.output_checks import check_outputs
from builder.output_inspection import inspect
from builder.produced import Output
from builder.rewriting import rewrite_stream
from storefs.formats.content_address import FLAT, RECURSIVE, ContentAddress
from storefs.formats.derivation import FIXED, FLOATING
from storefs.formats.hashes import Hash, Hasher
from storefs.formats.refscan import ReferenceScanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.produced import Produced
    from storefs.api import Intake, Tree
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StorePath
    from storefs.stores.local import LocalStore

_PIECE = 1 << 20


def register_outputs(
    store: LocalStore,
    produced: Produced,
    sign: Callable[[PathInfo], PathInfo],
    before_commit: Callable[[Mapping[str, Hash], bool], None],
    realise: Callable[[Mapping[str, StorePath]], list[Realisation]],
) -> dict[str, PathInfo]:
    """Register the outputs of a build in one transaction and return what was registered.

    Args:
        store: where.
        produced: what.
        sign: adds signatures to what is registered.
        before_commit: is told the NAR hashes when everything is taken in and checked, and whether the commit writes to
            the disk whatever waits for that; may raise.
        realise: says what is to be registered about which outputs these paths are.

    Raises:
        OutputRejectedError: an output is missing, suspicious, part of a cycle, or breaks a demand; nothing is valid.
        HashMismatchError: a fixed output has another hash; what was made is valid at the path that follows from it.
        StoreError: the store refused.
    """
    with store.intake(repair=produced.repair) as intake:
        outputs, mismatch = _take_in(store, produced, intake)
        infos = {output.name: output.info(produced.drv_path) for output in outputs}
        check_outputs(infos, produced.attributes, produced.derivation.name, store.directory, store.path_info)
        before_commit({name: info.nar_hash for name, info in infos.items()}, intake.syncs_all)
        intake.register(
            [(output.tree, sign(infos[output.name])) for output in outputs],
            replace=produced.repair,
            realisations=realise({output.name: output.path for output in outputs}) if mismatch is None else (),
            drv_path=produced.drv_path,
        )
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
        # Of an output that is named by its contents, others have another name.
        before = produced.known.get(output.name, output.path) if mismatch is None else output.path
        info = store.find_path_info(before)
        if info is None:
            continue
        found[output.name] = info
        if info.nar_hash != output.tree.nar_hash:
            shown = store.directory.print(produced.drv_path)
            kept = on_difference(produced.host_path(output.name), before)
            message = f"derivation '{shown}' may not be deterministic: output '{store.directory.print(before)}' differs"
            raise NotDeterministicError(message + (f" from '{kept}'" if kept else ""))
    if mismatch is not None:
        raise mismatch
    return found


def _take_in(store: LocalStore, produced: Produced, intake: Intake) -> tuple[list[Output], HashMismatchError | None]:
    """Take in every output that is not kept."""
    derivation = produced.derivation
    if derivation.kind() is FLOATING:
        return take_in_floating(store.directory, produced, intake), None
    shown = store.directory.print(produced.drv_path)
    fixed = derivation.kind() is FIXED
    finals = produced.known
    candidates = produced.candidates()
    rewrites = {
        scratch.hash_part: finals[name].hash_part
        for name, scratch in produced.scratch.items()
        if finals[name] != scratch
    }
    outputs = []
    mismatch = None
    for name in sorted(derivation.outputs):
        if name in produced.keep:
            continue
        final = finals[name]
        host_path = produced.host_path(name)
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
            Output(name, final, tree, {by_scratch.get(reference) or reference for reference in references}, ca)
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

        def note(piece: Buffer) -> None:
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
    whole, flat = Hasher(output.hash_type), FlatHasher(Hasher(output.hash_type))
    feed = whole.update if output.is_recursive else flat.feed

    def note(piece: Buffer) -> None:
        scanner.feed(piece)
        feed(piece)

    tree = intake.add_tree(host_path, nar_sink=note)
    found = whole.finish() if output.is_recursive else flat.finish()
    if found is None:
        raise not_flat(host_path)
    address = ContentAddress(RECURSIVE if output.is_recursive else FLAT, found)
    references = {candidates[part] for part in scanner.found}
    if references:
        listed = ", ".join(sorted(path.base_name for path in references))
        raise OutputRejectedError(f"fixed-output derivation '{shown}' may not refer to store paths, but does: {listed}")
    return address, tree, references


def _refuse_cycles(outputs: list[Output], shown: str) -> None:
    """Refuse outputs that refer to each other in a circle; a reference to oneself is no cycle."""
    by_path = {output.path: output for output in outputs}
    done: set[str] = set()

    def visit(output: Output, trail: list[str]) -> None:
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
