"""The part of the daemon's service that needs a local store and no Builder.

`builder.commands.nix_daemon` completes it with building and substituting. One instance serves one client, in that
client's process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storefs.daemon.stored_answers import StoredAnswers
from storefs.errors import StoreError, UsageError
from storefs.experimental import CA_DERIVATIONS, require_feature
from storefs.formats.export import write_exported
from storefs.formats.signatures import PublicKeys
from storefs.gc.roots import register_indirect_root
from storefs.protocol.worker_ops import GC_DELETE_SPECIFIC, GC_RETURN_DEAD, GC_RETURN_LIVE
from storefs.stores.admission import admit_content, admit_export, admit_nars

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from storefs.config import Config
    from storefs.daemon.peer import Peer
    from storefs.daemon.tunnel import Tunnel
    from storefs.formats.byte_reader import Buffer
    from storefs.formats.path_info import PathInfo
    from storefs.formats.realisation import Realisation
    from storefs.formats.store_path import StorePath
    from storefs.protocol.worker_values import ClientOptions
    from storefs.stores.local import LocalStore

# What somebody who is not trusted may set: how long their own builds may take, and nothing that weakens a check.
_HARMLESS = frozenset({"timeout", "max-silent-time", "repeat", "connect-timeout", "build-timeout", "build-repeat"})
_AUTO_JOBS = 2**32 - 1


class StoreService:
    """See `storefs.daemon.service.Service`."""

    def __init__(self, store: LocalStore, config: Config) -> None:
        self.store = store
        self.answers = StoredAnswers(store)
        self.config = config

    def configure(self, options: ClientOptions, tunnel: Tunnel, peer: Peer) -> None:
        """Take over the client's settings, as far as it is trusted."""
        settings = {
            "keep-failed": _text(options.keep_failed),
            "keep-going": _text(options.keep_going),
            "fallback": _text(options.fallback),
            "max-jobs": "auto" if options.max_jobs == _AUTO_JOBS else str(options.max_jobs),
            "max-silent-time": str(options.max_silent_time),
            "cores": str(options.build_cores),
            "substitute": _text(options.substitute),
        }
        for name, value in options.overrides.items():
            if name in {"substituters", "extra-substituters"} and not peer.trusted:
                settings["substituters"] = self._allowed_substituters(value, tunnel)
            elif peer.trusted or name in _HARMLESS or (name == "builders" and not value):
                settings[name] = value
        settings.pop("experimental-features", None)
        try:
            self.config = self.config.with_client_settings(settings.items())
        except UsageError:
            # A client of another release may have values that are none here: it is told, and the others hold.
            for pair in settings.items():
                try:
                    self.config = self.config.with_client_settings([pair])
                except UsageError as error:
                    tunnel.line(1, f"warning: {error}")

    def _allowed_substituters(self, wanted: str, tunnel: Tunnel) -> str:
        allowed = {uri.rstrip("/") for uri in self.config.words("trusted-substituters")}
        allowed |= {uri.rstrip("/") for uri in self.config.words("substituters")}
        for uri in wanted.split():
            if uri.rstrip("/") not in allowed:
                tunnel.line(1, f"warning: ignoring untrusted substituter '{uri}'")
        return " ".join(uri for uri in wanted.split() if uri.rstrip("/") in allowed)

    def add_content_addressed(
        self, name: str, method: str, chunks: Iterable[Buffer], references: Iterable[StorePath], *, repair: bool
    ) -> PathInfo:
        """See `Service`."""
        return admit_content(self.store, name, method, chunks, references, repair=repair)

    def add_nars(
        self, additions: Iterable[tuple[PathInfo, Iterable[Buffer]]], *, repair: bool, check_signatures: bool
    ) -> None:
        """See `Service`."""
        admit_nars(self.store, self.config, additions, repair=repair, check_signatures=check_signatures)

    def import_paths(self, chunks: Iterable[Buffer], *, check_signatures: bool) -> list[StorePath]:
        """See `Service`."""
        return admit_export(self.store, self.config, chunks, check_signatures=check_signatures)

    def export_path(self, path: StorePath) -> Iterator[bytes]:
        """See `Service`."""
        info = self.store.path_info(path)
        return write_exported(info, self.store.nar(path), self.store.directory)

    def add_signatures(self, path: StorePath, signatures: Iterable[str]) -> None:
        """See `Service`."""
        self.store.add_signatures(path, signatures)

    def register_realisation(self, realisation: Realisation, *, check_signatures: bool) -> None:
        """See `Service`."""
        require_feature(self.config, CA_DERIVATIONS)
        require = check_signatures and self.config.boolean("require-sigs")
        if require and not realisation.verified_by(PublicKeys(self.config.words("trusted-public-keys"))):
            name = realisation.path.base_name
            raise StoreError(f"cannot register realisation '{name}' because it lacks a valid signature")
        self.store.register_realisations([realisation])

    def add_root(self, link: str) -> None:
        """See `Service`."""
        if not link.startswith("/") or "\0" in link:
            raise StoreError(f"the root {link!r} is not an absolute path")
        register_indirect_root(self.config.state_dir, link)

    def find_roots(self, *, censor: bool) -> list[tuple[str, StorePath]]:
        """See `Service`."""
        collector = self.store.collector()
        try:
            roots = collector.roots()
        finally:
            collector.close()
        censored = "{censored}"
        found = {
            (censored if censor and not link.startswith(self.config.state_dir) else link, path)
            for path, links in roots.items()
            for link in links
        }
        return sorted(found, key=lambda root: (root[1], root[0]))

    def collect_garbage(self, action: int, paths: Iterable[StorePath], max_freed: int) -> tuple[list[StorePath], int]:
        """See `Service`."""
        collector = self.store.collector()
        try:
            if action == GC_RETURN_LIVE:
                return sorted(collector.live()), 0
            if action == GC_RETURN_DEAD:
                return sorted(collector.dead()), 0
            collected = collector.delete(paths) if action == GC_DELETE_SPECIFIC else collector.collect(max_freed)
        finally:
            collector.close()
        return collected.paths, collected.bytes_freed

    def optimise(self) -> None:
        """See `Service`: contents are stored once from the beginning, so there is nothing left to do."""


def _text(value: bool) -> str:
    return "true" if value else "false"
