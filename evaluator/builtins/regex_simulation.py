"""Linear-time matching: every thread of a regular expression is advanced together, one byte at a time.

The method is Pike's (see `posix_regex.py`, the only caller): threads are kept in order of priority, at most one per
program counter, so a subject of n bytes costs at most n times the size of the program.
"""

from __future__ import annotations

from evaluator.builtins.regex_syntax import (
    Alternatives,
    Anchor,
    Bytes,
    Group,
    Node,
    RegexTooComplexError,
    Repeat,
    Sequence,
)

_BYTE, _SPLIT, _JUMP, _SAVE, _START, _END, _MATCH = range(7)
_MOST_STATES = 100_000

_Instruction = tuple[int, int, int]
_Saves = tuple[int, ...]
_Thread = tuple[int, _Saves]


class _Compiler:
    def __init__(self) -> None:
        self.program: list[_Instruction] = []

    def emit(self, op: int, x: int = 0, y: int = 0) -> int:
        if len(self.program) >= _MOST_STATES:
            raise RegexTooComplexError
        self.program.append((op, x, y))
        return len(self.program) - 1

    def compile(self, node: Node) -> None:
        if isinstance(node, Bytes):
            self.emit(_BYTE, node.mask)
        elif isinstance(node, Anchor):
            self.emit(_START if node.at_start else _END)
        elif isinstance(node, Sequence):
            for item in node.items:
                self.compile(item)
        elif isinstance(node, Group):
            self.emit(_SAVE, 2 * node.number)
            self.compile(node.body)
            self.emit(_SAVE, 2 * node.number + 1)
        elif isinstance(node, Alternatives):
            self.alternatives(node)
        else:
            self.repeat(node)

    def alternatives(self, node: Alternatives) -> None:
        jumps = []
        for item in node.items[:-1]:
            split = self.emit(_SPLIT)
            self.compile(item)
            jumps.append(self.emit(_JUMP))
            self.program[split] = (_SPLIT, split + 1, len(self.program))
        self.compile(node.items[-1])
        for jump in jumps:
            self.program[jump] = (_JUMP, len(self.program), 0)

    def repeat(self, node: Repeat) -> None:
        for _ in range(node.low):
            self.compile(node.body)
        if node.high is None:
            split = self.emit(_SPLIT)
            self.compile(node.body)
            # Not a plain jump: a last round that read nothing finds `split` already visited, and must still leave
            # the loop with what its groups saw, as in std::regex.
            again = self.emit(_SPLIT)
            self.program[again] = (_SPLIT, split, len(self.program))
            self.program[split] = (_SPLIT, split + 1, len(self.program))
            return
        splits = []
        for _ in range(node.high - node.low):
            splits.append(self.emit(_SPLIT))
            self.compile(node.body)
        for split in splits:
            self.program[split] = (_SPLIT, split + 1, len(self.program))


class Machine:
    """A program and the number of groups; `longest` makes a search prefer the longest match over the first."""

    def __init__(self, program: list[_Instruction], groups: int, longest: bool) -> None:
        self._program = program
        self._slots = 2 * (groups + 1)
        self._longest = longest

    def _add(self, threads: list[_Thread], seen: set[int], thread: _Thread, at: int, end: int) -> None:
        """Follow the instructions that read no byte, in order of priority."""
        program = self._program
        todo = [thread]
        while todo:
            counter, saves = todo.pop()
            if counter in seen:
                continue
            seen.add(counter)
            op, x, y = program[counter]
            if op == _JUMP:
                todo.append((x, saves))
            elif op == _SPLIT:
                todo.append((y, saves))
                todo.append((x, saves))
            elif op == _SAVE:
                todo.append((counter + 1, (*saves[:x], at, *saves[x + 1 :])))
            elif op == _START:
                if at == 0:
                    todo.append((counter + 1, saves))
            elif op == _END:
                if at == end:
                    todo.append((counter + 1, saves))
            else:
                threads.append((counter, saves))

    def _run(self, subject: bytes, start: int, anchored: bool) -> _Saves | None:
        program = self._program
        end = len(subject)
        blank = (-1,) * self._slots
        threads: list[_Thread] = []
        best: _Saves | None = None
        at = start
        while True:
            seen = {counter for counter, _ in threads}
            if best is None and (at == start or not anchored):
                # The thread that starts here has the lowest priority: an earlier start always wins.
                self._add(threads, seen, (0, (at, *blank[1:])), at, end)
            byte = subject[at] if at < end else -1
            survivors: list[_Thread] = []
            reached: set[int] = set()
            matched_here = False
            for counter, saves in threads:
                op, mask, _ = program[counter]
                if op == _MATCH:
                    if anchored and at != end:
                        continue
                    if matched_here or (best is not None and saves[0] != best[0]):
                        continue
                    best = (saves[0], at, *saves[2:])
                    if anchored or not self._longest:
                        break
                    matched_here = True
                elif byte >= 0 and mask >> byte & 1 and (best is None or saves[0] == best[0]):
                    self._add(survivors, reached, (counter + 1, saves), at + 1, end)
            threads = survivors
            if at >= end or (not threads and (best is not None or anchored)):
                return best
            at += 1

    def fullmatch(self, subject: bytes) -> list[tuple[int, int]] | None:
        """Spans of the groups if all of SUBJECT matches."""
        return _spans(self._run(subject, 0, True))

    def search(self, subject: bytes, start: int) -> list[tuple[int, int]] | None:
        """Spans of the groups of the leftmost match at or after START."""
        return _spans(self._run(subject, start, False))


def _spans(saves: _Saves | None) -> list[tuple[int, int]] | None:
    if saves is None:
        return None
    return [(saves[i], saves[i + 1]) if saves[i + 1] >= 0 else (-1, -1) for i in range(0, len(saves), 2)]


def compile_machine(tree: Node, groups: int, longest: bool) -> Machine:
    """Raises `RegexTooComplexError` when the pattern, with its repetitions written out, is too large."""
    compiler = _Compiler()
    compiler.compile(tree)
    compiler.emit(_MATCH)
    return Machine(compiler.program, groups, longest)
