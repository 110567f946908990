"""`build-cache-failure`: a build that failed is not tried again until somebody says so (`--clear-failed-paths`).

For machines that build the same things over and over. What is remembered are the outputs of builders that ended badly;
neither builds with fixed outputs, whose downloads may work tomorrow, nor time limits, nor other machines' trouble. One
empty file for each output below `<state_dir>/verglas/failed`. Semantics: Nix 1.1 to 1.11, which had this, and the trace
lines of its `--print-build-trace`.
"""

from __future__ import annotations

import os

from builder.derivation_builder import build_derivation
from builder.failures import FAILED, BuildError
from storefs import logs
from storefs.api import BuildStatus
from storefs.formats.derivation import FIXED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.cancellation import Cancellation
    from builder.machine import LocalMachine
    from builder.request import Request
    from storefs.api import CpuTime
    from storefs.config import Config
    from storefs.formats.store_path import StorePath


def failed_paths(config: Config) -> list[str]:
    """Return the base names of the outputs whose builds failed, sorted."""
    try:
        return sorted(os.listdir(_folder(config)))
    except FileNotFoundError:
        return []


def forget_failures(config: Config, names: Iterable[str]) -> None:
    """Let outputs be tried again; unknown names do not matter."""
    for name in names:
        try:
            os.unlink(f"{_folder(config)}/{name}")
        except FileNotFoundError:
            pass


def build_unless_failed(machine: LocalMachine, request: Request, cancellation: Cancellation) -> CpuTime | None:
    """`build_derivation`, unless it is known to fail; remembers it if it does. With `print-build-trace` it says so.

    Raises:
        BuildError: it failed, now or before.
    """
    config, directory = machine.config, machine.store.directory
    remembering, tracing = config.boolean("build-cache-failure"), config.boolean("print-build-trace")
    if not remembering and not tracing:
        return build_derivation(machine, request, cancellation)
    outputs = [output.path for output in request.derivation.outputs.values() if output.path is not None]
    drv_path = directory.print(request.drv_path)
    shown = directory.print(outputs[0]) if outputs else "-"

    def trace(what: str, rest: str = "") -> None:
        if tracing:
            logs.sink.emit(f"@ build-{what} {drv_path} {shown}{rest}")

    if remembering and any(os.path.exists(_file(config, path)) for path in outputs):
        trace("failed", " cached")
        message = f"builder for '{drv_path}' failed previously (cached); '--clear-failed-paths' lets it be tried again"
        raise BuildError(message, BuildStatus.CACHED_FAILURE, FAILED)
    trace("started", f" {request.derivation.system} -")
    try:
        used = build_derivation(machine, request, cancellation)
    except BuildError as error:
        permanent = error.status is BuildStatus.PERMANENT_FAILURE and request.derivation.kind() != FIXED
        if remembering and permanent:
            os.makedirs(_folder(config), exist_ok=True)
            for path in outputs:
                with open(_file(config, path), "wb"):
                    pass
        trace("failed", f" 1 {str(error).splitlines()[0]}")
        raise
    trace("succeeded")
    return used


def _folder(config: Config) -> str:
    return f"{config.verglas_dir}/failed"


def _file(config: Config, path: StorePath) -> str:
    return f"{_folder(config)}/{path.base_name}"
