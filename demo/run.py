"""The tour behind `./dev demo`: declare, evaluate, build, mount, switch, roll back, collect, verify; on scratch data.

It drives the installed commands and nothing else, one printed line a step: what, result, milliseconds. All of it
happens inside `verglas run`, in a mount namespace where the store is mounted at /nix/store: the machine's own /nix, if
there is one, is neither seen nor touched. Stops at the first step that does not do what it should.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

NEEDED = {"gcc": "gcc", "pkg-config": "pkg-config", "busybox": "busybox-static"}  # program -> Debian package

# The host's compiler, let into the sandbox; a static shell is all that the sandbox has of its own.
SANDBOX_PATHS = "/usr /lib? /lib64? /bin/sh=/bin/busybox"


class StepFailed(Exception):
    """A step did not do what it should; its text says what happened instead."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description="Show the whole of it on scratch data.")
    parser.add_argument("--keep", action="store_true", help="leave the scratch folder for a look around")
    parser.add_argument("--inside", metavar="DIR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return Tour(Path(options.inside)).run()
    for program, package in NEEDED.items():
        if shutil.which(program, path=PATH) is None:
            print(f"demo: the program '{program}' is missing; apt-get install {package}", file=sys.stderr)
            return 1
    try:
        return outside(keep=options.keep)
    except KeyboardInterrupt:
        print("demo: interrupted; nothing is left", file=sys.stderr)
        return 130


def outside(*, keep: bool) -> int:
    """Make the scratch folder, run the tour in its namespace, and see that nothing is left."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # servers that leave their parent come to us
    scratch = Path(tempfile.mkdtemp(prefix="verglas-demo-"))
    try:
        environ = prepare(scratch)
        command = [BIN / "verglas", "run", sys.executable, "-P", __file__, "--inside", scratch]
        status = subprocess.run(command, env=environ, check=False).returncode
    finally:
        wait_for_servers()
        if not keep:
            remove(scratch)
    if left := [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(scratch) in line]:
        print("demo: a mount was left behind:", *left, file=sys.stderr)
        return 1
    if status == 0:
        print(f"\nKept: {scratch}" if keep else "\nNothing is left: no mount, no process, no file.")
    return status


def prepare(scratch: Path) -> dict[str, str]:
    """Lay out the scratch folder and return the environment of the tour."""
    for name in ("home", "etc", "work"):
        (scratch / name).mkdir()
    shutil.copytree(HERE / "packages", scratch / "work/packages")
    shutil.copy(HERE / "profile.yaml", scratch / "work/profile.yaml")
    (scratch / "etc/nix.conf").write_text(f"sandbox = true\nsandbox-paths = {SANDBOX_PATHS}\nsubstituters =\n")
    return {
        "PATH": f"{BIN}:{PATH}",
        "HOME": str(scratch / "home"),
        "USER": "demo",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(scratch),
        "NIX_STATE_DIR": str(scratch / "state"),
        "NIX_LOG_DIR": str(scratch / "log"),
        "NIX_CONF_DIR": str(scratch / "etc"),
        "NIX_CONFIG": "build-users-group =",
        "DEMO_STARTED": str(time.monotonic()),
    }


def wait_for_servers() -> None:
    """Wait for the process that served the mount: it ends when the namespace has ended."""
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("demo: a process is still running"))
    signal.alarm(10)
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        signal.alarm(0)


def remove(scratch: Path) -> None:
    for folder, names, _ in os.walk(scratch):
        for name in names:
            if not os.path.islink(os.path.join(folder, name)):
                os.chmod(os.path.join(folder, name), 0o700)
    shutil.rmtree(scratch)


class Tour:
    """The steps, each using what those before it left in the scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.work = scratch / "work"
        self.file = self.work / "profile.yaml"
        self.profile = scratch / "home/.nix-profile"
        self.number = 0

    def run(self) -> int:
        try:
            self.steps()
        except StepFailed as failure:
            print(f"\ndemo: step {self.number} failed: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        return 0

    def steps(self) -> None:
        mounted_after = 1000 * (time.monotonic() - float(os.environ["DEMO_STARTED"]))
        self.say("mount the store", self.mount_line(), mounted_after)

        self.step("evaluate a C program", self.evaluate)
        self.step("build it in a sandbox", self.build)
        self.step("write to the store", self.write)
        self.step("plan the profile", self.plan, "tally", "1.0")
        self.step("apply it", self.apply, 1)
        self.step("run it from the profile", self.count_words, "tally 1.0")
        shutil.copy(HERE / "profile-2.yaml", self.file)
        self.step("edit the YAML, compare", self.plan, "tally", "-> 1.1", "hello-tally")
        self.step("apply generation 2", self.apply, 2)
        self.step("run what was upgraded", self.count_words, "tally 1.1")
        self.step("run what was added", self.greet)
        self.step("roll back", self.roll_back)
        self.step("run the old one again", self.count_words, "tally 1.0")
        self.step("delete generation 2", self.delete_generation)
        self.step("collect garbage", self.collect)
        self.step("verify every byte", self.verify)

    def step(self, what: str, action: Callable[..., str], *arguments: object) -> None:
        self.number += 1
        start = time.monotonic()
        result = action(*arguments)
        self.say(what, result, 1000 * (time.monotonic() - start))

    def say(self, what: str, result: str, milliseconds: float) -> None:
        print(f"{what:<24} {result:<69} {milliseconds:5.0f} ms", flush=True)

    def call(self, *command: str | Path, status: int = 0) -> str:
        """Run a command and return what it printed; its messages are shown only when it fails."""
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.work, check=False)
        if done.returncode != status:
            spoken = " ".join(map(str, command))
            raise StepFailed(f"'{spoken}' ended with {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
        return done.stdout

    def expect(self, condition: object, otherwise: str) -> None:
        if not condition:
            raise StepFailed(otherwise)

    def mount_line(self) -> str:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        kinds = {fields[1]: fields[2] for fields in mounts}
        self.expect(kinds.get("/nix/store") == "fuse.verglas", "/nix/store is no mount of ours")
        return "/nix/store, FUSE, in a mount namespace of its own"

    def evaluate(self) -> str:
        path = self.call("nix-instantiate", "packages", "-A", "tally_1_0").strip()
        self.expect(path.endswith("-tally-1.0.drv"), f"'{path}' is no derivation")
        return path

    def build(self) -> str:
        attributes = ("tally_1_0.out", "tally_1_0.man", "tally_1_0.dev")
        options = [word for attribute in attributes for word in ("-A", attribute)]
        paths = self.call("nix-build", "packages", "--no-out-link", *options).split()
        self.expect(len(paths) == len(attributes), f"{len(paths)} outputs instead of 3")
        program = Path(paths[0], "bin/tally")
        self.expect(os.access(program, os.X_OK), f"'{program}' is not there")
        return (
            f"outputs {', '.join(path.rpartition('-')[2] for path in paths).replace('1.0', 'out')}; bin/tally is there"
        )

    def write(self) -> str:
        try:
            Path("/nix/store/intruder").touch()
        except OSError as error:
            return f"refused: {error.strerror}"
        raise StepFailed("the store can be written to")

    def plan(self, *expected: str) -> str:
        text = self.call("verglas", "profile", "plan", "--file", self.file)
        for word in expected:
            self.expect(word in text, f"the plan does not mention '{word}':\n{text}")
        return "; ".join(" ".join(line.split()) for line in text.splitlines() if line.startswith("["))

    def apply(self, generation: int) -> str:
        self.call("verglas", "profile", "apply", "--file", self.file)
        return self.live(generation)

    def live(self, generation: int) -> str:
        link = os.readlink(self.profile.resolve().parent / self.profile) if self.profile.is_symlink() else ""
        self.expect(link, f"'{self.profile}' is no profile")
        listing = json.loads(self.call("verglas", "profile", "list", "--json"))
        return f"generation {generation} is live: {len(listing)} packages"

    def count_words(self, version: str) -> str:
        spoken = self.call(self.profile / "bin/tally", "--version").strip()
        self.expect(spoken == version, f"the profile has {spoken}")
        text = self.call(self.profile / "bin/tally", self.profile / "share/poems/glacier.txt")
        counts, most, *more = text.splitlines()
        longest = [line for line in more if line.startswith("longest")]
        return "; ".join([f"{spoken}: {counts}", f"most: {most.split()[1]}", *longest])

    def greet(self) -> str:
        return self.call(self.profile / "bin/hello-tally").strip()

    def roll_back(self) -> str:
        self.call("verglas", "profile", "rollback")
        return self.live(1)

    def delete_generation(self) -> str:
        self.call("verglas", "profile", "delete-generations", "2")
        return "only generation 1 is kept"

    def collect(self) -> str:
        before = set(os.listdir("/nix/store"))
        self.call("nix-store", "--gc")
        gone = before - set(os.listdir("/nix/store"))
        self.expect(any("hello-tally" in name for name in gone), "hello-tally is still there")
        self.expect(self.profile.joinpath("bin/tally").exists(), "a live package was collected")
        return f"{len(gone)} paths removed, {len(before) - len(gone)} kept"

    def verify(self) -> str:
        self.call("nix-store", "--verify", "--check-contents")
        return "every registered path has the bytes it was registered with"


sys.exit(main())
