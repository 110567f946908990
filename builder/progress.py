"""What people and programs are told while builds run: plain lines, or Nix's machine-readable log.

`Progress` writes the lines that scripts know from Nix; with `--log-format internal-json` it writes `@nix {...}`
messages instead, which nix-output-monitor and others read. The view for terminals is `live_view`. Methods may be
called from any thread, never raise, and block on a slow terminal at worst.
"""

from __future__ import annotations

import itertools

from storefs import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Types of activities and results in Nix's logging.hh.
COPY_PATH, FILE_TRANSFER, BUILD, SUBSTITUTE, POST_BUILD_HOOK, BUILD_WAITING = 100, 101, 105, 108, 110, 111
BUILD_LOG_LINE, PROGRESS, SET_EXPECTED, POST_BUILD_LOG_LINE = 101, 105, 106, 107

_numbers = itertools.count(1)


class Activity:
    """Something that goes on: what `start` returned, to be given to `line` and `stop`."""

    __slots__ = ("kind", "name", "number", "text")

    def __init__(self, kind: int, name: str, text: str) -> None:
        self.number = next(_numbers)
        self.kind = kind
        self.name = name
        self.text = text


class Progress:
    """Plain lines on standard error, or JSON where `--log-format internal-json` asks for it.

    Args:
        show_logs: whether the output of builders is shown as it comes.

    Attributes:
        show_logs: as above; a failure then need not repeat the last lines.
    """

    def __init__(self, show_logs: bool = True) -> None:
        self.show_logs = show_logs

    def expect(self, builds: int, fetches: int, download: int = 0) -> None:
        """Say how many builds and downloads are to come, and how many bytes of downloads."""

    def received(self, count: int) -> None:
        """Say that some bytes were downloaded."""

    def start(self, kind: int, name: str, text: str, fields: Sequence[object] = (), level: int = logs.INFO) -> Activity:
        """Begin an activity.

        Args:
            kind: one of the numbers above.
            name: short, for prefixes.
            text: as in "building '/nix/store/...-hello.drv'".
            fields: what the JSON log says about it.
            level: the verbosity from which on it is shown.
        """
        activity = Activity(kind, name, text)
        if logs.sink.json:
            self._emit(
                {
                    "action": "start",
                    "id": activity.number,
                    "level": level,
                    "parent": 0,
                    "text": text,
                    "type": kind,
                    "fields": list(fields),
                }
            )
        elif text:  # a daemon has some without, as Nix's own logger knows
            logs.log(level, f"{text}...")
        return activity

    def line(self, activity: Activity, text: str) -> None:
        """Show a line that a builder or a hook printed."""
        if logs.sink.json:
            kind = POST_BUILD_LOG_LINE if activity.kind == POST_BUILD_HOOK else BUILD_LOG_LINE
            self._emit({"action": "result", "id": activity.number, "type": kind, "fields": [text]})
        elif self.show_logs:
            logs.log(logs.ERROR, text)

    def stop(self, activity: Activity, *, ok: bool = True) -> None:
        """End an activity."""
        if logs.sink.json:
            self._emit({"action": "stop", "id": activity.number})

    def waiting(self, text: str) -> None:
        """Say what a build waits for: a lock, a machine, a user."""
        if logs.sink.json:
            self.stop(self.start(BUILD_WAITING, "waiting", text, (), logs.WARNING))
        else:
            logs.log(logs.WARNING, text)

    def error(self, text: str) -> None:
        """Tell why something failed that is not the end of the command."""
        logs.error(indented(text))

    def said(self, text: str) -> None:
        """Show what another program said that is neither a builder's line nor a failure: ssh's first words."""
        logs.log(logs.ERROR, text)

    def close(self) -> None:
        """Leave the terminal as it was."""

    def _emit(self, message: dict[str, object]) -> None:
        import json  # noqa: PLC0415  only for the machine-readable log

        logs.sink.emit("@nix " + json.dumps(message))


def indented(text: str) -> str:
    """Indent all lines but the first, as Nix does beneath `error: `."""
    return text.replace("\n", "\n       ")
