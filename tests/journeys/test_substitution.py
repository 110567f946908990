"""Builds and binary caches together: what is fetched, what is built, and what happens when a cache misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.formats.store_path import StoreDir
from tests.conftest import Runner
from tests.http_server import Fault, HttpServer

pytestmark = [pytest.mark.slow, pytest.mark.fuse]

EXPRESSION = """
let
  mk = name: attrs: derivation ({ inherit name; system = builtins.currentSystem; builder = "/bin/sh"; } // attrs);
  dep = mk "dep" { args = [ "-c" "echo dep > $out" ]; };
  top = mk "top" { args = [ "-c" "echo ${dep} > $out" ]; };
  mo = mk "mo" { outputs = [ "out" "man" ]; args = [ "-c" "echo o > $out; echo m > $man" ]; };
  users = mk "users" { args = [ "-c" "echo ${mo} ${mo.man} > $out" ]; };
in { inherit dep top mo users; }
"""

BUILD_ONLY = "sandbox = false\nsubstituters =\nbuild-users-group =\nauto-mount = false\n"


class Shop:
    """A cache with everything that the expression builds, and a fresh store that may fetch from it."""

    def __init__(self, scratch: Path, run: Runner) -> None:
        self._run = run
        self.scratch = scratch
        (scratch / "default.nix").write_text(EXPRESSION)
        names = ("dep", "top", "mo", "mo.man")
        wanted = [word for name in names for word in ("-A", name)]
        built = run("nix-build", "--no-out-link", *wanted, NIX_CONFIG=BUILD_ONLY).stdout.split()
        self.paths = dict(zip(names, built, strict=True))
        run("verglas", "push", f"file://{scratch}/cache", *self.paths.values())
        self.cache = scratch / "cache"
        self.uri = f"file://{scratch}/cache"
        self._stores = 0

    def close(self) -> None:
        """Unmount what builds have mounted."""
        self._run("verglas", "umount", "--lazy", status=None)
        for number in range(1, self._stores + 1):
            self._run("verglas", "umount", "--lazy", status=None, NIX_STATE_DIR=f"{self.scratch}/fresh{number}")

    def narinfo(self, name: str) -> Path:
        return self.cache / f"{Path(self.paths[name]).name[:32]}.narinfo"

    def fresh(self, *arguments: str, uri: str | None = None, status: int = 0, **settings: str) -> tuple[str, str]:
        """Build in a store of its own; returns standard output and error."""
        self._stores += 1
        config = f"sandbox = false\nrequire-sigs = false\nsubstituters = {uri or self.uri}\nbuild-users-group =\n"
        config += "auto-mount = false\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
        state = f"{self.scratch}/fresh{self._stores}"
        done = self._run(
            "nix-build", "--no-out-link", *arguments, status=status, NIX_STATE_DIR=state, NIX_CONFIG=config
        )
        self.state = state
        return done.stdout, done.stderr

    def has(self, name: str) -> bool:
        done = self._run("nix-store", "--check-validity", self.paths[name], status=None, NIX_STATE_DIR=self.state)
        return done.returncode == 0


@pytest.fixture
def shop(scratch: Path, run: Runner) -> Iterator[Shop]:
    shop = Shop(scratch, run)
    try:
        yield shop
    finally:
        shop.close()


def test_everything_is_fetched_and_nothing_built(shop: Shop) -> None:
    out, err = shop.fresh("-A", "top")
    assert out.strip() == shop.paths["top"]
    assert "copying path" in err and "building" not in err


def test_only_the_wanted_output_is_fetched(shop: Shop) -> None:
    _, plan = shop.fresh("-A", "mo.man", "--dry-run")
    assert shop.paths["mo.man"] in plan and shop.paths["mo"] + "\n" not in plan
    out, _ = shop.fresh("-A", "mo.man")
    assert out.strip() == shop.paths["mo.man"]
    assert shop.has("mo.man") and not shop.has("mo")


def test_two_outputs_wanted_by_one_build_both_arrive(shop: Shop) -> None:
    _, err = shop.fresh("-A", "users")
    assert shop.has("mo") and shop.has("mo.man")
    assert err.count("copying path") == 2
    assert "mo.drv'..." not in err


def test_reference_that_no_cache_has_is_built_and_the_rest_fetched(shop: Shop) -> None:
    shop.narinfo("dep").unlink()
    out, err = shop.fresh("-A", "top")
    assert out.strip() == shop.paths["top"]
    assert "-dep.drv'..." in err and "-top.drv'..." not in err
    assert f"copying path '{shop.paths['top']}'" in err


def test_damaged_substitute_fails_with_a_hint_unless_told_to_fall_back(shop: Shop) -> None:
    for nar in (shop.cache / "nar").iterdir():
        nar.write_bytes(b"garbage")
    _, err = shop.fresh("-A", "mo", status=1)
    assert "some substitutes for the outputs of derivation" in err and "try '--fallback'" in err
    out, err = shop.fresh("-A", "mo", "--fallback")
    assert out.strip() == shop.paths["mo"]
    assert "building" in err


@pytest.mark.parametrize("over_http", [False, True])
def test_what_the_cache_has_lost_is_built_without_being_told_to(shop: Shop, over_http: bool) -> None:
    for nar in (shop.cache / "nar").iterdir():
        nar.unlink()
    files = {f"/{path.name}": path.read_bytes() for path in shop.cache.iterdir() if path.is_file()}
    with HttpServer(files) as server:
        out, err = shop.fresh("-A", "top", uri=server.url if over_http else None)
    assert out.strip() == shop.paths["top"]
    assert ("HTTP error 404" if over_http else "any more") in err
    assert err.count("building") == 2


@pytest.mark.parametrize("believed", ["nothing", "top"])
def test_what_nobody_vouches_for_is_built_without_being_told_to(shop: Shop, believed: str, run: Runner) -> None:
    settings = {"require-sigs": "true"}
    if believed == "top":
        run("nix-store", "--generate-binary-cache-key", "k", "secret", "public")
        run("nix", "store", "sign", "--store", shop.uri, "-k", shop.scratch / "secret", shop.paths["top"])
        settings["trusted-public-keys"] = (shop.scratch / "public").read_text().strip()
    out, err = shop.fresh("-A", "top", **settings)
    assert out.strip() == shop.paths["top"]
    assert "does not have a valid signature" in err
    assert err.count("building '") == (2 if believed == "nothing" else 1)
    assert "error:" not in err


def test_empty_and_dead_caches_do_not_break_a_build(shop: Shop) -> None:
    with HttpServer({"/nix-cache-info": f"StoreDir: {StoreDir(f'{shop.scratch}/store').path}\n".encode()}) as server:
        out, err = shop.fresh("-A", "top", uri=server.url)
        assert out.strip() == shop.paths["top"]
        assert err.count("building") == 2
        asked = [target for target in server.targets if target.endswith(".narinfo")]
        assert len(asked) == len(set(asked)) == 2
    with HttpServer() as gone:
        dead = gone.url
    out, err = shop.fresh("-A", "top", uri=dead)
    assert out.strip() == shop.paths["top"]
    assert err.count("warning: unable to download") == 1


def test_failing_cache_is_left_alone_and_the_next_one_serves(shop: Shop) -> None:
    with HttpServer({}) as server:
        server.faults["*"] = Fault(status=500)
        _, err = shop.fresh("-A", "top", uri=f"{server.url} {shop.uri}", **{"download-attempts": "1"})
        assert len(server.log) == 1
    assert "building" not in err


def test_build_logs_are_pushed_and_found_in_the_cache(shop: Shop, run: Runner) -> None:
    log = shop.cache / "log"
    (name,) = [path.name for path in log.iterdir() if path.name.endswith("-top.drv")]
    (log / name).write_text("what the builder printed\n")
    shop.fresh("-A", "top")
    settings = {"NIX_STATE_DIR": shop.state, "NIX_LOG_DIR": f"{shop.scratch}/no-logs"}
    settings["NIX_CONFIG"] = f"substituters = {shop.uri}\n"
    assert run("verglas", "log", shop.paths["top"], **settings).stdout == "what the builder printed\n"


def test_logs_are_copied_from_cache_to_store_and_to_another_cache(shop: Shop, run: Runner) -> None:
    (name,) = [path.name for path in (shop.cache / "log").iterdir() if path.name.endswith("-top.drv")]
    (shop.cache / "log" / name).write_text("what the builder printed\n")
    out, drv = shop.paths["top"], f"{shop.scratch}/store/{name}"
    settings = {"NIX_STATE_DIR": f"{shop.scratch}/new-state", "NIX_LOG_DIR": f"{shop.scratch}/new-logs"}
    settings["NIX_CONFIG"] = "experimental-features = nix-command\nsubstituters =\n"
    log, copy = ("nix", "log"), ("nix", "store", "copy-log")

    assert "is not available" in run(*log, drv, status=1, **settings).stderr
    # What the store that is named keeps counts, not what is kept here.
    assert run(*log, "--store", shop.uri, out, **settings).stdout == "what the builder printed\n"
    run(*copy, "--from", shop.uri, out, **settings)
    assert run(*log, drv, **settings).stdout == "what the builder printed\n"
    other = f"file://{shop.scratch}/other"
    assert "is not available" in run(*log, "--store", other, drv, status=1, **settings).stderr
    run(*copy, "--to", other, drv, **settings)
    assert run(*log, "--store", other, drv, **settings).stdout == "what the builder printed\n"
    assert "'--from' or '--to'" in run(*copy, drv, status=1, **settings).stderr
    lost = run(*copy, "--from", f"file://{shop.scratch}/none", drv, status=1, **settings).stderr
    assert f"build log for '{drv}' is not available" in lost
    # The log is here, but it was another machine's that was asked for, which can't be.
    for far in ("ssh://machine", "ssh-ng://machine"):
        refused = run(*copy, "--from", far, "--to", other, drv, status=1, **settings).stderr
        assert refused == f"error: retrieving build logs is not supported by store '{far}'\n"
