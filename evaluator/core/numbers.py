"""Builtins for numbers and comparison. How builtins are written is described in values.py."""

import cython

from evaluator.errors import EvalError

if not cython.compiled:
    from evaluator.core.calls import (
        force_float,
        force_int,
        less,
    )
    from evaluator.core.nodes import add, divide, multiply, not_numbers, subtract
    from evaluator.core.values import (
        Thunk,
        force_thunk,
    )


def prim_add(state, x, y):
    """`add e1 e2`: the sum of two numbers."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    if type(y) is Thunk:
        y = force_thunk(cython.cast(Thunk, y), -1)
    if (type(x) is int or type(x) is float) and (type(y) is int or type(y) is float):
        return add(state, x, y, -1, -1)
    raise not_numbers(x, y, -1, ("the first argument of the addition", "the second argument of the addition"))


def prim_sub(state, x, y):
    """`sub e1 e2`: the difference of two numbers."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    if type(y) is Thunk:
        y = force_thunk(cython.cast(Thunk, y), -1)
    return subtract(x, y, -1)


def prim_mul(state, x, y):
    """`mul e1 e2`: the product of two numbers."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    if type(y) is Thunk:
        y = force_thunk(cython.cast(Thunk, y), -1)
    return multiply(x, y, -1)


def prim_div(state, x, y):
    """`div e1 e2`: the quotient of two numbers; integers are rounded towards zero."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    if type(y) is Thunk:
        y = force_thunk(cython.cast(Thunk, y), -1)
    return divide(x, y, -1)


def prim_lessThan(state, x, y):
    """`lessThan e1 e2`: whether `e1` is less than `e2`; numbers, strings, paths and lists."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), -1)
    if type(y) is Thunk:
        y = force_thunk(cython.cast(Thunk, y), -1)
    return True if less(x, y) else False


def prim_bitAnd(state, x, y):
    """`bitAnd e1 e2`: bitwise and of two integers."""
    a: object = force_int(x, "while evaluating the first argument passed to builtins.bitAnd")
    return a & force_int(y, "while evaluating the second argument passed to builtins.bitAnd")


def prim_bitOr(state, x, y):
    """`bitOr e1 e2`: bitwise or of two integers."""
    a: object = force_int(x, "while evaluating the first argument passed to builtins.bitOr")
    return a | force_int(y, "while evaluating the second argument passed to builtins.bitOr")


def prim_bitXor(state, x, y):
    """`bitXor e1 e2`: bitwise exclusive or of two integers."""
    a: object = force_int(x, "while evaluating the first argument passed to builtins.bitXor")
    return a ^ force_int(y, "while evaluating the second argument passed to builtins.bitXor")


def prim_ceil(state, x):
    """`ceil double`: the number rounded up to an integer."""
    from math import ceil

    return whole(force_float(x, "while evaluating the first argument passed to builtins.ceil"), ceil)


def prim_floor(state, x):
    """`floor double`: the number rounded down to an integer."""
    from math import floor

    return whole(force_float(x, "while evaluating the first argument passed to builtins.floor"), floor)


def whole(x, rounded):
    """Return a float as an integer; EvalError for what does not fit into 64 bits."""
    if x != x or not -9223372036854775808.0 <= x < 9223372036854775808.0:
        raise EvalError("NixFloat argument %g is not in the range of NixInt" % x)
    return rounded(x)
