"""Regular expressions as instructions for the matcher of `regexes.py`, which alone uses this.

An instruction is SIZE numbers. A choice has a table for each of its ways that tells for every next byte (and for the
end of the text) whether that way can lead anywhere: for most patterns there is always but one way to go.

The states that the same pattern has in C++'s `std::regex` are counted, because that has a limit which Nix reports.
"""

from evaluator.core.regex_syntax import (
    Alternatives,
    Anchor,
    Bytes,
    Group,
    RegexTooComplexError,
    Repeat,
    Sequence,
)

SIZE = 6
#: A table has an entry for each byte, and for END, which stands for the end of the text.
TABLE = 257
END = 256
(
    BYTE,  # byte
    SET,  # table
    SPAN,  # table, at least, at most or -1, table of what may follow, whether to give back is of no use
    SAVE,  # slot
    AT_START,
    AT_END,
    LOOP,  # table of going in, table of going on, where in is, where on is, number of the loop or -1
    BRANCH,  # table of the first way, table of the second, where that is, where the first is
    JUMP,  # where to
    ACCEPT,
) = range(10)

_BYTES = (1 << 256) - 1
_ANYTHING = (1 << TABLE) - 1
_AT_END = 1 << END
_MOST_STATES = 100_000


class Program:
    """What the matcher runs.

    Attributes:
        code: C ints, SIZE for each instruction.
        tables: the tables, one behind the other; instructions name the place where theirs begins.
        groups: how many groups there are.
        loops: how many loops have a body that can be empty; the matcher counts the rounds of those.
        first: the table of what a match can begin with.
        branches_overlap: whether the next byte does not always tell which of two branches to take.
    """

    def __init__(self, tree, groups, whole):
        """`whole`: for matches of a whole text, otherwise for searching in it."""
        if _states(tree, {}) > _MOST_STATES:
            raise RegexTooComplexError
        self.groups = groups
        self.loops = 0
        self.branches_overlap = False
        self.words = []
        self.facts = {}
        self.known_tables = {}
        self.learn(tree)
        self.emit(tree, _AT_END if whole else _ANYTHING, not whole)
        self.add(ACCEPT)
        self.first = self.table(self.begins(tree, _AT_END if whole else _ANYTHING))
        self.code = _c_ints(self.words)
        self.tables = b"".join(self.known_tables)
        self.words = self.facts = self.known_tables = None

    def learn(self, node):
        """Find out about a node and all in it: (what it can begin with, what may follow if it reads nothing)."""
        kind = type(node)
        if kind is Bytes:
            facts = (node.mask, 0)
        elif kind is Anchor:
            facts = (0, _ANYTHING if node.at_start else _AT_END)
        elif kind is Group:
            facts = self.learn(node.body)
        elif kind is Repeat:
            begins, through = self.learn(node.body)
            facts = (begins if node.high != 0 else 0, _ANYTHING if node.low == 0 else through)
        elif kind is Alternatives:
            begins = through = 0
            for item in node.items:
                more = self.learn(item)
                begins |= more[0]
                through |= more[1]
            facts = (begins, through)
        else:
            begins = 0
            through = _ANYTHING
            for item in node.items:
                more = self.learn(item)
                begins |= through & more[0]
                through &= more[1]
            facts = (begins, through)
        self.facts[id(node)] = facts
        return facts

    def begins(self, node, follow):
        """What the text must go on with for `node` and then `follow`."""
        begins, through = self.facts[id(node)]
        return begins | through & follow

    def table(self, mask):
        """Where the table of a set of bytes is."""
        bits = bin(mask)[:1:-1].encode().ljust(TABLE, b"0")
        table = bits.translate(_DIGITS)
        where = self.known_tables.get(table)
        if where is None:
            where = self.known_tables[table] = len(self.known_tables) * TABLE
        return where

    def add(self, *words):
        """Add an instruction and return where it is."""
        where = len(self.words)
        self.words.extend(words)
        self.words.extend([0] * (SIZE - len(words)))
        return where

    def emit(self, node, follow, sure):
        """Add the instructions of a node. `follow` may come behind it; `sure`: what comes behind it cannot fail."""
        kind = type(node)
        if kind is Bytes:
            if node.mask & node.mask - 1 == 0 and node.mask:
                self.add(BYTE, node.mask.bit_length() - 1)
            else:
                self.add(SET, self.table(node.mask))
        elif kind is Anchor:
            self.add(AT_START if node.at_start else AT_END)
        elif kind is Group:
            self.add(SAVE, 2 * node.number)
            self.emit(node.body, follow, sure)
            self.add(SAVE, 2 * node.number + 1)
        elif kind is Sequence:
            follows = [(follow, sure)]
            for item in reversed(node.items[1:]):
                sure = sure and _cannot_fail(item)
                follow = self.begins(item, follow)
                follows.append((follow, sure))
            for item in node.items:
                self.emit(item, *follows.pop())
        elif kind is Alternatives:
            self.emit_alternatives(node, follow, sure)
        elif type(node.body) is Bytes:
            alone = sure or node.body.mask & follow & _BYTES == 0
            high = -1 if node.high is None else node.high
            self.add(SPAN, self.table(node.body.mask), node.low, high, self.table(follow), int(alone))
        else:
            self.emit_repeat(node, follow, sure)

    def emit_alternatives(self, node, follow, sure):
        jumps = []
        rest = 0
        branch = -1
        masks = [self.begins(item, follow) for item in node.items]
        for i in range(len(masks) - 1):
            if branch >= 0:
                self.words[branch + 3] = len(self.words)
            rest = 0
            for mask in masks[i + 1 :]:
                rest |= mask
            if masks[i] & rest:
                self.branches_overlap = True
            branch = self.add(BRANCH, self.table(masks[i]), self.table(rest), 0, len(self.words) + SIZE)
            self.emit(node.items[i], follow, sure)
            jumps.append(self.add(JUMP))
        self.words[branch + 3] = len(self.words)
        self.emit(node.items[len(node.items) - 1], follow, sure)
        for jump in jumps:
            self.words[jump + 1] = len(self.words)

    def emit_repeat(self, node, follow, sure):
        body = node.body
        begins, through = self.facts[id(body)]
        again = begins | follow
        plus = node.low == 1 and node.high is None
        # A round that must be, and is not the last, is followed by another one or by what comes behind the loop.
        for _ in range(0 if plus else node.low):
            self.emit(body, again, False)
        loop = -1
        if node.high is None:
            if through:
                loop = self.loops
                self.loops += 1
            enter = self.table(self.begins(body, again))
            leave = self.table(follow)
            if plus:
                start = len(self.words)
                self.emit(body, again, sure)
                where = self.add(LOOP, enter, leave, start, 0, loop)
            else:
                where = self.add(LOOP, enter, leave, len(self.words) + SIZE, 0, loop)
                self.emit(body, again, sure)
                self.add(JUMP, where)
            self.words[where + 4] = len(self.words)
            return
        choices = []
        for _ in range(node.high - node.low):
            if through:
                loop = self.loops
                self.loops += 1
            enter = self.table(self.begins(body, again))
            choices.append(self.add(LOOP, enter, self.table(follow), len(self.words) + SIZE, 0, loop))
            self.emit(body, again, sure)
        for where in choices:
            self.words[where + 4] = len(self.words)


def _c_ints(numbers):
    """Return numbers as an array of C ints. Not the work of `array`, which takes 4 ms to import (collections.abc)."""
    data = bytearray(4 * len(numbers))
    ints = memoryview(data).cast("i")
    for i in range(len(numbers)):
        ints[i] = numbers[i]
    return bytes(data)


_DIGITS = bytes(1 if byte == ord("1") else 0 for byte in range(256))


def _cannot_fail(node):
    """Whether a node matches everywhere, if only nothing; False may be wrong."""
    if type(node) is Group:
        return _cannot_fail(node.body)
    if type(node) is Sequence:
        return not node.items
    return type(node) is Repeat and node.low == 0


def _states(node, known):
    """How many states of std::regex a node has (those of bits/regex_compiler.tcc of GCC 12)."""
    count = known.get(id(node))
    if count is not None:
        return count
    kind = type(node)
    if kind is Bytes or kind is Anchor:
        count = 1
    elif kind is Group:
        count = 2 + _states(node.body, known) + _ends(node.body)
    elif kind is Sequence:
        count = sum([_states(item, known) for item in node.items])
    elif kind is Alternatives:
        count = sum([_states(item, known) + _ends(item) + 2 for item in node.items]) - 2
    else:
        body = _states(node.body, known)
        if (node.low, node.high) in ((0, None), (1, None)):
            count = body + 1
        elif (node.low, node.high) == (0, 1):
            count = body + 2
        else:
            count = body * (1 + node.low)
            if node.high is None:
                count += body + 1
            elif node.high > node.low:
                count += (node.high - node.low) * (body + 1) + 1
    known[id(node)] = count
    return count


def _ends(node):
    """A branch ends in one more state."""
    return 0 if type(node) is Alternatives else 1
