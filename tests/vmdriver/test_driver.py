"""The driver's API, its errors, and what remains of a run: without a machine."""

from __future__ import annotations

import inspect
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "vm-tests"))

from vmdriver.__main__ import main  # noqa: E402
from vmdriver.commands import retry  # noqa: E402
from vmdriver.driver import Driver, run_file  # noqa: E402
from vmdriver.errors import RequestedAssertionFailed, VmTestError  # noqa: E402
from vmdriver.machine import Machine  # noqa: E402

# The NixOS test driver's, with its parameters and their defaults (nixos/lib/test-driver, "Machine objects").
METHODS = """
block() connect() console_interact() copy_from_host(source, target) copy_from_host_via_shell(source, target)
copy_from_machine(source, target_dir='') copy_from_vm(source, target_dir='') crash() dump_tty_contents(tty)
execute(command, check_return=True, check_output=True, timeout=900) fail(*commands, timeout=None)
forward_port(host_port=8080, guest_port=80) get_console_log() get_screen_text() get_screen_text_variants()
get_tty_text(tty) get_unit_info(unit, user=None) get_unit_property(unit, property, user=None) get_window_names()
is_up() log(msg) nested(msg, attrs=None) reboot() release() require_unit_state(unit, require_state='active')
run_callbacks() screenshot(filename) send_chars(chars, delay=0.01) send_console(chars)
send_key(key, delay=0.01, log=True) send_monitor_command(command) shell_interact(address=None) shutdown() sleep(secs)
start_job(jobname, user=None) stop_job(jobname, user=None) succeed(*commands, timeout=None) switch_root()
systemctl(q, user=None) unblock() wait_for_closed_port(port, addr='localhost', timeout=900)
wait_for_console_text(regex, timeout=None) wait_for_file(filename, timeout=900)
wait_for_open_port(port, addr='localhost', timeout=900)
wait_for_open_unix_socket(addr, is_datagram=False, timeout=900) wait_for_qmp_event(event_filter, timeout=600)
wait_for_shutdown() wait_for_text(regex, timeout=900) wait_for_unit(unit, user=None, timeout=900)
wait_for_window(regexp, timeout=900) wait_for_x(timeout=900) wait_until_fails(command, timeout=900)
wait_until_succeeds(command, timeout=900) wait_until_tty_matches(tty, regexp, timeout=900)
"""
SYMBOLS = """
machines_qemu machines_nspawn BaseMachine debug
start_all join_all test_script run_tests machines vlans driver log os create_machine subtest retry polling_condition
t serial_stdout_on serial_stdout_off
"""


def test_machines_have_the_methods_of_nixos() -> None:
    for wanted in METHODS.replace(", ", ",\0").split():
        name = wanted.partition("(")[0]
        parameters = list(inspect.signature(getattr(Machine, name)).parameters.values())[1:]
        found = ", ".join(str(each.replace(annotation=inspect.Parameter.empty)) for each in parameters)
        assert f"{name}({found})" == wanted.replace("\0", " ")


def test_start_has_one_parameter_more() -> None:
    assert list(inspect.signature(Machine.start).parameters) == ["self", "allow_reboot", "snapshot"]


def test_scripts_have_the_names_of_nixos(scratch: Path) -> None:
    with Driver("names", {}, scratch / "out", script="") as driver:
        assert set(SYMBOLS.split()) <= set(driver.symbols())


def test_a_breakpoint_stops_when_somebody_is_there(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("p 6 * 7\ncontinue\n"))
    for somebody in (False, True):
        script = "debug.breakpoint()\nprint('went on')"
        with Driver("stops", {}, scratch / "out", script=script, interactive=somebody) as driver:
            driver.test_script()
        said = capsys.readouterr().out
        assert ("42" in said) == somebody and "went on" in said


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_retry_tries_once_more_at_the_end(timeout: float) -> None:
    attempts: list[bool] = []

    def attempt(last: bool) -> bool:
        attempts.append(last)
        return False

    with pytest.raises(RequestedAssertionFailed, match="timed out"):
        retry(attempt, timeout)
    assert attempts[-1] is True


def test_a_condition_is_looked_at_before_commands_and_names_itself(scratch: Path) -> None:
    with Driver("polling", {}, scratch / "out") as driver:
        state = {"fine": True}

        @driver.polling_condition(seconds_interval=0)  # type: ignore[untyped-decorator]
        def everything_is_fine() -> bool:
            """Everything is fine."""
            return state["fine"]

        with everything_is_fine:
            driver.check_polling_conditions()
            state["fine"] = False
            with pytest.raises(RequestedAssertionFailed, match="Everything is fine"):
                driver.check_polling_conditions()
        driver.check_polling_conditions()  # no longer in force
        state["fine"] = True
        everything_is_fine.wait(timeout=1)


def failure_of(scratch: Path, script: str, global_timeout: float = 600) -> str:
    with Driver("script", {}, scratch / "out", script=script, global_timeout=global_timeout) as driver:
        failure = driver.run_tests()
    assert (scratch / "out/junit.xml").exists() and (scratch / "out/report.html").exists()
    return failure or ""


def test_a_script_that_fails_is_told_with_its_line(scratch: Path) -> None:
    assert failure_of(scratch, "x = 1\nraise ValueError('wrong')").startswith("ValueError: wrong\n  at <script>:2")
    assert failure_of(scratch, "\n\nassert 1 == 2, 'not equal'").startswith("not equal\n  at <script>:3")
    assert failure_of(scratch, "t.assertEqual(1, 2)").startswith("1 != 2\n  at <script>:1")
    assert failure_of(scratch, "t.assertEqual(1, 1)") == ""


def test_a_test_that_takes_too_long_is_ended(scratch: Path) -> None:
    failure = failure_of(scratch, "import threading\nthreading.Event().wait()", global_timeout=0.2)
    assert failure == "the test did not end within 0.2 seconds"


def run_main(scratch: Path, source: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    file = scratch / "scenario.py"
    file.write_text(source)
    environ = {"PATH": os.environ["PATH"], "HOME": str(scratch), "PYTHONPATH": str(ROOT / "vm-tests"), **variables}
    environ["XDG_CACHE_HOME"] = str(ROOT / "build/cache")
    environ["TMPDIR"] = str(scratch / "tmp")
    (scratch / "tmp").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "vmdriver", "--out", str(scratch / "out"), *arguments, str(file)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, input="")
    assert os.listdir(scratch / "tmp") == [], "something was left behind"
    return done


NOTHING = "def machines(images): return {}\n"
BARE = """
from pathlib import Path
from vmdriver.hardware import Hardware
from vmdriver.image import find_kernel, make_initrd
def machines(images):
    kernel, _ = find_kernel()
    return {"vm": Hardware(kernel, make_initrd(images / "initrd", [], "#!/bin/sh"), vlans=[])}
"""


def test_a_file_that_does_not_exist_is_told_before_any_test_runs(
    scratch: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (scratch / "boot.py").write_text(NOTHING + "def test(): print('ran')\n")
    for wrong, said in (
        (scratch / "bot.py", f"error: there is no test '{scratch}/bot.py'; in '{scratch}' there are: boot\n"),
        (Path("nothing"), "error: there is no test 'nothing': a test is a Python file, see 'verglas vm-test --help'\n"),
    ):
        monkeypatch.setattr("sys.argv", ["vm-test", str(scratch / "boot.py"), str(wrong)])
        assert main() == 1
        assert capsys.readouterr() == ("", said)


@pytest.mark.slow
def test_files_that_are_no_tests_or_fail_say_so(scratch: Path) -> None:
    done = run_main(scratch, "x = 1\n")
    assert done.returncode == 1 and "is no test: it needs 'machines' and 'test'" in done.stderr
    done = run_main(scratch, "def machines(:\n")
    assert done.returncode == 1 and "SyntaxError" in done.stderr and "Traceback" not in done.stderr
    done = run_main(scratch, NOTHING + "def test(): pass\n")
    assert done.returncode == 0 and "1 passed, 0 failed" in done.stdout
    done = run_main(scratch, NOTHING + "def tear_down(images): print('torn down')\ntest_script = 'raise OSError(1)'\n")
    assert done.returncode == 1 and "torn down" in done.stdout and "OSError: 1" in done.stderr
    done = run_main(scratch, "def machines(images): raise KeyError('hardware')\ndef test(): pass\n")
    assert done.returncode == 1 and "KeyError: 'hardware'" in done.stderr and "scenario.py:1" in done.stderr


@pytest.mark.slow
def test_several_tests_run_at_the_same_time(scratch: Path) -> None:
    # each waits for the other
    meet = "import os, time\ndef test():\n open('{0}/@me@', 'w')\n while not os.path.exists('{0}/@other@'): pass\n"
    source = NOTHING + meet.format(scratch)
    (scratch / "left.py").write_text(source.replace("@me@", "l").replace("@other@", "r"))
    wrong = source.replace("@me@", "r").replace("@other@", "l") + " raise ValueError('wrong')\n"
    done = run_main(scratch, wrong, "--jobs", "2", str(scratch / "left.py"))
    assert done.returncode == 1 and "1 passed, 1 failed" in done.stdout
    assert "passed left (" in done.stderr and "FAILED scenario: ValueError: wrong\n  at " in done.stderr
    assert "1 passed, 1 failed" in (scratch / "out/index.html").read_text()
    assert "ValueError: wrong" in (scratch / "out/scenario/log.txt").read_text()
    assert sorted(os.listdir(scratch / "out/left")) == ["junit.xml", "log.txt", "report.html"]


@pytest.mark.slow
def test_interactive_mode_has_the_names_of_scripts(scratch: Path) -> None:
    done = run_main(scratch, NOTHING + "def test(): print('ran')\n", "--interactive")
    assert done.returncode == 0 and "start_all" in done.stderr


@pytest.mark.slow
def test_without_qemu_or_kernel_the_package_is_named(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_main(scratch, BARE + "def test(): vm.start()\n", PATH=str(scratch))
    assert done.returncode == 1
    assert "is missing; install Debian's package" in done.stderr and "Traceback" not in done.stderr
    monkeypatch.setattr("vmdriver.image._BOOT", scratch)
    file = scratch / "scenario.py"
    with pytest.raises(VmTestError, match="install Debian's package 'linux-image-amd64'"):
        run_file(file, scratch / "out")
