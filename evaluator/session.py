"""A command's evaluation: configuration in, an evaluation over a store and a builder out.

The one file of this package that knows the builder, so import from derivation is no cycle: the language asks its
`EvalIO`, that asks the `Services` here, and these build. The builder is imported only when something must be built.
Called by `commands/` here and in packages above.
"""

from __future__ import annotations

import os
import sys

from evaluator.core.values import observe_calls
from evaluator.errors import NO_POS, NixError
from evaluator.eval_thread import EvalThread
from evaluator.evaluation import EvalSettings, open_evaluation
from evaluator.nix_path import is_uri, nix_path, parse_element, resolve_uri
from evaluator.services import Services
from evaluator.store_io import StoreIO
from evaluator.stores import Stores
from storefs.errors import StoreError
from storefs.experimental import CA_DERIVATIONS, has_feature
from storefs.logs import info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeVar

    from evaluator.access import RestrictedIO
    from evaluator.eval_io import ClosureRequest, EvalIO, RepositoryRequest, RepositoryTree
    from evaluator.recording_io import RecordingIO
    from storefs.api import BuildMode, BuildResult, Missing, Store
    from storefs.config import Config
    from storefs.formats.derived_path import DerivedPath
    from storefs.formats.hashes import Hash
    from storefs.formats.store_path import StorePath
    from storefs.options import Invocation

    T = TypeVar("T")


class Session:
    """One command's evaluation. Used from the main thread; closed by the end of the process.

    Args:
        config: settings and directories.
        search_path: elements of `-I`, before those of NIX_PATH.
        arguments: ('arg' or 'argstr', name, text) of `--arg` and `--argstr`.
        read_only: the store is not written.
        recording: note down what the evaluation depends on, for the result cache.
        eval_store: a store for derivations and sources; what is built still goes to that of `config`.

    Attributes:
        stores: the store that is evaluated in and the one that is built in.
    """

    def __init__(
        self,
        config: Config,
        *,
        search_path: Iterable[str] = (),
        arguments: Sequence[tuple[str, str, str]] = (),
        read_only: bool = False,
        recording: bool = False,
        eval_store: str | None = None,
    ) -> None:
        self.config = config
        self.stores = Stores(config, eval_store)
        self.read_only = read_only or self.stores.eval_config.store_uri.startswith("dummy:")
        self.thread = EvalThread()
        self.services = _Services(self)
        self.store_io = StoreIO(
            config.store_dir, config.environment(), self._open_eval_store, self.services, read_only=self.read_only
        )
        pure, restricted = config.boolean("pure-eval"), config.boolean("restrict-eval")
        self.io: EvalIO = self.store_io
        self._restricted: RestrictedIO | None = None
        if pure or restricted:
            from evaluator.access import RestrictedIO  # noqa: PLC0415  rarely wanted

            self._restricted = RestrictedIO(self.store_io, pure=pure, allowed_uris=config.words("allowed-uris"))
            self.io = self._restricted
        self.recording: RecordingIO | None = None
        if recording:
            from evaluator.recording_io import RecordingIO  # noqa: PLC0415  only for what will be remembered

            self.io = self.recording = RecordingIO(self.io)
        self.settings = EvalSettings(
            show_trace=config.boolean("show-trace"),
            pure_eval=pure,
            restrict_eval=restricted,
            allow_import_from_derivation=config.boolean("allow-import-from-derivation"),
            current_system=config.text("system"),
            trace_verbose=config.boolean("trace-verbose"),
            abort_on_warn=config.boolean("abort-on-warn") or config.variable("NIX_ABORT_ON_WARN") not in {"", "0"},
            experimental_features=config.words("experimental-features"),
            nix_version=config.text("nix-version"),
        )
        elements = [] if pure else [parse_element(text) for text in [*search_path, *nix_path(config)]]
        counting = config.variable("NIX_COUNT_CALLS", "0") != "0"
        self.state = open_evaluation(self.io, self.settings, elements)
        tracer = None
        if config.boolean("trace-function-calls"):
            from evaluator.function_trace import FunctionTrace  # noqa: PLC0415  rarely wanted

            tracer = FunctionTrace(self.state.positions)
        observe_calls(trace=self.settings.show_trace, count=counting, tracer=tracer)
        if config.boolean("parse-cache"):
            from evaluator.parse_cache import ParseCache  # noqa: PLC0415  only who wants it

            self.state.parse_cache = ParseCache(  # type: ignore[assignment]
                config.xdg("cache") + "/verglas/parse"
            )
        if config.variable("NIX_SHOW_STATS", "0") != "0":
            from evaluator.statistics import print_at_exit  # noqa: PLC0415  rarely wanted

            print_at_exit(config, self.state)
        self.arguments = arguments
        self._auto_args: dict[str, object] | None = None
        if self._restricted is not None:
            self._allow_search_path(self._restricted)

    def _allow_search_path(self, io: RestrictedIO) -> None:
        search_path = self.state.memo["search path"]
        for _, target in search_path.elements:
            if is_uri(target):
                io.allow(search_path.resolve(target))
            else:
                io.allow(os.path.abspath(target))
                io.allow(os.path.realpath(target))

    def _open_eval_store(self) -> Store | None:
        return self.stores.open_eval(read_only=self.store_io.read_only)

    def has_files(self) -> bool:
        """Whether the paths of the store are files of this machine, so that links can lead to them."""
        return self.store.uri in {"local", "daemon"}

    @property
    def store(self) -> Store:
        """The store that is built in; opens it.

        Raises:
            StoreError: there is none.
        """
        store = self.stores.build_store() or self.store_io.store
        if store is None:
            raise StoreError("there is no store yet, and this command must not make one")
        return store

    def run(self, function: Callable[[], T]) -> T:
        """Run `function`, which may evaluate anything, on the evaluation's own thread, and write what it added.

        Raises:
            NixError: ready to be printed.
            KeyboardInterrupt: the user ended it.
        """

        def body() -> T:
            result = function()
            self.io.flush()
            return result

        try:
            result = self.thread.run(body)
            if not self.read_only:
                self.stores.show_eval()
            return result
        except NixError as error:
            error.positions = self.state.positions
            error.show_trace = self.settings.show_trace
            raise
        finally:
            if self.state.parse_cache is not None:
                self.state.parse_cache.flush()

    def may_be_remembered(self) -> bool:
        """Return whether the same evaluation would print the same again, as far as `recording` can tell."""
        return self.recording is not None and self.recording.cacheable and not self.state.memo.get("said")

    # What commands evaluate.

    @property
    def auto_args(self) -> dict[str, object]:
        """The values of `--arg` and `--argstr`."""
        if self._auto_args is None:
            self._auto_args = {
                name: text if kind == "argstr" else self.state.evaluate_text(text, os.getcwd())
                for kind, name, text in self.arguments
            }
        return self._auto_args

    def file_argument(self, text: str) -> str:
        """Return the path that a file argument names: a path, `<name>` of the search path, or the URL of an archive."""
        if is_uri(text):
            return self.io.download(resolve_uri(text), "source", unpack=True, expected=None)
        if len(text) > 2 and text[0] == "<" and text[-1] == ">":
            found: str = self.state.memo["search path"].require(text[1:-1], pos=NO_POS)
            return found
        return os.path.abspath(text)

    def evaluate_file(self, text: str) -> object:
        """Return the value of a file argument."""
        # Not `state.evaluate_file`: that errors come from the file that the user named goes without saying.
        path = self.io.resolve_expr_path(self.file_argument(text))
        return self.state.evaluate(self.state.parse_file(path))

    def evaluate_expression(self, text: str) -> object:
        """Return the value of an expression of the command line; relative paths are relative to where we are."""
        return self.state.evaluate_text(text, os.getcwd())

    def evaluate_stdin(self) -> object:
        """Return the value of the expression on standard input."""
        return self.state.evaluate(self.state.parse(self.io.read_stdin(), os.getcwd(), "", "stdin"))

    # What takes long.

    def build(
        self, targets: Sequence[DerivedPath], mode: BuildMode | None = None, *, announce: bool = False
    ) -> list[BuildResult]:
        """Realise targets and return their results, in order. Blocks; a failed build is a result.

        Args:
            targets: what to realise.
            mode: what to do with outputs that are there already; BuildMode.NORMAL if None.
            announce: say first what will be built and fetched (setting `print-missing`).
        """
        self.store_io.flush()
        from builder.validity import results_if_valid  # noqa: PLC0415  most evaluations build nothing
        from storefs.api import BuildMode  # noqa: PLC0415

        evaluated = self._derivations_for(targets, sent=mode is BuildMode.REPAIR)
        valid = None
        if mode in {None, BuildMode.NORMAL}:
            floating = has_feature(self.config, CA_DERIVATIONS)
            valid = results_if_valid(self.store, targets, evaluated, floating_allowed=floating)
        if valid is not None:
            return valid  # what people ask for most often is there, and needs no builder
        from builder.open import open_builder_now  # noqa: PLC0415

        with open_builder_now(self.config, self.store, evaluated=evaluated) as builder:
            if announce and self.config.boolean("print-missing"):
                self._announce(builder.missing_now(targets), evaluated or self.store)
            return builder.build_now(targets, mode or BuildMode.NORMAL)

    def missing(self, targets: Sequence[DerivedPath]) -> Missing:
        """Return what `build` would do."""
        return self._missing(targets, self._derivations_for(targets))

    def _missing(self, targets: Sequence[DerivedPath], evaluated: Store | None) -> Missing:
        self.store_io.flush()
        from builder.open import open_builder_now  # noqa: PLC0415  most evaluations build nothing

        with open_builder_now(self.config, self.store, evaluated=evaluated) as builder:
            return builder.missing_now(targets)

    def _derivations_for(self, targets: Sequence[DerivedPath], *, sent: bool = False) -> Store | None:
        return self.stores.derivations_for(self.store, (target.path for target in targets), sent=sent)

    def announce(self, targets: Sequence[DerivedPath]) -> None:
        """Say on standard error what `build` would do."""
        evaluated = self._derivations_for(targets)
        self._announce(self._missing(targets, evaluated), evaluated or self.store)

    def _announce(self, missing: Missing, store: Store) -> None:
        from builder.reports import missing_lines  # noqa: PLC0415  most evaluations build nothing

        for line in missing_lines(missing, store):
            info(line)

    def require_success(self, results: Sequence[BuildResult]) -> None:
        """Raise the error that describes the failed builds among `results`, with the exit status that Nix ends with."""
        if all(result.ok for result in results):
            return
        from builder.reports import require_success  # noqa: PLC0415  most builds succeed

        require_success(results, self.store_io.directory)

    def print_log(self, drv_path: StorePath) -> None:
        """Print the log of a derivation's build on standard output; StoreError if there is none."""
        from builder.build_log import find_build_log, read_build_log  # noqa: PLC0415  only for the repl

        found = find_build_log(self.config, drv_path)
        if found is None:
            raise StoreError(f"build log of derivation '{self.store_io.directory.print(drv_path)}' is not available")
        sys.stdout.flush()
        for piece in read_build_log(found):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    def shell_attributes(self, attributes: Mapping[str, object]) -> str:
        """Return structured attributes as the shell text that a builder finds in `.attrs.sh`."""
        from builder.environment import shell_attributes  # noqa: PLC0415  only for nix-shell

        return shell_attributes(attributes)


class _Services(Services):
    """Building and fetching for `StoreIO`, outside of the evaluation's thread."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def realise(self, outputs: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """See `EvalIO.realise`."""
        from storefs.formats.derivation_hash import downstream_placeholder  # noqa: PLC0415  only when something is built
        from storefs.formats.derived_path import DerivedPath  # noqa: PLC0415

        directory = self._session.store_io.directory
        targets = [DerivedPath(directory.parse(path), tuple(names)) for path, names in outputs.items()]
        results = self._session.thread.outside(lambda: self._session.build(targets))
        rewrites: dict[str, str] = {}
        self._session.require_success(results)
        self._session.stores.bring_home(path for result in results for path in result.outputs.values())
        for target, result in zip(targets, results, strict=True):
            for name, path in result.outputs.items():
                rewrites[downstream_placeholder(target.path, name)] = directory.print(path)
        return rewrites

    def ensure(self, path: str) -> None:
        """See `EvalIO.ensure`."""
        from storefs.formats.derived_path import DerivedPath  # noqa: PLC0415  only when something is built

        target = DerivedPath(self._session.store_io.directory.parse(path))
        self._session.require_success(self._session.thread.outside(lambda: self._session.build([target])))
        self._session.stores.bring_home([target.path])

    def download(self, io: EvalIO, url: str, name: str, *, unpack: bool, expected: Hash | None) -> str:
        """See `EvalIO.download`."""
        from evaluator.downloads import fetch_url  # noqa: PLC0415  only what downloads pays for HTTP

        config = self._session.config
        return self._session.store_io.writing(
            lambda: fetch_url(config, io, url, name, unpack=unpack, expected=expected)
        )

    def fetch_repository(self, io: EvalIO, request: RepositoryRequest) -> RepositoryTree:
        """See `EvalIO.fetch_repository`."""
        if request.kind == "hg":
            from evaluator.mercurial_trees import fetch_mercurial  # noqa: PLC0415  only what uses it pays for it

            fetch = fetch_mercurial
        else:
            from evaluator.git_trees import fetch_git as fetch  # noqa: PLC0415  only what uses git pays for it

        return self._session.store_io.writing(lambda: fetch(self._session.config, io, request))

    def fetch_closure(self, request: ClosureRequest) -> str:
        """See `EvalIO.fetch_closure`."""
        from builder.content_addressing import fetch_closure  # noqa: PLC0415  only what uses it pays for it

        store_io, config = self._session.store_io, self._session.config
        parse = store_io.directory.parse

        def fetch() -> str:
            if store_io.store is None:
                raise StoreError("'fetchClosure' needs a store to write to")
            path = fetch_closure(
                config,
                store_io.store,
                request.store,
                parse(request.path),
                rewritten=None if request.rewritten is None else parse(request.rewritten),
                rewrite=request.rewrite,
                content_addressed=request.content_addressed,
            )
            return store_io.directory.print(path)

        return store_io.writing(fetch)


def open_session(invocation: Invocation, *, read_only: bool = False, recording: bool = False) -> Session:
    """Return the session that a command line asks for (`storefs/installable_options.py`)."""
    config = invocation.config
    if invocation.flag("--impure"):
        config = config.with_settings([("pure-eval", "false")])
    elif (
        invocation.program == "nix"
        and invocation.value("--expr") is not None
        and all(name != "pure-eval" for name, _ in invocation.settings)
    ):
        config = config.with_settings([("pure-eval", "true")])  # Nix's rule; a file may look around
    arguments = [(name[2:], values[0], values[1]) for name, values in invocation.given if name in {"--arg", "--argstr"}]
    return Session(
        config,
        search_path=invocation.values("--include"),
        arguments=arguments,
        read_only=read_only,
        recording=recording,
        eval_store=invocation.value("--eval-store"),
    )
