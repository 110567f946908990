"""What a client tells a daemon before it asks: its verbosity, and what its user has set.

The settings of nix.conf are not told, because the daemon has its own. Semantics: `RemoteStore::setOptions` of Nix 2.8.
"""

from __future__ import annotations

from storefs import logs
from storefs.protocol.worker_values import ClientOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config
    from storefs.settings import Value

# What has a place of its own in the message.
_TOLD_APART = {"cores", "fallback", "keep-failed", "keep-going", "max-jobs", "max-silent-time", "substitute"}
# What concerns the language, what the client fetches and what it prints. Some of it is nobody else's business.
_OF_THE_CLIENT = {
    "abort-on-warn",
    "access-tokens",
    "allow-dirty",
    "allow-import-from-derivation",
    "allow-unsafe-native-code-during-evaluation",
    "allowed-uris",
    "eval-cache",
    "experimental-features",
    "flake-registry",
    "lint-absolute-path-literals",
    "lint-short-path-literals",
    "lint-url-literals",
    "nix-path",
    "nix-version",
    "parse-cache",
    "plugin-files",
    "preallocate-contents",
    "pure-eval",
    "restrict-eval",
    "show-trace",
    "trace-function-calls",
    "trace-verbose",
    "transport",
    "use-case-hack",
    "use-xdg-base-directories",
    "verbosity",
    "warn-dirty",
}
# Lists that are sets for Nix.
_SETS = {"extra-platforms", "ignored-acls", "sandbox-paths", "system-features", "trusted-substituters"}


def client_options(config: Config) -> ClientOptions:
    """Return what a daemon is told first by a client with these settings."""
    own = config.own_settings()
    return ClientOptions(
        keep_failed=config.boolean("keep-failed"),
        keep_going=config.boolean("keep-going"),
        fallback=config.boolean("fallback"),
        verbosity=logs.sink.level,
        max_jobs=config.max_jobs,
        max_silent_time=config.integer("max-silent-time"),
        verbose_build=logs.sink.build_logs is not False,
        build_cores=config.integer("cores"),
        substitute=config.boolean("substitute"),
        overrides={
            name: _text(name, value)
            for name, value in own.items()
            if name not in _TOLD_APART and name not in _OF_THE_CLIENT
        },
    )


def _text(name: str, value: Value) -> str:
    """A value as nix.conf has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return " ".join(sorted(set(value)) if name in _SETS else value)
    return str(value)
