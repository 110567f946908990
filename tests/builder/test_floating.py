"""Builds of derivations whose output paths follow from their contents; compared with real Nix in `tests/oracle`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.api import BuildMode, BuildStatus
from storefs.formats.derivation import Derivation, DerivationOutput
from storefs.formats.derivation_hash import downstream_placeholder, hash_placeholder
from storefs.formats.derived_path import DerivedPath
from storefs.stores.derivation_outputs import DerivationOutputs
from storefs.stores.known_outputs import known_outputs
from tests.builder.workbench import Workbench
from tests.store_invariants import check_invariants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from storefs.api import BuildResult
    from storefs.formats.store_path import StorePath

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(bench: Workbench) -> Workbench:
    """With the feature on."""
    bench.config = bench.config.with_settings([("experimental-features", "ca-derivations")])
    return bench


@pytest.fixture(params=["true", "false"], ids=["sandbox", "open"])
def sandbox(request: pytest.FixtureRequest) -> str:
    """The setting `sandbox`."""
    return str(request.param)


def derive(
    bench: Workbench,
    name: str,
    script: str,
    *,
    inputs: Mapping[StorePath, tuple[str, ...]] | None = None,
    outputs: tuple[str, ...] = ("out",),
    algorithm: str = "r:sha256",
    **env: str,
) -> StorePath:
    """Add a derivation whose outputs float; with `algorithm` '' one that only depends on such."""
    placeholders = {output: hash_placeholder(output) if algorithm else "" for output in outputs}
    derivation = Derivation(
        name,
        {output: DerivationOutput(None, algorithm) for output in outputs},
        {path: tuple(names) for path, names in (inputs or {}).items()},
        set(),
        "x86_64-linux",
        "/bin/sh",
        ["-ec", script],
        {"PATH": "/bin", **env, **placeholders},
    )
    directory = bench.store.directory
    return bench.store.add_text(f"{name}.drv", derivation.unparse(directory), derivation.references())


def path_of(result: BuildResult, output: str = "out") -> StorePath:
    assert result.ok, result.message
    return result.outputs[output]


def content(bench: Workbench, path: StorePath) -> str:
    return bench.store.read_path(path).decode()


def test_what_refers_to_itself_is_named_by_the_rest(bench: Workbench, sandbox: str) -> None:
    (result,) = bench.build(derive(bench, "self", "echo $out > $out"), sandbox=sandbox)
    path = path_of(result)
    assert content(bench, path) == bench.store.directory.print(path) + "\n"
    info = bench.store.path_info(path)
    assert info.references == (path,)
    assert info.ca.startswith("fixed:r:sha256:")
    check_invariants(bench.store)


def test_outputs_may_refer_to_each_other_but_not_in_circles(bench: Workbench, sandbox: str) -> None:
    outputs = ("out", "dev", "lib")
    script = "echo $dev > $out; echo $lib $dev > $dev; echo lib > $lib"
    (result,) = bench.build(derive(bench, "several", script, outputs=outputs), sandbox=sandbox)
    out, dev, lib = (path_of(result, name) for name in outputs)
    show = bench.store.directory.print
    assert content(bench, out) == f"{show(dev)}\n"
    assert content(bench, dev) == f"{show(lib)} {show(dev)}\n"
    circle = derive(bench, "circle", "echo $dev > $out; echo $out > $dev", outputs=("out", "dev"))
    failure = bench.fail(circle, sandbox=sandbox)
    assert failure.status is BuildStatus.OUTPUT_REJECTED
    assert "cycle detected" in failure.message


def test_what_can_have_no_references_has_none(bench: Workbench) -> None:
    (result,) = bench.build(derive(bench, "flat", "echo flat > $out", algorithm="sha1"))
    assert bench.store.path_info(path_of(result)).ca.startswith("fixed:sha1:")
    for script, algorithm, said in (
        ("echo $out > $out", "sha256", "refers to itself"),
        ("mkdir $out; echo $out > $out/x", "r:sha512", "refers to itself"),
        ("mkdir $out", "sha256", "should be a non-executable regular file"),
        ("true", "r:sha256", "failed to produce output path for output 'out'"),
    ):
        failure = bench.fail(derive(bench, "bad", script, algorithm=algorithm))
        assert failure.status is BuildStatus.OUTPUT_REJECTED
        assert said in failure.message


def test_equal_inputs_are_built_upon_once(bench: Workbench) -> None:
    def chain(seed: str) -> tuple[StorePath, StorePath]:
        root = derive(bench, "root", "echo same > $out", seed=seed)
        use = f"echo {downstream_placeholder(root, 'out')} > $out"
        return root, derive(bench, "above", use, inputs={root: ("out",)}, algorithm="")

    first, second = chain("1"), chain("2")
    (made,) = bench.build(first[1])
    assert made.status is BuildStatus.BUILT
    (again,) = bench.build(first[1])
    assert again.status is BuildStatus.ALREADY_VALID
    bench.told.started.clear()
    (other,) = bench.build(second[1])
    assert path_of(other) == path_of(made)
    assert other.status is BuildStatus.RESOLVES_TO_ALREADY_VALID
    assert len([text for text in bench.told.started if text.startswith("building")]) == 1  # the root
    # What was there already has stayed what it was.
    root = known_outputs(bench.store, bench.store.derivation(second[0]))["out"]
    inode = bench.store.root_inode(root)
    bench.build(derive(bench, "root", "echo same > $out", seed="3"))
    assert bench.store.root_inode(root) == inode
    check_invariants(bench.store)


def test_what_an_output_rests_on_is_noted(bench: Workbench) -> None:
    root = derive(bench, "root", "echo root > $out; echo dev > $dev", outputs=("out", "dev"))
    use = f"echo {downstream_placeholder(root, 'out')} > $out"
    top = derive(bench, "top", use, inputs={root: ("dev", "out")})
    bench.build(top)
    outputs = DerivationOutputs(bench.store)
    (found,) = outputs.realisations(bench.store.derivation(top))
    ids = outputs.ids(bench.store.derivation(root))
    assert list(found.dependencies) == [ids["out"]]
    assert top in bench.store.valid_derivers(found.path)


def test_a_failure_is_told_once_and_by_what_failed(bench: Workbench) -> None:
    root = derive(bench, "root", "echo root > $out")
    use = f"echo {downstream_placeholder(root, 'out')}; exit 3"
    failing = derive(bench, "failing", use, inputs={root: ("out",)})
    failure = bench.fail(failing)
    assert failure.status is BuildStatus.PERMANENT_FAILURE
    assert failure.exit_code == 100
    assert "failing.drv' failed with exit code 3" in failure.message
    above = derive(bench, "above", "echo > $out", inputs={failing: ("out",)})
    failure = bench.fail(above, keep_going="true")
    assert failure.status is BuildStatus.DEPENDENCY_FAILED
    assert failure.exit_code == 100
    assert len([text for text in bench.told.errors if "exit code 3" in text]) == 1


def test_check_finds_what_is_new_each_time(bench: Workbench) -> None:
    same = derive(bench, "same", "echo $out > $out")
    bench.build(same)
    (checked,) = bench.build(same, mode=BuildMode.CHECK)
    assert checked.ok, checked.message
    changing = derive(bench, "changing", "read line < /proc/sys/kernel/random/uuid; echo $line > $out")
    (made,) = bench.build(changing)
    failure = bench.fail(changing, mode=BuildMode.CHECK)
    assert failure.status is BuildStatus.NOT_DETERMINISTIC
    assert bench.store.directory.print(path_of(made)) in failure.message


def test_it_is_built_again_when_it_was_collected(bench: Workbench) -> None:
    root = derive(bench, "root", "echo $out > $out")
    above = derive(bench, "above", f"echo {downstream_placeholder(root, 'out')} > $out", inputs={root: ("out",)})
    (before,) = bench.build(above)
    bench.forget_temporary_roots()
    collector = bench.store.collector()
    try:
        collector.delete([path_of(before)])
    finally:
        collector.close()
    check_invariants(bench.store)
    (after,) = bench.build(above)
    assert path_of(after) == path_of(before)
    assert after.status is BuildStatus.BUILT


def test_nobody_builds_it_twice_at_once(bench: Workbench) -> None:
    # Each of two builds would give another output, and only one can be what the output is.
    target = derive(bench, "racy", "read line < /proc/sys/kernel/random/uuid; echo $line > $out")
    results: list[BuildResult] = []
    threads = [threading.Thread(target=lambda: results.extend(bench.build(target))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path_of(result) for result in results}) == 1
    assert len([text for text in bench.told.started if text.startswith("building")]) == 1


def test_more_outputs_may_be_wanted_later(bench: Workbench) -> None:
    root = derive(bench, "root", "echo root > $out")
    script = f"echo {downstream_placeholder(root, 'out')} > $out; echo $out > $dev"
    both = derive(bench, "both", script, inputs={root: ("out",)}, outputs=("out", "dev"))
    (first,) = bench.build(DerivedPath(both, ("out",)))
    assert list(first.outputs) == ["out"]
    (second,) = bench.build(both)
    assert second.status in {BuildStatus.ALREADY_VALID, BuildStatus.RESOLVES_TO_ALREADY_VALID}
    assert set(second.outputs) == {"out", "dev"}


def test_outputs_that_were_there_before_the_feature_are_noted(bench: Workbench) -> None:
    plain = bench.derive("plain", "echo plain > $out")
    bench.build(plain, experimental_features="")
    outputs = DerivationOutputs(bench.store)
    derivation = bench.store.derivation(plain)
    assert outputs.realisations(derivation) == []
    # As a target, and as what a target needs.
    use = derive(bench, "use", f"echo {bench.shown(plain)} > $out", inputs={plain: ("out",)})
    (result,) = bench.build(use)
    (noted,) = outputs.realisations(derivation)
    assert noted.path == bench.out(plain)
    assert path_of(result) in bench.store.referrers(noted.path)


LYING = """#!{python} -I
import os, sys
os.environ["NIX_CONFIG"] += "\\nexperimental-features = ca-derivations\\n"
sys.path.insert(0, {root!r})
from builder import serve_session
from storefs import cli

honest = serve_session.write_built_outputs

def lying(writer, outputs, *rest):
    honest(writer, dict(outputs, extra=next(iter(outputs.values()))), *rest)

serve_session.write_built_outputs = lying
sys.argv[0] = "nix-store"
cli.main()
"""


def test_outputs_that_another_machine_invents_are_nothing_to_us(bench: Workbench, scratch: Path) -> None:
    program = scratch / "far"
    program.write_text(LYING.format(python=sys.executable, root=str(Path(__file__).parents[2])))
    program.chmod(0o755)
    store = f"{scratch}/machine?store={bench.config.store_dir}"
    bench.other_stores.append(store)
    target = derive(bench, "far", "echo far away > $out")
    builders = f"ssh://localhost?remote-program={program}&remote-store={store} x86_64-linux - 1 1 ca-derivations"
    (result,) = bench.build(target, builders=builders, max_jobs="0")
    assert content(bench, path_of(result)) == "far away\n"
    assert result.outputs.keys() == {"out"}
