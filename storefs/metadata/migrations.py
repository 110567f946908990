"""From the database format of an older release to this one's.

Each step is one function from version N to N + 1; all steps of an upgrade happen in the one write transaction that also
writes the new number, so others see the old format or the new one, and a killed upgrade has not happened. There is no
way back: an older release refuses the newer number. Called by `storefs.metadata.environment` at opening, nobody else.

A step may read and write rows and nothing else: no derivation is parsed and no hash computed with code that a later
release changes (that is what once made an upgrade of Nix crash). To add one: raise SCHEMA_VERSION, add the function to
STEPS under the old number, describe the new layout in `storefs.metadata.schema`, and keep a fixture of the old one.
"""

from __future__ import annotations

from storefs.metadata.schema import KEY_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    class Database(Protocol):
        """What of `environment.Environment`, which calls this, is needed here; steps are given the whole."""

        meta: Any

    Step = Callable[[Any, Any], None]


def _nothing(_env: Any, _txn: Any) -> None:
    """Rows of the older format are rows of the newer one."""


STEPS: Mapping[int, Step] = {1: _nothing}


def upgrade(env: Database, txn: Any, version: int, steps: Mapping[int, Step] = STEPS) -> None:
    """Bring the database to ``version``; does nothing where another process was faster."""
    value = txn.get(KEY_VERSION, db=env.meta)
    found = version if value is None else int.from_bytes(value, "little")
    while found < version:
        steps[found](env, txn)
        found += 1
        txn.put(KEY_VERSION, found.to_bytes(4, "little"), db=env.meta)
