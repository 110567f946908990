from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storefs.metadata import migrations, schema
from storefs.metadata.environment import open_environment
from storefs.metadata.migrations import STEPS, upgrade
from storefs.metadata.schema import KEY_VERSION, SCHEMA_VERSION

if TYPE_CHECKING:
    from storefs.metadata.environment import Environment, Transaction


def test_there_is_a_step_from_every_older_version() -> None:
    assert set(STEPS) == set(range(1, SCHEMA_VERSION))


def step(env: Environment, txn: Transaction) -> None:
    count = int(txn.get(b"steps", db=env.meta) or b"0")
    txn.put(b"steps", b"%d" % (count + 1), db=env.meta)


def version(env: Environment) -> int:
    with env.snapshot() as txn:
        return int.from_bytes(txn.get(KEY_VERSION, db=env.meta) or b"", "little")


def test_all_steps_happen_once(scratch: Path) -> None:
    env = open_environment(f"{scratch}/db", map_size=1 << 20)
    steps = dict.fromkeys(range(SCHEMA_VERSION, SCHEMA_VERSION + 3), step)
    upgraders = [
        threading.Thread(target=lambda: env.update(lambda txn: upgrade(env, txn, SCHEMA_VERSION + 3, steps)))
        for _ in range(4)
    ]
    for upgrader in upgraders:
        upgrader.start()
    for upgrader in upgraders:
        upgrader.join()
    with env.snapshot() as txn:
        assert txn.get(b"steps", db=env.meta) == b"3"
    assert version(env) == SCHEMA_VERSION + 3
    env.close()


def test_an_upgrade_that_fails_has_not_happened(scratch: Path) -> None:
    env = open_environment(f"{scratch}/db", map_size=1 << 20)

    def fail(env: Environment, txn: Transaction) -> None:
        raise RuntimeError("killed")

    steps = {SCHEMA_VERSION: step, SCHEMA_VERSION + 1: fail}
    with pytest.raises(RuntimeError):
        env.update(lambda txn: upgrade(env, txn, SCHEMA_VERSION + 2, steps))
    assert version(env) == SCHEMA_VERSION
    with env.snapshot() as txn:
        assert txn.get(b"steps", db=env.meta) is None
    env.close()


def test_opening_upgrades(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_environment(f"{scratch}/db", map_size=1 << 20).close()
    monkeypatch.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(migrations.upgrade, "__defaults__", ({SCHEMA_VERSION: step},))
    for _ in range(2):
        env = open_environment(f"{scratch}/db", map_size=1 << 20)
        assert version(env) == SCHEMA_VERSION + 1
        with env.snapshot() as txn:
            assert txn.get(b"steps", db=env.meta) == b"1"
        env.close()
