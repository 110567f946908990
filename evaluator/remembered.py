"""Running a command through the result cache: the evaluator is only loaded when the answer is not known.

For commands whose whole effect is what they print, and store paths that the printed text names.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from evaluator.result_cache import ResultCache
    from evaluator.session import Session
    from storefs.api import Store
    from storefs.config import Config
    from storefs.options import Invocation


class Output:
    """Standard output, and, if it `remembers`, a copy of what was written to it.

    Attributes:
        texts: the copy, in the pieces that were written.
        last: the last piece.
    """

    def __init__(self, *, remembers: bool = True) -> None:
        self.texts: list[str] = []
        self.last = ""
        self._remembers = remembers

    def write(self, text: str) -> None:
        """Write text, whose bytes may be any (`surrogateescape`)."""
        self.last = text
        if self._remembers:
            self.texts.append(text)
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


def run_remembered(
    invocation: Invocation,
    *,
    read_only: bool,
    usable: bool,
    evaluate: Callable[[Session, Output], int],
    prints_paths: bool = False,
) -> int:
    """Print what this command line printed before if nothing changed since; otherwise evaluate.

    Args:
        invocation: the command line.
        read_only: the store is not written.
        usable: whether this command line may be remembered at all.
        evaluate: prints through the given output and returns the exit status; only status 0 is remembered. It runs in
            the evaluation's thread.
        prints_paths: what is printed are store paths, to be opened by whoever reads them.
    """
    config = invocation.config
    cache = _cache_of(invocation) if usable else None
    output = Output(remembers=cache is not None)
    opened = _LateStore(config)
    known = None if cache is None else cache.find(opened.is_valid)
    if known is not None:
        for text in known:
            output.write(text)
        if prints_paths:
            _show(config, opened.store(), output.last)
        return 0
    from evaluator.session import open_session  # noqa: PLC0415  this is what a hit saves

    session = open_session(invocation, read_only=read_only, recording=cache is not None)
    status = session.run(lambda: evaluate(session, output))
    if prints_paths and session.store_io.store is not None:
        _show(session.stores.eval_config, session.store_io.store, output.last)
    if cache is not None and status == 0 and session.recording is not None and session.may_be_remembered():
        cache.store(session.recording.observations(), output.texts)
    return status


def _cache_of(invocation: Invocation) -> ResultCache | None:
    """The cache's entry of a command line; None where nothing is to be remembered."""
    config = invocation.config
    if not config.boolean("eval-cache") or invocation.flag("--no-eval-cache") or config.boolean("restrict-eval"):
        return None
    # How long things took is not worth remembering.
    if config.variable("NIX_SHOW_STATS") or config.boolean("trace-function-calls"):
        return None
    # Of another store nobody knows whether it still has what was written to it.
    if invocation.value("--eval-store") is not None:
        return None
    from evaluator.result_cache import ResultCache  # noqa: PLC0415  who does not want it does not wait for it

    return ResultCache(config, invocation)


def _show(config: Config, store: Store, line: str) -> None:
    path = store.directory.maybe_parse(line.rstrip("\n").partition("!")[0])
    if path is not None:
        from storefs.stores.showing import show_paths  # noqa: PLC0415  most command lines print values

        show_paths(config, store.uri, [path])


class _LateStore:
    """The store of a configuration, opened with the first question: most entries name no store path."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._store: Store | None = None

    def store(self) -> Store:
        if self._store is None:
            from storefs.stores.open import open_store  # noqa: PLC0415  see the class

            self._store = open_store(self._config)
        return self._store

    def is_valid(self, path: str) -> bool:
        store = self.store()
        return store.is_valid(store.directory.parse(path))
