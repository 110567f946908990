"""Acceptance checks of the specification's rows on profiles and the classic commands: those that no other test makes.

| rows  | shown by                                                                                                    |
|-------|-------------------------------------------------------------------------------------------------------------|
| P1    | here: few questions, several outputs; `test_nix_env.py`: -i, -u and -q --prebuilt-only as real nix-env      |
| P2    | here                                                                                                        |
| P3    | here; `test_nix_env.py`: a folder of expressions                                                            |
| P4    | here: the three states beside real nix-env                                                                  |
| P5    | here; `test_buildenv.py`, `test_user_environment.py`: the same derivation, tree and path as real Nix        |
| C1    | `test_channels.py`: a life, the names that follow from URLs, the same path as real nix-channel              |
| C2    | here                                                                                                        |
| U1 U3 | `tests/evaluator/commands/test_nix_build.py`: names of links                                                |
| U2 U4 | here: one build, the order of what is printed, -I; `test_nix_build.py`: statuses                            |
| U5    | here                                                                                                        |
| T1 T2 | here                                                                                                        |
| T3    | here; `tests/evaluator/commands/test_nix_shell.py`                                                          |
| G8    | `tests/storefs/gc/test_roots.py`; durable: `tests/crash/test_power_cut.py`                                  |
| L2    | here: what `nix-store -l` prints; `tests/builder/test_build_log.py`: where logs of old releases lie         |
"""

from __future__ import annotations

import bz2
import os
import pwd
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import BIN
from tests.http_server import HttpServer
from tests.profiles.both import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix
    from tests.profiles.both import Both

pytestmark = [pytest.mark.slow, pytest.mark.fuse]

SETUP = """
genericBuild() { eval "$buildPhase"; }
"""
PACKAGES = """
let
  make = attributes: derivation ({ system = builtins.currentSystem; builder = "/bin/sh"; } // attributes);
in rec {
  pkg = make {
    name = "pkg";
    outputs = [ "out" "man" "bin" ];
    args = [ "-c" "for o in $outputs; do eval \\"p=\\\\$$o\\"; echo $o > $p; done; echo built pkg >&2" ];
  };
  pkg2 = make { name = "pkg2"; args = [ "-c" "echo 2 > $out" ]; };
  other = make { name = "other"; args = [ "-c" "echo other > $out" ]; };
  stdenv = make {
    name = "stdenv";
    args = [ "-c" "while read line; do echo $line; done <$setup >$out" ];
    setup = ./setup;
  };
  phases = make {
    name = "phases";
    args = [ "-c" ". $stdenv; genericBuild" "it's" "a  b" ];
    inherit stdenv other;
    buildPhase = "echo \\"$text\\" > $out";
    text = "it's \\"quoted\\"\\n\\tand $HOME \\\\ ä";
  };
  forever = make { name = "forever"; args = [ "-c" "echo begun >&2; while :; do :; done" ]; };
}
"""


@pytest.fixture(autouse=True)
def _unmount(environ: dict[str, str], scratch: Path) -> Iterator[None]:
    yield
    subprocess.run([BIN / "verglas", "umount"], env=environ, cwd=scratch, check=False, capture_output=True)


@pytest.fixture
def packages(scratch: Path) -> Path:
    (scratch / "default.nix").write_text(PACKAGES)
    (scratch / "setup").write_text(SETUP)
    return scratch


def cache_of(run: Runner, both: Both, scratch: Path, *attributes: str) -> Path:
    """Put packages into a binary cache, and take them out of the store."""
    words = [word for attribute in attributes for word in ("-A", attribute)]
    paths = run("nix-build", str(both.source), "--no-out-link", *words, *OPTIONS).stdout.split()
    nix = ("--option", "experimental-features", "nix-command")
    run("nix", "copy", "--to", f"file://{scratch}/cache", *paths, *nix)
    run("nix-store", "--delete", *paths)
    with (scratch / "cache/nix-cache-info").open("a") as file:
        file.write("WantMassQuery: 1\n")  # others are not asked about many paths
    return scratch / "cache"


@pytest.mark.oracle
@pytest.mark.root
def test_states_of_packages(both: Both, run: Runner, scratch: Path) -> None:
    """Rows P4 and P1: installed and present, substitutable, none of them."""
    cache = cache_of(run, both, scratch, "beta")
    options = ("--option", "substituters", f"file://{cache}", "--option", "require-sigs", "false")
    both("-i", "alpha-1.0")
    lines = both("-qas", *options).splitlines()
    assert {"IP-  alpha-1.0", "--S  beta-0.9", "---  deep-3"} <= set(lines)
    assert both("-qab", *options).split() == ["alpha-1.0", "beta-0.9"]
    both("-ib", "beta", "multi", *options)
    assert both("-q").split() == ["alpha-1.0", "beta-0.9"]
    both("-ib", "multi", *options)
    both.links()


@pytest.mark.root
def test_prebuilt_upgrades_ask_about_candidates_only(both: Both, run: Runner, scratch: Path) -> None:
    """Row P1: of a tree with other packages, some of which throw, nothing else is asked."""
    cache = cache_of(run, both, scratch, "a2", "beta")
    text = both.source.read_text().rstrip()
    both.source.write_text(f'{text.removesuffix("}")}  zz = throw "not this one"; }}\n')
    words = ("-f", str(both.source), "-p", both.ours)
    run("nix-env", *words, "-i", "alpha-1.0", *OPTIONS)
    with HttpServer() as server:
        server.files.update(
            {f"/{path.relative_to(cache)}": path.read_bytes() for path in cache.rglob("*") if path.is_file()}
        )
        options = ("--option", "substituters", server.url, "--option", "require-sigs", "false")
        run("nix-env", *words, "-ub", *options)
        asked = [target for target in server.targets if target.endswith(".narinfo")]
    assert run("nix-env", *words, "-q").stdout == "alpha-2.0\n"
    hash_parts = {
        name: run("nix-env", *words, "-qa", name, "--out-path", "--no-name").stdout.rpartition("/")[2][:32]
        for name in ("alpha-1.0", "alpha-2.0")
    }
    assert set(asked) <= {f"/{hash_part}.narinfo" for hash_part in hash_parts.values()}


@pytest.mark.oracle
@pytest.mark.root
@pytest.mark.parametrize(
    "query", [["-qas"], ["-qaP"], ["-qab"], ["-qaP", "--out-path"], ["-qa", "--json"], ["-qac"]], ids=" ".join
)
def test_a_failed_assertion_hides_a_package_only_where_it_matters(both: Both, query: list[str]) -> None:
    """Row P2."""
    both.source.write_text("""
      let mk = name: more: derivation ({ inherit name; system = builtins.currentSystem; builder = "b"; } // more);
      in { good = mk "good-1.0" { }; brk = mk "broken-1.0" { x = assert false; 1; }; }
    """)
    shown = both(*query)
    assert "good-1.0" in shown or query == ["-qab"]
    assert ("broken-1.0" in shown) == (query in (["-qaP"], ["-qa", "--json"], ["-qac"]))


def test_manifests_among_expressions_are_no_expressions(run: Runner, environ: dict[str, str]) -> None:
    """Row P3."""
    folder = Path(environ["HOME"]) / ".nix-defexpr"
    for place in (folder, folder / "a", folder / "a/b"):
        place.mkdir(exist_ok=True)
        (place / "one.nix").write_text(f'{{ x = derivation {{ name = "{place.name.strip(".")}-1"; system = "s"; }}; }}')
    (folder / "a/one.nix").rename(folder / "a/two.nix")
    (folder / "a/b/one.nix").rename(folder / "a/b/three.nix")
    before = run("nix-env", "-qaP").stdout
    assert [line.split()[0] for line in before.splitlines()] == ["two.x", "three.x", "one.x"]
    for place in (folder, folder / "a", folder / "a/b"):
        (place / "manifest.nix").write_text("throw 1")
    assert run("nix-env", "-qaP").stdout == before


@pytest.mark.oracle
@pytest.mark.root
def test_all_outputs_are_installed_where_the_package_does_not_choose(both: Both, run: Runner) -> None:
    """Row P5."""
    both.source.write_text(both.source.read_text().replace('meta.outputsToInstall = [ "out" "man" ];', ""))
    both("-i", "multi")
    both.links()
    (path,) = run("nix-store", "-q", "--references", os.path.realpath(both.ours)).stdout.split()[:1]
    assert path
    listed = run("nix", "store", "ls", "-R", os.readlink(f"{both.ours}-1-link"), *_NIX).stdout
    assert {"./bin", "./include", "./man"} <= set(listed.split())


_NIX = ("--option", "experimental-features", "nix-command")


def test_positions_and_search_paths_lead_through_the_channel(
    run: Runner, scratch: Path, environ: dict[str, str]
) -> None:
    """Row C2: what names a file of a channel names it by the channel."""
    sources = scratch / "nixexprs"
    (sources / "lib").mkdir(parents=True)
    (sources / "default.nix").write_text("{ f = import ./lib/f.nix; }")
    (sources / "lib/f.nix").write_text("x:\n  throw x")
    (scratch / "chan").mkdir()
    subprocess.run(["/bin/tar", "-cJf", scratch / "chan/nixexprs.tar.xz", "-C", scratch, "nixexprs"], check=True)
    run("nix-channel", "--add", f"file://{scratch}/chan", "c")
    run("nix-channel", "--update")
    channels = f"{environ['NIX_STATE_DIR']}/profiles/per-user/{_user()}/channels"
    failed = run(
        "nix-instantiate", "--eval", "-E", '(import <c/lib/f.nix>) "x"', "--show-trace", NIX_PATH=channels, status=1
    )
    assert f"{channels}/c/lib/f.nix:2:3" in failed.stderr
    assert run("nix-instantiate", "--eval", "-E", "<c/lib>", NIX_PATH=channels).stdout == f"{channels}/c/lib\n"


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def test_expressions_of_derivations_in_the_store_can_be_installed(run: Runner, packages: Path) -> None:
    """Row C2: a channel may consist of valid derivations, which are packages and dependencies."""
    drv = run("nix-instantiate", "-A", "pkg2").stdout.strip()
    (packages / "chan.nix").write_text(f"{{ pkg2 = import {drv}; }}")
    run("nix-env", "-f", "chan.nix", "-p", packages / "profile", "-i", "pkg2")
    assert run("nix-env", "-p", packages / "profile", "-q", "--out-path").stdout.split() == [
        "pkg2",
        run("nix-store", "-q", "--outputs", drv).stdout.strip(),
    ]
    user = 'with import ./chan.nix; derivation { name = "u"; system = builtins.currentSystem; builder = "/bin/sh"; '
    user += 'args = [ "-c" "read x < ${pkg2}; echo got $x > $out" ]; }'
    out = run("nix-build", "--no-out-link", "-E", user).stdout.strip()
    assert run("verglas", "cat", out).stdout == "got 2\n"


@pytest.mark.parametrize(
    ("attributes", "links"),
    [
        ("pkg.all pkg2", "result result-man result-bin result-2"),
        ("pkg2 pkg.all", "result result-2 result-2-man result-2-bin"),
        ("pkg pkg.man pkg2", "result result-man result-2"),
    ],
)
def test_paths_are_printed_in_the_order_of_links_after_one_build(
    run: Runner, packages: Path, attributes: str, links: str
) -> None:
    """Rows U2 and U4."""
    done = run("nix-build", *[word for attribute in attributes.split() for word in ("-A", attribute)])
    assert done.stdout.splitlines() == [os.readlink(packages / link) for link in links.split()]
    assert len(re.findall("^built pkg$", done.stderr, re.MULTILINE)) == 1


def test_the_search_path_of_the_command_line_is_used(run: Runner, packages: Path) -> None:
    """Row U4."""
    (packages / "mine").mkdir()
    (packages / "default.nix").rename(packages / "mine/default.nix")
    (packages / "setup").rename(packages / "mine/setup")
    direct = run("nix-build", "mine", "-A", "pkg2", "--no-out-link").stdout
    assert run("nix-build", "-I", f"m={packages}/mine", "<m>", "-A", "pkg2", "--no-out-link").stdout == direct
    assert run("nix-build", "-I", packages, "<mine>", "-A", "pkg2", "--no-out-link").stdout == direct


def test_nothing_temporary_is_left(run: Runner, packages: Path, environ: dict[str, str]) -> None:
    """Row U5."""
    temporary = packages / "tmp"
    temporary.mkdir()
    for number in range(10):
        run("nix-build", "-A", "pkg2", "--no-out-link", *(["--check"] if number else []), TMPDIR=str(temporary))
    command = [str(BIN / "nix-build"), "-A", "forever", "--no-out-link"]
    environ = {**environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, env=environ, cwd=packages, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "begun" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode not in {0, 100}
    assert list(temporary.iterdir()) == []
    roots = Path(environ["NIX_STATE_DIR"], "gcroots/auto")
    assert not roots.exists() or list(roots.iterdir()) == []
    assert not list(packages.glob("result*"))


def test_the_environment_of_a_derivation_is_read_by_a_shell(
    run: Runner, packages: Path, environ: dict[str, str]
) -> None:
    """Rows T1 and T2: whatever is in the values and in the arguments."""
    drv = run("nix-instantiate", "-A", "phases").stdout.strip()
    text = run("nix-store", "--print-env", drv).stdout
    names = re.findall(r"^export (\w+); \1=", text, re.MULTILINE)
    assert names == [*sorted(names[:-1]), "_args"]
    script = f'{text}\nprintf \'%s\\0\' "$text" "$name" "$_args"'
    values = (
        subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True, env={}).stdout.decode().split("\0")
    )
    assert values == ['it\'s "quoted"\n\tand $HOME \\ ä', "phases", "-c . $stdenv; genericBuild it's a  b", ""]
    shown = run("nix", "show-derivation", drv, *_NIX).stdout
    assert '"text": "it\'s \\"quoted\\"\\n\\tand $HOME \\\\ ä"' in shown
    outputs = run("nix-store", "-q", "--outputs", drv).stdout.strip()
    assert run("nix-store", "-q", "--hash", outputs, status=1).stdout == "", "printing builds nothing"


@pytest.mark.oracle
def test_the_printed_environment_is_that_of_real_nix(run: Runner, real_nix: RealNix, packages: Path) -> None:
    """Row T1; all but the arguments, whose quotes no shell can read there."""
    drv = run("nix-instantiate", "-A", "phases").stdout.strip()
    assert real_nix.line("nix-instantiate", str(packages / "default.nix"), "-A", "phases") == drv
    theirs = real_nix.run("nix-store", "--print-env", drv).decode()
    ours = run("nix-store", "--print-env", drv).stdout
    assert ours.splitlines()[:-1] == theirs.splitlines()[:-1]


def test_names_that_are_no_variables_do_not_end_the_reading_of_an_environment(run: Runner) -> None:
    """Row T1."""
    names = '"not-one" = 1; "1st" = 1; "\u00e4" = 1; "a.b" = 1; _one1 = 1;'
    drv = run(
        "nix-instantiate", "-E", f'derivation {{ name = "n"; system = "s"; builder = "b"; {names} }}'
    ).stdout.strip()
    script = run("nix-store", "--print-env", drv).stdout + 'echo "$system $_one1"'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True, env={})
    assert (done.stdout, done.stderr) == ("s 1\n", "")


def test_printing_an_environment_wants_one_derivation(run: Runner, packages: Path) -> None:
    """Row T1."""
    drv = run("nix-instantiate", "-A", "pkg2").stdout.strip()
    for operands in ([], [drv, drv]):
        failed = run("nix-store", "--print-env", *operands, status=1).stderr
        assert "'--print-env' requires one derivation store path" in failed
    path = run("nix-store", "--add", packages / "setup").stdout.strip()
    assert f"'{path}' is not a derivation" in run("nix-store", "--print-env", path, status=1).stderr


def test_phases_can_be_run_by_hand(run: Runner, packages: Path) -> None:
    """Row T1: the environment, the setup script, the phases; the result is what the builder makes."""
    built = run("nix-build", "-A", "phases", "--no-out-link").stdout.strip()
    drv = run("nix-store", "-q", "--deriver", built).stdout.strip()
    (packages / "env").write_text(run("nix-store", "--print-env", drv).stdout)
    by_hand = ". ./env; out=./by-hand; . $stdenv; genericBuild"
    run("verglas", "run", "/bin/sh", "-c", by_hand)
    assert (packages / "by-hand").read_text() == run("verglas", "cat", built).stdout


@pytest.mark.parametrize("program", [("nix-build", "--run-env"), ("nix-shell",)], ids=" ".join)
def test_a_shell_has_the_inputs_and_not_the_output(run: Runner, packages: Path, program: tuple[str, ...]) -> None:
    """Row T3."""
    words = (*program, "default.nix", "-A", "phases")
    said = run(*words, "--run", 'echo "$out"; cat $other; pwd', NIX_BUILD_SHELL="bash").stdout.splitlines()
    out = said[0]
    assert said[1:] == ["other", str(packages)]
    run("nix-store", "-q", "--hash", out, status=1)
    command = 'echo "<$out>"; exit 3'
    assert f"<{out}>" in run(*words, "--command", command, NIX_BUILD_SHELL="bash", status=3).stdout


def test_excluded_inputs_are_not_built(run: Runner, packages: Path) -> None:
    """Row T3."""
    words = ("default.nix", "-A", "phases", "--exclude", r".*-other\.drv", "--run", "true")
    run("nix-shell", *words, NIX_BUILD_SHELL="bash")
    other = run("nix-store", "-q", "--outputs", run("nix-instantiate", "-A", "other").stdout.strip()).stdout.strip()
    run("nix-store", "-q", "--hash", other, status=1)


def test_logs_are_printed_once_wherever_they_lie(run: Runner, packages: Path, environ: dict[str, str]) -> None:
    """Row L2."""
    out = run("nix-build", "-A", "pkg", "--no-out-link").stdout.strip()
    drv = run("nix-store", "-q", "--deriver", out).stdout.strip()
    base = os.path.basename(drv)
    logs = Path(environ["NIX_LOG_DIR"], "drvs")
    new = logs / base[:2] / f"{base[2:]}.bz2"
    for path in (out, drv):
        assert run("nix-store", "-l", path).stdout == "built pkg\n"
    for name, content in ((base, b"plain\n"), (f"{base}.bz2", bz2.compress(b"packed\n"))):
        (logs / name).write_bytes(content)
        assert run("nix-store", "-l", drv).stdout == "built pkg\n", "the new place comes first"
        new.rename(logs / "aside")
        assert run("nix-store", "-l", drv).stdout == ("plain\n" if name == base else "packed\n")
        (logs / "aside").rename(new)
        (logs / name).unlink()
    never = run("nix-instantiate", "-A", "other").stdout.strip()
    failed = run("nix-store", "-l", never, status=1)
    assert failed.stderr == f"error: build log of derivation '{never}' is not available\n"


def test_a_large_log_is_printed_in_little_memory(
    run: Runner, packages: Path, environ: dict[str, str], request: pytest.FixtureRequest
) -> None:
    """Row L2: a gigabyte with `--deep`."""
    size = 1 << 30 if request.config.getoption("--deep") else 64 << 20
    drv = run("nix-instantiate", "-A", "other").stdout.strip()
    base = os.path.basename(drv)
    log = Path(environ["NIX_LOG_DIR"], "drvs", base[:2], f"{base[2:]}.bz2")
    log.parent.mkdir(parents=True)
    log.write_bytes(bz2.compress(b"x" * 1023 + b"\n") * (size >> 10))
    command = 'ulimit -v 300000; "$0" -l "$1" | wc -c'
    words = ["/bin/bash", "-o", "pipefail", "-c", command, str(BIN / "nix-store"), drv]
    assert int(subprocess.run(words, env=environ, capture_output=True, check=True).stdout) == size
