"""The Python API of the evaluator: make an evaluation, give it expressions, look at values.

It knows the language and the interface of its effects, nothing of stores, builders and trio; `session.py` puts those
together for commands. An example, with a store in memory:

    from evaluator.evaluation import EvalSettings, open_evaluation
    from evaluator.services import Services
    from evaluator.store_io import StoreIO

    io = StoreIO("/nix/store", {}, lambda: None, Services(), read_only=True)
    state = open_evaluation(io, EvalSettings())
    value = state.evaluate_text("builtins.map (x: x * x) [ 1 2 3 ]")
    print(to_python(value))                                             # [1, 4, 9]

Values are described in `core/values.py`. Errors of the program are `evaluator.errors.NixError`; `str()` of one is the
report that commands print. An evaluation belongs to one thread.
"""

from __future__ import annotations

from evaluator.builtins.registry import install
from evaluator.core.calls import force_deep
from evaluator.core.state import EvalState
from evaluator.core.values import NULL, ContextString, Func, Path, PrimOp
from evaluator.search_path import SearchPath
from storefs.settings import LANGUAGE_RELEASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from evaluator.eval_io import EvalIO


class EvalSettings:
    """What an evaluation may do and how it reports. Treated as immutable.

    Attributes:
        show_trace: error reports say where the error came from.
        pure_eval: nothing outside of the expression counts: no environment, no search path, no time.
        restrict_eval: only the search path and allowed URLs may be read.
        allow_import_from_derivation: evaluation may build.
        current_system: `builtins.currentSystem`.
        trace_verbose: `builtins.traceVerbose` prints.
        abort_on_warn: `builtins.warn` ends the evaluation.
        experimental_features: names, as in nix.conf.
        nix_version: `builtins.nixVersion`.
    """

    __slots__ = (
        "abort_on_warn",
        "allow_import_from_derivation",
        "current_system",
        "experimental_features",
        "nix_version",
        "pure_eval",
        "restrict_eval",
        "show_trace",
        "trace_verbose",
    )

    def __init__(
        self,
        *,
        show_trace: bool = False,
        pure_eval: bool = False,
        restrict_eval: bool = False,
        allow_import_from_derivation: bool = True,
        current_system: str = "x86_64-linux",
        trace_verbose: bool = False,
        abort_on_warn: bool = False,
        experimental_features: Iterable[str] = (),
        nix_version: str = LANGUAGE_RELEASE,
    ) -> None:
        self.show_trace = show_trace
        self.pure_eval = pure_eval
        self.restrict_eval = restrict_eval
        self.allow_import_from_derivation = allow_import_from_derivation
        self.current_system = current_system
        self.trace_verbose = trace_verbose
        self.abort_on_warn = abort_on_warn
        self.experimental_features = frozenset(experimental_features)
        self.nix_version = nix_version


def open_evaluation(
    io: EvalIO,
    settings: EvalSettings,
    search_path: Sequence[tuple[str, str]] = (),
    fetch: Callable[[str], str] | None = None,
) -> EvalState:
    """Return a new evaluation with all builtins.

    Args:
        io: its effects.
        settings: what it may do.
        search_path: (prefix, path or URL) pairs, first match first; what `<x>` means.
        fetch: makes a store path of a URL in the search path; by default `io.download` does.
    """
    state = EvalState(io, settings)
    positions = state.positions

    def show_value(value: object) -> str:
        from evaluator.print_value import show_in_message  # noqa: PLC0415  only when an error is read

        return show_in_message(value, positions)

    positions.show_value = show_value

    def fetch_archive(url: str) -> str:
        return io.download(url, "source", unpack=True, expected=None)

    state.memo["search path"] = SearchPath(search_path, io, fetch or fetch_archive, pure=settings.pure_eval)
    install(state)
    return state


def to_python(value: object) -> object:
    """Return a value with everything in it as plain Python: str, int, float, bool, None, list, dict; paths as str.

    Raises:
        NixError: evaluating something in it fails.
        TypeError: it contains a function.
    """
    return _to_python(force_deep(value))


def _to_python(value: object) -> object:
    if value is NULL:
        return None
    if isinstance(value, ContextString):
        return value.text
    if isinstance(value, Path):
        return value.path
    if isinstance(value, list):
        return [_to_python(force_deep(item)) for item in value]
    if isinstance(value, dict):
        return {name: _to_python(force_deep(value[name])) for name in sorted(value)}
    if isinstance(value, (Func, PrimOp)):
        raise TypeError("a function has no counterpart in plain Python")
    return value
