"""What makes two values differ, for the error of a failed `assert a == b`.

It follows the comparison of `calls.same` step by step, and says where that ended. `Assert` loads it when an
assertion fails.
"""

from evaluator.core.calls import is_derivation, values_equal
from evaluator.core.values import NULL, ContextString, Func, Path, PrimOp, attribute_position, force, show_type
from evaluator.errors import NO_POS, NixAssertionError, NixError, Shown


def difference(one, two, pos):
    """Return the error that tells how two values differ, None if they do not; `pos` is the position of the `==`.

    Evaluates what the comparison evaluated, and raises what that raises.
    """
    try:
        _expect_equal(force(one), force(two), pos, False)
    except NixAssertionError as error:
        return error
    return None


def _kind(value):
    if isinstance(value, (str, ContextString)):
        return "string"
    return "function" if isinstance(value, (Func, PrimOp)) else show_type(value)


def _expect_equal(one, two, pos, inside):
    """Raise the error; functions that are members of something may be equal by being the same."""
    if one is two and (inside or not isinstance(one, (Func, PrimOp))):
        return
    if type(one) in {int, float} and type(two) in {int, float}:
        if not values_equal(one, two):
            raise _unequal(one, two, "with value")
        return
    kind = _kind(one)
    if kind != _kind(two):
        raise _unequal(one, two, "of value")
    if kind == "function":
        raise _error("distinct functions and immediate comparisons of identical functions compare as unequal")
    if isinstance(one, list) and isinstance(two, list):
        _expect_equal_lists(one, two, pos)
    elif isinstance(one, dict) and isinstance(two, dict):
        _expect_equal_attrs(one, two, pos)
    elif one is not NULL and not values_equal(one, two):
        name = {str: "string", ContextString: "string", bool: "boolean", Path: "path"}[type(one)]
        raise _error(f"{name} '", Shown(one), f"' is not equal to {name} '", Shown(two), "'")


def _unequal(one, two, link):
    middle = f"' is not equal to {show_type(two)} {link} '"
    return _error(f"{show_type(one)} {link} '", Shown(one), middle, Shown(two), "'")


def _error(*message):
    return NixAssertionError(message, NO_POS)


def _expect_equal_lists(one, two, pos):
    if len(one) != len(two):
        raise _error(
            f"list of size '{len(one)}' is not equal to list of size '{len(two)}', left hand side is '",
            Shown(one),
            "', right hand side is '",
            Shown(two),
            "'",
        )
    for index, (left, right) in enumerate(zip(one, two, strict=True)):
        try:
            _expect_equal(force(left), force(right), pos, True)
        except NixError as error:
            error.add_trace(pos, f"while comparing list element {index}")
            raise


def _expect_equal_attrs(one, two, pos):
    if is_derivation(one) and is_derivation(two) and "outPath" in one and "outPath" in two:
        try:
            _expect_equal(force(one["outPath"]), force(two["outPath"]), pos, True)
        except NixError as error:
            error.add_trace(pos, "while comparing a derivation by its 'outPath' attribute")
            raise
        return
    if len(one) != len(two):
        left = "attribute names of attribute set '"
        raise _error(left, Shown(one), "' differs from attribute set '", Shown(two), "'")
    for name in sorted(one):
        if name not in two:
            raise _error(f"attribute name '{name}' is contained in '", Shown(one), "', but not in '", Shown(two), "'")
        try:
            _expect_equal(force(one[name]), force(two[name]), pos, True)
        except NixError as error:
            for attrs, side in ((two, "right"), (one, "left")):
                where = attribute_position(attrs, name)
                if where:
                    error.add_trace(where, f"where {side} hand side is")
            error.add_trace(pos, f"while comparing attribute '{name}'")
            raise
