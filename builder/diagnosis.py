"""Why a builder ended badly: the error for its user, and whether it will be the derivation's fault the next time too.

Looks at how full the disks are, otherwise only at its arguments. Called by `derivation_builder`. The texts are those of
local-derivation-goal.cc of Nix 2.8.
"""

from __future__ import annotations

import os

from builder.build_process import CANCELLED, SILENT, TOO_LONG
from builder.failures import FAILED, TIMED_OUT, BuildError, CancelledError
from builder.sandbox.spawn import SandboxSetupError
from storefs.api import BuildStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.build_process import Ending
    from storefs.config import Config

_LITTLE_SPACE = 8 << 20  # bytes; with less, a failure may be the disk's and is not held against the derivation


def diagnose(
    ending: Ending, config: Config, *, name: str, drv_path: str, build_dir: str, logs_shown: bool, networked: bool
) -> BuildError:
    """Return the error for a builder that did not succeed.

    Args:
        ending: how it ended.
        config: limits and directories.
        name: of the derivation.
        drv_path: its store path, for messages.
        build_dir: where it was built, on the host.
        logs_shown: its output was shown as it came and need not be repeated.
        networked: it had the network, which may work the next time.

    Raises:
        SandboxSetupError: it was never started, and nothing of the derivation is to blame.
    """
    if ending.killed_for is CANCELLED:
        return CancelledError(f"{name} was cancelled")
    if ending.killed_for is SILENT:
        text = f"{name} timed out after {config.integer('max-silent-time')} seconds of silence"
        return BuildError(text, BuildStatus.TIMED_OUT, TIMED_OUT)
    if ending.killed_for is TOO_LONG:
        text = f"{name} timed out after {config.integer('timeout')} seconds"
        return BuildError(text, BuildStatus.TIMED_OUT, TIMED_OUT)
    if ending.killed_for is not None:
        limit = config.integer("max-build-log-size")
        text = f"{name} killed after writing more than {limit} bytes of log output"
        return BuildError(text, BuildStatus.LOG_LIMIT_EXCEEDED)
    if ending.setup_failure is not None and not ending.setup_failure.startswith("executing"):
        hint = ""
        if ending.setup_failure.startswith("creating namespaces") and os.geteuid() != 0:
            hint = "; without root this takes user namespaces, which this kernel or container does not allow"
        if ending.setup_failure.startswith("user namespace: entering new namespaces"):
            hint = "; the kernel makes no user namespaces in a chroot, nor more than user.max_user_namespaces"
        raise SandboxSetupError(f"while setting up the build environment of '{drv_path}': {ending.setup_failure}{hint}")
    tail = ending.tail
    text = f"builder for '{drv_path}' {ending.describe()}"
    if ending.setup_failure is not None:
        tail = [*tail, f"error: {ending.setup_failure}"]
    if tail and (not logs_shown or ending.setup_failure is not None):
        lines = "".join(f"> {line}\n" for line in tail)
        text += f";\nlast {len(tail)} log lines:\n{lines}For full logs, run 'nix log {drv_path}'."
    full = _is_full(config.state_dir) or _is_full(build_dir)
    if full:
        text += "\nnote: build failure may have been caused by lack of free disk space"
    if full or networked:
        return BuildError(text, BuildStatus.TRANSIENT_FAILURE)
    return BuildError(text, BuildStatus.PERMANENT_FAILURE, FAILED)


def _is_full(path: str) -> bool:
    try:
        space = os.statvfs(path)
    except OSError:
        return False
    return space.f_bavail * space.f_bsize < _LITTLE_SPACE
