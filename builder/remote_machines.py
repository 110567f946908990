"""Builds on other machines: chooses one, sends what it lacks, has it build, and brings the outputs back.

The scheduler asks `reserve` for a place; the place builds in a thread of the scheduler's. Slots are lock files below
`<state_dir>/current-load`, shared by all processes of this machine. A machine that can't be reached is left out for
the rest of the command. Semantics: build-remote.cc of Nix 2.8.
"""

from __future__ import annotations

from contextlib import contextmanager

from builder import progress as told
from builder.build_log import LineSplitter, open_build_log
from builder.environment import BuildAttributes
from builder.failures import FAILED, TIMED_OUT, BuildError, CancelledError
from builder.hooks import run_post_build_hook
from builder.locks import try_lock
from builder.machines import best_of, parse_machines, read_machines
from builder.preconditions import lock_outputs
from builder.remote_stores import open_remote
from builder.request import BusyError
from storefs.api import BuildStatus
from storefs.errors import StoreError
from storefs.experimental import CA_DERIVATIONS, has_feature
from storefs.formats.derivation import FLOATING, Derivation
from storefs.stores.closure import closure, sorted_references_first
from storefs.stores.known_outputs import known_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.build_log import BuildLog
    from builder.cancellation import Cancellation
    from builder.locks import FileLocks
    from builder.machine import LocalMachine
    from builder.machines import Machine
    from builder.progress import Activity, Progress
    from builder.remote_stores import RemoteBuildStore
    from builder.request import Request
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StorePath

_DONE = {
    BuildStatus.BUILT,
    BuildStatus.SUBSTITUTED,
    BuildStatus.ALREADY_VALID,
    BuildStatus.RESOLVES_TO_ALREADY_VALID,
}
_EXIT_CODES = {
    BuildStatus.PERMANENT_FAILURE: FAILED,
    BuildStatus.INPUT_REJECTED: FAILED,
    BuildStatus.TIMED_OUT: TIMED_OUT,
}


class RemoteMachines:
    """The machines of a configuration. `reserve` is called by one thread at a time.

    Args:
        local: this machine.

    Raises:
        BadMachineError: the setting `builders` can't be understood.
    """

    def __init__(self, local: LocalMachine) -> None:
        config = local.config
        self._local = local
        self._machines = parse_machines(config.text("builders"), config.text("system"), read_machines)
        self._disabled: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._machines)

    def close(self) -> None:
        """Nothing is held between builds."""

    def reserve(self, path: StorePath, derivation: Derivation, *, local_possible: bool) -> RemoteSlot | None:
        """Find a machine with room for a derivation; None when it is to be built here.

        Raises:
            BusyError: only other machines can build it, and all of them are busy.
        """
        attributes = BuildAttributes(derivation)
        required = attributes.required_features()
        config = self._local.config
        can_here = (
            derivation.is_builtin or derivation.system in {config.text("system"), *config.words("extra-platforms")}
        ) and set(config.words("system-features")).issuperset(required)
        if can_here and config.integer("max-jobs") != 0 and attributes.boolean("preferLocalBuild"):
            return None
        system = "builtin" if derivation.is_builtin else derivation.system
        fitting = [
            machine
            for machine in self._machines
            if machine.uri not in self._disabled and machine.fits(system, required)
        ]
        free: dict[str, FileLocks] = {}
        loads = []
        try:
            for machine in fitting:
                load = self._take_slot(machine, free)
                if machine.uri in free:
                    loads.append((machine, load))
            best = best_of(loads)
            if best is not None:
                return RemoteSlot(self._local, best, free.pop(best.uri), self._disabled)
        finally:
            for locks in free.values():
                locks.release()
        if fitting and not (can_here and local_possible):
            raise BusyError(f"waiting for a machine to build '{self._local.store.directory.print(path)}'")
        return None

    def _take_slot(self, machine: Machine, free: dict[str, FileLocks]) -> int:
        """Lock a free slot of a machine, if there is one; return how many are taken by others."""
        folder = f"{self._local.config.state_dir}/current-load"
        name = machine.uri.replace("%", "%25").replace("/", "%2F")
        load = 0
        for slot in range(machine.jobs):
            locks = try_lock(folder, [f"{name}-{slot}"])
            if locks is None:
                load += 1
            elif machine.uri in free:
                locks.release()
            else:
                free[machine.uri] = locks
        return load


class RemoteSlot:
    """A place on another machine, given back when its build has ended."""

    def __init__(self, local: LocalMachine, machine: Machine, locks: FileLocks, disabled: set[str]) -> None:
        self._local = local
        self._store = local.store
        self._machine = machine
        self._locks = locks
        self._disabled = disabled

    def build(self, request: Request, cancellation: Cancellation) -> None:
        """Build there and register the outputs here. Blocks.

        Raises:
            BusyError: somebody else builds it, or the machine can't be reached: try again.
            BuildError: it failed.
        """
        with self._locks, lock_outputs(self._local, request):
            known = known_outputs(self._store, request.derivation)
            there = len(known) == len(request.derivation.outputs)
            if not there or set(known.values()) != self._store.valid_paths(known.values()):
                made = self._build(request, known, cancellation)
                show = self._store.directory.print
                shown = [show(path) for path in made.values()]
                run_post_build_hook(self._local.config, self._local.progress, show(request.drv_path), shown)

    def _build(self, request: Request, known: dict[str, StorePath], cancellation: Cancellation) -> dict[str, StorePath]:
        """Build there; return what was made, and is valid here now."""
        output = _Output(self._local.progress, request, self._machine.uri, self._local)
        try:
            remote = open_remote(self._local, self._machine, output.feed, output.line)
        except StoreError as error:
            self._disabled.add(self._machine.uri)
            self._local.progress.error(f"cannot build on '{self._machine.uri}': {error}")
            raise BusyError(f"machine '{self._machine.uri}' is not available") from error
        try:
            with _closed_when_cancelled(remote, cancellation):
                self._send_inputs(request, remote)
                output.begin()
                derivation = request.derivation
                basic = Derivation(
                    derivation.name,
                    derivation.outputs,
                    {},
                    closure(self._store, request.inputs),
                    derivation.system,
                    derivation.builder,
                    derivation.args,
                    derivation.env,
                )
                result = remote.build(request.drv_path, basic)
                if result.status not in _DONE:
                    text = f"build of '{self._store.directory.print(request.drv_path)}' on '{self._machine.uri}' failed"
                    raise BuildError(
                        f"{text}: {result.message}" if result.message else text,
                        result.status,
                        _EXIT_CODES.get(result.status, 1),
                    )
                # What floats is known there now; a path that is written in the derivation is taken from nobody's word,
                # and outputs that it does not have are nothing to us.
                told = {**result.outputs, **known} if derivation.kind() is FLOATING else known
                made = {name: path for name, path in told.items() if name in derivation.outputs}
                self._fetch_outputs(request, remote, made)
                return made
        except (OSError, StoreError) as error:
            if cancellation.cancelled:
                raise CancelledError(f"{request.name} was cancelled") from error
            if isinstance(error, BuildError):
                raise
            raise BuildError(f"building on '{self._machine.uri}' failed: {error}") from error
        finally:
            remote.close()
            output.end()

    def _send_inputs(self, request: Request, remote: RemoteBuildStore) -> None:
        """Copy the closure of the inputs, as far as it is not there."""
        inputs = closure(self._store, request.inputs)
        use_substitutes = self._local.config.boolean("builders-use-substitutes")
        present = remote.valid_paths(inputs, substitute=use_substitutes)
        for path in sorted_references_first(self._store, inputs - present):
            remote.add_nar(self._store.path_info(path), self._store.nar(path))

    def _fetch_outputs(self, request: Request, remote: RemoteBuildStore, made: dict[str, StorePath]) -> None:
        """Copy the outputs here, and register them together."""
        lacking = ", ".join(sorted(request.derivation.outputs.keys() - made.keys()))
        if lacking:
            raise BuildError(f"'{self._machine.uri}' did not say what it made as {lacking}")
        missing = set(made.values()) - self._store.valid_paths(made.values())
        infos = remote.path_infos(missing)
        absent = missing - infos.keys()
        if absent:
            listed = ", ".join(sorted(self._store.directory.print(path) for path in absent))
            raise BuildError(f"'{self._machine.uri}' did not make {listed}")
        # What outputs refer to and is not here: other outputs of the same build, or inputs, which are.
        additions = []
        with self._store.intake() as intake:
            for path in sorted(missing):
                info: PathInfo = infos[path].replace(deriver=request.drv_path, ultimate=True)
                additions.append((intake.add_nar(remote.nar(path)), info))
            realised: list[Realisation] = []
            if has_feature(self._local.config, CA_DERIVATIONS):
                from builder.realising import realisations  # noqa: PLC0415  json, for what most builds have no use for

                realised = realisations(self._local, request.derivation, made)
            intake.register(additions, realisations=realised, drv_path=request.drv_path)


class _Output:
    """What a build elsewhere prints: shown here, and kept in a log here."""

    def __init__(self, progress: Progress, request: Request, uri: str, local: LocalMachine) -> None:
        self._progress = progress
        self._request = request
        self._uri = uri
        self._shown = local.store.directory.print(request.drv_path)
        self._splitter = LineSplitter()
        self._activity: Activity | None = None
        self._log: BuildLog | None = None
        self._config = local.config

    def begin(self) -> None:
        """Say that it begins."""
        text = f"building '{self._shown}' on '{self._uri}'"
        self._log = open_build_log(self._config, self._request.drv_path)
        self._activity = self._progress.start(
            told.BUILD, self._request.derivation.name, text, [self._shown, self._uri, 1, 1]
        )

    def feed(self, data: bytes) -> None:
        """Take in what came on standard error, in pieces."""
        for line in self._splitter.feed(data):
            self.line(line)

    def line(self, text: str) -> None:
        """Take in one line."""
        if self._activity is None:
            # Before the build, only ssh itself speaks, which also greets; whether anything failed is told by its end.
            self._progress.said(f"{self._uri}: {text}")
            return
        if self._log is not None:
            self._log.write(text.encode(errors="surrogateescape") + b"\n")
        self._progress.line(self._activity, text)

    def end(self) -> None:
        """Finish."""
        for line in self._splitter.finish():
            self.line(line)
        if self._log is not None:
            self._log.close()
        if self._activity is not None:
            self._progress.stop(self._activity)


@contextmanager
def _closed_when_cancelled(remote: RemoteBuildStore, cancellation: Cancellation) -> Iterator[None]:
    """Cut the connection when the build is cancelled, which ends the wait for an answer; the other side then stops."""
    import os  # noqa: PLC0415
    import select  # noqa: PLC0415
    from _thread import allocate_lock, start_new_thread  # noqa: PLC0415

    ended = os.eventfd(0, os.EFD_CLOEXEC)
    gone = allocate_lock()
    gone.acquire()

    def watch() -> None:
        select.select([cancellation.fileno(), ended], [], [])
        if cancellation.cancelled:
            remote.abort()
        gone.release()

    start_new_thread(watch, ())
    try:
        yield
    finally:
        os.eventfd_write(ended, 1)
        with gone:
            os.close(ended)
