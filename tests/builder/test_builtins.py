"""The builders that are functions of ours: fetchurl, buildenv, unpack-channel; with and without a sandbox."""

from __future__ import annotations

import hashlib
import http.server
import io
import lzma
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from storefs.api import BuildMode
from storefs.formats.nar import nar_of_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from storefs.formats.store_path import StorePath
    from tests.builder.workbench import Workbench

pytestmark = pytest.mark.slow

CONTENT = b"what is fetched\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; a path in `failures` fails as often as its number says first."""

    files: dict[str, bytes]
    failures: dict[str, int]
    asked: list[tuple[str, str]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization", "")))
        if self.server.failures.get(self.path, 0):
            self.server.failures[self.path] -= 1
            self.send_error(503)
        elif self.path in self.server.files:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.files[self.path])
        else:
            self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.files, made.failures, made.asked = {"/file": CONTENT}, {}, []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(params=["true", "false"], ids=["sandbox", "open"])
def sandbox(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fetch(bench: Workbench, url: str, digest: str = SHA256, mode: str = "", **env: str) -> StorePath:
    return bench.derive(
        "fetched", "", fixed=(f"{mode}sha256", digest), builder="builtin:fetchurl", system="builtin", url=url,
        outputHash=digest, outputHashAlgo="sha256", outputHashMode="recursive" if mode else "flat", **env,
    )  # fmt: skip


def test_a_file_is_fetched(bench: Workbench, server: Server, sandbox: str) -> None:
    assert bench.build_one(fetch(bench, f"{server.url}/file"), sandbox=sandbox) == CONTENT.decode()


def test_what_fails_for_a_moment_is_tried_again(bench: Workbench, server: Server) -> None:
    server.failures["/file"] = 2
    assert bench.build_one(fetch(bench, f"{server.url}/file")) == CONTENT.decode()
    assert len(server.asked) == 3


def test_what_is_not_there_is_not_tried_again(bench: Workbench, server: Server) -> None:
    result = bench.fail(fetch(bench, f"{server.url}/nonesuch"))
    assert result.exit_code == 1
    assert any("HTTP error 404" in line for line in bench.told.lines)
    assert len(server.asked) == 1


def test_other_contents_are_refused(bench: Workbench, server: Server) -> None:
    server.files["/file"] = b"something else"
    assert bench.fail(fetch(bench, f"{server.url}/file")).exit_code == 102


def test_a_nar_is_unpacked(bench: Workbench, server: Server, sandbox: str) -> None:
    nar = nar_of_bytes(b"#!/bin/sh\n", executable=True)
    server.files["/file.nar.xz"] = lzma.compress(nar)
    target = fetch(bench, f"{server.url}/file.nar.xz", hashlib.sha256(nar).hexdigest(), "r:", unpack="1")
    (result,) = bench.build(target, sandbox=sandbox)
    assert result.ok, (result.message, bench.told.lines)
    assert b"".join(bench.store.nar(bench.out(target))) == nar


def test_netrc_says_who_we_are(bench: Workbench, server: Server, scratch: Path) -> None:
    netrc = scratch / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    bench.build_one(fetch(bench, f"{server.url}/file"), netrc_file=str(netrc))
    assert server.asked == [("/file", "Basic bWU6c2VjcmV0")]


def test_hashed_mirrors_are_asked_first(bench: Workbench, server: Server) -> None:
    server.files[f"/mirror/sha256/{SHA256}"] = CONTENT
    bench.build_one(fetch(bench, f"{server.url}/gone"), hashed_mirrors=f"{server.url}/mirror")
    assert [path for path, _ in server.asked] == [f"/mirror/sha256/{SHA256}"]


def test_checking_finds_that_the_source_has_changed(bench: Workbench, server: Server) -> None:
    """Exit statuses of several checks are joined: 102 for another hash, 104 for not deterministic."""
    fetched = fetch(bench, f"{server.url}/file")
    random = bench.derive("random", "read id < /proc/sys/kernel/random/uuid; echo $id > $out")
    assert all(result.ok for result in bench.build(fetched, random))
    server.files["/file"] = b"something else"
    results = bench.build(fetched, random, mode=BuildMode.CHECK, keep_going="true")
    assert [result.exit_code for result in results] == [110, 110]


def test_packages_are_linked_together(bench: Workbench, sandbox: str) -> None:
    settings = {"sandbox": sandbox, "sandbox_paths": "/bin/sh=/usr/bin/busybox /bin/busybox=/usr/bin/busybox"}
    busybox = "/bin/busybox" if sandbox == "true" else "/usr/bin/busybox"
    one = bench.derive(
        "one", f"{busybox} mkdir -p $out/bin $out/share/doc; echo 1 > $out/bin/one; echo > $out/share/doc/x"
    )
    two = bench.derive("two", f"{busybox} mkdir -p $out/bin $out/lib; echo 2 > $out/bin/two; echo > $out/.hidden")
    manifest = bench.store.add_text("manifest", b"[]")
    environment = bench.derive(
        "user-environment", "", inputs={one: ("out",), two: ("out",)}, sources=(manifest,), builder="builtin:buildenv",
        derivations=f"true 5 1 {bench.shown(one)} true 5 1 {bench.shown(two)}",
        manifest=bench.store.directory.print(manifest),
    )  # fmt: skip
    (result,) = bench.build(environment, **settings)
    assert result.ok, (result.message, bench.told.lines)
    nar = b"".join(bench.store.nar(bench.out(environment)))
    for target in (f"{bench.shown(one)}/bin/one", f"{bench.shown(two)}/bin/two", f"{bench.shown(one)}/share",
                   f"{bench.shown(two)}/lib", bench.store.directory.print(manifest)):  # fmt: skip
        assert target.encode() in nar
    assert b".hidden" not in nar
    clash = bench.derive(
        "user-environment", "", inputs={one: ("out",)}, sources=(manifest,), builder="builtin:buildenv",
        derivations=f"true 5 1 {bench.shown(one)} true 5 1 {bench.shown(one)}/../{bench.out(one).base_name}",
        manifest=bench.store.directory.print(manifest),
    )  # fmt: skip
    bench.fail(clash, **settings)
    assert any("have the same priority 5" in line for line in bench.told.lines)


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2"])
def test_a_channel_is_unpacked(bench: Workbench, compression: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{compression}") as archive:
        for name, data in (("nixpkgs-1.0/default.nix", b"{ }"), ("nixpkgs-1.0/sub/file", b"x")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    source = bench.store.add_text(f"channel.tar.{compression}", packed.getvalue())
    channel = bench.derive(
        "channel", "", sources=(source,), builder="builtin:unpack-channel", channelName="nixos",
        src=bench.store.directory.print(source),
    )  # fmt: skip
    (result,) = bench.build(channel)
    assert result.ok, (result.message, bench.told.lines)
    nar = b"".join(bench.store.nar(bench.out(channel)))
    assert b"nixos" in nar
    assert b"default.nix" in nar
    assert b"nixpkgs-1.0" not in nar


def test_a_builtin_that_nobody_knows_is_named(bench: Workbench) -> None:
    assert "unsupported builtin builder 'magic'" in bench.fail(bench.derive("x", "", builder="builtin:magic")).message
