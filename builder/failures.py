"""How builds fail: errors that carry the status of the worker protocol and the exit status of Nix.

An exit status is 1, or 0x60 with bits of its reasons, which are OR-ed over all builds of a command: 100 a build
failed, 101 one timed out, 102 a fixed output has another hash, 104 one is not deterministic.
"""

from __future__ import annotations

from storefs.api import BuildStatus, CpuTime
from storefs.errors import StoreError

FAILED, TIMED_OUT, HASH_MISMATCH, NOT_DETERMINISTIC = 100, 101, 102, 104


class BuildError(StoreError):
    """A build failed.

    Attributes:
        status: how, for the worker protocol.
        exit_code: what `nix-build` would end with.
        cpu_time: what it took of the processors, None where nobody counted.
    """

    status = BuildStatus.MISC_FAILURE
    cpu_time: CpuTime | None = None

    def __init__(self, text: str, status: BuildStatus | None = None, exit_code: int | None = None) -> None:
        super().__init__(text)
        if status is not None:
            self.status = status
        if exit_code is not None:
            self.exit_code = exit_code


class OutputRejectedError(BuildError):
    """The builder ended well, but what it left can't be registered."""

    status = BuildStatus.OUTPUT_REJECTED


class HashMismatchError(BuildError):
    """A fixed-output derivation made something else than it promised."""

    status = BuildStatus.OUTPUT_REJECTED
    exit_code = HASH_MISMATCH


class NotDeterministicError(BuildError):
    """A build gave another result than before."""

    status = BuildStatus.NOT_DETERMINISTIC
    exit_code = NOT_DETERMINISTIC


class InputRejectedError(BuildError):
    """The derivation itself can't be built: an attribute, a missing feature."""

    status = BuildStatus.INPUT_REJECTED
    exit_code = FAILED


class CancelledError(BuildError):
    """The build was given up because somebody asked for it, or because another one failed."""


def combined_exit_code(codes: list[int]) -> int:
    """OR the exit statuses of several failures, as Nix does; 1 where none of them has a reason of its own."""
    result = 0
    for code in codes:
        if code >= FAILED:
            result |= code
    return result or 1
