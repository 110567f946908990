"""String contexts: which store paths a string depends on, seen and changed by hand.

An element of a context is `/path` (a store path), `!output!/path.drv` (an output of a derivation) or `=/path.drv` (a
derivation with everything it needs). Semantics: primops/context.cc of Nix 2.8; `addDrvOutputDependencies` is newer.
"""

from __future__ import annotations

from evaluator.core.calls import (
    coerce,
    force_attrs,
    force_bool,
    force_list,
    force_string_context,
    force_string_no_context,
)
from evaluator.core.values import attribute_position, make_string
from evaluator.errors import EvalError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState


def prim_hasContext(state: EvalState, text: object) -> bool:  # noqa: N802
    """`hasContext s`: whether the string *s* depends on something in the store."""
    context: set[str] = set()
    force_string_context(text, context, "while evaluating the argument passed to builtins.hasContext")
    return bool(context)


def prim_unsafeDiscardStringContext(state: EvalState, text: object) -> str:  # noqa: N802
    """`unsafeDiscardStringContext s`: *s* without its dependencies."""
    doing = "while evaluating the argument passed to builtins.unsafeDiscardStringContext"
    return coerce(state, text, set(), doing=doing)


def prim_unsafeDiscardOutputDependency(state: EvalState, text: object) -> object:  # noqa: N802
    """`unsafeDiscardOutputDependency s`: *s* with derivations as plain files, so that using it builds nothing."""
    context: set[str] = set()
    doing = "while evaluating the argument passed to builtins.unsafeDiscardOutputDependency"
    plain = coerce(state, text, context, doing=doing)
    return make_string(plain, {element[1:] if element[0] == "=" else element for element in context})


def prim_addDrvOutputDependencies(state: EvalState, text: object) -> object:  # noqa: N802
    """`addDrvOutputDependencies s`: the opposite of `unsafeDiscardOutputDependency`, for a string with one element."""
    context: set[str] = set()
    doing = "while evaluating the argument passed to builtins.addDrvOutputDependencies"
    plain = coerce(state, text, context, doing=doing)
    if len(context) != 1:
        raise EvalError(f"context of string '{plain}' must have exactly one element, but has {len(context)}")
    (element,) = context
    if element[0] == "!":
        raise EvalError(
            "`addDrvOutputDependencies` can only act on derivations, not on a derivation output such as "
            f"'{element[1:].partition('!')[0]}'"
        )
    path = element.removeprefix("=")
    if not path.endswith(".drv"):
        raise EvalError(f"path '{path}' is not a derivation")
    return make_string(plain, ("=" + path,))


def prim_getContext(state: EvalState, text: object) -> dict[str, object]:  # noqa: N802
    """`getContext s`: what *s* depends on.

    A set from store paths to `{ path = true; }`, `{ allOutputs = true; }` and `{ outputs = [ ... ]; }`, or several of
    them in one set.
    """
    context: set[str] = set()
    force_string_context(text, context, "while evaluating the argument passed to builtins.getContext")
    found: dict[str, dict[str, object]] = {}
    outputs: dict[str, list[object]] = {}
    for element in sorted(context):
        if element[0] == "!":
            output, _, path = element[1:].partition("!")
            outputs.setdefault(path, []).append(output)
        elif element[0] == "=":
            found.setdefault(element[1:], {})["allOutputs"] = True
        else:
            found.setdefault(element, {})["path"] = True
    for path, names in outputs.items():
        found.setdefault(path, {})["outputs"] = names
    return dict(found)


def prim_appendContext(state: EvalState, text: object, more: object) -> object:  # noqa: N802
    """`appendContext s context`: *s* with the dependencies in *context*, written as `getContext` writes them."""
    context: set[str] = set()
    plain = force_string_context(text, context, "while evaluating the first argument passed to builtins.appendContext")
    attrs = force_attrs(more, "while evaluating the second argument passed to builtins.appendContext")
    for path in sorted(attrs):
        pos = attribute_position(attrs, path)
        if state.io.directory.maybe_parse(path) is None:
            raise EvalError(f"context key '{path}' is not a store path", pos)
        if not state.io.read_only:
            state.io.ensure(path)
        info = force_attrs(attrs[path], "while evaluating the value of a string context", pos)
        if _flag(info, "path"):
            context.add(path)
        if _flag(info, "allOutputs"):
            _require_derivation(path, "all-outputs", pos)
            context.add("=" + path)
        if "outputs" in info:
            where = attribute_position(info, "outputs")
            names = force_list(info["outputs"], "while evaluating the `outputs` attribute of a string context", where)
            if names:
                _require_derivation(path, "derivation output", pos)
            for name in names:
                doing = "while evaluating an output name within a string context"
                context.add(f"!{force_string_no_context(name, doing, where)}!{path}")
    return make_string(plain, context)


def _flag(info: dict[str, object], name: str) -> bool:
    if name not in info:
        return False
    doing = f"while evaluating the `{name}` attribute of a string context"
    return force_bool(info[name], doing, attribute_position(info, name))


def _require_derivation(path: str, what: str, pos: int) -> None:
    if not path.endswith(".drv"):
        raise EvalError(f"tried to add {what} context of {path}, which is not a derivation, to a string", pos)
