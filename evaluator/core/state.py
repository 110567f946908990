"""`EvalState`: what one evaluation shares, and what a builtin gets as its first argument.

It reaches the world only through the injected `io` (evaluator/eval_io.py) and is told what it may do by `settings`. It
parses, evaluates files once each, and keeps the table of positions. Not thread-safe: one evaluation, one thread.

What the core asks of `io` (all may block and raise NixError):
    read_source(path: str) -> bytes        the text of a Nix file; checks restrictions
    resolve_expr_path(path: str) -> str    follow symbolic links, append /default.nix to a directory
    copy_to_store(path: str) -> str        add a path recursively, return the store path (memoised by this class)
    home() -> str                          what `~` means
and of `settings`: `show_trace: bool`. Builtins may rely on more; that is between them and eval_io.py.
"""

from __future__ import annotations

from evaluator.core import parser, scope
from evaluator.core.calls import call, call1, call2, coerce, force_attrs, force_deep
from evaluator.core.values import Attrs, Func, attribute_position, force, make_path, make_string
from evaluator.errors import CALL_SITE, NO_POS, EvalError, MissingArgumentError, NixError
from evaluator.source import Positions, Source


class EvalState:
    """One evaluation.

    Attributes for builtins: `io`, `settings`, `positions` (turns the integers into lines and columns), `builtins` (the
    set), `globals` (names in scope everywhere), `memo` (a dict in which builtins keep caches, keyed by their name).
    """

    def __init__(self, io, settings) -> None:
        self.io = io
        self.settings = settings
        self.positions = Positions()
        self.builtins = {}
        self.globals = {}
        self.memo = {}
        self.parse_cache = None
        #: For whoever prints trees and evaluates none: all of a tree is made at once, and none is kept for another day.
        self.whole_trees = False
        self.profiler = None
        self._files = {}
        self._copied = {}

    # -- parsing and evaluating

    def parse(self, text: bytes, base_path: str, name: str = "", origin: str = "string", names=None):
        """Return the expression of `text`, ready for `evaluate`.

        `base_path` is what relative paths are relative to; `names` (dict or None) are further variables in scope.
        Raises ParseError and UndefinedVarError.
        """
        return scope.parse(self, Source(text, name, origin), base_path, names)

    def syntax(self, source: Source):
        """Return what `parser.parse` returns for a source, perhaps from the parse cache. Raises SyntaxProblem."""
        if self.whole_trees:
            return parser.parse(source.text)
        if self.parse_cache is not None and source.origin == "file":
            return self.parse_cache.parse(source.text)
        return parser.parse(source.text, parser.LONG)

    def evaluate(self, expression):
        """Return the forced value of what `parse` returned."""
        return scope.evaluate(expression)

    def evaluate_text(self, text: str, base_path: str = "/", origin: str = "string"):
        """Parse and evaluate an expression given as a string."""
        return self.evaluate(self.parse(text.encode("utf-8", "surrogateescape"), base_path, "", origin))

    def parse_file(self, path: str, names=None):
        """Return the expression in the file `path` (already resolved), for `evaluate`."""
        text = self.io.read_source(path)
        return self.parse(text, path.rpartition("/")[0] or "/", path, "file", names)

    def evaluate_file(self, path: str, names=None):
        """Return the value of the file that `path` stands for; without `names`, each file is evaluated only once."""
        if names is None:
            found = self._files.get(path)
            if found is not None:
                return found
        resolved = self.io.resolve_expr_path(path)
        if names is None:
            found = self._files.get(resolved)
            if found is not None:
                self._files[path] = found
                return found
        expression = self.parse_file(resolved, names)
        try:
            value = self.evaluate(expression)
        except NixError as e:
            e.add_trace(0, f"while evaluating the file '{resolved}':")
            raise
        if names is None:
            self._files[resolved] = self._files[path] = value
        return value

    def forget_files(self) -> None:
        """Evaluate files anew when they are asked for again (the repl's :r)."""
        self._files.clear()
        self._copied.clear()

    # -- what builtins need beyond evaluator.core.calls

    def copy_path_to_store(self, path: str, context: set) -> str:
        """Add the file system object `path` to the store, once; return the store path, which also joins `context`."""
        copied = self._copied.get(path)
        if copied is None:
            if path.endswith(".drv"):
                raise EvalError("file names are not allowed to end in '.drv'", 0)
            copied = self._copied[path] = self.io.copy_to_store(path)
        context.add(copied)
        return copied

    def coerce_to_path(self, value, context: set, doing: str = "", pos: int = CALL_SITE) -> str:
        """Return `value` as an absolute path, not copied; its context joins `context`."""
        path = coerce(self, value, context, False, False, doing, pos)
        if path.startswith("/"):
            return path
        error = EvalError(f"string '{path}' doesn't represent an absolute path", pos)
        error.add_trace(max(pos, NO_POS), doing)
        forced = force(value)
        if isinstance(forced, dict):
            name = "__toString" if "__toString" in forced else "outPath"
            used = "the result of the `__toString`" if name == "__toString" else "the `outPath`"
            error.add_trace(attribute_position(forced, name), f"while using {used} attribute")
        raise error

    def auto_call(self, function, arguments: dict):
        """Call the forced value `function` as commands do: with those of `arguments` that it names.

        Anything but a function with named arguments comes back as it is.
        """
        while isinstance(function, dict) and "__functor" in function:
            function = call1(force(function["__functor"]), function, 0)
        formals = function.code.formals() if type(function) is Func else None
        if formals is None:
            return function
        passed = Attrs()
        if function.code.has_ellipsis():
            passed.update(arguments)
        else:
            for name, has_default, pos in formals:
                if name in arguments:
                    passed[name] = arguments[name]
                elif not has_default:
                    raise MissingArgumentError(
                        f"cannot evaluate a function that has an argument without a value ('{name}')\n\n"
                        "Nix attempted to evaluate a function as a top level expression; in\n"
                        "this case it must have its arguments supplied either by default\n"
                        "values, or passed explicitly with '--arg' or '--argstr'. See\n"
                        "https://nixos.org/manual/nix/stable/#ss-functions.",
                        pos,
                    )
        return call1(function, passed, 0)


__all__ = [
    "EvalState",
    "attribute_position",
    "call",
    "call1",
    "call2",
    "coerce",
    "force",
    "force_attrs",
    "force_deep",
    "make_path",
    "make_string",
]
