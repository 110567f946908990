"""Derivations whose outputs somebody else has: fetched, per output; built where that fails."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder import scheduler
from storefs.api import BuildStatus
from storefs.formats.derived_path import DerivedPath
from storefs.stores.substitution import Substitution, SubstitutionError
from tests.builder.workbench import Workbench

if TYPE_CHECKING:
    from storefs.formats.store_path import StorePath
    from tests.conftest import Runner

pytestmark = pytest.mark.slow


@pytest.fixture
def cached(bench: Workbench, run: Runner, scratch: Path) -> tuple[StorePath, str]:
    """A derivation with two outputs, which only a cache has; and the cache's URI."""
    target = bench.derive("target", "echo building; echo $out > $dev; echo > $out", outputs=("out", "dev"))
    (result,) = bench.build(target)
    assert result.ok
    bench.told.lines.clear()
    uri = f"file://{scratch}/cache"
    run("verglas", "push", uri, *(bench.store.directory.print(path) for path in result.outputs.values()))
    bench.forget_temporary_roots()
    collector = bench.store.collector()
    collector.delete(list(result.outputs.values()))
    collector.close()
    return target, uri


def settings(uri: str) -> dict[str, str]:
    return {"substituters": uri, "require_sigs": "false"}


def test_only_wanted_outputs_are_fetched(bench: Workbench, cached: tuple[StorePath, str]) -> None:
    """Row M9."""
    target, uri = cached
    (result,) = bench.build(DerivedPath(target, ("out",)), **settings(uri))
    assert result.status is BuildStatus.SUBSTITUTED, result.message
    assert not bench.told.lines
    assert not bench.store.is_valid(bench.out(target, "dev"))
    # What refers to another output brings it along.
    (result,) = bench.build(DerivedPath(target, ("dev",)), **settings(uri))
    assert result.status is BuildStatus.SUBSTITUTED
    assert not bench.told.lines


def test_what_may_not_be_fetched_is_built(bench: Workbench, cached: tuple[StorePath, str]) -> None:
    target, uri = cached
    assert bench.build(target, substitute="false", substituters=uri)[0].status is BuildStatus.BUILT
    assert bench.told.lines == ["building"]


def test_a_damaged_cache_is_an_error_or_a_reason_to_build(
    bench: Workbench, cached: tuple[StorePath, str], scratch: Path, expects_warnings: list[object]
) -> None:
    target, uri = cached
    for nar in (scratch / "cache" / "nar").iterdir():
        nar.write_bytes(b"damaged")
    result = bench.fail(target, **settings(uri))
    assert "try '--fallback' to build derivation from source" in result.message
    assert result.status is BuildStatus.TRANSIENT_FAILURE
    assert bench.build(target, fallback="true", **settings(uri))[0].status is BuildStatus.BUILT


@pytest.mark.parametrize("first", ["lower", "upper"])
def test_what_depends_on_what_failed_while_it_was_fetched_fails(
    bench: Workbench, run: Runner, scratch: Path, monkeypatch: pytest.MonkeyPatch, expects_warnings: list[object],
    first: str,
) -> None:  # fmt: skip
    """The fetch of one is repeated when what it refers to is there, which can't be had; whichever is told first."""
    lower = bench.derive("lower", "echo > $out")
    text = f"read line < {bench.shown(lower)}; echo {bench.store.directory.print(bench.out(lower))} > $out"
    upper = bench.derive("upper", text, inputs={lower: ("out",)})
    results = bench.build(lower, upper)
    paths = [path for result in results for path in result.outputs.values()]
    uri = f"file://{scratch}/cache"
    run("verglas", "push", uri, *map(bench.store.directory.print, paths))
    bench.forget_temporary_roots()
    collector = bench.store.collector()
    collector.delete(paths)
    collector.close()
    is_told = {"lower": threading.Event(), "upper": threading.Event()}
    take = scheduler.Run._take

    def fetch(self: Substitution, path: StorePath) -> None:
        name = path.name
        if name != first:
            is_told[first].wait(20)
        missing = name == "upper"
        raise SubstitutionError("it can't be had", bench.out(lower), missing=missing)

    def taken(self: scheduler.Run, report: Any) -> None:
        take(self, report)
        is_told[report[0].path.name.removesuffix(".drv")].set()

    monkeypatch.setattr(Substitution, "fetch", fetch)
    monkeypatch.setattr(scheduler.Run, "_take", taken)
    results = bench.build(lower, upper, keep_going="true", **settings(uri))
    assert [result.status for result in results] == [BuildStatus.TRANSIENT_FAILURE, BuildStatus.DEPENDENCY_FAILED]


def test_a_cache_that_is_not_there_is_a_miss(
    bench: Workbench, cached: tuple[StorePath, str], scratch: Path, expects_warnings: list[object]
) -> None:
    target, _ = cached
    results = bench.build(target, **settings(f"file://{scratch}/nonesuch"))
    assert results[0].status is BuildStatus.BUILT


def test_two_dependants_want_different_outputs(bench: Workbench, cached: tuple[StorePath, str]) -> None:
    """Row M10: both arrive, and nothing is built that was offered."""
    target, uri = cached
    wants_out = bench.derive("one", f"echo {bench.shown(target)} > $out", inputs={target: ("out",)})
    wants_dev = bench.derive("two", f"echo {bench.shown(target, 'dev')} > $out", inputs={target: ("dev",)})
    results = bench.build(wants_out, wants_dev, max_jobs="2", **settings(uri))
    assert [result.message for result in results] == ["", ""]
    assert bench.store.is_valid(bench.out(target, "dev"))
    assert bench.told.lines == []
