"""Whether there is anything to do at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.validity import all_valid, results_if_valid
from storefs.api import BuildStatus
from storefs.formats.derived_path import DerivedPath

if TYPE_CHECKING:
    from tests.builder.workbench import Workbench


@pytest.mark.slow
def test_what_is_there_needs_no_builder_and_gives_the_same_answer(bench: Workbench) -> None:
    target = bench.derive("target", "echo > $out; echo > $dev", outputs=("out", "dev"))
    everything, one = DerivedPath(target, ()), DerivedPath(target, ("dev",))
    assert results_if_valid(bench.store, [everything]) is None
    bench.build(target)
    path = DerivedPath(bench.out(target))
    asked = [everything, one, path, DerivedPath(target)]
    found = results_if_valid(bench.store, asked)
    assert found == bench.build(*asked)
    assert found is not None
    assert {result.status for result in found} == {BuildStatus.ALREADY_VALID}
    assert all_valid(bench.store, asked)


def test_what_is_wrong_is_left_to_the_builder_to_say(bench: Workbench) -> None:
    target = bench.derive("target", "")
    missing = type(target)(target.base_name.replace("target", "nonesuch"))
    assert not all_valid(bench.store, [DerivedPath(missing, ())])
    assert not all_valid(bench.store, [DerivedPath(target, ("nonesuch",))])
    assert not all_valid(bench.store, [DerivedPath(bench.out(target))])
    assert all_valid(bench.store, [])
