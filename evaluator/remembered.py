"""Running a command through the result cache: the evaluator is only loaded when the answer is not known.

For commands whose whole effect is what they print, and store paths that the printed text names.
"""

from __future__ import annotations

import sys

from evaluator.result_cache import ResultCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from evaluator.session import Session
    from storefs.config import Config
    from storefs.options import Invocation


class Output:
    """Standard output, and, if it `remembers`, a copy of what was written to it."""

    def __init__(self, *, remembers: bool = True) -> None:
        self.texts: list[str] = []
        self._remembers = remembers

    def write(self, text: str) -> None:
        """Write text, whose bytes may be any (`surrogateescape`)."""
        if self._remembers:
            self.texts.append(text)
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


def run_remembered(
    invocation: Invocation, *, read_only: bool, usable: bool, evaluate: Callable[[Session, Output], int]
) -> int:
    """Print what this command line printed before if nothing changed since; otherwise evaluate.

    Args:
        invocation: the command line.
        read_only: the store is not written.
        usable: whether this command line may be remembered at all.
        evaluate: prints through the given output and returns the exit status; only status 0 is remembered. It runs in
            the evaluation's thread.
    """
    cache = ResultCache(invocation.config, invocation)
    # Of another store nobody knows whether it still has what was written to it.
    cache.usable = cache.usable and usable and invocation.value("--eval-store") is None
    output = Output(remembers=cache.usable)
    known = cache.find(_validity(invocation.config))
    if known is not None:
        for text in known:
            output.write(text)
        return 0
    from evaluator.session import open_session  # noqa: PLC0415  this is what a hit saves

    session = open_session(invocation, read_only=read_only, recording=cache.usable)
    status = session.run(lambda: evaluate(session, output))
    if status == 0 and session.recording is not None and session.may_be_remembered():
        cache.store(session.recording.observations(), output.texts)
    return status


def _validity(config: Config) -> Callable[[str], bool]:
    """Return a function that asks the store whether a path is valid; the store is opened with the first question."""
    store = None

    def is_valid(path: str) -> bool:
        nonlocal store
        if store is None:
            from storefs.stores.open import open_store  # noqa: PLC0415  most entries name no store path

            store = open_store(config)
        return store.is_valid(store.directory.parse(path))

    return is_valid
