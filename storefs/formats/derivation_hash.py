"""The hash of a derivation modulo its fixed-output inputs, and what follows from it: output paths and placeholders.

Two derivations that differ only in how a fixed output is fetched (another mirror, another curl) shall have the same
output paths, so an input is represented not by its `.drv` path but by this hash, computed recursively.

Sans-I/O: derivations are read through a function handed in. Used by the evaluator (every `derivation` call), the
builder and the daemon. Semantics: `hashDerivationModulo`, `hashPlaceholder` and `downstreamPlaceholder` in
derivations.cc of Nix 2.8; Dolstra's thesis, section 5.4.
"""

from __future__ import annotations

from storefs.formats.derivation import DEFERRED, FIXED, FLOATING, IMPURE, INPUT_ADDRESSED, BadDerivationError
from storefs.formats.hashes import Hash, hash_bytes
from storefs.formats.store_path import check_name, output_path_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StoreDir, StorePath


class DerivationHash:
    """What stands for a derivation in the hashes of those that use it.

    Attributes:
        hash: a SHA-256.
        hex: the same in base 16.
        outputs: the names that the derivation has.
        deferred: the output paths of everything that uses it are known only after it was built.
    """

    __slots__ = ("deferred", "hash", "hex", "outputs")

    def __init__(self, digest: Hash, outputs: frozenset[str], deferred: bool) -> None:
        self.hash = digest
        self.hex = digest.digest.hex()
        self.outputs = outputs
        self.deferred = deferred


class DerivationHasher:
    """Computes these hashes and remembers those of derivations that have a path.

    Not thread-safe; one per evaluation or connection. The memo grows with the number of derivations seen.

    Args:
        store_dir: the logical store.
        read: returns the derivation at a path, valid or not; may block; its errors pass through.
        memo: what an earlier one remembered; kept up to date.
    """

    def __init__(
        self,
        store_dir: StoreDir,
        read: Callable[[StorePath], Derivation],
        memo: dict[StorePath, DerivationHash] | None = None,
    ) -> None:
        self._store_dir = store_dir
        self._read = read
        self._memo: dict[StorePath, DerivationHash] = {} if memo is None else memo

    def remember(self, path: StorePath, derivation: Derivation) -> DerivationHash:
        """Hash a derivation that was just made, whose inputs are known, and keep the answer under its path."""
        found = self._memo.get(path)
        if found is None:
            found = self._memo[path] = self.modulo(derivation, mask_outputs=False)
        return found

    def of_path(self, path: StorePath) -> DerivationHash:
        """The unmasked hash of the derivation at `path`, reading what is not remembered.

        Raises:
            BadDerivationError: an input lacks a wanted output, or the inputs form a cycle.
        """
        memo = self._memo
        found = memo.get(path)
        if found is not None:
            return found
        # Chains of derivations are longer than Python's stack, hence a stack of our own.
        stack = [(path, self._read(path))]
        open_paths = {path}
        while stack:
            current, derivation = stack[-1]
            missing = None
            if derivation.kind() not in (FIXED, IMPURE):
                missing = next((each for each in derivation.input_drvs if each not in memo), None)
            if missing is None:
                memo[current] = self.modulo(derivation, mask_outputs=False)
                open_paths.discard(current)
                stack.pop()
            elif missing in open_paths:
                raise BadDerivationError(f"derivation '{self._store_dir.print(missing)}' depends on itself")
            else:
                open_paths.add(missing)
                stack.append((missing, self._read(missing)))
        return memo[path]

    def modulo(self, derivation: Derivation, mask_outputs: bool) -> DerivationHash:
        """Hash a derivation.

        Args:
            derivation: its inputs are read as needed.
            mask_outputs: leave its own output paths out, which is how those paths are found.

        Raises:
            BadDerivationError: it has no kind, or wants an output that an input lacks.
        """
        kind = derivation.kind()
        names = frozenset(derivation.outputs)
        if kind is FIXED:
            output = derivation.outputs["out"]
            text = self._store_dir.print(fixed_output_path(derivation, self._store_dir))
            return DerivationHash(_sha256(f"fixed:out:{output.hash_algo}:{output.hash}:{text}".encode()), names, False)
        if kind is IMPURE:
            return DerivationHash(_sha256(b"impure"), names, True)

        deferred = kind is FLOATING
        inputs: dict[str, set[str]] = {}
        memo = self._memo
        for path, wanted in derivation.input_drvs.items():
            found = memo.get(path) or self.of_path(path)
            deferred = deferred or found.deferred
            for name in wanted:
                if name not in found.outputs:
                    raise BadDerivationError(
                        f"derivation '{derivation.name}' wants output '{name}' of '{self._store_dir.print(path)}', "
                        f"which has only {', '.join(sorted(found.outputs))}"
                    )
            inputs.setdefault(found.hex, set()).update(wanted)
        return DerivationHash(_sha256(derivation.unparse(self._store_dir, mask_outputs, inputs)), names, deferred)


def fixed_output_path(derivation: Derivation, store_dir: StoreDir) -> StorePath:
    """Where the single output of a fixed-output derivation goes, computed from its hash; raises BadDerivationError."""
    output = derivation.outputs["out"]
    return store_dir.make_fixed_output_path(output.is_recursive, output.promised(), derivation.name)


def check_output_paths(
    derivation: Derivation, store_dir: StoreDir, hasher: DerivationHasher, path: StorePath | None = None
) -> None:
    """Check that a derivation names the output paths that follow from its contents, and no others.

    Without this check whoever writes a `.drv` could claim any path for its output. May read the inputs.

    Args:
        derivation: the one to check.
        store_dir: the logical store directory.
        hasher: hashes its inputs.
        path: where it is kept, for messages.

    Raises:
        BadDerivationError: it does not.
        BadStorePath: an output has a name that no path can have.
    """
    shown = derivation.name if path is None else store_dir.print(path)
    kind = derivation.kind()
    masked = None
    for name, output in derivation.outputs.items():
        if kind is FIXED:
            expected = fixed_output_path(derivation, store_dir)
        elif kind in (INPUT_ADDRESSED, DEFERRED):
            masked = masked or hasher.modulo(derivation, mask_outputs=True)
            if masked.deferred:
                if output.path is None:
                    continue
                raise BadDerivationError(f"derivation '{shown}' names output paths that can't be known yet")
            expected = store_dir.make_output_path(name, masked.hash, derivation.name)
        else:
            # Nobody else looks at the name, which becomes part of file names before there is a path.
            check_name(output_path_name(derivation.name, name), f"{shown}!{name}")
            continue
        text = store_dir.print(expected)
        if output.path != expected:
            got = "none" if output.path is None else store_dir.print(output.path)
            raise BadDerivationError(f"derivation '{shown}' has incorrect output '{got}', should be '{text}'")
        if kind is not FIXED and name in derivation.env and derivation.env[name] != text:
            raise BadDerivationError(
                f"derivation '{shown}' has incorrect environment variable '{name}', should be '{text}'"
            )


def hash_placeholder(output: str) -> str:
    """What stands for a derivation's own output path until that path is known: `/` and 52 characters."""
    return "/" + _sha256(f"nix-output:{output}".encode()).to_string("base32", False)


def downstream_placeholder(drv_path: StorePath, output: str) -> str:
    """What stands for the output of a derivation whose output paths are known only after it was built."""
    name = output_path_name(drv_path.name.removesuffix(".drv"), output)
    clear = f"nix-upstream-output:{drv_path.hash_part}:{name}"
    return "/" + _sha256(clear.encode()).to_string("base32", False)


def _sha256(data: bytes) -> Hash:
    return hash_bytes("sha256", data)
