"""Random Nix programs of a known type: most have a value, so that thousands fit into one process of real Nix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

INT, STRING, BOOL, LIST, SET = "int", "string", "bool", "list", "set"
TYPES = (INT, STRING, BOOL, LIST, SET)
NAMES = ("a", "b", "c", "x-y", "q'")
STRINGS = (
    *('""', '"a"', '"b"', '"ab"', '"a.b-1.2"', '"foo-1.0pre"', '"$"', '"$${a}"', r'"\${"', r'"\n\t\"\\"', '"ä€"'),
    *('"[1, {\\"a\\": 2.5}]"', "''\n  one\n    two''", "''''${ ''$ '''''", '"/x/y/"', '"0"', '"-12"', '"a b  c"'),
)
PATTERNS = (
    '"a"',
    '"(a|b)*"',
    '"([a-z]+)-([0-9.]+)(pre)?"',
    '"[[:space:]]+"',
    '"(x?)(.*)"',
    '"[^a]"',
    '"(a)|(b)"',
    '"a{2}"',
)
NUMBERS = ("0", "1", "2", "7", "(-3)", "1000000007", "4611686018427387904")


class TypedGenerator:
    """Makes expressions of a wanted type; one in `strays` is of another one, which is an error to be answered alike."""

    def __init__(self, random: Random, strays: float = 0.0) -> None:
        self._random = random
        self._strays = strays
        self._scope: list[tuple[str, str]] = []

    def program(self, depth: int = 5) -> str:
        return self.expression(self._random.choice(TYPES), depth)

    def expression(self, wanted: str, depth: int) -> str:
        r = self._random
        if r.random() < self._strays:
            wanted = r.choice(TYPES)
        if depth <= 0 or r.random() < 0.1:
            return self._leaf(wanted)
        if r.random() < 0.3:
            return self._around(wanted, depth - 1)
        return getattr(self, "_" + wanted)(depth - 1)

    def _leaf(self, wanted: str) -> str:
        r = self._random
        known = [name for name, kind in self._scope if kind == wanted]
        if known and r.random() < 0.6:
            return r.choice(known)
        if wanted == INT:
            return r.choice(NUMBERS)
        if wanted == STRING:
            return r.choice(STRINGS)
        if wanted == BOOL:
            return r.choice(["true", "false"])
        return r.choice(["[ ]", "[ 1 2 ]", '[ "b" "a" ]'] if wanted == LIST else ["{ }", "{ a = 1; }", '{ b = "c"; }'])

    def _bound(self, kind: str, body: Callable[[], str]) -> tuple[str, str]:
        """A fresh variable of a type, and what `body` returns while it is in scope."""
        name = f"v{len(self._scope)}"
        self._scope.append((name, kind))
        try:
            return name, body()
        finally:
            self._scope.pop()

    def _around(self, wanted: str, depth: int) -> str:
        """An expression of any type: what binds, chooses, selects, calls and catches."""
        r = self._random
        sub = lambda kind: self.expression(kind, depth)  # noqa: E731
        kind = r.choice(TYPES)
        choice = r.randrange(13)
        if choice == 0:
            return f"(if {sub(BOOL)} then {sub(wanted)} else {sub(wanted)})"
        if choice == 1:
            value = sub(kind)
            name, body = self._bound(kind, lambda: sub(wanted))
            return f"(let {name} = {value}; in {body})"
        if choice == 2:
            value = sub(kind)
            name, body = self._bound(kind, lambda: sub(wanted))
            return f"(({name}: {body}) {value})"
        if choice == 3:
            default = sub(kind)
            name, body = self._bound(kind, lambda: sub(wanted))
            given = f"{name} = {sub(kind)};" if r.random() < 0.5 else ""
            return f"(({{ {name} ? {default}, ... }}@all: {body}) {{ {given} other = 1; }})"
        if choice == 4:
            name = r.choice(NAMES[:3])
            return f"({{ {name} = {sub(wanted)}; }}.{name})"
        if choice == 5:
            return f"({sub(SET)}.{r.choice(NAMES)}.{r.choice(NAMES)} or {sub(wanted)})"
        if choice == 6:
            value = sub(kind)
            name, body = self._bound(kind, lambda: sub(wanted))
            return f"(with {{ {name} = {value}; }}; {body})"
        if choice == 7:
            return f"(builtins.seq {sub(kind)} {sub(wanted)})"
        if choice == 8:
            return f"(assert {sub(BOOL)}; {sub(wanted)})"
        if choice == 9:
            caught = f"builtins.tryEval (builtins.deepSeq {sub(wanted)} {sub(wanted)})"
            return f"(let t = {caught}; in if t.success then t.value else {sub(wanted)})"
        if choice == 10:
            return f"(builtins.elemAt [ {sub(wanted)} {sub(wanted)} ] {r.randrange(2)})"
        if choice == 11:
            return f'(if {sub(BOOL)} then throw "no" else {sub(wanted)})'
        value = sub(kind)
        name, body = self._bound(kind, lambda: sub(wanted))
        return f"({{ __functor = self: {name}: {body}; }} {value})"

    def _int(self, depth: int) -> str:
        r = self._random
        sub = lambda kind: self.expression(kind, depth)  # noqa: E731
        choice = r.randrange(9)
        if choice == 0:
            return f"(builtins.{r.choice(['bitAnd', 'bitOr', 'bitXor'])} {sub(INT)} {sub(INT)})"
        if choice == 1:
            return f"(let d = {sub(INT)}; in if d == 0 then 0 else {sub(INT)} / d)"
        if choice == 2:
            return f"(builtins.length {sub(LIST)})"
        if choice == 3:
            return f"(builtins.stringLength {sub(STRING)})"
        if choice == 4:
            return f"(builtins.compareVersions {sub(STRING)} {sub(STRING)})"
        if choice == 5:
            return f"(builtins.{r.choice(['floor', 'ceil'])} ({r.choice(['1.5', '(-2.5)', '0.0', '3.0e2'])}))"
        if choice == 6:
            step = "(n: e: if builtins.isInt e then n - (builtins.bitAnd e 255) else n)"
            return f"(builtins.foldl' {step} {sub(INT)} {sub(LIST)})"
        # Kept small: beyond 64 bits current Nix has an error and 2.8 another value.
        return f"((builtins.bitAnd {sub(INT)} 65535) {r.choice('+-*')} (builtins.bitAnd {sub(INT)} 65535))"

    def _string(self, depth: int) -> str:
        r = self._random
        sub = lambda kind: self.expression(kind, depth)  # noqa: E731
        choice = r.randrange(16)
        if choice <= 2:
            before, after = r.choice(["", "p ", "$ ", "{"]), r.choice(["", " s", "''", "}"])
            return f'"{before}${{{sub(STRING)}}}{after}"'
        if choice == 3:
            return f"''\n   ${{{sub(STRING)}}}\n  x ''${{ '''\n''"
        if choice == 4:
            return f"({sub(STRING)} + {sub(STRING)})"
        if choice == 5:
            return f"(toString {self.expression(r.choice([INT, BOOL, STRING]), depth)})"
        if choice == 6:
            length = r.choice(["0", "1", "3", "9", "(-1)"])
            return f"(builtins.substring (builtins.bitAnd {sub(INT)} 3) {length} {sub(STRING)})"
        if choice == 7:
            # Replacements that can't fail: 2.8 evaluates all of them, current Nix those that it needs.
            new = f"[ {r.choice(STRINGS)} {r.choice(STRINGS)} ]"
            return f"(builtins.replaceStrings [ {sub(STRING)} {sub(STRING)} ] {new} {sub(STRING)})"
        if choice == 8:
            return f"(builtins.concatStringsSep {sub(STRING)} (builtins.map toString [ {sub(INT)} {sub(STRING)} ]))"
        if choice == 9:
            return f"(builtins.toJSON {self.expression(r.choice(TYPES), depth)})"
        if choice == 10:
            return f"(builtins.typeOf {self.expression(r.choice(TYPES), depth)})"
        if choice == 11:
            return f"(builtins.{r.choice(['baseNameOf', 'dirOf', 'unsafeDiscardStringContext'])} {sub(STRING)})"
        if choice == 12:
            algorithm = r.choice(["md5", "sha1", "sha256", "sha512"])
            return f'(builtins.hashString "{algorithm}" {sub(STRING)})'
        if choice == 13:
            return f"(builtins.parseDrvName {sub(STRING)}).{r.choice(['name', 'version'])}"
        if choice == 14:
            return f'"${{{{ __toString = self: {sub(STRING)}; }}}}"'
        return f"(builtins.toXML {self.expression(r.choice(TYPES), depth)})"

    def _bool(self, depth: int) -> str:
        r = self._random
        sub = lambda kind: self.expression(kind, depth)  # noqa: E731
        kind = r.choice(TYPES)
        choice = r.randrange(9)
        if choice == 0:
            return f"({sub(kind)} {r.choice(['==', '!='])} {self.expression(r.choice([kind, kind, *TYPES]), depth)})"
        if choice == 1:
            order = r.choice([INT, STRING])
            return f"({sub(order)} {r.choice(['<', '>', '<=', '>='])} {sub(order)})"
        if choice == 2:
            return f"({sub(BOOL)} {r.choice(['&&', '||', '->'])} {sub(BOOL)})"
        if choice == 3:
            return f"(!{sub(BOOL)})"
        if choice == 4:
            path = r.choice(["a", "a.b", '"x-y"', "${" + r.choice(STRINGS[1:4]) + "}"])
            return f"({self.expression(r.choice([SET, SET, kind]), depth)} ? {path})"
        if choice == 5:
            return f"(builtins.elem {sub(kind)} {sub(LIST)})"
        if choice == 6:
            return f"(builtins.{r.choice(['any', 'all'])} (e: e == {sub(kind)}) {sub(LIST)})"
        if choice == 7:
            return (
                f"(builtins.{r.choice(['isInt', 'isString', 'isAttrs', 'isList', 'isFunction', 'isBool'])} {sub(kind)})"
            )
        return f"(builtins.hasAttr {sub(STRING)} {sub(SET)})"

    def _list(self, depth: int) -> str:
        r = self._random
        sub = lambda kind: self.expression(kind, depth)  # noqa: E731
        kind = r.choice(TYPES)
        choice = r.randrange(15)
        if choice <= 1:
            return f"[ {' '.join(sub(kind) for _ in range(r.randrange(4)))} ]"
        if choice == 2:
            return f"({sub(LIST)} ++ {sub(LIST)})"
        if choice == 3:
            name, body = self._bound(INT, lambda: sub(kind))
            return f"(builtins.genList ({name}: {body}) {r.randrange(5)})"
        if choice == 4:
            return f"(builtins.map (e: [ e {sub(kind)} ]) {sub(LIST)})"
        if choice == 5:
            return f"(builtins.filter (e: builtins.isInt e -> {sub(BOOL)}) {sub(LIST)})"
        if choice == 6:
            order = r.choice([INT, STRING])
            items = " ".join(sub(order) for _ in range(r.randrange(6)))
            compare = r.choice(["builtins.lessThan", "(p: q: p < q)", "(p: q: q < p)", "(p: q: p <= q)"])
            return f"(builtins.sort {compare} [ {items} ])"
        if choice == 7:
            return f"(builtins.{r.choice(['attrNames', 'attrValues'])} {sub(SET)})"
        if choice == 8:
            return f"(builtins.split {r.choice(PATTERNS)} {sub(STRING)})"
        if choice == 9:
            return f"(let m = builtins.match {r.choice(PATTERNS)} {sub(STRING)}; in if m == null then [ ] else m)"
        if choice == 10:
            return f"(builtins.concatMap (e: [ e e ]) {sub(LIST)})"
        if choice == 11:
            return f"(builtins.splitVersion {sub(STRING)})"
        if choice == 12:
            step = "e: if e.key < 4 then [ { key = e.key + 1; } { key = e.key + 2; } ] else [ ]"
            start = f"{{ key = builtins.bitAnd {sub(INT)} 7; }}"
            return f"(builtins.genericClosure {{ startSet = [ {start} ]; operator = {step}; }})"
        if choice == 13:
            return f"(builtins.catAttrs {r.choice(STRINGS[1:4])} [ {sub(SET)} {sub(SET)} ])"
        return f"(builtins.fromJSON (builtins.toJSON {sub(LIST)}))"

    def _set(self, depth: int) -> str:
        r = self._random
        sub = lambda kind: self.expression(kind, depth)  # noqa: E731
        kind = r.choice(TYPES)
        choice = r.randrange(13)
        if choice <= 2:
            return self._literal(depth)
        if choice <= 4:
            return f"({sub(SET)} // {sub(SET)})"
        if choice == 5:
            return f"(builtins.mapAttrs (n: v: [ n v {sub(kind)} ]) {sub(SET)})"
        if choice == 6:
            pairs = " ".join(f"{{ name = {sub(STRING)}; value = {sub(kind)}; }}" for _ in range(r.randrange(4)))
            return f"(builtins.listToAttrs [ {pairs} ])"
        if choice == 7:
            return f"(removeAttrs {sub(SET)} [ {sub(STRING)} ])"
        if choice == 8:
            return f"(builtins.intersectAttrs {sub(SET)} {sub(SET)})"
        if choice == 9:
            return f"(builtins.groupBy (e: builtins.typeOf e) {sub(LIST)})"
        if choice == 10:
            return f"(builtins.partition (e: {sub(BOOL)}) {sub(LIST)})"
        if choice == 11:
            return f"(builtins.zipAttrsWith (n: vs: [ n ] ++ vs) [ {sub(SET)} {sub(SET)} ])"
        return f"(builtins.functionArgs ({{ a, b ? {sub(kind)} }}: a))"

    def _literal(self, depth: int) -> str:
        r = self._random
        kinds = {name: r.choice(TYPES) for name in r.sample(NAMES, r.randrange(4))}
        bindings = []
        for name, kind in kinds.items():
            form = r.randrange(5)
            if form == 0:
                bindings.append(f"{name}.{r.choice(NAMES)} = {self.expression(kind, depth)};")
            elif form == 1:
                bindings.append(f'${{"{name}"}} = {self.expression(kind, depth)};')
            elif form == 2 and self._scope:
                bindings.append(f"inherit ({{ {name} = {self.expression(kind, depth)}; }}) {name};")
            else:
                bindings.append(f"{name} = {self.expression(kind, depth)};")
        recursive = "rec " if r.random() < 0.2 else ""
        return f"({recursive}{{ {' '.join(bindings)} }})"
