"""What attributes of a derivation mean; the environments of builds are compared with real Nix in tests/oracle."""

from __future__ import annotations

import pytest

from builder.environment import BadAttributeError, BuildAttributes
from storefs.formats.derivation import Derivation


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"a":' * 100_000])
def test_structured_attributes_that_are_no_object_are_refused(text: str) -> None:
    derivation = Derivation("x", {}, {}, set(), "x86_64-linux", "/bin/sh", [], {"__json": text})
    with pytest.raises(BadAttributeError, match="__json attribute of 'x'"):
        BuildAttributes(derivation)
