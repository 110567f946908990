from __future__ import annotations

import pytest

from evaluator.builtins.flake_refs import parse_reference
from evaluator.errors import EvalError
from tests.evaluator.evaluating import new_state, value

REV = "0123456789abcdef0123456789abcdef01234567"
REFERENCES = [
    (
        "github:NixOS/nixpkgs/23.05?dir=lib",
        {"type": "github", "owner": "NixOS", "repo": "nixpkgs", "ref": "23.05", "dir": "lib"},
    ),
    (f"gitlab:a/b/{REV}", {"type": "gitlab", "owner": "a", "repo": "b", "rev": REV}),
    ("git+file:///r?ref=main&submodules=1", {"type": "git", "url": "file:///r", "ref": "main", "submodules": True}),
    ("https://example.org/x.tar.gz", {"type": "tarball", "url": "https://example.org/x.tar.gz"}),
    ("file+https://example.org/x", {"type": "file", "url": "https://example.org/x"}),
    ("path:/p?lastModified=1", {"type": "path", "path": "/p", "lastModified": "1"}),
]


@pytest.mark.parametrize(("text", "attrs"), REFERENCES)
def test_references_are_read_and_written(text: str, attrs: dict[str, object]) -> None:
    assert parse_reference(text) == attrs
    state = new_state()
    state.globals["text"] = text
    assert state.evaluate_text("builtins.flakeRefToString (builtins.parseFlakeRef text)") == text


@pytest.mark.parametrize("text", ["github:x", "github:a//b", "ftp://x/y", "a/b/c/d"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(EvalError):
        parse_reference(text)


def test_writing_needs_the_attributes_of_the_type() -> None:
    with pytest.raises(EvalError, match="needs the attribute 'owner'"):
        value('builtins.flakeRefToString { type = "github"; repo = "x"; }')
