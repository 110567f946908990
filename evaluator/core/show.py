"""Printing syntax trees as Nix does: `nix-instantiate --parse`, failed assertions, attribute paths in messages."""

from __future__ import annotations

from marshal import loads

from evaluator.core import parser as p
from evaluator.core.nodes import canonical_path
from evaluator.names import show_name, show_string


def absolute_path(path: str, base_path: str) -> str:
    """Return the canonical absolute path that a path literal in a file of directory `base_path` stands for."""
    return canonical_path(path if path.startswith("/") else f"{base_path}/{path}")


def show_path(path, base_path: str = "/", home=None) -> str:
    """Return an attribute path."""
    return ".".join([show_name(x) if type(x) is str else '"${' + show(x, base_path, home) + '}"' for x in path])


def show(tree, base_path: str = "/", home=None, blobs=None) -> str:
    """Return `tree` as text. `home` is a function that gives the home directory, for `~/` paths; `blobs` has BLOBs."""
    return _Show(base_path, home, blobs).show(tree)


class _Show:
    """Carries what paths are relative to."""

    def __init__(self, base_path, home, blobs) -> None:
        self.base_path = base_path
        self.home = home
        self.blobs = blobs

    def show(self, t) -> str:
        kind = t[0]
        show = self.show
        if kind == p.BLOB:
            return show(loads(self.blobs[t[1] : t[2]]))
        if kind == p.SKIMMED:
            return show(p.parse_skimmed(self.blobs, t[1], t[2]))
        if kind == p.INT_N:
            return str(t[1])
        if kind == p.FLOAT_N:
            return f"{t[1]:g}"
        if kind == p.STRING:
            return show_string(t[1])
        if kind == p.VAR:
            return show_name(t[1])
        if kind in (p.PATH_N, p.HPATH_N):
            return self.path(t)
        if kind == p.CUR_POS:
            return "__curPos"
        if kind == p.INTERPOLATION:
            return "(" + " + ".join([show_string(x) if type(x) is str else show(x[1]) for x in t[2]]) + ")"
        if kind == p.PATH_PARTS:
            first = t[2][0]
            start = self.path(first)
            if first[1].endswith("/") and len(first[1]) > 1 and not start.endswith("/"):
                start += "/"
            rest = [show_string(x) if type(x) is str else show(x[1]) for x in t[2][1:]]
            return "(" + " + ".join([start, *rest]) + ")"
        if kind == p.SELECT:
            default = f" or ({show(t[4])})" if t[4] is not None else ""
            return f"({show(t[2])}).{self.attr_path(t[3])}{default}"
        if kind == p.HAS:
            return f"(({show(t[1])}) ? {self.attr_path(t[2])})"
        if kind == p.LIST:
            return "[ " + "".join([f"({show(x)}) " for x in t[1]]) + "]"
        if kind == p.ATTRS:
            return ("rec " if t[2] else "") + "{ " + self.bindings(t) + "}"
        if kind == p.LET_N:
            return f"(let {self.bindings(t[1])}in {show(t[2])})"
        if kind == p.WITH_N:
            return f"(with {show(t[2])}; {show(t[3])})"
        if kind == p.ASSERT_N:
            return f"assert {show(t[2])}; {show(t[3])}"
        if kind == p.IF_N:
            return f"(if {show(t[2])} then {show(t[3])} else {show(t[4])})"
        if kind == p.LAMBDA:
            return self.function(t)
        if kind == p.CALL:
            return "(" + " ".join([show(t[2]), *[show(x) for x in t[3]]]) + ")"
        if kind == p.NOT:
            return f"(! {show(t[1])})"
        if kind == p.NEGATE:
            return f"(__sub 0 {show(t[2])})"
        return self.operator(t)

    def path(self, t) -> str:
        if t[0] == p.PATH_N:
            return absolute_path(t[1], self.base_path)
        return canonical_path((self.home() if self.home is not None else "~") + t[1][1:])

    def attr_path(self, path) -> str:
        return ".".join([show_name(x) if type(x) is str else '"${' + self.show(x) + '}"' for x in path])

    def bindings(self, attrs) -> str:
        """Inherited names first, then the others; sorted, as current Nix prints them (2.8 has no stable order)."""
        out = []
        inherited = []
        groups: dict = {}
        plain = []
        for name in sorted(attrs[3]):
            kind, value, _ = attrs[3][name]
            if kind == 1:
                inherited.append(show_name(name))
            elif kind == 2:
                groups.setdefault(value[0], []).append(show_name(name))
            else:
                plain.append(f"{show_name(name)} = {self.show(value)}; ")
        if inherited:
            out.append(f"inherit {' '.join(inherited)}; ")
        for index in sorted(groups):
            out.append(f"inherit ({self.show(attrs[5][index])}) {' '.join(groups[index])}; ")
        out += plain
        for name, value, _ in attrs[4] or ():
            out.append(f'"${{{self.show(name)}}}" = {self.show(value)}; ')
        return "".join(out)

    def function(self, t) -> str:
        if t[3] is None:
            return f"({show_name(t[2])}: {self.show(t[5])})"
        formals = [
            show_name(f[0]) + (f" ? {self.show(f[1])}" if f[1] is not None else "")
            for f in sorted(t[3], key=lambda f: f[0])
        ]
        if t[4]:
            formals.append("...")
        at = f" @ {show_name(t[2])}" if t[2] is not None else ""
        return "({ " + ", ".join(formals) + " }" + at + f": {self.show(t[5])})"

    def operator(self, t) -> str:
        op = t[1]
        a = self.show(t[3])
        b = self.show(t[4])
        if op in ("-", "*", "/"):
            return f"({ {'-': '__sub', '*': '__mul', '/': '__div'}[op] } {a} {b})"
        if op == "<":
            return f"(__lessThan {a} {b})"
        if op == ">":
            return f"(__lessThan {b} {a})"
        if op == "<=":
            return f"(! (__lessThan {b} {a}))"
        if op == ">=":
            return f"(! (__lessThan {a} {b}))"
        return f"({a} {op} {b})"
