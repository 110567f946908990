"""What can go wrong between a test script and its machines."""

from __future__ import annotations


class VmTestError(Exception):
    """An expected failure. Its text names the machine and, where there is one, the way out."""

    evidence: list[str] | None = None


class MissingProgramError(VmTestError):
    """QEMU, a kernel or a tool for images is not installed."""

    def __init__(self, what: str, package: str) -> None:
        super().__init__(f"{what} is missing; install Debian's package '{package}'")


class MachineError(VmTestError):
    """A machine did not do what the script asked for.

    Args:
        machine: its name.
        message: what happened.
        evidence: the last lines of a command's output or of the console, shown beneath.
    """

    def __init__(self, machine: str, message: str, evidence: list[str] | None = None) -> None:
        tail = "".join(f"\n  {machine} # {line}" for line in evidence or [])
        super().__init__(f"{machine}: {message}{tail}")
        self.evidence = evidence


class RequestedAssertionFailed(VmTestError):
    """A command that should have succeeded failed, or the other way round (the NixOS driver's name for it)."""

    def __init__(self, message: str, evidence: list[str] | None = None) -> None:
        super().__init__(message + "".join(f"\n  | {line}" for line in evidence or []))
        self.evidence = evidence
