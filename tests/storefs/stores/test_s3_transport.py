"""S3 caches, against moto's server where it is installed (pip install 'moto[server]'), and against AWS's arithmetic."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.config import load_config
from storefs.http_client.messages import Url
from storefs.stores.s3_transport import S3Transport, sign_request
from tests.conftest import Runner

MOTO = os.environ.get("PYTEST_MOTO_SERVER") or shutil.which("moto_server")


def test_signature_follows_the_specification() -> None:
    # Computed with botocore's S3SigV4Auth for the same request, time and credentials.
    headers = sign_request(
        "GET",
        Url("https://examplebucket.s3.amazonaws.com/test.txt"),
        ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""),
        "us-east-1",
        time.strptime("20130524T000000Z", "%Y%m%dT%H%M%SZ"),
    )
    assert headers["x-amz-date"] == "20130524T000000Z"
    assert headers["authorization"] == EXPECTED


EXPECTED = (
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
    "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
    "Signature=5c0d4ff29e72b8f94c5b6720369921e587e39bf7a64e456887dec4b43a2d1b77"
)


def test_session_tokens_are_signed_and_sent() -> None:
    headers = sign_request("PUT", Url("http://h/b/k"), ("a", "s", "token"), "eu-west-1", time.gmtime(0))
    assert headers["x-amz-security-token"] == "token"
    assert "x-amz-security-token" in headers["authorization"]


def test_public_buckets_get_unsigned_requests(scratch: Path) -> None:
    config = load_config({"HOME": str(scratch)})
    transport = S3Transport("s3://bucket", {"region": "eu-west-1"}, lambda: pytest.fail("no request yet"), config)
    url = transport.url("nix-cache-info")
    assert url.text == "https://s3.eu-west-1.amazonaws.com/bucket/nix-cache-info"
    assert transport.headers("GET", url) == {}


def test_credentials_come_from_the_profile(scratch: Path) -> None:
    (scratch / ".aws").mkdir()
    (scratch / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = one\naws_secret_access_key = x\n"
        "[ci]\naws_access_key_id=two\naws_secret_access_key=y\n"
    )
    config = load_config({"HOME": str(scratch)})
    for profile, key in (("default", "one"), ("ci", "two")):
        transport = S3Transport("s3://b", {"profile": profile}, lambda: pytest.fail("no request yet"), config)
        assert f"Credential={key}/" in transport.headers("GET", transport.url("k"))["authorization"]


@pytest.fixture
def endpoint(scratch: Path) -> Iterator[str]:
    if MOTO is None:
        pytest.skip("moto_server is not installed (pip install 'moto[server]')")
    server = subprocess.Popen(
        [MOTO, "-H", "127.0.0.1", "-p", "0"], stderr=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"]}
    )
    try:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "Running on" in line)
        yield line.rpartition("http://")[2].split()[0]
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.slow
def test_push_to_a_bucket_and_fetch_again(endpoint: str, scratch: Path, run: Runner) -> None:
    from storefs.http_client.client import HttpClient

    HttpClient().send("PUT", f"http://{endpoint}/builds", lambda: b"", {})
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    (scratch / "file").write_text("in a bucket")
    path = run("nix-store", "--add", scratch / "file").stdout.strip()
    uri = f"s3://builds?endpoint={endpoint}&scheme=http&region=us-east-1"
    assert "pushed 1 of 1" in run("verglas", "push", uri, path, **keys).stderr
    assert "pushed 0 of 1" in run("verglas", "push", uri, path, **keys).stderr
    other = {"NIX_STATE_DIR": f"{scratch}/other", "HOME": f"{scratch}/home2", **keys}
    run("verglas", "copy", "--from", uri, path, **other)
    assert run("nix-store", "-q", "--hash", path, **other).stdout == run("nix-store", "-q", "--hash", path).stdout
