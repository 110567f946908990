"""POSIX extended regular expressions as `builtins.match` and `builtins.split` need them.

The dialect and its choices are those of C++'s `std::regex::extended`, which Nix uses: bytes, not characters; `.` is
every byte; no back references; in a full match the first branch that leads to the end wins, in a search the longest one
does.

Two engines. Most patterns are translated to Python's `re`. Where a backtracking engine could need exponential time
(an ambiguous loop such as `(a|a)*` or `(a*)*`), or would pick another branch than the longest, a simulation of
all threads at once is used (Pike's machine, Russ Cox, "Regular Expression Matching: the Virtual Machine Approach"):
slower a byte, but linear in the subject.

It does no I/O and knows nothing of Nix values. `regexes.py` is its only caller. Importing it costs `re` (3-6 ms).
"""

from __future__ import annotations

import re

from evaluator.builtins.regex_simulation import Machine, compile_machine
from evaluator.builtins.regex_syntax import (
    Alternatives,
    Anchor,
    Bytes,
    Group,
    Node,
    RegexTooComplexError,
    Sequence,
    parse_regex,
)

# A backtracking engine may need len(subject) ** (number of open-ended loops) steps: above this the simulation is used.
_MOST_STEPS = 200_000_000


def _python_set(mask: int) -> bytes:
    """The `re` spelling of one byte out of MASK (bit n stands for byte n)."""
    if mask == (1 << 256) - 1:
        return rb"[\x00-\xff]"
    if not mask:
        return b"(?!)"
    out = []
    low = 0
    while low < 256:
        if mask >> low & 1:
            high = low
            while high < 255 and mask >> (high + 1) & 1:
                high += 1
            out.append(b"\\x%02x" % low if high == low else b"\\x%02x-\\x%02x" % (low, high))
            low = high
        low += 1
    return out[0] if len(out) == 1 and b"-" not in out[0] else b"[" + b"".join(out) + b"]"


def _python_text(node: Node) -> bytes:
    if isinstance(node, Bytes):
        return _python_set(node.mask)
    if isinstance(node, Anchor):
        return rb"\A" if node.at_start else rb"\Z"
    if isinstance(node, Sequence):
        return b"".join([_python_text(item) for item in node.items])
    if isinstance(node, Alternatives):
        return b"(?:" + b"|".join([_python_text(item) for item in node.items]) + b")"
    if isinstance(node, Group):
        return b"(" + _python_text(node.body) + b")"
    body = _python_text(node.body)
    if not isinstance(node.body, (Bytes, Group)):
        body = b"(?:" + body + b")"
    low, high = node.low, node.high
    if high is None and low < 2:
        return body + (b"+" if low else b"*")
    if (low, high) == (0, 1):
        return body + b"?"
    # `{n}` after a quantifier would read as possessive or lazy, so a quantified body is always in parentheses above.
    return body + b"{%d,%s}" % (low, b"" if high is None else b"%d" % high)


class _Shape:
    """What decides between the engines: the position automaton of a pattern (Glushkov) and whether it is ambiguous."""

    def __init__(self, node: Node) -> None:
        self.masks: list[int] = []
        self.follow: list[list[int]] = []
        self.ambiguous = False
        self.complex_loop = False
        self.open_loops = 0
        self.overlapping_branches = False
        _, first, _ = self._visit(node)
        self.deterministic = all(self._disjoint(positions) for positions in [first, *self.follow])

    def _disjoint(self, positions: list[int]) -> bool:
        """Whether the next byte always tells which of the positions it is at."""
        seen = 0
        for position in positions:
            if seen & self.masks[position]:
                return False
            seen |= self.masks[position]
        return True

    def _visit(self, node: Node) -> tuple[bool, list[int], list[int]]:
        """(nullable, first positions, last positions)"""
        if isinstance(node, Bytes):
            self.masks.append(node.mask)
            self.follow.append([])
            here = [len(self.masks) - 1]
            return False, here, here
        if isinstance(node, Anchor):
            return True, [], []
        if isinstance(node, Group):
            return self._visit(node.body)
        if isinstance(node, Sequence):
            nullable = True
            first: list[int] = []
            last: list[int] = []
            for item in node.items:
                item_nullable, item_first, item_last = self._visit(item)
                self._join(last, item_first)
                first = first + item_first if nullable else first
                last = last + item_last if item_nullable else item_last
                nullable = nullable and item_nullable
            return nullable, first, last
        if isinstance(node, Alternatives):
            nullable, first, last = False, [], []
            seen = 0
            for item in node.items:
                item_nullable, item_first, item_last = self._visit(item)
                union = 0
                for position in item_first:
                    union |= self.masks[position]
                self.overlapping_branches |= item_nullable or bool(seen & union)
                seen |= union
                nullable = nullable or item_nullable
                first, last = first + item_first, last + item_last
            return nullable, first, last
        nullable, first, last = self._visit(node.body)
        if node.high is None or node.high > 1:
            if node.high is None:
                self.open_loops += 1
            if not isinstance(node.body, Bytes) and (node.high is None or node.high > 8):
                self.complex_loop = True
            self._join(last, first)
        return nullable or not node.low, first, last

    def _join(self, sources: list[int], targets: list[int]) -> None:
        for source in sources:
            for target in targets:
                if target in self.follow[source]:
                    self.ambiguous = True  # two ways from here to there: (a*)*
                else:
                    self.follow[source].append(target)

    def exponential(self) -> bool:
        """Whether some word can be read in two ways around one loop, so that backtracking may take exponential time."""
        if not self.complex_loop:
            return False
        if self.ambiguous or len(self.masks) > 200:
            return True
        # In the product of the automaton with itself: can a diagonal pair reach an off-diagonal one and come back?
        masks, follow = self.masks, self.follow
        forward: dict[tuple[int, int], list[tuple[int, int]]] = {}
        todo = [(p, p) for p in range(len(masks))]
        seen = set(todo)
        while todo:
            pair = todo.pop()
            nexts = [(a, b) for a in follow[pair[0]] for b in follow[pair[1]] if masks[a] & masks[b]]
            forward[pair] = nexts
            for other in nexts:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return _diagonal_cycle(forward)


def _diagonal_cycle(graph: dict[tuple[int, int], list[tuple[int, int]]]) -> bool:
    """Whether a strongly connected component holds both a pair (p, p) and a pair (q, r), q /= r (Tarjan, iterative)."""
    index: dict[tuple[int, int], int] = {}
    low: dict[tuple[int, int], int] = {}
    on_stack: set[tuple[int, int]] = set()
    stack: list[tuple[int, int]] = []
    for root in list(graph):
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    stack.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter(graph[successor])))
                    break
                if successor in on_stack:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component: list[tuple[int, int]] = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    if any(p == q for p, q in component) and any(p != q for p, q in component):
                        return True
    return False


class Regex:
    """A compiled pattern. `fullmatch` and `search` return the spans of the groups, or None."""

    def __init__(self, pattern: bytes) -> None:
        """Raises `RegexSyntaxError` for what is not a POSIX extended regular expression, `RegexTooComplexError`."""
        self._tree, self.groups = parse_regex(pattern)
        shape = _Shape(self._tree)
        self._exponential = shape.exponential()
        self._polynomial = 0 if shape.deterministic else shape.open_loops
        self._longest = shape.overlapping_branches
        #: For ASCII subjects of up to `longest_subject` characters; None where that engine will not do.
        self.ascii: re.Pattern[str] | None = None
        self._translated = b""
        self._python: re.Pattern[bytes] | None = None
        if not self._exponential:
            self._translated = _python_text(self._tree)
            self.ascii = re.compile(self._translated.decode("ascii"), re.DOTALL)
        #: Longer subjects are not for `ascii`.
        self.longest_subject = int(_MOST_STEPS ** (1 / self._polynomial)) if self._polynomial > 2 else 1 << 62
        self.finds_longest = self._longest
        self._machine: Machine | None = None
        if self._exponential or self._longest:
            self._slow()

    def _fast(self) -> re.Pattern[bytes]:
        """The same engine for any bytes: few programs match anything but ASCII."""
        if self._python is None:
            self._python = re.compile(self._translated, re.DOTALL)
        return self._python

    def _slow(self) -> Machine:
        if self._machine is None:
            self._machine = compile_machine(self._tree, self.groups, self._longest)
        return self._machine

    def _too_long(self, subject: bytes) -> bool:
        if len(subject) <= self.longest_subject:
            return False
        try:
            self._slow()
        except RegexTooComplexError:
            return False  # written out it would be larger than what the other engine needs
        return True

    def fullmatch(self, subject: bytes) -> list[tuple[int, int]] | None:
        """Spans of all groups (the whole first; (-1, -1) for one that took no part) if all of SUBJECT matches."""
        if self._exponential or self._too_long(subject):
            return self._slow().fullmatch(subject)
        found = self._fast().fullmatch(subject)
        return None if found is None else list(found.regs)

    def search(self, subject: bytes, start: int) -> list[tuple[int, int]] | None:
        """The leftmost match at or after START; `^` still means the start of SUBJECT."""
        if self._exponential or self._longest or self._too_long(subject):
            return self._slow().search(subject, start)
        found = self._fast().search(subject, start)
        return None if found is None else list(found.regs)
