"""Taking turns at something that may take long and fail: who waited for a failure shares it, instead of trying again.

For `lazy.py`. Without it the tenth reader of a path whose cache is silent would wait for ten time-outs; and one alone
for two, because the kernel asks again for a page that could not be read ahead.
"""

from __future__ import annotations

import threading
import time

from storefs.errors import StoreError

_SHARED_FOR = 1.0  # seconds


class Turn:
    """A context for one thread at a time. Entering it raises the StoreError by which it was just left.

    Attributes:
        lock: held meanwhile; who only wants nobody else to be at it takes this.
    """

    __slots__ = ("_failure", "_until", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._failure: StoreError | None = None
        self._until = 0.0

    def __enter__(self) -> None:
        self.lock.acquire()
        if self._failure is not None and time.monotonic() < self._until:
            failure = self._failure
            self.lock.release()
            raise failure.with_traceback(None)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._failure = error if isinstance(error, StoreError) else None
        self._until = time.monotonic() + _SHARED_FOR
        self.lock.release()
