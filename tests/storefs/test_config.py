"""Where things are: directories from the environment and from store URIs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from storefs.config import load_config
from storefs.errors import UsageError

if TYPE_CHECKING:
    from tests.oracle.real_nix import RealNix

VARIABLES = ("NIX_STORE_DIR", "NIX_STATE_DIR", "NIX_LOG_DIR", "NIX_CONF_DIR")


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_relative_directory_is_refused_by_name(variable: str) -> None:
    with pytest.raises(UsageError, match=rf"not an absolute path: 'here/store' \({variable}\)"):
        load_config({variable: "here/store"})


@pytest.mark.parametrize("key", ["root", "store", "real", "state", "log"])
def test_a_relative_directory_in_a_store_uri_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="not an absolute path: 'here'"):
        load_config({"NIX_REMOTE": f"local?{key}=here"})


def test_directories_are_made_canonical() -> None:
    config = load_config({variable: f"/a//b/../{variable}/" for variable in VARIABLES})
    places = [config.store_dir, config.state_dir, config.log_dir, config.conf_dir]
    assert places == [f"/a/{variable}" for variable in VARIABLES]


@pytest.mark.oracle
@pytest.mark.parametrize("key", ["root", "store", "state"])
def test_real_nix_refuses_the_same(real_nix: RealNix, key: str) -> None:
    done = real_nix.result("nix-store", "--store", f"local?{key}=here", "-q", "--hash", "/nix/store/x")
    assert done.returncode == 1
    assert b"not an absolute path: 'here'" in done.stderr


def test_automatic_jobs_have_nothing_to_do_with_the_processors_of_one_build() -> None:
    config = load_config({}, [("max-jobs", "auto"), ("cores", "0")])
    assert config.max_jobs == len(os.sched_getaffinity(0))
    assert load_config({}, [("max-jobs", "0")]).max_jobs == 0
