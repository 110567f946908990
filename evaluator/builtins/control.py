"""What a program says while it is evaluated (`trace`, `traceVerbose`, `warn`) and asks of its surroundings."""

from __future__ import annotations

import sys

from evaluator.core.calls import force_string, force_string_no_context
from evaluator.core.values import ContextString, force
from evaluator.errors import NO_POS, Abort, EvalError
from storefs.logs import paint, sink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState


def prim_trace(state: EvalState, message: object, value: object) -> object:
    """`trace e1 e2`: print *e1* on standard error, then return *e2*."""
    _say(state, "trace: " + _text(message))
    return force(value)


def prim_traceVerbose(state: EvalState, message: object, value: object) -> object:  # noqa: N802
    """`traceVerbose e1 e2`: like `trace`, but only with the option `--trace-verbose`."""
    if state.settings.trace_verbose:
        _say(state, "trace: " + _text(message))
    return force(value)


def prim_warn(state: EvalState, message: object, value: object) -> object:
    """`warn s e`: print the warning *s* on standard error, then return *e*."""
    text = force_string(message, "while evaluating the first argument; the message passed to builtins.warn")
    first, *more = text.split("\n")
    margin = " " * len("evaluation warning: ")
    lines = [f"{paint('evaluation warning:', '35;1')} {first}", *(margin + line for line in more)]
    _say(state, "\n".join([line.rstrip() for line in lines]))
    if state.settings.abort_on_warn:
        raise Abort("aborting to reveal stack trace of warning, as abort-on-warn is set", NO_POS)
    return force(value)


def prim_getEnv(state: EvalState, name: object) -> str:  # noqa: N802
    """`getEnv s`: the environment variable *s*, "" if it is not set or the evaluation is pure or restricted."""
    text = force_string_no_context(name, "while evaluating the first argument passed to builtins.getEnv")
    if state.settings.pure_eval or state.settings.restrict_eval:
        return ""
    value: str = state.io.variable(text)
    return value


def prim_exec(state: EvalState, words: object) -> object:
    """`exec [ program args ... ]`: refused, as Nix refuses it unless unsafe code is allowed."""
    raise EvalError("'builtins.exec' is not supported: native code during evaluation is unsafe", NO_POS)


def _text(value: object) -> str:
    forced = force(value)
    if isinstance(forced, str):
        return forced
    if isinstance(forced, ContextString):
        return forced.text
    from evaluator.print_value import show_for_people  # noqa: PLC0415  what is traced is mostly text

    return show_for_people(forced)


def _say(state: EvalState, line: str) -> None:
    state.memo["said"] = True  # what was said could not be remembered with the result
    sys.stdout.flush()  # a program that prints both on one terminal expects them in order
    sink.emit(line)
