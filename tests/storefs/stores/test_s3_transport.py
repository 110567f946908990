"""S3 caches, against moto's server, which checks signatures, and against AWS's arithmetic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storefs.config import load_config
from storefs.http_client.messages import Url
from storefs.stores.s3_transport import S3Transport, sign_request
from tests.conftest import Runner

MOTO = Path(sys.executable).parent / "moto_server"


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


class Bucket:
    """A bucket in moto's server, which checks signatures as AWS does.

    Attributes:
        uri: of the bucket as a binary cache.
        keys: variables with the credentials of a user who may use it.
    """

    def __init__(self, endpoint: str) -> None:
        import boto3

        def client(service: str) -> Any:
            return boto3.client(
                service,
                endpoint_url=f"http://{endpoint}",
                region_name="us-east-1",
                aws_access_key_id="nobody",
                aws_secret_access_key="knows",
            )

        iam = client("iam")
        iam.create_user(UserName="builder")
        key = iam.create_access_key(UserName="builder")["AccessKey"]
        statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="builder", PolicyName="s3", PolicyDocument=policy)
        client("s3").create_bucket(Bucket="builds")
        self.uri = f"s3://builds?endpoint={endpoint}&scheme=http&region=us-east-1"
        self.keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


# The requests above need no signature; the next ones do.
_FREE_REQUESTS = 4


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    if not MOTO.exists():
        pytest.skip("moto is not installed (pip install -e '.[dev]')")
    server = subprocess.Popen(
        [MOTO, "-H", "127.0.0.1", "-p", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "INITIAL_NO_AUTH_ACTION_COUNT": str(_FREE_REQUESTS)},
    )
    assert server.stderr is not None
    try:
        line = next(line for line in server.stderr if "Running on" in line)
        # What it says about each request must go somewhere.
        drain = threading.Thread(target=server.stderr.read)
        drain.start()
        yield Bucket(line.rpartition("http://")[2].split()[0])
    finally:
        server.terminate()
        server.wait()
        drain.join()
        server.stderr.close()


@pytest.mark.slow
def test_push_to_a_bucket_and_fetch_again(bucket: Bucket, scratch: Path, run: Runner) -> None:
    (scratch / "file").write_text("in a bucket")
    path = run("nix-store", "--add", scratch / "file").stdout.strip()
    assert "pushed 1 of 1" in run("verglas", "push", bucket.uri, path, **bucket.keys).stderr
    assert "pushed 0 of 1" in run("verglas", "push", bucket.uri, path, **bucket.keys).stderr
    other = {"NIX_STATE_DIR": f"{scratch}/other", "HOME": f"{scratch}/home2", **bucket.keys}
    run("verglas", "copy", "--from", bucket.uri, path, **other)
    assert run("nix-store", "-q", "--hash", path, **other).stdout == run("nix-store", "-q", "--hash", path).stdout


@pytest.mark.slow
def test_a_wrong_key_is_refused_by_the_server_and_told(bucket: Bucket, scratch: Path, run: Runner) -> None:
    (scratch / "file").write_text("not for this bucket")
    path = run("nix-store", "--add", scratch / "file").stdout.strip()
    wrong = {**bucket.keys, "AWS_SECRET_ACCESS_KEY": "wrong"}
    refused = run("verglas", "push", bucket.uri, path, status=1, **wrong)
    assert "403" in refused.stderr
    assert "s3" in refused.stderr or "builds" in refused.stderr
