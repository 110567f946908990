"""Manual pages, generated from the same tables as `--help` and the parser. Pure: a table in, roff out (man(7))."""

from __future__ import annotations

from storefs.options import COMMON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Command, Option

_DASHES = str.maketrans({"-": "\\-"})


def page_name(command: Command) -> str:
    """Return the page's name, as in `verglas-profile-apply`: what `man` is given."""
    return command.name.replace(" ", "-")


def man_page(command: Command, version: str) -> str:
    """Return the text of a command's manual page, section 1."""
    name = page_name(command)
    own = [option for option in command.options if not option.hidden]
    operations = [option for option in own if option.operation]
    lines = [
        f'.TH {_word(name.upper())} 1 "" "Verglas {version}" "User Commands"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(command.summary)}",
        ".SH SYNOPSIS",
        f".B {_text(command.name)}",
        f"[\\fIOPTION\\fR...] {_operands(command.operands)}".rstrip(),
    ]
    if command.description:
        lines.append(".SH DESCRIPTION")
        for paragraph in command.description.strip().split("\n\n"):
            lines += [".PP", _text(" ".join(paragraph.split()))]
    for title, options in (
        ("OPERATIONS", operations),
        ("OPTIONS", [option for option in own if not option.operation]),
        ("COMMON OPTIONS", list(COMMON)),
    ):
        if options:
            lines.append(f".SH {title}")
            for option in options:
                lines += [".TP", _spelled(option), _text(option.help)]
    if command.examples:
        lines.append(".SH EXAMPLES")
        for example, meaning in command.examples:
            lines += [".TP", f".B {_text(example)}", _text(meaning)]
    lines += [
        ".SH EXIT STATUS",
        "0 if all went well, 1 after a failure or wrong use, 100 if a build failed, 101 if one took too long, 102 if a",
        "hash was not the expected one, 104 if a build was not deterministic. The description says what else there is.",
        ".SH SEE ALSO",
        ".BR verglas (1),",
        ".BR nix.conf (5)",
    ]
    return "\n".join(lines) + "\n"


def _spelled(option: Option) -> str:
    spellings = sorted(option.spellings, key=lambda text: (text.startswith("--"), text))
    arguments = "".join([f" \\fI{_text(name)}\\fR" for name in option.takes])
    return ", ".join([f"\\fB{_text(spelling)}\\fR" for spelling in spellings]) + arguments


def _operands(operands: str) -> str:
    return f"\\fI{_text(operands)}\\fR" if operands else ""


def _word(text: str) -> str:
    return '"' + _text(text).replace('"', "\\(dq") + '"'


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\e").translate(_DASHES)
    # A line that begins with a dot or an apostrophe would be a request.
    return "\\&" + escaped if escaped[:1] in {".", "'"} else escaped
