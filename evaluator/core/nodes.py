"""The nodes that expressions are made of, and how each is evaluated.

scope.py makes them from syntax trees. An environment is a `values.Frame`, of which that of a `with` has one slot, the
set. Slots hold values or thunks, and are overwritten by what thunks turn out to be.

Three ways to ask a node: `eval` forces it, `delay` makes a thunk or, where that is as cheap, the value itself, and
`test` gives a C Boolean. `peek` looks whether the value is there already.
"""

import cython

from evaluator.core.values import OnePosition
from evaluator.errors import (
    EvalError,
    NixAssertionError,
    NixError,
    NixTypeError,
    UndefinedVarError,
    best_matches,
)
from evaluator.names import show_name

if cython.compiled:
    from cython.cimports.evaluator.core.forced import replace
    from cython.cimports.evaluator.core.frames import verglas_held, verglas_hold, verglas_place
    from cython.cimports.evaluator.core.tables import attribute, begin, filled, is_pattern, put
else:
    attribute = dict.get

    from evaluator.core.calls import (
        call,
        call2,
        call_primop1,
        call_primop2,
        call_traced,
        coerce,
        equal,
        force_attrs,
        force_string_no_context,
        less,
        type_error,
    )
    from evaluator.core.values import (
        BLACKHOLE,
        NULL,
        Attrs,
        ContextString,
        Frame,
        Func,
        Lambda,
        Lazy,
        Merged,
        MergedByNames,
        Node,
        Path,
        PrimOp,
        Thunk,
        counters,
        empty_frame,
        force_thunk,
        is_merged,
        make_path,
        make_string,
        merged_positions,
        merged_set,
        new_frame,
        new_frame2,
        new_func,
        new_merged,
        new_thunk,
        position_of,
        run_body,
        run_body1,
        run_body2,
        shape_of,
        shaped_set,
        show_type,
    )


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def place(index: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """What `slot` and `set_slot` call the slot of this number: where it is in an environment."""
    return verglas_place(index) if cython.compiled else index


@cython.cfunc
@cython.inline
def slot(frame: Frame, at: cython.Py_ssize_t) -> object:
    """What a slot of an environment holds; None while the environment is being filled."""
    if cython.compiled:
        return verglas_held(frame, at)
    else:
        if at == 0:
            return frame.first
        return frame.second if at == 1 else frame.rest[at - 2]


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def set_slot(frame: Frame, at: cython.Py_ssize_t, value: object) -> cython.void:
    """Put a value into a slot of an environment."""
    if cython.compiled:
        verglas_hold(frame, at, value)
    elif at == 0:
        frame.first = value
    elif at == 1:
        frame.second = value
    else:
        frame.rest[at - 2] = value


@cython.cfunc
@cython.inline
def outer(frame: Frame, level: cython.int) -> Frame:
    """The environment that is so many levels further out."""
    while level >= 3:
        frame = frame.up.up.up
        level -= 3
    if level == 2:
        return frame.up.up
    return frame.up if level == 1 else frame


@cython.cfunc
@cython.inline
def seen_through(x: object) -> object:
    """The value of a thunk that was forced already; anything else as it is."""
    if type(x) is Thunk and cython.cast(Thunk, x).node is None and cython.cast(Thunk, x).payload is not BLACKHOLE:
        return cython.cast(Thunk, x).payload
    return x


def evaluate(node: Node, values: list):
    """Return the forced value of a whole text, whose outermost environment has these values in its slots."""
    frame: Frame = empty_frame(None, len(values))
    i: cython.Py_ssize_t
    for i in range(len(values)):
        set_slot(frame, place(i), values[i])
    return node.eval(frame)


@cython.final
@cython.no_gc
@cython.cclass
class Const(Node):
    """A value written in the text, or one of the global names."""

    value: object

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        return self.value

    @cython.cfunc
    def delay(self, env: Frame) -> object:
        counters.avoided += 1
        return self.value

    @cython.cfunc
    def peek(self, env: Frame) -> object:
        return self.value


@cython.final
@cython.no_gc
@cython.cclass
class GlobalThunk(Node):
    """A global name whose value is still a thunk."""

    value: object
    pos: cython.longlong

    def __init__(self, value, pos):
        self.value = value
        self.pos = pos

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        if type(self.value) is Thunk:
            self.value = force_thunk(cython.cast(Thunk, self.value), self.pos)
        return self.value

    @cython.cfunc
    def delay(self, env: Frame) -> object:
        return self.value


@cython.final
@cython.no_gc
@cython.cclass
class Traced(Node):
    """A node whose errors get a line of the trace, which says what it is: `text`, at `pos`.

    Such nodes exist only where traces are wanted (--show-trace): others need not pay for them.
    """

    node: Node
    pos: cython.longlong
    text: str

    def __init__(self, node, pos, text):
        self.node = node
        self.pos = pos
        self.text = text

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        try:
            return self.node.eval(env)
        except NixError as e:
            e.settle(self.pos)
            e.add_trace(self.pos, self.text)
            raise e

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        try:
            return self.node.test(env, pos)
        except NixError as e:
            e.settle(self.pos)
            e.add_trace(self.pos, self.text)
            raise e

    @cython.cfunc
    def peek(self, env: Frame) -> object:
        return self.node.peek(env)


@cython.final
@cython.no_gc
@cython.cclass
class Var0(Node):
    """A variable of the innermost environment."""

    at: cython.Py_ssize_t
    pos: cython.longlong

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        x: object = slot(env, self.at)
        if type(x) is Thunk:
            if cython.cast(Thunk, x).node is None and cython.cast(Thunk, x).payload is not BLACKHOLE:
                x = cython.cast(Thunk, x).payload
            else:
                x = force_thunk(cython.cast(Thunk, x), self.pos)
            set_slot(env, self.at, x)
        return x

    @cython.cfunc
    def delay(self, env: Frame) -> object:
        x: object = slot(env, self.at)
        if x is None:  # the scope is being filled
            return new_thunk(self, env)
        counters.avoided += 1
        return seen_through(x)

    @cython.cfunc
    def peek(self, env: Frame) -> object:
        x: object = slot(env, self.at)
        if type(x) is Thunk:
            if cython.cast(Thunk, x).node is not None or cython.cast(Thunk, x).payload is BLACKHOLE:
                return None
            x = cython.cast(Thunk, x).payload
            set_slot(env, self.at, x)
        return x


@cython.final
@cython.no_gc
@cython.cclass
class Var(Node):
    """A variable `level` environments further out."""

    level: cython.int
    at: cython.Py_ssize_t
    pos: cython.longlong

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        env = outer(env, self.level)
        x: object = slot(env, self.at)
        if type(x) is Thunk:
            if cython.cast(Thunk, x).node is None and cython.cast(Thunk, x).payload is not BLACKHOLE:
                x = cython.cast(Thunk, x).payload
            else:
                x = force_thunk(cython.cast(Thunk, x), self.pos)
            set_slot(env, self.at, x)
        return x

    @cython.cfunc
    def delay(self, env: Frame) -> object:
        x: object = slot(outer(env, self.level), self.at)
        if x is None:
            return new_thunk(self, env)
        counters.avoided += 1
        return seen_through(x)

    @cython.cfunc
    def peek(self, env: Frame) -> object:
        env = outer(env, self.level)
        x: object = slot(env, self.at)
        if type(x) is Thunk:
            if cython.cast(Thunk, x).node is not None or cython.cast(Thunk, x).payload is BLACKHOLE:
                return None
            x = cython.cast(Thunk, x).payload
            set_slot(env, self.at, x)
        return x


@cython.final
@cython.no_gc
@cython.cclass
class WithVar(Node):
    """A variable that one of the enclosing `with`s must define: that `level` environments further out, or one of the
    others, of which `next` is the innermost, seen from there.

    It is mostly the same set that is asked again: `without` is the last one that lacked the name, `having` the last one
    that has it, as `value`.
    """

    name: str
    level: cython.int
    next: "WithVar"
    pos: cython.longlong
    without: object
    having: object
    value: object

    @cython.cfunc
    def find(self, env: Frame) -> object:
        at: WithVar = self
        while at is not None:
            env = outer(env, at.level)
            x: object = env.first
            if type(x) is Thunk:
                x = force_thunk(cython.cast(Thunk, x), self.pos)
                env.first = x
            if x is at.having:
                return at.value
            if x is not at.without:
                if not isinstance(x, dict):
                    raise type_error(x, "a set", 0, "while evaluating the first subexpression of a with expression")
                v: object = attribute(x, self.name)
                if v is not None:
                    if counters.selections is not None:
                        count_selection(x, self.name)
                    else:
                        at.having = x
                        at.value = v
                    return v
                at.without = x
            at = at.next
        raise UndefinedVarError("undefined variable '%s'" % self.name, self.pos)

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        v: object = self.find(env)
        if type(v) is Thunk:
            if cython.cast(Thunk, v).node is None and cython.cast(Thunk, v).payload is not BLACKHOLE:
                return cython.cast(Thunk, v).payload
            return force_thunk(cython.cast(Thunk, v), self.pos)
        return v

    @cython.cfunc
    def delay(self, env: Frame) -> object:
        e: Frame = env
        at: WithVar = self
        while at is not None:
            e = outer(e, at.level)
            x: object = e.first
            if x is not at.without:
                if not isinstance(x, dict):
                    return new_thunk(self, env)
                v: object = attribute(x, self.name)
                if v is not None:
                    counters.avoided += 1
                    return v
                at.without = x
            at = at.next
        return new_thunk(self, env)


def count_selection(attrs, name):
    """Count that an attribute was selected, by the position of its definition."""
    where: object = position_of(attrs, name)
    counters.selections[where] = counters.selections.get(where, 0) + 1


@cython.cfunc
def missing(s: object, name: str, pos: cython.longlong) -> object:
    """The error for an attribute that the set does not have, or for something that is no set."""
    if isinstance(s, dict):
        return EvalError("attribute '%s' missing" % show_name(name), -1, best_matches(s, name)).of_operator(pos)
    e: object = type_error(s, "a set", pos, "while selecting an attribute")
    return e.of_operator(pos)


@cython.cfunc
def force_selected(t: Thunk, s: object, name: str, pos: cython.longlong) -> object:
    """Force an attribute of `s`; errors tell where it was defined and where it was selected."""
    where: cython.longlong
    try:
        return force_thunk(t, -1)
    except NixError as e:
        where = position_of(s, name)
        e.settle(where if where else pos)
        selected(e, where, name, pos, name)
        raise e


@cython.cfunc
def selected(e: object, where: cython.longlong, found: object, pos: cython.longlong, wanted: object) -> object:
    """Note that an error passed a selection at `pos` of the path `wanted`, of which `found` is defined at `where`."""
    if where:
        e.add_trace(where, "from the definition of '%s'" % found)
    e.add_trace(pos, "while evaluating the attribute '%s'" % wanted)
    return e


@cython.final
@cython.no_gc
@cython.cclass
class Select1(Node):
    """`e.name`"""

    e: Node
    name: str
    pos: cython.longlong

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        s: object = self.e.eval(env)
        t: Thunk
        counters.lookups += 1
        if isinstance(s, dict):
            v: object = attribute(s, self.name)
            if v is not None:
                if counters.selections is not None:
                    count_selection(s, self.name)
                if type(v) is Thunk:
                    t = cython.cast(Thunk, v)
                    if t.node is None and t.payload is not BLACKHOLE:
                        v = t.payload
                    else:
                        v = force_selected(t, s, self.name, self.pos)
                    if cython.compiled:
                        replace(s, self.name, v)
                return v
        e: object = missing(s, self.name, self.pos)
        raise selected(e, 0, "", self.pos, self.name)

    @cython.cfunc
    def delay(self, env: Frame) -> object:
        """An attribute of a set that is there needs no new thunk; but selections are counted when they happen."""
        s: object = self.e.peek(env)
        if isinstance(s, dict):
            v: object = attribute(s, self.name)
            if v is not None and counters.selections is None:
                counters.avoided += 1
                return seen_through(v)
        return new_thunk(self, env)

    @cython.cfunc
    def peek(self, env: Frame) -> object:
        s: object = self.e.peek(env)
        t: Thunk
        if isinstance(s, dict):
            v: object = attribute(s, self.name)
            if type(v) is Thunk:
                t = cython.cast(Thunk, v)
                if t.node is None and t.payload is not BLACKHOLE:
                    return t.payload
                return None
            return v
        return None


@cython.cfunc
def name_of(p: object, env: Frame, where: cython.longlong) -> str:
    """Evaluate a dynamic attribute name in a selection."""
    v: object = cython.cast(Node, p).eval(env)
    return cython.cast(str, v) if type(v) is str else dynamic_name(v, where)


@cython.cfunc
def dynamic_name(v: object, where: cython.longlong) -> str:
    """An attribute name that is no plain string, or none at all."""
    return force_string_no_context(v, "while evaluating an attribute name", where)


@cython.final
@cython.no_gc
@cython.cclass
class Select(Node):
    """`e.path` and `e.path or default`; the path has str and nodes."""

    e: Node
    path: list
    default: Node
    pos: cython.longlong
    where: list
    show: object

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        s: object = self.e.eval(env)
        v: object
        name: str
        holder: object = None
        held: str = None
        found: cython.Py_ssize_t = 0
        try:
            for p in self.path:
                counters.lookups += 1
                name = cython.cast(str, p) if type(p) is str else name_of(p, env, self.where[found])
                if type(s) is Thunk:
                    s = force_thunk(cython.cast(Thunk, s), -1)
                v = attribute(s, name) if isinstance(s, dict) else None
                if v is None:
                    if self.default is not None:
                        return self.default.eval(env)
                    raise missing(s, name, self.pos)
                if counters.selections is not None:
                    count_selection(s, name)
                holder = s
                held = name
                found += 1
                s = v
            if type(s) is Thunk:
                s = force_thunk(cython.cast(Thunk, s), -1)
                if cython.compiled:
                    replace(holder, held, s)
            return s
        except NixError as e:
            where: cython.longlong = 0 if holder is None else position_of(holder, held)
            e.settle(where if where else self.pos)
            selected(e, where, self.shown(found, env), self.pos, self.shown(len(self.path), env))
            raise e

    @cython.cfunc
    def shown(self, count: cython.Py_ssize_t, env: Frame) -> object:
        """Return the beginning of the attribute path for a trace: `count` names, computed ones as what they are."""
        out: list = []
        i: cython.Py_ssize_t
        for i in range(count):
            p: object = self.path[i]
            if type(p) is not str:
                try:
                    p = name_of(p, env, 0)
                except NixError:
                    out.append(self.show(i))
                    continue
            out.append(p)
        return ".".join(out)


@cython.final
@cython.no_gc
@cython.cclass
class Has(Node):
    """`e ? path`"""

    e: Node
    path: list
    where: list
    single: cython.bint
    name: str
    computed: Node

    def __init__(self, e, path, where):
        self.e = e
        self.path = path
        self.where = where
        self.single = len(path) == 1
        self.name = self.computed = None
        if type(path[0]) is str:
            self.name = path[0]
        else:
            self.computed = path[0]

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        return True if self.test(env, 0) else False

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        s: object = self.e.eval(env)
        name: str = self.name
        i: cython.Py_ssize_t = 0
        if self.single:
            if name is None:
                v: object = self.computed.eval(env)
                name = cython.cast(str, v) if type(v) is str else dynamic_name(v, self.where[i])
            return isinstance(s, dict) and attribute(s, name) is not None
        for p in self.path:
            if type(s) is Thunk:
                s = force_thunk(cython.cast(Thunk, s), 0)
            name = cython.cast(str, p) if type(p) is str else name_of(p, env, self.where[i])
            i += 1
            if not isinstance(s, dict):
                return 0
            s = attribute(s, name)
            if s is None:
                return 0
        return 1


@cython.cfunc
def member(nodes: list, i: cython.Py_ssize_t) -> Node:
    """Node `i` of a list of nodes."""
    node: Node = cython.cast(Node, nodes[i])
    if type(node) is Lazy and cython.cast(Lazy, node).node is not None:
        node = nodes[i] = cython.cast(Lazy, node).node
    return node


@cython.final
@cython.no_gc
@cython.cclass
class ListNode(Node):
    """`[ ... ]`"""

    items: list

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        n: cython.Py_ssize_t = len(self.items)
        i: cython.Py_ssize_t
        out: list = [None] * n
        counters.list_elements += n
        for i in range(n):
            out[i] = member(self.items, i).delay(env)
        return out


#: After so many questions for positions a set has a table of them.
_FEW = 4


@cython.cclass
class SetNode(Node):
    """What the two kinds of set expressions share: names in the order of the text, their nodes and positions.

    `from_outer[i]` tells that node i belongs to the other environment: for a recursive set the one outside of it, for a
    plain set the frame that holds what `inherit (from)` inherits from. `where` gives their positions one by one.
    `dynamic` has (name node, node, pos). `empty` is the one value of `{ }`. `shape` is that of the sets (shapes.pxd).
    For more names than a shape has, `pattern` is a dict with which sets begin, from the second one on. In either case
    values are put where they belong, and no name is looked for.
    """

    names: list
    nodes: list
    from_outer: list
    where: object
    froms: list
    dynamic: list
    pos: cython.longlong
    state: object
    table: dict
    asked: cython.int
    empty: Attrs
    shape: cython.size_t
    pattern: dict
    evaluations: cython.int
    pairs: object

    def __init__(self, names, nodes, from_outer, where, froms, dynamic, pos, state):
        self.names = names
        self.nodes = nodes
        self.from_outer = from_outer
        self.where = where
        self.froms = froms
        self.dynamic = dynamic
        self.pos = pos
        self.state = state
        self.table = None
        self.asked = 0
        self.empty = None
        self.shape = 0
        self.pattern = None
        self.evaluations = 0
        self.pairs = None

    @cython.cfunc
    def new_set(self) -> Attrs:
        """Return a set without its values. Where `begins_with_names` says so, it has its names already."""
        if self.evaluations == 0:
            self.evaluations = 1
            if self.dynamic is None:
                self.shape = shape_of(self.names)
        elif self.evaluations == 1:
            self.evaluations = 2
            if self.shape == 0 and self.dynamic is None and len(self.names):
                pattern: dict = dict.fromkeys(self.names)
                if cython.compiled and is_pattern(pattern, len(self.names)):
                    self.pattern = pattern
        if cython.compiled and self.shape:
            return shaped_set(self.shape, self)
        d: Attrs = Attrs.__new__(Attrs)
        d.positions = self
        if cython.compiled and self.pattern is not None:
            begin(d, self.pattern)
        return d

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def begins_with_names(self) -> cython.bint:
        return self.shape != 0 or self.pattern is not None

    @property
    def knows_names(self):
        return True

    def position(self, name):
        """Return where attribute `name` is defined in this expression, 0 if it is not."""
        if self.table is None:
            if self.asked < _FEW:  # a table of thousands of names takes longer than looking through them
                self.asked += 1
                return self.where[self.names.index(name)] if name in self.names else 0
            self.table = dict(zip(self.names, self.where, strict=True))
        return self.table.get(name, 0)

    def set_position(self):
        return self.pos

    def pair_positions(self, names):
        """Return the positions of a set that `listToAttrs` makes of what this expression gives; the last are kept."""
        if self.pairs is None or self.pairs.names != names:
            where: object = self.position("value")
            self.pairs = OnePosition(where, names if where else None)
        return self.pairs

    @cython.cfunc
    def add_dynamic(self, d: Attrs, env: Frame) -> object:
        """Evaluate the dynamic names; their attributes must be new."""
        where: dict = {}
        for name_node, node, pos in self.dynamic:
            v: object = cython.cast(Node, name_node).eval(env)
            if v is NULL:
                continue
            name: str = force_string_no_context(v, "while evaluating the name of a dynamic attribute", pos)
            if name in d:
                found: object = where.get(name) or position_of(d, name)
                raise EvalError(
                    "dynamic attribute '%s' already defined at %s" % (name, self.state.positions.show(found)), pos
                )
            d[name] = cython.cast(Node, node).delay(env)
            where[name] = pos
        if where:
            d.positions = WithDynamic(d.positions, where)
        return d


class WithDynamic:
    """Positions of a set that has dynamic attributes besides those of `static`."""

    knows_names = True

    def __init__(self, static, where):
        self.static = static
        self.where = where
        if is_merged(static):
            self.knows_names = False

    def position(self, name):
        found = self.where.get(name)
        if found is not None:
            return found
        holder: Attrs = Attrs(positions=self.static)
        return position_of(holder, name)

    def set_position(self):
        return 0 if is_merged(self.static) else self.static.set_position()


@cython.final
@cython.cclass
class AttrsNode(SetNode):
    """`{ ... }`"""

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        n: cython.Py_ssize_t = len(self.names)
        i: cython.Py_ssize_t
        d: Attrs
        frame: Frame = None
        shaped: cython.bint
        v: object
        if n == 0 and self.dynamic is None:  # always the same
            counters.sets += 1
            if self.empty is None:
                self.empty = Attrs.__new__(Attrs)
                self.empty.positions = self
            return self.empty
        counters.sets += 1
        counters.set_elements += n
        if self.froms is not None:
            frame = empty_frame(env, len(self.froms))
            for i in range(len(self.froms)):
                set_slot(frame, place(i), member(self.froms, i).delay(env))
        d = self.new_set()
        shaped = self.begins_with_names()
        for i in range(n):
            v = member(self.nodes, i).delay(env if frame is None or self.from_outer[i] is not True else frame)
            if shaped:
                put(d, i, v)
            else:
                cython.cast(dict, d)[self.names[i]] = v
        if shaped:
            filled(d)
        if self.dynamic is not None:
            self.add_dynamic(d, env)
        return d


@cython.cfunc
def fill(nodes: list, from_outer: list, env: Frame) -> Frame:
    """Return the environment of a recursive scope: a slot for each node, which may refer to all of them."""
    n: cython.Py_ssize_t = len(nodes)
    i: cython.Py_ssize_t
    slots: Frame = empty_frame(env, n)
    counters.environments += 1
    counters.environment_slots += n
    for i in range(n):
        set_slot(slots, place(i), member(nodes, i).delay(env if from_outer[i] is True else slots))
    return slots


@cython.final
@cython.cclass
class RecAttrsNode(SetNode):
    """`rec { ... }`; `froms` are further slots behind the attributes'."""

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        n: cython.Py_ssize_t = len(self.names)
        i: cython.Py_ssize_t
        d: Attrs
        slots: Frame
        counters.sets += 1
        counters.set_elements += n
        if "__overrides" in self.names:
            slots = self.fill_overridden(env)
        else:
            slots = fill(self.nodes, self.from_outer, env)
        d = self.new_set()
        shaped: cython.bint = self.begins_with_names()
        for i in range(n):
            if shaped:
                put(d, i, slot(slots, place(i)))
            else:
                cython.cast(dict, d)[self.names[i]] = slot(slots, place(i))
        if shaped:
            filled(d)
        if "__overrides" in d:
            self.override(d, slots)
        if self.dynamic is not None:
            self.add_dynamic(d, slots)
        return d

    @cython.cfunc
    def fill_overridden(self, env: Frame) -> Frame:
        """As `fill`, but nothing may look at a slot before `__overrides` had its say."""
        n: cython.Py_ssize_t = len(self.nodes)
        i: cython.Py_ssize_t
        slots: Frame = empty_frame(env, n)
        for i in range(n):
            if self.from_outer[i] is True:
                set_slot(slots, place(i), member(self.nodes, i).delay(env))
            else:
                set_slot(slots, place(i), new_thunk(self.nodes[i], slots))
        return slots

    @cython.cfunc
    def override(self, d: Attrs, slots: Frame) -> object:
        """`__overrides` replaces attributes for the others to see, too."""
        overrides: dict = force_attrs(
            cython.cast(dict, d)["__overrides"], "while evaluating the `__overrides` attribute", 0
        )
        for name, value in overrides.items():
            if name in self.names:
                set_slot(slots, place(self.names.index(name)), value)
            d[name] = value
        where: object = cython.cast(Attrs, overrides).positions if type(overrides) is Attrs else None
        d.positions = new_merged(MergedByNames, d.positions, (where, overrides))
        return d


@cython.final
@cython.no_gc
@cython.cclass
class Let(Node):
    """`let ... in body`"""

    nodes: list
    from_outer: list
    body: Node

    def __init__(self, nodes, from_outer, body):
        self.nodes = nodes
        self.from_outer = from_outer
        self.body = body

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        if type(self.body) is Lazy:
            self.body = cython.cast(Lazy, self.body).built()
        return self.body.eval(fill(self.nodes, self.from_outer, env))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        return self.body.test(fill(self.nodes, self.from_outer, env), pos)


@cython.final
@cython.no_gc
@cython.cclass
class With(Node):
    """`with e; body`"""

    e: Node
    body: Node

    def __init__(self, e, body):
        self.e = e
        self.body = body

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        counters.environments += 1
        counters.environment_slots += 1
        return self.body.eval(new_frame(env, self.e.delay(env)))


@cython.final
@cython.no_gc
@cython.cclass
class Assert(Node):
    """`assert condition; body`; `show()` gives the text of the condition."""

    condition: Node
    body: Node
    pos: cython.longlong
    where: cython.longlong
    show: object
    sides: tuple

    def __init__(self, condition, body, pos, where, show, sides):
        self.condition = condition
        self.body = body
        self.pos = pos
        self.where = where
        self.show = show
        self.sides = sides

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        if not self.condition.test(env, self.where):
            raise self.failed(env)
        return self.body.eval(env)

    @cython.cfunc
    def failed(self, env: Frame) -> object:
        """The error for a condition that does not hold; of an `a == b` it tells what makes the difference."""
        e: object = None
        if self.sides is not None:
            from evaluator.core.differences import difference

            a, b, pos = self.sides
            e = difference(cython.cast(Node, a).eval(env), cython.cast(Node, b).eval(env), pos)
        if e is None:
            return NixAssertionError("assertion '%s' failed" % self.show(), self.pos)
        e.add_trace(self.pos, "while evaluating the condition of the assertion '%s'" % self.show())
        return e.of_operator(self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class If(Node):
    """`if condition then a else b`"""

    condition: Node
    a: Node
    b: Node
    pos: cython.longlong

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        if self.condition.test(env, self.pos):
            if type(self.a) is Lazy:
                self.a = cython.cast(Lazy, self.a).built()
            return self.a.eval(env)
        if type(self.b) is Lazy:
            self.b = cython.cast(Lazy, self.b).built()
        return self.b.eval(env)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        if self.condition.test(env, self.pos):
            return self.a.test(env, pos)
        return self.b.test(env, pos)


@cython.cclass
class FunctionNode(Lambda):
    """Common to the kinds of functions: evaluating one makes a closure."""

    def __init__(self, body, pos, name):
        self.body = body
        self.arity = 1
        self.pos = pos
        self.name = name

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        return new_func(self, env)

    @cython.cfunc
    def delay(self, env: Frame) -> object:
        counters.avoided += 1
        return new_func(self, env)

    @cython.cfunc
    def enter(self, f: Func, argument: object, pos: cython.longlong) -> object:
        return run_body1(self, f.env, argument, pos)

    @cython.cfunc
    def enter2(self, f: Func, a: object, b: object, pos: cython.longlong) -> object:
        raise NotImplementedError

    def formals(self):
        """Return None, or for a function with named arguments a list of (name, whether it has a default, position)."""
        return None

    def has_ellipsis(self):
        return False

    def argument_name(self):
        """Return the name of the whole argument, or None."""
        return None


@cython.final
@cython.cclass
class Function1(FunctionNode):
    """`x: body`"""

    argument: object

    def __init__(self, body, pos, name, argument):
        FunctionNode.__init__(self, body, pos, name)
        self.argument = argument

    def argument_name(self):
        return self.argument


@cython.final
@cython.cclass
class Function2Inner(FunctionNode):
    """The `y: body` of `x: y: body`. Its closure's environment is the frame of the function around it."""

    argument: object

    @cython.cfunc
    def enter(self, f: Func, argument: object, pos: cython.longlong) -> object:
        counters.environments += 1
        counters.environment_slots += 1
        return run_body(self, new_frame2(f.env.up, f.env.first, argument), pos)

    def argument_name(self):
        return self.argument


@cython.final
@cython.cclass
class Function2(FunctionNode):
    """`x: y: body` with one frame of two slots; `inner` is what is left after one argument."""

    inner: Function2Inner
    argument: object

    def __init__(self, body, pos, name, argument, inner_pos, inner_argument):
        FunctionNode.__init__(self, body, pos, name)
        self.arity = 2
        self.argument = argument
        self.inner = Function2Inner(body, inner_pos, name)
        self.inner.argument = inner_argument

    @cython.cfunc
    def enter(self, f: Func, argument: object, pos: cython.longlong) -> object:
        counters.function_calls += 1
        counters.environments += 1
        counters.environment_slots += 1
        if counters.calls_of_functions is not None:
            counters.calls_of_functions[self] = counters.calls_of_functions.get(self, 0) + 1
        return new_func(self.inner, new_frame(f.env, argument))

    @cython.cfunc
    def enter2(self, f: Func, a: object, b: object, pos: cython.longlong) -> object:
        counters.function_calls += 1
        if counters.calls_of_functions is not None:
            counters.calls_of_functions[self] = counters.calls_of_functions.get(self, 0) + 1
        return run_body2(self.inner, f.env, a, b, pos)

    def argument_name(self):
        return self.argument


@cython.final
@cython.cclass
class FunctionSet(FunctionNode):
    """`{ a, b ? default, ... } @ argument: body`; slot 0 is the whole set, the others are the named arguments."""

    argument: object
    names: list
    defaults: list
    where: list
    ellipsis: cython.bint
    state: object

    def __init__(self, body, pos, name, argument, names, defaults, where, ellipsis, state):
        FunctionNode.__init__(self, body, pos, name)
        self.argument = argument
        self.names = names
        self.defaults = defaults
        self.where = where
        self.ellipsis = ellipsis
        self.state = state

    @cython.cfunc
    def enter(self, f: Func, argument: object, pos: cython.longlong) -> object:
        if type(argument) is Thunk:
            argument = force_thunk(cython.cast(Thunk, argument), pos)
        if not isinstance(argument, dict):
            doing: str = "while evaluating the value passed for the lambda argument"
            raise self.from_call(type_error(argument, "a set", self.pos, doing), pos)
        s: dict = cython.cast(dict, argument)
        n: cython.Py_ssize_t = len(self.names)
        i: cython.Py_ssize_t
        used: cython.Py_ssize_t = 0
        missing_one: cython.bint = False
        slots: Frame = empty_frame(f.env, n + 1)
        v: object
        set_slot(slots, 0, s)
        counters.environments += 1
        counters.environment_slots += n + 1
        for i in range(n):
            v = attribute(s, cython.cast(str, self.names[i]))
            if v is None:
                if self.defaults[i] is None:
                    raise self.lacks(self.names[i], pos)
                missing_one = True
            else:
                used += 1
                set_slot(slots, place(i + 1), seen_through(v))
        if missing_one:
            for i in range(n):
                if slot(slots, place(i + 1)) is None:
                    set_slot(slots, place(i + 1), cython.cast(Node, self.defaults[i]).delay(slots))
        if not self.ellipsis and used != len(s):
            raise self.unexpected(s, pos)
        return run_body(self, slots, pos)

    def from_call(self, e, pos):
        """Return the error of a call at `pos` that does not fit this function."""
        if pos > 0:
            e.add_trace(pos, "from call site")
            e.call_pos = pos
        return e

    def lacks(self, name, pos):
        """Return the error for a call without a required argument."""
        message: str = "function '%s' called without required argument '%s'"
        return self.from_call(NixTypeError(message % (self.name or "anonymous lambda", show_name(name)), self.pos), pos)

    def unexpected(self, s, pos):
        """Return the error for a call with an argument that is not expected."""
        name: object = min([k for k in s if k not in self.names])
        message: str = "function '%s' called with unexpected argument '%s'"
        shown: str = message % (self.name or "anonymous lambda", show_name(name))
        return self.from_call(NixTypeError(shown, self.pos, best_matches(self.names, name)), pos)

    def formals(self):
        return [(self.names[i], self.defaults[i] is not None, self.where[i]) for i in range(len(self.names))]

    def has_ellipsis(self):
        return bool(self.ellipsis)

    def argument_name(self):
        return self.argument


@cython.final
@cython.no_gc
@cython.cclass
class Call1(Node):
    """`f a`"""

    f: Node
    a: Node
    pos: cython.longlong

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        f: object = self.f.eval(env)
        if type(self.a) is Lazy and cython.cast(Lazy, self.a).node is not None:
            self.a = cython.cast(Lazy, self.a).node
        if type(f) is Func:
            return cython.cast(Func, f).code.enter(cython.cast(Func, f), self.a.delay(env), self.pos)
        if type(f) is PrimOp and cython.cast(PrimOp, f).arity == 1:
            if cython.cast(PrimOp, f).consumes and type(self.a) is Call2:
                return call_primop1(cython.cast(PrimOp, f), cython.cast(Call2, self.a).consumed(env), self.pos)
            return call_primop1(cython.cast(PrimOp, f), self.a.delay(env), self.pos)
        return call(f, [self.a.delay(env)], self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class Call2(Node):
    """`f a b`"""

    f: Node
    a: Node
    b: Node
    pos: cython.longlong
    once: Node

    @cython.cfunc
    def consumed(self, env: Frame) -> object:
        """A thunk for the argument of a builtin that looks at it once, and that nobody else has: see `mapping_of`."""
        if self.once is None:
            self.once = Once(self)
        return new_thunk(self.once, env)

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        f: object = self.f.eval(env)
        code: Lambda
        if type(self.a) is Lazy and cython.cast(Lazy, self.a).node is not None:
            self.a = cython.cast(Lazy, self.a).node
        if type(self.b) is Lazy and cython.cast(Lazy, self.b).node is not None:
            self.b = cython.cast(Lazy, self.b).node
        if type(f) is Func:
            code = cython.cast(Func, f).code
            if code.arity == 2:
                return code.enter2(cython.cast(Func, f), self.a.delay(env), self.b.delay(env), self.pos)
            f = code.enter(cython.cast(Func, f), self.a.delay(env), self.pos)
            if type(f) is Func:
                return cython.cast(Func, f).code.enter(cython.cast(Func, f), self.b.delay(env), self.pos)
            return call(f, [self.b.delay(env)], self.pos)
        if type(f) is PrimOp and cython.cast(PrimOp, f).arity == 2 and not cython.cast(PrimOp, f).args:
            if cython.cast(PrimOp, f).consumes and type(self.b) is Call2:
                y: object = cython.cast(Call2, self.b).consumed(env)
                return call_primop2(cython.cast(PrimOp, f), self.a.delay(env), y, self.pos)
            return call_primop2(cython.cast(PrimOp, f), self.a.delay(env), self.b.delay(env), self.pos)
        return call(f, [self.a.delay(env), self.b.delay(env)], self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class CallN(Node):
    """`f a b c ...`"""

    f: Node
    args: list
    pos: cython.longlong

    def __init__(self, f, args, pos):
        self.f = f
        self.args = args
        self.pos = pos

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        f: object = self.f.eval(env)
        out: list = []
        for x in self.args:
            out.append(cython.cast(Node, x).delay(env))
        return call(f, out, self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class TracedCall(Node):
    """A call of which the tracer is told. Such nodes exist only where there is one (trace-function-calls)."""

    f: Node
    args: list
    pos: cython.longlong

    def __init__(self, f, args, pos):
        self.f = f
        self.args = args
        self.pos = pos

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        f: object = self.f.eval(env)
        out: list = []
        for x in self.args:
            out.append(cython.cast(Node, x).delay(env))
        return call_traced(f, out, self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class TracedOperator(Node):
    """An operator that is the call of a builtin, for the tracer."""

    node: Node
    pos: cython.longlong

    def __init__(self, node, pos):
        self.node = node
        self.pos = pos

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        tracer: object = counters.tracer
        tracer.enter(self.pos)
        try:
            return self.node.eval(env)
        finally:
            tracer.leave()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        tracer: object = counters.tracer
        tracer.enter(self.pos)
        try:
            return self.node.test(env, pos)
        finally:
            tracer.leave()


@cython.final
@cython.no_gc
@cython.cclass
class CountedOperator(Node):
    """An operator that counts as a call of `builtin`. Such nodes exist only where calls are counted."""

    node: Node
    builtin: str

    def __init__(self, node, builtin):
        self.node = node
        self.builtin = builtin

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        count_primop(self.builtin)
        return self.node.eval(env)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        count_primop(self.builtin)
        return self.node.test(env, pos)


def count_primop(name):
    """Count a call of a builtin by its name, too."""
    counters.primop_calls += 1
    counters.calls_of_primops[name] = counters.calls_of_primops.get(name, 0) + 1


def canonical_path(path):
    """Return an absolute path without `.`, `..`, empty components and trailing slash; no link is looked at."""
    if "//" not in path and "/." not in path and (not path.endswith("/") or path == "/"):
        return path
    out: list = []
    for part in path.split("/"):
        if part == "" or part == ".":
            continue
        if part == "..":
            if out:
                out.pop()
        else:
            out.append(part)
    return "/" + "/".join(out)


def overflow(doing, x, operator, y):
    """Return the error for a result that has more than 64 bits."""
    return EvalError("integer overflow in %s %d %s %d" % (doing, x, operator, y))


@cython.cfunc
@cython.exceptval(-1, check=False)
def small(x: object) -> cython.int:
    """Whether an integer is so small that the sum or difference of two such fits into 64 bits."""
    value: cython.longlong = x
    return -0x4000000000000000 <= value <= 0x3FFFFFFFFFFFFFFF


@cython.cfunc
@cython.exceptval(-1, check=False)
def fits(value: object) -> cython.int:
    """Whether a Python integer is one of the language."""
    return -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF


def add(state, x, y, pos, pos2):
    """`x + y` for forced operands at these positions."""
    a: cython.longlong
    b: cython.longlong
    c: cython.longlong
    if type(x) is int:
        if type(y) is int:
            if cython.compiled:
                a = x
                b = y
                c = a + b  # wraps: Python and what is built for it are compiled so
                if ((a ^ c) & (b ^ c)) >= 0:
                    return c
            elif fits(x + y):
                return x + y
            e: object = overflow("adding", x, "+", y)
            e.pos = pos2
            raise e
        if type(y) is float:
            return x + y
        raise EvalError("cannot add " + show_type(y) + " to an integer", pos2)
    if type(x) is str:
        if type(y) is str:
            return cython.cast(str, x) + cython.cast(str, y)
        if type(y) is ContextString:
            return make_string(
                cython.cast(str, x) + cython.cast(ContextString, y).text, cython.cast(ContextString, y).context
            )
    elif type(x) is ContextString and type(y) is str:
        return make_string(
            cython.cast(ContextString, x).text + cython.cast(str, y), cython.cast(ContextString, x).context
        )
    if type(x) is float:
        if type(y) is int or type(y) is float:
            return x + y
        raise EvalError("cannot add " + show_type(y) + " to a float", pos2)
    context: set = set()
    text: str
    if type(x) is Path:
        text = cython.cast(Path, x).path + coerce(state, y, context, False, False, SEGMENT, pos2)
        if context:
            raise EvalError("a string that refers to a store path cannot be appended to a path", pos)
        return make_path(canonical_path(text))
    copy: cython.bint = type(x) is str or type(x) is ContextString
    text = coerce(state, x, context, False, copy, SEGMENT, pos)
    return make_string(text + coerce(state, y, context, False, copy, SEGMENT, pos2), context)


#: What the traces of errors in `+` and in interpolations say, be it about a path or not.
SEGMENT = "while evaluating a path segment"


def not_numbers(x, y, pos, operands):
    """The TypeError for an arithmetic operation whose operands are not both numbers."""
    second: cython.bint
    wanted: str
    if type(x) is float or type(y) is float:
        second = type(x) is int or type(x) is float
        wanted = "a float"
    else:
        second = type(x) is int
        wanted = "an integer"
    return type_error(y if second else x, wanted, -1, "while evaluating " + operands[second]).of_operator(pos)


@cython.cfunc
@cython.exceptval(-1, check=False)
def numbers(x: object, y: object) -> cython.int:
    """Whether both are numbers."""
    return (type(x) is int or type(x) is float) and (type(y) is int or type(y) is float)


def subtract(x, y, pos):
    """`x - y`"""
    a: cython.longlong
    b: cython.longlong
    c: cython.longlong
    if type(x) is int and type(y) is int:
        if cython.compiled:
            a = x
            b = y
            c = a - b
            if ((a ^ b) & (a ^ c)) >= 0:
                return c
        elif fits(x - y):
            return x - y
        raise overflow("subtracting", x, "-", y).of_operator(pos)
    if numbers(x, y):
        return x - y
    raise not_numbers(x, y, pos, ("the first argument of the subtraction", "the second argument of the subtraction"))


def multiply(x, y, pos):
    """`x * y`"""
    if type(x) is int and type(y) is int:
        product: object = x * y
        if not fits(product):
            raise overflow("multiplying", x, "*", y).of_operator(pos)
        return product
    if numbers(x, y):
        return x * y
    raise not_numbers(
        x, y, pos, ("the first argument of the multiplication", "the second argument of the multiplication")
    )


def divide(x, y, pos):
    """`x / y`, rounded towards zero for integers."""
    operands: tuple = ("the first operand of the division", "the second operand of the division")
    if type(y) is not int and type(y) is not float:
        raise type_error(y, "a float", -1, "while evaluating " + operands[1]).of_operator(pos)
    if y == 0:
        raise EvalError("division by zero").of_operator(pos)
    if type(x) is int and type(y) is int:
        if y == -1 and x == -9223372036854775808:
            raise overflow("dividing", x, "/", y).of_operator(pos)
        q: object = abs(x) // abs(y)
        return q if (x < 0) == (y < 0) else -q
    if numbers(x, y):
        return x / y
    raise not_numbers(x, y, pos, operands)


@cython.cclass
class Binary(Node):
    """An operator with two operands.

    `pos` and `pos2` are the positions of the operands; for operators that stand for builtins, `pos` is the operator's.
    """

    a: Node
    b: Node
    pos: cython.longlong
    pos2: cython.longlong
    state: object


@cython.final
@cython.no_gc
@cython.cclass
class Add(Binary):
    """`a + b`: numbers, strings, paths"""

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        x: object = self.a.eval(env)
        if (
            type(x) is not str
            and type(x) is not int
            and type(x) is not ContextString
            and type(x) is not Path
            and type(x) is not float
        ):
            # Turned into a string, or refused, before the other operand is looked at.
            context: set = set()
            text: str = coerce(self.state, x, context, False, False, SEGMENT, self.pos)
            y: object = self.b.eval(env)
            return make_string(text + coerce(self.state, y, context, False, False, SEGMENT, self.pos2), context)
        return add(self.state, x, self.b.eval(env), self.pos, self.pos2)

    @cython.cfunc
    def delay(self, env: Frame) -> object:
        """Integers that are already there are added at once."""
        x: object = self.a.peek(env)
        if type(x) is int:
            y: object = self.b.peek(env)
            if type(y) is int and small(x) and small(y):
                return add(None, x, y, 0, 0)
        return new_thunk(self, env)


@cython.final
@cython.no_gc
@cython.cclass
class Subtract(Binary):
    """`a - b`"""

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        x: object = self.a.eval(env)
        return subtract(x, self.b.eval(env), self.pos)

    @cython.cfunc
    def delay(self, env: Frame) -> object:
        x: object = self.a.peek(env)
        if type(x) is int:
            y: object = self.b.peek(env)
            if type(y) is int and small(x) and small(y):
                return subtract(x, y, 0)
        return new_thunk(self, env)


@cython.final
@cython.no_gc
@cython.cclass
class Multiply(Binary):
    """`a * b`"""

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        x: object = self.a.eval(env)
        return multiply(x, self.b.eval(env), self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class Divide(Binary):
    """`a / b`"""

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        x: object = self.a.eval(env)
        return divide(x, self.b.eval(env), self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class Negate(Node):
    """`-a`"""

    a: Node
    pos: cython.longlong

    def __init__(self, a, pos):
        self.a = a
        self.pos = pos

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        return subtract(0, self.a.eval(env), self.pos)


@cython.cclass
class BinaryTest(Binary):
    """An operator whose result is a Boolean."""

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        return True if self.test(env, 0) else False


@cython.final
@cython.no_gc
@cython.cclass
class Less(BinaryTest):
    """`a < b`"""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        x: object = self.a.eval(env)
        return less(x, self.b.eval(env), self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class Greater(BinaryTest):
    """`a > b`, which is `b < a`: Nix evaluates b first"""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        y: object = self.b.eval(env)
        return less(y, self.a.eval(env), self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class LessOrEqual(BinaryTest):
    """`a <= b`, which is `!(b < a)`"""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        y: object = self.b.eval(env)
        return not less(y, self.a.eval(env), self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class GreaterOrEqual(BinaryTest):
    """`a >= b`, which is `!(a < b)`"""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        x: object = self.a.eval(env)
        return not less(x, self.b.eval(env), self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class Equal(BinaryTest):
    """`a == b`"""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        x: object = self.a.eval(env)
        return equal(x, self.b.eval(env))


@cython.final
@cython.no_gc
@cython.cclass
class NotEqual(BinaryTest):
    """`a != b`"""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        x: object = self.a.eval(env)
        return not equal(x, self.b.eval(env))


@cython.final
@cython.no_gc
@cython.cclass
class And(BinaryTest):
    """`a && b`"""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        return self.b.test(env, self.pos2) if self.a.test(env, self.pos) else 0


@cython.final
@cython.no_gc
@cython.cclass
class Or(BinaryTest):
    """`a || b`"""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        return 1 if self.a.test(env, self.pos) else self.b.test(env, self.pos2)


@cython.final
@cython.no_gc
@cython.cclass
class Implies(BinaryTest):
    """`a -> b`"""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        return self.b.test(env, self.pos2) if self.a.test(env, self.pos) else 1


@cython.final
@cython.no_gc
@cython.cclass
class Not(Node):
    """`!a`; `pos` is the position of the operand."""

    a: Node
    pos: cython.longlong

    def __init__(self, a, pos):
        self.a = a
        self.pos = pos

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        return False if self.a.test(env, self.pos) else True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def test(self, env: Frame, pos: cython.longlong) -> cython.int:
        return not self.a.test(env, self.pos)


@cython.final
@cython.no_gc
@cython.cclass
class Update(Binary):
    """`a // b`; `merged` is what the last result has for positions, and often what the next one needs."""

    merged: Merged

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        x: object = self.a.eval(env)
        if not isinstance(x, dict):
            raise type_error(x, "a set", -1).of_operator(self.pos)
        y: object = self.b.eval(env)
        if not isinstance(y, dict):
            raise type_error(y, "a set", -1).of_operator(self.pos2)
        counters.updates += 1
        if not cython.cast(dict, x):
            return y
        if not cython.cast(dict, y):
            return x
        positions: object
        merged: Merged = self.merged
        if (
            merged is not None
            and type(x) is Attrs
            and type(y) is Attrs
            and merged.left is cython.cast(Attrs, x).positions
            and merged.right is cython.cast(Attrs, y).positions
        ):
            positions = merged
        else:
            positions = merged_positions(x, y)
            if positions is not None and type(positions) is not MergedByNames:
                self.merged = cython.cast(Merged, positions)
        counters.sets += 1
        r: object = merged_set(x, y, positions)
        counters.update_values_copied += len(cython.cast(dict, r))
        counters.set_elements += len(cython.cast(dict, r))
        return r


@cython.final
@cython.no_gc
@cython.cclass
class Concat(Binary):
    """`a ++ b`"""

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        x: object = self.a.eval(env)
        y: object = self.b.eval(env)
        if type(x) is not list or type(y) is not list:
            x = x if type(x) is not list else y
            raise type_error(x, "a list", self.pos, "while evaluating one of the elements to concatenate").of_operator(
                self.pos
            )
        counters.list_concatenations += 1
        if not cython.cast(list, x):
            return y
        if not cython.cast(list, y):
            return x
        counters.list_elements += len(cython.cast(list, x)) + len(cython.cast(list, y))
        return cython.cast(list, x) + cython.cast(list, y)


@cython.cfunc
def known_path(s: object) -> object:
    """The `outPath` of a set that is a string because of it, if that is there already; otherwise the set."""
    v: object = attribute(s, "outPath")
    if type(v) is Thunk and cython.cast(Thunk, v).node is None and cython.cast(Thunk, v).payload is not BLACKHOLE:
        v = cython.cast(Thunk, v).payload
    return v if type(v) is ContextString and attribute(s, "__toString") is None else s


@cython.final
@cython.no_gc
@cython.cclass
class Interpolation(Node):
    """`"...${e}..."`; `parts` are str and nodes, `where` positions of the nodes."""

    parts: list
    where: list
    pos: cython.longlong
    state: object

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        out: list = []
        # The context of the only piece that has one is the context of the whole; of more, `context` is the union.
        only: frozenset = None
        context: set = None
        x: object
        i: cython.Py_ssize_t = 0
        at: cython.longlong
        for p in self.parts:
            if type(p) is not str:
                x = cython.cast(Node, p).eval(env)
                if isinstance(x, dict):
                    x = known_path(x)
                if type(x) is ContextString:
                    if context is not None:
                        context.update(cython.cast(ContextString, x).context)
                    elif only is None:
                        only = cython.cast(ContextString, x).context
                    elif only is not cython.cast(ContextString, x).context:
                        context = set(only)
                        context.update(cython.cast(ContextString, x).context)
                    x = cython.cast(ContextString, x).text
                elif type(x) is not str:
                    if context is None:
                        context = set() if only is None else set(only)
                    at = self.where[i]
                    x = self.coerced(x, context, at)
                out.append(x)
            else:
                out.append(p)
            i += 1
        if context is not None:
            return make_string("".join(out), context)
        if only is not None:
            return make_string("".join(out), only)
        return "".join(out)

    @cython.cfunc
    def coerced(self, x: object, context: set, at: cython.longlong) -> str:
        try:
            return coerce(self.state, x, context, False, True, SEGMENT, at)
        except NixError as e:
            e.settle(at)
            if type(x) is Path and not e.pos:  # a file that can't be copied
                e.call_pos = at
            raise e


@cython.final
@cython.no_gc
@cython.cclass
class PathInterpolation(Node):
    """`./a/${e}`; `start` is the first part, absolute, perhaps with a trailing slash."""

    start: str
    parts: list
    where: list
    pos: cython.longlong
    state: object

    def __init__(self, start, parts, where, pos, state):
        self.start = start
        self.parts = parts
        self.where = where
        self.pos = pos
        self.state = state

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        text: str = self.start
        context: set = set()
        i: cython.Py_ssize_t = 0
        at: cython.longlong
        for p in self.parts:
            if type(p) is str:
                text += cython.cast(str, p)
            else:
                at = self.where[i]
                text += coerce(self.state, cython.cast(Node, p).eval(env), context, False, False, SEGMENT, at)
            i += 1
        if context:
            raise EvalError("a string that refers to a store path cannot be appended to a path", self.pos)
        return make_path(canonical_path(text))


@cython.final
@cython.no_gc
@cython.cclass
class CurPos(Node):
    """`__curPos`"""

    pos: cython.longlong
    state: object

    def __init__(self, pos, state):
        self.pos = pos
        self.state = state

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        return position_value(self.state, self.pos)


# -- the nodes that there are most of: calling their classes would cost more than all else about making them


def constant(value):
    """Return the node of a value."""
    node: Const = Const.__new__(Const)
    node.value = value
    return node


def variable(level, index, pos):
    """Return the node of a variable: slot `index` of the environment `level` environments further out."""
    if level == 0:
        near: Var0 = Var0.__new__(Var0)
        near.at = place(index)
        near.pos = pos
        return near
    far: Var = Var.__new__(Var)
    far.level = level
    far.at = place(index)
    far.pos = pos
    return far


def selection(e, name, pos):
    """Return the node of `e.name`."""
    node: Select1 = Select1.__new__(Select1)
    node.e = e
    node.name = name
    node.pos = pos
    return node


def long_selection(e, path, default, pos, where, show):
    """Return the node of `e.path` and of `e.path or default`."""
    node: Select = Select.__new__(Select)
    node.e = e
    node.path = path
    node.default = default
    node.pos = pos
    node.where = where
    node.show = show
    return node


def variable_of_with(name, levels, at, pos):
    """Return the node of a variable that a `with` must define.

    `levels` are how many environments further out the sets are, innermost first; those before `at` were asked already.
    """
    node: WithVar = WithVar.__new__(WithVar)
    node.name = name
    node.level = levels[at] - (levels[at - 1] if at else 0)
    node.next = None if at + 1 == len(levels) else variable_of_with(name, levels, at + 1, pos)
    node.pos = pos
    node.without = None
    node.having = node.value = None
    return node


def condition_of(condition, a, b, pos):
    """Return the node of `if condition then a else b`."""
    node: If = If.__new__(If)
    node.condition = condition
    node.a = a
    node.b = b
    node.pos = pos
    return node


def list_of(items):
    """Return the node of a list."""
    node: ListNode = ListNode.__new__(ListNode)
    node.items = items
    return node


def interpolation(parts, where, pos, state):
    """Return the node of a string with interpolations."""
    node: Interpolation = Interpolation.__new__(Interpolation)
    node.parts = parts
    node.where = where
    node.pos = pos
    node.state = state
    return node


def operation(kind, a, b, pos, pos2, state):
    """Return the node of an operator, of this class."""
    node: Binary = kind.__new__(kind)
    node.a = a
    node.b = b
    node.pos = pos
    node.pos2 = pos2
    node.state = state
    if not cython.compiled and kind is Update:
        node.merged = None
    return node


def call_of(f, args, pos):
    """Return the node of the call of `f` with these arguments."""
    if len(args) == 1:
        one: Call1 = Call1.__new__(Call1)
        one.f = f
        one.a = args[0]
        one.pos = pos
        return one
    if len(args) == 2:
        two: Call2 = Call2.__new__(Call2)
        two.f = f
        two.a = args[0]
        two.b = args[1]
        two.pos = pos
        two.once = None
        return two
    return CallN(f, args, pos)


def path_value(path):
    """Return a path value."""
    return make_path(path)


def position_value(state, pos):
    """Return a position as a Nix value: a set of file, line and column, or null."""
    found = state.positions.resolve(pos)
    if found is None:
        return NULL
    return {"column": found.column, "file": found.file, "line": found.line}


# -- calls that builtins put off


@cython.final
@cython.no_gc
@cython.cclass
class Applied(Node):
    """The function of a `map`: in place of an environment its thunks have the argument."""

    f: object

    def __init__(self, f):
        self.f = f

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        f: object = self.f
        argument: object = env
        if type(f) is Thunk:
            f = self.f = force_thunk(cython.cast(Thunk, f), 0)
        if counters.tracer is not None:
            return call_traced(f, [argument], 0)
        if type(f) is Func:
            return cython.cast(Func, f).code.enter(cython.cast(Func, f), argument, 0)
        return call(f, [argument], 0)


@cython.final
@cython.no_gc
@cython.cclass
class Applied2(Node):
    """The function of a `mapAttrs`: in place of an environment its thunks have a tuple of two arguments."""

    f: object

    def __init__(self, f):
        self.f = f

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        f: object = self.f
        argument: object = env
        arguments: tuple = cython.cast(tuple, argument)
        if type(f) is Thunk:
            f = self.f = force_thunk(cython.cast(Thunk, f), 0)
        if counters.tracer is not None:
            return self.traced(f, arguments)
        return call2(f, arguments[0], arguments[1], 0)

    def traced(self, f, arguments):
        """The tracer is told of two calls, one inside of the other: Nix makes them so."""
        counters.tracer.enter(0)
        try:
            return call(call_traced(f, [arguments[0]], 0), [arguments[1]], 0)
        finally:
            counters.tracer.leave()


# -- what `map` makes for a builtin that needs every element at once, in order, and keeps none: no list of thunks


@cython.final
@cython.no_gc
@cython.cclass
class Once(Node):
    """A call whose result one builtin will look at, once."""

    call: Call2

    def __init__(self, call):
        self.call = call

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        return self.call.eval(env)


@cython.final
@cython.no_gc
@cython.cclass
class Mapping:
    """A `map` that is not done yet."""


_mapping_wanted = False


def mapping_of(x):
    """Return what `map` is to do if the argument `x` of a builtin that `consumes` is a call of it; otherwise None.

    `map`'s own arguments are evaluated, with the errors that they have in either case.
    """
    global _mapping_wanted
    if type(x) is not Thunk or type(cython.cast(Thunk, x).node) is not Once:
        return None
    t: Thunk = cython.cast(Thunk, x)
    env: Frame
    if cython.compiled:
        env = cython.cast(Frame, t.payload)
    else:
        env = t.payload
    f: object = cython.cast(Once, t.node).call.f.peek(env)
    if type(f) is not PrimOp or not cython.cast(PrimOp, f).maps or cython.cast(PrimOp, f).args:
        return None
    # The next builtin that is called is `map`: its arguments are put off, and it itself is known.
    _mapping_wanted = True
    try:
        value: object = force_thunk(t, -1)
    finally:
        _mapping_wanted = False
    return value if type(value) is Mapping else None


def mapping_is_wanted():
    """Whether `map`, which asks for it first of all, is called by `mapping_of`."""
    global _mapping_wanted
    wanted: cython.bint = _mapping_wanted
    _mapping_wanted = False
    return wanted


def new_mapping(f, source):
    """Return what is to be done with `source`, which is not empty."""
    m: Mapping = Mapping.__new__(Mapping)
    m.node = delayed(f)
    m.source = source
    return m


def mapped(m, x):
    """Return the forced result for one element."""
    argument: Frame
    if cython.compiled:
        argument = cython.cast(Frame, x)  # in place of an environment: see `Applied`
    else:
        argument = x
    return m.node.eval(argument)


def delayed(f):
    """Return a node for `delay_call`; `f` is a function, perhaps still a thunk."""
    node: Applied = Applied.__new__(Applied)
    node.f = f
    return node


def delayed2(f):
    """As `delayed`, for two arguments."""
    return Applied2(f)


def delay_call(node, a):
    """Return a thunk for the call of `delayed(f)` with `a`."""
    return new_thunk(node, a)


def delay_call2(node, a, b):
    """Return a thunk for the call of `delayed2(f)` with `a` and `b`."""
    return new_thunk(node, (a, b))


def later(f, *args):
    """Return a thunk for a call of the value `f` with one or two arguments, for builtins in plain Python."""
    if len(args) == 1:
        return new_thunk(Applied(f), args[0])
    return new_thunk(Applied2(f), (args[0], args[1]))


@cython.final
@cython.no_gc
@cython.cclass
class PythonNode(Node):
    """An expression that is a Python function of no arguments, returning a forced value."""

    function: object

    def __init__(self, function):
        self.function = function

    @cython.cfunc
    def eval(self, env: Frame) -> object:
        return self.function()


def lazy(function):
    """Return a thunk whose value is `function()`."""
    return new_thunk(PythonNode(function), None)
