"""verglas search: which packages match, and what is printed about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Runner
    from tests.oracle.real_nix import RealNix

pytestmark = pytest.mark.slow

PACKAGES = """
let
  make = name: derivation { inherit name; system = "x"; builder = "y"; };
  mk = name: description: make name // { meta = { inherit description; }; };
in {
  hello = mk "hello-2.10" "Prints a\\nfriendly greeting";
  git = mk "git-2.36" "Distributed version control";
  nested = { recurseForDerivations = true; inner = mk "inner" "Nothing to greet"; };
  quiet = derivation { name = "quiet-1"; system = "x"; builder = "y"; };
}
"""


def test_all_words_must_match_somewhere(run: Runner, scratch: Path) -> None:
    (scratch / "p.nix").write_text(PACKAGES)
    search = ("verglas", "search", "-f", "p.nix")
    assert run(*search, "greet").stdout == (
        "* hello (2.10)\n  Prints a friendly greeting\n\n* nested.inner\n  Nothing to greet\n"
    )
    assert run(*search, "GREET", "^nested").stdout == "* nested.inner\n  Nothing to greet\n"
    assert run(*search, "quiet").stdout == "* quiet (1)\n"
    assert "no results" in run(*search, "nope", status=1).stderr
    assert "is not a regular expression" in run(*search, "(", status=1).stderr


@pytest.mark.oracle
@pytest.mark.parametrize(
    "words", [["--json", "", "version"], ["--json", ""], ["", "e"], ["", "ee", "greet", "o"], ["", "g"]]
)
def test_prints_what_real_nix_prints(run: Runner, real_nix: RealNix, scratch: Path, words: list[str]) -> None:
    # Without the nested set: real Nix goes into sets of flakes only.
    text = "\n".join(line for line in PACKAGES.splitlines() if "nested" not in line)
    (scratch / "p.nix").write_text(text)
    ours = run("nix", "search", "-f", scratch / "p.nix", *words).stdout
    assert ours == real_nix.run("nix", "search", "-f", str(scratch / "p.nix"), *words).decode()
