from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.formats.narinfo import BadNarInfoError, parse_narinfo
from storefs.formats.store_path import StoreDir, StorePath
from tests.oracle.real_nix import RealNix, needs_real_nix

STORE = StoreDir("/nix/store")
TEXT = """\
StorePath: /nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60_p20170221182432
URL: nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz
Compression: xz
FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d
FileSize: 114980
NarHash: sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6
NarSize: 464152
References: 7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27
Deriver: 10dx1q4ivjb115y3h90mipaaz533nr0d-net-tools-1.60_p20170221182432.drv
Sig: cache.nixos.org-1:sn5s/RrqEI+YG6/PjwdbPjcAC7rcta7sJU4mFOawGvJBLsWkyLtBrT2EuFt/LJjWkTZ+ZWOI9NTtjo/woMdvAg==
Sig: hydra.other.net-1:JXQ3Z/PXf0EZSFkFioa4FbyYpbbTbHlFBtZf4VqU0tuMTWzhMD7p9Q7acJjLn3jofOtilAAwRILKIfVuyrbjAA==
"""


def parse(text: str) -> object:
    return parse_narinfo(text.encode(), STORE, "x.narinfo")


def test_round_trip() -> None:
    narinfo = parse_narinfo(TEXT.encode(), STORE, "x.narinfo")
    assert narinfo.to_text(STORE) == TEXT
    assert narinfo.info.path.name == "net-tools-1.60_p20170221182432"
    assert narinfo.file_size == 114980
    assert len(narinfo.info.signatures) == 2


def test_defaults() -> None:
    short = "".join(
        line + "\n" for line in TEXT.splitlines() if line.split(":")[0] in ("StorePath", "URL", "NarHash", "NarSize")
    )
    narinfo = parse_narinfo(short.encode(), STORE, "x")
    assert (narinfo.compression, narinfo.file_hash, narinfo.file_size) == ("bzip2", None, 0)
    assert narinfo.info.references == ()


def test_unknown_lines_and_unknown_deriver_are_ignored() -> None:
    narinfo = parse_narinfo((TEXT + "Zukunft: ja\n").replace("Deriver: 10dx1", "X: ").encode(), STORE, "x")
    assert narinfo.info.deriver is None
    unknown = TEXT.replace("10dx1q4ivjb115y3h90mipaaz533nr0d-net-tools-1.60_p20170221182432.drv", "unknown-deriver")
    assert parse_narinfo(unknown.encode(), STORE, "x").info.deriver is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("StorePath", "StorePfad"),
        ("StorePath: /nix/store", "StorePath: /gnu/store"),
        ("URL: ", "U: "),
        ("NarHash: ", "N: "),
        ("NarHash: sha256:0l", "NarHash: sha256:tt"),
        ("NarHash: sha256", "NarHash: md5"),
        ("NarSize: 464152", "NarSize: 0"),
        ("NarSize: 464152", "NarSize: -1"),
        ("NarSize: 464152", "NarSize: 99999999999999999999999"),
        ("NarSize: 464152", "NarSize: 464152\nNarSize: 1"),
        ("FileSize: 114980", "FileSize: big"),
        ("References: 7", "References: ../7"),
        ("References: 7", "References: /nix/store/7"),
        ("Deriver: 1", "Deriver: !"),
        ("Compression: xz\n", "Compression\n"),
    ],
)
def test_bad_lines_are_refused_by_name(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(BadNarInfoError, match=r"x\.narinfo"):
        parse(TEXT.replace(old, new))


def test_another_path_is_refused() -> None:
    with pytest.raises(BadNarInfoError, match="another path"):
        parse_narinfo(TEXT.encode(), STORE, "x", StorePath("a" * 32 + "-x"))


@given(st.binary(max_size=40), st.integers(0, len(TEXT)), st.integers(0, 40))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_damage_raises_only_the_documented_error(garbage: bytes, at: int, drop: int) -> None:
    data = TEXT.encode()
    try:
        parse_narinfo(data[:at] + garbage + data[at + drop :], STORE, "x")
    except BadNarInfoError:
        pass


@needs_real_nix
@pytest.mark.oracle
@pytest.mark.slow
def test_files_of_real_caches_round_trip(tmp_path: Path) -> None:
    nix = RealNix(tmp_path)
    source = tmp_path / "file"
    source.write_text("content")
    path = nix.line("nix-store", "--add", str(source))
    drv = nix.line(
        "nix-instantiate", "-E", 'derivation { name = "d"; system = "x"; builder = "/b"; p = builtins.toFile "t" "s"; }'
    )
    nix.run("nix-store", "--generate-binary-cache-key", "real-1", str(tmp_path / "sk"), str(tmp_path / "pk"))
    cache = f"file://{tmp_path}/cache?secret-key={tmp_path}/sk&compression=bzip2"
    nix.run("nix", "copy", "--to", cache, path)
    nix.run("nix", "copy", "--derivation", "--to", cache, drv)
    files = list((tmp_path / "cache").glob("*.narinfo"))
    assert len(files) == 3
    for file in files:
        narinfo = parse_narinfo(file.read_bytes(), StoreDir(nix.store_dir), file.name)
        assert narinfo.to_text(StoreDir(nix.store_dir)) == file.read_text()
        assert narinfo.compression == "bzip2"
