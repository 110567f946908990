"""`python -m vmdriver FILE...`: runs tests, prints their reports, and ends with 1 if one failed."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vmdriver.driver import run_file
from vmdriver.errors import VmTestError
from vmdriver.page import index
from vmdriver.parallel import run_files
from vmdriver.report import Outcome
from vmdriver.workplace import workplace

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> int:
    """Run the files of the command line."""
    parser = argparse.ArgumentParser(prog="verglas vm-test", description="Run tests in virtual machines.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="tests: Python files")
    parser.add_argument("--out", type=Path, default=Path("vm-test-results"), help="where reports and pictures go")
    parser.add_argument("--quiet", action="store_true", help="leave the machines' consoles out of the log")
    parser.add_argument("--jobs", type=int, default=1, help="how many tests run at the same time")
    parser.add_argument("--outcome", type=Path, help=argparse.SUPPRESS)  # where one driver tells another how it went
    parser.add_argument("--interactive", action="store_true", help="a Python prompt instead of running the test")
    arguments = parser.parse_args()
    for file in arguments.files:
        if not file.is_file():
            print(_no_file(file), file=sys.stderr)
            return 1
    with workplace():
        outcomes = []
        for outcome in _run(arguments):
            outcomes.append(outcome)
            passed = f"passed {outcome.name} ({outcome.seconds:.1f} s)"
            said = passed if outcome.failure is None else f"\nFAILED {outcome.name}: {outcome.failure}"
            print(said, file=sys.stderr, flush=True)
    if arguments.outcome:
        arguments.outcome.write_text(json.dumps({"failure": outcomes[0].failure}))
    failed = sum(outcome.failure is not None for outcome in outcomes)
    if len(outcomes) > 1:
        (arguments.out / "index.html").write_text(index(outcomes))
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _run(arguments: argparse.Namespace) -> Iterator[Outcome]:
    if arguments.jobs > 1 and len(arguments.files) > 1 and not arguments.interactive:
        yield from run_files(arguments.files, arguments.out, arguments.jobs)
        return
    for file in arguments.files:
        begun = time.monotonic()
        try:
            failure = run_file(
                file, arguments.out / file.stem, quiet=arguments.quiet, interactive=arguments.interactive
            )
        except (VmTestError, OSError) as error:
            failure = str(error)
        yield Outcome(file.stem, time.monotonic() - begun, failure)


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
