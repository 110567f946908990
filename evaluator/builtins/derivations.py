"""`derivationStrict` and `placeholder`: from a set of attributes to a `.drv` in the store.

The one purpose of the language. The store path of the `.drv` and those of its outputs must be Nix's to the last bit, so
order, escapes and errors follow primops.cc (`prim_derivationStrict`) of Nix 2.8. `derivation` itself is Nix code,
`corepkgs/derivation.nix`.
"""

from __future__ import annotations

from evaluator.builtins.files import parse_hash_or_zero
from evaluator.builtins.json_text import value_to_json, write_string
from evaluator.core.calls import (
    coerce,
    force_attrs,
    force_bool,
    force_list,
    force_string_context,
    force_string_no_context,
)
from evaluator.core.values import NULL, attribute_position, force, make_string
from evaluator.errors import CALL_SITE, NO_POS, EvalError, NixError
from storefs.formats.derivation import Derivation, DerivationOutput
from storefs.formats.derivation_hash import DerivationHasher, downstream_placeholder, hash_placeholder
from storefs.formats.hashes import SIZES, hash_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState
    from storefs.formats.store_path import StorePath


class _Recipe:
    """What the attributes of one derivation have said so far."""

    __slots__ = (
        "args",
        "builder",
        "content_addressed",
        "context",
        "env",
        "impure",
        "output_hash",
        "output_hash_algo",
        "outputs",
        "pos",
        "recursive",
        "system",
    )

    def __init__(self, pos: int) -> None:
        self.pos = pos  # of the attribute `name`, to which Nix 2.8 attributes most errors
        self.context: set[str] = set()
        self.env: dict[str, str] = {}
        self.args: list[str] = []
        self.builder = ""
        self.system = ""
        self.outputs = ["out"]
        self.output_hash: str | None = None
        self.output_hash_algo = ""
        self.recursive: bool | None = None
        self.content_addressed = False
        self.impure = False

    def note(self, key: str, text: str) -> None:
        """Take in an attribute that means something to the builder, besides being in the environment."""
        if key == "builder":
            self.builder = text
        elif key == "system":
            self.system = text
        elif key == "outputHash":
            self.output_hash = text
        elif key == "outputHashAlgo":
            self.output_hash_algo = text
        elif key == "outputHashMode":
            if text not in ("recursive", "flat"):
                raise EvalError(f"invalid value '{text}' for 'outputHashMode' attribute", self.pos)
            self.recursive = text == "recursive"
        elif key == "outputs":
            self.note_outputs(text.split())

    def note_outputs(self, names: list[str]) -> None:
        for index, name in enumerate(names):
            if name in names[:index]:
                raise EvalError(f"duplicate derivation output '{name}'", self.pos)
            if name in ("drv", "drvPath"):
                # `drvPath` in the result would be ambiguous.
                raise EvalError(f"invalid derivation output name '{name}'", self.pos)
        if not names:
            raise EvalError("derivation cannot have an empty set of outputs", self.pos)
        self.outputs = names


_NOTED = frozenset(["builder", "system", "outputHash", "outputHashAlgo", "outputHashMode", "outputs"])


def prim_derivationStrict(state: EvalState, attributes: object) -> dict[str, object]:  # noqa: N802
    """`derivationStrict attrs`: write the derivation that *attrs* describes; returns `drvPath` and the output paths.

    Use `derivation`, which calls this when it must.
    """
    attrs = force_attrs(attributes)
    if "name" not in attrs:
        raise EvalError("attribute 'name' missing")
    pos = attribute_position(attrs, "name")
    try:
        name = force_string_no_context(attrs["name"])
    except NixError as error:
        error.add_trace(pos, "while evaluating the derivation attribute 'name'")
        raise
    structured = "__structuredAttrs" in attrs and force_bool(attrs["__structuredAttrs"])
    ignore_nulls = "__ignoreNulls" in attrs and force_bool(attrs["__ignoreNulls"])

    recipe = _Recipe(pos)
    json: list[str] = []
    for key in sorted(attrs):
        if key == "__ignoreNulls":
            continue
        try:
            value = attrs[key]
            if ignore_nulls and force(value) is NULL:
                continue
            if key == "__contentAddressed" and force_bool(value):
                recipe.content_addressed = True
                _require_feature(state, "ca-derivations")
            elif key == "__contentAddressed":
                pass
            elif key == "__impure":
                if force_bool(value):
                    recipe.impure = True
                    _require_feature(state, "impure-derivations")
            elif key == "args":
                recipe.args = [coerce(state, item, recipe.context, True, True, pos) for item in force_list(value)]
            elif structured:
                if key != "__structuredAttrs":
                    _structured_attribute(state, recipe, key, value, json)
            else:
                text = coerce(state, value, recipe.context, True, True, attribute_position(attrs, key))
                recipe.env[key] = text
                if key in _NOTED:
                    recipe.note(key, text)
        except NixError as error:
            error.add_trace(pos, f"while evaluating the attribute '{key}' of the derivation '{name}'")
            raise
    if structured:
        recipe.env["__json"] = "{" + ",".join(json) + "}"
    return _finish(state, name, recipe)


def _structured_attribute(state: EvalState, recipe: _Recipe, key: str, value: object, json: list[str]) -> None:
    out: list[str] = []
    value_to_json(state, value, recipe.context, out)
    json.append(write_string(key) + ":" + "".join(out))
    if key == "builder":
        recipe.builder = force_string_context(value, recipe.context, recipe.pos)
    elif key == "outputs":
        items = force_list(value, recipe.pos)
        recipe.note_outputs([force_string_no_context(item, recipe.pos) for item in items])
    elif key in _NOTED:
        recipe.note(key, force_string_no_context(value, recipe.pos))


def _require_feature(state: EvalState, feature: str) -> None:
    if feature not in state.settings.experimental_features:
        raise EvalError(
            f"experimental Nix feature '{feature}' is disabled; use '--extra-experimental-features {feature}' to override",
            NO_POS,
        )


def _finish(state: EvalState, name: str, recipe: _Recipe) -> dict[str, object]:
    directory = state.io.directory
    input_drvs, input_srcs = _inputs(state, recipe.context)
    if not recipe.builder:
        raise EvalError("required attribute 'builder' missing", recipe.pos)
    if not recipe.system:
        raise EvalError("required attribute 'system' missing", recipe.pos)
    if name.endswith(".drv"):
        raise EvalError("derivation names are not allowed to end in '.drv'", recipe.pos)

    derivation = Derivation(
        name,
        {},
        {path: tuple(sorted(wanted)) for path, wanted in input_drvs.items()},
        input_srcs,
        recipe.system,
        recipe.builder,
        recipe.args,
        recipe.env,
    )
    hasher = _hasher(state)
    deferred = False
    if recipe.output_hash is not None:
        _fixed_output(state, recipe, derivation)
    elif recipe.content_addressed or recipe.impure:
        _floating_outputs(recipe, derivation)
        deferred = True
    else:
        derivation.outputs = {output: DerivationOutput(None) for output in recipe.outputs}
        for output in recipe.outputs:
            recipe.env[output] = ""
        masked = hasher.modulo(derivation, mask_outputs=True)
        deferred = masked.deferred
        if not deferred:
            for output in recipe.outputs:
                path = directory.make_output_path(output, masked.hash, name)
                derivation.outputs[output] = DerivationOutput(path)
                recipe.env[output] = directory.print(path)

    content = derivation.unparse(directory)
    digest = hash_bytes("sha256", content)
    drv_path = directory.make_text_path(name + ".drv", digest, derivation.references())
    drv_text = directory.print(drv_path)
    state.io.add_derivation(derivation, content, drv_text, digest)
    hasher.remember(drv_path, derivation)

    result: dict[str, object] = {"drvPath": make_string(drv_text, ("=" + drv_text,))}
    for output, described in derivation.outputs.items():
        text = (
            directory.print(described.path) if described.path is not None else downstream_placeholder(drv_path, output)
        )
        result[output] = make_string(text, (f"!{output}!{drv_text}",))
    return result


def _inputs(state: EvalState, context: set[str]) -> tuple[dict[StorePath, set[str]], set[StorePath]]:
    """Everything in the context of the attributes becomes an input of the derivation."""
    parse = state.io.directory.parse
    input_drvs: dict[StorePath, set[str]] = {}
    input_srcs: set[StorePath] = set()
    for element in context:
        if element[0] == "!":
            output, _, path = element[1:].partition("!")
            input_drvs.setdefault(parse(path), set()).add(output)
        elif element[0] == "=":
            # The builder gets the derivation itself, so it may look at anything that it needs.
            for path in state.io.closure(element[1:]):
                store_path = parse(path)
                input_srcs.add(store_path)
                if store_path.is_derivation:
                    input_drvs.setdefault(store_path, set()).update(state.io.output_names(path))
        else:
            input_srcs.add(parse(element))
    return input_drvs, input_srcs


def _fixed_output(state: EvalState, recipe: _Recipe, derivation: Derivation) -> None:
    if recipe.outputs != ["out"]:
        raise EvalError("multiple outputs are not supported in fixed-output derivations", recipe.pos)
    algo = recipe.output_hash_algo
    digest = parse_hash_or_zero(recipe.output_hash or "", algo if algo in SIZES else None)
    recursive = bool(recipe.recursive)
    path = state.io.directory.make_fixed_output_path(recursive, digest, derivation.name)
    recipe.env["out"] = state.io.directory.print(path)
    method = "r:" if recursive else ""
    derivation.outputs["out"] = DerivationOutput(path, method + digest.algo, digest.digest.hex())


def _floating_outputs(recipe: _Recipe, derivation: Derivation) -> None:
    if recipe.content_addressed and recipe.impure:
        raise EvalError("derivation cannot be both content-addressed and impure", recipe.pos)
    algo = recipe.output_hash_algo if recipe.output_hash_algo in SIZES else "sha256"
    method = "" if recipe.recursive is False else "r:"
    for output in recipe.outputs:
        recipe.env[output] = hash_placeholder(output)
        derivation.outputs[output] = DerivationOutput(None, method + algo, "impure" if recipe.impure else "")


def _hasher(state: EvalState) -> DerivationHasher:
    hasher: DerivationHasher | None = state.memo.get("derivation hashes")
    if hasher is None:
        io = state.io
        hasher = DerivationHasher(io.directory, lambda path: io.derivation(io.directory.print(path)))
        state.memo["derivation hashes"] = hasher
    return hasher


def prim_placeholder(state: EvalState, output: object) -> str:
    """`placeholder output`: a string that the builder replaces by the path of the derivation's own output."""
    return hash_placeholder(force_string_no_context(output))


def prim_outputOf(state: EvalState, drv: object, output: object) -> object:  # noqa: N802
    """`outputOf drv output`: refused; building derivations that are made by derivations is not supported."""
    context: set[str] = set()
    text = coerce(state, drv, context, False, False, CALL_SITE)
    force_string_no_context(output)
    raise EvalError(f"cannot take an output of '{text}': dynamic derivations are not supported", NO_POS)
