"""Shell completions for bash, zsh and fish, generated from the same tables that parse the command lines.

Each script knows every command, its sub-commands, options and what their arguments are (a file, or anything); nothing
is started while the user types. Pure: tables in, text out.
"""

from __future__ import annotations

from storefs.options import COMMON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from storefs.options import Command, Option

SHELLS = ("bash", "zsh", "fish")
_FILE_ARGUMENTS = frozenset(("PATH", "FILE", "DIR", "DIRECTORY"))


def script(shell: str, programs: Mapping[str, Mapping[str, Command]]) -> str:
    """Return the completion script for one shell.

    Args:
        shell: one of SHELLS.
        programs: program -> verb -> its table; the verb is '' for a program without verbs (`nix-env`), and may be two
            words (`profile apply`).
    """
    makers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return makers[shell](programs)


def _options(command: Command) -> list[Option]:
    return [option for option in (*command.options, *COMMON) if not option.hidden]


def _spellings(options: list[Option]) -> list[str]:
    return sorted({spelling for option in options for spelling in option.spellings})


def _takes_file(option: Option) -> bool:
    return bool(option.takes) and option.takes[0] in _FILE_ARGUMENTS


def _function(program: str) -> str:
    return "_verglas_" + program.replace("-", "_")


def _first_words(verbs: Mapping[str, Command]) -> list[str]:
    return sorted({verb.split()[0] for verb in verbs if verb})


def _second_words(verbs: Mapping[str, Command], first: str) -> list[str]:
    return sorted(verb.split()[1] for verb in verbs if verb.startswith(first + " "))


# bash


def _bash(programs: Mapping[str, Mapping[str, Command]]) -> str:
    parts = ["# Completions of Verglas for bash. Generated: 'verglas completions bash'.", ""]
    for program, verbs in programs.items():
        function = _function(program)
        parts += [
            f"{function}() {{",
            '    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" words= files= verbs=',
            "    COMPREPLY=()",
        ]
        if "" in verbs:
            parts += _bash_options(verbs[""], "    ")
        else:
            parts += [
                '    local verb="${COMP_WORDS[1]} ${COMP_WORDS[2]}"',
                '    if [ "$COMP_CWORD" -eq 1 ]; then',
                f"        words='{' '.join(_first_words(verbs))}' verbs=1",
                "    else",
                '        case "$verb" in',
            ]
            # Two words first: `profile apply` before `profile`.
            for verb in sorted(verbs, key=lambda each: (-len(each.split()), each)):
                pattern = f'"{verb}"' if " " in verb else f'"{verb} "*'
                parts += [f"        {pattern})", *_bash_options(verbs[verb], "            "), "            ;;"]
            for first in _first_words(verbs):
                if first not in verbs:
                    parts += [f"        \"{first} \"*) words='{' '.join(_second_words(verbs, first))}' verbs=1 ;;"]
            parts += ["        esac", "    fi"]
        parts += [
            '    if [ -n "$files" ]; then COMPREPLY=($(compgen -f -- "$current"))',
            '    else COMPREPLY=($(compgen -W "$words" -- "$current"))',
            '        case "$verbs$current" in 1* | -*) ;; *) COMPREPLY+=($(compgen -f -- "$current")) ;; esac',
            "    fi",
            "}",
            f"complete -o filenames -F {function} {program}",
            "",
        ]
    return "\n".join(parts)


def _bash_options(command: Command, indent: str) -> list[str]:
    options = _options(command)
    files = [spelling for option in options if _takes_file(option) for spelling in option.spellings]
    lines = [f"{indent}words='{' '.join(_spellings(options))}'"]
    if files:
        lines.append(f'{indent}case "$previous" in {"|".join(sorted(files))}) files=1 ;; esac')
    return lines


# zsh


def _zsh(programs: Mapping[str, Mapping[str, Command]]) -> str:
    parts = [
        f"#compdef {' '.join(programs)}",
        "# Completions of Verglas for zsh. Generated: 'verglas completions zsh'.",
        "",
    ]
    for program, verbs in programs.items():
        parts.append(f"{_function(program)}() {{")
        if "" in verbs:
            parts += _zsh_arguments(verbs[""], "    ")
        else:
            described = [f"'{_zsh_quote(word)}:{_zsh_quote(_summary(verbs, word))}'" for word in _first_words(verbs)]
            parts += [
                "    if (( CURRENT == 2 )); then",
                f"        local -a verbs=({' '.join(described)})",
                "        _describe command verbs",
                "        return",
                "    fi",
                '    case "$words[2] $words[3]" in',
            ]
            for verb in sorted(verbs, key=lambda each: (-len(each.split()), each)):
                pattern = f"'{verb}'" if " " in verb else f"'{verb} '*"
                parts += [f"    ({pattern})", *_zsh_arguments(verbs[verb], "        "), "        ;;"]
            for first in _first_words(verbs):
                if first not in verbs:
                    second = " ".join(_second_words(verbs, first))
                    parts += [f"    ('{first} '*) _values {first} {second} ;;"]
            parts.append("    esac")
        parts += ["}", ""]
    # A file '_verglas' in fpath is the body of that function; one that is read with 'source' registers the functions.
    parts += ['if [[ "$funcstack[1]" == _verglas ]]; then', '    case "$service" in']
    parts += [f'    ({program}) {_function(program)} "$@" ;;' for program in programs]
    parts += ["    esac", "else"]
    parts += [f"    compdef {_function(program)} {program}" for program in programs]
    parts += ["fi", ""]
    return "\n".join(parts)


def _zsh_arguments(command: Command, indent: str) -> list[str]:
    words = []
    for option in _options(command):
        argument = "".join([f":{name.lower()}:{'_files' if name in _FILE_ARGUMENTS else ''}" for name in option.takes])
        for spelling in option.spellings:
            words.append(f"'*{spelling}[{_zsh_quote(option.help)}]{argument}'")
    return [
        f"{indent}_arguments -s \\",
        *[f"{indent}    {word} \\" for word in words],
        f"{indent}    '*:operand:_files'",
    ]


def _zsh_quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "'\\''").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _summary(verbs: Mapping[str, Command], word: str) -> str:
    if word in verbs:
        return verbs[word].summary
    return ", ".join(_second_words(verbs, word))


# fish


def _fish(programs: Mapping[str, Mapping[str, Command]]) -> str:
    lines = ["# Completions of Verglas for fish. Generated: 'verglas completions fish'.", ""]
    for program, verbs in programs.items():
        for word in _first_words(verbs):
            summary = _fish_quote(_summary(verbs, word))
            lines.append(f"complete -c {program} -n __fish_use_subcommand -f -a {word} -d '{summary}'")
        for verb, command in sorted(verbs.items()):
            first, _, second = verb.partition(" ")
            condition = ""
            if verb:
                condition = f"__fish_seen_subcommand_from {first}"
            if second:
                others = " ".join(_second_words(verbs, first))
                lines.append(
                    f"complete -c {program} -n '{condition}; and not __fish_seen_subcommand_from {others}' "
                    f"-f -a {second} -d '{_fish_quote(command.summary)}'"
                )
                condition += f"; and __fish_seen_subcommand_from {second}"
            for option in _options(command):
                lines.append(_fish_option(program, condition, option))
        lines.append("")
    return "\n".join(lines)


def _fish_option(program: str, condition: str, option: Option) -> str:
    words = [f"complete -c {program}"]
    if condition:
        words.append(f"-n '{condition}'")
    for spelling in option.spellings:
        if spelling.startswith("--"):
            words.append(f"-l {spelling[2:]}")
        else:
            words.append(f"-s {spelling[1:]}" if len(spelling) == 2 else f"-o {spelling[1:]}")
    if option.takes:
        words.append("-r" if _takes_file(option) else "-x")
    words.append(f"-d '{_fish_quote(option.help)}'")
    return " ".join(words)


def _fish_quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
