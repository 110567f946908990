"""Restricted and pure evaluation: the effects of another `EvalIO`, as far as they are allowed.

In restricted mode (`--restrict-eval`) an expression sees the search path, the files that the command line names and
what it made itself; in pure mode (`--pure-eval`) not even the search path. Semantics: `checkSourcePath` and `checkURI`
in eval.cc of Nix 2.8. Made by `session.py`, seen by nobody else: the language only knows an `EvalIO`.
"""

from __future__ import annotations

import os

from evaluator.errors import NO_POS, RestrictedPathError
from evaluator.forwarding_io import ForwardingIO
from evaluator.host_files import COREPKGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from evaluator.eval_io import ClosureRequest, EvalIO, RepositoryRequest, RepositoryTree
    from storefs.formats.hashes import Hash


class RestrictedIO(ForwardingIO):
    """The effects of `inner` on allowed paths and URLs; `RestrictedPathError` on others."""

    def __init__(self, inner: EvalIO, *, pure: bool, allowed_uris: Iterable[str]) -> None:
        super().__init__(inner)
        self._pure = pure
        self._uris = tuple(allowed_uris)
        self._allowed: list[str] = []
        self._checked: dict[str, str] = {}

    def allow(self, path: str) -> None:
        """Allow a path and everything beneath it."""
        self._allowed.append(os.path.normpath(path))

    def _is_allowed(self, path: str) -> bool:
        return any(allowed in {path, "/"} or path.startswith(allowed + "/") for allowed in self._allowed)

    def check(self, path: str) -> str:
        """Return `path` with its links resolved if it may be read.

        Both the path and what it resolves to must be allowed, so that `..` and links lead nowhere else.
        """
        found = self._checked.get(path)
        if found is not None:
            return found
        plain = os.path.normpath(path)
        if plain.startswith(COREPKGS):
            return plain
        mode = "in pure eval mode (use '--impure' to override)" if self._pure else "in restricted mode"
        if not self._is_allowed(plain):
            raise RestrictedPathError(f"access to absolute path '{plain}' is forbidden {mode}", NO_POS)
        real = self._inner.resolve(plain)
        if not self._is_allowed(real):
            raise RestrictedPathError(f"access to canonical path '{real}' is forbidden {mode}", NO_POS)
        self._checked[path] = real
        return real

    def check_uri(self, uri: str) -> None:
        """Raise unless the URL may be fetched: it is, or lies below, one of `allowed-uris`, or an allowed file."""
        if self._pure and not self._uris:
            return
        for prefix in self._uris:
            if uri == prefix or (
                prefix
                and len(uri) > len(prefix)
                and uri.startswith(prefix)
                and (prefix[-1] == "/" or uri[len(prefix)] == "/")
            ):
                return
        if uri.startswith("/"):
            self.check(uri)
        elif uri.startswith("file://"):
            self.check(uri[7:])
        else:
            raise RestrictedPathError(f"access to URI '{uri}' is forbidden in restricted mode", NO_POS)

    def _made(self, path: str) -> str:
        self.allow(path)
        return path

    def file_type(self, path: str) -> str | None:
        """See `EvalIO`; the last component may be a link to anywhere."""
        head, _, tail = path.rpartition("/")
        if not self._is_allowed(os.path.normpath(path)):
            self.check(path)
        return self._inner.file_type(f"{self.check(head)}/{tail}" if self._is_allowed(head) else path)

    def exists(self, path: str) -> bool:
        """See `EvalIO`."""
        return self._inner.exists(self.check(path))

    def read_file(self, path: str) -> bytes:
        """See `EvalIO`."""
        return self._inner.read_file(self.check(path))

    def list_dir(self, path: str) -> dict[str, str]:
        """See `EvalIO`."""
        return self._inner.list_dir(self.check(path))

    def is_executable(self, path: str) -> bool:
        """See `EvalIO`."""
        return self._inner.is_executable(self.check(path))

    def resolve(self, path: str) -> str:
        """See `EvalIO`."""
        return self.check(path)

    def ensure(self, path: str) -> None:
        """See `EvalIO`; asked of paths that an expression may name."""
        self._inner.ensure(path)
        self.allow(path)

    def add_path(
        self,
        name: str,
        path: str,
        *,
        recursive: bool = True,
        keep: Callable[[str, str], bool] | None = None,
        expected: Hash | None = None,
    ) -> str:
        """See `EvalIO`; in pure mode a path with a hash is allowed."""
        source = path if self._pure and expected is not None else self.check(path)
        return self._made(self._inner.add_path(name, source, recursive=recursive, keep=keep, expected=expected))

    def add_text(self, name: str, content: bytes, references: Iterable[str]) -> str:
        """See `EvalIO`."""
        return self._made(self._inner.add_text(name, content, references))

    def realise(self, outputs: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """See `EvalIO`; what was built may be read."""
        rewrites = self._inner.realise(outputs)
        for drv_path, names in outputs.items():
            derivation = self._inner.derivation(drv_path)
            for name in names:
                output = derivation.outputs.get(name)
                if output is not None and output.path is not None:
                    self.allow(self.directory.print(output.path))
        for path in rewrites.values():
            self.allow(path)
        return rewrites

    def download(self, url: str, name: str, *, unpack: bool, expected: Hash | None) -> str:
        """See `EvalIO`."""
        self.check_uri(url)
        return self._made(self._inner.download(url, name, unpack=unpack, expected=expected))

    def fetch_repository(self, request: RepositoryRequest) -> RepositoryTree:
        """See `EvalIO`."""
        self.check_uri(request.url)
        tree = self._inner.fetch_repository(request)
        self.allow(tree.path)
        return tree

    def fetch_closure(self, request: ClosureRequest) -> str:
        """See `EvalIO`; the contents are known by their name."""
        return self._made(self._inner.fetch_closure(request))
