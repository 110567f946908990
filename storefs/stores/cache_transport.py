"""Where the files of a binary cache are: a directory or an HTTP server. Knows keys and bytes, nothing of Nix.

Blocking; usable from several threads at once. Chosen by `cache_uri.open_cache`; S3 is in `s3_transport.py`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from storefs.durable import replace_by_pieces
from storefs.errors import StoreError, SystemRefusedError
from storefs.formats.compression import decompress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import Protocol

    from storefs.http_client.client import HttpClient
    from storefs.http_client.messages import Exchange, Url

    class Transport(Protocol):
        """A place with files under keys such as `nar/abc.nar.xz`."""

        @property
        def uri(self) -> str:
            """Its name in messages and in the cache of answers, without parameters."""

        @property
        def is_remote(self) -> bool:
            """Whether asking costs a round trip, so that answers are worth remembering."""

        @property
        def is_writable(self) -> bool:
            """Whether `put` can work."""

        def get(self, key: str) -> bytes | None:
            """Return a small file, None if there is none.

            Raises:
                StoreError: the place can't be reached or answers nonsense.
            """

        def open(self, key: str) -> AbstractContextManager[Iterator[bytes]]:
            """Open a large file: a context with its pieces.

            Raises:
                GoneError: there is none.
                StoreError: it can't be had, also while it is read.
            """

        def put(self, key: str, source: Callable[[], Iterable[bytes]], size: int, content_type: str) -> None:
            """Store a file, replacing an older one, so that nobody sees half of it.

            Args:
                key: its name.
                source: makes its pieces, anew for each attempt.
                size: the sum of their lengths.
                content_type: its media type.
            """

        def exists(self, key: str) -> bool:
            """Whether there is such a file."""

        def keys(self) -> list[str] | None:
            """The keys without a slash of everything there, None if the place does not tell."""

        def exchange(self, key: str) -> Exchange | None:
            """The request for a small file, for asking many at once; None if asking is cheap."""

        def client(self) -> HttpClient | None:
            """What sends those requests."""


_PIECE = 1 << 18
_MOST_UNPACKED = 64 << 20  # bytes of a listing or a log
# What servers may have stored a listing or a log as; named in Content-Encoding.
_ENCODINGS = {"br": "br", "gzip": "gzip", "x-gzip": "gzip", "xz": "xz", "bzip2": "bzip2", "zstd": "zstd"}


class GoneError(StoreError):
    """A file that the cache speaks of is not there any more."""


class FileTransport:
    """A directory, as in `file:///srv/cache`.

    Args:
        directory: which.
        is_remote: whether asking it is to be avoided, as if it were far away.
    """

    is_writable = True

    def __init__(self, directory: str, *, is_remote: bool = False) -> None:
        self.is_remote = is_remote
        self._directory = directory
        self.uri = f"file://{directory}"

    def _path(self, key: str) -> str:
        path = os.path.normpath(os.path.join(self._directory, key))
        if not path.startswith(self._directory.rstrip("/") + "/"):
            raise StoreError(f"binary cache '{self.uri}' names the file '{key}', which lies outside of it")
        return path

    def get(self, key: str) -> bytes | None:
        """See `Transport`."""
        try:
            with open(self._path(key), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SystemRefusedError(f"reading binary cache '{self.uri}'", error) from error

    @contextmanager
    def open(self, key: str) -> Iterator[Iterator[bytes]]:
        """See `Transport`."""
        try:
            file = open(self._path(key), "rb", buffering=0)  # noqa: SIM115  closed by the next statement
        except FileNotFoundError:
            raise GoneError(f"binary cache '{self.uri}' has no '{key}' any more") from None
        except OSError as error:
            raise SystemRefusedError(f"reading binary cache '{self.uri}'", error) from error
        with file:
            yield iter(lambda: file.read(_PIECE), b"")

    def put(self, key: str, source: Callable[[], Iterable[bytes]], size: int, content_type: str) -> None:
        """See `Transport`. Durable when it returns."""
        del size, content_type
        path = self._path(key)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            replace_by_pieces(path, source())
        except OSError as error:
            raise SystemRefusedError(f"writing binary cache '{self.uri}'", error) from error

    def exists(self, key: str) -> bool:
        """See `Transport`."""
        return os.path.exists(self._path(key))

    def keys(self) -> list[str] | None:
        """See `Transport`."""
        try:
            return os.listdir(self._directory)
        except OSError as error:
            raise SystemRefusedError(f"reading binary cache '{self.uri}'", error) from error

    def exchange(self, key: str) -> Exchange | None:
        """See `Transport`."""
        del key
        return None

    def client(self) -> HttpClient | None:
        """See `Transport`."""
        return None


class HttpTransport:
    """A server, as in `https://cache.nixos.org`."""

    is_remote = True
    is_writable = True

    def __init__(self, base: str, make_client: Callable[[], HttpClient]) -> None:
        """`make_client` gives the client that is shared; what was answered before needs none (20 ms)."""
        scheme, _, rest = base.rstrip("/").partition("://")
        authority, slash, path = rest.partition("/")
        self.uri = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
        self._text = base.rstrip("/") + "/"
        self._make_client = make_client
        self._parsed: Url | None = None

    @property
    def _http(self) -> HttpClient:
        return self._make_client()

    @property
    def _base(self) -> Url:
        if self._parsed is None:
            from storefs.http_client.messages import Url  # noqa: PLC0415

            self._parsed = Url(self._text)
        return self._parsed

    def url(self, key: str) -> Url:
        """Where a file is. A key may be a whole URL, as in a narinfo that points elsewhere."""
        url = self._base.join(key)
        if url.origin == self._base.origin:
            url.user, url.password = self._base.user, self._base.password
        return url

    def headers(self, method: str, url: Url) -> dict[str, str]:
        """What a request must carry; nothing here, a signature in S3."""
        del method, url
        return {}

    def get(self, key: str) -> bytes | None:
        """See `Transport`."""
        from storefs.http_client.messages import MISSING, HttpError  # noqa: PLC0415

        url = self.url(key)
        try:
            answer = self._http.get(url, headers=self.headers("GET", url))
        except HttpError as error:
            if error.status in MISSING:
                return None
            raise
        encoding = answer.headers.get("content-encoding", "")
        return answer.body if encoding in ("", "identity") else _unpacked(answer.body, encoding, url.text)

    @contextmanager
    def open(self, key: str) -> Iterator[Iterator[bytes]]:
        """See `Transport`."""
        from storefs.http_client.messages import MISSING, HttpError  # noqa: PLC0415

        url = self.url(key)
        try:
            with self._http.stream(url, self.headers("GET", url)) as download:
                yield download.chunks()
        except HttpError as error:
            if error.status in MISSING:
                raise GoneError(str(error)) from error
            raise

    def put(self, key: str, source: Callable[[], Iterable[bytes]], size: int, content_type: str) -> None:
        """See `Transport`."""
        url = self.url(key)
        headers = {"content-type": content_type, "content-length": str(size), **self.headers("PUT", url)}
        self._http.send("PUT", url, lambda: iter(source()), headers)

    def exists(self, key: str) -> bool:
        """See `Transport`."""
        from storefs.http_client.messages import MISSING, HttpError  # noqa: PLC0415

        url = self.url(key)
        try:
            self._http.head(url, headers=self.headers("HEAD", url))
        except HttpError as error:
            if error.status in MISSING:
                return False
            raise
        return True

    def keys(self) -> list[str] | None:
        """See `Transport`; nobody lists millions of files."""
        return None

    def exchange(self, key: str) -> Exchange | None:
        """See `Transport`."""
        from storefs.http_client.messages import Exchange  # noqa: PLC0415

        url = self.url(key)
        return Exchange(url, "GET", self.headers("GET", url))

    def client(self) -> HttpClient | None:
        """See `Transport`."""
        return self._http


def _unpacked(body: bytes, encoding: str, url: str) -> bytes:
    """What a server has packed; a little of it may unpack to more than there is memory."""
    pieces, size = [], 0
    for piece in decompress([body], _ENCODINGS.get(encoding, encoding)):
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_UNPACKED:
            raise StoreError(f"'{url}' is larger than {_MOST_UNPACKED} bytes when it is unpacked")
    return b"".join(pieces)
