"""Which substituter a URI means: the one place that opens binary caches and other stores to copy from or to.

`https://`, `http://`, `file:///dir` and `s3://bucket` are binary caches; `local?root=DIR`, `/dir` and `daemon` are
stores. Parameters follow a `?` as in Nix: `priority`, `want-mass-query`, `trusted`; those for writing are
`cache_writer`'s.
"""

from __future__ import annotations

import os

from storefs.config import load_config
from storefs.errors import StoreError, UsageError
from storefs.formats.store_path import StoreDir
from storefs.logs import warn
from storefs.metadata.narinfo_cache import NarInfoCache
from storefs.stores.binary_cache import BinaryCache
from storefs.stores.cache_transport import FileTransport, HttpTransport
from storefs.stores.copying import Trust
from storefs.stores.open import open_store
from storefs.stores.store_source import StoreSource
from storefs.stores.substitution import Substitution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from storefs.api import Store
    from storefs.config import Config
    from storefs.http_client.client import HttpClient
    from storefs.stores.cache_transport import Transport
    from storefs.stores.offer_query import Source

CACHE_SCHEMES = ("http", "https", "file", "s3")


class Caches:
    """What the substituters of one command share: a client and the database of answers.

    Args:
        config: settings.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client: HttpClient | None = None
        self._answers: NarInfoCache | None = None
        self._closing: list[Callable[[], None]] = []
        self.directory = StoreDir(config.store_dir)

    def __enter__(self) -> Caches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and the database."""
        for close in self._closing:
            close()
        if self._client is not None:
            self._client.close()
        if self._answers is not None:
            self._answers.close()

    @property
    def client(self) -> HttpClient:
        """The client, made when it is first needed."""
        if self._client is None:
            from storefs.http_client.client import HttpClient  # noqa: PLC0415  20 ms, for who asks over the network

            self._client = HttpClient.from_config(self._config)
        return self._client

    def _answers_database(self) -> NarInfoCache:
        if self._answers is None:
            _heed_removal(self._config)
            self._answers = NarInfoCache(
                answers_path(self._config),
                self._config.integer("narinfo-cache-positive-ttl"),
                self._config.integer("narinfo-cache-negative-ttl"),
            )
        return self._answers

    def open_transport(self, uri: str) -> tuple[Transport, dict[str, str]]:
        """Open the place that a cache's URI names, and return it with the URI's parameters.

        Raises:
            UsageError: it is no binary cache's URI.
        """
        base, parameters = split_uri(uri)
        scheme = "file" if base.startswith("file:/") else base.partition("://")[0]
        if scheme == "file":
            from urllib.parse import unquote  # noqa: PLC0415

            directory = os.path.abspath(unquote(base.removeprefix("file:").removeprefix("//")))
            # How Nix's own tests have answers remembered without a server.
            far = self._config.variable("_NIX_FORCE_HTTP") == "1"
            return FileTransport(directory, is_remote=far), parameters
        if scheme == "s3":
            from storefs.stores.s3_transport import S3Transport  # noqa: PLC0415  hmac and hashlib

            return S3Transport(base, parameters, lambda: self.client, self._config), parameters
        if scheme in ("http", "https"):
            return HttpTransport(base, lambda: self.client), parameters
        raise UsageError(f"'{uri}' is not a binary cache; its URI begins with {', '.join(CACHE_SCHEMES)} and '://'")

    def open_cache(self, uri: str) -> BinaryCache:
        """Open a binary cache for reading. Asks it nothing yet.

        Raises:
            UsageError: it is no binary cache's URI.
        """
        transport, parameters = self.open_transport(uri)
        priority = parameters.get("priority", "")
        mass = parameters.get("want-mass-query")
        return BinaryCache(
            transport,
            self.directory,
            self._answers_database() if transport.is_remote else None,
            missing_for=float(self._config.integer("narinfo-cache-negative-ttl")),
            trusted=_truth(parameters.get("trusted", "")),
            priority=int(priority) if priority.isdigit() else None,
            want_mass_query=None if mass is None else _truth(mass),
        )

    def open_source(self, uri: str) -> Source:
        """Open anything that paths can be copied from.

        Raises:
            StoreError: it can't be opened.
        """
        if is_cache_uri(uri):
            return self.open_cache(uri)
        _, parameters = split_uri(uri)
        if uri.startswith("ssh://"):
            from storefs.stores.ssh_copy import SshSource, open_ssh  # noqa: PLC0415

            source = SshSource(open_ssh(self._config, uri, self.directory, write=False))
            source.is_trusted = _truth(parameters.get("trusted", ""))
            self._closing.append(source.close)
            return source
        other = load_config(self._config.environment(), store_uri=uri)
        store = open_store(other)
        self._closing.append(store.close)
        return StoreSource(store, uri, trusted=_truth(parameters.get("trusted", "")))

    def substitution(self, store: Store, uris: Iterable[str] | None = None) -> Substitution:
        """What fetches from the configured substituters, or from others, into a store.

        A substituter that can't be opened is left out with a warning.
        """
        sources = []
        for uri in dict.fromkeys(self._config.words("substituters") if uris is None else uris):
            try:
                sources.append(self.open_source(uri))
            except StoreError as error:
                warn(f"the substituter '{uri}' is left out: {error}")
        return Substitution(store, sources, self.trust())

    def trust(self) -> Trust:
        """Whose signatures count in this configuration."""
        keys = self._config.words("trusted-public-keys")
        return Trust(self.directory, keys, self._config.boolean("require-sigs"))


def answers_path(config: Config) -> str:
    """Where the database of answers is."""
    return f"{config.xdg('cache')}/verglas/narinfo"


def _heed_removal(config: Config) -> None:
    """Forget all answers if somebody removed `~/.cache/nix/binary-cache*`: so users of Nix clear what it remembers.

    There an empty file stands for our database. Where it can't be made, nothing is forgotten.
    """
    token = f"{config.xdg('cache')}/nix/binary-cache-verglas"
    if os.path.exists(token):
        return
    try:
        os.makedirs(os.path.dirname(token), exist_ok=True)
        with open(token, "xb"):
            pass
    except OSError:
        return
    if os.path.exists(answers_path(config)):
        import shutil  # noqa: PLC0415  7 ms, once

        shutil.rmtree(answers_path(config), ignore_errors=True)


def is_cache_uri(uri: str) -> bool:
    """Whether a URI names a binary cache, not a store."""
    return uri.partition("://")[0] in CACHE_SCHEMES or uri.startswith("file:/")


def split_uri(uri: str) -> tuple[str, dict[str, str]]:
    """Separate a store URI from its parameters."""
    base, mark, query = uri.partition("?")
    if not mark:
        return base, {}
    from urllib.parse import parse_qsl  # noqa: PLC0415  3 ms, only with parameters

    return base, dict(parse_qsl(query, keep_blank_values=True))


def _truth(text: str) -> bool:
    return text in ("1", "true", "yes")
