"""Builds one derivation on this machine: locks, user, environment, plan, process, outputs, registration.

Blocking, in a thread of its own; everything it makes on the host (build directory, scratch directory, locks, processes)
is gone when it returns or raises, whatever happened. Which derivations are built, and when, is `scheduler`'s business.
Semantics: local-derivation-goal.cc of Nix 2.8.
"""

from __future__ import annotations

import os

from builder import progress as told
from builder.build_directory import BuildDirectory
from builder.build_log import open_build_log
from builder.build_process import Limits, run_builder
from builder.cgroups import control_group
from builder.confinement import Confinement, is_sandboxed, require_fit_machine
from builder.diagnosis import diagnose
from builder.environment import BadAttributeError, BuildAttributes, BuildEnvironment, build_environment
from builder.failures import BuildError, InputRejectedError, NotDeterministicError
from builder.outputs import compare_outputs, hash_outputs, register_outputs
from builder.preconditions import lock_outputs, require_buildable
from builder.produced import Produced
from builder.removal import remove_tree
from builder.request import BusyError
from builder.sandbox.plan import Plan
from builder.sandbox.spawn import Spawner
from builder.scratch_paths import named, scratch_paths
from builder.signing import signed
from builder.users import acquire_user
from storefs import logs
from storefs.api import BuildMode, CpuTime
from storefs.experimental import CA_DERIVATIONS, has_feature
from storefs.formats.derivation import FIXED
from storefs.formats.hashes import Hash
from storefs.stores.closure import closure
from storefs.stores.known_outputs import known_outputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    from builder.build_process import Ending
    from builder.cancellation import Cancellation
    from builder.machine import LocalMachine
    from builder.request import Request
    from builder.users import BuildUser
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StorePath

    T = TypeVar("T")


def build_derivation(machine: LocalMachine, request: Request, cancellation: Cancellation) -> CpuTime | None:
    """Build a derivation; return what that took of the processors, None where nobody counted.

    Raises:
        BusyError: somebody else is at it.
        BuildError: it failed; carries the status.
        StoreError: it could not be attempted.
    """
    require_buildable(machine.config, request.derivation, machine.store.directory.print(request.drv_path))
    with lock_outputs(machine, request):
        # Somebody may have built it before the lock was ours.
        known = known_outputs(machine.store, request.derivation)
        valid = machine.store.valid_paths(known.values())
        all_there = len(known) == len(request.derivation.outputs) and len(valid) == len(set(known.values()))
        if request.mode is BuildMode.NORMAL and all_there:
            return None
        return _Build(machine, request, known, valid, cancellation).run()


class _Build:
    """One build, with its locks held."""

    def __init__(
        self,
        machine: LocalMachine,
        request: Request,
        outputs: dict[str, StorePath],
        valid: set[StorePath],
        cancellation: Cancellation,
    ) -> None:
        self._machine = machine
        self._config = machine.config
        self._store = machine.store
        self._directory = machine.store.directory
        self._request = request
        self._derivation = request.derivation
        self._shown = self._directory.print(request.drv_path)
        self._outputs = outputs
        self._valid = valid
        self._cancellation = cancellation
        self._networked = request.derivation.kind() is FIXED
        self._build_dir: BuildDirectory | None = None
        self._cpu_time: CpuTime | None = None
        self._closure_or_none: frozenset[StorePath] | None = None
        try:
            self._attributes = BuildAttributes(request.derivation)
        except BadAttributeError as error:
            raise InputRejectedError(str(error)) from error
        self._sandboxed = is_sandboxed(
            machine.config, request.derivation, self._attributes, networked=self._networked, shown=self._shown
        )

    def run(self) -> CpuTime | None:
        """Build, as often as `repeat` says."""
        require_fit_machine(self._config, self._derivation, self._attributes, self._shown)
        for path in self._outputs.values():
            self._store.add_temp_root(path)
        made = self._outputs
        user = acquire_user(self._config, sandboxed=self._sandboxed)
        if user is None:
            raise BusyError(f"waiting for UID to build '{self._shown}'")
        with user:
            try:
                made = made | self._run_rounds(user)
            except BuildError as error:
                error.cpu_time = self._cpu_time
                raise
        if self._request.mode is BuildMode.NORMAL and self._config.text("post-build-hook"):
            from builder.hooks import run_post_build_hook  # noqa: PLC0415  few have one

            outputs = [self._directory.print(path) for path in made.values()]
            run_post_build_hook(self._config, self._machine.progress, self._shown, outputs)
        return self._cpu_time

    def _note_cpu_time(self, used: CpuTime) -> None:
        logs.debug(f"builder for '{self._shown}' took {used}")
        self._cpu_time = used if self._cpu_time is None else self._cpu_time + used

    def _run_rounds(self, user: BuildUser) -> dict[str, StorePath]:
        """Build as often as `repeat` says, and return what was made.

        Only the last round is registered, if all gave the same.
        """
        rounds = self._config.integer("repeat") + 1 if self._request.mode is BuildMode.NORMAL else 1
        before: dict[str, Hash] = {}
        for number in range(1, rounds):
            found = self._run_once(user, f" (round {number}/{rounds})", self._hash_round, move=False)
            self._compare_rounds(before, found)
            before = found

        def finish(produced: Produced) -> dict[str, PathInfo]:
            if self._request.mode is BuildMode.CHECK:
                return compare_outputs(self._store, produced, lambda new, old: self._keep_difference(new, old, user))

            def before_commit(found: Mapping[str, Hash], syncs_all: bool) -> None:
                self._compare_rounds(before, found)
                # What was not moved is copied by now. Files that go before the commit syncs the disk are never
                # written to it; afterwards removing them takes longer than the build.
                if syncs_all:
                    remove_tree(produced.folder)

            registered = register_outputs(
                self._store,
                produced,
                lambda info: signed(info, self._config, self._directory),
                before_commit,
                self._realisations,
            )
            self._machine.discard(produced.folder)
            return registered

        label = f" (round {rounds}/{rounds})" if rounds > 1 else ""
        infos = self._run_once(user, label, finish, move=self._request.mode is not BuildMode.CHECK)
        return {name: info.path for name, info in infos.items()}

    def _realisations(self, made: Mapping[str, StorePath]) -> list[Realisation]:
        """What is registered about outputs besides their paths."""
        if not has_feature(self._config, CA_DERIVATIONS):
            return []
        from builder.realising import realisations  # noqa: PLC0415  json, for what most builds have no use for

        return realisations(self._machine, self._derivation, made)

    def _hash_round(self, produced: Produced) -> dict[str, Hash]:
        """Hash the outputs of a round that is not the last, and keep them for whoever wants to see differences."""
        found = hash_outputs(self._store, produced)
        if self._config.boolean("keep-failed") or self._config.boolean("run-diff-hook"):
            for name in found:
                self._set_aside(produced.host_path(name), named(self._request, self._directory, self._outputs, name))
        return found

    def _set_aside(self, host_path: str, path: StorePath) -> str:
        """Move an output to where people look for what differs; return its new place."""
        folder = f"{self._config.verglas_dir}/checks"
        os.makedirs(folder, exist_ok=True)
        kept = f"{folder}/{path.base_name}.check"
        if os.path.lexists(kept):
            remove_tree(kept)
        os.rename(host_path, kept)
        return kept

    def _compare_rounds(self, before: Mapping[str, Hash], found: Mapping[str, Hash]) -> None:
        for name, nar_hash in found.items():
            if before.get(name, nar_hash) != nar_hash:
                output = named(self._request, self._directory, self._outputs, name)
                path = self._directory.print(output)
                kept = f"{self._config.verglas_dir}/checks/{output.base_name}.check"
                beside = f"'{kept}' from previous round" if os.path.lexists(kept) else "previous round"
                error = NotDeterministicError(f"output '{path}' of '{self._shown}' differs from {beside}", exit_code=1)
                if self._config.boolean("enforce-determinism"):
                    raise error
                self._machine.progress.error(str(error))

    def _run_once(self, user: BuildUser, label: str, finish: Callable[[Produced], T], *, move: bool) -> T:
        """Run the builder once and return what `finish` makes of what it left.

        Without `move` it stays where it is, whole: somebody may want to compare it.
        """
        machine, mode = self._machine, self._request.mode
        sandboxed = self._sandboxed
        activity = None
        scratch_dir = machine.scratch_directory()
        ok = False
        try:
            build_dir = self._build_dir = BuildDirectory(self._config, self._request.drv_path.name, private=sandboxed)
            scratch, rewrites = scratch_paths(
                self._request, self._directory, self._outputs, self._valid, sandboxed=sandboxed
            )
            inside = self._config.text("sandbox-build-dir") if sandboxed else build_dir.path
            environment = self._environment(inside, scratch, rewrites)
            build_dir.fill(environment.files, user)
            confinement = Confinement(
                machine,
                self._derivation,
                self._shown,
                user,
                environment,
                scratch=scratch_dir,
                host_build_dir=build_dir.path,
                build_dir=inside,
                inputs=self._closure(),
                hidden=scratch.values(),
                networked=self._networked,
                kvm="kvm" in self._attributes.required_features(),
            )
            with control_group(self._config, scratch_dir, self._note_cpu_time) as group:
                spawner, plan, folder = confinement.plan(group, sandboxed=sandboxed)
                if logs.enabled(logs.DEBUG):
                    logs.debug(f"sandbox of '{self._shown}':\n{plan}")
                activity = machine.progress.start(
                    told.BUILD, self._derivation.name, f"{_VERBS[mode]} '{self._shown}'{label}", [self._shown, "", 1, 1]
                )
                ending = self._run_process(spawner, plan, activity, user)
            if not ending.ok:
                raise diagnose(
                    ending,
                    self._config,
                    name=self._request.name,
                    drv_path=self._shown,
                    build_dir=build_dir.path,
                    logs_shown=self._machine.progress.show_logs,
                    networked=self._networked,
                )
            keep = frozenset() if mode is BuildMode.CHECK else frozenset(self._kept())
            produced = Produced(
                derivation=self._derivation,
                drv_path=self._request.drv_path,
                attributes=self._attributes,
                folder=folder,
                scratch=scratch,
                known=self._outputs,
                keep=keep,
                inputs=self._closure(),
                owner=user.uid,
                move=move and ((sandboxed and not self._networked) or not user.foreign),
                repair=mode is BuildMode.REPAIR,
            )
            made = finish(produced)
            ok = True
            return made
        finally:
            self._end_build_directory(ok)
            remove_tree(scratch_dir)
            if activity is not None:
                machine.progress.stop(activity, ok=ok)

    def _kept(self) -> list[str]:
        """The outputs that are good as they are."""
        corrupt = self._request.corrupt
        return [name for name, path in self._outputs.items() if path in self._valid and path not in corrupt]

    def _closure(self) -> frozenset[StorePath]:
        if self._closure_or_none is None:
            self._closure_or_none = frozenset(closure(self._store, self._request.inputs))
        return self._closure_or_none

    def _environment(self, inside: str, scratch: dict[str, StorePath], rewrites: dict[str, str]) -> BuildEnvironment:
        try:
            return build_environment(
                self._derivation,
                self._attributes,
                directory=self._directory,
                build_dir=inside,
                cores=self._config.integer("cores"),
                output_paths=scratch,
                rewrites=rewrites,
                impure=self._config.variable,
                networked=self._networked,
                export_references=self._export_references,
            )
        except BadAttributeError as error:
            raise InputRejectedError(str(error)) from error

    def _export_references(self, paths: Iterable[StorePath]) -> list[PathInfo]:
        """The closure of some inputs; with derivations in it, that of their outputs too."""
        inputs = self._closure()
        for path in paths:
            if path not in inputs:
                raise InputRejectedError(
                    f"cannot export references of path '{self._directory.print(path)}' because it is not in the input "
                    "closure of the derivation"
                )
        found = closure(self._store, paths)
        for path in sorted(found):
            if path.is_derivation:
                found |= closure(self._store, known_outputs(self._store, self._store.derivation(path)).values())
        return [self._store.path_info(path) for path in sorted(found)]

    def _run_process(self, spawner: Spawner, plan: Plan, activity: told.Activity, user: BuildUser) -> Ending:
        config = self._config
        limits = Limits(
            config.integer("max-silent-time"),
            config.integer("timeout"),
            config.integer("max-build-log-size"),
            config.integer("log-lines"),
        )
        log = open_build_log(config, self._request.drv_path)
        try:
            return run_builder(
                spawner,
                plan,
                limits,
                log,
                lambda line: self._machine.progress.line(activity, line),
                self._cancellation,
                user.uid if user.foreign else None,
            )
        finally:
            if log is not None:
                log.close()

    def _keep_difference(self, new: str, old: StorePath, user: BuildUser) -> str | None:
        """Keep an output that differs from the valid one, and let the diff hook have a look at both."""
        config = self._config
        if not config.boolean("run-diff-hook") and not config.boolean("keep-failed"):
            return None
        kept = self._set_aside(new, old)
        assert self._build_dir is not None
        self._build_dir.expose()  # the hook may want to look at that too
        from builder.hooks import run_diff_hook  # noqa: PLC0415

        original = f"{config.physical_store_dir}/{old.base_name}"
        owner = (user.uid, user.gid) if user.foreign else None
        try:
            said = run_diff_hook(config, original, kept, self._shown, self._build_dir.path, owner)
        except BuildError as error:
            self._machine.progress.error(str(error))
        else:
            if said:
                logs.log(logs.ERROR, said)
        return kept

    def _end_build_directory(self, ok: bool) -> None:
        if self._build_dir is None:
            return
        # That of a builtin may hold secrets, as from a netrc file.
        if not ok and self._config.boolean("keep-failed") and not self._derivation.is_builtin:
            logs.log(logs.ERROR, f"note: keeping build directory '{self._build_dir.path}'")
            self._build_dir.expose()
        else:
            self._build_dir.remove()
        self._build_dir = None


_VERBS = {
    BuildMode.NORMAL: "building",
    BuildMode.CHECK: "checking outputs of",
    BuildMode.REPAIR: "repairing outputs of",
}
