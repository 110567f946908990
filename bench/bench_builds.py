"""Builds beside real Nix 2.8: many small ones, one alone, a large output, and a chain that is there already."""

from __future__ import annotations

import io
import itertools
import os
import random
import statistics
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import BIN, need, touch_memory

if TYPE_CHECKING:
    from bench.harness import Bench

SHELL = "/usr/bin/busybox"
OUTPUTS = {name: f"an output of 20k files and 500 MB, {name}" for name in ("unpacked", "written")}

EXPRESSION = """
{ salt ? "", count ? 1, size ? 0 }:
let
  sh = name: script: derivation {
    inherit name script;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
    PATH = "/bin";
  };
  link = n: sh "link${toString n}" "echo ${if n == 0 then salt else "${link (n - 1)}"} > $out";
in {
  small = builtins.genList (n: sh "small${toString n}" "echo ${toString n} ${salt} > $out") count;
  # What install phases do: files that are there already come to where they belong.
  unpacked = sh "unpacked" ''
    busybox mkdir $out
    cd $out
    busybox tar xf /archive
    busybox cat /proc/uptime; : ${salt}
  '';
  # The same sizes, made by a shell: most of that is the shell.
  written = sh "written" ''
    busybox mkdir -p $out/large
    i=0
    while [ $i -lt 200 ]; do
      busybox mkdir $out/$i
      j=0
      while [ $j -lt 100 ]; do echo ${salt} $i $j > $out/$i/$j; j=$((j+1)); done
      i=$((i+1))
    done
    i=0
    while [ $i -lt 25 ]; do
      busybox head -c 20000000 /dev/urandom > $out/large/$i
      i=$((i+1))
    done
    busybox cat /proc/uptime
  '';
  chain = link count;
}
"""


def run(bench: Bench) -> None:
    work = _Work(bench)
    work.small_builds(20 if bench.quick else 300)
    work.one_build()
    for name in OUTPUTS:
        work.large_output(name)
    work.valid_chain(20 if bench.quick else 200)


class _Work:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        need("nix-build", "nix-bin")
        need("busybox", "busybox-static")
        self._peer_bin = Path(need("nix-store", "nix-bin")).parent
        self._file = bench.scratch / "work.nix"
        self._file.write_text(EXPRESSION)
        self._archive = bench.scratch / "archive.tar"
        self._archive.touch()
        self._salts = itertools.count(time.time_ns())  # what is built in a folder that is used again is new, too
        bench.environ["NIX_CONFIG"] += (
            f"sandbox = true\nsandbox-paths = /bin/sh={SHELL} /bin/busybox={SHELL} /archive={self._archive}\n"
            "sandbox-fallback = false\n"
        )
        self._peer_environ = {
            "NIX_STORE_DIR": f"{bench.scratch}/peer/store",
            "NIX_STATE_DIR": f"{bench.scratch}/peer/state",
            "NIX_LOG_DIR": f"{bench.scratch}/peer/log",
        }

    def small_builds(self, count: int) -> None:
        """Only the builds: the derivations are instantiated before."""
        drvs: dict[Path, list[str]] = {}

        def prepare(folder: Path) -> None:
            arguments = ["-A", "small", "--arg", "count", str(count), "--argstr", "salt", f"s{next(self._salts)}"]
            drvs[folder] = self._output(folder, "nix-instantiate", str(self._file), *arguments).split()

        self._bench.compare(
            f"{count} trivial sandboxed derivations, -j2",
            ours=lambda: self._quiet(BIN, "nix-store", "-r", "-j2", *drvs[BIN]),
            peer=lambda: self._quiet(self._peer_bin, "nix-store", "-r", "-j2", *drvs[self._peer_bin]),
            before_ours=lambda: prepare(BIN),
            before_peer=lambda: prepare(self._peer_bin),
            pairs=3,
            limit=1.0,
        )

    def one_build(self) -> None:
        """The whole command, evaluation included; the salt makes it a new derivation each time."""

        def build(folder: Path) -> None:
            self._quiet(folder, "nix-build", str(self._file), "--no-out-link", "-A", "small", "--argstr", "salt",
                        f"o{next(self._salts)}")  # fmt: skip

        self._bench.compare(
            "one trivial derivation, whole command",
            ours=lambda: build(BIN),
            peer=lambda: build(self._peer_bin),
            pairs=11,
            limit=1.5,
        )

    def large_output(self, name: str) -> None:
        """The whole command, and what of it comes after the builder's end.

        `unpacked` is the main case: the builder takes a second, as an install phase does, and the rest is what a store
        has to do.  Of `written` most is the builder, twenty thousand redirections of a shell, which is equal for both.
        Each of them as both are, with a peer that syncs, and with neither waiting for the disk.
        """
        title = OUTPUTS[name]
        unwaited = "fsync-store-paths = false\n"
        self._large_output(title, name, "", synced=False, limit=0.7)
        self._large_output(f"{title}, beside a peer that syncs", name, "", synced=True, limit=0.7)
        self._large_output(f"{title}, neither waits for the disk", name, unwaited, synced=False, limit=0.7)

    def _large_output(self, title: str, name: str, settings: str, *, synced: bool, limit: float) -> None:
        ended = f"{title}, from the builder's end on"
        if not self._bench.wants(title, ended):
            return
        after: dict[Path, list[float]] = {BIN: [], self._peer_bin: []}
        salt = ""

        def prepare() -> None:
            # New contents each time: what the store has already would not have to be stored. And nothing that the
            # other one left to be written, which would be written by whoever syncs next.
            nonlocal salt
            salt = f"l{next(self._salts)}"
            _write_archive(self._archive, salt)
            os.sync()
            touch_memory()

        def build(folder: Path, settings: str = "", *, synced: bool = False) -> float:
            begun = time.perf_counter()
            arguments = ["--no-out-link", "-A", name, "--argstr", "salt", salt]
            done = self._run(folder, "nix-build", str(self._file), *arguments, settings=settings)
            if synced:
                subprocess.run(["sync", "--file-system", self._bench.scratch], check=True)
            taken = time.perf_counter() - begun
            now = Path("/proc/uptime").read_text().split()[0]
            after[folder].append(float(now) - float(done.stderr.split()[-2]))  # what the builder printed at its end
            return taken

        self._bench.compare(
            title,
            ours=lambda: build(BIN, settings),
            peer=lambda: build(self._peer_bin, synced=synced),
            before_ours=prepare,
            before_peer=prepare,
            pairs=2,
            limit=limit,
            warm_up=False,
        )
        if after[BIN]:
            ratios = [ours / peer for ours, peer in zip(after[BIN], after[self._peer_bin], strict=True)]
            self._bench.record(ended, statistics.median(ratios), "x the peer")

    def valid_chain(self, count: int) -> None:
        title = f"a chain of {count} derivations that are valid"
        if not self._bench.wants(title):
            return

        def realise(folder: Path) -> str:
            words = ["-A", "chain", "--arg", "count", str(count)]
            drv = self._output(folder, "nix-instantiate", str(self._file), *words).strip()
            self._quiet(folder, "nix-store", "-r", drv)
            return drv

        ours, peer = realise(BIN), realise(self._peer_bin)
        self._bench.compare(
            title,
            ours=lambda: self._quiet(BIN, "nix-store", "-r", ours),
            peer=lambda: self._quiet(self._peer_bin, "nix-store", "-r", peer),
            pairs=11,
            limit=1.0,
        )
        subprocess.run([BIN / "verglas", "umount"], env=self._bench.environ, capture_output=True, check=False)

    def _environ(self, folder: Path) -> dict[str, str]:
        return {**self._bench.environ, **(self._peer_environ if folder == self._peer_bin else {})}

    def _run(self, folder: Path, program: str, *arguments: str, settings: str = "") -> subprocess.CompletedProcess[str]:
        environ = self._environ(folder)
        environ["NIX_CONFIG"] += settings
        done = subprocess.run([folder / program, *arguments], env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{folder / program} failed: {done.stderr}")
        return done

    def _output(self, folder: Path, program: str, *arguments: str) -> str:
        return self._run(folder, program, *arguments).stdout

    def _quiet(self, folder: Path, program: str, *arguments: str) -> None:
        self._output(folder, program, *arguments)


def _write_archive(path: Path, salt: str) -> None:
    """Write a tar of 20,000 files: most of them small and different, and a few large ones that make up the bulk."""
    source = random.Random(salt)
    noise = source.randbytes(20_000_000)

    def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))

    with tarfile.open(path, "w") as archive:  # in the place of the old one: sandboxes find it by its name
        for number in range(20_000):
            start = source.randrange(1 << 20)
            content = noise[start : start + source.randrange(200, 8000)]
            add(archive, f"{number // 100}/{number % 100}", b"%d %s\n" % (number, salt.encode()) + content)
        for number in range(25):
            add(archive, f"large/{number}", b"%d %s\n" % (number, salt.encode()) + noise[:18_000_000])
