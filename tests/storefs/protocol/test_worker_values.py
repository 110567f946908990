"""Every value of the worker protocol, byte for byte, at each version at which its shape changed.

The golden files hold the bytes as hexadecimal, eight to a line, so that a difference can be read. Those of version 34
were compared with what real Nix 2.8 sends (tests/oracle/test_daemon.py keeps on doing so with a live daemon).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storefs.formats.derivation import Derivation, DerivationOutput
from storefs.formats.derived_path import DerivedPath
from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import PathInfo
from storefs.formats.store_path import StoreDir, StorePath
from storefs.protocol import worker_values as values
from storefs.protocol.built_outputs import read_built_outputs
from storefs.protocol.log_fields import read_fields, write_fields
from storefs.protocol.wire import ProtocolError, Reader, Writer

GOLDEN = Path(__file__).parents[2] / "golden" / "worker_protocol"
STORE = StoreDir("/nix/store")
A = StorePath("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-a")
B = StorePath("h1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-b.drv")
INFO = PathInfo(
    A,
    hash_bytes("sha256", b"x"),
    120,
    [A],
    B,
    ["key-1:c2lnbmF0dXJl"],
    "fixed:r:sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
    1700000000,
    True,
)
RESULT = values.WireBuildResult(0, "", {"out": A, "man": A}, start_time=5, stop_time=9, times_built=1)
DERIVATION = Derivation(
    name="b",
    outputs={"out": DerivationOutput(A), "fixed": DerivationOutput(A, "r:sha256", "ab" * 32)},
    input_drvs={},
    input_srcs={A},
    system="x86_64-linux",
    builder="/bin/sh",
    args=["-c", "true"],
    env={"out": "/nix/store/x", "a": ""},
)
OPTIONS = values.ClientOptions(keep_going=True, max_jobs=4, overrides={"timeout": "5", "builders": ""})


def check_golden(name: str, data: bytes) -> None:
    text = "".join(data[start : start + 8].hex(" ") + "\n" for start in range(0, len(data), 8))
    path = GOLDEN / f"{name}.hex"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("version", [10, 16])
def test_path_info(version: int) -> None:
    writer = Writer()
    values.write_path_info(writer, INFO, version, STORE, with_path=True)
    data = writer.take()
    check_golden(f"path-info-{version}", data)
    expected = INFO if version >= 16 else INFO.replace(ultimate=False, signatures=(), ca="")
    assert values.read_path_info(Reader([data]), version, STORE) == expected


@pytest.mark.parametrize("version", [27, 28, 29, 37])
def test_build_result(version: int) -> None:
    writer = Writer()
    values.write_build_result(writer, RESULT, version)
    data = writer.take()
    check_golden(f"build-result-{version}", data)
    result = values.read_build_result(Reader([data]), version)
    assert result.status == 0
    assert result.outputs == (RESULT.outputs if version >= 28 else {})
    assert result.stop_time == (9 if version >= 29 else 0)


@pytest.mark.parametrize(("user", "system"), [(1500000, 0), (7, None), (None, None)])
def test_processor_time_of_a_build_result(user: int | None, system: int | None) -> None:
    writer = Writer()
    values.write_build_result(writer, values.WireBuildResult(0, cpu_user=user, cpu_system=system), 37)
    result = values.read_build_result(Reader([writer.take()]), 37)
    assert (result.cpu_user, result.cpu_system) == (user, system)


@pytest.mark.parametrize("version", [25, 26])
def test_error(version: int) -> None:
    writer = Writer()
    values.write_error(writer, "path 'x' is not valid", 102, version)
    data = writer.take()
    check_golden(f"error-{version}", data)
    reader = Reader([data])
    assert reader.number() == 0x63787470
    error = values.read_error(reader, version)
    assert str(error) == "path 'x' is not valid"
    assert error.exit_code == (102 if version < 26 else 1)


@pytest.mark.parametrize("version", [11, 12])
def test_options(version: int) -> None:
    writer = Writer()
    values.write_options(writer, OPTIONS, version)
    data = writer.take()
    check_golden(f"options-{version}", data)
    options = values.read_options(Reader([data]), version)
    assert (options.keep_going, options.max_jobs, options.verbose_build) == (True, 4, True)
    assert options.overrides == (OPTIONS.overrides if version >= 12 else {})


@pytest.mark.parametrize("version", [29, 30])
def test_derived_paths(version: int) -> None:
    targets = [DerivedPath(A), DerivedPath(B, ("out", "man")), DerivedPath(B, ())]
    writer = Writer()
    values.write_derived_paths(writer, targets, version, STORE)
    data = writer.take()
    check_golden(f"derived-paths-{version}", data)
    assert values.read_derived_paths(Reader([data]), version, STORE) == targets


def test_an_old_server_cannot_be_asked_for_a_derivation_file() -> None:
    with pytest.raises(ProtocolError, match="too old"):
        values.write_derived_paths(Writer(), [DerivedPath(B)], 29, STORE)


def test_basic_derivation() -> None:
    writer = Writer()
    values.write_basic_derivation(writer, DERIVATION, STORE)
    data = writer.take()
    check_golden("basic-derivation", data)
    assert values.read_basic_derivation(Reader([data]), "b", STORE) == DERIVATION


def test_fields() -> None:
    writer = Writer()
    write_fields(writer, [1, "two"])
    data = writer.take()
    check_golden("fields", data)
    assert read_fields(Reader([data])) == [1, "two"]


def test_results_come_in_any_order() -> None:
    directory = StoreDir("/nix/store")
    paths = [StorePath(f"{digit * 32}-x.drv") for digit in "012"]
    writer = Writer().number(2)
    for path, status in ((paths[1], 1), (paths[0], 0)):
        writer.string(f"{directory.print(path)}!out")
        values.write_build_result(writer, values.WireBuildResult(status), 34)
    data = writer.take()

    def read(*wanted: StorePath) -> list[int]:
        targets = [DerivedPath(path, ("out",)) for path in wanted]
        return [result.status for result in values.read_build_results(Reader([data]), 34, directory, targets)]

    assert read(paths[0], paths[1]) == [0, 1]
    assert read(paths[1], paths[0]) == [1, 0]
    assert read(paths[0], paths[1], paths[0]) == [0, 1, 0]
    with pytest.raises(ProtocolError, match="there is no result"):
        read(paths[0], paths[2])


@pytest.mark.parametrize(
    "realisation",
    [
        f'{{"dependentRealisations":{{}},"id":"sha256:ab!out","outPath":"{A}","signatures":[]}}',
        f'{{"signatures": [], "outPath": "{A}", "id": "sha256:ab!out", "dependentRealisations": {{}}}}',
        f'{{"dependentRealisations":{{"sha256:cd!out":"{A}"}},"id":"x","outPath":"{A}","signatures":["k:s"]}}',
        f'{{"dependentRealisations":{{}},"id":"sha256:ab!out\\"","outPath":"{A}","signatures":[]}}',
    ],
    ids=("as Nix writes it", "in another order", "that floats", "with an escape"),
)
def test_built_outputs_may_be_any_json(realisation: str) -> None:
    data = Writer().number(1).string("sha256:ab!out").string(realisation).take()
    assert read_built_outputs(Reader([data])) == {"out": A}


@pytest.mark.parametrize(
    "realisation",
    [
        "",
        "[]",
        "{}",
        '{"dependentRealisations":{},"id":"a","signatures":[]}',
        f'{{"dependentRealisations":{{}},"id":"a","x":"b","outPath":"{A}","signatures":[]',
    ],
)
def test_built_outputs_that_are_none(realisation: str) -> None:
    data = Writer().number(1).string("sha256:ab!out").string(realisation).take()
    with pytest.raises(ProtocolError, match="the realisation of output 'out' is malformed"):
        read_built_outputs(Reader([data]))
