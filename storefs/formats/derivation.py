"""Derivations: the value, its `.drv` text, and what kind of outputs it promises.

Sans-I/O: bytes in, values out. Hashing a derivation is in `derivation_hash.py`; putting the text into a store is the
store's business (a `.drv` is an ordinary text-addressed object). Used by the evaluator (which makes derivations), the
builder (which runs them) and the daemon (which receives them).

Semantics: derivations.cc of Nix 2.8. Strings are `str` decoded from UTF-8 with `surrogateescape`, so that arbitrary
bytes survive a round trip.
"""

from __future__ import annotations

from storefs.errors import StoreError
from storefs.formats.aterm import QUOTE, BadATermError, render, split
from storefs.formats.hashes import BadHash, parse_unprefixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import NoReturn

    from storefs.formats.hashes import Hash
    from storefs.formats.store_path import StoreDir, StorePath

DRV_EXTENSION = ".drv"

# The kinds that `Derivation.kind` answers with.
INPUT_ADDRESSED = "input-addressed"
FIXED = "fixed"
FLOATING = "floating"
DEFERRED = "deferred"
IMPURE = "impure"

_Q = QUOTE
_BETWEEN = f"{_Q},{_Q}"  # closes one string and opens the next


class BadDerivationError(StoreError):
    """A derivation whose text is well-formed and whose meaning is not."""


class DerivationOutput:
    """What a derivation says about one of its outputs. Immutable by convention, compared by value.

    Attributes:
        path: where it will be, or None when that is known only after the build.
        hash_algo: `''`, or `sha256` (the flat file is hashed) or `r:sha256` (its NAR is), or another algorithm.
        hash: the expected hash in base 16; `''` when there is none; `impure` for an impure derivation.
    """

    __slots__ = ("hash", "hash_algo", "path")

    def __init__(self, path: StorePath | None, hash_algo: str = "", hash: str = "") -> None:
        self.path = path
        self.hash_algo = hash_algo
        self.hash = hash

    @property
    def kind(self) -> str:
        """One of the kinds above, seen from this output alone."""
        if not self.hash_algo:
            return DEFERRED if self.path is None else INPUT_ADDRESSED
        if self.hash == "impure":
            return IMPURE
        return FIXED if self.hash else FLOATING

    @property
    def is_recursive(self) -> bool:
        """Whether the hash is over the NAR of the output and not over a flat file."""
        return self.hash_algo.startswith("r:")

    @property
    def hash_type(self) -> str:
        """The bare algorithm: `sha256`, `sha1`, `md5`, `sha512` or `''`."""
        return self.hash_algo[2:] if self.hash_algo.startswith("r:") else self.hash_algo

    def promised(self) -> Hash:
        """The hash that a fixed output must have; raises BadDerivationError if what is written there is none."""
        try:
            promised = parse_unprefixed(self.hash, self.hash_type)
        except BadHash as error:
            raise BadDerivationError(f"a fixed output has a bad hash: {error}") from error
        if promised.digest.hex() != self.hash:  # the text is part of what is hashed: one spelling only
            raise BadDerivationError(f"the hash '{self.hash}' of a fixed output is not in base 16")
        return promised

    def _key(self) -> tuple[str, str, str]:
        return (self.path.base_name if self.path is not None else "", self.hash_algo, self.hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DerivationOutput) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"DerivationOutput({self.path!r}, {self.hash_algo!r}, {self.hash!r})"


class Derivation:
    """A build recipe. Mutable while it is being put together; afterwards nobody changes it.

    Attributes:
        name: without `.drv`.
        outputs: output name -> `DerivationOutput`.
        input_drvs: the `.drv`s it needs -> the names of the outputs wanted of each, sorted.
        input_srcs: the plain store paths it needs.
        system: as in `x86_64-linux`.
        builder: the program; `builtin:...` is run by the builder itself.
        args: its arguments, without argv[0].
        env: its environment.
    """

    __slots__ = ("args", "builder", "env", "input_drvs", "input_srcs", "name", "outputs", "system")

    def __init__(
        self,
        name: str,
        outputs: dict[str, DerivationOutput],
        input_drvs: dict[StorePath, tuple[str, ...]],
        input_srcs: set[StorePath],
        system: str,
        builder: str,
        args: list[str],
        env: dict[str, str],
    ) -> None:
        self.name = name
        self.outputs = outputs
        self.input_drvs = input_drvs
        self.input_srcs = input_srcs
        self.system = system
        self.builder = builder
        self.args = args
        self.env = env

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Derivation) and all(
            getattr(self, field) == getattr(other, field) for field in Derivation.__slots__
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Derivation {self.name}: {', '.join(self.outputs)}>"

    @property
    def is_builtin(self) -> bool:
        """Whether the builder itself runs it, as for `builtin:fetchurl`."""
        return self.builder.startswith("builtin:")

    def kind(self) -> str:
        """What all of its outputs are: `INPUT_ADDRESSED`, `FIXED`, `FLOATING`, `DEFERRED` or `IMPURE`.

        Raises:
            BadDerivationError: it has no outputs, mixes kinds, or has a fixed output that is not the single `out`.
        """
        outputs = self.outputs
        kinds = {output.kind for output in outputs.values()}
        if len(kinds) != 1:
            raise BadDerivationError(
                f"derivation '{self.name}' mixes output types: {', '.join(sorted(kinds))}"
                if kinds
                else f"derivation '{self.name}' must have at least one output"
            )
        (kind,) = kinds
        if kind is FIXED:
            if len(outputs) > 1:
                raise BadDerivationError(f"derivation '{self.name}': only one fixed output is allowed")
            if "out" not in outputs:
                raise BadDerivationError(f"derivation '{self.name}': its single fixed output must be named 'out'")
        elif kind is FLOATING and len({output.hash_algo.removeprefix("r:") for output in outputs.values()}) > 1:
            raise BadDerivationError(f"derivation '{self.name}': all floating outputs must use the same hash type")
        return kind

    def references(self) -> list[StorePath]:
        """What the `.drv` file refers to, sorted: inputs of both sorts, never its own outputs."""
        return sorted(self.input_srcs.union(self.input_drvs))

    def unparse(
        self,
        store_dir: StoreDir,
        mask_outputs: bool = False,
        actual_inputs: Mapping[str, Iterable[str]] | None = None,
    ) -> bytes:
        """The text of the `.drv` file, byte for byte what Nix writes.

        Args:
            store_dir: the logical store, which prefixes every path.
            mask_outputs: leave out output paths, also in the environment: what is hashed to find those paths.
            actual_inputs: stands in for `input_drvs`: base-16 derivation hashes -> output names.

        As with Nix, `system` and what stands before it are not escaped: where one of them has a quote or a backslash,
        the text is no derivation, or another one.
        """
        prefix = store_dir.path + "/"
        strings = 1 + 4 * len(self.outputs) + len(self.input_srcs)

        outputs = []
        for name in _sorted_bytewise(self.outputs):
            output = self.outputs[name]
            path = "" if mask_outputs or output.path is None else prefix + output.path.base_name
            outputs.append(f"({_Q}{name}{_BETWEEN}{path}{_BETWEEN}{output.hash_algo}{_BETWEEN}{output.hash}{_Q})")

        if actual_inputs is None:
            inputs = sorted([(prefix + path.base_name, wanted) for path, wanted in self.input_drvs.items()])
        else:
            inputs = sorted([(digest, tuple(wanted)) for digest, wanted in actual_inputs.items()])
        input_drvs = []
        for key, wanted in inputs:
            names = _sorted_bytewise(wanted)
            strings += 1 + len(names)
            input_drvs.append(f"({_Q}{key}{_Q},{_list(names)})")

        sources = sorted([prefix + path.base_name for path in self.input_srcs])

        env = self.env
        if mask_outputs:
            env = {key: "" if key in self.outputs else value for key, value in env.items()}
        variables = [f"({_Q}{key}{_BETWEEN}{env[key]}{_Q})" for key in _sorted_bytewise(env)]

        return render(
            f"Derive([{','.join(outputs)}],[{','.join(input_drvs)}],{_list(sources)},{_Q}{self.system}{_Q}",
            strings,
            verbatim=True,
        ) + render(
            f",{_Q}{self.builder}{_Q},{_list(self.args)},[{','.join(variables)}])",
            1 + len(self.args) + 2 * len(self.env),
        )


def read_derivation(data: bytes, store_dir: StoreDir, path: StorePath) -> Derivation:
    """Like `parse_derivation`, of the `.drv` file that is this store path, which errors name (BadDerivationError)."""
    try:
        return parse_derivation(data, store_dir, path.name.removesuffix(DRV_EXTENSION))
    except StoreError as error:
        raise BadDerivationError(f"error parsing derivation '{store_dir.print(path)}': {error}") from error


def parse_derivation(data: bytes, store_dir: StoreDir, name: str) -> Derivation:
    """Read the text of a `.drv` file.

    Args:
        data: the whole file.
        store_dir: the logical store that its paths must lie in.
        name: the derivation's name (the store path's name without `.drv`).

    Raises:
        BadATermError: it is not the text of a derivation.
        BadStorePath: a path in it is not a store path of `store_dir`.
    """
    marks, strings = split(data)
    # A mark that is not one of these is not the last, so a string and another mark follow it: no index below can
    # run off the end.
    if marks[-1] not in _LAST_MARKS:
        _bad(name, marks[-1])

    outputs: dict[str, DerivationOutput] = {}
    i = 0  # the string that `rest`, what is left of marks[i], stands before
    rest = _after("Derive([", marks[0], name)
    if rest == "(":
        while True:
            if marks[i + 1 : i + 4] != _COMMAS:
                _bad(name, "".join(marks[i + 1 : i + 4]))
            output, path, algo, digest = strings[i : i + 4]
            outputs[output] = _parse_output(store_dir, path, algo, digest, name)
            i += 4
            if marks[i] != "),(":
                break
        rest = _after(")", marks[i], name)
    rest = _after("],[", rest, name)

    parse = store_dir.parse
    input_drvs: dict[StorePath, tuple[str, ...]] = {}
    if rest == "(":
        while True:
            drv_path = parse(strings[i])
            i += 1
            if marks[i] == ",[":
                i, wanted = _strings_from(i, marks, strings)
                input_drvs[drv_path] = tuple(wanted) if len(wanted) == 1 else tuple(_sorted_bytewise(set(wanted)))
                rest = _after("])", marks[i], name)
            else:
                input_drvs[drv_path] = ()
                rest = _after(",[])", marks[i], name)
            if rest != ",(":
                break
    rest = _after("],[", rest, name)

    sources: list[str] = []
    if not rest:
        i, sources = _strings_from(i, marks, strings)
        rest = marks[i]
    if rest != "]," or marks[i + 1] != ",":
        _bad(name, rest)
    system, builder = strings[i : i + 2]
    i += 2

    args: list[str] = []
    rest = _after(",[", marks[i], name)
    if not rest:
        i, args = _strings_from(i, marks, strings)
        rest = marks[i]
    rest = _after("],[", rest, name)

    env: dict[str, str] = {}
    if rest == "(":
        names, values = strings[i::2], strings[i + 1 :: 2]
        if (
            len(names) != len(values)
            or marks[i + 1 :: 2].count(",") != len(names)
            or marks[i + 2 : -1 : 2].count("),(") != len(names) - 1
            or marks[-1] != ")])"
        ):
            _bad(name, "its environment")
        env = dict(zip(names, values, strict=True))
    elif rest != "])":
        _bad(name, rest)
    return Derivation(name, outputs, input_drvs, {parse(source) for source in sources}, system, builder, args, env)


_LAST_MARKS = (")])", "],[])", ",[],[])")
_COMMAS = [",", ",", ","]


def _bad(name: str, where: str) -> NoReturn:
    raise BadATermError(f"derivation '{name}' is malformed near '{where[:40]}'")


def _after(prefix: str, mark: str, name: str) -> str:
    if not mark.startswith(prefix):
        _bad(name, mark)
    return mark[len(prefix) :]


def _strings_from(i: int, marks: list[str], strings: list[str]) -> tuple[int, list[str]]:
    """The list whose first string is number `i`, and the number of the string that follows the list."""
    start = i
    i += 1
    while marks[i] == ",":
        i += 1
    return i, strings[start:i]


def _parse_output(store_dir: StoreDir, path: str, algo: str, digest: str, name: str) -> DerivationOutput:
    if path:
        return DerivationOutput(store_dir.parse(path), algo, digest)
    if digest and digest != "impure":
        raise BadDerivationError(f"derivation '{name}' has a fixed output without a path")
    return DerivationOutput(None, algo, digest)


def _list(strings: list[str]) -> str:
    return f"[{_Q}{_BETWEEN.join(strings)}{_Q}]" if strings else "[]"


def _sorted_bytewise(strings: Iterable[str]) -> list[str]:
    """Sorted as Nix sorts byte strings; code points sort alike unless bytes that are not UTF-8 are among them."""
    strings = list(strings)
    if "".join(strings).isascii():
        strings.sort()
    else:
        strings.sort(key=lambda string: string.encode("utf-8", "surrogateescape"))
    return strings
