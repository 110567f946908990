"""The daemon's operations that take long: building, substituting, collecting, verifying."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storefs import logs
from storefs.api import BuildMode
from storefs.daemon.additions import NotPrivilegedError
from storefs.errors import StoreError
from storefs.formats.derivation import FIXED, FLOATING
from storefs.protocol import worker_ops as op
from storefs.protocol.wire import ProtocolError
from storefs.protocol.worker_values import (
    WireBuildResult,
    read_basic_derivation,
    read_derived_paths,
    read_options,
    read_paths,
    write_build_result,
)
from storefs.stores.derivation_outputs import drv_hash_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storefs.api import BuildResult
    from storefs.daemon.request import Operation, Request


class BuildsFailedError(StoreError):
    """Some targets could not be realised. `exit_code` is what `nix-build` ends with."""

    def __init__(self, failures: Sequence[BuildResult]) -> None:
        super().__init__("\n".join(dict.fromkeys(failure.message for failure in failures)))
        self.exit_code = 0
        for failure in failures:
            self.exit_code |= failure.exit_code


def _set_options(request: Request) -> None:
    options = read_options(request.reader, request.version)
    with request.work():
        request.tunnel.level = logs.sink.level = options.verbosity
        request.service.configure(options, request.tunnel, request.peer)


def _build_paths(request: Request) -> None:
    targets = read_derived_paths(request.reader, request.version, request.directory)
    mode = _read_mode(request) if request.version >= 15 else BuildMode.NORMAL
    with request.work():
        results = request.service.build(targets, mode, request.tunnel, hangup_fd=request.hangup_fd)
        failures = [result for result in results if not result.ok]
        if failures:
            raise BuildsFailedError(failures)
    request.writer.number(1)


def _build_paths_with_results(request: Request) -> None:
    targets = read_derived_paths(request.reader, request.version, request.directory)
    mode = _read_mode(request)
    with request.work():
        results = request.service.build(targets, mode, request.tunnel, hangup_fd=request.hangup_fd)
    request.writer.number(len(results))
    for result in results:
        request.writer.string(result.target.to_string(request.directory))
        write_build_result(request.writer, _on_the_wire(result), request.version)


def _build_derivation(request: Request) -> None:
    path = request.path()
    derivation = read_basic_derivation(request.reader, path.name.removesuffix(".drv"), request.directory)
    mode = _read_mode(request)
    with request.work():
        # Which paths an input-addressed derivation may fill follows from all of its inputs, which are not here: only
        # who is trusted may say so. A path that follows from the contents is nobody's word, and the .drv of such a
        # derivation is made anew from what came.
        if not request.peer.trusted:
            if derivation.kind() not in {FIXED, FLOATING}:
                raise NotPrivilegedError("you are not privileged to build input-addressed derivations")
            text = derivation.unparse(request.directory)
            path = request.store.add_text(f"{derivation.name}.drv", text, derivation.references())
        service, tunnel = request.service, request.tunnel
        result = service.build_derivation(path, derivation, mode, tunnel, hangup_fd=request.hangup_fd)
    wire = _on_the_wire(result)
    if derivation.kind() is FLOATING:  # what is asked for by its identity then
        wire.drv_hash = drv_hash_text(request.store, derivation)
    write_build_result(request.writer, wire, request.version)


def _on_the_wire(result: BuildResult) -> WireBuildResult:
    used = result.cpu_time
    return WireBuildResult(
        result.status.value,
        result.message,
        result.outputs,
        start_time=result.start_time,
        stop_time=result.stop_time,
        times_built=1 if result.stop_time else 0,
        cpu_user=None if used is None else used.user,
        cpu_system=None if used is None else used.system,
    )


def _read_mode(request: Request) -> BuildMode:
    number = request.reader.number()
    try:
        mode = BuildMode(number)
    except ValueError:
        raise ProtocolError(f"invalid build mode {number}") from None
    if mode is BuildMode.REPAIR and not request.peer.trusted:
        raise NotPrivilegedError("repairing is not allowed because you are not in 'trusted-users'")
    return mode


def _ensure_path(request: Request) -> None:
    path = request.path()
    with request.work():
        if not request.store.is_valid(path):
            request.service.substitute([path], request.tunnel, hangup_fd=request.hangup_fd)
            if not request.store.is_valid(path):
                text = request.directory.print(path)
                raise StoreError(f"path '{text}' does not exist and cannot be created")
    request.writer.number(1)


def _collect_garbage(request: Request) -> None:
    action = request.reader.number()
    paths = read_paths(request.reader, request.directory)
    ignore_liveness, max_freed = request.reader.boolean(), request.reader.number()
    for _ in range(3):
        request.reader.number()  # obsolete
    with request.work():
        if action not in {op.GC_RETURN_LIVE, op.GC_RETURN_DEAD, op.GC_DELETE_DEAD, op.GC_DELETE_SPECIFIC}:
            raise ProtocolError(f"invalid garbage collector action {action}")
        if ignore_liveness:
            raise NotPrivilegedError("you are not allowed to ignore liveness")
        found, freed = request.service.collect_garbage(action, paths, max_freed)
    request.writer.strings(request.directory.print(path) for path in sorted(found))
    request.writer.number(freed).number(0)


def _optimise_store(request: Request) -> None:
    with request.work():
        request.service.optimise()
    request.writer.number(1)


def _verify_store(request: Request) -> None:
    check_contents, repair = request.reader.boolean(), request.reader.boolean()
    with request.work():
        if repair and not request.peer.trusted:
            raise NotPrivilegedError("you are not privileged to repair paths")
        errors = request.service.verify(check_contents=check_contents, repair=repair)
    request.writer.boolean(errors)


def _nothing(request: Request) -> None:
    """Operations that have lost their meaning and still want an answer."""
    with request.work():
        pass
    request.writer.number(1)


def _clear_failed_paths(request: Request) -> None:
    request.reader.strings()
    _nothing(request)


WORK: dict[int, Operation] = {
    op.SET_OPTIONS: _set_options,
    op.BUILD_PATHS: _build_paths,
    op.BUILD_PATHS_WITH_RESULTS: _build_paths_with_results,
    op.BUILD_DERIVATION: _build_derivation,
    op.ENSURE_PATH: _ensure_path,
    op.COLLECT_GARBAGE: _collect_garbage,
    op.OPTIMISE_STORE: _optimise_store,
    op.VERIFY_STORE: _verify_store,
    op.SYNC_WITH_GC: _nothing,
    op.CLEAR_FAILED_PATHS: _clear_failed_paths,
}
