"""The store that is evaluated in and the one that is built in: the same one, but for `--eval-store`.

Derivations and sources go to the first; the second gets what is built, and of the rest what builds need. As with Nix
2.8 a local store builds derivations that it does not have; any other is sent them. Opened when first asked for. For
`session`.
"""

from __future__ import annotations

import os

from storefs.config import load_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from storefs.api import Store
    from storefs.config import Config
    from storefs.formats.store_path import StorePath


class Stores:
    """See the module.

    Args:
        config: of the store that is built in.
        eval_store: the URI of the store that is evaluated in, None if it is the same.

    Attributes:
        eval_config: of the store that is evaluated in.
        apart: whether there are two.
    """

    def __init__(self, config: Config, eval_store: str | None) -> None:
        self._config = self.eval_config = config
        self.apart = eval_store is not None
        if eval_store is not None:
            self.eval_config = load_config(config.environment(), config.overrides().items(), eval_store)
        self._build: Store | None = None
        self._eval: Store | None = None

    def open_eval(self, *, read_only: bool) -> Store | None:
        """Open the store that is evaluated in; None if there is none, and with `read_only` if it has no state yet."""
        config = self.eval_config
        if config.store_uri.startswith("dummy:"):
            return None
        if self._eval is None:
            absent = not os.path.exists(config.verglas_dir + "/db") and _is_local(config)
            if absent and read_only:
                return None  # nothing was ever stored here: a command that only looks must not begin it
            self._eval = _open(config)
        return self._eval

    def build_store(self) -> Store | None:
        """Return the store that is built in; if it is the one that is evaluated in, None until that was opened."""
        if not self.apart:
            return self._eval
        if self._build is None:
            self._build = _open(self._config)
        return self._build

    def derivations_for(self, build_store: Store, drv_paths: Iterable[StorePath], *, sent: bool) -> Store | None:
        """Return the store that has the derivations of a build, None if the one that is built in has them all.

        That is sent them if it is not local, or if `sent` asks for it.
        """
        if not self.apart or self._eval is None:
            return None
        if build_store.uri == "local" and not sent:
            return self._eval
        from storefs.stores.copy_between import copy_all  # noqa: PLC0415  nearly nobody evaluates in another store

        copy_all(self._eval, build_store, self._eval.valid_paths(drv_paths))
        return None

    def bring_home(self, paths: Iterable[StorePath]) -> None:
        """Copy what was built to the store that is evaluated in: expressions read it there."""
        if not self.apart or self._eval is None or self._build is None:
            return
        from storefs.stores.copy_between import copy_all  # noqa: PLC0415  see `derivations_for`

        copy_all(self._build, self._eval, set(paths))

    def show_eval(self) -> None:
        """Make the files of a local store that is only evaluated in visible where it lies."""
        if self.apart and _is_local(self.eval_config):
            from storefs.stores.showing import show_store  # noqa: PLC0415  few have two stores

            show_store(self.eval_config)


def _open(config: Config) -> Store:
    from storefs.stores.any_store import open_any_store  # noqa: PLC0415  printing a number needs no database

    return open_any_store(config)


def _is_local(config: Config) -> bool:
    return config.store_uri in {"auto", "local"} and not os.path.exists(f"{config.state_dir}/daemon-socket/socket")
