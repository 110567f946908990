"""Several tests at the same time, each in a driver of its own, whose log goes into a file beside its reports."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

from vmdriver.report import Outcome
from vmdriver.virtiofs import guard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def run_files(files: list[Path], out: Path, jobs: int) -> Iterator[Outcome]:
    """Run tests, `jobs` at a time, and yield how each ended, in the order in which they end.

    Where this is interrupted, the drivers are, too, and have cleaned up when the exception goes on.
    """
    running: set[subprocess.Popen[bytes]] = set()
    with ThreadPoolExecutor(jobs) as threads:
        ended = [threads.submit(_run_file, file, out / file.stem, running) for file in files]
        try:
            for future in as_completed(ended):
                yield future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for driver in list(running):
                driver.terminate()
            raise


def _run_file(file: Path, folder: Path, running: set[subprocess.Popen[bytes]]) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    outcome = folder / "outcome.json"
    outcome.unlink(missing_ok=True)
    command = [*guard(), sys.executable, "-m", "vmdriver", "--out", str(folder.parent), "--outcome", str(outcome)]
    begun = time.monotonic()
    with (folder / "log.txt").open("wb") as log:
        driver = subprocess.Popen(
            [*command, str(file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # ^C reaches it once, from here
        )
        running.add(driver)
        driver.wait()
        running.discard(driver)
    try:
        said = json.loads(outcome.read_text())
    except FileNotFoundError:
        said = {"failure": f"the driver ended with status {driver.returncode}; see '{folder}/log.txt'"}
    outcome.unlink(missing_ok=True)
    return Outcome(file.stem, time.monotonic() - begun, said["failure"])
