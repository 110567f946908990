"""Which builder, and which display of its work, a configuration and a terminal mean."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

from builder.live_view import LiveProgress
from builder.open import default_progress, open_builder_now
from storefs import logs
from storefs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.config import Config


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def sink() -> Iterator[object]:
    """The sink of this process, as it was afterwards."""
    before = {name: getattr(logs.sink, name) for name in ("build_logs", "format", "json")}
    yield logs.sink
    for name, value in before.items():
        setattr(logs.sink, name, value)


@pytest.mark.parametrize(
    ("log_format", "build_logs", "terminal", "live", "shows"),
    [
        (None, True, False, False, True),
        (None, False, False, False, False),
        (None, False, True, True, False),
        (None, True, True, True, True),
        ("bar-with-logs", False, True, True, True),
        ("raw", True, True, False, True),
        ("internal-json", True, True, False, True),
    ],
)
def test_the_display_fits_options_and_terminal(
    sink: object,
    monkeypatch: pytest.MonkeyPatch,
    log_format: str | None,
    build_logs: bool,
    terminal: bool,
    live: bool,
    shows: bool,
) -> None:
    logs.sink.format, logs.sink.build_logs, logs.sink.json = log_format, build_logs, log_format == "internal-json"
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    chosen = default_progress()
    try:
        assert isinstance(chosen, LiveProgress) is live
        assert chosen.show_logs is shows
    finally:
        chosen.close()


def test_a_store_that_is_no_place_to_build_is_named(config: Config) -> None:
    class Elsewhere:
        uri = "elsewhere"

    elsewhere = open_builder_now(config, Elsewhere())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="don't know how to build into the store 'elsewhere'"), elsewhere:
        pass
