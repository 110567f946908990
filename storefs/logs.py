"""What commands tell people while they work: lines on standard error, at a verbosity.

Not Python's `logging`, which costs 8 ms of start-up and which nothing needs before something goes wrong: `warn` and
`error` reach it when it is already imported, so that tests and servers see warnings as records.

The levels are those of Nix (`-v` raises, `--quiet` lowers): 0 errors, 1 warnings, 2 notices, 3 information (the
default), 4 talkative, 5 chatty, 6 debug, 7 vomit.
"""

from __future__ import annotations

import sys

# Escape, the bell, and the characters that stand for an escape and another one: DCS, CSI, OSC.
_CONTROLS = ("\x1b", "\a", "\x90", "\x9b", "\x9d")

ERROR, WARNING, NOTICE, INFO, TALKATIVE, CHATTY, DEBUG, VOMIT = range(8)


class _Sink:
    """Where lines go; one per process, changed by `storefs.cli` from the command line alone.

    `format` and `build_logs` are what `--log-format`, `-L` and `-Q` ask of the display of builds.
    """

    __slots__ = ("build_logs", "colour", "emit", "format", "json", "level")

    def __init__(self) -> None:
        self.level = INFO
        self.colour = False
        self.json = False
        self.format: str | None = None
        self.build_logs: bool | None = None
        self.emit = _write


def _write(line: str) -> None:
    # A closed or full standard error must not end a build (row N13).
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


sink = _Sink()


def enabled(level: int) -> bool:
    """Return whether a message of this level would be shown; ask before composing an expensive one."""
    return level <= sink.level


def log(level: int, text: str) -> None:
    """Show `text` if the verbosity allows it. Never raises, may block on a slow terminal."""
    if level > sink.level:
        return
    if sink.json:
        import json  # noqa: PLC0415  machine-readable logs are rare and json costs 3 ms

        sink.emit("@nix " + json.dumps({"action": "msg", "level": level, "msg": text}))
        return
    if any(control in text for control in _CONTROLS):
        from storefs.terminal_text import harmless  # noqa: PLC0415  few texts need it

        text = harmless(text, colours=sink.colour)
    sink.emit(text)


def info(text: str) -> None:
    """Say what is being done."""
    log(INFO, text)


def hint(text: str) -> None:
    """Say something to somebody who sits before it, such as what may take long; a script is not told."""
    if sys.stderr is not None and sys.stderr.isatty():
        log(INFO, text)


def debug(text: str) -> None:
    """Say what only a developer wants to know."""
    log(DEBUG, text)


def warn(text: str) -> None:
    """Say that something is wrong though the command goes on: `warning: TEXT`."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logger = logging.getLogger("verglas")
        if logger.hasHandlers():  # without one, logging itself would print the line a second time
            logger.warning("%s", text)
    log(WARNING, f"{paint('warning:', '35;1')} {text}")


def error(text: str) -> None:
    """Say why the command failed: `error: TEXT`."""
    # A report that begins with a trace starts on a line of its own.
    log(ERROR, paint("error:", "31;1") + ("" if text.startswith("\n") else " ") + text)


def paint(text: str, code: str) -> str:
    """Return `text` in the ANSI graphic rendition `code` where standard error is a colour terminal."""
    return f"\x1b[{code}m{text}\x1b[0m" if sink.colour else text
