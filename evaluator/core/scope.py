"""From syntax tree to nodes: resolving variables to (level, slot), and where that is put off.

Large subtrees become nodes only when they are first evaluated (`Lazy`): most of a package set never is. Undefined
variables are found beforehand all the same, because the parser collects the free ones.
"""

from marshal import loads

import cython

from evaluator.core import nodes, show
from evaluator.core.lexer import AlreadyDefined, SyntaxProblem
from evaluator.core.parser import parse_skimmed
from evaluator.errors import ParseError, StackOverflow, UndefinedVarError

if not cython.compiled:
    from evaluator.core.nodes import (
        call_of,
        condition_of,
        constant,
        interpolation,
        list_of,
        long_selection,
        operation,
        selection,
        variable,
        variable_of_with,
    )
    from evaluator.core.parser import (
        ASSERT_N,
        ATTRS,
        CALL,
        CUR_POS,
        FLOAT_N,
        HAS,
        HPATH_N,
        IF_N,
        INT_N,
        INTERPOLATION,
        LAMBDA,
        LET_N,
        LIST,
        NEGATE,
        NOT,
        OPERATOR,
        PATH_N,
        PATH_PARTS,
        SELECT,
        SKIMMED,
        STRING,
        VAR,
        WITH_N,
    )
    from evaluator.core.values import Lazy, Thunk, check_stack, counters

_BINARY = {
    "+": nodes.Add,
    "-": nodes.Subtract,
    "*": nodes.Multiply,
    "/": nodes.Divide,
    "<": nodes.Less,
    ">": nodes.Greater,
    "<=": nodes.LessOrEqual,
    ">=": nodes.GreaterOrEqual,
    "==": nodes.Equal,
    "!=": nodes.NotEqual,
    "&&": nodes.And,
    "||": nodes.Or,
    "->": nodes.Implies,
    "//": nodes.Update,
    "++": nodes.Concat,
}
#: What a trace calls the operands of the operators that are no builtins.
_OPERANDS = {
    op: ("in the left operand of '%s'" % op, "in the right operand of '%s'" % op)
    for op in ("==", "!=", "&&", "||", "->", "//", "++")
}
_OPERANDS["+"] = ("in an operand of '+'", "in an operand of '+'")
#: The builtins that operators stand for: name, whether the operands change places, whether the result is negated.
_BUILTIN_OF = {
    "-": ("__sub", False, False),
    "*": ("__mul", False, False),
    "/": ("__div", False, False),
    "<": ("__lessThan", False, False),
    ">": ("__lessThan", True, False),
    "<=": ("__lessThan", True, True),
    ">=": ("__lessThan", False, True),
}


@cython.cclass
class Scope:
    """The names of one environment and the scope outside of it; `names` is None for a `with`."""

    def __init__(self, names, up):
        self.names = names
        self.up = up


@cython.cclass
class Builder:
    """Makes the nodes of one source; `base` is the position of its first byte, paths are relative to `base_path`."""

    def __init__(self, state, base, base_path, operators_redefined, blobs):
        self.blobs = blobs
        self.state = state
        self.globals = state.globals
        self.base = base
        self.base_path = base_path
        self.operators_redefined = operators_redefined
        self.traced = state.settings.show_trace
        self.calls_traced = counters.tracer is not None
        self.calls_counted = counters.calls_of_primops is not None

    def place(self, tree):
        """Return the position of an expression as traces give it, 0 for literals and `let`."""
        kind: cython.int = tree[0]
        if kind == VAR:
            return self.at(tree[2])
        if kind == OPERATOR:
            return self.at(tree[6])
        if kind == HAS or kind == NOT or (kind == LIST and tree[1]):
            return self.place(tree[1][0] if kind == LIST else tree[1])
        if kind == STRING or kind == INT_N or kind == FLOAT_N or kind == PATH_N or kind == HPATH_N:
            return 0
        return 0 if kind == LET_N or kind == LIST else self.at(tree[1])

    def operand(self, tree, scope, text):
        """As `build`; errors in it are said to be `text`."""
        node: object = self.build(tree, scope, None)
        return nodes.Traced(node, self.place(tree), text) if self.traced else node

    def at(self, pos: cython.longlong):
        return self.base + pos if pos >= 0 else 0

    def build(self, tree, scope, name):
        """Return the node for `tree`; `name` is what it is bound to, for functions to know their names."""
        kind: cython.int = tree[0]
        if kind == VAR:
            return self.variable(tree[1], scope, self.at(tree[2]))
        if kind == STRING or kind == INT_N or kind == FLOAT_N:
            return constant(tree[1])
        check_stack()
        if kind == SKIMMED:
            return self.build(parse_skimmed(self.blobs, tree[1], tree[2]), scope, name)
        if kind == SELECT:
            return self.selection(tree, scope)
        if kind == CALL:
            return self.call(tree, scope)
        if kind == LAMBDA:
            return self.function(tree, scope, name)
        if kind == ATTRS:
            return self.attrs(tree, scope)
        if kind == LET_N:
            return self.let(tree, scope)
        if kind == LIST:
            if not tree[1]:
                return constant([])
            return list_of([self.lazy(x, scope, None) for x in tree[1]])
        if kind == INTERPOLATION:
            return self.interpolation(tree, scope)
        if kind == OPERATOR:
            return self.operator(tree, scope)
        if kind == IF_N:
            return condition_of(
                self.operand(tree[2], scope, "while evaluating a branch condition"),
                self.lazy(tree[3], scope, None),
                self.lazy(tree[4], scope, None),
                self.place(tree[2]) or self.at(tree[1]),
            )
        if kind == WITH_N:
            return nodes.With(self.build(tree[2], scope, None), self.lazy(tree[3], Scope(None, scope), None))
        if kind == ASSERT_N:
            return self.assertion(tree, scope)
        if kind == HAS:
            return nodes.Has(
                self.operand(tree[1], scope, "in the argument of '?'"),
                self.path(tree[2], scope),
                self.places(tree[2]),
            )
        if kind == NOT:
            return nodes.Not(self.operand(tree[1], scope, "in the argument of '!'"), self.place(tree[1]))
        if kind == NEGATE:
            if self.operators_redefined and self.is_local("__sub", scope):
                arguments: list = [constant(0), self.lazy(tree[2], scope, None)]
                return self.calling(self.variable("__sub", scope, 0), arguments, self.at(tree[1]))
            pos: object = self.at(tree[1])
            return self.call_of("sub", nodes.Negate(self.build(tree[2], scope, None), pos), pos, pos)
        if kind == PATH_N:
            return constant(nodes.path_value(show.absolute_path(tree[1], self.base_path)))
        if kind == HPATH_N:
            return constant(nodes.path_value(nodes.canonical_path(self.state.io.home() + tree[1][1:])))
        if kind == PATH_PARTS:
            return self.path_parts(tree, scope)
        if kind == CUR_POS:
            return nodes.CurPos(self.at(tree[1]), self.state)
        raise AssertionError("unknown tree %r" % (kind,))

    def lazy(self, tree, scope, name):
        """As `build`, but put off unless the node is trivial."""
        kind: cython.int = tree[0]
        if (
            kind == VAR
            or kind == STRING
            or kind == INT_N
            or kind == FLOAT_N
            or kind == LAMBDA
            or kind == PATH_N
            or (kind == SELECT and tree[2][0] == VAR)
            or (kind == LIST and not tree[1])
        ):
            return self.build(tree, scope, name)
        return self.later(tree, scope, name)

    def later(self, tree, scope, name):
        kind: cython.int = tree[0]
        node: Lazy = Lazy.__new__(Lazy)
        node.tree = tree
        node.scope = scope
        node.builder = self
        node.name = name
        node.node = None
        node.delayed = False
        node.always_thunk = kind != SELECT and kind != OPERATOR and kind != VAR
        return node

    def build_later(self, tree, scope, name):
        """As `build`; what a `Lazy` calls when its time has come."""
        return self.build(loads(self.blobs[tree:]) if type(tree) is int else tree, scope, name)

    def is_local(self, name: str, scope: Scope):
        """Whether something in the text, and not the global scope, defines `name`."""
        while scope is not None:
            if scope.names is not None and name in scope.names:
                return True
            scope = scope.up
        return False

    def variable(self, name: str, scope: Scope, pos):
        level: cython.int = 0
        withs: list = None
        found: object
        while scope is not None:
            if scope.names is None:
                if withs is None:
                    withs = []
                withs.append(level)
            else:
                found = scope.names.get(name)
                if found is not None:
                    return variable(level, found, pos)
            level += 1
            scope = scope.up
        if name in self.globals:
            found = self.globals[name]
            if type(found) is Thunk:
                return nodes.GlobalThunk(found, pos)
            return constant(found)
        if withs is not None:
            return variable_of_with(name, withs, 0, pos)
        raise UndefinedVarError("undefined variable '%s'" % name, pos)

    def path(self, path, scope):
        return [x if type(x) is str else self.build(x, scope, None) for x in path]

    def places(self, path):
        """Return where the names of an attribute path are computed; None if all are written out."""
        if all(type(x) is str for x in path):
            return None
        return [0 if type(x) is str else self.place(x) for x in path]

    def assertion(self, tree, scope):
        condition: object = tree[2]
        node: object = self.operand(condition, scope, "in the condition of the assert statement")
        sides: object = None
        if condition[0] == OPERATOR and condition[1] == "==":
            # Seldom wanted, and only a failed assertion evaluates them a second time.
            a: object = self.later(condition[3], scope, None)
            b: object = self.later(condition[4], scope, None)
            sides = (a, b, self.at(condition[6]))
        return nodes.Assert(
            node,
            self.lazy(tree[3], scope, None),
            self.at(tree[1]),
            self.place(condition) or self.at(tree[1]),
            Shown(condition, self.base_path, self.state, self.blobs),
            sides,
        )

    def selection(self, tree, scope):
        e: object = self.operand(tree[2], scope, "while selecting an attribute")
        path: object = tree[3]
        if tree[4] is None and len(path) == 1 and type(path[0]) is str:
            return selection(e, path[0], self.at(tree[1]))
        default: object = None if tree[4] is None else self.lazy(tree[4], scope, None)
        where: object = self.places(path)
        shown: object = None if where is None else Shown(path, self.base_path, self.state, self.blobs)
        return long_selection(e, self.path(path, scope), default, self.at(tree[1]), where, shown)

    def call(self, tree, scope):
        f: object = self.build(tree[2], scope, None)
        return self.calling(f, [self.lazy(x, scope, None) for x in tree[3]], self.at(tree[1]))

    def calling(self, f, arguments, pos):
        """Return the node of a call."""
        return nodes.TracedCall(f, arguments, pos) if self.calls_traced else call_of(f, arguments, pos)

    def operator(self, tree, scope):
        op: object = tree[1]
        pos: object = self.at(tree[2])
        if self.operators_redefined and op in _BUILTIN_OF:
            name, swapped, negated = _BUILTIN_OF[op]
            if self.is_local(name, scope):
                a: object = self.lazy(tree[3], scope, None)
                b: object = self.lazy(tree[4], scope, None)
                node: object = self.calling(self.variable(name, scope, 0), [b, a] if swapped else [a, b], pos)
                return nodes.Not(node, pos) if negated else node
        kind: object = _BINARY[op]
        if op in _BUILTIN_OF:
            start: object = pos
            pos = self.at(tree[6])
            a = self.build(tree[3], scope, None)
            node = operation(kind, a, self.build(tree[4], scope, None), pos, 0, self.state)
            node = self.call_of(_BUILTIN_OF[op][0][2:], node, pos, start)
            return nodes.Traced(node, pos, "in the argument of '!'") if self.traced and _BUILTIN_OF[op][2] else node
        left, right = _OPERANDS[op]
        a = self.operand(tree[3], scope, left)
        b = self.operand(tree[4], scope, right)
        if op == "++":
            return operation(kind, a, b, self.at(tree[6]), 0, self.state)
        second: object = self.at(tree[5])
        if op == "&&" or op == "||" or op == "->":
            return operation(kind, a, b, self.place(tree[3]) or pos, self.place(tree[4]) or second, self.state)
        return operation(kind, a, b, pos, second, self.state)

    def call_of(self, builtin: str, node, pos, start):
        """An operator at `pos` that counts and traces as a call of its builtin; its expression begins at `start`."""
        if self.calls_counted:
            node = nodes.CountedOperator(node, builtin)
        if self.calls_traced:
            node = nodes.TracedOperator(node, start)
        return nodes.Traced(node, pos, "while calling the '%s' builtin" % builtin) if self.traced else node

    def function(self, tree, scope, name):
        pos: object = self.at(tree[1])
        body: object = tree[5]
        formals: object = tree[3]
        names: dict
        inner: Scope
        if formals is None:
            if body[0] == LAMBDA and body[3] is None and body[2] != tree[2]:
                inner = Scope({tree[2]: 0, body[2]: 1}, scope)
                return nodes.Function2(self.body(body[5], inner, name), pos, name, tree[2], self.at(body[1]), body[2])
            return nodes.Function1(self.body(body, Scope({tree[2]: 0}, scope), name), pos, name, tree[2])
        names = {}
        if tree[2] is not None:
            names[tree[2]] = 0
        i: cython.int = 1
        for f in formals:
            names[f[0]] = i
            i += 1
        inner = Scope(names, scope)
        return nodes.FunctionSet(
            self.body(body, inner, name),
            pos,
            name,
            tree[2],
            [f[0] for f in formals],
            [None if f[1] is None else self.lazy(f[1], inner, None) for f in formals],
            [self.at(f[2]) for f in formals],
            tree[4],
            self.state,
        )

    def body(self, tree, scope, name):
        """The body of a function; a function in it goes by the same name."""
        return self.lazy(tree, scope, name if tree[0] == LAMBDA else None)

    def attrs(self, tree, scope):
        names: dict = tree[3]
        froms: list = tree[5]
        if tree[2]:
            return self.recursive_attrs(tree, scope)
        all_names: list = list(names)
        built: list = []
        flags: list = []
        where: list = []
        places: object = where
        if len(tree) > 6:
            all_names = [*tree[6][0], *names]
            built = self.unpacked(tree[6][0], tree[6][1], scope)
            flags = [False] * len(built)
            places = PackedPositions(tree[6][2], self.base, where)
        for name, (kind, value, pos) in names.items():
            where.append(self.at(pos))
            flags.append(kind == 2)
            if kind == 0:
                built.append(self.lazy(value, scope, name))
            elif kind == 1:
                built.append(self.variable(name, scope, self.at(value)))
            else:
                built.append(selection(variable(0, value[0], self.at(value[1])), name, self.at(value[1])))
        return nodes.AttrsNode(
            all_names,
            built,
            flags,
            places,
            [self.lazy(x, scope, None) for x in froms] if froms else None,
            self.dynamic(tree[4], scope),
            self.at(tree[1]),
            self.state,
        )

    def dynamic(self, entries, scope):
        if not entries:
            return None
        return [(self.build(a, scope, None), self.lazy(b, scope, None), self.at(pos)) for a, b, pos in entries]

    def recursive_attrs(self, tree, scope):
        inner: Scope
        inner, built, outer, where = self.bindings(tree, scope)
        return nodes.RecAttrsNode(
            list(inner.names), built, outer, where, None, self.dynamic(tree[4], inner), self.at(tree[1]), self.state
        )

    def bindings(self, tree, scope):
        """The slots of a recursive scope: the attributes, then what `inherit (from)` inherits from."""
        names: dict = tree[3]
        froms: list = tree[5]
        all_names: object = [*tree[6][0], *names] if len(tree) > 6 else names
        inner: Scope = Scope({name: i for i, name in enumerate(all_names)}, scope)
        built: list = []
        outer: list = []
        where: list = []
        places: object = where
        n: cython.int = len(all_names)
        if len(tree) > 6:
            built = self.unpacked(tree[6][0], tree[6][1], inner)
            outer = [False] * len(built)
            places = PackedPositions(tree[6][2], self.base, where)
        for name, (kind, value, pos) in names.items():
            where.append(self.at(pos))
            outer.append(kind == 1)
            if kind == 0:
                built.append(self.lazy(value, inner, name))
            elif kind == 1:
                built.append(self.variable(name, scope, self.at(value)))
            else:
                built.append(selection(variable(0, n + value[0], self.at(value[1])), name, self.at(value[1])))
        if froms is not None:
            for x in froms:
                built.append(self.later(x, inner, None))
                outer.append(False)
        return inner, built, outer, places

    def unpacked(self, names: tuple, starts: tuple, scope):
        """The nodes of packed bindings: nothing of them is looked at before it is needed."""
        n: cython.Py_ssize_t = len(names)
        i: cython.Py_ssize_t
        built: list = [None] * n
        for i in range(n):
            node: Lazy = Lazy.__new__(Lazy)
            node.tree = starts[i]
            node.scope = scope
            node.builder = self
            node.name = names[i]
            node.node = None
            node.delayed = False
            node.always_thunk = True
            built[i] = node
        return built

    def let(self, tree, scope):
        inner, built, outer, _ = self.bindings(tree[1], scope)
        return nodes.Let(built, outer, self.lazy(tree[2], inner, None))

    def interpolation(self, tree, scope):
        parts: list = []
        where: list = []
        for p in tree[2]:
            if type(p) is str:
                parts.append(p)
                where.append(0)
            else:
                parts.append(self.build(p[1], scope, None))
                where.append(self.at(p[0]))
        if all(type(p) is str for p in parts):
            return constant("".join(parts))
        return interpolation(parts, where, self.at(tree[1]), self.state)

    def path_parts(self, tree, scope):
        first: object = tree[2][0]
        if first[0] == PATH_N:
            start: str = show.absolute_path(first[1], self.base_path)
        else:
            start = nodes.canonical_path(self.state.io.home() + first[1][1:])
        if first[1].endswith("/") and len(first[1]) > 1 and not start.endswith("/"):
            start += "/"
        parts: list = []
        where: list = []
        for p in tree[2][1:]:
            if type(p) is str:
                parts.append(p)
                where.append(0)
            else:
                parts.append(self.build(p[1], scope, None))
                where.append(self.at(p[0]))
        return nodes.PathInterpolation(start, parts, where, self.at(tree[1]), self.state)


class PackedPositions:
    """Where the attributes of a set are defined: the packed ones, then `rest`. Seldom asked, so only then read."""

    __slots__ = ("base", "packed", "rest")

    def __init__(self, packed, base, rest):
        self.packed = packed
        self.base = base
        self.rest = rest

    def __getitem__(self, index):
        at = 4 * index
        if at < len(self.packed):
            return self.base + int.from_bytes(self.packed[at : at + 4], "little")
        return self.rest[index - len(self.packed) // 4]

    def __iter__(self):
        for at in range(0, len(self.packed), 4):
            yield self.base + int.from_bytes(self.packed[at : at + 4], "little")
        yield from self.rest


class Shown:
    """Calling it gives the text of an expression as Nix prints it; of an attribute path, that of a name in it."""

    __slots__ = ("base_path", "blobs", "state", "tree")

    def __init__(self, tree, base_path, state, blobs):
        self.tree = tree
        self.base_path = base_path
        self.state = state
        self.blobs = blobs

    def __call__(self, index=None):
        if index is None:
            return show.show(self.tree, self.base_path, self.state.io.home, self.blobs)
        return '"${' + show.show(self.tree[index], self.base_path, self.state.io.home, self.blobs) + '}"'


class Expression:
    """A parsed text: `node` to evaluate with these values in its outermost environment, `tree` to print."""

    __slots__ = ("base_path", "blobs", "node", "state", "tree", "values")

    def __init__(self, node, values, tree, base_path, state, blobs):
        self.blobs = blobs
        self.node = node
        self.values = values
        self.tree = tree
        self.base_path = base_path
        self.state = state

    def __str__(self):
        return show.show(self.tree, self.base_path, self.state.io.home, self.blobs)

    def is_attrs(self):
        """Whether the text is a set expression and not something that has to be computed (flake.nix must be one)."""
        return self.tree[0] == ATTRS


def parse(state, source, base_path, names):
    """Return the `Expression` of a source; see EvalState.parse."""
    base = state.positions.add(source)
    try:
        tree, free, redefined, blobs = state.syntax(source)
    except AlreadyDefined as problem:
        attribute = problem.attribute if type(problem.attribute) is str else show.show_path(problem.attribute)
        earlier = state.positions.show(base + problem.other)
        raise ParseError(f"attribute '{attribute}' already defined at {earlier}", base + problem.offset) from None
    except SyntaxProblem as problem:
        raise ParseError(problem.message, base + problem.offset) from None
    known = state.globals
    first = -1
    for name, pos in free.items():
        if name not in known and (names is None or name not in names) and (first < 0 or pos < first):
            first = pos
            undefined = name
    if first >= 0:
        raise UndefinedVarError("undefined variable '%s'" % undefined, base + first)
    builder: Builder = Builder(state, base, base_path, redefined, blobs)
    if names is None:
        return Expression(builder.build(tree, None, None), [], tree, base_path, state, blobs)
    scope = Scope({name: i for i, name in enumerate(names)}, None)
    return Expression(builder.build(tree, scope, None), list(names.values()), tree, base_path, state, blobs)


def evaluate(expression):
    """Return the forced value of an `Expression`."""
    try:
        return nodes.evaluate(expression.node, expression.values)
    except RecursionError:  # only uncompiled code has that limit
        raise StackOverflow() from None
