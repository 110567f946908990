"""Archives land where they should, and hostile ones nowhere else."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from random import Random
from typing import TYPE_CHECKING

import pytest

from evaluator.archives import BadArchiveError, unpack

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


def archive(*members: tuple[str, bytes, str]) -> io.BytesIO:
    """Make a tar archive of (name, type, content or link target)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, kind, text in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.mode = 0o4777
            if kind == tarfile.REGTYPE:
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
            else:
                member.linkname = text
                tar.addfile(member)
    return file


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_unpacks_files_links_and_modes(target: Path) -> None:
    unpack(
        archive(
            ("d", tarfile.DIRTYPE, ""),
            ("d/f", tarfile.REGTYPE, "text"),
            ("hard", tarfile.LNKTYPE, "d/f"),
            ("soft", tarfile.SYMTYPE, "/etc/passwd"),
        ),
        str(target),
    )
    assert (target / "hard").read_text() == "text"
    assert (target / "d/f").stat().st_mode & 0o7777 == 0o755
    assert os.readlink(target / "soft") == "/etc/passwd"


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", tarfile.REGTYPE, "x")],
        [("d/../../evil", tarfile.REGTYPE, "x")],
        [("link", tarfile.SYMTYPE, ".."), ("link/evil", tarfile.REGTYPE, "x")],
        [("link", tarfile.SYMTYPE, "../evil"), ("link", tarfile.REGTYPE, "x")],
        [("hard", tarfile.LNKTYPE, "../secret")],
        [("link", tarfile.SYMTYPE, "../secret"), ("hard", tarfile.LNKTYPE, "link")],
        [("device", tarfile.CHRTYPE, "")],
        [("pipe", tarfile.FIFOTYPE, "")],
    ],
)
def test_refuses_what_leads_outside(target: Path, members: list[tuple[str, bytes, str]]) -> None:
    secret = target.parent / "secret"
    secret.write_text("secret")
    with pytest.raises(BadArchiveError):
        unpack(archive(*members), str(target))
    assert sorted(os.listdir(target.parent)) == ["secret", "target"]
    assert secret.read_text() == "secret"
    assert secret.stat().st_nlink == 1


def test_an_absolute_name_is_refused(target: Path) -> None:
    with pytest.raises(BadArchiveError, match="lies outside"):
        unpack(archive((f"{target.parent}/evil", tarfile.REGTYPE, "x")), str(target))


def test_unpacks_zip_inside_the_directory(target: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("d/f", "text")
        packed.writestr("../evil", "x")
    unpack(file, str(target))
    assert (target / "d/f").read_text() == "text"
    assert os.listdir(target.parent) == ["target"]


def test_damage_is_an_error(target: Path) -> None:
    whole = archive(("f", tarfile.REGTYPE, "x" * 100_000)).getvalue()
    for broken in (b"", b"no archive", whole[: len(whole) // 2]):
        with pytest.raises(BadArchiveError):
            unpack(io.BytesIO(broken), str(target))
    with pytest.raises(BadArchiveError, match=r"^it is no archive$"):
        unpack(io.BytesIO(b"no archive"), str(target))


@pytest.mark.parametrize("packer", [gzip, bz2, lzma])
def test_damage_of_what_is_compressed_is_an_error(target: Path, packer: ModuleType) -> None:
    text = Random(0).randbytes(20_000).hex()
    packed = bytearray(packer.compress(archive(("f", tarfile.REGTYPE, text)).getvalue()))
    packed[len(packed) // 2 :] = bytes(len(packed) // 2)
    with pytest.raises(BadArchiveError, match=r"^[^\n]+$"):
        unpack(io.BytesIO(bytes(packed)), str(target))


@pytest.mark.parametrize("packer", [gzip, bz2, lzma])
@pytest.mark.parametrize("place", [-1, -4, -8, -12])
def test_so_is_damage_behind_the_end_of_the_tar(target: Path, packer: ModuleType, place: int) -> None:
    """Checksums and lengths stand there. Nix 2.8 notices that they are cut off, and nothing else."""
    tree = gzip.decompress(archive(("f", tarfile.REGTYPE, "text")).getvalue())
    packed = bytearray(packer.compress(tree))
    unpack(io.BytesIO(bytes(packed)), str(target))
    with pytest.raises(BadArchiveError):
        unpack(io.BytesIO(bytes(packed[:place])), str(target))
    packed[place] ^= 0xFF
    with pytest.raises(BadArchiveError):
        unpack(io.BytesIO(bytes(packed)), str(target))


@pytest.mark.parametrize("packer", [gzip, bz2, lzma])
def test_what_was_appended_does_not_matter(target: Path, packer: ModuleType) -> None:
    tree = gzip.decompress(archive(("f", tarfile.REGTYPE, "text")).getvalue())
    for more in (bytes(512), b"a signature"):
        unpack(io.BytesIO(packer.compress(tree) + more), str(target))
    assert (target / "f").read_text() == "text"
