"""Runs a test script: its machines, its networks, the names it may use, and what remains of it.

A test is a Python file. It says which machines it needs by a function `machines(images) -> dict[str, Hardware]`, and
what shall happen by a function `test()` or by a string `test_script`, in which every machine is a variable of its own
name, beside `start_all`, `subtest` and the rest of the NixOS driver's names.
"""

from __future__ import annotations

import runpy
import traceback
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from vmdriver.errors import VmTestError
from vmdriver.machine import Machine, retry
from vmdriver.network import Switch
from vmdriver.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmdriver.qemu import Hardware


class Driver:
    """The machines of one test. A context manager: at its end no process, socket or directory is left.

    Args:
        name: of the test.
        hardware: the machines by name.
        out_dir: where screenshots, copied files and reports go.
        quiet: leave the consoles out of the terminal.
    """

    def __init__(self, name: str, hardware: dict[str, Hardware], out_dir: Path, *, quiet: bool = False) -> None:
        self.report = Report(name, quiet=quiet)
        self.out_dir = out_dir
        out_dir.mkdir(parents=True, exist_ok=True)
        self._folder = TemporaryDirectory(prefix="vm-net-")
        numbers = sorted({vlan for one in hardware.values() for vlan in one.vlans})
        self.switches = {number: Switch(Path(self._folder.name) / f"vlan{number}") for number in numbers}
        self.machines = [
            Machine(each, one, self.switches, self.report, out_dir, index)
            for index, (each, one) in enumerate(sorted(hardware.items()), 1)
        ]

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines:
            machine.release()
        for switch in self.switches.values():
            switch.close()
        self._folder.cleanup()

    def start_all(self) -> None:
        """Switch all machines on, without waiting for any."""
        with self.report.nested("start all VMs"):
            for machine in self.machines:
                machine.start()

    def join_all(self) -> None:
        """Wait until all machines have switched themselves off."""
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

    def symbols(self) -> dict[str, Any]:
        """Return the names that a script may use."""
        names: dict[str, Any] = {machine.name.replace("-", "_"): machine for machine in self.machines}
        if len(self.machines) == 1:
            names.setdefault("machine", self.machines[0])
        names.update(
            machines=self.machines,
            driver=self,
            log=self.report,
            start_all=self.start_all,
            join_all=self.join_all,
            subtest=self.subtest,
            retry=retry,
            Machine=Machine,
            serial_stdout_on=lambda: self.report.show_consoles(True),
            serial_stdout_off=lambda: self.report.show_consoles(False),
        )
        return names

    def run(self, script: str | Callable[..., None]) -> str | None:
        """Run a script; returns why it failed, None if it did not. Writes both reports."""
        failure = None
        try:
            if callable(script):
                script.__globals__.update(self.symbols())
                script()
            else:
                exec(compile(script, f"<{self.report.name}>", "exec"), self.symbols())
        except VmTestError as error:
            failure = f"{error}\n{_where(error)}"
        except AssertionError as error:
            failure = f"assertion failed: {error}\n{_where(error)}"
        except Exception as error:  # a script may raise anything; it is told to its author
            failure = f"{type(error).__name__}: {error}\n{_where(error)}"
        self.report.write_junit(self.out_dir / "junit.xml", failure)
        self.report.write_html(self.out_dir / "report.html")
        return failure


def run_file(path: Path, out_dir: Path, *, quiet: bool = False, interactive: bool = False) -> str | None:
    """Run the test in a file; returns why it failed, None if it did not.

    Raises:
        VmTestError: it is no test, or its machines can't be made.
    """
    symbols = runpy.run_path(str(path))
    if "machines" not in symbols or not ("test" in symbols or "test_script" in symbols):
        raise VmTestError(f"'{path}' is no test: it needs 'machines' and 'test' or 'test_script'")
    with TemporaryDirectory(prefix="vm-images-") as images:
        hardware = symbols["machines"](Path(images))
        with Driver(path.stem, hardware, out_dir, quiet=quiet) as driver:
            if interactive:
                import code

                names = driver.symbols()
                names["test_script"] = lambda: driver.run(symbols.get("test") or symbols["test_script"])
                code.interact(f"machines: {', '.join(machine.name for machine in driver.machines)}", local=names)
                return None
            return driver.run(symbols.get("test") or symbols["test_script"])


def _where(error: BaseException) -> str:
    """Return the script's own lines on the way to `error`, without the driver's."""
    here = str(Path(__file__).parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(here)]
    frames = [frame for frame in frames if "contextlib" not in frame.filename]
    return "".join(f"  at {frame.filename}:{frame.lineno}: {frame.line or ''}\n" for frame in frames).rstrip()
