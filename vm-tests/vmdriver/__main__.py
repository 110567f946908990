"""`python -m vmdriver FILE...`: runs tests, prints their reports, and ends with 1 if one failed."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from vmdriver.driver import run_file
from vmdriver.errors import VmTestError
from vmdriver.page import index
from vmdriver.report import Outcome
from vmdriver.workplace import workplace


def main() -> int:
    """Run the files of the command line one after the other."""
    parser = argparse.ArgumentParser(prog="verglas vm-test", description="Run tests in virtual machines.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="tests: Python files")
    parser.add_argument("--out", type=Path, default=Path("vm-test-results"), help="where reports and pictures go")
    parser.add_argument("--quiet", action="store_true", help="leave the machines' consoles out of the log")
    parser.add_argument("--interactive", action="store_true", help="a Python prompt instead of running the test")
    arguments = parser.parse_args()
    for file in arguments.files:
        if not file.is_file():
            print(_no_file(file), file=sys.stderr)
            return 1
    with workplace():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    outcomes = []
    for file in arguments.files:
        begun = time.monotonic()
        try:
            failure = run_file(
                file, arguments.out / file.stem, quiet=arguments.quiet, interactive=arguments.interactive
            )
        except (VmTestError, OSError) as error:
            failure = str(error)
        seconds = time.monotonic() - begun
        outcomes.append(Outcome(file.stem, seconds, failure))
        said = f"passed {file} ({seconds:.1f} s)" if failure is None else f"\nFAILED {file}: {failure}"
        print(said, file=sys.stderr)
    failed = sum(outcome.failure is not None for outcome in outcomes)
    if len(outcomes) > 1:
        (arguments.out / "index.html").write_text(index(outcomes))
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _no_file(file: Path) -> str:
    said = f"error: there is no test '{file}'"
    others = sorted(path.stem for path in file.parent.glob("*.py") if path.stem != "__init__")
    if file.suffix == ".py" and others:
        return f"{said}; in '{file.parent}' there are: {', '.join(others)}"
    return f"{said}: a test is a Python file, see 'verglas vm-test --help'"


if __name__ == "__main__":
    # Asked to end, end as at an interrupt: machines and their files go first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted: the machines and their files are gone", file=sys.stderr)
        sys.exit(130)
