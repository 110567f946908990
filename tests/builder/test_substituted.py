"""Derivations whose outputs somebody else has: fetched, per output; built where that fails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.api import BuildStatus
from storefs.formats.derived_path import DerivedPath
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
