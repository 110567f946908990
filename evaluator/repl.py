"""The repl: commands, names in scope, completion. Knows no terminal; `commands/repl.py` gives it lines.

Semantics: repl.cc of Nix 2.8; `:doc` shows the docstrings of builtins.
"""

from __future__ import annotations

import inspect
import os
import sys
from functools import partial

from evaluator.core.calls import coerce, force_attrs, force_deep
from evaluator.core.json_text import value_to_json
from evaluator.core.values import ContextString, Func, Path, PrimOp, attribute_position, force, show_type
from evaluator.errors import NixError, ParseError
from evaluator.instantiate import get_derivation
from evaluator.print_value import show_name, show_value
from storefs.errors import StoreError, UsageError
from storefs.formats.derived_path import DerivedPath
from storefs.logs import error as log_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from evaluator.session import Session

    class Reader(Protocol):
        """Where lines come from."""

        def read(self, prompt: str) -> str | None:
            """Return the next line, None at the end."""


HELP = """The following commands are available:

  <expr>        Evaluate and print expression
  <x> = <expr>  Bind expression to variable
  :a <expr>     Add attributes from resulting set to scope
  :b <expr>     Build a derivation
  :bl <expr>    Build a derivation, creating a link in the working directory
  :doc <expr>   Show documentation of a builtin function
  :e <expr>     Open where the expression is defined in $EDITOR
  :i <expr>     Build derivation, then install result into current profile
  :l <path>     Load Nix expression and add it to scope
  :log <expr>   Show the log of a derivation's build
  :p <expr>     Evaluate and print expression recursively
  :q            Exit
  :r            Reload all files
  :t <expr>     Describe result of evaluation
  :u <expr>     Build derivation, then start nix-shell with it
  :? :h         Show this help"""


class Quit(Exception):
    """The user wants to leave."""


class Repl:
    """One interactive evaluation. Its methods run in the main thread and evaluate through the session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.scope: dict[str, object] = {}
        self.loaded: list[str] = []
        self.out = sys.stdout

    def loop(self, reader: Reader) -> None:
        """Read and carry out lines until the input ends or `:q`. Errors are printed, none ends the loop."""
        if sys.stdin.isatty():
            self.out.write("Welcome to Verglas. Type :? for help.\n\n")
        pending = ""
        while True:
            try:
                line = reader.read("          " if pending else "nix-repl> ")
            except KeyboardInterrupt:
                pending = ""
                self.out.write("\n")
                continue
            if line is None:
                if pending:
                    self.guarded(partial(self.line, pending, final=True))
                return
            text = f"{pending}\n{line}" if pending else line
            try:
                pending = text if self.guarded(partial(self.line, text, final=False)) else ""
            except Quit:
                return
            self.out.flush()

    def guarded(self, action: Callable[[], object]) -> bool:
        """Run an action and print its errors; return whether it was an expression that goes on in the next line."""
        try:
            self.session.run(action)
        except _Unfinished:
            return True
        except StoreError as error:
            self.out.flush()
            log_error(str(error))
        except KeyboardInterrupt:
            self.out.flush()
            log_error("interrupted by the user")
        return False

    def line(self, text: str, *, final: bool) -> None:
        """Carry out one line. Raises _Unfinished for an expression that may go on, unless this is the `final` one."""
        text = text.strip()
        if not text:
            return
        if text.startswith(":"):
            command, _, argument = text.partition(" ")
            self.command(command, argument.strip())
            return
        name, assigned = _assignment(text)
        try:
            if name:
                self.scope[name] = self.evaluate(assigned)
                return
            value = self.evaluate(text)
        except ParseError as error:
            if not final and "unexpected end of file" in error.message:
                raise _Unfinished from None
            raise
        self.show(value, depth=1)

    def evaluate(self, text: str) -> object:
        """Return the value of an expression that may use the names in scope."""
        state = self.session.state
        expression = state.parse(text.encode("utf-8", "surrogateescape"), os.getcwd(), names=self.scope or None)
        return state.evaluate(expression)

    def show(self, value: object, depth: int) -> None:
        """Print a value; `depth` levels of it are evaluated, 0 for all."""
        if depth == 0:
            force_deep(value)
        self.out.write(_Printer(self.session, depth or 1_000).text(value) + "\n")

    def command(self, command: str, argument: str) -> None:
        """Carry out a `:command`."""
        if command in {":?", ":h", ":help"}:
            self.out.write(HELP + "\n")
        elif command in {":q", ":quit"}:
            raise Quit
        elif command in {":a", ":add"}:
            self.add_attributes(self.evaluate(argument))
        elif command in {":l", ":load"}:
            self.load(argument)
        elif command in {":r", ":reload"}:
            self.reload()
        elif command in {":p", ":print"}:
            self.show(self.evaluate(argument), depth=0)
        elif command in {":t", ":type"}:
            self.out.write(show_type(self.evaluate(argument)) + "\n")
        elif command == ":doc":
            self.out.write(documentation(self.evaluate(argument)) + "\n")
        elif command in {":b", ":bl"}:
            self.build(argument, link=command == ":bl")
        elif command == ":log":
            self.show_log(argument)
        elif command in {":i", ":u"}:
            self.run_tool(command, argument)
        elif command in {":e", ":edit"}:
            self.edit(argument)
        elif command == ":json":
            self.out.write(value_to_json(self.session.state, self.evaluate(argument), set()) + "\n")
        else:
            raise UsageError(f"unknown command '{command}'; type :? for help")

    def add_attributes(self, value: object) -> None:
        """Put the attributes of a set into scope; a function is called with `--arg` first."""
        attrs = force_attrs(self.session.state.auto_call(force(value), self.session.auto_args))
        self.scope.update(attrs)
        self.out.write(f"Added {len(attrs)} variables.\n")

    def add_expression(self, text: str) -> None:
        """Put the attributes of an expression of the command line into scope."""
        self.add_attributes(self.session.evaluate_expression(text))

    def load(self, path: str) -> None:
        """Put the attributes of a file into scope."""
        if not path:
            raise UsageError(":l needs the path of a file")
        self.out.write(f"Loading '{path}'...\n")
        self.add_attributes(self.session.evaluate_file(path))
        if path not in self.loaded:
            self.loaded.append(path)

    def reload(self) -> None:
        """Evaluate all loaded files anew."""
        self.session.state.forget_files()
        self.session.state.memo["search path"].forget()
        self.scope.clear()
        for path in list(self.loaded):
            self.load(path)

    def _derivation(self, text: str) -> tuple[str, list[str]]:
        package = get_derivation(self.session.state, self.evaluate(text))
        if package is None:
            raise UsageError("expression does not evaluate to a derivation, so I can't build it")
        return package.require_drv_path(), list(package.outputs(with_paths=False))

    def build(self, text: str, *, link: bool) -> None:
        """Build a derivation and print its outputs."""
        from evaluator.building import make_root  # noqa: PLC0415  building costs more than asking

        drv_path, _ = self._derivation(text)
        session = self.session
        target = DerivedPath(session.store_io.directory.parse(drv_path), ())
        results = session.thread.outside(lambda: session.build([target]))
        session.require_success(results)
        self.out.write("\nThis derivation produced the following outputs:\n")
        for name, path in sorted(results[0].outputs.items()):
            self.out.write(f"  {name} -> {session.store_io.directory.print(path)}\n")
            if link:
                make_root(session, os.path.abspath(f"repl-result-{name}"), path)

    def show_log(self, text: str) -> None:
        """Print the log of a derivation's build, also of one that failed."""
        drv_path, _ = self._derivation(text)
        self.out.flush()
        self.session.print_log(self.session.store_io.directory.parse(drv_path))

    def run_tool(self, command: str, text: str) -> None:
        """Install a derivation, or start a shell in it, with the program for it."""
        import subprocess  # noqa: PLC0415  rarely wanted

        drv_path, _ = self._derivation(text)
        self.session.io.flush()
        program = ["nix-env", "-i", drv_path] if command == ":i" else ["nix-shell", drv_path]
        self.session.thread.outside(lambda: subprocess.run(program, check=False))

    def edit(self, text: str) -> None:
        """Open the editor at the definition of a value."""
        import subprocess  # noqa: PLC0415  rarely wanted

        value = self.evaluate(text)
        if isinstance(value, Func):
            place = self.session.state.positions.resolve(value.code.pos)  # type: ignore[attr-defined]
            file, line = (place.file, place.line) if place is not None else ("", 0)
        elif isinstance(value, (Path, str, ContextString)):
            file, line = coerce(self.session.state, value, set(), False, False), 1
        else:
            attrs = force_attrs(value)
            place = self.session.state.positions.resolve(attribute_position(attrs, "name"))
            file, line = (place.file, place.line) if place is not None else ("", 0)
        if not os.path.exists(file):
            raise UsageError("the value has no position in a file")
        editor = self.session.config.variable("EDITOR", "nano")
        self.session.thread.outside(lambda: subprocess.run([*editor.split(), f"+{line}", file], check=False))

    def complete(self, word: str) -> list[str]:
        """Return the words that `word` may become: names in scope, attributes, file names."""
        if word.startswith(("/", "./", "../", "~/")):
            folder, _, start = word.rpartition("/")
            try:
                names = os.listdir(os.path.expanduser(folder) or "/")
            except OSError:
                return []
            return sorted(f"{folder}/{name}" for name in names if name.startswith(start))
        expression, dot, start = word.rpartition(".")
        state = self.session.state
        try:
            names = list(force_attrs(self.session.run(lambda: self.evaluate(expression)))) if dot else []
        except (StoreError, KeyboardInterrupt):
            return []
        if not dot:
            names = [*self.scope, *(name for name in state.globals if not name.startswith("__"))]
        return sorted({f"{expression}{dot}{name}" for name in names if name.startswith(start)})


class _Unfinished(Exception):
    """An expression that ends too early to be one."""


def _assignment(text: str) -> tuple[str, str]:
    """Split `name = expression`; the name is '' if it is something else."""
    name, separator, value = text.partition("=")
    name = name.strip()
    plain = name.replace("_", "a").replace("-", "a").replace("'", "a")
    if separator and not value.startswith("=") and plain.isascii() and plain.isalnum() and not name[0].isdigit():
        return name, value.strip().removesuffix(";")
    return "", ""


def documentation(value: object) -> str:
    """Return the documentation of a builtin.

    Raises:
        UsageError: it is no builtin, or has none.
    """
    if not isinstance(value, PrimOp):
        raise UsageError("value does not have documentation")
    text = inspect.getdoc(value.python_function())
    if not text:
        raise UsageError(f"'builtins.{value.name}' does not have documentation")
    return f"builtins.{text}" if not text.startswith("builtins.") else text


class _Printer:
    """Values as the repl shows them: strings quoted, derivations by their path, errors inside sets in place."""

    def __init__(self, session: Session, depth: int) -> None:
        self.session = session
        self.depth = depth

    def text(self, value: object, level: int = 0) -> str:
        forced = force(value) if level == 0 else self._attempt(value)
        if isinstance(forced, _Failure):
            return f"«error: {forced.text}»"
        if isinstance(forced, list) and forced:
            if level >= self.depth:
                return "[ ... ]"
            return "[ " + " ".join(self.text(item, level + 1) for item in forced) + " ]"
        if isinstance(forced, dict) and forced:
            drv_path = self._drv_path(forced)
            if drv_path:
                return f"«derivation {drv_path}»"
            if level >= self.depth:
                return "{ ... }"
            parts = [f"{show_name(name)} = {self.text(forced[name], level + 1)}; " for name in sorted(forced)]
            return "{ " + "".join(parts) + "}"
        if isinstance(forced, Func):
            place = self.session.state.positions.resolve(forced.code.pos)  # type: ignore[attr-defined]
            return f"«lambda @ {place.where()}»" if place is not None else "«lambda»"
        if isinstance(forced, PrimOp):
            return "«primop-app»" if forced.args else "«primop»"
        return show_value(forced)

    def _attempt(self, value: object) -> object:
        try:
            return force(value)
        except NixError as error:
            return _Failure(error.message.splitlines()[0])

    def _drv_path(self, attrs: dict[str, object]) -> str:
        if "type" not in attrs or self._attempt(attrs["type"]) != "derivation" or "drvPath" not in attrs:
            return ""
        path = self._attempt(attrs["drvPath"])
        return path.text if isinstance(path, ContextString) else path if isinstance(path, str) else "???"


class _Failure:
    def __init__(self, text: str) -> None:
        self.text = text
