"""Runs a test script: its machines, its networks, the names it may use, and what remains of it.

A test is a Python file. It says which machines it needs by a function `machines(images) -> dict[str, Hardware]`, and
what shall happen by a function `test()` or by a string `test_script`, in which every machine is a variable of its own
name, beside `start_all`, `subtest` and the rest of the NixOS driver's names. A function `tear_down(images)` is called
at the end, whatever happened; a number `global_timeout` replaces the hour that a test may take.
"""

from __future__ import annotations

import os
import re
import runpy
import signal
import traceback
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest import TestCase

from vmdriver.commands import retry
from vmdriver.debug import Debug
from vmdriver.errors import RequestedAssertionFailed, VmTestError
from vmdriver.machine import Machine
from vmdriver.network import Switch
from vmdriver.page import page
from vmdriver.polling import PollingCondition
from vmdriver.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmdriver.hardware import Hardware


class AssertionTester(TestCase):
    """The assertions of unittest for scripts, where it is called `t`."""

    failureException = RequestedAssertionFailed


class Driver:
    """The machines of one test. A context manager: at its end no process, socket or directory is left.

    Args:
        name: of the test.
        hardware: the machines by name.
        out_dir: where screenshots, copied files and reports go.
        quiet: leave the consoles out of the terminal.
        script: what `test_script` and `run_tests` run.
        global_timeout: seconds after which the machines are switched off and the test fails.
        interactive: somebody is there whom `debug.breakpoint()` can ask.
    """

    def __init__(
        self,
        name: str,
        hardware: dict[str, Hardware],
        out_dir: Path,
        *,
        quiet: bool = False,
        script: str | Callable[..., None] = "",
        global_timeout: float = 3600,
        interactive: bool = False,
    ) -> None:
        self.debug = Debug(interactive)
        self.report = Report(name, quiet=quiet)
        self.out_dir = out_dir
        out_dir.mkdir(parents=True, exist_ok=True)
        self.global_timeout = global_timeout
        self.polling_conditions: list[PollingCondition] = []
        self._script = script
        self._folder = TemporaryDirectory(prefix="vm-net-")
        numbers = sorted({vlan for one in hardware.values() for vlan in one.vlans})
        self.switches = {number: Switch(Path(self._folder.name) / f"vlan{number}") for number in numbers}
        self.machines: list[Machine] = []
        for each, one in sorted(hardware.items()):
            self.create_machine(one, name=each)

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.release()
        for switch in self.switches.values():
            switch.close()
        self._folder.cleanup()

    def create_machine(self, hardware: Hardware, *, name: str = "machine") -> Machine:
        """Return one more machine, on the networks that there are. It ends with the others."""
        machine = Machine(
            name,
            hardware,
            self.switches,
            self.report,
            self.out_dir,
            len(self.machines) + 1,
            [self.check_polling_conditions],
        )
        self.machines.append(machine)
        return machine

    def start_all(self) -> None:
        """Switch all machines on, without waiting for any."""
        with self.report.nested("start all VMs"):
            for machine in self.machines:
                machine.start()

    def join_all(self) -> None:
        """Wait until all machines have switched themselves off."""
        with self.report.nested("wait for all VMs to finish"):
            for machine in self.machines:
                machine.wait_for_shutdown()

    @contextmanager
    def subtest(self, name: str) -> Iterator[None]:
        """A part of the test with a name of its own in the reports."""
        with self.report.nested(f"subtest: {name}", subtest=True):
            try:
                yield
            except Exception as error:
                self.report.log(f'Test "{name}" failed with error: "{error}"')
                raise

    def polling_condition(
        self,
        fun_: Callable[[], bool | None] | None = None,
        *,
        seconds_interval: float = 2.0,
        description: str | None = None,
    ) -> Any:
        """Decorate a function that has to hold; use the result as a context, or `wait()` for it."""

        def decorate(function: Callable[[], bool | None]) -> PollingCondition:
            return PollingCondition(function, self.report, self.polling_conditions, seconds_interval, description)

        return decorate if fun_ is None else decorate(fun_)

    def check_polling_conditions(self) -> None:
        """Raise RequestedAssertionFailed for a condition in force that does not hold."""
        for condition in self.polling_conditions:
            condition.maybe_raise()

    def symbols(self) -> dict[str, Any]:
        """Return the names that a script may use."""
        names: dict[str, Any] = {_variable(machine.name): machine for machine in self.machines}
        if len(self.machines) == 1:
            names.setdefault("machine", self.machines[0])
        names.update({f"vlan{number}": switch for number, switch in self.switches.items()})
        names.update(
            machines=self.machines,
            machines_qemu=self.machines,
            machines_nspawn=[],  # containers: there are none here
            vlans=list(self.switches.values()),
            driver=self,
            log=self.report,
            os=os,
            start_all=self.start_all,
            join_all=self.join_all,
            test_script=self.test_script,
            run_tests=self.run_tests,
            create_machine=self.create_machine,
            polling_condition=self.polling_condition,
            subtest=self.subtest,
            retry=retry,
            t=AssertionTester(),
            debug=self.debug,
            BaseMachine=Machine,  # for types, as is its older name
            Machine=Machine,
            serial_stdout_on=lambda: self.report.show_consoles(True),
            serial_stdout_off=lambda: self.report.show_consoles(False),
        )
        return names

    def test_script(self) -> None:
        """Run the script; raises what it raises."""
        names = self.symbols()
        if callable(self._script):
            for name in names.keys() - {"machines"}:  # that one is the file's own
                self._script.__globals__[name] = names[name]
            self._script()
        else:
            exec(compile(self._script, f"<{self.report.name}>", "exec"), names)

    def run_tests(self) -> str | None:
        """Run the script within the global time limit and write both reports; returns why it failed, if it did."""
        failure = None
        # A time limit has to end a run in the background, too, where SIGINT is ignored.
        before = signal.signal(signal.SIGALRM, lambda *_: self.terminate_test())
        signal.setitimer(signal.ITIMER_REAL, self.global_timeout)
        try:
            self.test_script()
        except VmTestError as error:
            failure = f"{error}\n{_where(error)}{'' if error.evidence else self._consoles()}"
        except AssertionError as error:
            failure = f"{error or 'assertion failed'}\n{_where(error)}{self._consoles()}"
        except _OutOfTime:
            failure = f"the test did not end within {self.global_timeout:g} seconds{self._consoles()}"
        except Exception as error:  # a script may raise anything; it is told to its author
            failure = f"{type(error).__name__}: {error}\n{_where(error)}{self._consoles()}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        self.report.write_junit(self.out_dir / "junit.xml", failure)
        self.report.end()
        (self.out_dir / "report.html").write_text(page(self.report.root, failure))
        return failure

    def _consoles(self) -> str:
        """Return the last lines of all consoles, as messages have them."""
        lines = (f"\n  {each.name} # {line}" for each in self.machines for line in each.console_tail()[-15:])
        return "".join(lines)

    def terminate_test(self) -> None:
        """End the machines, and the script: raises what it can't mistake for an error of its own."""
        for machine in self.machines:
            machine.kill()
        raise _OutOfTime


class _OutOfTime(BaseException):
    """The script has to end."""


def run_file(path: Path, out_dir: Path, *, quiet: bool = False, interactive: bool = False) -> str | None:
    """Run the test in a file; returns why it failed, None if it did not.

    Raises:
        VmTestError: it is no test, or its machines can't be made.
    """
    with _explained(f"'{path}' can't be loaded"):
        symbols = runpy.run_path(str(path))
    script = symbols.get("test") or symbols.get("test_script")
    if "machines" not in symbols or not script:
        raise VmTestError(f"'{path}' is no test: it needs 'machines' and 'test' or 'test_script'")
    with TemporaryDirectory(prefix="vm-images-") as images, ExitStack() as at_end:
        if "tear_down" in symbols:
            at_end.callback(symbols["tear_down"], Path(images))
        with _explained("the machines can't be made"):
            hardware = symbols["machines"](Path(images))
        timeout = symbols.get("global_timeout", 3600)
        with Driver(
            path.stem,
            hardware,
            out_dir,
            quiet=quiet,
            script=script,
            global_timeout=timeout,
            interactive=interactive,
        ) as driver:
            if interactive:
                import code

                names = driver.symbols()
                code.interact(f"names: {', '.join(sorted(names))}", local=names, exitmsg="")
                return None
            return driver.run_tests()


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn whatever somebody's code raises into a VmTestError that shows its lines, but not the driver's."""
    try:
        yield
    except VmTestError:
        raise
    except Exception as error:
        raise VmTestError(f"{what}: {type(error).__name__}: {error}\n{_where(error)}".rstrip()) from error


def _variable(name: str) -> str:
    """Return a machine's name as a variable's."""
    return re.sub(r"^[^A-Za-z_]|[^A-Za-z0-9_]", "_", name)


def _where(error: BaseException) -> str:
    """Return the script's own lines on the way to `error`, without the driver's."""
    here = str(Path(__file__).parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(here)]
    frames = [frame for frame in frames if not re.search("contextlib|runpy", frame.filename)]
    return "".join(f"  at {frame.filename}:{frame.lineno}: {frame.line or ''}\n" for frame in frames).rstrip()
