"""Command-line options as tables: one description serves parsing, `--help`, man pages and completions.

Not argparse, because Nix's commands have rules of their own (`-qR` is `-q -R`, `-j4` is `-j 4`, every setting is an
option, `--arg` takes two words) and because importing it takes 8 ms of a start-up that takes 20.
"""

from __future__ import annotations

from storefs.errors import UsageError
from storefs.settings import canonical_name, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from storefs.config import Config


class Option:
    """One option: its spellings (the first long one is its name), the words it takes, and its help line.

    Args:
        spellings: as in `("--attr", "-A")`.
        takes: the names of its arguments in help texts, as in `("PATH",)`; empty for a flag.
        takes_after: the operation after which it takes one argument though it is a flag otherwise (`nix-env -qA PATH`,
            but `nix-env -iA NAME...`); '' if there is none.
        help: one line, without a full stop.
        operation: True for the options that choose what a command does (`nix-store --realise`).
        hidden: accepted but not shown.
    """

    __slots__ = ("help", "hidden", "name", "operation", "spellings", "takes", "takes_after")

    def __init__(
        self,
        *spellings: str,
        takes: tuple[str, ...] = (),
        takes_after: str = "",
        help: str,
        operation: bool = False,
        hidden: bool = False,
    ) -> None:
        self.spellings = spellings
        self.name = next((text for text in spellings if text.startswith("--")), spellings[0])
        self.takes = takes
        self.takes_after = takes_after
        self.help = help
        self.operation = operation
        self.hidden = hidden


class Command:
    """A verb: what it is for and which options it has.

    Args:
        name: as the user types it, as in `nix-store` or `verglas mount`.
        summary: one line.
        operands: how operands are shown in the synopsis, as in `[PATH...]`.
        options: its own options; they win over the common ones.
        description: paragraphs for the man page.
        examples: (command line, what it does) pairs.
        raw_after: stop looking for options at the first operand (`verglas run PROGRAM ARG...`).
        expand: rewrites the words before they are parsed (the options in the first lines of a `nix-shell` script).
        installables: operands are paths, or with `--file` or `--expr` attributes of an expression (their options are in
            `storefs.installable_options`), for which the store paths of their outputs are put before the verb runs.
    """

    __slots__ = (
        "description",
        "examples",
        "expand",
        "installables",
        "name",
        "operands",
        "options",
        "raw_after",
        "summary",
    )

    def __init__(
        self,
        name: str,
        summary: str,
        *,
        operands: str = "",
        options: tuple[Option, ...] = (),
        description: str = "",
        examples: tuple[tuple[str, str], ...] = (),
        raw_after: bool = False,
        expand: Callable[[list[str]], list[str]] | None = None,
        installables: bool = False,
    ) -> None:
        self.expand = expand
        self.installables = installables
        self.name = name
        self.summary = summary
        self.operands = operands
        self.options = options
        self.description = description
        self.examples = examples
        self.raw_after = raw_after


# What every command understands. Settings of nix.conf are understood too: `--NAME VALUE`, and `--NAME` or `--no-NAME`.
COMMON = (
    Option("--help", "-h", help="show this help"),
    Option("--version", help="show the version"),
    Option("--verbose", "-v", help="say more; may be repeated"),
    Option("--quiet", help="say less; may be repeated"),
    Option("--debug", help="say everything, and show tracebacks of bugs"),
    Option(
        "--log-format",
        takes=("FORMAT",),
        help="how progress is shown: bar[-with-logs], raw[-with-logs], internal-json",
    ),
    Option("--print-build-logs", "-L", help="show the output of builders as it comes"),
    Option("--no-build-output", "-Q", help="do not show the output of builders"),
    Option("--option", takes=("NAME", "VALUE"), help="set a setting of nix.conf"),
    Option("--store", takes=("URI",), help="the store to use: a directory, 'daemon', 'unix://PATH', ..."),
    Option("--max-jobs", "-j", takes=("NUMBER",), help="how many builds run at once"),
    Option("--cores", takes=("NUMBER",), help="how many processors one build should use"),
    Option("--keep-going", "-k", help="go on with other builds after one has failed"),
    Option("--keep-failed", "-K", help="keep the build directory of a failed build"),
    Option("--fallback", help="build what could not be downloaded"),
    Option("--show-trace", help="show where an evaluation error came from"),
    Option("--refresh", help="look again at what was downloaded before"),
    Option("--offline", help="download nothing, and take what was downloaded before for current"),
)

# How many seconds answers are remembered; `--refresh` says none.
_REMEMBERING = ("tarball-ttl", "narinfo-cache-negative-ttl", "narinfo-cache-positive-ttl")
# What `--offline` means, in settings; the seconds are as many as there can be.
_OFFLINE = (
    ("substitute", "false"),
    ("tarball-ttl", "4294967295"),
    ("download-attempts", "1"),
    ("connect-timeout", "1"),
)

# Common options that are settings by another name.
_SETTING_OF = {
    "--max-jobs": "max-jobs",
    "--cores": "cores",
    "--keep-going": "keep-going",
    "--keep-failed": "keep-failed",
    "--fallback": "fallback",
    "--show-trace": "show-trace",
}


class Invocation:
    """A parsed command line.

    Attributes:
        command: the table it was parsed with.
        operands: what is no option, in order.
        given: (option name, its arguments) in the order of the command line.
        settings: (name, value) pairs for `load_config`.
        config: filled in by `storefs.cli` before the verb runs.
    """

    __slots__ = ("command", "config", "given", "operands", "program", "settings")

    config: Config

    def __init__(self, command: Command, program: str) -> None:
        self.command = command
        self.program = program
        self.operands: list[str] = []
        self.given: list[tuple[str, tuple[str, ...]]] = []
        self.settings: list[tuple[str, str]] = []

    def flag(self, name: str) -> bool:
        """Return whether the option `name` was given."""
        return any(key == name for key, _ in self.given)

    def count(self, name: str) -> int:
        """Return how often the option `name` was given."""
        return sum(key == name for key, _ in self.given)

    def value(self, name: str, default: str | None = None) -> str | None:
        """Return the argument of the last `name`, or `default`."""
        found = default
        for key, arguments in self.given:
            if key == name:
                found = arguments[0]
        return found

    def values(self, name: str) -> list[str]:
        """Return the first argument of every `name`, in order."""
        return [arguments[0] for key, arguments in self.given if key == name]

    def tuples(self, name: str) -> list[tuple[str, ...]]:
        """Return the arguments of every `name`, in order: for options that take several."""
        return [arguments for key, arguments in self.given if key == name]

    def operation(self) -> str | None:
        """Return the name of the one operation that was asked for, None if there is none.

        Raises:
            UsageError: there are two different ones.
        """
        names = {option.name for option in self.command.options if option.operation}
        chosen = [key for key, _ in self.given if key in names]
        if len(set(chosen)) > 1:
            raise UsageError(f"only one operation may be specified; '{chosen[0]}' and '{chosen[1]}' were")
        return chosen[0] if chosen else None


def parse(command: Command, arguments: Iterable[str], program: str | None = None) -> Invocation:
    """Parse the words after a command's name.

    Raises:
        UsageError: an unknown option (the nearest spelling is named), or one without its arguments.
    """
    invocation = Invocation(command, program or command.name)
    table = {spelling: option for option in COMMON + command.options for spelling in option.spellings}
    words = list(arguments)
    if command.expand is not None:
        words = command.expand(words)
    words.reverse()
    while words:
        word = words.pop()
        if word == "--":
            invocation.operands.extend(reversed(words))
            break
        if len(word) < 2 or word[0] != "-":
            invocation.operands.append(word)
            if command.raw_after:
                invocation.operands.extend(reversed(words))
                break
            continue
        option = table.get(word)
        if option is None and word[1] != "-" and len(word) > 2 and word[1].isalpha():
            words.extend(reversed(_split_cluster(word)))
            continue
        if option is not None:
            count = 1 if option.takes_after and invocation.flag(option.takes_after) else len(option.takes)
            taken = _take(words, word, count)
            _note(invocation, option, taken)
        elif not _parse_setting(invocation, word, words):
            raise _unknown(word, invocation, table)
    return invocation


def _note(invocation: Invocation, option: Option, taken: tuple[str, ...]) -> None:
    invocation.given.append((option.name, taken))
    if option.name == "--option":
        invocation.settings.append((taken[0], taken[1]))
    elif option.name == "--refresh" and option in COMMON:
        invocation.settings += [(name, "0") for name in _REMEMBERING]
    elif option.name == "--offline" and option in COMMON:
        invocation.settings += _OFFLINE
    elif option.name in _SETTING_OF and option in COMMON:
        invocation.settings.append((_SETTING_OF[option.name], taken[0] if taken else "true"))


def _take(words: list[str], word: str, count: int) -> tuple[str, ...]:
    if len(words) < count:
        wanted = "an argument" if count == 1 else f"{count} arguments"
        raise UsageError(f"option '{word}' needs {wanted}")
    return tuple(words.pop() for _ in range(count))


def _split_cluster(word: str) -> list[str]:
    """Split `-qlf` into `-q -l -f` and `-j4` into `-j 4`, as Nix does."""
    parts = []
    for index in range(1, len(word)):
        if not word[index].isalpha():
            parts.append(word[index:])
            break
        parts.append("-" + word[index])
    return parts


def _parse_setting(invocation: Invocation, word: str, words: list[str]) -> bool:
    if not word.startswith("--"):
        return False
    name = word[2:]
    base = canonical_name(name.removeprefix("extra-"))
    if base is not None and kind_of(base) is not bool:
        if base == "sandbox" and (not words or words[-1] not in {"true", "false", "relaxed"}):
            invocation.settings.append((base, "true"))
        else:
            invocation.settings.append((name, _take(words, word, 1)[0]))
        return True
    if base is not None and base == canonical_name(name):
        invocation.settings.append((base, "true"))
        return True
    negated = canonical_name(name.removeprefix("no-")) if name.startswith("no-") else None
    if negated is not None and (kind_of(negated) is bool or negated == "sandbox"):
        invocation.settings.append((negated, "false"))
        return True
    return False


def _unknown(word: str, invocation: Invocation, table: dict[str, Option]) -> UsageError:
    import difflib  # noqa: PLC0415  only when something is wrong

    command = invocation.command
    name, equals, value = word.partition("=")
    if equals and (name in table or canonical_name(name.removeprefix("--")) is not None):
        return UsageError(f"'{word}' is not how options take arguments; write '{name} {value}'")
    near = difflib.get_close_matches(word, table, 1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; try '{command.name} --help'"
    if not any(option.operation for option in command.options):
        return UsageError(f"unrecognised option '{word}'{hint}")
    # Scripts look for what Nix says: which options there are depends on the operation.
    missing = "" if invocation.operation() else "no operation specified, and "
    return UsageError(f"{missing}unknown flag '{word}'{hint}")


def split_leading(words: list[str]) -> tuple[list[str], list[str]]:
    """Split off the common options and settings that stand before a verb, as in `nix --store URI build`."""
    table = {spelling: option for option in COMMON for spelling in option.spellings}
    count = 0
    while count < len(words) and words[count].startswith("-"):
        option = table.get(words[count])
        if option is not None:
            count += 1 + len(option.takes)
        else:
            name = words[count].removeprefix("--").removeprefix("extra-")
            known = canonical_name(name)
            # A boolean setting is complete as it is; an unknown option will be named by whoever parses it.
            count += 2 if known is not None and kind_of(known) is not bool else 1
    return words[:count], words[count:]
