"""Where an evaluation spends its time: folded stacks and a flame graph of them.

Every call of a Nix function is timed, so the whole takes some times longer than usual and cheap functions look dearer
than they are; the proportions between large parts are right. `PREFIX.folded` has lines `outer;inner microseconds`,
which other tools read; `PREFIX.svg` is a picture that needs nothing else: a click enlarges a part, and every part says
what it is. Semantics of the format: Brendan Gregg, "The Flame Graph", CACM 59(6), 2016.
"""

from __future__ import annotations

import time

from evaluator.core.values import observe_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from evaluator.core.values import Lambda
    from evaluator.session import Session
    from evaluator.source import Positions

_WIDTH = 1200
_ROW = 18
_NARROWEST = 0.3  # pixels; a narrower part can't be seen
_DEEPEST = 300  # levels; what is above them counts for the last one


class _Node:
    """A function called from where its parent was: own time, and the functions called from it."""

    __slots__ = ("children", "own", "parent")

    def __init__(self, parent: _Node | None) -> None:
        self.parent = parent
        self.own = 0
        self.children: dict[Lambda, _Node] = {}


class Profiler:
    """Is told of every call (`core.values.observe_calls`). Times are nanoseconds."""

    def __init__(self) -> None:
        self.root = _Node(None)
        self._current = self.root
        self._since = time.perf_counter_ns()

    def enter(self, code: Lambda, pos: int) -> None:
        """Note that a function is entered from `pos`."""
        now = time.perf_counter_ns()
        current = self._current
        current.own += now - self._since
        node = current.children.get(code)
        if node is None:
            node = current.children[code] = _Node(current)
        self._current = node
        self._since = now

    def leave(self) -> None:
        """Note that the innermost function is left."""
        now = time.perf_counter_ns()
        current = self._current
        current.own += now - self._since
        self._current = current.parent or self.root
        self._since = now

    def write(self, prefix: str, positions: Positions) -> None:
        """Write PREFIX.folded and PREFIX.svg. OSError if that is refused."""
        names: dict[Lambda, str] = {}
        tree = _named(self.root, names, positions)
        with open(prefix + ".folded", "w", encoding="utf-8", errors="surrogateescape") as file:
            for stack, nanoseconds in _stacks(tree, ()):
                if nanoseconds >= 1000:
                    file.write(f"{';'.join(stack)} {nanoseconds // 1000}\n")
        with open(prefix + ".svg", "w", encoding="utf-8", errors="replace") as file:
            file.write(_picture(tree))


class _Part:
    """A part of the picture: a name, own and whole time, and what is above it."""

    __slots__ = ("children", "name", "own", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.own = 0
        self.total = 0
        self.children: dict[str, _Part] = {}


def _named(root: _Node, names: dict[Lambda, str], positions: Positions) -> _Part:
    """The same tree with names. Functions that look alike are one, and so are the levels of a recursion."""
    top = _Part("all")
    order = [top]
    todo = [(root, top, 0)]
    while todo:
        node, part, depth = todo.pop()
        part.own += node.own
        for code, child in node.children.items():
            name = names.get(code)
            if name is None:
                place = positions.resolve(code.pos)  # type: ignore[attr-defined]
                where = place.where() if place is not None else "?"
                name = f"{code.name or 'lambda'} ({where})".replace(";", ",")  # type: ignore[attr-defined]
                names[code] = name
            below = part if name == part.name or depth >= _DEEPEST else part.children.get(name)
            if below is None:
                below = part.children[name] = _Part(name)
                order.append(below)
            todo.append((child, below, depth + (below is not part)))
    for part in reversed(order):
        part.total = part.own + sum(child.total for child in part.children.values())
    return top


def _stacks(top: _Part, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    todo = [(top, above)]
    while todo:
        part, stack = todo.pop()
        here = (*stack, part.name)
        yield here, part.own
        todo.extend((child, here) for child in part.children.values())


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _picture(top: _Part) -> str:
    boxes: list[str] = []
    deepest = 0
    scale = _WIDTH / max(top.total, 1)
    todo = [(top, 0.0, 0)]
    while todo:
        part, left, depth = todo.pop()
        width = part.total * scale
        if width < _NARROWEST:
            continue
        deepest = max(deepest, depth)
        share = 100 * part.total / max(top.total, 1)
        label = _escape(part.name)
        # The hue says which function, so one function has one colour wherever it is.
        hue = sum(part.name.encode("utf-8", "replace")) % 50 + 10
        shown = _escape(part.name[: max(0, int(width / 6.5))]) if width > 30 else ""
        title = f"{label}: {part.total / 1e6:.2f} ms, {share:.1f}%"
        boxes.append(
            f'<g data-x="{left:.2f}" data-w="{width:.2f}"><title>{title}</title>'
            f'<rect x="{left:.2f}" y="{depth * _ROW}" width="{width:.2f}" height="{_ROW - 1}" '
            f'fill="hsl({hue},80%,65%)"/><text x="{left + 3:.2f}" y="{depth * _ROW + 13}">{shown}</text></g>'
        )
        for child in sorted(part.children.values(), key=lambda each: each.name):
            todo.append((child, left, depth + 1))
            left += child.total * scale
    height = (deepest + 1) * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="monospace" font-size="11"><style>rect{cursor:pointer}text{pointer-events:none}</style>'
        f"{''.join(boxes)}<script><![CDATA[{_SCRIPT}]]></script></svg>\n"
    )


# A click makes a part as wide as the picture; a click on the lowest part shows everything again.
_SCRIPT = """
const groups = [...document.querySelectorAll('g')], width = WIDTH;
for (const clicked of groups) clicked.addEventListener('click', () => {
  const from = +clicked.dataset.x, scale = width / clicked.dataset.w;
  for (const g of groups) {
    const x = (g.dataset.x - from) * scale, w = g.dataset.w * scale, shown = x < width && x + w > 0;
    g.style.display = shown ? '' : 'none';
    if (!shown) continue;
    const rect = g.querySelector('rect'), text = g.querySelector('text'), left = Math.max(x, 0);
    rect.setAttribute('x', left); rect.setAttribute('width', Math.min(x + w, width) - left);
    text.setAttribute('x', left + 3);
    const room = Math.floor(Math.min(w, width) / 6.5);
    text.textContent = w > 30 ? g.querySelector('title').textContent.slice(0, room) : '';
  }
});
""".replace("WIDTH", str(_WIDTH))


def profiled(session: Session, prefix: str, evaluate: Callable[[], int]) -> int:
    """Evaluate with a profiler, write its findings even if the evaluation fails, and return what `evaluate` does."""
    profiler = Profiler()

    def body() -> int:
        observe_calls(trace=session.settings.show_trace, profile=profiler)
        try:
            return evaluate()
        finally:
            observe_calls(trace=session.settings.show_trace)

    try:
        return session.run(body)
    finally:
        profiler.write(prefix, session.state.positions)
