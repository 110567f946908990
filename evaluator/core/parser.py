"""The parser: tokens to a syntax tree, following the grammar of Nix 2.8 (src/libexpr/parser.y).

The tree is made of tuples, whose first element is one of the numbers below; it can be marshalled (parse_cache.py) and
is turned into nodes piece by piece when first evaluated (scope.py). Positions are byte offsets.

    (INT_N, int)  (FLOAT_N, float)  (STRING, str)  (VAR, name, pos)  (PATH_N, text)  (HPATH_N, text)  (CUR_POS, pos)
    (INTERPOLATION, pos, parts)          parts: str, or (pos, tree)
    (PATH_PARTS, pos, parts)             the first part is a PATH_N or HPATH_N tree
    (SELECT, pos, tree, path, default)   path: tuple of names (str) and trees; default may be None
    (HAS, tree, path)
    (LIST, (tree ...))
    [ATTRS, pos, recursive, {name: (kind, tree, pos)}, [(name tree, tree, pos) ...] or None, [tree ...] or None]
                                         kind 0 `name = tree`, 1 `inherit name`, 2 `inherit (from) name`, for which
                                         `tree` is (index in the last list, pos). A seventh element: see below
    (LET_N, attrs, tree)  (WITH_N, pos, tree, tree)  (ASSERT_N, pos, tree, tree)  (IF_N, pos, tree, tree, tree)
    (LAMBDA, pos, argument or None, formals or None, ellipsis, tree)      formals: tuple of (name, default or None, pos)
    [CALL, pos, tree, [tree ...]]
    (OPERATOR, operator, pos of the first operand, tree, tree, pos of the second, pos of the operator)
    (NOT, tree)  (NEGATE, pos, tree)
    (SKIMMED, start, end)                a tree that was not made yet, see `parse_skimmed`

In the parse cache, a set's larger bindings `name = tree` are packed: (names, where their trees begin, their positions),
a tuple of str, a tuple of int and bytes, four for each position. What begins there is a marshalled tree.

Raises `SyntaxProblem`.
"""

from sys import intern

import cython

from evaluator.core.lexer import AlreadyDefined, SyntaxProblem, token_name

if not cython.compiled:
    from evaluator.core.lexer import (
        CHAR_BASE,
        T_AND,
        T_ASSERT,
        T_CONCAT,
        T_DOLLAR_CURLY,
        T_ELLIPSIS,
        T_ELSE,
        T_EOF,
        T_EQ,
        T_FLOAT,
        T_GEQ,
        T_HPATH,
        T_ID,
        T_IF,
        T_IMPL,
        T_IN,
        T_IND_OPEN,
        T_IND_STR,
        T_INHERIT,
        T_INT,
        T_LEQ,
        T_LET,
        T_NEQ,
        T_OR,
        T_OR_KW,
        T_PATH,
        T_QUOTE,
        T_REC,
        T_SPATH,
        T_STR,
        T_STRING_END,
        T_THEN,
        T_UPDATE,
        T_URI,
        T_WITH,
        Lexer,
    )
    from evaluator.core.values import check_stack

(
    INT_N,
    FLOAT_N,
    STRING,
    VAR,
    PATH_N,
    HPATH_N,
    CUR_POS,
    INTERPOLATION,
    PATH_PARTS,
    SELECT,
    HAS,
    LIST,
    ATTRS,
    LET_N,
    WITH_N,
    ASSERT_N,
    IF_N,
    LAMBDA,
    CALL,
    OPERATOR,
    NOT,
    NEGATE,
    SKIMMED,
) = range(23)

#: Binary operators: token -> (precedence, 0 left 1 right 2 none, spelling). `?` and `!` and `-x` are in the code.
_OPERATORS = {
    T_IMPL: (1, 1, "->"),
    T_OR: (2, 0, "||"),
    T_AND: (3, 0, "&&"),
    T_EQ: (4, 2, "=="),
    T_NEQ: (4, 2, "!="),
    CHAR_BASE + 60: (5, 2, "<"),
    CHAR_BASE + 62: (5, 2, ">"),
    T_LEQ: (5, 2, "<="),
    T_GEQ: (5, 2, ">="),
    T_UPDATE: (6, 1, "//"),
    CHAR_BASE + 43: (8, 0, "+"),
    CHAR_BASE + 45: (8, 0, "-"),
    CHAR_BASE + 42: (9, 0, "*"),
    CHAR_BASE + 47: (9, 0, "/"),
    T_CONCAT: (10, 1, "++"),
}
_PRECEDENCES = bytes(_OPERATORS.get(kind, (0,))[0] for kind in range(CHAR_BASE + 256))
_precedence = _PRECEDENCES
_ABOVE_NOT = 8
_HAS_PRECEDENCE = 11
_ABOVE_ALL = 13
_REDEFINABLE = frozenset(("__sub", "__mul", "__div", "__lessThan"))
#: From how many bytes on skimming a text pays: of the bindings of a long set most are never evaluated.
LONG = 20_000
#: The bindings of a set that are read in full all the same. What contains the long sets is itself in short ones.
_FIRST_BINDINGS = 8
#: As the lexer has it: a name is one object.
_CUR_POS_NAME = intern("__curPos")
#: What skimming returns in place of a tree.
_NOTHING = (STRING, "")


def parse(text: bytes, skim_from=None):
    """Parse a whole text.

    Returns (tree, free variables outside of any `with` as {name: offset}, whether an operator's builtin such as __sub
    is redefined somewhere, what `parse_skimmed` wants for the SKIMMED in it or None). Raises `SyntaxProblem` and
    `StackOverflow`.

    Most values in sets of a text of `skim_from` bytes or more are read for errors and free variables only: no tree is
    made of them before it is needed.
    """
    parser: Parser = Parser(Lexer(text), skim_from is not None and len(text) >= skim_from)
    return parser.everything()


def parse_skimmed(text: bytes, start, end):
    """Return the tree of (SKIMMED, start, end). It cannot fail: everything was parsed before."""
    begin: cython.Py_ssize_t = start
    lx: Lexer = Lexer(b"", text)
    lx.at = begin
    parser: Parser = Parser(lx, end - start >= LONG)
    lx.next()
    return parser.function()


@cython.cclass
class Parser:
    """Recursive descent, with precedence climbing for the operators. One token of look-ahead is always read."""

    def __init__(self, lx: Lexer, skims):
        self.lx = lx
        self.free = {}
        self.with_depth = 0
        self.redefines_operators = False
        self.complete = True
        self.skims = skims
        self.skimming = False

    def everything(self):
        lx: Lexer = self.lx
        lx.next()
        tree: object = self.function()
        if lx.kind != T_EOF:
            raise self.unexpected("end of file")
        skimmed: object = lx.text if self.skims else None
        return tree, self.free if self.complete else {}, bool(self.redefines_operators), skimmed

    def unexpected(self, expecting: str):
        """Return the error for the current token, in the words of Nix's parser generator."""
        message = "syntax error, unexpected " + token_name(self.lx.kind)
        if expecting:
            message += ", expecting " + expecting
        return SyntaxProblem(message, self.lx.start)

    def expect(self, kind: cython.int):
        if self.lx.kind != kind:
            raise self.unexpected(token_name(kind))
        self.lx.next()

    def variable(self, name: str, pos: cython.Py_ssize_t):
        if self.with_depth == 0 and name not in self.free:
            self.free[name] = pos
        return _NOTHING if self.skimming else (VAR, name, pos)

    def function(self):
        """expr_function: what may stand wherever a whole expression may."""
        lx: Lexer = self.lx
        pos: cython.Py_ssize_t = lx.start
        kind: cython.int = lx.kind
        at: cython.Py_ssize_t
        name: object
        a: object
        b: object
        c: object
        check_stack()
        if kind == T_ID:
            name = lx.value
            at = lx.at
            lx.next()
            if lx.kind == CHAR_BASE + 58:  # ':'
                lx.next()
                c = self.free
                self.free = {}
                return self.lambda_body(pos, name, None, False, c)
            if lx.kind == CHAR_BASE + 64:  # '@'
                lx.next()
                if lx.kind != CHAR_BASE + 123:
                    raise self.unexpected("'{'")
                lx.next()
                return self.formals(pos, name)
            lx.kind = T_ID
            lx.value = name
            lx.start = pos
            lx.at = at
            return self.operators(0)
        if kind == CHAR_BASE + 123:
            if self.at_formals():
                lx.next()
                return self.formals(pos, None)
            return self.operators(0)
        if kind == T_LET:
            at = lx.at
            lx.next()
            if lx.kind == CHAR_BASE + 123:
                # Either the old `let { ... }`, which is an operand, or a binding that wants a name.
                lx.kind = T_LET
                lx.start = pos
                lx.at = at
                return self.operators(0)
            return self.let_at(pos)
        if kind == T_IF:
            lx.next()
            a = self.function()
            self.expect(T_THEN)
            b = self.function()
            self.expect(T_ELSE)
            c = self.function()
            return _NOTHING if self.skimming else (IF_N, pos, a, b, c)
        if kind == T_WITH:
            lx.next()
            a = self.function()
            self.expect(CHAR_BASE + 59)
            self.with_depth += 1
            b = self.function()
            self.with_depth -= 1
            return _NOTHING if self.skimming else (WITH_N, pos, a, b)
        if kind == T_ASSERT:
            lx.next()
            a = self.function()
            self.expect(CHAR_BASE + 59)
            b = self.function()
            return _NOTHING if self.skimming else (ASSERT_N, pos, a, b)
        return self.operators(0)

    def at_formals(self):
        """Whether the `{` that is the current token opens a function's argument list. Reads nothing."""
        lx: Lexer = self.lx
        start: cython.Py_ssize_t = lx.start
        at: cython.Py_ssize_t = lx.at
        kind: cython.int
        answer: cython.bint = False
        lx.next()
        kind = lx.kind
        if kind == T_ELLIPSIS:
            answer = True
        elif kind == T_ID:
            lx.next()
            kind = lx.kind
            # "{ a }" can only be the list of a function.
            answer = kind == CHAR_BASE + 44 or kind == CHAR_BASE + 63 or kind == CHAR_BASE + 125
        elif kind == CHAR_BASE + 125:
            lx.next()
            kind = lx.kind
            answer = kind == CHAR_BASE + 58 or kind == CHAR_BASE + 64
        lx.kind = CHAR_BASE + 123
        lx.start = start
        lx.at = at
        return answer

    def formals(self, pos: cython.Py_ssize_t, argument: object):
        """Behind the `{` of an argument list; `argument` is the name before an `@`, if there was one."""
        lx: Lexer = self.lx
        names: list = []
        seen: set = set()
        duplicate: object = None
        ellipsis: cython.bint = False
        before: cython.bint = argument is not None
        at: cython.Py_ssize_t
        default: object
        outer: dict = self.free
        self.free = {}
        while True:
            if lx.kind == T_ID:
                name: object = lx.value
                at = lx.start
                lx.next()
                default = None
                if lx.kind == CHAR_BASE + 63:
                    lx.next()
                    default = self.function()
                if name in seen and (duplicate is None or name < duplicate[0]):
                    duplicate = (name, at)
                seen.add(name)
                names.append((name, default, at))
                if lx.kind == CHAR_BASE + 44:
                    lx.next()
                    continue
                if lx.kind != CHAR_BASE + 125:
                    raise self.unexpected("'}' or ','")
                break
            if lx.kind == T_ELLIPSIS:
                ellipsis = True
                lx.next()
                if lx.kind != CHAR_BASE + 125:
                    raise self.unexpected("'}'")
                break
            if lx.kind == CHAR_BASE + 125:
                break
            raise self.unexpected("identifier or '...' or '}'")
        lx.next()
        if lx.kind == CHAR_BASE + 64 and not before:
            lx.next()
            if lx.kind != T_ID:
                raise self.unexpected("identifier")
            argument = lx.value
            lx.next()
        if lx.kind != CHAR_BASE + 58:
            raise self.unexpected("':'" if before or argument is not None else "':' or '@'")
        if duplicate is not None:
            raise SyntaxProblem("duplicate formal function argument '%s'" % duplicate[0], duplicate[1])
        if argument is not None and argument in seen:
            raise SyntaxProblem("duplicate formal function argument '%s'" % argument, pos)
        lx.next()
        return self.lambda_body(pos, argument, tuple(names), ellipsis, outer)

    def lambda_body(
        self, pos: cython.Py_ssize_t, argument: object, formals: object, ellipsis: cython.bint, outer: dict
    ):
        """Behind the `:`; `outer` collects the free variables of the surrounding scope."""
        inner: dict
        body: object = self.function()
        inner = self.free
        self.free = outer
        if argument is not None:
            inner.pop(argument, None)
            if argument in _REDEFINABLE:
                self.redefines_operators = True
        if formals is not None:
            for f in formals:
                inner.pop(f[0], None)
                if f[0] in _REDEFINABLE:
                    self.redefines_operators = True
        for name in inner:
            if name not in outer:
                outer[name] = inner[name]
        return _NOTHING if self.skimming else (LAMBDA, pos, argument, formals, True if ellipsis else False, body)

    def let_at(self, pos: cython.Py_ssize_t):
        """`let` bindings `in` body; the current token is the one behind `let`."""
        outer: dict = self.free
        attrs: list = self.bindings(pos, True, T_IN)
        if attrs[4]:
            raise SyntaxProblem("dynamic attributes not allowed in let", pos)
        body: object = self.in_scope(attrs, outer, True)
        return _NOTHING if self.skimming else (LET_N, attrs, body)

    def in_scope(self, attrs: list, outer: dict, with_body: cython.bint):
        """Finish the scope that `bindings` opened, after the body of a `let` if there is one."""
        body: object = None
        names: dict = attrs[3]
        if with_body:
            body = self.function()
        inner: dict = self.free
        self.free = outer
        for name in inner:
            if name not in names and name not in outer:
                outer[name] = inner[name]
        for name in names:
            if name in _REDEFINABLE:
                self.redefines_operators = True
            if self.with_depth == 0:
                entry: tuple = names[name]
                if entry[0] == 1 and name not in outer:
                    outer[name] = entry[1]
        return body

    def bindings(self, pos: cython.Py_ssize_t, recursive: cython.bint, end: cython.int):
        """Read bindings up to the token `end`, which is consumed. A recursive scope is left open, see `in_scope`."""
        lx: Lexer = self.lx
        attrs: list = [ATTRS, pos, True if recursive else False, {}, None, None]
        path: object
        at: cython.Py_ssize_t
        if recursive:
            self.free = {}
        while True:
            if lx.kind == end:
                lx.next()
                return attrs
            if lx.kind == T_INHERIT:
                lx.next()
                self.inherit(attrs, None, recursive)
                continue
            at = lx.start
            if lx.kind != T_ID and lx.kind != T_OR_KW and lx.kind != T_QUOTE and lx.kind != T_DOLLAR_CURLY:
                raise self.unexpected("")
            path = self.attr_path()
            if lx.kind != CHAR_BASE + 61:
                raise self.unexpected("'.' or '='")
            lx.next()
            value: object
            if self.skims and not self.skimming and len(cython.cast(dict, attrs[3])) >= _FIRST_BINDINGS:
                value = self.skim()
            else:
                value = self.function()
            if lx.kind != CHAR_BASE + 59:
                raise self.unexpected("';'")
            self.add_attr(attrs, path, value, at)
            lx.next()

    def skim(self):
        """As `function`, for the value of a binding: no tree unless it is a set, with which others may be merged."""
        lx: Lexer = self.lx
        start: cython.Py_ssize_t = lx.start
        at: cython.Py_ssize_t = lx.at
        kind: cython.int = lx.kind
        token: object = lx.value
        if kind == T_REC or (kind == CHAR_BASE + 123 and not self.at_formals()):
            return self.function()
        self.skimming = lx.skimming = True
        tree: object = self.function()
        self.skimming = lx.skimming = False
        if type(tree) is list and tree[0] == ATTRS:  # in parentheses
            lx.kind = kind
            lx.value = token
            lx.start = start
            lx.at = lx.plain_until = at
            return self.function()
        return (SKIMMED, start, lx.start)

    def append_to(self, attrs: list, index: cython.int, item: object):
        """Append to one of the lists of a set, which are None while they are empty."""
        if attrs[index] is None:
            attrs[index] = [item]
        else:
            cython.cast(list, attrs[index]).append(item)

    def add_attr(self, attrs: list, path: tuple, value: object, pos: cython.Py_ssize_t):
        """Enter `path = value`, merging with what is there as Nix does."""
        i: cython.Py_ssize_t
        last: cython.Py_ssize_t = len(path) - 1
        names: dict
        found: object
        nested: list
        for i in range(last):
            name: object = path[i]
            if type(name) is not str:
                nested = [ATTRS, pos, False, {}, None, None]
                self.append_to(attrs, 4, (name, nested, pos))
                attrs = nested
                continue
            names = attrs[3]
            found = names.get(name)
            if found is None:
                nested = [ATTRS, pos, False, {}, None, None]
                names[name] = (0, nested, pos)
                attrs = nested
            elif found[0] == 0 and type(found[1]) is list and found[1][0] == ATTRS:
                attrs = found[1]
                if attrs[2]:
                    self.complete = False
            else:
                raise AlreadyDefined(path, pos, found[2])
        name = path[last]
        if type(name) is not str:
            self.append_to(attrs, 4, (name, value, pos))
            return
        names = attrs[3]
        found = names.get(name)
        if found is None:
            names[name] = (0, value, pos)
            return
        if not (
            found[0] == 0
            and type(found[1]) is list
            and found[1][0] == ATTRS
            and type(value) is list
            and value[0] == ATTRS
        ):
            raise AlreadyDefined(path, pos, found[2])
        # Two sets for one name are merged; the first decides whether the result is recursive.
        into: list = found[1]
        if into[2] or value[2]:
            self.complete = False
        offset: cython.Py_ssize_t = 0 if into[5] is None else len(into[5])
        for entry in value[5] or ():
            self.append_to(into, 5, entry)
        for entry in value[4] or ():
            self.append_to(into, 4, entry)
        names = into[3]
        for name, entry in cython.cast(dict, value[3]).items():
            if name in names:
                raise AlreadyDefined(name, names[name][2], entry[2])
            if entry[0] == 2:
                entry = (2, (entry[1][0] + offset, entry[1][1]), entry[2])
            names[name] = entry

    def inherit(self, attrs: list, outer_names: list, recursive: cython.bint):
        """Behind `inherit`, up to and including the semicolon."""
        lx: Lexer = self.lx
        names: dict = attrs[3]
        source: object = None
        at: cython.Py_ssize_t
        first: cython.Py_ssize_t
        pos: cython.Py_ssize_t
        name: object
        index: object = None
        if lx.kind == CHAR_BASE + 40:
            lx.next()
            source = self.function()
            self.expect(CHAR_BASE + 41)
            index = 0 if attrs[5] is None else len(attrs[5])
            self.append_to(attrs, 5, source)
        first = lx.start
        while lx.kind != CHAR_BASE + 59:
            at = lx.start
            if lx.kind != T_ID and lx.kind != T_OR_KW and lx.kind != T_QUOTE and lx.kind != T_DOLLAR_CURLY:
                raise self.unexpected("")
            name = self.attr_name()
            if type(name) is not str:
                raise SyntaxProblem("dynamic attributes not allowed in inherit", at)
            pos = at
            if name in names:
                raise AlreadyDefined(name, first, names[name][2])
            if source is not None:
                names[name] = (2, (index, pos), at)
            else:
                names[name] = (1, pos, at)
                if not recursive:
                    self.variable(name, pos)
        lx.next()

    def attr_path(self):
        """attrpath: a tuple of names and of trees for dynamic names."""
        lx: Lexer = self.lx
        first: object = self.attr_name()
        if lx.kind != CHAR_BASE + 46:
            return (first,)
        path: list = [first]
        while lx.kind == CHAR_BASE + 46:
            lx.next()
            path.append(self.attr_name())
        return tuple(path)

    def attr_name(self):
        lx: Lexer = self.lx
        name: object
        if lx.kind == T_ID:
            name = lx.value
            lx.next()
            return name
        if lx.kind == T_OR_KW:
            lx.next()
            return "or"
        if lx.kind == T_QUOTE or lx.kind == T_DOLLAR_CURLY:
            # Which name it is decides whether it may stand here.
            skimming: cython.bint = self.skimming
            self.skimming = lx.skimming = False
            if lx.kind == T_QUOTE:
                name = self.string()
            else:
                lx.next()
                name = self.function()
                self.expect(CHAR_BASE + 125)
            self.skimming = lx.skimming = skimming
            return name[1] if name[0] == STRING else name
        raise self.unexpected("identifier or 'or' or '${' or '\"'")

    def operators(self, least: cython.int):
        """expr_op with binary operators of precedence `least` or more."""
        lx: Lexer = self.lx
        pos: cython.Py_ssize_t = lx.start
        second: cython.Py_ssize_t
        at: cython.Py_ssize_t
        forbidden: cython.int = 0
        precedence: cython.int
        kind: cython.int = lx.kind
        left: object
        right: object
        if kind == CHAR_BASE + 33:  # '!'
            check_stack()
            lx.next()
            left = (NOT, self.operators(_ABOVE_NOT))
        elif kind == CHAR_BASE + 45:  # '-'
            check_stack()
            lx.next()
            left = (NEGATE, pos, self.operators(_ABOVE_ALL))
        else:
            left = self.application()
        while True:
            kind = lx.kind
            if kind == CHAR_BASE + 63:  # '?'
                if least > _HAS_PRECEDENCE:
                    return left
                lx.next()
                path: object = self.attr_path()
                left = _NOTHING if self.skimming else (HAS, left, path)
                forbidden = 0
                continue
            precedence = _precedence[kind]
            if precedence == 0 or precedence < least:
                return left
            if precedence == forbidden:
                raise self.unexpected("")
            found: tuple = _OPERATORS[kind]
            at = lx.start
            lx.next()
            second = lx.start
            right = self.operators(precedence if found[1] == 1 else precedence + 1)
            left = _NOTHING if self.skimming else (OPERATOR, found[2], pos, left, right, second, at)
            forbidden = precedence if found[1] == 2 else 0

    def application(self):
        """expr_app: a selection applied to any number of selections."""
        lx: Lexer = self.lx
        pos: cython.Py_ssize_t = lx.start
        tree: object = self.selection()
        call: list
        if self.skimming and self.at_operand():
            while self.at_operand():
                self.selection()
            return _NOTHING
        if not self.at_operand():
            return tree
        if type(tree) is list and tree[0] == CALL:
            call = tree
        else:
            call = [CALL, pos, tree, [self.selection()]]
        while self.at_operand():
            cython.cast(list, call[3]).append(self.selection())
        return call

    def at_operand(self):
        """Whether the current token can start an expr_simple."""
        kind: cython.int = self.lx.kind
        return (
            kind == T_ID
            or kind == CHAR_BASE + 40
            or kind == CHAR_BASE + 91
            or kind == CHAR_BASE + 123
            or kind == T_QUOTE
            or kind == T_IND_OPEN
            or kind == T_INT
            or kind == T_FLOAT
            or kind == T_PATH
            or kind == T_HPATH
            or kind == T_SPATH
            or kind == T_URI
            or kind == T_REC
            or kind == T_LET
        )

    def selection(self):
        """expr_select."""
        lx: Lexer = self.lx
        pos: cython.Py_ssize_t = lx.start
        at: cython.Py_ssize_t
        path: object
        tree: object = self.simple()
        if lx.kind == CHAR_BASE + 46:
            lx.next()
            path = self.attr_path()
            if lx.kind == T_OR_KW:
                lx.next()
                default: object = self.selection()
                return _NOTHING if self.skimming else (SELECT, pos, tree, path, default)
            return _NOTHING if self.skimming else (SELECT, pos, tree, path, None)
        if lx.kind == T_OR_KW:
            # Nixpkgs has a function called `or`: `map or [ ... ]`.
            at = pos
            lx.next()
            return [CALL, pos, tree, [self.variable("or", at)]]
        return tree

    def simple(self):
        """expr_simple: an operand."""
        lx: Lexer = self.lx
        pos: cython.Py_ssize_t = lx.start
        kind: cython.int = lx.kind
        value: object = lx.value
        attrs: list
        outer: dict
        if kind == T_ID:
            lx.next()
            if value is _CUR_POS_NAME:
                return (CUR_POS, pos)
            return self.variable(value, pos)
        if kind == T_QUOTE:
            return self.string()
        if kind == CHAR_BASE + 40:  # '('
            lx.next()
            value = self.function()
            self.expect(CHAR_BASE + 41)
            return value
        if kind == CHAR_BASE + 91:  # '['
            check_stack()
            lx.next()
            items: list = []
            while self.at_operand():
                value = self.selection()
                if not self.skimming:
                    items.append(value)
            if lx.kind != CHAR_BASE + 93:
                raise self.unexpected("")
            lx.next()
            return _NOTHING if self.skimming else (LIST, tuple(items))
        if kind == CHAR_BASE + 123:  # '{'
            check_stack()
            lx.next()
            return self.bindings(pos, False, CHAR_BASE + 125)
        if kind == T_INT:
            lx.next()
            return (INT_N, value)
        if kind == T_IND_OPEN:
            return self.indented_string()
        if kind == T_PATH or kind == T_HPATH:
            return self.path()
        if kind == T_REC or kind == T_LET:
            lx.next()
            if lx.kind != CHAR_BASE + 123:
                raise self.unexpected("'{'")
            check_stack()
            at: cython.Py_ssize_t = lx.start
            lx.next()
            outer = self.free
            attrs = self.bindings(at, True, CHAR_BASE + 125)
            self.in_scope(attrs, outer, False)
            if kind == T_LET:
                return (SELECT, pos, attrs, ("body",), None)
            return attrs
        if kind == T_SPATH:
            lx.next()
            # The two names are looked up like any others, so that scopedImport may replace them.
            return [CALL, pos, self.variable("__findFile", -1), [self.variable("__nixPath", -1), (STRING, value)]]
        if kind == T_FLOAT:
            lx.next()
            return (FLOAT_N, value)
        if kind == T_URI:
            lx.next()
            return (STRING, value)
        raise self.unexpected("")

    def string(self):
        """A "..." string; the current token is its opening quote."""
        lx: Lexer = self.lx
        pos: cython.Py_ssize_t = lx.start
        at: cython.Py_ssize_t
        parts: list
        value: object = None
        interpolated: cython.bint = False
        lx.string_part()
        if lx.kind == T_STR:
            value = lx.value
            lx.string_part()
        if lx.kind == T_STRING_END:  # nearly always
            lx.next()
            return (STRING, "" if value is None else value)
        parts = [] if value is None else [value]
        while True:
            if lx.kind == T_STR:
                parts.append(lx.value)
            elif lx.kind == T_DOLLAR_CURLY:
                at = lx.start
                interpolated = True
                lx.next()
                value = self.function()
                if lx.kind != CHAR_BASE + 125:
                    raise self.unexpected("'}'")
                parts.append((at, value))
            elif lx.kind == T_STRING_END:
                break
            else:
                only_text: cython.bint = len(parts) == 1 and not interpolated
                raise self.unexpected("'\"'" if only_text else "string or '${' or '\"'")
            lx.string_part()
        lx.next()
        if interpolated:
            return (INTERPOLATION, pos, tuple(parts))
        return (STRING, parts[0] if parts else "")

    def indented_string(self):
        """An indented string; the current token is its opening quotes."""
        lx: Lexer = self.lx
        pos: cython.Py_ssize_t = lx.start
        at: cython.Py_ssize_t
        parts: list = []
        value: object
        while True:
            lx.indented_part()
            at = lx.start
            if lx.kind == T_IND_STR:
                parts.append((at, lx.value, True))
            elif lx.kind == T_STR:
                parts.append((at, lx.value, False))
            elif lx.kind == T_DOLLAR_CURLY:
                lx.next()
                value = self.function()
                if lx.kind != CHAR_BASE + 125:
                    raise self.unexpected("'}'")
                parts.append((at, value, None))
            elif lx.kind == T_STRING_END:
                break
            else:
                raise self.unexpected("indented string or '${' or end of an indented string")
        lx.next()
        if self.skimming:
            return _NOTHING
        parts = strip_indentation(parts)
        if not parts:
            return (STRING, "")
        if len(parts) == 1 and type(parts[0]) is str:
            return (STRING, parts[0])
        return (INTERPOLATION, pos, tuple(parts))

    def path(self):
        """A path, perhaps with interpolations; the current token is its first part."""
        lx: Lexer = self.lx
        pos: cython.Py_ssize_t = lx.start
        at: cython.Py_ssize_t
        first: object = (PATH_N if lx.kind == T_PATH else HPATH_N, lx.value)
        parts: list = [first]
        value: object
        while True:
            lx.path_part()
            at = lx.start
            if lx.kind == T_STR:
                parts.append(lx.value)
            elif lx.kind == T_DOLLAR_CURLY:
                lx.next()
                value = self.function()
                if lx.kind != CHAR_BASE + 125:
                    raise self.unexpected("'}'")
                parts.append((at, value))
            else:
                break
        lx.next()
        if len(parts) == 1:
            return first
        return (PATH_PARTS, pos, tuple(parts))


def strip_indentation(parts: list) -> list:
    """Remove the common indentation of an indented string.

    `parts` are (pos, str, True) raw text, (pos, str, False) escapes, (pos, tree, None) interpolations. Returns str and
    (pos, tree). White space of a last line that has nothing else does not count, and disappears.
    """
    out: list = []
    at_start: cython.bint = True
    least: cython.Py_ssize_t = 1000000
    indent: cython.Py_ssize_t = 0
    left: cython.Py_ssize_t = len(parts)
    text: str
    p: cython.Py_ssize_t
    n: cython.Py_ssize_t
    for part in parts:
        if part[2] is not True:
            if at_start:
                at_start = False
                least = min(least, indent)
            continue
        text = part[1]
        n = len(text)
        p = 0
        while p < n:
            if at_start:
                while p < n and text[p] == " ":
                    indent += 1
                    p += 1
                if p == n:
                    break
                if text[p] != "\n":
                    at_start = False
                    least = min(least, indent)
            p = text.find("\n", p)
            if p < 0:
                break
            p += 1
            at_start = True
            indent = 0
    at_start = True
    indent = 0
    for part in parts:
        if part[2] is None:
            at_start = False
            indent = 0
            out.append((part[0], part[1]))
        else:
            text = part[1]
            if least > 0:
                text, at_start, indent = without_indentation(text, at_start, indent, least)
            if left == 1:
                tail: str = text.rpartition("\n")[2]
                if len(tail) < len(text) and not tail.strip(" "):
                    text = text[: len(text) - len(tail)]
            if text:
                out.append(text)
        left -= 1
    return out


@cython.cfunc
def without_indentation(text: str, at_start: cython.bint, indent: cython.Py_ssize_t, least: cython.Py_ssize_t) -> tuple:
    """Drop `least` spaces from the start of every line. `at_start`: only `indent` spaces of the line came before."""
    pieces: list = []
    n: cython.Py_ssize_t = len(text)
    p: cython.Py_ssize_t = 0
    begin: cython.Py_ssize_t = 0
    end: cython.Py_ssize_t
    while True:
        begin = p
        if at_start:
            while p < n and text[p] == " ":
                if indent < least:
                    begin += 1
                indent += 1
                p += 1
            if p < n and text[p] != "\n":
                at_start = False
        end = text.find("\n", p)
        if end < 0:
            pieces.append(text[begin:])
            break
        p = end + 1
        pieces.append(text[begin:p])
        at_start = True
        indent = 0
    return "".join(pieces), bool(at_start), indent


# The numbers of the trees have C types; Python code that reads trees finds them here.
globals().update(
    INT_N=INT_N,
    FLOAT_N=FLOAT_N,
    STRING=STRING,
    VAR=VAR,
    PATH_N=PATH_N,
    HPATH_N=HPATH_N,
    CUR_POS=CUR_POS,
    INTERPOLATION=INTERPOLATION,
    PATH_PARTS=PATH_PARTS,
    SELECT=SELECT,
    HAS=HAS,
    LIST=LIST,
    ATTRS=ATTRS,
    LET_N=LET_N,
    WITH_N=WITH_N,
    ASSERT_N=ASSERT_N,
    IF_N=IF_N,
    LAMBDA=LAMBDA,
    CALL=CALL,
    OPERATOR=OPERATOR,
    NOT=NOT,
    NEGATE=NEGATE,
    SKIMMED=SKIMMED,
    LONG=LONG,
)
