"""Drives pyfuse3's coroutines without an event loop: one request after the other, each answered at once.

pyfuse3 looks its event loop up in a module attribute, the hook by which its own `pyfuse3.asyncio` replaces trio. What
takes trio's place here has the few names that pyfuse3 uses and never suspends, so its main coroutine runs to its end
in a single `send`. A look-up costs a third of what it costs with trio, whose scheduling, lock and epoll were 70% of it.

The price: a handler must never wait for anything but the kernel. Ours read memory and local files only.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from storefs.fuse.at_once import Answer, Readiness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from types import ModuleType

_NOTHING = Answer()


class _Lock:
    """A lock that nobody else can ever hold."""

    def __aenter__(self) -> Answer:
        return _NOTHING

    def __aexit__(self, *error: object) -> Answer:
        return _NOTHING


class _Nursery:
    """Runs its tasks one after the other when it is left. pyfuse3 starts one, and a second only if one waits."""

    def __init__(self) -> None:
        self._tasks: list[Awaitable[object]] = []

    def start_soon(self, function: Callable[..., Awaitable[object]], *arguments: object, name: object = None) -> None:
        self._tasks.append(function(*arguments))

    async def __aenter__(self) -> _Nursery:
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            await task


class _ClosedResourceError(Exception):
    pass


def install(pyfuse3: ModuleType, fd: int) -> None:
    """Replace the event loop of the module pyfuse3, for good. Call it before `pyfuse3.init`.

    Args:
        pyfuse3: the module.
        fd: what it will read requests from.
    """
    wait = Readiness(fd).wait
    pyfuse3.trio = SimpleNamespace(  # type: ignore[attr-defined]
        Lock=_Lock,
        open_nursery=_Nursery,
        ClosedResourceError=_ClosedResourceError,
        lowlevel=SimpleNamespace(
            current_task=lambda: SimpleNamespace(name="fuse"),
            current_trio_token=lambda: None,
            wait_readable=lambda fd: wait(),
            notify_closing=lambda fd: None,
        ),
    )
    # The coroutine in which pyfuse3 takes the lock and asks whether the session has ended, which its loop asks, too:
    # both are for several tasks, and there is one. Other versions may have none of this name.
    if hasattr(pyfuse3, "_wait_fuse_readable"):
        pyfuse3._wait_fuse_readable = wait  # type: ignore[attr-defined]


def run(main: Coroutine[object, None, None]) -> None:
    """Run a coroutine that never suspends to its end."""
    try:
        main.send(None)
    except StopIteration:
        return
    raise RuntimeError("a handler waited, which the synchronous driver cannot do")
