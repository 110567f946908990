"""Outputs whose paths follow from their contents (experimental feature `ca-derivations`).

Each was built at a made-up path. What an output is called is a hash of what is in it, where its own made-up hash part
counts as zeros, and those of other outputs as what they have become: so the outputs are taken one after the other,
those that are referred to first, and made-up hash parts are replaced in the contents. Semantics: `newInfoFromCA` in
local-derivation-goal.cc of Nix 2.8; Dolstra's thesis, chapter 6.
"""

from __future__ import annotations

import os

from builder.failures import OutputRejectedError
from builder.flat_contents import FlatHasher, not_flat
from builder.output_inspection import inspect
from builder.produced import Output
from builder.rewriting import rewrite_stream
from storefs.formats.content_address import FLAT, RECURSIVE, ContentAddress
from storefs.formats.hash_modulo import ModuloHasher
from storefs.formats.refscan import ReferenceScanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from builder.produced import Produced
    from storefs.api import Intake, Tree
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.derivation import DerivationOutput
    from storefs.formats.store_path import StoreDir, StorePath

_PIECE = 1 << 20


def take_in_floating(directory: StoreDir, produced: Produced, intake: Intake) -> list[Output]:
    """Take in every output that is not kept, and find out what each is called; references come first.

    Raises:
        OutputRejectedError: an output is missing, suspicious, part of a cycle, or refers where it can't.
    """
    shown = directory.print(produced.drv_path)
    candidates = produced.candidates()
    by_scratch = {path.hash_part: name for name, path in produced.scratch.items()}
    made: dict[str, _Made] = {}
    try:
        for name in sorted(produced.derivation.outputs):
            if name not in produced.keep:
                made[name] = _Made(directory, produced, intake, candidates, name)
        finals = {name: path for name, path in produced.known.items() if name in produced.keep}
        outputs = []
        for name in _references_first(made, by_scratch, shown):
            outputs.append(made[name].finish(directory, produced, intake, finals))
            finals[name] = outputs[-1].path
        return outputs
    finally:
        for each in made.values():
            each.close()


class _Made:
    """One output, taken in as it was left: its NAR is kept until it is known what must be replaced in it."""

    def __init__(
        self,
        directory: StoreDir,
        produced: Produced,
        intake: Intake,
        candidates: Mapping[str, StorePath],
        name: str,
    ) -> None:
        self.name = name
        self.candidates = candidates
        self.promise: DerivationOutput = produced.derivation.outputs[name]
        host_path = produced.host_path(name)
        at = directory.print(produced.scratch[name])
        try:
            inspect(host_path, produced.owner, shown=f"'{at}' for output '{name}'", private=produced.move)
        except FileNotFoundError:
            shown = directory.print(produced.drv_path)
            raise OutputRejectedError(
                f"builder for '{shown}' failed to produce output path for output '{name}' at '{at}'"
            ) from None
        import tempfile  # noqa: PLC0415  5 ms of every command that may build, and few outputs are such

        self._spool: BinaryIO = tempfile.TemporaryFile(dir=os.path.dirname(host_path))  # noqa: SIM115  see close
        scanner = ReferenceScanner(candidates)

        def note(piece: Buffer) -> None:
            scanner.feed(piece)
            self._spool.write(piece)

        self._tree: Tree = intake.add_tree(host_path, move=produced.move, nar_sink=note)
        self.found = scanner.found

    def close(self) -> None:
        """Let go of the NAR."""
        self._spool.close()

    def finish(
        self, directory: StoreDir, produced: Produced, intake: Intake, finals: Mapping[str, StorePath]
    ) -> Output:
        """Replace what stood for other outputs, hash, and replace what stood for this one."""
        own = produced.scratch[self.name]
        others = {produced.scratch[name].hash_part: path for name, path in finals.items()}
        used = {part: path for part, path in others.items() if part in self.found}
        rewrites = {part.encode(): path.hash_part.encode() for part, path in used.items()}
        references = {used.get(part) or self.candidates[part] for part in self.found - {own.hash_part}}
        refers_to_itself = own.hash_part in self.found
        address = self._address(produced, rewrites)
        if (references or refers_to_itself) and (address.method, address.hash.algo) != (RECURSIVE, "sha256"):
            listed = ", ".join(sorted(path.base_name for path in references) or ["itself"])
            raise OutputRejectedError(
                f"output '{self.name}' of '{directory.print(produced.drv_path)}' refers to {listed}, "
                "which takes outputHashMode=recursive and outputHashAlgo=sha256"
            )
        name = own.name
        path = address.store_path(directory, name, references, refers_to_itself)
        if refers_to_itself:
            rewrites[own.hash_part.encode()] = path.hash_part.encode()
            references.add(path)
        tree = intake.add_nar(rewrite_stream(self._pieces(), rewrites)) if rewrites else self._tree
        return Output(self.name, path, tree, references, str(address))

    def _address(self, produced: Produced, rewrites: Mapping[bytes, bytes]) -> ContentAddress:
        """The hash of the contents, with this output's own path left out."""
        hasher = ModuloHasher(self.promise.hash_type, produced.scratch[self.name].hash_part)
        pieces = rewrite_stream(self._pieces(), rewrites) if rewrites else self._pieces()
        if self.promise.is_recursive:
            for piece in pieces:
                hasher.update(piece)
            return ContentAddress(RECURSIVE, hasher.finish())
        flat = FlatHasher(hasher)
        for piece in pieces:
            flat.feed(piece)
        found = flat.finish()
        if found is None:
            raise not_flat(produced.host_path(self.name))
        return ContentAddress(FLAT, found)

    def _pieces(self) -> Iterator[bytes]:
        self._spool.seek(0)
        return iter(lambda: self._spool.read(_PIECE), b"")


def _references_first(made: Mapping[str, _Made], by_scratch: Mapping[str, str], shown: str) -> list[str]:
    """The names of outputs, each after those that it refers to; what refers to itself is no cycle."""
    order: list[str] = []

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in order:
            return
        for other in sorted(by_scratch[part] for part in made[name].found & by_scratch.keys()):
            if other == name or other not in made:
                continue
            if other in trail:
                raise OutputRejectedError(
                    f"cycle detected in build of '{shown}' in the references of output '{other}' from output '{name}'"
                )
            visit(other, (*trail, other))
        order.append(name)

    for name in made:
        visit(name, (name,))
    return order
