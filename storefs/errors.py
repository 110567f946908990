"""The one ancestor of every failure that a user can do something about.

Subclasses live beside the code that raises them and carry what they know in typed attributes. A bug is never one of
them: it keeps its traceback. Only `storefs.cli` prints a `StoreError` and turns it into an exit status.

Exit statuses are documented in README.md: 1 any failure without a number of its own, wrong use included, 100 a build
failed, 101 a build timed out, 102 a hash differed, 104 a build was not deterministic. All are Nix's.
"""

from __future__ import annotations


class StoreError(Exception):
    """An expected failure. Its text names the object that failed and, where there is one, the way out."""

    exit_code = 1


def on_one_line(text: str) -> str:
    """Return `text`, which may come from anywhere, fit for one line of a message: what would be obeyed is escaped.

    Bytes that are no UTF-8 ("surrogateescape") stay, and are written as they came.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or "\udc80" <= c <= "\udcff" else c.encode("unicode_escape").decode("ascii") for c in text
    )


class UsageError(StoreError):
    """A command was called in a way it does not understand. Status 1, as with Nix: scripts compare it."""


class EnvironmentUnfitError(StoreError):
    """The machine lacks something that is needed: a device, a permission, a program, disk space."""


class SystemRefusedError(StoreError):
    """The operating system refused; made from an OSError at the place that knows what was being attempted.

    Args:
        attempt: what was being done, as in "opening the blob store".
        error: the operating system's answer.
    """

    def __init__(self, attempt: str, error: OSError) -> None:
        where = f" '{error.filename}'" if error.filename is not None and str(error.filename) not in attempt else ""
        super().__init__(f"{attempt}{where}: {error.strerror or error}")
        self.attempt = attempt
        self.errno = error.errno
