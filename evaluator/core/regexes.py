"""`match` and `split`, and the matcher behind them.

The dialect and its choices are those of C++'s `std::regex::extended`, which Nix uses: bytes, not characters; `.` is
every byte but NUL; no back references. What matches is what the search of libstdc++ finds (bits/regex_executor.tcc):
a repetition takes as many rounds as it can and gives back only what it must; of two branches both are tried, and the
one that leads to the longer match wins, the first if they are equal. A loop may read nothing twice at one place.

The matcher walks through the text once, looking at the next byte to choose its way. Where that leaves two ways it
tries both, one inside the other. When that takes long, it remembers where it has been without success, so that no
pattern needs exponential time.

How builtins are written is described in values.py; the instructions are those of regex_program.py.
"""

import cython

from evaluator.core.regex_program import (
    ACCEPT,
    AT_END,
    AT_START,
    BRANCH,
    BYTE,
    JUMP,
    LOOP,
    SAVE,
    SET,
    SIZE,
    SPAN,
    Program,
)
from evaluator.core.regex_syntax import RegexSyntaxError, RegexTooComplexError, parse_regex
from evaluator.errors import EvalError

if cython.compiled:
    from cython.cimports.cpython.unicode import PyUnicode_1BYTE_DATA
    from cython.cimports.libc.stdlib import free, realloc
else:
    from evaluator.core.calls import force_string, force_string_no_context
    from evaluator.core.values import NULL, check_stack, poll

# The numbers of the instructions, as C knows them.
_BYTE = BYTE
_SET = SET
_SPAN = SPAN
_SAVE = SAVE
_AT_START = AT_START
_AT_END = AT_END
_LOOP = LOOP
_BRANCH = BRANCH
_JUMP = JUMP
_ACCEPT = ACCEPT
_SIZE = SIZE
_END = 256

#: So many choices that needed trying are tried before the matcher starts to remember.
_FREE_TRIALS = 5000
#: More than that is not remembered.
_MOST_REMEMBERED = 1 << 30
_FAILED = 1
_SUCCEEDED = 2


@cython.final
@cython.cclass
class Matcher:
    """Runs one program. `saves` has where the groups begin and end (0 and 1: the whole), -1 for one that is unused."""

    def __init__(self, program, whole):
        self.program = program
        self.whole = whole
        self.overlaps = program.branches_overlap and not whole
        self.slots = 2 * (program.groups + 1)
        self.first = program.first
        self.memo = None
        self.used = self.room = 0
        self.code_bytes = program.code
        self.table_bytes = program.tables
        self.tables = self.table_bytes
        self.loops = program.loops
        self.current = bytearray(8 * self.slots)
        self.saves = bytearray(8 * self.slots)
        self.rounds = bytearray(16 * max(program.loops, 1))
        if cython.compiled:
            self.trail = cython.NULL
            self.code = cython.cast(cython.p_int, cython.cast(cython.p_char, self.code_bytes))
            self.at = cython.cast(cython.pointer(cython.Py_ssize_t), cython.cast(cython.p_char, self.current))
            self.best = cython.cast(cython.pointer(cython.Py_ssize_t), cython.cast(cython.p_char, self.saves))
            self.round = cython.cast(cython.pointer(cython.Py_ssize_t), cython.cast(cython.p_char, self.rounds))
        else:
            self.trail = []
            self.code = memoryview(self.code_bytes).cast("i")
            self.at = memoryview(self.current).cast("q")
            self.best = memoryview(self.saves).cast("q")
            self.round = memoryview(self.rounds).cast("q")

    def __dealloc__(self):
        if cython.compiled:
            free(self.trail)

    def begin(self, text, owner):
        """Take a text: the bytes `text`, or in compiled code those inside of the ASCII string `owner`."""
        self.owner = owner
        if not cython.compiled:
            self.s = text
            self.n = len(text)
        elif type(text) is bytes:
            self.s = cython.cast(cython.p_uchar, cython.cast(cython.p_char, text))
            self.n = len(cython.cast(bytes, text))
        else:
            self.s = cython.cast(cython.p_uchar, PyUnicode_1BYTE_DATA(text))
            self.n = len(cython.cast(str, text))
        self.forget()

    def matches(self, text):
        """Whether all of a string matches."""
        raw: bytes = text.encode("utf-8", "surrogateescape")
        self.begin(raw, raw)
        return True if self.find(0) else False

    def forget(self):
        """Remember nothing."""
        i: cython.Py_ssize_t
        self.memo = None
        self.trials = 0
        for i in range(2 * self.loops):
            self.round[i] = 0

    def find(self, start):
        """Find the first match at or after `start`, for a whole match at 0; return whether there is one."""
        tables: cython.p_const_uchar = self.tables
        first: cython.int = self.first
        i: cython.Py_ssize_t
        if self.overlaps:  # of two ways the longer counts, so what is remembered are successes, too
            self.forget()
        while start <= self.n:
            if tables[first + (self.s[start] if start < self.n else _END)]:
                for i in range(self.slots):
                    self.at[i] = -1
                self.best[1] = -1
                self.depth = 0
                self.used = 0
                if self.run(0, start):
                    self.best[0] = start
                    if self.memo is not None:  # as failures, also what has led here
                        self.forget()
                    return True
            if self.whole:
                return False
            start += 1
        return False

    def run(self, pc, at):
        """Follow the program from an instruction and a place of the text; return whether it came to its end."""
        code: cython.p_const_int = self.code
        tables: cython.p_const_uchar = self.tables
        s: cython.p_const_uchar = self.s
        n: cython.Py_ssize_t = self.n
        found: cython.int = 0
        op: cython.int
        table: cython.int
        c: cython.int
        slot: cython.int
        on: cython.int
        limit: cython.Py_ssize_t
        least: cython.Py_ssize_t
        end: cython.Py_ssize_t
        mark: cython.Py_ssize_t
        while True:
            op = code[pc]
            if op == _BYTE:
                if at == n or s[at] != code[pc + 1]:
                    return found
                at += 1
                pc += _SIZE
            elif op == _SPAN:
                table = code[pc + 1]
                limit = n
                if code[pc + 3] >= 0 and code[pc + 3] < n - at:
                    limit = at + code[pc + 3]
                end = at
                least = at + code[pc + 2]
                if self.memo is None or self.overlaps or code[pc + 5] or code[pc + 3] >= 0:
                    if self.memo is not None and not self.overlaps and not code[pc + 5] and self.been(pc, at):
                        return found
                    while end < limit and tables[table + s[end]]:
                        end += 1
                else:
                    end = self.new_end(pc, at)
                if end < least:
                    return found
                if not code[pc + 5] and end > least:
                    # The longest first; the shortest goes on in this round.
                    table = code[pc + 4]
                    while end > least:
                        if tables[table + (s[end] if end < n else _END)]:
                            mark = self.used
                            if self.attempt(pc + _SIZE, end):
                                return 1
                            self.undo(mark)
                        end -= 1
                at = end
                pc += _SIZE
            elif op == _SAVE:
                slot = code[pc + 1]
                if self.depth:
                    self.note(slot)
                self.at[slot] = at
                pc += _SIZE
            elif op == _LOOP:
                c = s[at] if at < n else _END
                on = tables[code[pc + 2] + c]
                if not tables[code[pc + 1] + c]:
                    if not on:
                        return found
                    pc = code[pc + 4]
                elif code[pc + 5] < 0 and not on:
                    pc = code[pc + 3]
                else:
                    if (
                        self.memo is not None
                        and not self.overlaps
                        and self.is_new(code[pc + 5], at)
                        and self.been(pc, at)
                    ):
                        return found
                    mark = self.used
                    if self.another_round(pc, at):
                        return 1
                    self.undo(mark)
                    pc = code[pc + 4]
            elif op == _BRANCH:
                c = s[at] if at < n else _END
                on = tables[code[pc + 2] + c]
                if not tables[code[pc + 1] + c]:
                    if not on:
                        return found
                    pc = code[pc + 3]
                elif not on:
                    pc = code[pc + 4]
                else:
                    if self.memo is not None and not self.overlaps and self.been(pc, at):
                        return found
                    mark = self.used
                    if self.attempt(code[pc + 4], at):
                        if self.whole:
                            return 1
                        found = 1
                    self.undo(mark)
                    pc = code[pc + 3]
            elif op == _SET:
                if at == n or not tables[code[pc + 1] + s[at]]:
                    return found
                at += 1
                pc += _SIZE
            elif op == _JUMP:
                pc = code[pc + 1]
            elif op == _AT_START:
                if at != 0:
                    return found
                pc += _SIZE
            elif op == _AT_END:
                if at != n:
                    return found
                pc += _SIZE
            else:
                if self.whole and at != n:
                    return found
                if at > self.best[1]:
                    for slot in range(2, self.slots):
                        self.best[slot] = self.at[slot]
                    self.best[1] = at
                return 1

    def attempt(self, pc, at):
        """`run`, where there is another way if this one fails."""
        result: cython.int
        where: cython.Py_ssize_t = -1
        check_stack()
        self.trials += 1
        if self.trials & 0xFFF == 0:
            poll()
        if self.trials > _FREE_TRIALS:
            if self.memo is None:
                self.remember()
            if self.overlaps:
                where = pc // _SIZE * (self.n + 1) + at
                if self.memo[where]:
                    return self.memo[where] == _SUCCEEDED
        self.depth += 1
        result = self.run(pc, at)
        self.depth -= 1
        if where >= 0:
            self.memo[where] = _SUCCEEDED if result else _FAILED
        return result

    def another_round(self, pc, at):
        """Go into a loop once more, unless it has read nothing twice here."""
        code: cython.p_const_int = self.code
        loop: cython.int = code[pc + 5]
        result: cython.int
        where: cython.Py_ssize_t
        rounds: cython.Py_ssize_t
        if loop < 0:
            return self.attempt(code[pc + 3], at)
        where = self.round[2 * loop]
        rounds = self.round[2 * loop + 1]
        if self.is_new(loop, at):
            self.round[2 * loop] = at
            self.round[2 * loop + 1] = 1
        elif rounds < 2:
            self.round[2 * loop + 1] = 2
        else:
            return 0
        result = self.attempt(code[pc + 3], at)
        self.round[2 * loop] = where
        self.round[2 * loop + 1] = rounds
        return result

    def is_new(self, loop, at):
        """Whether no round of a loop has read nothing here: what is remembered knows nothing of rounds."""
        return loop < 0 or self.round[2 * loop + 1] == 0 or self.round[2 * loop] != at

    def remember(self):
        """Begin to remember: a byte for each instruction at each place of the text, which the system gives as zeros."""
        size: cython.Py_ssize_t = len(self.code_bytes) // (4 * _SIZE) * (self.n + 1)
        if size > _MOST_REMEMBERED:
            raise RegexTooComplexError
        self.memo = bytearray(size)

    def been(self, pc, at):
        """Whether this choice was there before at this place, then it failed; from now on it was."""
        where: cython.Py_ssize_t = pc // _SIZE * (self.n + 1) + at
        if self.memo[where]:
            return 1
        self.memo[where] = _FAILED
        return 0

    def new_end(self, pc, at):
        """Return the last end of a span from `at` on that was not tried before; a place before its least end if none.

        When an end was tried, all behind it were.
        """
        table: cython.int = self.code[pc + 1]
        least: cython.Py_ssize_t = at + self.code[pc + 2]
        while at < least:
            if at == self.n or not self.tables[table + self.s[at]]:
                return at
            at += 1
        while not self.been(pc, at):
            if at == self.n or not self.tables[table + self.s[at]]:
                return at
            at += 1
        return at - 1

    def note(self, slot):
        """Keep what a slot has, for `undo`."""
        if cython.compiled:
            if self.used + 2 > self.room:
                self.room = 2 * self.room + 64
                self.trail = cython.cast(
                    cython.pointer(cython.Py_ssize_t), realloc(self.trail, self.room * cython.sizeof(cython.Py_ssize_t))
                )
                if self.trail == cython.NULL:
                    self.room = 0
                    raise MemoryError
            self.trail[self.used] = slot
            self.trail[self.used + 1] = self.at[slot]
        else:
            self.trail[self.used :] = [slot, self.at[slot]]
        self.used += 2
        return 0

    def undo(self, mark):
        """Give back to the slots what they had when `used` was `mark`."""
        while self.used > mark:
            self.used -= 2
            self.at[self.trail[self.used]] = self.trail[self.used + 1]


@cython.cfunc
def matcher(state: object, pattern: object, whole: cython.bint, doing: str) -> Matcher:
    """The matcher of a pattern, which is a value. Each is made once."""
    known: dict = state.memo.get("whole regexes" if whole else "regexes")
    found: object
    if type(pattern) is not str:
        pattern = force_string_no_context(pattern, doing)
    if known is None:
        known = state.memo["whole regexes" if whole else "regexes"] = {}
    found = known.get(pattern)
    if found is None:
        try:
            tree, groups = parse_regex(pattern.encode("utf-8", "surrogateescape"))
            found = Matcher(Program(tree, groups, whole), whole)
        except RegexSyntaxError:
            raise EvalError(f"invalid regular expression '{pattern}'") from None
        except RegexTooComplexError:
            raise too_complex(pattern) from None
        known[pattern] = found
    return found


def whole_matcher(pattern):
    """Return a function that tells whether all of a string matches. For code outside of evaluations.

    Raises RegexSyntaxError, RegexTooComplexError.
    """
    tree, groups = parse_regex(pattern.encode("utf-8", "surrogateescape"))
    m: Matcher = Matcher(Program(tree, groups, True), True)
    return m.matches


def too_complex(pattern):
    """Return the error for a pattern that needs too much memory."""
    return EvalError(f"memory limit exceeded by regular expression '{pattern}'")


@cython.cfunc
def groups_of(m: Matcher, text: str, raw: object) -> list:
    """What the groups of a match have; `raw` is None if the text is ASCII."""
    out: list = []
    slot: cython.Py_ssize_t
    for slot in range(2, m.slots, 2):
        if m.best[slot + 1] < 0:
            out.append(NULL)
        else:
            out.append(piece(text, raw, m.best[slot], m.best[slot + 1]))
    return out


@cython.cfunc
def piece(text: str, raw: object, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> str:
    """The text between two places of what was matched."""
    if raw is None:
        return text[start:end]
    return cython.cast(bytes, raw)[start:end].decode("utf-8", "surrogateescape")


def prim_match(state, pattern, text):
    """`match regex s`: the groups if the extended POSIX regular expression *regex* matches all of *s*, else null.

    A group that took no part in the match is null.
    """
    m: Matcher = matcher(state, pattern, True, "while evaluating the first argument passed to builtins.match")
    subject: str = force_string(text, "while evaluating the second argument passed to builtins.match")
    raw: object = None
    if not subject.isascii():
        raw = subject.encode("utf-8", "surrogateescape")
    try:
        if cython.compiled and raw is None:
            m.begin(subject, subject)
        else:
            m.begin(subject.encode() if raw is None else raw, raw)
        if not m.find(0):
            return NULL
    except RegexTooComplexError:
        raise too_complex(force_string(pattern)) from None
    return groups_of(m, subject, raw)


def prim_split(state, pattern, text):
    """`split regex s`: what is between the matches of *regex* in *s*, and in between each match's list of groups."""
    m: Matcher = matcher(state, pattern, False, "while evaluating the first argument passed to builtins.split")
    subject: str = force_string(text, "while evaluating the second argument passed to builtins.split")
    raw: object = None
    done: cython.Py_ssize_t = 0
    at: cython.Py_ssize_t = 0
    out: list = []
    # Nobody can tell that all matches of a pattern without groups have the same list.
    none: list = []
    if not subject.isascii():
        raw = subject.encode("utf-8", "surrogateescape")
    try:
        if cython.compiled and raw is None:
            m.begin(subject, subject)
        else:
            m.begin(subject.encode() if raw is None else raw, raw)
        while at <= m.n and m.find(at):
            out.append(piece(subject, raw, done, m.best[0]))
            out.append(none if m.slots == 2 else groups_of(m, subject, raw))
            done = at = m.best[1]
            if m.best[0] == done:  # after an empty match the next one must start further on
                at += 1
    except RegexTooComplexError:
        raise too_complex(force_string(pattern)) from None
    if not out:
        return [subject]
    out.append(piece(subject, raw, done, m.n))
    return out
