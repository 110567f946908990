from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from storefs.castore.digest import digest_bytes
from tests.variants import VARIANTS, variant

if TYPE_CHECKING:
    from types import ModuleType

LIMIT = 20 << 10
# around the sizes of a block and a chunk, and trees of every shape below the limit
SIZES = [
    *(size + more for size in (0, 64, 128, 1024) for more in (-1, 0, 1) if size + more >= 0),
    *(1024 * chunks + more for chunks in range(2, 21) for more in (-1, 0, 1, 64)),
]


@pytest.fixture(params=VARIANTS)
def run_digests(request: pytest.FixtureRequest) -> ModuleType:
    return variant("storefs.castore.run_digests", request.param)


def run_of(sizes: list[int]) -> tuple[memoryview, list[tuple[bytes, bool, int, int, int]]]:
    """A text in which contents of these sizes begin anywhere, and what is said of each."""
    source = random.Random(len(sizes))
    text = b""
    files = []
    for size in sizes:
        text += source.randbytes(source.randrange(9))
        files.append((b"name", False, size, len(text), 1))
        text += source.randbytes(size)
    return memoryview(text), files


@pytest.mark.parametrize("size", SIZES)
def test_one_file(run_digests: ModuleType, size: int) -> None:
    text, files = run_of([size])
    expected = digest_bytes(text[files[0][3] :]) if size <= LIMIT else None
    assert run_digests.digest_files(text, files, LIMIT) == [expected]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 200])
def test_files_beside_each_other(run_digests: ModuleType, count: int) -> None:
    text, files = run_of(random.Random(count).choices(SIZES, k=count))
    assert run_digests.digest_files(text, files, LIMIT) == [
        digest_bytes(text[start : start + size]) if size <= LIMIT else None for _, _, size, start, _ in files
    ]


def test_the_text_may_be_any_buffer(run_digests: ModuleType) -> None:
    text, files = run_of([3000, 10])
    assert run_digests.digest_files(memoryview(bytearray(text)), files, LIMIT) == run_digests.digest_files(
        text, files, LIMIT
    )
