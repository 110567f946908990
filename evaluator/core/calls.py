"""Applying functions, and the coercions and comparisons that Nix's operators and builtins share.

`pos` is always the position that errors report; builtins leave it out and get that of their call (see values.py for
how builtins are written). `doing` is the line that tells in a trace what the value was wanted for; what evaluating the
value raises gets it, too, except where a list or a set is wanted, which is the habit of Nix. Everything here may
evaluate arbitrary Nix code and raise any `NixError`.
"""

import cython

from evaluator.errors import EvalError, NixError, NixTypeError, Shown, StackOverflow

if cython.compiled:
    from cython.cimports.evaluator.core.ascii import is_ascii
    from cython.cimports.evaluator.core.tables import attribute
else:
    attribute = dict.get
    is_ascii = str.isascii

    from evaluator.core.values import (
        NULL,
        ContextString,
        Func,
        Lambda,
        Path,
        PrimOp,
        Thunk,
        check_stack,
        counters,
        force_thunk,
        position_of,
        show_type,
    )


def type_error(v, wanted, pos, doing=""):
    """Return the error for a value that is not what was expected; `wanted` has its article."""
    e = NixTypeError(("expected " + wanted + " but found " + show_type(v) + ": ", Shown(v)), pos)
    e.add_trace(0 if pos < 0 else pos, doing)
    return e


def not_callable(v, pos):
    """Return the error for calling something that is no function."""
    return NixTypeError(("attempt to call something which is not a function but " + show_type(v) + ": ", Shown(v)), pos)


@cython.cfunc
def wanted_for(t: Thunk, pos: cython.longlong, doing: str) -> object:
    """Force a thunk whose errors are told what its value was wanted for."""
    if t.node is None:
        return force_thunk(t, pos)
    try:
        return force_thunk(t, pos)
    except NixError as e:
        e.settle(pos)
        e.add_trace(0 if pos < 0 else pos, doing)
        raise e


def call_primop(p, args, pos):
    """Call a builtin with exactly the arguments that it still lacks."""
    n: cython.Py_ssize_t = len(args)
    f: object = p.function
    if f is None:
        f = p.implementation()
    counters.primop_calls += 1
    if counters.calls_of_primops is not None:
        counters.calls_of_primops[p.name] = counters.calls_of_primops.get(p.name, 0) + 1
    try:
        if p.args:
            return f(p.state, *(p.args + args))
        if n == 1:
            return f(p.state, args[0])
        if n == 2:
            return f(p.state, args[0], args[1])
        if n == 3:
            return f(p.state, args[0], args[1], args[2])
        return f(p.state, *args)
    except NixError as e:
        e.leave_builtin(pos, p.name)
        raise e
    except RecursionError:
        raise StackOverflow() from None


def call_primop1(p, a, pos):
    """`call_primop` with one argument, for a builtin that takes one."""
    f: object = p.function
    if f is None or counters.calls_of_primops is not None:
        return call_primop(p, [a], pos)
    counters.primop_calls += 1
    try:
        return f(p.state, a)
    except NixError as e:
        e.leave_builtin(pos, p.name)
        raise e
    except RecursionError:
        raise StackOverflow() from None


def call_primop2(p, a, b, pos):
    """`call_primop` with two arguments, for a builtin that takes two and has none yet."""
    f: object = p.function
    if f is None or counters.calls_of_primops is not None:
        return call_primop(p, [a, b], pos)
    counters.primop_calls += 1
    try:
        return f(p.state, a, b)
    except NixError as e:
        e.leave_builtin(pos, p.name)
        raise e
    except RecursionError:
        raise StackOverflow() from None


def call(f, args, pos=-1):
    """Apply the forced value `f` to the arguments, which may be thunks. Returns a forced value."""
    i: cython.Py_ssize_t = 0
    n: cython.Py_ssize_t = len(args)
    need: cython.Py_ssize_t
    p: PrimOp
    code: Lambda
    while i < n:
        if type(f) is Func:
            code = cython.cast(Func, f).code
            if n - i >= 2 and code.arity == 2:
                f = code.enter2(f, args[i], args[i + 1], pos)
                i += 2
            else:
                f = code.enter(f, args[i], pos)
                i += 1
        elif type(f) is PrimOp:
            p = cython.cast(PrimOp, f)
            need = p.arity - len(p.args)
            if n - i < need:
                return p.partial(args[i:])
            f = call_primop(p, args if i == 0 and n == need else args[i : i + need], pos)
            i += need
        elif isinstance(f, dict):
            functor: object = attribute(f, "__functor")
            if functor is None:
                raise not_callable(f, pos)
            if type(functor) is Thunk:
                functor = force_thunk(cython.cast(Thunk, functor), pos)
            f = call2(functor, f, args[i], pos)
            i += 1
        else:
            raise not_callable(f, pos)
    return f


def call_traced(f, args, pos):
    """`call`, of which the tracer is told."""
    tracer: object = counters.tracer
    tracer.enter(pos)
    try:
        return call(f, args, pos)
    finally:
        tracer.leave()


def call1(f, a, pos=-1):
    """Apply the forced value `f` to one argument."""
    if counters.tracer is not None:
        return call_traced(f, [a], pos)
    if type(f) is Func:
        return cython.cast(Func, f).code.enter(f, a, pos)
    return call(f, [a], pos)


def call2(f, a, b, pos=-1):
    """Apply the forced value `f` to two arguments."""
    code: Lambda
    if counters.tracer is not None:
        return call_traced(f, [a, b], pos)
    if type(f) is Func:
        code = cython.cast(Func, f).code
        if code.arity == 2:
            return code.enter2(f, a, b, pos)
        f = code.enter(f, a, pos)
        if type(f) is Func:
            return cython.cast(Func, f).code.enter(f, b, pos)
        return call(f, [b], pos)
    return call(f, [a, b], pos)


def force_list(v, doing="", pos=-1):
    """Force `v` and return it; TypeError unless it is a list. Do not change the list."""
    if type(v) is Thunk:
        v = force_thunk(cython.cast(Thunk, v), pos)
    if type(v) is list:
        return cython.cast(list, v)
    raise type_error(v, "a list", pos, doing)


def force_attrs(v, doing="", pos=-1):
    """Force `v` and return it; TypeError unless it is a set. Do not change the set."""
    if type(v) is Thunk:
        v = force_thunk(cython.cast(Thunk, v), pos)
    if isinstance(v, dict):
        return cython.cast(dict, v)
    raise type_error(v, "a set", pos, doing)


def force_string(v, doing="", pos=-1):
    """Force `v` and return its text without its context; TypeError unless it is a string."""
    if type(v) is Thunk:
        v = wanted_for(cython.cast(Thunk, v), pos, doing)
    if type(v) is str:
        return cython.cast(str, v)
    if type(v) is ContextString:
        return cython.cast(ContextString, v).text
    raise type_error(v, "a string", pos, doing)


def force_string_context(v, context, doing="", pos=-1):
    """Force `v` and return its text; its context is added to the set `context`."""
    if type(v) is Thunk:
        v = wanted_for(cython.cast(Thunk, v), pos, doing)
    if type(v) is str:
        return cython.cast(str, v)
    if type(v) is ContextString:
        context.update(cython.cast(ContextString, v).context)
        return cython.cast(ContextString, v).text
    raise type_error(v, "a string", pos, doing)


def force_string_no_context(v, doing="", pos=-1):
    """Force `v` and return its text; an error if it is not a string or refers to a store path."""
    if type(v) is Thunk:
        v = wanted_for(cython.cast(Thunk, v), pos, doing)
    if type(v) is str:
        return cython.cast(str, v)
    if type(v) is ContextString:
        e: object = EvalError(
            "the string '%s' is not allowed to refer to a store path (such as '%s')" % (v.text, min(v.context)), pos
        )
        e.add_trace(0 if pos < 0 else pos, doing)
        raise e
    raise type_error(v, "a string", pos, doing)


def force_int(v, doing="", pos=-1):
    """Force `v` and return it; TypeError unless it is an integer."""
    if type(v) is Thunk:
        v = wanted_for(cython.cast(Thunk, v), pos, doing)
    if type(v) is int:
        return v
    raise type_error(v, "an integer", pos, doing)


def force_float(v, doing="", pos=-1):
    """Force `v` and return it as a float; TypeError unless it is a number."""
    if type(v) is Thunk:
        v = wanted_for(cython.cast(Thunk, v), pos, doing)
    if type(v) is float:
        return v
    if type(v) is int:
        return float(v)
    raise type_error(v, "a float", pos, doing)


def force_bool_c(v, doing, pos):
    """As `force_bool`, as a C Boolean."""
    if type(v) is Thunk:
        v = wanted_for(cython.cast(Thunk, v), pos, doing)
    if v is True:
        return 1
    if v is False:
        return 0
    raise type_error(v, "a Boolean", pos, doing)


def force_bool(v, doing="", pos=-1):
    """Force `v` and return it; TypeError unless it is a Boolean."""
    return True if force_bool_c(v, doing, pos) else False


def force_function(v, doing="", pos=-1):
    """Force `v` and return it; TypeError unless it can be called."""
    if type(v) is Thunk:
        v = wanted_for(cython.cast(Thunk, v), pos, doing)
    if type(v) is Func or type(v) is PrimOp or (isinstance(v, dict) and "__functor" in v):
        return v
    raise type_error(v, "a function", pos, doing)


def coerce(state, v, context, more=False, copy=True, doing="", pos=-1):
    """Return `v` as text, adding to the set `context` what it refers to.

    `more` also accepts numbers, Booleans, null and lists, as `toString` does. `copy` copies paths to the store (through
    `state.copy_path_to_store`), as interpolation does; otherwise they stay what they are.
    """
    if type(v) is Thunk:
        v = force_thunk(cython.cast(Thunk, v), pos)
    if type(v) is str:
        return cython.cast(str, v)
    if type(v) is ContextString:
        context.update(cython.cast(ContextString, v).context)
        return cython.cast(ContextString, v).text
    if type(v) is Path:
        if copy:
            return state.copy_path_to_store(cython.cast(Path, v).path, context)
        return cython.cast(Path, v).path
    if isinstance(v, dict):
        return coerce_attrs(state, v, context, more, copy, doing, pos)
    if more:
        if v is True:
            return "1"
        if v is False or v is NULL:
            return ""
        if type(v) is int:
            return str(v)
        if type(v) is float:
            return "%f" % v
        if type(v) is list:
            check_stack()
            return coerce_list(state, cython.cast(list, v), context, copy, doing, pos)
    raise not_coercible(v, doing, pos)


@cython.cfunc
def not_coercible(v: object, doing: str, pos: cython.longlong) -> object:
    """The error for something that is no string and can't be made one."""
    e: object = NixTypeError(("cannot coerce " + show_type(v) + " to a string: ", Shown(v)), -1)
    e.of_operator(pos)
    e.add_trace(0 if pos < 0 else pos, doing)
    return e


@cython.cfunc
def coerce_attrs(
    state: object, s: object, context: set, more: cython.bint, copy: cython.bint, doing: str, pos: cython.longlong
) -> str:
    """A set is what its `__toString` returns, or else its `outPath`."""
    check_stack()
    value: object = attribute(s, "__toString")
    if value is not None:
        where: cython.longlong = position_of(s, "__toString")
        try:
            if type(value) is Thunk:
                value = force_thunk(cython.cast(Thunk, value), where)
            value = call1(value, s, where)
        except NixError as e:
            e.add_trace(where, "while calling the `__toString` attribute")
            raise e
        try:
            return coerce(state, value, context, more, copy, doing, pos)
        except NixError as e:
            e.add_trace(where, "while using the result of the `__toString` attribute")
            raise e
    value = attribute(s, "outPath")
    if value is None:
        raise not_coercible(s, doing, pos)
    if type(value) is Thunk:
        try:
            value = force_thunk(cython.cast(Thunk, value), pos)
        except NixError as e:
            e.add_trace(position_of(s, "outPath"), "while evaluating the `outPath` attribute")
            raise e
    if type(value) is str:
        return cython.cast(str, value)
    if type(value) is ContextString:
        context.update(cython.cast(ContextString, value).context)
        return cython.cast(ContextString, value).text
    try:
        return coerce(state, value, context, more, copy, doing, pos)
    except NixError as e:
        e.add_trace(position_of(s, "outPath"), "while using the `outPath` attribute")
        raise e


@cython.cfunc
def coerce_list(state: object, items: list, context: set, copy: cython.bint, doing: str, pos: cython.longlong) -> str:
    """The elements with spaces between; Nix puts none after an empty list."""
    out: list = []
    last: cython.Py_ssize_t = len(items) - 1
    i: cython.Py_ssize_t = 0
    try:
        for x in items:
            if type(x) is Thunk:
                x = force_thunk(cython.cast(Thunk, x), pos)
            out.append(coerce(state, x, context, True, copy, "while evaluating one element of the list", pos))
            if i < last and not (type(x) is list and not x):
                out.append(" ")
            i += 1
    except NixError as e:
        e.add_trace(0 if pos < 0 else pos, doing)
        raise e
    return "".join(out)


def is_derivation(v):
    """Whether the forced value `v` is a set with `type = "derivation"`."""
    if not isinstance(v, dict):
        return False
    kind: object = attribute(v, "type")
    if kind is None:
        return False
    if type(kind) is Thunk:
        kind = force_thunk(cython.cast(Thunk, kind), position_of(v, "type"))
    if type(kind) is ContextString:
        kind = cython.cast(ContextString, kind).text
    return type(kind) is str and kind == "derivation"


def equal(x, y):
    """Whether two forced values are equal, which functions never are."""
    if type(x) is Func or type(x) is PrimOp:
        return 0
    return same(x, y)


def same(x, y):
    """As `equal`, but one and the same value is equal to itself: what Nix's comparison of pointers comes to."""
    i: cython.Py_ssize_t
    v: object
    w: object
    if x is y:
        return 1
    if type(x) is str or type(x) is ContextString:
        if type(y) is not str and type(y) is not ContextString:
            return 0
        v = cython.cast(ContextString, x).text if type(x) is ContextString else x
        w = cython.cast(ContextString, y).text if type(y) is ContextString else y
        return v == w
    if type(x) is int:
        return (type(y) is int or type(y) is float) and x == y
    if type(x) is float:
        return (type(y) is int or type(y) is float) and x == y
    if type(x) is Path:
        return type(y) is Path and cython.cast(Path, x).path == cython.cast(Path, y).path
    if type(x) is list:
        if type(y) is not list or len(cython.cast(list, x)) != len(cython.cast(list, y)):
            return 0
        check_stack()
        for i in range(len(cython.cast(list, x))):
            v = cython.cast(list, x)[i]
            w = cython.cast(list, y)[i]
            if v is w and type(v) is not Thunk:
                continue
            if type(v) is Thunk:
                v = force_thunk(cython.cast(Thunk, v), 0)
            if type(w) is Thunk:
                w = force_thunk(cython.cast(Thunk, w), 0)
            if not same(v, w):
                return 0
        return 1
    if isinstance(x, dict):
        if not isinstance(y, dict):
            return 0
        check_stack()
        return same_attrs(cython.cast(dict, x), cython.cast(dict, y))
    return 0


@cython.cfunc
@cython.exceptval(-1, check=False)
def same_attrs(x: dict, y: dict) -> cython.int:
    """`same` for sets: derivations are the same when their outPaths are."""
    v: object
    w: object
    if "type" in x and "type" in y and is_derivation(x) and is_derivation(y):
        v = x.get("outPath")
        w = y.get("outPath")
        if v is not None and w is not None:
            if type(v) is Thunk:
                v = force_thunk(cython.cast(Thunk, v), 0)
            if type(w) is Thunk:
                w = force_thunk(cython.cast(Thunk, w), 0)
            return same(v, w)
    if len(x) != len(y):
        return 0
    for k in x:
        if k not in y:
            return 0
    for k in sorted(x):
        v = x[k]
        w = y[k]
        if type(v) is Thunk:
            v = force_thunk(cython.cast(Thunk, v), 0)
        if type(w) is Thunk:
            w = force_thunk(cython.cast(Thunk, w), 0)
        if not same(v, w):
            return 0
    return 1


def values_equal(x, y):
    """Whether two values (possibly thunks) are equal, for use outside the compiled core."""
    if type(x) is Thunk:
        x = force_thunk(cython.cast(Thunk, x), 0)
    if type(y) is Thunk:
        y = force_thunk(cython.cast(Thunk, y), 0)
    return True if same(x, y) else False


def text_less(x, y):
    """Whether the bytes of `x` sort before those of `y`."""
    # Code points sort like UTF-8 except for the surrogates that stand for bytes that are not UTF-8.
    if not is_ascii(x) and not is_ascii(y):
        return x.encode("utf-8", "surrogateescape") < y.encode("utf-8", "surrogateescape")
    return x < y


def less(x, y, pos=-1):
    """Whether the forced value `x` sorts before `y`; EvalError if they cannot be compared; `pos` is the operator's."""
    v: object
    w: object
    i: cython.Py_ssize_t
    if type(x) is int and type(y) is int:
        return x < y
    if (type(x) is str or type(x) is ContextString) and (type(y) is str or type(y) is ContextString):
        v = cython.cast(ContextString, x).text if type(x) is ContextString else x
        w = cython.cast(ContextString, y).text if type(y) is ContextString else y
        return text_less(v, w)
    if (type(x) is int or type(x) is float) and (type(y) is int or type(y) is float):
        return x < y
    if type(x) is Path and type(y) is Path:
        return text_less(cython.cast(Path, x).path, cython.cast(Path, y).path)
    if type(x) is list and type(y) is list:
        check_stack()
        for i in range(len(cython.cast(list, y))):
            if i == len(cython.cast(list, x)):
                return 1
            v = cython.cast(list, x)[i]
            w = cython.cast(list, y)[i]
            if type(v) is Thunk:
                v = force_thunk(cython.cast(Thunk, v), 0)
            if type(w) is Thunk:
                w = force_thunk(cython.cast(Thunk, w), 0)
            if not same(v, w):
                try:
                    return less(v, w, pos)
                except NixError as e:
                    e.add_trace(0, "while comparing two list elements")
                    raise e
        return 0
    raise not_comparable(x, y).of_operator(pos)


def not_comparable(x, y):
    """Return the error for values without an order."""
    kind: str = show_type(x)
    other: str = show_type(y)
    if kind == other:
        text: str = "cannot compare %s with %s; values of that type are incomparable (values are " % (kind, kind)
        return EvalError((text, Shown(x), " and ", Shown(y), ")"))
    return EvalError(("cannot compare %s with %s; values are " % (kind, other), Shown(x), " and ", Shown(y)))


def force_deep(v, pos=-1):
    """Force `v` and everything in it, and return it. Cycles are fine."""
    if type(v) is Thunk:
        v = force_thunk(cython.cast(Thunk, v), pos)
    if type(v) is list or isinstance(v, dict):
        force_members(v, set())
    return v


@cython.cfunc
@cython.exceptval(-1, check=False)
def force_members(v: object, seen: set) -> cython.int:
    """Force the members of a list or set; they take the place of their thunks."""
    i: cython.Py_ssize_t = 0
    x: object
    key: object = id(v)
    if key in seen:
        return 0
    seen.add(key)
    check_stack()
    if type(v) is list:
        try:
            for i in range(len(cython.cast(list, v))):
                x = cython.cast(list, v)[i]
                if type(x) is Thunk:
                    x = force_thunk(cython.cast(Thunk, x), 0)
                    cython.cast(list, v)[i] = x
                if type(x) is list or isinstance(x, dict):
                    force_members(x, seen)
        except NixError as e:
            e.add_trace(0, "while evaluating list element at index %d" % i)
            raise e
        return 0
    for name in sorted(cython.cast(dict, v)):
        x = cython.cast(dict, v)[name]
        if type(x) is Thunk or type(x) is list or isinstance(x, dict):
            try:
                if type(x) is Thunk:
                    x = force_thunk(cython.cast(Thunk, x), 0)
                    cython.cast(dict, v)[name] = x
                if type(x) is list or isinstance(x, dict):
                    force_members(x, seen)
            except NixError as e:
                e.add_trace(position_of(v, name), "while evaluating the attribute '%s'" % name)
                raise e
    return 0
