"""Random Nix programs that mostly mean something: for comparing evaluators."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

NAMES = ["a", "b", "c", "x"]
BINARY = ["+", "-", "*", "/", "==", "!=", "<", ">", "<=", ">=", "&&", "||", "->", "//", "++"]
UNARY_BUILTINS = [
    *("attrNames", "attrValues", "length", "head", "tail", "isList", "isAttrs", "isString", "isInt", "isFunction"),
    *("typeOf", "toJSON", "concatLists", "stringLength", "functionArgs", "tryEval", "listToAttrs", "ceil"),
]
BINARY_BUILTINS = [
    *("elem", "elemAt", "hasAttr", "getAttr", "map", "filter", "genList", "concatStringsSep", "catAttrs", "seq"),
    *("deepSeq", "intersectAttrs", "removeAttrs", "sort", "all", "any", "lessThan", "mapAttrs", "groupBy", "concatMap"),
]


class Generator:
    """Makes one program after the other from a source of randomness."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def program(self, depth: int = 4) -> str:
        return self.expression(depth, [])

    def expression(self, depth: int, scope: list[str]) -> str:
        r = self.random
        if depth <= 0 or r.random() < 0.15:
            return self.leaf(scope)
        kind = r.randrange(16)
        sub = lambda extra=(): self.expression(depth - 1, [*scope, *extra])  # noqa: E731
        if kind <= 2:
            return f"({sub()} {r.choice(BINARY)} {sub()})"
        if kind == 3:
            return f"[ {' '.join(f'({sub()})' for _ in range(r.randrange(4)))} ]"
        if kind == 4:
            return self.attrs(depth, scope)
        if kind == 5:
            names = r.sample(NAMES, r.randrange(1, 3))
            bindings = " ".join(f"{name} = {sub(names)};" for name in names)
            return f"(let {bindings} in {sub(names)})"
        if kind == 6:
            return f"(if {sub()} then {sub()} else {sub()})"
        if kind == 7:
            name = r.choice(NAMES)
            return f"(({name}: {sub([name])}) ({sub()}))"
        if kind == 8:
            name = r.choice(NAMES)
            return f"({name}: {sub([name])})"
        if kind == 9:
            return f"(({{ a, b ? {sub()}, ... }}: {sub(['a', 'b'])}) {self.attrs(depth, scope)})"
        if kind == 10:
            default = f" or ({sub()})" if r.random() < 0.5 else ""
            return f"({self.attrs(depth, scope)}.{r.choice(NAMES)}{default})"
        if kind == 11:
            return f"(with {self.attrs(depth, scope)}; {self.expression(depth - 1, [*scope, *NAMES])})"
        if kind == 12:
            return f'"s${{{sub()}}}t"'
        if kind == 13:
            return f"(builtins.{r.choice(UNARY_BUILTINS)} ({sub()}))"
        if kind == 14:
            return f"(builtins.{r.choice(BINARY_BUILTINS)} ({sub()}) ({sub()}))"
        return f"(({sub()}) ? {r.choice(NAMES)}.{r.choice(NAMES)})"

    def attrs(self, depth: int, scope: list[str]) -> str:
        r = self.random
        recursive = r.random() < 0.3
        names = r.sample(NAMES, r.randrange(4))
        inner = [*scope, *names] if recursive else scope
        bindings = " ".join(f"{name} = {self.expression(depth - 1, inner)};" for name in names)
        return ("rec " if recursive else "") + "{ " + bindings + " }"

    def leaf(self, scope: list[str]) -> str:
        r = self.random
        if scope and r.random() < 0.5:
            return r.choice(scope)
        return r.choice(["0", "1", "2", "7", "1.5", '"a"', '"b"', '""', "true", "false", "null", "[ ]", "{ }", "./p"])
