"""Reading lines for the repl: editing, completion and history where there is a terminal, plain lines where not."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from storefs.config import Config

_HISTORY_LENGTH = 10_000


class LineReader:
    """Asks for lines.

    Args:
        config: for the directory of the history.
        complete: returns all completions of a word.
    """

    def __init__(self, config: Config, complete: Callable[[str], list[str]]) -> None:
        self._complete = complete
        self._found: list[str] = []
        self._readline: ModuleType | None = None
        self._history = f"{config.xdg('data')}/verglas/repl-history"
        if not sys.stdin.isatty():
            return
        try:
            import readline  # noqa: PLC0415  some Pythons are built without it
        except ImportError:
            return
        self._readline = readline
        self._readline.set_completer(self._next_completion)
        # What may stand around a word; a dot is part of it.
        self._readline.set_completer_delims(" \t\n`~!@#$%^&*()=+[{]}\\|;:'\",<>?")
        self._readline.parse_and_bind("tab: complete")
        self._readline.set_history_length(_HISTORY_LENGTH)
        try:
            self._readline.read_history_file(self._history)
        except OSError:
            pass

    def _next_completion(self, word: str, index: int) -> str | None:
        if index == 0:
            self._found = self._complete(word)
        return self._found[index] if index < len(self._found) else None

    def read(self, prompt: str) -> str | None:
        """Return the next line without its end, None at the end of the input. KeyboardInterrupt for Ctrl-C."""
        if sys.stdin.isatty():
            try:
                return input(prompt)
            except EOFError:
                sys.stdout.write("\n")
                return None
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None

    def close(self) -> None:
        """Write the history."""
        if self._readline is None:
            return
        try:
            os.makedirs(os.path.dirname(self._history), exist_ok=True)
            self._readline.write_history_file(self._history)
        except OSError:
            pass
