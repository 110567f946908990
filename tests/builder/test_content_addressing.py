"""What is rewritten to a name that follows from its contents has these contents, whatever a source says meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from builder.content_addressing import make_content_addressed
from storefs.formats.hashes import hash_bytes
from storefs.formats.nar import nar_of_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StoreDir, StorePath
from storefs.stores.content_hash import ContentMismatchError
from storefs.stores.memory import MemoryStore
from storefs.stores.store_source import StoreSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.formats.narinfo import NarInfo

DIRECTORY = StoreDir("/nix/store")
OLD = StorePath("0" * 32 + "-x")


class Fickle(StoreSource):
    """Gives the NARs of what it has in turn, whichever is asked for."""

    def __init__(self, store: MemoryStore, *nars: bytes) -> None:
        super().__init__(store, "fickle")
        self._nars = list(nars)

    @contextmanager
    def open_nar(self, narinfo: NarInfo) -> Iterator[Iterator[bytes]]:
        del narinfo
        yield iter([self._nars.pop(0)])


@pytest.mark.parametrize("content", [b"no reference", b"I am " + OLD.base_name.encode()])
def test_a_source_that_says_something_else_the_second_time(content: bytes) -> None:
    nar = nar_of_bytes(content)
    there, here = MemoryStore(DIRECTORY), MemoryStore(DIRECTORY)
    references = [OLD] if OLD.base_name.encode() in content else []
    with there.intake() as intake:
        intake.register([(intake.add_nar([nar]), PathInfo(OLD, hash_bytes("sha256", nar), len(nar), references))])
    with pytest.raises(ContentMismatchError):
        make_content_addressed(Fickle(there, nar, nar_of_bytes(content.swapcase())), here, [OLD])
    assert list(here.all_valid_paths()) == []
    new = make_content_addressed(Fickle(there, nar, nar), here, [OLD])[OLD]
    assert b"".join(here.nar(new)) == nar.replace(OLD.hash_part.encode(), new.hash_part.encode())
