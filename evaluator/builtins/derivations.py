"""`placeholder` and `outputOf`. The builtin behind `derivation` is in the compiled core, `core/derivations.py`."""

from __future__ import annotations

from evaluator.core.calls import coerce, force_string_no_context
from evaluator.errors import NO_POS, EvalError
from storefs.formats.derivation_hash import hash_placeholder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState


def prim_placeholder(state: EvalState, output: object) -> str:
    """`placeholder output`: a string that the builder replaces by the path of the derivation's own output."""
    return hash_placeholder(
        force_string_no_context(output, "while evaluating the first argument passed to builtins.placeholder")
    )


def prim_outputOf(state: EvalState, drv: object, output: object) -> object:  # noqa: N802
    """`outputOf drv output`: refused; building derivations that are made by derivations is not supported."""
    context: set[str] = set()
    text = coerce(state, drv, context, False, False, "while evaluating the first argument to builtins.outputOf")
    force_string_no_context(output, "while evaluating the second argument to builtins.outputOf")
    raise EvalError(f"cannot take an output of '{text}': dynamic derivations are not supported", NO_POS)
