"""`import` and `scopedImport`: the value of another file, or of a `.drv` in the store."""

from __future__ import annotations

from evaluator.builtins.realising import realise_path
from evaluator.core.calls import call1, force_attrs
from evaluator.core.values import make_string
from evaluator.host_files import COREPKGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState


def prim_import(state: EvalState, path: object) -> object:
    """`import path`: the value of the Nix expression in the file *path*, or in its `default.nix` if it is a directory.

    A file is evaluated only once, however often it is imported. The path of a `.drv` in the store gives the derivation.
    """
    return _import(state, realise_path(state, path), None)


def prim_scopedImport(state: EvalState, scope: object, path: object) -> object:  # noqa: N802
    """`scopedImport attrs path`: like `import`, with *attrs* as further variables, which may hide builtins."""
    real = realise_path(state, path)
    doing = "while evaluating the first argument passed to builtins.scopedImport"
    return _import(state, real, force_attrs(scope, doing))


def _import(state: EvalState, path: str, scope: dict[str, object] | None) -> object:
    if path.endswith(".drv"):
        store_path = state.io.directory.maybe_parse(path)
        if store_path is not None and state.io.is_valid(path):
            return _derivation_value(state, path)
    return state.evaluate_file(path, scope)


def _derivation_value(state: EvalState, path: str) -> object:
    """The value of `import /nix/store/...-x.drv` (row E7)."""
    from storefs.formats.derivation_hash import downstream_placeholder  # noqa: PLC0415  other files need no derivations

    derivation = state.io.derivation(path)
    names = sorted(derivation.outputs)
    recipe: dict[str, object] = {
        "drvPath": make_string(path, ("=" + path,)),
        "name": derivation.env.get("name", ""),
        "outputs": list(names),
    }
    directory = state.io.directory
    for name in names:
        output = derivation.outputs[name].path
        text = directory.print(output) if output else downstream_placeholder(directory.parse(path), name)
        recipe[name] = make_string(text, (f"!{name}!{path}",))
    function = state.evaluate_file(COREPKGS + "imported-derivation.nix")
    return force_attrs(call1(function, recipe))
