"""Builtins that look at types, order evaluation, or make and catch errors. See values.py for how they are written."""

import cython

from evaluator.errors import NixError

if not cython.compiled:
    from evaluator.core.calls import (
        coerce,
    )
    from evaluator.core.values import (
        NULL,
        ContextString,
        Func,
        Path,
        PrimOp,
        Thunk,
        force_thunk,
    )

from evaluator.core.calls import force_deep
from evaluator.errors import Abort, NixAssertionError, ThrownError


def prim_typeOf(state, x):
    """`typeOf e`: "int", "bool", "string", "path", "null", "set", "list", "lambda" or "float"."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    t: object = type(x)
    if t is str or t is ContextString:
        return "string"
    if t is bool:
        return "bool"
    if t is int:
        return "int"
    if t is float:
        return "float"
    if isinstance(x, dict):
        return "set"
    if t is list:
        return "list"
    if t is Path:
        return "path"
    if x is NULL:
        return "null"
    return "lambda"


def prim_isString(state, x):
    """`isString e`: whether it is a string."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return type(x) is str or type(x) is ContextString


def prim_isBool(state, x):
    """`isBool e`: whether it is a Boolean."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return type(x) is bool


def prim_isInt(state, x):
    """`isInt e`: whether it is an integer."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return type(x) is int


def prim_isFloat(state, x):
    """`isFloat e`: whether it is a float."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return type(x) is float


def prim_isNull(state, x):
    """`isNull e`: whether it is null; `e == null` says the same."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return x is NULL


def prim_isPath(state, x):
    """`isPath e`: whether it is a path."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return type(x) is Path


def prim_isFunction(state, x):
    """`isFunction e`: whether it is a function."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return type(x) is Func or type(x) is PrimOp


def prim_seq(state, a, b):
    """`seq e1 e2`: `e2`, after evaluating `e1`."""
    if type(a) is Thunk:
        force_thunk(cython.cast(Thunk, a), -1)
    if type(b) is Thunk:
        b = force_thunk(cython.cast(Thunk, b), -1)
    return b


def prim_deepSeq(state, a, b):
    """`deepSeq e1 e2`: `e2`, after evaluating `e1` and everything in it."""
    force_deep(a, 0)
    if type(b) is Thunk:
        b = force_thunk(cython.cast(Thunk, b), -1)
    return b


def prim_break(state, x):
    """`break v`: `v`; there is no debugger to enter."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    return x


def prim_throw(state, message):
    """`throw s`: an error that tryEval can catch."""
    doing: str = "while evaluating the error message passed to builtin.throw"
    raise ThrownError(coerce(state, message, set(), False, True, doing), 0)


def prim_abort(state, message):
    """`abort s`: an error that nothing catches."""
    doing: str = "while evaluating the error message passed to builtins.abort"
    text: str = coerce(state, message, set(), False, True, doing)
    raise Abort("evaluation aborted with the following error message: '%s'" % text, 0)


def prim_addErrorContext(state, context, x):
    """`addErrorContext s e`: `e`; errors in it are reported with `s`."""
    if type(x) is not Thunk:
        return x
    try:
        return force_thunk(cython.cast(Thunk, x), -1)
    except NixError as e:
        e.settle(-1)
        doing: str = "while evaluating the error message passed to builtins.addErrorContext"
        e.add_trace(0, coerce(state, context, set(), False, True, doing))
        raise e


def prim_tryEval(state, x):
    """`tryEval e`: `{ success = true; value = e; }`, or both false if `e` threw or failed an assertion."""
    if type(x) is Thunk:
        try:
            x = force_thunk(cython.cast(Thunk, x), -1)
        except NixAssertionError:
            return {"success": False, "value": False}
    return {"success": True, "value": x}
