"""Generations: chains that real nix-env understands, deletions, locks, and what a killed process leaves."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from profiles.generations import (
    BadGenerationSpecError,
    Generation,
    GenerationError,
    choose_generation,
    create_generation,
    current_link,
    current_number,
    declaration_dir,
    delete_generation,
    find_generation,
    find_generations,
    locked,
    switch_link,
    to_delete,
)
from tests.oracle.real_nix import RealNix


def make(profile: str, *targets: str) -> list[str]:
    """Make a generation for each target and switch to the last; returns the links that were registered."""
    registered: list[str] = []
    with locked(profile):
        for target in targets:
            generation = create_generation(profile, target, registered.append)
            switch_link(profile, generation.path)
    return registered


def numbers(profile: str) -> list[int]:
    return [generation.number for generation in find_generations(profile)]


@pytest.fixture
def profile(scratch: Path) -> str:
    return str(scratch / "profiles" / "profile")


def test_chain_is_nixs(profile: str) -> None:
    assert find_generations(profile) == []
    assert current_number(profile) is None
    registered = make(profile, "/nix/store/a", "/nix/store/b")
    assert os.readlink(profile) == "profile-2-link"
    assert os.readlink(f"{profile}-1-link") == "/nix/store/a"
    assert registered == [f"{profile}-1-link", f"{profile}-2-link"]
    assert (numbers(profile), current_number(profile), current_link(profile)) == ([1, 2], 2, "profile-2-link")
    assert sorted(os.listdir(os.path.dirname(profile))) == ["profile", "profile-1-link", "profile-2-link"]


def test_same_target_makes_no_new_generation(profile: str) -> None:
    make(profile, "/nix/store/a", "/nix/store/a")
    assert numbers(profile) == [1]
    make(profile, "/nix/store/b", "/nix/store/a")
    assert numbers(profile) == [1, 2, 3]


def test_names_that_only_look_like_generations(profile: str) -> None:
    make(profile, "/nix/store/a")
    folder = Path(profile).parent
    for name in ("profile-x-link", "profile-2-linked", "profile2-3-link", "profile-4-declaration", "profile--1-link"):
        (folder / name).symlink_to("x")
    assert numbers(profile) == [1]


def test_rollback_chooses_the_next_older(profile: str) -> None:
    make(profile, "/s/a", "/s/b", "/s/c")
    assert choose_generation(profile, None)[1].number == 2
    assert choose_generation(profile, 1)[1].number == 1
    switch_link(profile, f"{profile}-1-link")
    with pytest.raises(GenerationError, match="no profile version older than the current \\(1\\) exists"):
        choose_generation(profile, None)
    with pytest.raises(GenerationError, match="profile version 9 does not exist"):
        choose_generation(profile, 9)


def test_profile_that_is_a_directory_is_refused(profile: str) -> None:
    os.makedirs(profile)
    with pytest.raises(GenerationError, match="is not a symbolic link"):
        current_link(profile)


DAY = 86400
SOME = [Generation(number, f"/p-{number}-link", number * DAY) for number in range(1, 7)]


@pytest.mark.parametrize(
    ("spec", "deleted"),
    [
        (["old"], [1, 2, 3, 5, 6]),
        (["2", "5"], [2, 5]),
        (["2..3", "6"], [2, 3, 6]),
        (["9"], []),
        (["3d"], [2, 1]),
        (["1d"], [3, 2, 1]),
        (["+1"], [3, 2, 1]),
        (["+3"], [1]),
        (["+9"], []),
    ],
)
def test_what_is_deleted(spec: list[str], deleted: list[int]) -> None:
    now = 6 * DAY + 1
    chosen = to_delete(SOME, 4, spec, now)
    assert sorted(each.number for each in chosen) == sorted(deleted)


@pytest.mark.parametrize("spec", [["x"], ["d"], ["-1d"], ["0d"], ["+"], ["+0"], ["+x"], ["1", "old"]])
def test_bad_specifications(spec: list[str]) -> None:
    with pytest.raises(BadGenerationSpecError):
        to_delete(SOME, 4, spec, 0)


def test_live_generation_is_never_deleted() -> None:
    with pytest.raises(GenerationError, match="current generation 4"):
        to_delete(SOME, 4, ["4"], 0)


def test_deleting_takes_what_belongs_to_it(profile: str) -> None:
    make(profile, "/s/a", "/s/b")
    first = find_generation(profile, 1)
    os.makedirs(declaration_dir(first.path))
    delete_generation(first)
    assert sorted(os.listdir(os.path.dirname(profile))) == ["profile", "profile-2-link"]


def test_leftovers_of_killed_processes_are_cleared(profile: str) -> None:
    make(profile, "/s/a")
    folder = Path(profile).parent
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    (folder / f".tmp-{dead}-1-profile").symlink_to("profile-1-link")
    (folder / f".tmp-{os.getpid()}-999-profile").symlink_to("profile-1-link")
    (folder / "profile-7-declaration").mkdir()
    (folder / "profile-1-declaration").mkdir()
    with locked(profile):
        pass
    left = sorted(os.listdir(folder))
    assert left == [f".tmp-{os.getpid()}-999-profile", "profile", "profile-1-declaration", "profile-1-link"]


def test_lock_excludes_and_says_that_it_waits(profile: str) -> None:
    said: list[str] = []
    inside = threading.Event()
    entered: list[str] = []

    def other() -> None:
        with locked(profile, lambda text: (said.append(text), inside.set())):
            entered.append("other")

    with locked(profile):
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
        entered.append("first")
    thread.join()
    assert entered == ["first", "other"]
    assert said == [f"waiting for lock on profile '{profile}'"]
    assert not os.path.exists(profile + ".lock")


def test_stale_lock_file_is_not_trusted(profile: str) -> None:
    os.makedirs(os.path.dirname(profile))
    fd = os.open(profile + ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    waiting = threading.Event()
    done = threading.Event()

    def other() -> None:
        with locked(profile, lambda _text: waiting.set()):
            # Nix removes the name, then writes a byte: this must be a new file.
            assert os.stat(profile + ".lock").st_size == 0
            done.set()

    thread = threading.Thread(target=other)
    thread.start()
    assert waiting.wait(10)
    os.unlink(profile + ".lock")
    os.write(fd, b"d")
    os.close(fd)
    thread.join()
    assert done.is_set()


def test_file_that_is_no_lock_is_not_touched(profile: str) -> None:
    os.makedirs(os.path.dirname(profile))
    Path(profile + ".lock").write_text("precious")
    with pytest.raises(GenerationError, match="is in the way"), locked(profile):
        pass
    assert Path(profile + ".lock").read_text() == "precious"


@pytest.mark.oracle
def test_real_nix_env_lists_and_rolls_back_ours(scratch: Path) -> None:
    nix = RealNix(scratch / "nix")
    profile = str(scratch / "profile")
    for name in "ab":
        (scratch / name).mkdir()
        (scratch / name / "f").write_text(name)
    paths = [nix.line("nix-store", "--add", str(scratch / name)) for name in "ab"]
    make(profile, *paths)
    lines = nix.run("nix-env", "-p", profile, "--list-generations").decode().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert lines[1].endswith("(current)")
    nix.run("nix-env", "-p", profile, "--rollback")
    assert (current_number(profile), os.readlink(profile)) == (1, "profile-1-link")
    nix.run("nix-env", "-p", profile, "--delete-generations", "2")
    assert numbers(profile) == [1]
