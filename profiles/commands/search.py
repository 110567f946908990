"""`verglas search`: packages whose attribute path, name or description matches."""

from __future__ import annotations

import json
import re
import sys

from profiles.package_names import split_name
from storefs.errors import StoreError, UsageError
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from evaluator.session import Session
    from storefs.options import Invocation

COMMAND = Command(
    "verglas search",
    "Search packages by name and description",
    operands="[REGEX...]",
    options=(
        Option("--file", "-f", takes=("FILE",), help="the expressions; <nixpkgs> by default"),
        Option("--attr", "-A", takes=("PATH",), help="look below this attribute path only"),
        Option("--json", help="print an object"),
        *EVALUATION,
    ),
    description="All of the regular expressions must match, each somewhere in the attribute path, the name or the "
    "description. Upper and lower case are the same.",
    examples=(("verglas search firefox", "packages of <nixpkgs> that have to do with firefox"),),
)

_BOLD, _GREEN, _NORMAL = "\x1b[0;1m", "\x1b[32;1m", "\x1b[0m"


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    from evaluator.session import open_session

    operands, below = list(invocation.operands), invocation.value("--attr") or ""
    if invocation.program == "nix" and operands:
        # There, the first operand says where: an attribute path with --file, and otherwise nixpkgs.
        first = operands.pop(0)
        if invocation.value("--file") is not None:
            below = first
        elif first not in {"nixpkgs", "<nixpkgs>", ""}:
            raise UsageError(f"cannot search '{first}'; search nixpkgs, or name a file with --file")
    words = [word for word in operands if word]
    try:
        patterns = [re.compile(word, re.IGNORECASE) for word in words]
    except re.error as error:
        raise UsageError(f"'{' '.join(words)}' is not a regular expression: {error}") from None
    session = open_session(invocation, read_only=True)
    found = session.run(lambda: list(_matches(session, invocation.value("--file") or "<nixpkgs>", below, patterns)))
    if invocation.flag("--json"):
        sys.stdout.write(
            json.dumps(
                {path: {"pname": name, "version": version, "description": text} for path, name, version, text in found},
                separators=(",", ":"),
                ensure_ascii=False,
            )
        )
        return 0
    if not found:
        raise StoreError("no results for the given search term(s)!")
    # `nix search` colours what it prints, wherever it goes.
    is_terminal = sys.stdout.isatty() and not invocation.config.variable("NO_COLOR")
    colour = is_terminal or invocation.program == "nix"
    blocks = []
    for path, _, version, text in found:
        shown = f"{_BOLD}{_marked(path, patterns, _BOLD)}{_NORMAL}" if colour else path
        lines = [f"* {shown}{f' ({version})' if version else ''}"]
        if text:
            lines.append(f"  {_marked(text, patterns, _NORMAL) if colour else text}")
        blocks.append("\n".join(lines) + "\n")
    sys.stdout.write("\n".join(blocks))
    return 0


def _matches(
    session: Session, file: str, below: str, patterns: list[re.Pattern[str]]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield attribute path, name, version and description of each package that matches."""
    from profiles.nix_env.expressions import load_packages

    for package in load_packages(session, session.file_argument(file), "*", below):
        name, version = split_name(package.name)
        described = package.meta_value("description")
        text = described.replace("\n", " ") if isinstance(described, str) else ""
        if all(any(pattern.search(each) for each in (package.attr_path, name, text)) for pattern in patterns):
            yield package.attr_path, name, version, text


def _marked(text: str, patterns: list[re.Pattern[str]], after: str) -> str:
    """Return the text with what matches in green, and `after` behind each match. Matches that touch are one."""
    hits = [False] * len(text)
    for pattern in patterns:
        for match in pattern.finditer(text):
            hits[match.start() : match.end()] = [True] * (match.end() - match.start())
    out, at = [], 0
    while at < len(text):
        end = at
        while end < len(text) and hits[end] == hits[at]:
            end += 1
        out.append(f"{_GREEN}{text[at:end]}{after}" if hits[at] else text[at:end])
        at = end
    return "".join(out)
