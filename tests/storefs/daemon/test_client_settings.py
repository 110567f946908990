"""What a daemon of ours makes of the settings that its clients tell; which they tell, see `tests/oracle`."""

from __future__ import annotations

import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from builder.daemon_service import BuildingService
from storefs.daemon.peer import Peer
from storefs.daemon.tunnel import Tunnel
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StoreDir
from storefs.protocol.wire import Reader
from storefs.protocol.worker_values import ClientOptions
from storefs.stores.local import LocalStore
from storefs.stores.remote import RemoteStore
from storefs.stores.remote_connection import ShownLines, connect_unix
from tests.daemon_process import BIN, DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from storefs.config import Config

pytestmark = [pytest.mark.root, pytest.mark.fuse, pytest.mark.slow]

STRANGER = 12345  # a uid that nobody has


@pytest.fixture
def daemon(environ: dict[str, str], scratch: Path) -> Iterator[DaemonProcess]:
    scratch.chmod(0o755)  # strangers come here, too
    with DaemonProcess(environ) as daemon:
        yield daemon


def test_strangers_are_told_what_they_cannot_set(daemon: DaemonProcess) -> None:
    done = subprocess.run(
        [BIN / "nix-store", "--gc", "--print-roots", "--option", "substituters", "file:///x"],
        env=daemon.env,
        user=STRANGER,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "warning: ignoring untrusted substituter 'file:///x'\n"


@pytest.mark.parametrize("peer", [Peer(1, "root", trusted=True), Peer(2, "somebody", trusted=False)], ids=str)
def test_whether_the_disk_is_waited_for_is_not_said_by_clients(config: Config, peer: Peer) -> None:
    with LocalStore(config, map_size=1 << 20) as store:
        service = BuildingService(store, config)
        tunnel = Tunnel(Reader(iter(())), lambda _: None, 34)
        service.configure(ClientOptions(overrides={"fsync-store-paths": "false"}), tunnel, peer)
        assert store.blobs.synced


def test_a_setting_that_is_none_is_told_and_the_others_hold(
    daemon: DaemonProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ClientOptions(overrides={"timeout": "soon", "require-sigs": "false"})
    directory = StoreDir(daemon.env["NIX_STORE_DIR"])
    with closing(
        RemoteStore("daemon", directory, lambda: connect_unix(daemon.socket_path), options, ShownLines())
    ) as store:
        nar = nar_of_bytes(b"unsigned")
        path = directory.parse(f"{directory.path}/{'0' * 32}-unsigned")
        store.add_nar(PathInfo(path, hash_bytes("sha256", nar), len(nar)), [nar])
        assert store.is_valid(path)
    said = capsys.readouterr().err
    assert said == "warning: setting 'timeout' has invalid value 'soon': a whole number is wanted\n"
