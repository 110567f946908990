"""Builtins for numbers and comparison. How builtins are written is described in values.py."""

import cython

if not cython.compiled:
    from evaluator.core.calls import (
        force_float,
        force_int,
        less,
    )
    from evaluator.core.nodes import add, divide, multiply, subtract
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
    # Not numbers: the error is that of the other operations.
    return subtract(x, y, -1)


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
    return force_int(x) & force_int(y)


def prim_bitOr(state, x, y):
    """`bitOr e1 e2`: bitwise or of two integers."""
    return force_int(x) | force_int(y)


def prim_bitXor(state, x, y):
    """`bitXor e1 e2`: bitwise exclusive or of two integers."""
    return force_int(x) ^ force_int(y)


def prim_ceil(state, x):
    """`ceil double`: the number rounded up to an integer."""
    from math import ceil

    return whole(force_float(x), ceil)


def prim_floor(state, x):
    """`floor double`: the number rounded down to an integer."""
    from math import floor

    return whole(force_float(x), floor)


def whole(x, rounded):
    """Return a float as an integer of 64 bits; what does not fit becomes the smallest, as the processor has it."""
    if x != x or not -9223372036854775808.0 <= x < 9223372036854775808.0:
        return -9223372036854775808
    return rounded(x)
