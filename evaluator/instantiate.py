"""Derivations in a value: finding them, and asking each for its name, outputs and meta information.

What `nix-instantiate`, `nix-build` and `nix-env` share. Semantics: get-drvs.cc of Nix 2.8.
"""

from __future__ import annotations

from evaluator.core.calls import (
    coerce,
    force_attrs,
    force_bool,
    force_list,
    force_string_no_context,
    is_derivation,
)
from evaluator.core.values import NULL, ContextString, attribute_position, force
from evaluator.errors import NO_POS, EvalError, NixAssertionError, NixTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from evaluator.core.state import EvalState

_NAME_START = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NAME = _NAME_START | frozenset("0123456789-+")


class PackageInfo:
    """One derivation of a value, as a package: answers are computed when asked for. Methods may raise NixError.

    Attributes:
        attr_path: where it was found, `''` for the value itself.
        attrs: the derivation's attributes.
    """

    __slots__ = ("_meta_attrs", "_state", "attr_path", "attrs")

    def __init__(self, state: EvalState, attr_path: str, attrs: dict[str, object]) -> None:
        self._state = state
        self.attr_path = attr_path
        self.attrs = attrs
        self._meta_attrs: Mapping[str, object] | None = None

    def name(self) -> str:
        """Return the package's name with its version."""
        if "name" not in self.attrs:
            raise NixTypeError("derivation name missing", NO_POS)
        return force_string_no_context(self.attrs["name"], pos=NO_POS)

    def system(self) -> str:
        """Return the system that it is for, 'unknown' if it does not say."""
        if "system" not in self.attrs:
            return "unknown"
        return force_string_no_context(self.attrs["system"], pos=attribute_position(self.attrs, "system"))

    def drv_path(self) -> str | None:
        """Return the path of the `.drv`, None for something that only pretends to be a derivation."""
        return self._path("drvPath")

    def require_drv_path(self) -> str:
        """Return the path of the `.drv`; EvalError if there is none."""
        path = self.drv_path()
        if path is None:
            raise EvalError("derivation does not contain a 'drvPath' attribute", NO_POS)
        if not path.endswith(".drv"):
            raise EvalError(f"path '{path}' is not a valid derivation path", attribute_position(self.attrs, "drvPath"))
        return path

    def out_path(self) -> str:
        """Return the path of the output that the value stands for; EvalError if it has none."""
        path = self._path("outPath")
        if path is None:
            raise EvalError("CA derivations are not yet supported", NO_POS)
        return path

    def _path(self, key: str) -> str | None:
        if key not in self.attrs:
            return None
        pos = attribute_position(self.attrs, key)
        path = coerce(self._state, self.attrs[key], set(), False, False, pos=pos)
        if self._state.io.directory.maybe_parse(path) is None:
            raise EvalError(f"path '{path}' is not in the Nix store", pos)
        return path

    def output_name(self) -> str:
        """Return the name of the output that the value stands for, `''` if it does not say."""
        if "outputName" not in self.attrs:
            return ""
        return force_string_no_context(self.attrs["outputName"], pos=attribute_position(self.attrs, "outputName"))

    def outputs(self, *, only_to_install: bool = False, with_paths: bool = True) -> dict[str, str | None]:
        """Return output names, in declared order, with their paths.

        Args:
            only_to_install: those that `meta.outputsToInstall` names.
            with_paths: evaluate the paths; otherwise they are None.
        """
        found: dict[str, str | None] = {}
        if "outputs" in self.attrs:
            for item in force_list(self.attrs["outputs"], pos=attribute_position(self.attrs, "outputs")):
                name = force_string_no_context(item, pos=attribute_position(self.attrs, "outputs"))
                if not with_paths:
                    found[name] = None
                elif name in self.attrs:
                    output = force_attrs(self.attrs[name], pos=attribute_position(self.attrs, "outputs"))
                    if "outPath" in output:
                        pos = attribute_position(output, "outPath")
                        found[name] = coerce(self._state, output["outPath"], set(), False, False, pos=pos)
        else:
            found["out"] = self.out_path() if with_paths else None
        if not only_to_install:
            return found
        return self._to_install(found)

    def _to_install(self, outputs: dict[str, str | None]) -> dict[str, str | None]:
        wanted = self.meta("outputsToInstall")
        if wanted is None:
            return outputs
        problem = EvalError("this derivation has bad 'meta.outputsToInstall'", NO_POS)
        if not isinstance(wanted, list):
            raise problem
        chosen: dict[str, str | None] = {}
        for item in wanted:
            name = force(item)
            if isinstance(name, ContextString):
                name = name.text
            if not isinstance(name, str) or name not in outputs:
                raise problem
            chosen[name] = outputs[name]
        return chosen

    def meta_names(self) -> list[str]:
        """Return the names of the meta attributes, sorted."""
        return sorted(self._meta())

    def _meta(self) -> Mapping[str, object]:
        if self._meta_attrs is None:
            if "meta" not in self.attrs:
                return {}
            self._meta_attrs = force_attrs(self.attrs["meta"], pos=attribute_position(self.attrs, "meta"))
        return self._meta_attrs

    def meta(self, name: str) -> object | None:
        """Return a meta attribute, evaluated; None if it is missing or no plain data."""
        meta = self._meta()
        if name not in meta:
            return None
        value = force(meta[name])
        return value if _is_data(value) else None


def _is_data(value: object) -> bool:
    """Whether meta information is something that can be written down: no functions, no derivations."""
    if type(value) is str:
        return True
    if isinstance(value, list):
        return all(_is_data(force(item)) for item in value)
    if isinstance(value, dict):
        return "outPath" not in value and all(_is_data(force(item)) for item in value.values())
    return isinstance(value, (str, ContextString, int, float)) or value is NULL


def get_derivation(state: EvalState, value: object, ignore_assertions: bool = False) -> PackageInfo | None:
    """Return the value as a package, None if it is no derivation (or fails an assertion that is to be ignored)."""
    search = _Search(state, {}, ignore_assertions)
    search.single(value, "")
    return search.found[0] if search.found else None


def get_derivations(
    state: EvalState,
    value: object,
    auto_args: dict[str, object],
    *,
    prefix: str = "",
    ignore_assertions: bool = False,
) -> list[PackageInfo]:
    """Return the derivations of a value: itself, or those in a set or list, in the order of their names.

    Sets below are entered only if they say `recurseForDerivations = true`. Functions on the way are called with
    `auto_args`.

    Raises:
        NixTypeError: it is none of these.
    """
    search = _Search(state, auto_args, ignore_assertions)
    search.all(value, prefix)
    return search.found


class _Search:
    def __init__(self, state: EvalState, auto_args: dict[str, object], ignore_assertions: bool) -> None:
        self.state = state
        self.auto_args = auto_args
        self.ignore_assertions = ignore_assertions
        self.found: list[PackageInfo] = []
        self.done: set[int] = set()

    def single(self, value: object, path: str) -> bool:
        """Take in a derivation; return whether the value may contain some instead."""
        try:
            forced = force(value)
            if not is_derivation(forced):
                return True
            assert isinstance(forced, dict)
            # `rec { x = derivation { ... }; y = x; }` has one derivation, found under the first name.
            if id(forced) in self.done:
                return False
            self.done.add(id(forced))
            package = PackageInfo(self.state, path, forced)
            package.name()
        except NixAssertionError:
            if self.ignore_assertions:
                return False
            raise
        self.found.append(package)
        return False

    def all(self, value: object, prefix: str) -> None:
        forced = self.state.auto_call(force(value), self.auto_args)
        if not self.single(forced, prefix):
            return
        if isinstance(forced, dict):
            self._attributes(forced, prefix)
        elif isinstance(forced, list):
            for index, item in enumerate(forced):
                path = f"{prefix}.{index}" if prefix else str(index)
                if self.single(item, path):
                    self.all(item, path)
        else:
            raise NixTypeError("expression does not evaluate to a derivation (or a set or list of those)", NO_POS)

    def _attributes(self, attrs: dict[str, object], prefix: str) -> None:
        # nix-env combines channels in a set with this mark: each is entered.
        combine = "_combineChannels" in attrs
        for name in sorted(attrs):
            if name[:1] not in _NAME_START or not _NAME.issuperset(name):
                continue
            path = f"{prefix}.{name}" if prefix else name
            if combine:
                self.all(attrs[name], path)
            elif self.single(attrs[name], path):
                below = force(attrs[name])
                if isinstance(below, dict) and "recurseForDerivations" in below:
                    pos = attribute_position(below, "recurseForDerivations")
                    if force_bool(below["recurseForDerivations"], pos=pos):
                        self.all(below, path)
