"""`verglas profile`, as a user types it: plan, apply, add, remove, upgrade, pin, roll back, and every way to fail."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BIN

if TYPE_CHECKING:
    from tests.conftest import Runner

pytestmark = [pytest.mark.slow, pytest.mark.fuse]

PACKAGES = """
{ system ? builtins.currentSystem, greeting ? "hello" }:
let
  mk = name: version: derivation {
    name = "${name}-${version}";
    inherit system;
    builder = "/bin/sh";
    args = [ "-c" "mkdir -p $out/bin $man/man; echo ${greeting} ${name} > $out/bin/${name}; echo > $man/man/${name}" ];
    outputs = [ "out" "man" ];
    PATH = "/bin:/usr/bin";
  } // { meta.outputsToInstall = [ "out" ]; };
in
{
  one = mk "one" "VERSION";
  two = mk "two" "VERSION";
  set = { inner = mk "inner" "1"; };
  clash = (mk "one" "9") // { name = "clash-9"; };
  bad = throw "not today";
  broken = derivation { name = "broken-1"; inherit system; builder = "/bin/sh"; args = [ "-c" "exit 3" ]; };
}
"""
SANDBOX = "/bin/sh=/bin/busybox /bin /usr/bin /lib /lib64 /usr/lib"


class Home:
    """A declaration, its channel and its profile."""

    def __init__(self, run: Runner, environ: dict[str, str], scratch: Path) -> None:
        self._run = run
        self.scratch = scratch
        self.profile = scratch / "profile"
        self.file = scratch / "profile.yaml"
        self.lock = scratch / "profile.yaml.lock"
        environ["NIX_CONFIG"] += f"sandbox-paths = {SANDBOX}\n"
        environ["NIX_PROFILE"] = str(self.profile)
        self.publish("1.0")

    def publish(self, version: str) -> None:
        folder = self.scratch / "pkgs"
        folder.mkdir(exist_ok=True)
        (folder / "default.nix").write_text(PACKAGES.replace("VERSION", version))

    def declare(self, *packages: str, more: str = "") -> None:
        lines = "".join(f"  - {package}\n" for package in packages)
        self.file.write_text(f"# mine\nchannels:\n  pkgs: ./pkgs\npackages:\n{lines}{more}")

    def __call__(self, verb: str, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        takes_file = verb in {"init", "add", "remove", "upgrade", "plan", "apply", "status"}
        options = ["--file", str(self.file)] if takes_file else []
        return self._run("verglas", "profile", verb, *options, *arguments, status=status)

    def json(self, verb: str, *arguments: str) -> object:
        return json.loads(self(verb, "--json", *arguments).stdout)

    def names(self) -> list[str]:
        listed = self.json("list")
        assert isinstance(listed, list)
        return sorted(each["name"] for each in listed)

    def live(self) -> str:
        return os.readlink(self.profile) if self.profile.is_symlink() else ""


@pytest.fixture
def home(run: Runner, environ: dict[str, str], scratch: Path):  # type: ignore[no-untyped-def]
    yield Home(run, environ, scratch)
    subprocess.run([BIN / "verglas", "umount"], env=environ, cwd=scratch, check=False, capture_output=True)


def test_apply_builds_switches_and_locks(home: Home) -> None:
    home.declare("one", "two")
    plan = home("plan").stdout
    assert "[A+]  #1  one  1.0\n" in plan
    assert "To build:\n" in plan
    assert home.live() == ""
    assert not home.lock.exists()

    done = home("apply").stdout
    assert "generation 1 is live" in done
    assert home.names() == ["one-1.0", "two-1.0"]
    lock = json.loads(home.lock.read_text())
    assert lock["channels"]["pkgs"]["nar_hash"].startswith("sha256-")
    assert [package["name"] for package in lock["packages"]] == ["one-1.0", "two-1.0"]
    assert home("apply").stdout == "nothing to do: the profile is what is declared\n"
    assert home.live() == "profile-1-link"
    assert "in sync" in home("status", "--check").stdout


def test_a_channel_that_nothing_is_made_from_is_no_difference(home: Home) -> None:
    """As the one of a first declaration is, until it has a package of it: `apply` would not take it."""
    home.declare("one")
    home.file.write_text(home.file.read_text().replace("packages:", "  spare: https://127.0.0.1:1\npackages:"))
    home("apply")
    assert "in sync" in home("status", "--check").stdout


def test_caches_are_asked_once_in_an_apply(home: Home, environ: dict[str, str]) -> None:
    environ["NIX_CONFIG"] += "substituters = http://127.0.0.1:1\ndownload-attempts = 1\n"
    home.declare("one")
    assert home("apply").stderr.count("disabling binary cache") == 1


def test_outputs_priorities_and_links(home: Home) -> None:
    home.declare("{attr: one, outputs: [out, man], priority: 3}", "clash", more="links:\n  etc/hosts: /etc/hosts\n")
    home("apply")
    (entry,) = [each for each in home.json("list") if each["name"] == "one-1.0"]  # type: ignore[attr-defined]
    assert sorted(entry["outputs"]) == ["man", "out"]
    assert entry["priority"] == 3
    assert home.names() == ["clash-9", "one-1.0", "profile-links"]


def test_conflict_names_both_packages_the_file_and_the_ways_out(home: Home) -> None:
    home.declare("one")
    home("apply")
    home.declare("one", "clash")
    failed = home("apply", status=1).stderr
    assert "profile.yaml:6: 'clash' and 'one' (line 5) both have 'bin/one', with the same priority 5" in failed
    assert "'priority' below 5" in failed
    assert "remove the other" in failed
    assert home.live() == "profile-1-link"
    assert home.names() == ["one-1.0"]


def test_what_conflicts_is_neither_added_nor_in_the_way_afterwards(home: Home) -> None:
    home.declare("one", "two")
    home("apply")
    before = home.file.read_text()
    assert "both have 'bin/one'" in home("add", "clash", status=1).stderr
    assert home.file.read_text() == before
    home("remove", "two")
    assert home.names() == ["one-1.0"]


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("packages: [{attr: one, outputs: [doc]}]", "4: package 'one-1.0' has no output 'doc'; it has "),
        ("packages: [{attr: one, override: ./none.nix}]", "4: the override '.*/none.nix' can't be read: No such file"),
        ("packages: [bad]", "4: package 'bad': not today"),
        ("packages: [other#one]", "3: channel 'other': '.*/nowhere' does not exist"),
        ("packages: [onee]", "4: channel 'pkgs' has no package 'onee'; did you mean 'one'"),
    ],
)
def test_what_is_declared_and_wrong_is_placed(home: Home, declared: str, reason: str) -> None:
    home.file.write_text(f"channels:\n  pkgs: ./pkgs\n  other: ./nowhere\n{declared}\n")
    assert re.search(rf"^error: {home.file}:{reason}", home("apply", status=1).stderr)


def test_nothing_to_go_back_to(home: Home) -> None:
    assert f"profile '{home.profile}' has no live generation" in home("rollback", status=1).stderr


def test_upgrades_are_asked_for_and_pins_hold(home: Home) -> None:
    home.declare("one", "{attr: two, pin: true}")
    home("apply")
    home.publish("2.0")
    assert home("apply").stdout == "nothing to do: the profile is what is declared\n"
    assert "channel 'pkgs' has changed" in home("status").stdout
    assert "[U+]" not in home("plan").stdout
    assert "[U*]  #1  one  1.0 -> 2.0\n" in home("plan", "--upgrade").stdout
    assert "[U*]  #1  one  1.0 -> 2.0\n" in home("upgrade").stdout
    assert home.names() == ["one-2.0", "two-1.0"]
    home.publish("3.0")
    home("upgrade", "two")
    assert home.names() == ["one-2.0", "two-3.0"]
    home("upgrade", "pkgs")
    assert home.names() == ["one-3.0", "two-3.0"]
    assert "did you mean 'two'?" in home("upgrade", "twp", status=1).stderr


def test_add_and_remove_edit_the_file_only_when_all_went_well(home: Home) -> None:
    home.declare("one   # first")
    home("apply")
    assert "generation 2 is live" in home("add", "two").stdout
    assert home.file.read_text().endswith("  - one   # first\n  - two\n")
    before = home.file.read_text()
    failed = home("add", "broken", status=100).stderr
    assert "failed with exit code 3" in failed
    assert "no package 'onee'; did you mean 'one'?" in home("add", "onee", status=1).stderr
    assert home.file.read_text() == before
    assert home.live() == "profile-2-link"
    home("remove", "one")
    assert home.names() == ["two-1.0"]
    assert "# mine" in home.file.read_text()
    assert "is not declared" in home("remove", "one", status=1).stderr


def test_roll_back_is_exact_and_apply_goes_forward(home: Home) -> None:
    home.declare("one", more="hooks:\n  activate: echo $GENERATION >> hooked\n")
    home("apply")
    home("add", "two")
    assert home.json("rollback")["to"] == 1  # type: ignore[index]
    assert home.names() == ["one-1.0"]
    assert "is not what made generation 1" in home("status").stdout
    home("status", "--check", status=1)
    assert home("export", "1").stdout == home("export").stdout
    assert "generation 2 is live" in home("rollback", "--to", "2").stdout
    assert (home.scratch / "hooked").read_text().split() == ["1", "2", "1", "2"]
    assert [each["generation"] for each in home.json("history")] == [1, 2]  # type: ignore[attr-defined]
    assert "two 1.0 added" in home("history").stdout
    assert "[A+]  #1  two  1.0" in home("diff").stdout
    assert "[R-]  #1  two  1.0" in home("diff", "2", "1").stdout
    assert home("delete-generations", "old").stdout == "deleted generation 1\n"
    assert not Path(f"{home.profile}-1-declaration").exists()
    assert "does not exist" in home("rollback", "--to", "1", status=1).stderr


def test_why(home: Home) -> None:
    home.declare("one")
    home("apply")
    (chain,) = home.json("why", "one")  # type: ignore[misc]
    assert chain[0].endswith("-one-1.0")
    assert "nothing in the profile is called" in home("why", "nope", status=1).stderr


def test_override_and_channel_arguments(home: Home) -> None:
    (home.scratch / "louder.nix").write_text('p: p // { name = "loud-${(builtins.parseDrvName p.name).version}"; }')
    home.file.write_text(
        "channels:\n  pkgs: {path: ./pkgs, arguments: {greeting: salut}}\n"
        "packages:\n  - {attr: one, override: louder.nix, pin: '1.0'}\n"
    )
    home("apply")
    assert home.names() == ["loud-1.0"]
    assert home("apply").stdout.startswith("nothing to do")
    (home.scratch / "louder.nix").write_text('p: p // { name = "soft-1.0"; }')
    home("apply")
    assert home.names() == ["soft-1.0"]
    (home.scratch / "louder.nix").write_text('p: p // { name = "soft-1.1"; }')
    assert "is pinned to version 1.0, and what there is is soft-1.1" in home("apply", status=1).stderr


def test_expression_and_store_path(home: Home) -> None:
    (home.scratch / "mine.nix").write_text('(import ./pkgs { greeting = "mine"; }).set')
    home.declare("one", "{path: ./mine.nix, attr: inner}")
    home("apply")
    assert home.names() == ["inner-1", "one-1.0"]
    path = home.json("list")[0]["outPath"]  # type: ignore[index]
    home.declare(path)
    home("apply")
    assert len(home.names()) == 1
    assert "no package; name one" in _failure(home, "set")


def _failure(home: Home, *packages: str) -> str:
    home.declare(*packages)
    return home("apply", status=1).stderr


def test_profile_of_nix_env_is_taken_over_and_back(home: Home, run: Runner) -> None:
    run("nix-env", "-f", home.scratch / "pkgs", "-iA", "one", "set.inner")
    assert "was not made from a declaration" in (home.declare("one"), home("status").stdout)[1]
    assert "path" not in home("export").stdout.splitlines()[0]
    home("apply")
    assert run("nix-env", "-q").stdout == "one-1.0\n"
    run("nix-env", "-f", home.scratch / "pkgs", "-iA", "set.inner")
    assert run("nix-env", "-q").stdout == "inner-1\none-1.0\n"
    assert "inner-1 is live and not declared" in home("status").stdout
    run("nix-env", "--rollback")
    assert "in sync" in home("status").stdout


def test_init_writes_once(home: Home) -> None:
    home("init")
    assert "packages: []" in home.file.read_text()
    assert "is there already" in home("init", status=1).stderr


@pytest.mark.parametrize("delay", [0.05, 0.12, 0.2, 0.27, 0.35])
def test_killed_at_any_moment_the_old_or_the_new_generation_is_whole(
    home: Home, environ: dict[str, str], delay: float
) -> None:
    home.declare("one")
    home("apply")
    home.declare("one", "two")
    command = [BIN / "verglas", "profile", "apply", "--file", home.file]
    with subprocess.Popen(command, env=environ, cwd=home.scratch, stdout=-3, stderr=-3) as process:
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    generations = {name for name in os.listdir(home.scratch) if name.endswith("-link") and name[0] != "."}
    assert home.live() in generations
    assert home.names() in (["one-1.0"], ["one-1.0", "two-1.0"])
    for name in generations:
        home("list", name.split("-")[1])
    home("apply")
    assert home.names() == ["one-1.0", "two-1.0"]
    assert [name for name in os.listdir(home.scratch) if name.startswith(".tmp-")] == []


@pytest.mark.parametrize("delay", [0.01, 0.02, 0.03, 0.05])
@pytest.mark.parametrize("verb", ["rollback", "delete-generations"])
def test_killed_while_switching_back_or_deleting(home: Home, environ: dict[str, str], verb: str, delay: float) -> None:
    home.declare("one")
    home("apply")
    home("add", "two")
    words = [verb] if verb == "rollback" else [verb, "1"]
    command = [BIN / "verglas", "profile", *words]
    with subprocess.Popen(command, env=environ, cwd=home.scratch, stdout=-3, stderr=-3) as process:
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    generations = {name for name in os.listdir(home.scratch) if name.endswith("-link") and name[0] != "."}
    assert home.live() in generations
    expected = ["one-1.0"] if home.live() == "profile-1-link" else ["one-1.0", "two-1.0"]
    assert home.names() == expected
    home("delete-generations", "old")
    left = sorted(name for name in os.listdir(home.scratch) if name.startswith((".tmp", "profile-")))
    number = home.live().split("-")[1]
    assert left == [f"profile-{number}-declaration", f"profile-{number}-link"]
