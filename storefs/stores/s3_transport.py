"""Binary caches in S3 and what speaks its protocol (MinIO, Garage, Ceph): HTTP with signed requests.

`s3://bucket?region=eu-west-1&endpoint=host:9000&scheme=http&profile=default`. Credentials come from the environment
(AWS_ACCESS_KEY_ID ...) or from `~/.aws/credentials`; without any, requests are not signed, as for public buckets.
Signatures: AWS Signature Version 4 with unsigned payloads (docs.aws.amazon.com, "Signature Calculations for the
Authorization Header"); the hash of a NAR is in its narinfo anyway.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from storefs.http_client.messages import Url
from storefs.stores.cache_transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.config import Config
    from storefs.http_client.client import HttpClient

_DEFAULT_REGION = "us-east-1"


class S3Transport(HttpTransport):
    """A bucket.

    Args:
        uri: `s3://bucket`, without parameters.
        parameters: those of the URI.
        make_client: gives what sends the requests.
        config: knows the environment.
    """

    def __init__(
        self, uri: str, parameters: dict[str, str], make_client: Callable[[], HttpClient], config: Config
    ) -> None:
        bucket = uri.removeprefix("s3://").strip("/")
        self._region = parameters.get("region") or config.variable("AWS_DEFAULT_REGION") or _DEFAULT_REGION
        scheme = parameters.get("scheme") or "https"
        endpoint = parameters.get("endpoint", "")
        if "://" in endpoint:
            scheme, _, endpoint = endpoint.partition("://")
        # The path style works with every server and with bucket names that contain dots.
        host = endpoint or f"s3.{self._region}.amazonaws.com"
        super().__init__(f"{scheme}://{host}/{bucket}", make_client)
        self.uri = f"s3://{bucket}"
        self._credentials = _credentials(config, parameters.get("profile", "default"))

    def headers(self, method: str, url: Url) -> dict[str, str]:
        """The signature of a request."""
        if self._credentials is None:
            return {}
        return sign_request(method, url, self._credentials, self._region, time.gmtime())


def sign_request(
    method: str, url: Url, credentials: tuple[str, str, str], region: str, now: time.struct_time
) -> dict[str, str]:
    """The headers that sign a request.

    Args:
        method: as in `GET`.
        url: the target; its query, if any, must be sorted already.
        credentials: access key, secret key, session token or ''.
        region: the bucket's.
        now: UTC.
    """
    access_key, secret_key, token = credentials
    stamp = time.strftime("%Y%m%dT%H%M%SZ", now)
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    headers = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": stamp}
    if token:
        headers["x-amz-security-token"] = token
    signed = {"host": url.authority, **headers}
    path, _, query = url.target.partition("?")
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/%~"),
            query,
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            "UNSIGNED-PAYLOAD",
        ]
    )
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret_key}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def _credentials(config: Config, profile: str) -> tuple[str, str, str] | None:
    access_key, secret_key = config.variable("AWS_ACCESS_KEY_ID"), config.variable("AWS_SECRET_ACCESS_KEY")
    if access_key and secret_key:
        return access_key, secret_key, config.variable("AWS_SESSION_TOKEN")
    path = config.variable("AWS_SHARED_CREDENTIALS_FILE") or f"{config.home}/.aws/credentials"
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    section, found = "", {}
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1].strip()
        elif section == profile and "=" in stripped:
            name, _, value = stripped.partition("=")
            found[name.strip()] = value.strip()
    if "aws_access_key_id" not in found or "aws_secret_access_key" not in found:
        return None
    return found["aws_access_key_id"], found["aws_secret_access_key"], found.get("aws_session_token", "")
