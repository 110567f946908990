from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storefs.formats.store_path import StoreDir
from storefs.gc.runtime_roots import find_runtime_roots

NAMES = {kind: "0" * 31 + f"{number}-{kind}" for number, kind in enumerate(("exe", "cwd", "fd", "maps", "environ"))}


def found(store: Path, proc: str = "/proc") -> dict[str, set[str]]:
    result: dict[str, set[str]] = {}
    for path, user in find_runtime_roots(StoreDir(str(store)), proc):
        result.setdefault(path.name, set()).add(user)
    return result


@pytest.mark.slow
def test_what_a_process_uses_is_found(scratch: Path) -> None:
    store = scratch / "store"
    for name in NAMES.values():
        (store / name).mkdir(parents=True)
        (store / name / "file").write_bytes(b"x" * 4096)
    code = f"""
import mmap, os, sys
os.chdir({str(store / NAMES["cwd"])!r})
keep = open({str(store / NAMES["fd"])!r} + "/file")
other = open({str(store / NAMES["maps"])!r} + "/file")
mapped = mmap.mmap(other.fileno(), 0, access=mmap.ACCESS_READ)
other.close()
print("ready", flush=True)
sys.stdin.read()
"""
    environ = os.environ | {"SOMETHING": f"x:{store}/{NAMES['environ']}/bin"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as user:
        assert user.stdout is not None
        user.stdout.readline()
        roots = found(store)
        assert f"/proc/{user.pid}/cwd" in roots["cwd"]
        assert any(each.startswith(f"/proc/{user.pid}/fd/") for each in roots["fd"])
        assert f"/proc/{user.pid}/maps" in roots["maps"]
        assert f"/proc/{user.pid}/environ" in roots["environ"]
        assert user.stdin is not None
        user.stdin.close()
    assert not found(store).keys() & set(NAMES)


def test_other_views_of_the_store_count(scratch: Path) -> None:
    """A process in another mount namespace shows its files without our prefix."""
    process = scratch / "proc" / "42"
    (process / "fd").mkdir(parents=True)
    name = "1" * 32 + "-hidden"
    (process / "exe").symlink_to(f"/{name}/bin/tool")
    (process / "fd" / "3").symlink_to(f"/somewhere/else/{name}-two/lib (deleted)")
    (process / "maps").write_text(f"7f00-7f01 r-xp 0000 08:01 1   /{name}-three\n7f 0 0 0 0 [heap]\n")
    (process / "environ").write_text("A=/nowhere/" + name + "\0")
    (scratch / "proc" / "self").mkdir()
    assert found(Path("/nix/store"), f"{scratch}/proc").keys() == {"hidden", "hidden-two", "hidden-three"}


def test_processes_that_end_meanwhile_are_no_error(scratch: Path) -> None:
    (scratch / "proc" / "7").mkdir(parents=True)
    assert found(Path("/nix/store"), f"{scratch}/proc") == {}
    assert found(Path("/nix/store"), f"{scratch}/missing") == {}
