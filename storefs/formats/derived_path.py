"""What a user can ask to have realised: a store path, or outputs of a derivation.

Text form as in the worker protocol and on command lines: `/nix/store/...-x`, `/nix/store/...-x.drv!out,dev`,
`/nix/store/...-x.drv!*`. A `.drv` path without `!` means the `.drv` itself. Sans-I/O; used by the builder, the
daemon and commands. Semantics: derived-path.cc of Nix 2.8.
"""

from __future__ import annotations

from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.formats.store_path import StoreDir, StorePath


class BadDerivedPathError(StoreError):
    """Text that names neither a store path nor outputs of a derivation."""


class DerivedPath:
    """A store path (`outputs is None`) or outputs of a derivation (`outputs`, sorted; empty means all of them).

    Immutable, hashable, compared by value.
    """

    __slots__ = ("outputs", "path")

    def __init__(self, path: StorePath, outputs: tuple[str, ...] | None = None) -> None:
        self.path = path
        self.outputs = None if outputs is None else tuple(sorted(set(outputs)))

    @property
    def is_built(self) -> bool:
        """Whether it asks for outputs of a derivation, and not for the path itself."""
        return self.outputs is not None

    def wants(self, output: str) -> bool:
        """Whether the output is among those asked for; no `outputs` given means all."""
        return self.outputs is not None and (not self.outputs or output in self.outputs)

    def to_string(self, store_dir: StoreDir) -> str:
        """The text form; `parse_derived_path` reads it back."""
        text = store_dir.print(self.path)
        if self.outputs is None:
            return text
        return f"{text}!{','.join(self.outputs) or '*'}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DerivedPath) and self.path == other.path and self.outputs == other.outputs

    def __hash__(self) -> int:
        return hash((self.path, self.outputs))

    def __repr__(self) -> str:
        return f"DerivedPath({self.path!r}, {self.outputs!r})"


def parse_derived_path(text: str, store_dir: StoreDir) -> DerivedPath:
    """Read the text form.

    Raises:
        BadStorePath: the part before `!` is not a store path of `store_dir`.
        BadDerivedPathError: outputs are asked of something that is not a derivation, or none are named after `!`.
    """
    path_text, mark, outputs_text = text.partition("!")
    path = store_dir.parse(path_text)
    if not mark:
        return DerivedPath(path)
    if not path.name.endswith(".drv"):
        raise BadDerivedPathError(f"'{text}' asks for outputs of something that is not a derivation")
    if outputs_text == "*":
        return DerivedPath(path, ())
    outputs = tuple(name for name in outputs_text.split(",") if name)
    if not outputs:
        raise BadDerivedPathError(f"'{text}' names no output after '!'; write '!*' for all of them")
    return DerivedPath(path, outputs)
