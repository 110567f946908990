"""The plan of a user environment: priorities, conflicts, merging, propagation; equal to what real Nix builds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from evaluator.eval_io import EvalIO
from profiles.buildenv import (
    CollisionError,
    ConflictError,
    Link,
    Package,
    Tree,
    count_links,
    environment_derivation,
    nar_events,
    packages_of,
    parse_packages,
    plan_links,
)
from profiles.elements import parse_manifest
from storefs.errors import StoreError
from storefs.formats.nar import write_nar
from storefs.formats.store_path import StoreDir
from tests.oracle.real_nix import RealNix


def lay_out(folder: Path, files: dict[str, str]) -> str:
    """Make files; a value that begins with '->' makes a link."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("->"):
            path.symlink_to(content[2:])
        else:
            path.write_text(content)
    return str(folder)


def plan(*packages: Package, warnings: list[str] | None = None) -> dict[str, str]:
    found = [] if warnings is None else warnings
    tree = plan_links(packages, EvalIO("/nix/store", {}), found.append)
    assert warnings is not None or found == []
    return flat(tree)


def flat(tree: Tree, prefix: str = "") -> dict[str, str]:
    out: dict[str, str] = {}
    for name, entry in tree.items():
        out.update({prefix + name: entry.target} if isinstance(entry, Link) else flat(entry, f"{prefix}{name}/"))
    return out


def test_a_directory_of_one_package_is_linked_whole_and_of_two_merged(scratch: Path) -> None:
    a = lay_out(scratch / "a", {"bin/a": "", "share/doc/a": ""})
    b = lay_out(scratch / "b", {"bin/b": "", "lib/b": ""})
    assert plan(Package(a, True, 5), Package(b, True, 5)) == {
        "bin/a": f"{a}/bin/a",
        "bin/b": f"{b}/bin/b",
        "share": f"{a}/share",
        "lib": f"{b}/lib",
    }


def test_lower_number_wins_whatever_the_order(scratch: Path) -> None:
    a, b = lay_out(scratch / "a", {"bin/x": "", "bin/a": ""}), lay_out(scratch / "b", {"bin/x": ""})
    for packages in ([Package(a, True, 6), Package(b, True, 5)], [Package(b, True, 5), Package(a, True, 6)]):
        assert plan(*packages) == {"bin/x": f"{b}/bin/x", "bin/a": f"{a}/bin/a"}


def test_conflict_names_the_file_and_both_packages(scratch: Path) -> None:
    a, b = lay_out(scratch / "a", {"bin/x": ""}), lay_out(scratch / "b", {"bin/x": ""})
    with pytest.raises(ConflictError) as caught:
        plan(Package(b, True, 5), Package(a, True, 5))
    conflict = caught.value
    assert (conflict.name, conflict.existing, conflict.added) == ("bin/x", f"{a}/bin/x", f"{b}/bin/x")
    assert "set-flag priority" in str(conflict)
    assert "--uninstall" in str(conflict)


def test_inactive_package_is_left_out(scratch: Path) -> None:
    a, b = lay_out(scratch / "a", {"bin/x": ""}), lay_out(scratch / "b", {"bin/x": ""})
    assert plan(Package(a, True, 5), Package(b, False, 5)) == {"bin": f"{a}/bin"}


def test_directory_meets_file(scratch: Path) -> None:
    a, b = lay_out(scratch / "a", {"x/y": ""}), lay_out(scratch / "b", {"x": ""})
    c = lay_out(scratch / "c", {"x/z": ""})
    with pytest.raises(CollisionError):
        plan(Package(b, True, 4), Package(a, True, 5))
    with pytest.raises(CollisionError):
        plan(Package(a, True, 3), Package(c, True, 4), Package(b, True, 5))


def test_a_link_to_a_directory_is_merged_through_its_end(scratch: Path) -> None:
    a = lay_out(scratch / "a", {"lib64/la": "", "lib": "->lib64"})
    b = lay_out(scratch / "b", {"lib/lb": ""})
    merged = plan(Package(a, True, 5), Package(b, True, 5))
    assert merged["lib/la"] == f"{os.path.realpath(a)}/lib64/la"
    assert merged["lib64"] == f"{a}/lib64"


def test_what_is_useless_is_left_out_and_what_dangles_is_said(scratch: Path) -> None:
    a = lay_out(
        scratch / "a",
        {
            ".hidden": "",
            "nix-support/x": "",
            "share/info/dir": "",
            "share/info/a.info": "",
            "share/log": "",
            "manifest.nix": "",
            "gone": "->nowhere",
            "lib/perllocal.pod": "",
        },
    )
    b = lay_out(scratch / "b", {"share/info/b.info": "", "lib/b": "", "bin/b": ""})
    warnings: list[str] = []
    files = plan(
        Package(a, True, 5), Package(b, True, 5), Package(str(scratch / "b/bin/b"), True, 9), warnings=warnings
    )
    assert sorted(files) == ["bin", "lib/b", "share/info/a.info", "share/info/b.info"]
    assert len(warnings) == 2
    assert "dangling" in warnings[0]
    assert "not a directory" in warnings[1]


def test_propagated_packages_follow_with_less_priority(scratch: Path) -> None:
    c = lay_out(scratch / "c", {"bin/x": "", "bin/c": ""})
    b = lay_out(scratch / "b", {"bin/b": "", "nix-support/propagated-user-env-packages": f"{c}\n"})
    a = lay_out(scratch / "a", {"bin/x": "", "nix-support/propagated-user-env-packages": f" {b} {c}"})
    assert plan(Package(a, True, 5)) == {"bin/x": f"{a}/bin/x", "bin/b": f"{b}/bin/b", "bin/c": f"{c}/bin/c"}


def test_reads_the_list_of_packages_strictly() -> None:
    (package,) = parse_packages("false 7 1 /nix/store/x")
    assert (package.path, package.active, package.priority) == ("/nix/store/x", False, 7)
    for text in ("true", "true x 1 /p", "true 5 2 /p"):
        with pytest.raises(StoreError, match="malformed"):
            parse_packages(text)


EXPRESSION = """
let
  mk = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" script ];
    PATH = "/bin:/usr/bin";
  };
in
{
  a = mk "a-1.0" ''
    mkdir -p $out/bin $out/lib64 $out/share/man/man1 $out/nix-support
    ln -s lib64 $out/lib
    echo a > $out/bin/a; echo a > $out/bin/both; echo l > $out/lib64/la; echo m > $out/share/man/man1/a.1
    echo ${p} > $out/nix-support/propagated-user-env-packages
  '' // { meta = { priority = 4; description = "a"; }; };
  b = mk "b-1.0" ''
    mkdir -p $out/bin $out/lib $out/share/man/man1 $out/share/info
    echo b > $out/bin/b; echo b > $out/bin/both; echo l > $out/lib/lb; echo m > $out/share/man/man1/b.1
    ln -s nowhere $out/gone; ln -s ../bin/b $out/share/b-link; echo > $out/share/info/dir
  '';
  p = mk "p-1.0" "mkdir -p $out/bin $out/lib; echo p > $out/bin/p; echo p > $out/bin/both";
}
"""


@pytest.mark.oracle
@pytest.mark.slow
def test_same_derivation_and_same_tree_as_real_nix(scratch: Path) -> None:
    nix = RealNix(scratch / "nix")
    source = nix.folder / "x.nix"
    source.write_text(EXPRESSION.replace("let\n", "let\n  p = (import ./x.nix).p;\n", 1))
    profile = f"{nix.folder}/profile"
    nix.run("nix-env", "-f", str(source), "-p", profile, "-iA", "a", "b")
    manifest = Path(profile, "manifest.nix").resolve()
    elements = parse_manifest(manifest.read_text())
    store_dir = StoreDir(nix.store_dir)
    derivation = environment_derivation(elements, store_dir.parse(str(manifest)), store_dir)
    out = derivation.outputs["out"].path
    assert out is not None
    assert store_dir.print(out) == os.path.realpath(profile)

    warnings: list[str] = []
    tree = plan_links(packages_of(elements), EvalIO(nix.store_dir, {}), warnings.append)
    assert count_links(tree) == 11
    assert len(warnings) == 1
    archive = b"".join(write_nar(nar_events(tree, str(manifest))))
    assert archive == nix.run("nix-store", "--dump", store_dir.print(out))
    drv_path = nix.line("nix-store", "-qd", store_dir.print(out))
    assert derivation.unparse(store_dir) == Path(drv_path).read_bytes()
