"""The one entry point: from a command line to a verb's module, and from its outcome to an exit status.

`nix-build`, `verglas mount`, `nix store gc` and all the others start here. Verb `x y` is the file
`<package>/commands/x_y.py` or `x.py` of the topmost package that has one; it offers `COMMAND`, a table of
`storefs.options`, and `run(invocation) -> int`. Finding it by file name costs 1 ms where entry-point metadata costs 40.
This module imports no package above `storefs` by name, and is the only one that prints errors and exits.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` takes milliseconds to import
import atexit
import os
import sys

from storefs import logs
from storefs.config import load_config
from storefs.errors import StoreError, UsageError
from storefs.options import Command, parse, split_leading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from storefs.config import Config
    from storefs.options import Invocation

    Verb = tuple[Command, Callable[[Invocation], int]]

VERSION = "0.1.0"
NIX_VERSION = "2.8.0"  # the release whose behaviour the drop-in commands have; scripts compare it
PACKAGES = ("profiles", "evaluator", "builder", "storefs")

# `nix` has folders where we have plain verbs.
_NIX_ALIASES = {
    "develop": "develop",
    "run": "run_package",
    "shell": "shell_with",
    "derivation show": "show_derivation",
    "show-derivation": "show_derivation",
    "hash file": "hash_file",
    "hash path": "hash_path",
    "store gc": "gc",
    "store cat": "cat",
    "store ls": "ls",
    "store verify": "verify",
    "store repair": "repair",
    "store optimise": "optimise",
    "store ping": "ping",
    "store delete": "delete",
    "store sign": "sign",
    "store add-file": "add_file",
    "store add-path": "add_path",
    "store dump-path": "dump_path",
    "store diff-closures": "diff_closures",
    "store copy-log": "copy_log",
    "store make-content-addressed": "make_content_addressed",
}


def main() -> NoReturn:
    """Run the program named by argv[0] and end the process with its exit status."""
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        _stand_in_for_closed_streams()
    # The launcher left it to the system, and so do we when all is done: a traceback is no answer to ^C.
    if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    status = run_command(sys.argv)
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = status or 1
    except OSError as error:
        logs.error(f"cannot write to standard output: {error.strerror}")
        status = status or 1
    atexit._run_exitfuncs()  # temporary roots and statistics; the shutdown that calls it is left out
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
    # No interpreter shutdown: freeing a large evaluation object by object would take longer than the evaluation.
    os._exit(status)


def _stand_in_for_closed_streams() -> None:
    """Occupy the descriptors 0, 1 and 2 that were closed: what is opened next must not take messages for its contents.

    Reading and writing fail as they would have; what is said on standard error is lost.
    """
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest that is free; programs that are started inherit it as they do any
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or _stream(0, "r")
    sys.stdout = sys.stdout or _stream(1, "w")
    sys.stderr = sys.stderr or _stream(2, "w")


def _stream(descriptor: int, mode: str) -> Any:
    return open(descriptor, mode, encoding="utf-8", errors="surrogateescape", closefd=False)


def run_command(argv: list[str], environ: Mapping[str, str] | None = None) -> int:
    """Run one command line in this process and return its exit status; every failure is printed, none escapes.

    Args:
        argv: the program's name and its arguments.
        environ: the environment; this process's own if None.
    """
    debugging = "--debug" in argv
    try:
        return _dispatch(argv, environ)
    except StoreError as error:
        if debugging:
            _print_traceback()
        logs.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        logs.error("interrupted by the user")
        return 1
    except BrokenPipeError:
        _forget_output()  # whoever read it has seen enough
        return 1
    except OSError as error:
        if debugging:
            _print_traceback()
        logs.error(_text_of(error))
        return 1
    except Exception as error:  # a bug: the promise is that no traceback reaches a user who did not ask for one
        if debugging:
            _print_traceback()
        logs.error(f"internal error, please report it: {type(error).__name__}: {error} (--debug shows where)")
        return 1


def _forget_output() -> None:
    """What was printed and can't be written: that is said once, or not at all."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _text_of(error: OSError) -> str:
    """What the system refused, with what can be found out about where."""
    said = error.strerror or str(error)
    if isinstance(error.filename, (str, bytes)):
        return f"cannot use '{os.fsdecode(error.filename)}': {said}"
    try:
        sys.stdout.flush()
    except OSError:
        _forget_output()
        return f"cannot write to standard output: {said}"
    import errno

    if error.errno == errno.EBADF:
        return f"standard input or output is closed: {said}"
    if error.errno == errno.ENOENT and not _is_somewhere():
        return f"cannot tell where we are, the current directory was removed: {said}"
    return said


def _is_somewhere() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _dispatch(argv: list[str], environ: Mapping[str, str] | None) -> int:
    program, arguments = os.path.basename(argv[0]), argv[1:]
    if program in {"verglas", "nix"}:
        if not arguments or arguments[0] in {"--help", "-h", "--version", "help"}:
            return _overview(program, arguments)
        leading, arguments = split_leading(arguments)
        if not arguments:
            if {"--help", "-h", "--version"}.intersection(leading):
                return _overview(program, leading, environ)
            raise UsageError(f"no command is named; '{program} --help' lists them")
        (command, run), arguments = _find_verb(program, arguments)
        arguments = leading + arguments
    else:
        if arguments == ["--version"]:
            _print_version(program)
            return 0
        if program == "nix-build" and "--run-env" in arguments:
            program = "nix-shell"  # its name before Nix 1.3
        command, run = _load(program.replace("-", "_")) or _no_such_verb([program])
    invocation = parse(command, arguments, program)
    if invocation.flag("--help"):
        from storefs.help import help_text

        sys.stdout.write(help_text(command))
        return 0
    if invocation.flag("--version"):
        _print_version(program, load_config(environ, invocation.settings), _verbosity(invocation))
        return 0
    if invocation.operands and not command.operands:
        raise UsageError(f"unexpected argument '{invocation.operands[0]}'; try '{command.name} --help'")
    logs.sink.level = _verbosity(invocation)
    invocation.config = load_config(environ, invocation.settings, invocation.value("--store"))
    logs.sink.level = _verbosity(invocation, invocation.config.integer("verbosity"))
    logs.sink.colour = not invocation.config.variable("NO_COLOR") and sys.stderr is not None and sys.stderr.isatty()
    logs.sink.format = invocation.value("--log-format")
    if logs.sink.format not in {None, "bar", "bar-with-logs", "internal-json", "raw", "raw-with-logs"}:
        raise UsageError(
            f"option 'log-format' has an invalid value '{logs.sink.format}'; '--help' names those there are"
        )
    logs.sink.json = logs.sink.format == "internal-json"
    logs.sink.build_logs = _build_logs(program, invocation)
    if command.installables:
        _evaluate_operands(invocation)
    return run(invocation)


def _evaluate_operands(invocation: Invocation) -> None:
    """Put store paths for the operands that are attributes of an expression: with `--file` or `--expr`.

    Who can evaluate is found as verbs are, by the name of a file.
    """
    if invocation.value("--file") is None and invocation.value("--expr") is None:
        return
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    package = next(each for each in PACKAGES if os.path.exists(f"{root}/{each}/installables.py"))
    __import__(f"{package}.installables", fromlist=("replace_operands",)).replace_operands(invocation)


def _build_logs(program: str, invocation: Invocation) -> bool:
    """Whether the output of builders is shown: by the older commands unless -Q is given, by the others with -L."""
    if invocation.flag("--no-build-output"):
        return False
    return invocation.flag("--print-build-logs") or program not in {"verglas", "nix"}


def _verbosity(invocation: Invocation, base: int = logs.INFO) -> int:
    if invocation.flag("--debug"):
        return logs.DEBUG
    return max(0, min(logs.VOMIT, base + invocation.count("--verbose") - invocation.count("--quiet")))


def _find_verb(program: str, arguments: list[str]) -> tuple[Verb, list[str]]:
    """Find the verb that the leading words name, the longest name first."""
    words = []
    for word in arguments[:3]:
        if word.startswith("-") or not word.replace("-", "").isalnum():
            break
        words.append(word)
    for count in range(len(words), 0, -1):
        spoken = " ".join(words[:count])
        name = _NIX_ALIASES.get(spoken) if program == "nix" else None
        verb = _load(name or spoken.replace(" ", "_").replace("-", "_"))
        if verb is not None:
            return verb, arguments[count:]
    return _no_such_verb(words or arguments[:1], program), []


def _load(name: str) -> Verb | None:
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for package in PACKAGES:
        if os.path.exists(f"{root}/{package}/commands/{name}.py"):
            # Not importlib, which takes half a millisecond to be imported itself.
            __import__(f"{package}.commands.{name}")
            module = sys.modules[f"{package}.commands.{name}"]
            return module.COMMAND, module.run
    return None


def verb_names() -> list[str]:
    """Return the file names of all verbs, without packages: for help, completions and tests. Lists four directories."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    names: set[str] = set()
    for package in PACKAGES:
        names.update(file[:-3] for file in os.listdir(f"{root}/{package}/commands") if file.endswith(".py"))
    return sorted(names - {"__init__"})


def verbs_of(program: str) -> dict[str, Command]:
    """Return the verbs of `verglas` or of `nix` as they are typed, with their tables. Imports all of them."""
    tables = {name: load_verb(name)[0] for name in verb_names() if not name.startswith("nix_")}
    found = {spoken: tables[name] for spoken, name in _NIX_ALIASES.items()} if program == "nix" else {}
    for name, table in tables.items():
        if program != "nix" or name not in _NIX_ALIASES.values():
            found.setdefault(table.name.removeprefix("verglas ").removeprefix("nix "), table)
    return dict(sorted(found.items()))


def load_verb(name: str) -> Verb:
    """Import one verb by its file name.

    Raises:
        UsageError: there is none of this name.
    """
    return _load(name) or _no_such_verb([name])


def _no_such_verb(words: list[str], program: str = "verglas") -> NoReturn:
    """Raise the error for words that are no verb: it names the nearest ones, as they are typed."""
    import difflib

    names = verbs_of(program).keys()
    inner = sorted(name.removeprefix(f"{words[0]} ") for name in names if name.startswith(f"{words[0]} "))
    if inner:
        if len(words) == 1:
            raise UsageError(f"'{program} {words[0]}' needs one more word: {', '.join(inner)}")
        near = difflib.get_close_matches(words[1], inner, 1)
        hint = f"did you mean '{words[0]} {near[0]}'?" if near else f"there are {', '.join(inner)}"
        raise UsageError(f"'{words[0]} {words[1]}' is not a recognised command; {hint}")
    # Groups of verbs are worth a guess, too.
    near = difflib.get_close_matches(words[0], sorted({*names, *(name.partition(" ")[0] for name in names)}), 1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; '{program} --help' lists the commands"
    raise UsageError(f"'{words[0]}' is not a recognised command{hint}")


def _overview(program: str, arguments: list[str], environ: Mapping[str, str] | None = None) -> int:
    if "--version" in arguments:
        if program == "verglas":
            print(f"verglas {VERSION} (Nix {NIX_VERSION})")  # noqa: T201
            return 0
        leading = parse(Command(program, ""), arguments)
        _print_version(program, load_config(environ, leading.settings), _verbosity(leading))
        return 0
    verbs = verbs_of(program)
    width = max(map(len, verbs))
    lines = [f"Usage: {program} COMMAND [OPTION...]", "", "Commands:"]
    lines += [f"  {name:<{width}}  {verb.summary}" for name, verb in verbs.items()]
    lines += ["", f"'{program} COMMAND --help' shows the options of one of them."]
    print("\n".join(lines))  # noqa: T201
    return 0 if arguments else 1


def _print_version(program: str, config: Config | None = None, verbosity: int = logs.INFO) -> None:
    """Print which release this is; to who asks for more, in Nix's words, also what it is for and where it looks."""
    print(f"{program} (Nix) {NIX_VERSION}")  # noqa: T201
    if config is not None and verbosity > logs.INFO:
        from storefs.config import user_files

        facts = {
            "System type": config.text("system"),
            "Additional system types": ", ".join(config.words("extra-platforms")),
            "Features": "gc, signed-caches",
            "System configuration file": f"{config.conf_dir}/nix.conf",
            "User configuration files": ":".join(reversed(user_files(config))),
            "Store directory": config.store_dir,
            "State directory": config.state_dir,
        }
        print("\n".join(f"{name}: {value}" for name, value in facts.items()))  # noqa: T201


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()
