"""Help texts made from the tables of `storefs.options`. Imported only when help is asked for."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from storefs.options import COMMON

if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.options import Command, Option


def help_text(command: Command) -> str:
    """Return what `--help` prints: synopsis, summary, description, options and examples, 80 columns wide."""
    parts = [f"Usage: {command.name} [OPTION...] {command.operands}".rstrip(), "", command.summary]
    if command.description:
        for paragraph in command.description.strip().split("\n\n"):
            parts += ["", textwrap.fill(" ".join(paragraph.split()), 80)]
    own = [option for option in command.options if not option.hidden]
    operations = [option for option in own if option.operation]
    others = [option for option in own if not option.operation]
    for title, options in (("Operations", operations), ("Options", others), ("Common options", COMMON)):
        if options:
            parts += ["", f"{title}:", *_option_lines(options)]
    if command.examples:
        parts += ["", "Examples:"]
        for line, meaning in command.examples:
            parts += [f"  {line}", f"      {meaning}"]
    return "\n".join(parts) + "\n"


def synopsis(option: Option) -> str:
    """Return an option's spellings and arguments, as in `-A, --attr PATH`."""
    spellings = sorted(option.spellings, key=lambda text: (text.startswith("--"), text))
    return " ".join([", ".join(spellings), *option.takes])


def _option_lines(options: Iterable[Option]) -> list[str]:
    lines = []
    for option in options:
        left = "  " + synopsis(option)
        if len(left) > 30:
            lines.append(left)
            left = ""
        wrapped = textwrap.wrap(option.help, 48) or [""]
        lines.append(f"{left:<31} {wrapped[0]}".rstrip())
        lines += [" " * 32 + more for more in wrapped[1:]]
    return lines
