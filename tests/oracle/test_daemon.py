"""Our client against real nix-daemon 2.8, at every protocol version at which a message changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storefs.errors import StoreError
from storefs.formats.content_address import ContentAddress
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StoreDir
from storefs.protocol.worker_values import ClientOptions
from storefs.stores.remote import RemoteStore
from storefs.stores.remote_connection import connect_unix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.oracle.real_nix import RealNix

pytestmark = pytest.mark.oracle

VERSIONS = (37, 34, 31, 29, 25, 24, 22, 20, 18, 16, 12, 11, 10)


@pytest.fixture
def socket(real_nix: RealNix) -> Iterator[str]:
    """The socket of a running real daemon."""
    with real_nix.daemon() as path:
        yield path


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_questions_and_additions(socket: str, real_nix: RealNix, version: int) -> None:
    directory = StoreDir(real_nix.store_dir)
    store = RemoteStore("daemon", directory, lambda: connect_unix(socket), ClientOptions(), version=version)
    text = store.add_text("hello.txt", b"hello")
    assert text == directory.make_text_path("hello.txt", hash_bytes("sha256", b"hello"))
    assert store.is_valid(text)
    assert store.path_info(text).nar_hash == hash_bytes("sha256", nar_of_bytes(b"hello"))
    assert store.from_hash_part(text.hash_part) == text
    assert store.valid_paths([text, text]) == {text}
    assert list(store.all_valid_paths()) == [text]
    assert store.referrers(text) == []
    assert b"".join(bytes(piece) for piece in store.nar(text)) == nar_of_bytes(b"hello")
    flat = store.add_content_addressed("flat", "fixed:sha1", [b"fl", b"at"])
    assert flat.path == directory.make_fixed_output_path(False, hash_bytes("sha1", b"flat"), "flat")
    if version >= 18:
        nar = nar_of_bytes(b"nar", executable=True)
        address = ContentAddress("recursive", hash_bytes("sha256", nar))
        path = address.store_path(directory, "tree")
        store.add_many([(PathInfo(path, address.hash, len(nar), ca=str(address)), [nar[:9], nar[9:]])])
        assert store.path_info(path).ca == str(address)
    with pytest.raises(StoreError, match="is not valid"):
        store.path_info(directory.parse(f"{directory.path}/{'0' * 32}-missing"))
    store.add_temp_root(text)
    assert text in {path for _, path in store.find_roots()}
    store.close()


def test_nobody_there(tmp_path: object) -> None:
    store = RemoteStore("daemon", StoreDir("/nix/store"), lambda: connect_unix(f"{tmp_path}/socket"))
    with pytest.raises(StoreError, match="cannot connect to daemon"):
        list(store.all_valid_paths())
