"""Reads a netrc file: which user and password belong to which host. (The standard library's reader takes 8 ms to
import, and refuses files that curl accepts.)
"""

from __future__ import annotations


def read_netrc(path: str) -> dict[str, tuple[str, str]]:
    """Return host -> (user, password); a file that is absent or unreadable has none.

    The entry `default` is left out: sending a password to whoever happens to be asked is no good default.
    """
    try:
        with open(path, encoding="utf-8") as file:
            words = file.read().split()
    except (OSError, UnicodeDecodeError):
        return {}
    found: dict[str, tuple[str, str]] = {}
    host = ""
    fields: dict[str, str] = {}
    pairs = iter(words)
    for word in pairs:
        if word == "default":
            host = ""
        elif word == "machine":
            host, fields = next(pairs, ""), {}
        elif word in ("login", "password", "account"):
            fields[word] = next(pairs, "")
            if host:
                found[host] = (fields.get("login", ""), fields.get("password", ""))
    return found
