"""One large transfer, read piece by piece and resumed where it broke off. Used through `client.HttpClient.stream`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from storefs.http_client.messages import Exchange, HttpError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.http_client.exchanger import Exchanger
    from storefs.http_client.messages import Url

_MIN_SPEED = 1024  # bytes per second, on average over the stall time-out


class Download:
    """An answer whose body is still to come.

    Args:
        exchanger: sends the requests.
        url: what to fetch.
        headers: of the request.

    Attributes:
        headers: of the answer, lower-case names.
        size: of the body in bytes, None if the server does not say.
        received: bytes so far.

    Raises:
        HttpError: no 2xx answer; also from `chunks`.
    """

    def __init__(self, exchanger: Exchanger, url: Url, headers: dict[str, str]) -> None:
        self._exchanger = exchanger
        self._url = url
        self._request_headers = headers
        self.received = 0
        self._exchange, self._connection = exchanger.begin(Exchange(url, "GET", dict(headers)))
        try:
            self._exchange.check_status()
        except HttpError:
            self.close()
            raise
        self.headers = self._exchange.answer
        length = self.headers.get("content-length")
        self.size = int(length) if length is not None else None

    def close(self) -> None:
        """Give the connection back; before the end of the body that closes it."""
        self._exchanger.give_back(self._connection, self._exchange)

    def chunks(self) -> Iterator[bytes]:
        """Yield the body. Blocks; a broken transfer is continued up to the client's number of attempts in a row.

        Raises:
            HttpError: it could not be completed, or is slower than 1 KiB/s for the stall time-out.
        """
        failures = 0
        while True:
            before = self.received
            try:
                yield from self._attempt()
            except HttpError as error:
                self._connection.close()
                failures = failures + 1 if self.received == before else 1
                while True:
                    self._exchanger.pause(failures, error, begun=True)
                    try:
                        self._resume()
                        break
                    except HttpError as again:
                        error = again
                        failures += 1
            else:
                if self.size is not None and self.received != self.size:
                    raise HttpError(self._url.text, f"it has {self.received} bytes instead of {self.size}")
                return

    def _attempt(self) -> Iterator[bytes]:
        exchange, exchanger = self._exchange, self._exchanger
        window_begun, window_bytes = time.monotonic(), self.received
        while True:
            if exchange.pieces:
                # One by one, as they were received: joining them would copy every byte once more.
                piece = exchange.pieces.pop(0)
                self.received += len(piece)
                yield piece
                continue
            if exchange.done:
                return
            if exchange.error is not None:
                raise exchange.error
            # What came before a failure counts, so the failure is looked at after the pieces.
            exchanger.step(self._connection, exchange, raises=False)
            now = time.monotonic()
            if now - window_begun > exchanger.stall_timeout:
                if self.received + sum(map(len, exchange.pieces)) - window_bytes < _MIN_SPEED * exchanger.stall_timeout:
                    raise HttpError(self._url.text, f"less than 1 KiB/s for {exchanger.stall_timeout:g} seconds")
                window_begun, window_bytes = now, self.received

    def _resume(self) -> None:
        headers = {**self._request_headers, "range": f"bytes={self.received}-"}
        validator = self.headers.get("etag") or self.headers.get("last-modified")
        if validator and not validator.startswith("W/"):
            headers["if-range"] = validator
        exchange, connection = self._exchanger.begin(Exchange(self._url, "GET", headers))
        self._exchange, self._connection = exchange, connection
        if exchange.status == 416 and self.size is None:
            raise HttpError(self._url.text, "it changed while it was fetched")
        exchange.check_status()
        if exchange.status == 206:
            if not exchange.answer.get("content-range", "").startswith(f"bytes {self.received}-"):
                raise HttpError(self._url.text, "the server continued it at another place")
            return
        if exchange.answer.get("etag") != self.headers.get("etag"):
            raise HttpError(self._url.text, "it changed while it was fetched")
        # The server does not know ranges: what was seen already is read again and dropped. The hash that every NAR is
        # checked against makes this safe even if the file did change.
        self._skip(self.received)

    def _skip(self, count: int) -> None:
        while count:
            piece = self._exchange.take()
            if len(piece) > count:
                self._exchange.pieces.insert(0, piece[count:])
                return
            count -= len(piece)
            if not piece:
                if self._exchange.done:
                    raise HttpError(self._url.text, "it changed while it was fetched")
                self._exchanger.step(self._connection, self._exchange)
