"""Builds through a program of the administrator's: the setting `build-hook`, or NIX_BUILD_HOOK.

One hook process answers question after question until it accepts a build, which it then carries out; for N derivations
at most N hooks are started, and one for any number that it declines. The protocol is the line protocol that a shell
script can speak (Nix up to 1.11):

- argv: the system, `max-silent-time`, `timeout`.
- standard input, for each derivation: `WILLING SYSTEM DRV-PATH FEATURES`, where WILLING is 1 if there is a free slot
  here and FEATURES are joined by commas.
- standard error, in answer: `# accept`, `# decline` or `# postpone`; other lines are shown.
- after `# accept`, two more lines of input: the paths that the build needs, and the outputs that are missing; then the
  end of input. Descriptor 4 is the builder's output; standard error remains the hook's own.
- exit status: 0 when the outputs are valid here (the hook imported them), 100 when the build failed for good, 101 when
  it timed out.

A hook can't write into the store directory, which is a read-only mount: it imports, or copies with nix-copy-closure.
"""

from __future__ import annotations

import os
import select

from builder import progress as told
from builder.build_log import LineSplitter, open_build_log
from builder.environment import BuildAttributes
from builder.failures import FAILED, TIMED_OUT, BuildError, CancelledError
from builder.hooks import run_post_build_hook
from builder.locks import try_lock
from builder.request import BusyError
from storefs import logs
from storefs.api import BuildStatus
from storefs.formats.derivation import FLOATING
from storefs.stores.closure import closure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.cancellation import Cancellation
    from builder.machine import LocalMachine
    from builder.request import Request
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath

_OUTPUT = 4  # the descriptor of a hook that takes what builders print
_PIECE = 65536


class HookError(BuildError):
    """The hook itself failed: it said something that is no answer, or died."""


class HookMachines:
    """Asks the hook for places; the same interface as `remote_machines.RemoteMachines`.

    Args:
        local: this machine.
        program: the hook.
    """

    def __init__(self, local: LocalMachine, program: str) -> None:
        self._local = local
        self._program = program
        self._idle: _Hook | None = None
        self._declines = False  # for ever

    def close(self) -> None:
        """End the hook that waits for questions."""
        if self._idle is not None:
            self._idle.end()
            self._idle = None

    def reserve(self, path: StorePath, derivation: Derivation, *, local_possible: bool) -> HookSlot | None:
        """Ask the hook; None when the derivation is to be built here.

        Raises:
            BusyError: the hook postponed it.
            HookError: it gave no answer.
        """
        attributes = BuildAttributes(derivation)
        config = self._local.config
        if derivation.kind() is FLOATING:
            return None  # its lines name the paths that a hook is to make
        if self._declines or (attributes.boolean("preferLocalBuild") and config.integer("max-jobs") != 0):
            return None
        shown = self._local.store.directory.print(path)
        features = ",".join(attributes.required_features())
        question = f"{int(local_possible)} {derivation.system} {shown} {features}\n"
        hook = self._idle or _Hook(self._local, self._program)
        self._idle = None
        answer = hook.ask(question)
        if answer == "accept":
            return HookSlot(self._local, hook)
        if answer == "decline-permanently":
            self._declines = True
            hook.end()
            return None
        if answer == "died":
            hook.end()
            self._local.progress.error(f"build hook '{self._program}' died unexpectedly")
            return None
        self._idle = hook
        if answer == "decline":
            return None
        if answer == "postpone":
            raise BusyError(f"waiting for a machine to build '{shown}'")
        self.close()
        raise HookError(f"bad hook reply '{answer}'")


class _Hook:
    """One hook process.

    Attributes:
        errors: a descriptor of its standard error.
        output: one of what builders print.
        splitter: of its standard error.
    """

    def __init__(self, local: LocalMachine, program: str) -> None:
        config = local.config
        arguments = [
            program,
            config.text("system"),
            str(config.integer("max-silent-time")),
            str(config.integer("timeout")),
        ]
        input_end, self._input = os.pipe2(os.O_CLOEXEC)
        self.errors, errors_end = os.pipe2(os.O_CLOEXEC)
        self.output, output_end = os.pipe2(os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        actions = [
            (os.POSIX_SPAWN_DUP2, source, target)
            for source, target in ((input_end, 0), (null, 1), (errors_end, 2), (output_end, _OUTPUT))
        ]
        try:
            self._pid = os.posix_spawnp(program, arguments, config.environment(), file_actions=actions, setsid=True)
        except OSError as error:
            self._close()
            raise HookError(f"build hook '{program}' can't be started: {error.strerror}") from error
        finally:
            for descriptor in (input_end, errors_end, output_end, null):
                os.close(descriptor)
        self.splitter = LineSplitter()
        self._lines: list[str] = []

    def ask(self, question: str) -> str:
        """Ask a question and return the word of the answer, 'died' for none."""
        if not self._write(question):
            return "died"
        while True:
            while self._lines:
                line = self._lines.pop(0)
                if line.startswith("# "):
                    return line[2:].strip()
                logs.log(logs.ERROR, line)
            data = os.read(self.errors, _PIECE)
            if not data:
                return "died"
            self._lines += self.splitter.feed(data)

    def tell(self, *lines: str) -> None:
        """Write lines, then end the hook's input."""
        self._write("".join(line + "\n" for line in lines))  # if it is gone, its exit status tells
        os.close(self._input)
        self._input = -1

    def kill(self) -> None:
        """End the hook and what it started."""
        try:
            os.killpg(self._pid, 9)
        except ProcessLookupError:
            pass

    def end(self) -> int:
        """End its input, wait for it, and return its exit status."""
        if self._input >= 0:
            os.close(self._input)
            self._input = -1
        _, status = os.waitpid(self._pid, 0)
        self._close()
        return os.waitstatus_to_exitcode(status)

    def _close(self) -> None:
        for descriptor in (self._input, self.errors, self.output):
            if descriptor >= 0:
                os.close(descriptor)

    def _write(self, text: str) -> bool:
        view = memoryview(text.encode())
        try:
            while view:
                view = view[os.write(self._input, view) :]
        except BrokenPipeError:
            return False
        return True


class HookSlot:
    """A build that a hook has accepted."""

    def __init__(self, local: LocalMachine, hook: _Hook) -> None:
        self._local = local
        self._store = local.store
        self._hook = hook

    def build(self, request: Request, cancellation: Cancellation) -> None:
        """Let the hook build, and check that the outputs are here then. Blocks.

        Raises:
            BusyError: somebody else builds it.
            BuildError: it failed.
        """
        outputs = [output.path for output in request.derivation.outputs.values() if output.path is not None]
        show = self._store.directory.print
        locks = try_lock(f"{self._local.config.verglas_dir}/locks", [path.base_name for path in outputs])
        if locks is None:
            self._hook.kill()
            self._hook.end()
            raise BusyError("waiting for lock on " + ", ".join(f"'{show(path)}'" for path in sorted(outputs)))
        # The hook's own imports take the locks of outputs that they add.
        held = " ".join(sorted(show(path) for path in outputs))
        with locks:
            missing = sorted(set(outputs) - self._store.valid_paths(outputs))
            inputs = sorted(closure(self._store, request.inputs))
            self._hook.tell(" ".join(map(show, inputs)), " ".join(map(show, missing)))
            status = self._follow(request, cancellation)
            if cancellation.cancelled:
                raise CancelledError(f"{request.name} was cancelled")
            shown = show(request.drv_path)
            if status == FAILED:
                raise BuildError(f"build of '{shown}' by the build hook failed", BuildStatus.PERMANENT_FAILURE, FAILED)
            if status == TIMED_OUT:
                raise BuildError(f"build of '{shown}' by the build hook timed out", BuildStatus.TIMED_OUT, TIMED_OUT)
            if status != 0:
                raise HookError(f"build hook failed with exit code {status} for '{shown}'")
            absent = set(missing) - self._store.valid_paths(missing)
            if absent:
                raise HookError(f"the build hook did not make {', '.join(sorted(map(show, absent)))}, of {held}")
            run_post_build_hook(self._local.config, self._local.progress, shown, [show(path) for path in outputs])

    def _follow(self, request: Request, cancellation: Cancellation) -> int:
        """Pass on what the hook and its builder print until the hook ends."""
        progress = self._local.progress
        shown = self._store.directory.print(request.drv_path)
        text = f"building '{shown}' by the build hook"
        activity = progress.start(told.BUILD, request.derivation.name, text, [shown, "hook", 1, 1])
        log = open_build_log(self._local.config, request.drv_path)
        splitter = LineSplitter()
        poll = select.poll()
        for descriptor in (self._hook.output, self._hook.errors, cancellation.fileno()):
            poll.register(descriptor, select.POLLIN)
        open_ends = 2
        status = -1
        try:
            while open_ends:
                for descriptor, _ in poll.poll():
                    if descriptor == cancellation.fileno():
                        poll.unregister(descriptor)
                        self._hook.kill()
                        continue
                    data = os.read(descriptor, _PIECE)
                    if not data:
                        poll.unregister(descriptor)
                        open_ends -= 1
                    elif descriptor == self._hook.output:
                        if log is not None:
                            log.write(data)
                        for line in splitter.feed(data):
                            progress.line(activity, line)
                    else:
                        for line in self._hook.splitter.feed(data):
                            logs.log(logs.ERROR, line)
        finally:
            status = self._hook.end()
            if log is not None:
                log.close()
            progress.stop(activity, ok=status == 0)
        return status
