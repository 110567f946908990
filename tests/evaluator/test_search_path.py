from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from evaluator.errors import ThrownError
from evaluator.nix_path import is_uri, parse_element, resolve_uri, split_search_path
from evaluator.search_path import SearchPath
from tests.evaluator.evaluating import new_state

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("", []),
        ("/a:/b", ["/a", "/b"]),
        ("nixpkgs=/a:/b", ["nixpkgs=/a", "/b"]),
        ("nixpkgs=https://e.org/x.tar.gz:/b", ["nixpkgs=https://e.org/x.tar.gz", "/b"]),
        ("channel:nixos:/b", ["channel:nixos", "/b"]),
        ("/a:", ["/a"]),
    ],
)
def test_nix_path_is_split_at_colons_that_are_not_in_urls(text: str, elements: list[str]) -> None:
    assert split_search_path(text) == elements


def test_elements_and_urls() -> None:
    assert parse_element("a=b=c") == ("a", "b=c")
    assert parse_element("/x") == ("", "/x")
    assert is_uri("channel:x")
    assert not is_uri("nixpkgs/x")
    assert resolve_uri("channel:x") == "https://nixos.org/channels/x/nixexprs.tar.xz"


@pytest.fixture
def folders(scratch: Path) -> Path:
    for name in ("one", "two"):
        (scratch / name / "sub").mkdir(parents=True)
        (scratch / name / f"{name}.nix").touch()
    return scratch


def find(folders: Path, name: str, *elements: tuple[str, str]) -> str | None:
    io = new_state().io
    return SearchPath([(prefix, str(folders / path)) for prefix, path in elements], io, lambda url: url).find(name)


def test_the_first_hit_wins(folders: Path) -> None:
    assert find(folders, "sub", ("", "one"), ("", "two")) == f"{folders}/one/sub"
    assert find(folders, "two.nix", ("", "one"), ("", "two")) == f"{folders}/two/two.nix"


def test_prefixes_match_whole_components_and_fall_through(folders: Path) -> None:
    assert find(folders, "p", ("p", "one")) == f"{folders}/one"
    assert find(folders, "p/sub", ("p", "one")) == f"{folders}/one/sub"
    assert find(folders, "pq", ("p", "one")) is None
    assert find(folders, "p/two.nix", ("p", "one"), ("p", "two")) == f"{folders}/two/two.nix"
    assert find(folders, "f", ("f", "one/one.nix")) == f"{folders}/one/one.nix"


def test_missing_elements_are_skipped_with_one_warning(folders: Path, expects_warnings: list[object]) -> None:
    search_path = SearchPath([("", str(folders / "none")), ("", str(folders / "one"))], new_state().io, lambda url: url)
    assert search_path.find("sub") == f"{folders}/one/sub"
    assert search_path.find("one.nix") == f"{folders}/one/one.nix"
    assert len(expects_warnings) == 1


def test_urls_are_fetched_when_something_is_looked_for(folders: Path) -> None:
    asked: list[str] = []

    def fetch(url: str) -> str:
        asked.append(url)
        return str(folders / "one")

    search_path = SearchPath([("p", "https://e.org/x.tar.gz")], new_state().io, fetch)
    assert search_path.find("other") is None
    assert asked == []
    assert search_path.find("p/sub") == search_path.find("p/sub") == f"{folders}/one/sub"
    assert asked == ["https://e.org/x.tar.gz"]


def test_what_is_nowhere_is_thrown(folders: Path) -> None:
    search_path = SearchPath([], new_state().io, lambda url: url)
    assert search_path.require("nix/fetchurl.nix") == "/__corepkgs__/fetchurl.nix"
    with pytest.raises(ThrownError, match="was not found in the Nix search path"):
        search_path.require("x")
