"""Values of the Nix language, and forcing them.

A value is one of: `int` (64 bits, wrapping as in Nix 2.8), `float`, `True`/`False`, `str` (a string without context),
`ContextString`, `Path`, `list`, `dict` or its subclass `Attrs`, `Func`, `PrimOp`, and `NULL`. Inside lists, sets and
environments a value may still be a `Thunk`; nothing else may ever see one, so code outside this folder calls `force`.

Strings are text decoded from UTF-8 with surrogateescape, so that arbitrary bytes survive. Lists and sets are immutable
by agreement: a builtin returns new ones. A set's keys are in no particular order; where order can be observed it is
sorted (`sorted(attrs)`), as Nix does.

How to write a builtin (in another module, plain Python):

    def prim_hasSuffix(state, suffix, text):
        \"""`hasSuffix suffix text`: whether *text* ends in *suffix*.\"""
        end = force_string(suffix, "while evaluating the first argument passed to builtins.hasSuffix")
        return force_string(text, "while evaluating the second argument passed to builtins.hasSuffix").endswith(end)

Arguments arrive as they are, perhaps thunks: call `force` (or `calls.force_list`, `force_attrs`, `force_string`,
`force_string_no_context`, `force_int`, `force_bool`, `force_function`) and tell them what the value is wanted for, call
functions with `calls.call1`/`call2`, turn things into strings with `calls.coerce`, and return a forced value. `state`
is the `EvalState`. Raise the classes of `evaluator.errors`; an error raised without a position gets that of the call
(`errors.CALL_SITE`), which is what Nix's `pos` parameter is. Say `pos=NO_POS` where Nix throws without one. The name,
the arity and the module are entered in the table of `evaluator/builtins/registry.py`; the docstring is what `:doc`
shows. A builtin's module is imported when the builtin is first called.

This module is compiled by Cython (values.pxd gives the C types) and also runs as plain Python.
"""

import cython

from evaluator.errors import InfiniteRecursion, Interrupted, NixError, NixTypeError, Shown, StackOverflow

if cython.compiled:
    from cython.cimports.cpython.dict import PyDict_Merge, PyDict_Update
    from cython.cimports.cpython.exc import PyErr_CheckSignals
    from cython.cimports.evaluator.core.arenas import verglas_use_huge_pages
    from cython.cimports.evaluator.core.cells import (
        verglas_cell2,
        verglas_cell3,
        verglas_live_in_cells,
        verglas_pairs_live_in_cells,
    )
    from cython.cimports.evaluator.core.frames import verglas_frames_are_one_piece, verglas_new_frame
    from cython.cimports.evaluator.core.leftovers import verglas_give_back
    from cython.cimports.evaluator.core.shapes import (
        verglas_copy,
        verglas_merge,
        verglas_new_set,
        verglas_sets_have_shapes,
        verglas_settle,
        verglas_shape_for,
    )
else:
    PyDict_Update = dict.update


@cython.final
@cython.no_gc
@cython.cclass
class Frame:
    """An environment of one slot: `up` is the environment outside of it, `first` a value or thunk.

    The number of a slot says where it is: in `first`, in `second`, or behind them (uncompiled: in the list `rest`). The
    three classes are laid out alike, so that compiled code finds a slot without asking which of them it has; none
    derives from another, because a cell is of one size (cells.pxd). nodes.py reads and writes slots (`slot`,
    `set_slot`).
    """


@cython.final
@cython.no_gc
@cython.cclass
class Frame2:
    """An environment of two slots."""


@cython.final
@cython.no_gc
@cython.cclass
class FrameN:
    """An environment of more slots."""


class Node:
    """An expression whose variables are resolved; its environment is one of the three frames above."""

    def eval(self, env: Frame):
        """Return the forced value of this expression in `env`."""
        raise NotImplementedError

    def delay(self, env: Frame):
        """Return the value, or a thunk for it, without doing any work that could fail or take long."""
        return new_thunk(self, env)

    def peek(self, env: Frame):
        """Return the value if it is there already and finding it takes no evaluation, else None."""
        return None

    def test(self, env: Frame, pos):
        """Evaluate to a Boolean, as a C int; TypeError at `pos` for anything else."""
        v: object = self.eval(env)
        if v is True:
            return 1
        if v is False:
            return 0
        raise NixTypeError(("expected a Boolean but found " + show_type(v) + ": ", Shown(v)), pos)


@cython.final
@cython.no_gc
@cython.cclass
class Lazy(Node):
    """An expression that becomes a node when it is first needed; `node` is None before.

    Whoever holds one puts `node` in its place once that is there. `always_thunk` tells that the node will do no better
    than to make a thunk when it is delayed: a package set that is made again and again then costs thunks, not nodes.
    """

    def built(self):
        """Return the node, making it of the tree if that was not done yet."""
        if self.node is None:
            self.node = self.builder.build_later(self.tree, self.scope, self.name)
            self.tree = None
            self.scope = None
            self.builder = None
        return self.node

    def eval(self, env: Frame):
        return self.built().eval(env)

    def test(self, env: Frame, pos):
        return self.built().test(env, pos)

    def delay(self, env: Frame):
        # Where the node might know a better way than a thunk it is worth making when this happens a second time.
        if self.node is None and not self.delayed:
            self.delayed = not self.always_thunk
            return new_thunk(self, env)
        return self.built().delay(env)

    def peek(self, env: Frame):
        return None if self.node is None else self.node.peek(env)


class Lambda(Node):
    """What all function expressions have in common. `pos` is the position of the lambda, `name` a str or None."""

    def enter(self, f, argument, pos):
        """Evaluate the body with one argument; `pos` is that of the call."""
        raise NotImplementedError

    def enter2(self, f, a, b, pos):
        """Evaluate with two arguments; only called when `arity` is 2."""
        raise NotImplementedError


@cython.final
@cython.no_gc
@cython.cclass
class Thunk:
    """A value not yet computed: `node` and its environment. Forced: no node, and `payload` is the value."""


@cython.final
@cython.no_gc
@cython.cclass
class Func:
    """A closure: the lambda and the environment that it was made in."""

    def __repr__(self):
        return "<LAMBDA>"


_CONSUMERS = frozenset(["concatLists", "concatStringsSep", "listToAttrs"])


@cython.final
@cython.cclass
class PrimOp:
    """A builtin, or a builtin applied to some of its arguments (`args`).

    `function` is called as `function(state, *arguments)`; when it is None, `loader()` returns it at the first call.
    Where one that `consumes` its last argument is given what the one that `maps` makes, no list is made
    (nodes.mapping_of).
    """

    def __init__(self, name, arity, state=None, function=None, loader=None, args=None):
        self.name = name
        self.arity = arity
        self.state = state
        self.function = function
        self.loader = loader
        self.args = [] if args is None else args
        self.maps = name == "map"
        self.consumes = name in _CONSUMERS

    def implementation(self):
        if self.function is None:
            self.function = self.loader()
        return self.function

    def python_function(self):
        """Return the Python function behind it (for documentation)."""
        return self.implementation()

    def partial(self, more: list):
        """Return this builtin with more arguments remembered."""
        return PrimOp(self.name, self.arity, self.state, self.function, self.loader, self.args + more)

    def __repr__(self):
        return "<PRIMOP-APP>" if self.args else "<PRIMOP>"


@cython.final
@cython.no_gc
@cython.cclass
class ContextString:
    """A string that refers to store paths.

    `context` is a non-empty frozenset of Nix's context elements: `/nix/store/x` (a path), `!out!/nix/store/x.drv`
    (an output) and `=/nix/store/x.drv` (a derivation with its closure). Use `make_string` to make one.
    """

    def __init__(self, text: str, context: frozenset):
        self.text = text
        self.context = context

    def __repr__(self):
        return f"ContextString({self.text!r}, {self.context!r})"


@cython.final
@cython.no_gc
@cython.cclass
class Path:
    """A path value; `path` is absolute and canonical except for a trailing slash before an interpolation."""

    def __init__(self, path: str):
        self.path = path

    def __repr__(self):
        return f"Path({self.path!r})"


class Attrs(dict):
    """A set that knows where its attributes were defined.

    `positions` is None, or an object with `position(name) -> int` (0 when unknown) and `set_position() -> int`, or one
    of the classes below. Results that carry no positions in Nix either (mapAttrs, fromJSON ...) are plain dicts.
    """

    def __init__(self, *args, positions=None):
        dict.__init__(self, *args)
        self.positions = positions


@cython.no_gc
@cython.cclass
class Merged:
    """What `left // right` has for positions: those of `left` and of `right`, either of which knows its names."""


@cython.final
@cython.no_gc
@cython.cclass
class MergedLoosely(Merged):
    """The same where those of `left` don't know their names."""


@cython.final
@cython.no_gc
@cython.cclass
class MergedByNames(Merged):
    """The same where those of `right` don't: here, `right` is a tuple of them and the names that are theirs."""


@cython.cclass
class Null:
    """The class of NULL."""

    def __repr__(self):
        return "NULL"


class Counters:
    """What NIX_SHOW_STATS reports. Three are None unless NIX_COUNT_CALLS is on, then dicts of counts.

    `tracer` is None or is told of every call, of builtins too: it has `enter(position of the call)` and `leave()`.
    """

    def __init__(self):
        self.thunks = self.avoided = self.environments = self.environment_slots = self.list_elements = 0
        self.list_concatenations = self.sets = self.set_elements = self.updates = self.update_values_copied = 0
        self.lookups = self.primop_calls = self.function_calls = 0
        self.calls_of_primops = self.calls_of_functions = self.selections = self.tracer = None


#: The value `null`.
NULL = Null()
#: A set without attributes that nobody wrote.
_EMPTY = Attrs(positions=None)
#: Counters of this process. They and the limits below are the only mutable state of the compiled core, which would pay
#: for reaching them through an object at every call.
counters = Counters()

BLACKHOLE = object()
#: Whether `run_body` has more to do than to run the body.
slow_calls = False
show_trace = False
profiler = None
_ticks = 0
_interrupted = False
_stack_limit = 0
#: The last error of a value that needs itself, until it has come back to where that value was asked for first.
_recursion = None


def new_frame(up, first):
    """Return an environment of one slot."""
    if cython.compiled:
        return cython.cast(Frame, verglas_cell2(Frame, up, first))
    else:
        frame: Frame = Frame.__new__(Frame)
        frame.up = up
        frame.first = first
        return frame


def new_frame2(up, first, second):
    """Return an environment of two slots."""
    if cython.compiled:
        return cython.cast(Frame, verglas_cell3(Frame2, up, first, second))
    else:
        frame: Frame2 = Frame2.__new__(Frame2)
        frame.up = up
        frame.first = first
        frame.second = second
        return frame


def empty_frame(up, slots):
    """Return an environment of so many slots, which are to be filled."""
    if slots < 2:
        return new_frame(up, None)
    if slots == 2:
        return new_frame2(up, None, None)
    if cython.compiled:
        return cython.cast(Frame, verglas_new_frame(FrameN, up, slots))
    else:
        frame: FrameN = FrameN.__new__(FrameN)
        frame.up = up
        frame.first = frame.second = None
        frame.rest = [None] * (slots - 2)
        return frame


def new_func(code, env):
    """Return the closure of a lambda."""
    if cython.compiled:
        return cython.cast(Func, verglas_cell2(Func, code, env))
    else:
        f: Func = Func.__new__(Func)
        f.code = code
        f.env = env
        return f


def new_thunk(node, payload):
    """Return a thunk for `node` in the environment `payload`."""
    counters.thunks += 1
    if cython.compiled:
        return verglas_cell2(Thunk, node, payload)
    else:
        t: Thunk = Thunk.__new__(Thunk)
        t.node = node
        t.payload = payload
        return t


def force_thunk(thunk, pos):
    """Return the value of `thunk`. `pos` is where infinite recursion is reported."""
    global _ticks, _recursion
    node: Node = thunk.node
    if node is None:
        if thunk.payload is BLACKHOLE:
            _recursion = InfiniteRecursion(pos, thunk)
            raise _recursion
        return thunk.payload
    _ticks += 1
    if _ticks > 2000:
        poll()
    if cython.compiled:
        # The address of a local tells how much of this thread's stack is used.
        mark: cython.char = 0
        if cython.cast(cython.size_t, cython.address(mark)) < _stack_limit:
            raise StackOverflow()
    # What `map` makes has its argument where others have an environment (nodes.Applied).
    env: Frame
    if cython.compiled:
        env = cython.cast(Frame, thunk.payload)
    else:
        env = thunk.payload
    value: object = None
    thunk.node = None
    thunk.payload = BLACKHOLE
    try:  # no `except`: it would save and restore the state of exceptions every time
        value = node.eval(env)
    finally:
        if value is None:  # failed, and may be asked for again
            thunk.node = node
            thunk.payload = env
            if _recursion is not None and _recursion.start is thunk:
                _recursion.add_trace(0, "entering the infinite recursion")
                _recursion = None
    thunk.payload = value
    return value


def force(value, pos=-1):
    """Return `value`, evaluated if it was a thunk. Errors as the expression behind it; `pos` as in `force_thunk`."""
    if type(value) is Thunk:
        return force_thunk(value, pos)
    return value


def is_forced(value):
    """Whether `value` needs no evaluation any more."""
    if type(value) is not Thunk:
        return True
    t: Thunk = value
    return t.node is None and t.payload is not BLACKHOLE


def is_running(value):
    """Whether `value` is being evaluated right now, further out."""
    if type(value) is not Thunk:
        return False
    t: Thunk = value
    return t.node is None and t.payload is BLACKHOLE


def peek(value):
    """Return `value` or what it was forced to; a thunk if it was not forced yet. Never evaluates anything."""
    if type(value) is Thunk:
        t: Thunk = value
        if t.node is None and t.payload is not BLACKHOLE:
            return t.payload
    return value


def make_string(text, context):
    """Return a string value: a `ContextString` if `context` (an iterable of context elements, or None) is not empty."""
    if not context:
        return text
    s: ContextString = ContextString.__new__(ContextString)
    s.text = text
    s.context = context if type(context) is frozenset else frozenset(context)
    return s


def make_path(path):
    """Return a path value."""
    p: Path = Path.__new__(Path)
    p.path = path
    return p


def position_of(attrs, name):
    """Return the position at which attribute `name` of the set `attrs` was defined, 0 if unknown."""
    if type(attrs) is not Attrs or cython.cast(Attrs, attrs).positions is None:
        return 0
    return position_in(cython.cast(Attrs, attrs).positions, name)


@cython.cfunc
@cython.exceptval(-2)
def position_in(where: object, name: str) -> cython.longlong:
    """As `position_of`, of what a set has for positions; 0 if they know their names and `name` is none of them."""
    found: cython.longlong
    m: Merged
    right: object
    while is_merged(where):
        m = cython.cast(Merged, where)
        right = m.right
        if type(where) is MergedByNames:
            positions, names = right
            where = positions if name in names else m.left
        else:
            found = position_in(right, name) if is_merged(right) else right.position(name)
            if found:
                return found
            where = m.left
    return 0 if where is None else where.position(name)


def is_merged(positions):
    """Whether these are the positions of a merged set."""
    kind: object = type(positions)
    return kind is Merged or kind is MergedLoosely or kind is MergedByNames


def new_merged(kind, left, right):
    """Return one of the three classes of positions of merged sets."""
    if cython.compiled:
        return verglas_cell2(kind, left, right)
    else:
        m: Merged = kind.__new__(kind)
        m.left = left
        m.right = right
        return m


def merged_positions(left, right):
    """Return the `positions` of `left // right`.

    Most know their own names. For others the set `right` itself is kept, which would not be needed any more.
    """
    a: object = cython.cast(Attrs, left).positions if type(left) is Attrs else None
    b: object = cython.cast(Attrs, right).positions if type(right) is Attrs else None
    if a is None and b is None:
        return None
    if knows_names(b):
        return new_merged(Merged if knows_names(a) else MergedLoosely, a, b)
    return new_merged(MergedByNames, a, (b, right))


@cython.cfunc
def knows_names(positions: object) -> cython.bint:
    """Whether these positions tell which names are theirs: they give 0 for others."""
    if is_merged(positions):
        return type(positions) is Merged
    return positions is not None and positions.knows_names


def attribute_position(attrs, name):
    """Return `position_of(attrs, name)`; for code outside the compiled core."""
    return position_of(attrs, name)


def set_position(attrs):
    """Return the position of the set's own expression, 0 if it has none."""
    if type(attrs) is Attrs:
        where: object = cython.cast(Attrs, attrs).positions
        if where is not None and not is_merged(where):
            return where.set_position()
    return 0


def new_attrs(positions):
    """Return an empty set with positions."""
    d: Attrs = Attrs.__new__(Attrs)
    d.positions = positions
    counters.sets += 1
    return d


def shape_of(names):
    """Return the shape of sets with these names, which differ; 0 where there is none. See shapes.pxd."""
    return verglas_shape_for(names) if cython.compiled else 0


def shaped_set(shape, positions):
    """Return a set of this shape without its values: `tables.put` and `tables.filled` are to follow."""
    return cython.cast(Attrs, verglas_new_set(Attrs, shape, positions))


def merged_set(left, right, positions):
    """Return `left // right`, neither of which is empty."""
    if cython.compiled:
        merged: object = verglas_merge(Attrs, left, right, positions)
        if merged is not None:
            return merged
    r: Attrs = Attrs.__new__(Attrs)
    r.positions = positions
    if cython.compiled and len(cython.cast(dict, right)) > len(cython.cast(dict, left)):
        # What comes first is copied in one piece, so let that be the larger one.
        verglas_copy(r, right)
        PyDict_Merge(r, left, False)
    else:
        copy_set(r, left)
        PyDict_Update(r, right)
    return settled(r)


def copy_set(set, source):
    """Put the attributes of `source` into an empty set."""
    if cython.compiled:
        verglas_copy(set, source)
    else:
        set.update(source)
    return 0


def settled(set):
    """Return a new set, which is to stay as it is: with less memory if there are others with the same names."""
    if not set:
        return _EMPTY
    if cython.compiled:
        verglas_settle(set)
    return set


class KnownPositions:
    """Positions for `Attrs` given one by one: a dict from name to position."""

    knows_names = False

    def __init__(self, where: dict):
        self.where = where

    def position(self, name):
        return self.where.get(name, 0)

    def set_position(self):
        return 0


class OnePosition:
    """One position for all attributes of an `Attrs`, whose `names` these are; None where there are too many."""

    __slots__ = ("names", "where")

    def __init__(self, where, names):
        self.where = where
        self.names = names

    @property
    def knows_names(self):
        return self.names is not None

    def position(self, name):
        return self.where if self.names is None or name in self.names else 0

    def set_position(self):
        return 0


def run_body(code, env, pos):
    """Evaluate the body of a function in its frame `env`; `pos` is that of the call."""
    global _ticks
    counters.function_calls += 1
    _ticks += 1
    if _ticks > 2000:
        poll()
    if cython.compiled:
        mark: cython.char = 0
        if cython.cast(cython.size_t, cython.address(mark)) < _stack_limit:
            raise StackOverflow()
    if slow_calls:
        return run_body_slow(code, env, pos)
    body: Node = code.body
    if type(body) is Lazy:
        body = code.body = cython.cast(Lazy, body).built()
    return body.eval(env)


def run_body1(code, up, a, pos):
    """`run_body` in a new environment of one slot."""
    counters.environments += 1
    counters.environment_slots += 1
    return run_body(code, new_frame(up, a), pos)


def run_body2(code, up, a, b, pos):
    """`run_body` in a new environment of two slots, which counts as two environments."""
    counters.environments += 2
    counters.environment_slots += 2
    return run_body(code, new_frame2(up, a, b), pos)


def run_body_slow(code, env, pos):
    """`run_body` when calls are counted, profiled or traced."""
    if counters.calls_of_functions is not None:
        counters.calls_of_functions[code] = counters.calls_of_functions.get(code, 0) + 1
    if profiler is not None:
        profiler.enter(code, pos)
    try:
        return code.body.eval(env)
    except NixError as e:
        if show_trace:
            e.add_trace(code.pos, "while calling " + ("'" + code.name + "'" if code.name else "anonymous lambda"))
            if pos > 0:
                e.add_trace(pos, "from call site")
        raise e
    finally:
        if profiler is not None:
            profiler.leave()


def observe_calls(trace=False, count=False, profile=None, tracer=None):
    """Switch what is done at every call of a function.

    `trace`: errors tell which functions they passed (--show-trace). `count`: count calls of functions and builtins and
    selections of attributes (NIX_COUNT_CALLS). `profile`: an object with `enter(lambda, position of the call)` and
    `leave()`, or None. `tracer`: see `Counters`; it is heeded in what is parsed from now on.
    """
    global slow_calls, show_trace, profiler
    show_trace = trace
    profiler = profile
    counters.calls_of_functions = {} if count else None
    counters.calls_of_primops = {} if count else None
    counters.selections = {} if count else None
    counters.tracer = tracer
    slow_calls = bool(trace or count or profile is not None)


def poll():
    """Let other threads and signal handlers run; raise `Interrupted` if somebody asked for it."""
    global _ticks, _interrupted
    _ticks = 0
    if cython.compiled:
        with cython.nogil:
            verglas_give_back()
        PyErr_CheckSignals()
    if _interrupted:
        _interrupted = False
        raise Interrupted


def interrupt():
    """Make the running evaluation stop with `Interrupted` soon. May be called from any thread or a signal handler."""
    global _interrupted
    _interrupted = True


def check_stack():
    """Raise `StackOverflow` when this thread's stack is nearly used up. For recursion that forces nothing."""
    if cython.compiled:
        mark: cython.char = 0
        if cython.cast(cython.size_t, cython.address(mark)) < _stack_limit:
            raise StackOverflow()
    return 0


def set_stack_size(size):
    """Tell how many bytes of stack the calling thread may still use for evaluation; 0 for no limit.

    To be called at the bottom of the thread that evaluates. Compiled code only; plain Python has its recursion limit.
    """
    global _stack_limit
    if cython.compiled:
        mark: cython.char = 0
        here: cython.size_t = cython.cast(cython.size_t, cython.address(mark))
        room: cython.size_t = size
        _stack_limit = here - room if room and room < here else 0
        count_no_c_calls()  # noqa: F821  the header has it


def get_counters():
    """Return the `Counters` of this process."""
    return counters


def show_type(v):
    """Return what Nix calls the type of a forced value in error messages, with article."""
    t: object = type(v)
    if t is str:
        return "a string"
    if t is ContextString:
        return "a string with context"
    if t is bool:
        return "a Boolean"
    if t is int:
        return "an integer"
    if t is float:
        return "a float"
    if isinstance(v, dict):
        return "a set"
    if t is list:
        return "a list"
    if t is Path:
        return "a path"
    if t is Func:
        return "a function"
    if t is PrimOp:
        if v.args:
            return "the partially applied built-in function '" + v.name + "'"
        return "the built-in function '" + v.name + "'"
    if t is Thunk:
        return "a thunk"
    return "null"


if cython.compiled:
    verglas_live_in_cells(Thunk, BLACKHOLE, Func, Frame, Frame2)
    verglas_pairs_live_in_cells(Merged)
    verglas_pairs_live_in_cells(MergedLoosely)
    verglas_pairs_live_in_cells(MergedByNames)
    verglas_frames_are_one_piece(FrameN)
    verglas_sets_have_shapes(Attrs)
    verglas_use_huge_pages()
# Names with C types are invisible to Python code unless they are entered here.
globals()["NULL"] = NULL
