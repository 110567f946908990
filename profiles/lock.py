"""The lock file beside a profile.yaml: exactly which sources were used, and what each package resolved to.

With it, the same declaration gives the same generation on another day and another machine, and what did not change is
not evaluated again. JSON, sorted, one value a line, made for `git diff`. It is written by `switch.py` after everything
was built and never by anybody else; deleting it means "resolve everything anew".
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from profiles.elements import Element
from storefs.errors import StoreError
from storefs.formats.json_input import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCK_VERSION = 1


class BadLockError(StoreError):
    """A lock file can't be understood."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"lock file '{path}' {reason}; remove it to resolve the profile anew")
        self.path = path


@dataclass(frozen=True, slots=True)
class LockedChannel:
    """One state of a channel.

    Attributes:
        kind, location, ref: as declared (`declaration.Channel`), so that a changed declaration is noticed.
        store_path: the expressions, an absolute store path.
        nar_hash: of that path, as `sha256-...` (SRI).
        revision: what the channel calls this state: a git revision, or what a redirect revealed; '' if nothing.
        time: when it was taken, seconds since 1970.
    """

    kind: str
    location: str
    ref: str
    store_path: str
    nar_hash: str
    revision: str = ""
    time: int = 0


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """What one declared package resolved to.

    Attributes:
        channel, path, attr: the package, as declared.
        fingerprint: of everything the result depends on; see `resolve.py`.
        element: the result.
        source: the state of the channel that it was resolved in; None for a path.
    """

    channel: str
    path: str
    attr: str
    fingerprint: str
    element: Element
    source: LockedChannel | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the package in the declaration."""
        return self.channel, self.path, self.attr


@dataclass(frozen=True, slots=True)
class Lock:
    """A whole lock file."""

    channels: Mapping[str, LockedChannel] = field(default_factory=dict)
    packages: tuple[LockedPackage, ...] = ()

    def package(self, key: tuple[str, str, str]) -> LockedPackage | None:
        """Return what is recorded about a package, None if nothing is."""
        for package in self.packages:
            if package.key == key:
                return package
        return None


def read_lock(path: str) -> Lock:
    """Read a lock file; a missing one is empty.

    Raises:
        BadLockError: it can't be understood.
        OSError: it can't be read.
    """
    try:
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return Lock()
    return parse_lock(text, path)


def parse_lock(text: bytes, path: str) -> Lock:
    """Read the text of a lock file; `path` is for messages. Raises BadLockError."""
    try:
        data = parse_json(text)
    except ValueError as error:
        raise BadLockError(path, f"is no JSON ({error})") from None
    if not isinstance(data, dict) or data.get("version") != LOCK_VERSION:
        version = data.get("version") if isinstance(data, dict) else None
        raise BadLockError(path, f"has version {version}, and this program knows version {LOCK_VERSION}")
    try:
        channels = {name: LockedChannel(**value) for name, value in data["channels"].items()}
        packages = tuple(_package(value, channels) for value in data["packages"])
    except (KeyError, TypeError, AttributeError) as error:
        raise BadLockError(path, f"is incomplete ({error})") from None
    return Lock(channels, packages)


def print_lock(lock: Lock) -> bytes:
    """Return the text of a lock file."""
    data = {
        "version": LOCK_VERSION,
        "channels": {name: _channel_value(channel) for name, channel in lock.channels.items()},
        "packages": [_package_value(package, lock) for package in lock.packages],
    }
    return (json.dumps(data, indent=1, ensure_ascii=True, sort_keys=True) + "\n").encode()


def _channel_value(channel: LockedChannel) -> dict[str, object]:
    return {name: getattr(channel, name) for name in LockedChannel.__slots__}


def _package_value(package: LockedPackage, lock: Lock) -> dict[str, object]:
    element = package.element
    value: dict[str, object] = {
        "channel": package.channel,
        "path": package.path,
        "attr": package.attr,
        "fingerprint": package.fingerprint,
        "name": element.name,
        "system": element.system,
        "outPath": element.out_path,
        "drvPath": element.drv_path,
        "outputs": element.outputs,
        "meta": element.meta,
    }
    if package.source is not None and lock.channels.get(package.channel) != package.source:
        value["source"] = _channel_value(package.source)  # pinned: older than the channel
    return value


def _package(value: Mapping[str, object], channels: Mapping[str, LockedChannel]) -> LockedPackage:
    texts = {}
    for name in ("channel", "path", "attr", "fingerprint", "name", "system", "outPath", "drvPath"):
        text = value[name]
        if not isinstance(text, str):
            raise TypeError(f"'{name}' is no text")
        texts[name] = text
    outputs, meta, source = value["outputs"], value["meta"], value.get("source")
    if not isinstance(outputs, dict) or not isinstance(meta, dict):
        raise TypeError("'outputs' or 'meta' is no object")
    return LockedPackage(
        channel=texts["channel"],
        path=texts["path"],
        attr=texts["attr"],
        fingerprint=texts["fingerprint"],
        element=Element(
            texts["name"],
            texts["outPath"],
            system=texts["system"],
            drv_path=texts["drvPath"],
            outputs=outputs,
            meta=meta,
            attr_path=texts["attr"],
        ),
        source=LockedChannel(**source) if isinstance(source, dict) else channels.get(texts["channel"]),
    )
