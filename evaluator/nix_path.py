"""The grammar of NIX_PATH and `-I`, and where search paths come from: text in, text out.

Semantics: eval.cc (`parseNixPath`, `isUri`) and eval-settings of Nix 2.8. Light, because the result cache needs it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.config import Config

_SCHEMES = frozenset(["http", "https", "file", "channel", "git", "s3", "ssh"])


def is_uri(text: str) -> bool:
    """Return whether a file argument or a search path element is a URL and not a path."""
    if text.startswith("channel:"):
        return True
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme in _SCHEMES


def resolve_uri(text: str) -> str:
    """Spell out `channel:NAME`."""
    if text.startswith("channel:"):
        return f"https://nixos.org/channels/{text[8:]}/nixexprs.tar.xz"
    return text


def split_search_path(text: str) -> list[str]:
    """Split NIX_PATH at its colons, except for the one inside a URL."""
    elements = []
    start = value = at = 0
    while at < len(text):
        if text[at] == "=":
            value = at + 1
        elif text[at] == ":":
            if is_uri(text[value:]):
                at = text.find(":", at + 1)
                if at < 0:
                    break
            elements.append(text[start:at])
            start = value = at + 1
        at += 1
    if start < len(text):
        elements.append(text[start:])
    return elements


def parse_element(text: str) -> tuple[str, str]:
    """Split `prefix=path`; without a prefix it is ''."""
    prefix, separator, target = text.partition("=")
    return (prefix, target) if separator else ("", text)


def nix_path(config: Config) -> list[str]:
    """Return the elements of NIX_PATH, of the setting `nix-path`, or the default ones."""
    environment = config.environment()
    if "NIX_PATH" in environment:
        return split_search_path(environment["NIX_PATH"])
    listed = config.words("nix-path")
    if listed:
        return list(listed)
    if config.boolean("restrict-eval") or config.boolean("pure-eval"):
        return []
    channels = f"{config.state_dir}/profiles/per-user/root/channels"
    candidates = [
        (f"{config.home}/.nix-defexpr/channels", ""),
        (f"{channels}/nixpkgs", "nixpkgs="),
        (channels, ""),
    ]
    return [prefix + path for path, prefix in candidates if os.path.lexists(path)]
