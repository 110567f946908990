"""A binary cache: what it has, and its NARs. Reading only; `cache_writer.py` adds to one.

Blocking and thread-safe. A cache that fails is treated as having nothing for a minute, with one warning, so that it
neither breaks a build nor needs a restart to be asked again. Semantics: binary-cache-store.cc of Nix 2.8.
"""

from __future__ import annotations

import time
from contextlib import contextmanager

from storefs.api import Offer
from storefs.errors import StoreError
from storefs.formats.compression import check_method, decompress
from storefs.formats.narinfo import MAX_SIZE, NarInfo, parse_narinfo
from storefs.logs import warn
from storefs.metadata.narinfo_cache import cache_id
from storefs.stores.offer_query import query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Any

    from storefs.formats.realisation import DrvOutput, Realisation
    from storefs.formats.store_path import StoreDir, StorePath
    from storefs.http_client.client import HttpClient
    from storefs.http_client.messages import Exchange
    from storefs.metadata.narinfo_cache import NarInfoCache
    from storefs.stores.cache_transport import Transport

_REST = 60.0  # seconds for which a failed cache is left alone
_DEFAULT_PRIORITY = 50
_LEAST = 5.0  # seconds: within one command nothing is asked twice, whatever the settings are
_SMALL = 256 << 10  # bytes of a compressed NAR that is fetched along with others


class BadCacheError(StoreError):
    """A binary cache that can't be used: for another store, or with nonsense in it."""


class BinaryCache:
    """One cache.

    Args:
        transport: where its files are.
        directory: the logical store directory, which must be the cache's own.
        answers: what is remembered between commands; None remembers nothing.
        trusted: believe what it says without a signature (`?trusted=1`).
        priority: instead of the cache's own.
        want_mass_query: instead of the cache's own.
        missing_for: seconds for which a process that lives long believes that a path is missing.
    """

    def __init__(
        self,
        transport: Transport,
        directory: StoreDir,
        answers: NarInfoCache | None = None,
        *,
        missing_for: float = 3600.0,
        trusted: bool = False,
        priority: int | None = None,
        want_mass_query: bool | None = None,
    ) -> None:
        self.transport = transport
        self.directory = directory
        self.is_trusted = trusted
        self._answers = answers if transport.is_remote else None
        self._id = cache_id(transport.uri, directory.path)
        self._priority = priority
        self._want_mass_query = want_mass_query
        self._own: tuple[int, bool] | None = None
        self._memory: dict[StorePath, NarInfo | bool] = {}
        self._unsaved: dict[StorePath, NarInfo | bool] = {}
        self._missing_for = max(missing_for, _LEAST)
        self._missing_until: dict[StorePath, float] = {}
        self._small: dict[str, bytes] = {}
        self._rests_until = 0.0
        self._unusable = False

    @property
    def uri(self) -> str:
        """Its name in messages."""
        return self.transport.uri

    @property
    def priority(self) -> int:
        """Lower is asked first. May ask the cache, once."""
        if self._priority is not None:
            return self._priority
        return self._own[0] if self.is_usable() and self._own is not None else _DEFAULT_PRIORITY

    @property
    def want_mass_query(self) -> bool:
        """Whether it minds being asked about thousands of paths. May ask the cache, once."""
        if self._want_mass_query is not None:
            return self._want_mass_query
        return self.is_usable() and self._own is not None and self._own[1]

    def is_usable(self) -> bool:
        """Whether to ask it now. The first call may ask for `nix-cache-info`."""
        if self._unusable or self.is_resting():
            return False
        if self._own is None:
            try:
                self._own = self._read_description()
            except BadCacheError as error:
                self._unusable = True
                warn(str(error))
                return False
            except StoreError as error:
                self.disable(error)
                return False
        return True

    def is_resting(self) -> bool:
        """Whether it failed a moment ago, and is left alone for a while: nobody knows what it has."""
        return time.monotonic() < self._rests_until

    def disable(self, error: StoreError) -> None:
        """Leave the cache alone for a minute; says so unless it was said just now."""
        if time.monotonic() >= self._rests_until:
            warn(f"{error}; disabling binary cache '{self.uri}' for {_REST:g} seconds")
        self._rests_until = time.monotonic() + _REST

    def description(self) -> dict[str, str] | None:
        """The lines of `nix-cache-info`, None if there is none. Asks the cache.

        Raises:
            StoreError: it can't be reached.
        """
        data = self.transport.get("nix-cache-info")
        if data is None:
            return None
        lines = (line.partition(":") for line in data.decode("utf-8", "replace").splitlines())
        return {key.strip(): value.strip() for key, _, value in lines}

    def _read_description(self) -> tuple[int, bool]:
        text = self._answers.cache_info(self._id) if self._answers is not None else None
        if text is None:
            lines = self.description()
            if lines is None:
                lines = {}
            prefix = lines.get("StoreDir", self.directory.path)
            priority = lines.get("Priority", "")
            number = priority if priority.isascii() and priority.isdigit() else str(_DEFAULT_PRIORITY)
            text = f"{prefix}\n{number}\n{lines.get('WantMassQuery', '0')}"
            if self._answers is not None:
                self._answers.put_cache_info(self._id, text)
        prefix, priority, mass = text.split("\n")
        if prefix != self.directory.path:
            raise BadCacheError(
                f"binary cache '{self.uri}' is for Nix stores with prefix '{prefix}', not '{self.directory.path}'"
            )
        return int(priority), mass == "1"

    # What `offer_query` asks.

    def known(self, path: StorePath) -> NarInfo | bool | None:
        """What was answered before: False that it has not got the path, None if it was not asked."""
        found = self._memory.get(path)
        if found is False and time.monotonic() > self._missing_until.get(path, 0.0):
            found = None
        if found is None and self._answers is not None:
            found = self._answers.find(self._id, path)
            if found is not None:
                self._remember(path, found)
        return found

    def _remember(self, path: StorePath, answer: NarInfo | bool) -> None:
        self._memory[path] = answer
        if answer is False:
            self._missing_until[path] = time.monotonic() + self._missing_for

    def ask(self, path: StorePath) -> NarInfo | bool:
        """Ask and wait. A failure disables the cache and counts as not having the path."""
        key = f"{path.hash_part}.narinfo"
        try:
            return self._conclude(path, self.transport.get(key))
        except StoreError as error:
            self.disable(error)
            return False

    def exchange(self, path: StorePath) -> Exchange | None:
        """The request that asks; None if `ask` is as good."""
        return self.transport.exchange(f"{path.hash_part}.narinfo")

    def client(self) -> HttpClient | None:
        """What sends those requests."""
        return self.transport.client()

    def take(self, path: StorePath, exchange: Exchange) -> NarInfo | bool:
        """Take the answer to such a request."""
        if exchange.error is not None:
            self.disable(exchange.error)
            return False
        if exchange.is_missing:
            return self._conclude(path, None)
        try:
            exchange.check_status()
        except StoreError as error:
            self.disable(error)
            return False
        return self._conclude(path, exchange.take())

    def _conclude(self, path: StorePath, data: bytes | None) -> NarInfo | bool:
        found: NarInfo | bool = False
        if data is not None:
            whence = f"{self.uri}/{path.hash_part}.narinfo"
            try:
                if len(data) > MAX_SIZE:
                    raise BadCacheError(f"NAR info file '{whence}' is too large")
                found = parse_narinfo(data, self.directory, whence, path)
                check_method(found.compression)
            except StoreError as error:
                # Not remembered on disk: it is the file that is broken, and it may be repaired.
                warn(str(error))
                self._remember(path, False)
                return False
        self._remember(path, found)
        self._unsaved[path] = found
        return found

    def save(self) -> None:
        """Write new answers to the database of answers."""
        fresh, self._unsaved = self._unsaved, {}
        if self._answers is not None and fresh:
            self._answers.put(
                self._id,
                {path: answer for path, answer in fresh.items() if isinstance(answer, NarInfo)},
                [path for path, answer in fresh.items() if answer is False],
            )

    def forget(self, path: StorePath) -> None:
        """Forget an answer that turned out to be wrong, as when the NAR is gone."""
        self._memory.pop(path, None)
        if self._answers is not None:
            self._answers.forget(self._id, path)

    def realisation(self, output: DrvOutput) -> Realisation | None:
        """What it says an output of a derivation is. A failure disables the cache and counts as not knowing."""
        from storefs.formats.realisation import parse_realisation  # noqa: PLC0415  only for what floats

        key = f"realisations/{output}.doi"
        data = self._answers.realisation(self._id, str(output)) if self._answers is not None else None
        remembered = data is not None
        try:
            data = data if remembered else self.transport.get(key)
        except StoreError as error:
            self.disable(error)
            return None
        if data is None:
            return None
        try:
            found = parse_realisation(data, f"{self.uri}/{key}")
            if found.id != output:
                raise BadCacheError(f"'{self.uri}/{key}' is the realisation of another output")
        except StoreError as error:
            warn(str(error))
            return None
        if self._answers is not None and not remembered:
            self._answers.put_realisation(self._id, str(output), data)
        return found

    # What `api.Substituter` wants.

    def offers(self, paths: Collection[StorePath]) -> dict[StorePath, Offer]:
        """What it has of `paths`, all asked at once."""
        found = query([self], paths)
        return {path: Offer(narinfo.info, narinfo.file_size) for path, (_, narinfo) in found.items()}

    def nar(self, offer: Offer) -> Iterator[bytes]:
        """The NAR of an offered path; raises StoreError when the transfer fails."""
        narinfo = self.known(offer.info.path)
        if not isinstance(narinfo, NarInfo):
            raise BadCacheError(
                f"path '{self.directory.print(offer.info.path)}' is not in the binary cache '{self.uri}'"
            )
        with self.open_nar(narinfo) as pieces:
            yield from pieces

    def prefetch(self, narinfos: Sequence[NarInfo]) -> None:
        """Fetch small NARs at once, so that many of them cost one round trip; `open_nar` finds them here."""
        requests = []
        for narinfo in narinfos:
            if 0 < narinfo.file_size <= _SMALL:
                request = self.transport.exchange(narinfo.url)
                if request is not None:
                    request.tag = narinfo.url
                    requests.append(request)
        client = self.client()
        if client is None or len(requests) < 2:
            return

        def done(exchange: Exchange) -> tuple[()]:
            if exchange.error is None and exchange.status == 200:
                self._small[exchange.tag] = exchange.take()
            return ()

        client.many(requests, done)

    @contextmanager
    def open_nar(self, narinfo: NarInfo) -> Iterator[Iterator[bytes]]:
        """A context with the uncompressed pieces of a NAR. Raises StoreError, also while they are read."""
        body = self._small.pop(narinfo.url, None)
        if body is not None:
            yield decompress([body], narinfo.compression)
            return
        with self.transport.open(narinfo.url) as pieces:
            yield decompress(pieces, narinfo.compression)

    # What else a cache may have.

    def listing(self, path: StorePath) -> dict[str, Any] | None:
        """The `.ls` listing of a path: Nix's JSON of its tree, None if the cache has none.

        Raises:
            StoreError: the cache fails, or the listing is none.
        """
        data = self.transport.get(f"{path.hash_part}.ls")
        if data is None:
            return None
        from storefs.formats.json_input import parse_json  # noqa: PLC0415  3 ms that nobody pays who only asks

        try:
            listing = parse_json(data)
        except ValueError:
            listing = None
        if not isinstance(listing, dict) or "root" not in listing:
            raise BadCacheError(f"binary cache '{self.uri}' has a malformed listing of '{self.directory.print(path)}'")
        root = listing["root"]
        return root if isinstance(root, dict) else None

    def build_log(self, path: StorePath) -> bytes | None:
        """The log of a derivation's build, None if the cache has none. Raises StoreError if it fails."""
        return self.transport.get(f"log/{path.base_name}")
