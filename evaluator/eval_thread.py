"""The thread that evaluates: compiled recursion needs a deep stack, and the main thread's cannot be made deeper.

Evaluation runs on its own thread with a stack of 1 GiB (address space, mapped as it is used); the main thread waits,
and meanwhile does what only it can do: it takes SIGINT, and it runs what the evaluation asks to be run outside of
itself (builds, under trio). `_thread` is used directly because importing `threading` costs as much as a small
evaluation.
"""

from __future__ import annotations

import _thread
import gc
import sys

from evaluator.core import values
from evaluator.core.values import interrupt, set_stack_size
from evaluator.errors import Interrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

# Tried in order: with a limit on address space (`ulimit -v`) the first ones fail. The last is what glibc gives anyway.
_STACK_SIZES = (1 << 30, 256 << 20, 64 << 20, 16 << 20, 8 << 20)
# Left for what runs below the evaluator's own check: C library calls, the interpreter, freeing deep structures.
_RESERVE = 4
# What is written in Python recurses on the heap, not on the stack; this bounds the memory that a cycle can use. With a
# compiled core that is some builtins; else each call of the language takes five frames, and 100,000 have room.
_PYTHON_FRAMES = 1_000_000 if str(values.__file__).endswith(".py") else 400_000


class EvalThread:
    """Runs functions on a deep stack, one at a time. Used from one thread, normally the main one."""

    def __init__(self) -> None:
        self._wake = _thread.allocate_lock()
        self._answered = _thread.allocate_lock()
        self._request: Callable[[], Any] | None = None
        self._result: Any = None
        self._failure: BaseException | None = None
        self._finished = False
        self._running = False

    def run(self, function: Callable[[], T]) -> T:
        """Run `function` on the deep stack and return its result or raise what it raises.

        Blocks. On SIGINT the evaluation is interrupted and KeyboardInterrupt is raised when it has stopped.
        """
        self._finished = False
        self._failure = None
        self._result = None
        self._wake.acquire(False)
        self._running = True  # before the thread, which may ask for something at once
        try:
            self._start(function)
        except BaseException:
            self._running = False
            raise
        pending: BaseException | None = None
        while True:
            try:
                self._wake.acquire()
            except KeyboardInterrupt as error:
                interrupt()
                pending = error
                continue
            if self._finished:
                break
            self._serve()
        self._running = False
        if pending is not None:
            raise pending
        if isinstance(self._failure, Interrupted):
            raise KeyboardInterrupt
        if self._failure is not None:
            raise self._failure
        result: T = self._result
        self._result = None
        return result

    def _start(self, function: Callable[[], object]) -> None:
        previous = _thread.stack_size()
        try:
            for size in _STACK_SIZES:
                _thread.stack_size(size)
                try:
                    _thread.start_new_thread(self._body, (function, size))
                except RuntimeError:
                    if size == _STACK_SIZES[-1]:
                        raise
                else:
                    return
        finally:
            _thread.stack_size(previous)

    def _body(self, function: Callable[[], object], size: int) -> None:
        try:
            sys.setrecursionlimit(_PYTHON_FRAMES)
            # An evaluation makes few cycles that die before it ends; looking for them costs as much again.
            gc.disable()
            set_stack_size(size - size // _RESERVE)
            self._result = function()
        except BaseException as error:
            self._failure = error
        self._finished = True
        self._wake.release()

    def _serve(self) -> None:
        request, self._request = self._request, None
        assert request is not None
        try:
            self._result = request()
            self._failure = None
        except BaseException as error:
            self._failure = error
        self._answered.release()

    def outside(self, function: Callable[[], T]) -> T:
        """Called by the evaluation: run `function` in the thread that waits for it, and return its result."""
        if not self._running:
            return function()
        self._answered.acquire(False)
        self._request = function
        self._wake.release()
        self._answered.acquire()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise Interrupted if isinstance(failure, KeyboardInterrupt) else failure
        result: T = self._result
        return result
