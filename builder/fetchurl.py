"""`builtin:fetchurl`: downloads one file, as a fixed-output build of its own.

Runs in the builder's place, perhaps in a sandbox where nothing can be imported any more: everything is imported on top.
On the standard library, without TLS verification, because the output's hash is checked afterwards anyway. Semantics:
builtins/fetchurl.cc of Nix 2.8.
"""

from __future__ import annotations

import base64
import encodings.idna  # noqa: F401  host names are encoded with it, too late to import then
import http.client
import json
import lzma
import netrc
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

from storefs.errors import StoreError
from storefs.formats.byte_reader import ByteReader
from storefs.formats.hashes import parse_hash
from storefs.formats.nar import Directory, EndDirectory, Regular, Symlink, parse_nar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECE = 1 << 18
_ATTEMPTS = 5
_STALLED_SECONDS = 300
_NETRC = "netrc"


class DownloadError(StoreError):
    """A file could not be downloaded."""


def fetch(environment: dict[str, str], argument: str) -> None:
    """Download `$url` to `$out`.

    Args:
        environment: the derivation's.
        argument: JSON with `netrc`, the contents of the netrc file, and `hashed-mirrors`.

    Raises:
        DownloadError: it can't be downloaded.
    """
    settings = json.loads(argument)
    url, out = _attribute(environment, "url"), _attribute(environment, "out")
    opener = _opener()
    authorisations = _Authorisations(settings["netrc"])
    if environment.get("outputHashMode") == "flat":
        expected = parse_hash(environment.get("outputHash", ""), environment.get("outputHashAlgo") or None)
        for mirror in settings["hashed-mirrors"]:
            mirrored = f"{mirror.rstrip('/')}/{expected.algo}/{expected.to_string('base16', False)}"
            try:
                _download(opener, authorisations, mirrored, environment, out)
            except DownloadError:
                continue
            return
    _download(opener, authorisations, url, environment, out)


def _attribute(environment: dict[str, str], name: str) -> str:
    value = environment.get(name)
    if value is None:
        raise DownloadError(f"attribute '{name}' missing")
    return value


def _opener() -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))


class _Authorisations:
    """Who we are to which host, from a netrc file."""

    def __init__(self, text: str) -> None:
        self._netrc: netrc.netrc | None = None
        if text:
            # The class reads files only; the build directory is nobody else's.
            descriptor = os.open(_NETRC, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            try:
                self._netrc = netrc.netrc(_NETRC)
            finally:
                os.unlink(_NETRC)

    def header(self, url: str) -> dict[str, str]:
        host = urllib.parse.urlsplit(url).hostname
        known = self._netrc.authenticators(host) if self._netrc is not None and host else None
        if known is None:
            return {}
        login, _, password = known
        token = base64.b64encode(f"{login}:{password or ''}".encode()).decode()
        return {"Authorization": f"Basic {token}"}


def _download(
    opener: urllib.request.OpenerDirector,
    authorisations: _Authorisations,
    url: str,
    environment: dict[str, str],
    out: str,
) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            with open(f"{out}.part", "w+b") as file:
                for piece in _pieces(opener, authorisations, url):
                    file.write(piece)
                file.seek(0)
                _deliver(iter(lambda: file.read(_PIECE), b""), environment, out)
            os.unlink(f"{out}.part")
        except (OSError, http.client.HTTPException, ValueError) as error:
            permanent = isinstance(error, urllib.error.HTTPError) and error.code not in {408, 429, 500, 502, 503, 504}
            if permanent or isinstance(error, ValueError) or url.startswith("file:") or attempt + 1 == _ATTEMPTS:
                raise DownloadError(f"unable to download '{url}': {_reason(error)}") from error
            delay = 0.25 * 2**attempt
            os.write(2, f"warning: unable to download '{url}': {_reason(error)}; retrying in {delay:g} s\n".encode())
            time.sleep(delay)
        else:
            return


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP error {error.code}"
    return str(getattr(error, "reason", None) or error)


def _pieces(opener: urllib.request.OpenerDirector, authorisations: _Authorisations, url: str) -> Iterator[bytes]:
    request = urllib.request.Request(
        url, headers={"User-Agent": "curl/verglas Nix/2.8.0", **authorisations.header(url)}
    )
    with opener.open(request, timeout=_STALLED_SECONDS) as response:
        while piece := response.read(_PIECE):
            yield piece


def _deliver(pieces: Iterable[bytes], environment: dict[str, str], out: str) -> None:
    """Put what was downloaded where it belongs: as it is, or unpacked from a NAR."""
    if environment.get("unpack") == "1":
        if _attribute(environment, "url").endswith(".xz"):
            decompressor = lzma.LZMADecompressor()
            pieces = (decompressor.decompress(piece) for piece in pieces)
        _restore(pieces, out)
    else:
        with open(out, "wb") as file:
            for piece in pieces:
                file.write(piece)
    if environment.get("executable") == "1":
        os.chmod(out, 0o755)


def _restore(pieces: Iterable[bytes], out: str) -> None:
    """Write the tree of a NAR. Names were checked by the parser: none leads out of its directory."""
    stack = [os.fsencode(out)]
    descriptor = -1
    for event in parse_nar(ByteReader(pieces)):
        if isinstance(event, EndDirectory):
            stack.pop()
            continue
        if not isinstance(event, (Regular, Directory, Symlink)):
            _write_all(descriptor, event)
            continue
        if descriptor >= 0:
            os.close(descriptor)
            descriptor = -1
        path = stack[-1] + b"/" + event.name if event.name else stack[-1]
        if isinstance(event, Directory):
            os.mkdir(path)
            stack.append(path)
        elif isinstance(event, Symlink):
            os.symlink(event.target, path)
        else:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755 if event.executable else 0o644)
    if descriptor >= 0:
        os.close(descriptor)


def _write_all(descriptor: int, piece: bytes | bytearray | memoryview) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
