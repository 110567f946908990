"""The declared profile: reading `profile.yaml`, saying what is wrong with it, and changing it without disturbing it.

Reading gives a `Declaration`, a plain value. Changing (`add_package` ...) keeps the user's comments, order and quoting;
the text in, the text out. The only importer of ruamel.yaml, and the only reader of this format. It does no I/O but
`read_declaration`. What the words of a declaration mean is decided in `resolve.py`.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from profiles.declaration import Channel, Declaration, Package
from profiles.schema import SchemaViolation, check
from storefs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ruamel.yaml.error import MarkedYAMLError

    from profiles.printed_data import Plain
    from profiles.schema import Place

_PATH_STARTS = ("/", "./", "../", "~/")
_CHANNEL_NAME = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-")

STARTER = """\
# What this profile contains. 'verglas profile apply' makes it so; 'verglas profile plan' shows what that would do.

channels:
  # The first channel is where packages come from that name none.
  nixpkgs: https://nixos.org/channels/nixpkgs-unstable

packages: []
  # - hello                      an attribute path
  # - attr: git
  #   outputs: [out, man]
  #   priority: 4                who wins a conflict: the lower number, usually 5
  #   pin: true                  upgrades leave it alone
"""


class ManifestError(StoreError):
    """A profile.yaml is wrong. The text begins with file, line and column, as compilers' do."""

    def __init__(self, path: str, line: int, column: int, reason: str) -> None:
        super().__init__(f"{path}:{line}:{column}: {reason}")
        self.path = path
        self.line = line
        self.column = column
        self.reason = reason


def read_declaration(path: str, home: str) -> Declaration:
    """Read a profile.yaml.

    Args:
        path: the file; paths in it are relative to its directory.
        home: what `~/` stands for.

    Raises:
        ManifestError: it is wrong.
        StoreError: it is not there.
        OSError: it can't be read.
    """
    try:
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        raise StoreError(f"profile '{path}' does not exist; 'verglas profile init' writes a first one") from None
    return parse_declaration(text, path, home)


def parse_declaration(text: bytes, path: str, home: str) -> Declaration:
    """Read the text of a profile.yaml; `path` is for messages and for relative paths. Raises ManifestError."""
    data = _load(text, path)
    try:
        check(data)
    except SchemaViolation as fault:
        line, column = _position(data, fault.place, fault.at_key)
        place = ".".join(str(each) for each in fault.place)
        reason = fault.reason if fault.at_key or not place else f"'{place}': {fault.reason}"
        raise ManifestError(path, line, column, reason) from None
    return _Parser(data, text, path, home).declaration()


class _Parser:
    """Turns checked data into a Declaration."""

    def __init__(self, data: Any, text: bytes, path: str, home: str) -> None:
        self._data = data
        self._text = text
        self._path = path
        self._folder = os.path.dirname(os.path.abspath(path))
        self._home = home

    def declaration(self) -> Declaration:
        data = self._data
        channels = {str(name): self._channel(str(name)) for name in data.get("channels") or ()}
        packages = [self._package(index, channels) for index in range(len(data.get("packages") or ()))]
        self._refuse_duplicates(packages)
        activation = (data.get("hooks") or {}).get("activate", [])
        return Declaration(
            path=self._path,
            text=self._text,
            channels=channels,
            packages=tuple(packages),
            links={self._link_name(name): str(target) for name, target in (data.get("links") or {}).items()},
            activation=(str(activation),) if isinstance(activation, str) else tuple(str(each) for each in activation),
            system=str(data.get("system", "")),
        )

    def _channel(self, name: str) -> Channel:
        value = self._data["channels"][name]
        place: Place = ("channels", name)
        if not _CHANNEL_NAME.issuperset(name) or name[:1] in {"", ".", "-"}:
            self._fail(place, f"'{name}' can't be a channel's name; use letters, digits, '_', '.' and '-'", at_key=True)
        if isinstance(value, str):
            kind = "path" if value.startswith(_PATH_STARTS) else "git" if value.startswith("git+") else "url"
            value = {kind: value.removeprefix("git+")}
        kinds = [kind for kind in ("url", "path", "git") if kind in value]
        if len(kinds) != 1:
            self._fail(place, f"channel '{name}' needs exactly one of 'url', 'path' and 'git'")
        kind = kinds[0]
        location = str(value[kind])
        if kind == "path":
            location = self._absolute(location)
        elif kind == "url" and not location.startswith(("http://", "https://", "file://")):
            self._fail((*place, kind) if (*place, kind) else place, f"'{location}' is no URL (http, https, file)")
        for key in ("ref", "rev"):
            if key in value and kind != "git":
                self._fail((*place, key), f"'{key}' is for git repositories only", at_key=True)
        arguments = _plain(value.get("arguments", {}))
        assert isinstance(arguments, dict)
        line = _position(self._data, place, True)[0]
        return Channel(name, kind, location, str(value.get("ref", "")), str(value.get("rev", "")), arguments, line)

    def _package(self, index: int, channels: Mapping[str, Channel]) -> Package:
        value = self._data["packages"][index]
        place: Place = ("packages", index)
        line = _position(self._data, place, False)[0]
        if isinstance(value, str):
            if value.startswith(_PATH_STARTS):
                value = {"path": value}
            else:
                channel, mark, attr = value.rpartition("#")
                value = {"attr": attr, "channel": channel} if mark else {"attr": attr}
        attr, path = str(value.get("attr", "")), str(value.get("path", ""))
        if path and "channel" in value:
            self._fail((*place, "channel"), "a package has either a 'channel' or a 'path'", at_key=True)
        if " " in attr and '"' not in attr:
            self._fail(place, f"'{attr}' is no attribute path; each package is an item of its own: '- PACKAGE'")
        if not path and not attr:
            self._fail(place, "a package needs an 'attr' or a 'path'")
        channel = "" if path else str(value.get("channel") or next(iter(channels), ""))
        if not path and channel not in channels:
            self._fail(place, self._no_channel(channel, attr, channels))
        pin = value.get("pin", False)
        outputs = value.get("outputs")
        if outputs is not None and not outputs:
            self._fail((*place, "outputs"), "'outputs' must name at least one output")
        priority = value.get("priority")
        override = str(value.get("override", ""))
        return Package(
            attr=attr,
            channel=channel,
            path=self._absolute(path) if path else "",
            outputs=None if outputs is None else tuple(str(each) for each in outputs),
            priority=None if priority is None else int(priority),
            pinned=pin is not False,
            version="" if isinstance(pin, bool) else str(pin),
            override=self._absolute(override) if override else "",
            line=line,
        )

    def _no_channel(self, channel: str, attr: str, channels: Mapping[str, Channel]) -> str:
        if not channel:
            return f"package '{attr}' needs a channel, and 'channels' names none"
        return f"there is no channel '{channel}'; there are {', '.join(channels) or 'none'}"

    def _refuse_duplicates(self, packages: list[Package]) -> None:
        seen: dict[tuple[str, str, str], Package] = {}
        for index, package in enumerate(packages):
            first = seen.setdefault((package.channel, package.path, package.attr), package)
            if first is not package:
                self._fail(("packages", index), f"package '{package.label}' is in line {first.line} already")

    def _link_name(self, name: str) -> str:
        parts = name.split("/")
        if any(part in {"", ".", ".."} for part in parts) or name == "manifest.nix":
            self._fail(("links", name), f"'{name}' can't be a name in the profile", at_key=True)
        return name

    def _absolute(self, path: str) -> str:
        if path.startswith("~/"):
            path = self._home + path[1:]
        return os.path.normpath(os.path.join(self._folder, path))

    def _fail(self, place: Place, reason: str, at_key: bool = False) -> None:
        line, column = _position(self._data, place, at_key)
        raise ManifestError(self._path, line, column, reason)


def add_package(text: bytes, path: str, package: str | Mapping[str, Plain]) -> bytes:
    """Return the text with one more package, at the end. Raises ManifestError."""
    data = _load(text, path)
    if data.get("packages") is None:
        data["packages"] = []
    packages = data["packages"]
    if not packages and hasattr(packages, "fa"):
        packages.fa.set_block_style()
    packages.append(dict(package) if not isinstance(package, str) else package)
    return _dump(data, text)


def remove_package(text: bytes, path: str, index: int) -> bytes:
    """Return the text without the package number `index`. Raises ManifestError."""
    data = _load(text, path)
    packages = data["packages"]
    del packages[index]
    if not packages:
        packages.fa.set_flow_style()
    return _dump(data, text)


def add_channel(text: bytes, path: str, name: str, location: str) -> bytes:
    """Return the text with one more channel, at the end, or with another location for it. Raises ManifestError."""
    data = _load(text, path)
    if data.get("channels") is None:
        data["channels"] = {}
    data["channels"][name] = location
    return _dump(data, text)


def _load(text: bytes, path: str) -> Any:
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415

    try:
        data = _yaml().load(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        column = error.start - text.rfind(b"\n", 0, error.start)
        raise ManifestError(path, line, column, "this is not UTF-8") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ManifestError(path, line, column, _explained(error)) from None
    except YAMLError as error:
        raise ManifestError(path, 1, 1, " ".join(str(error).split())) from None
    if data is None:
        data = _yaml().load("{}")
        data.fa.set_block_style()
    return data


def _explained(error: MarkedYAMLError) -> str:
    """What is wrong with the YAML, in words for somebody who knows as much of it as the examples show."""
    problem = " ".join(str(error.problem or error.context).split())
    if problem.startswith("found duplicate key"):
        key = problem.split('"')[1]
        return f"the key '{key}' is there already; a key stands only once"
    if "'\\t'" in problem:
        return "there is a tab; YAML is indented with spaces"
    return problem


def _yaml() -> Any:
    from ruamel.yaml import YAML  # noqa: PLC0415  18 ms that `profile apply` with nothing to do does not pay

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096  # never fold the user's long lines
    return yaml


def _dump(data: Any, like: bytes) -> bytes:
    yaml = _yaml()
    mapping, sequence, offset = _indentation(like.decode("utf-8"))
    yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
    stream = io.BytesIO()
    yaml.dump(data, stream)
    return stream.getvalue()


def _indentation(text: str) -> tuple[int, int, int]:
    """Return how the text indents: below a key, items' content, and the dashes of items."""
    mapping, offset = 2, 2
    found_mapping = found_dash = False
    previous = ""
    for line in text.splitlines():
        stripped = line.lstrip(" ")
        if not stripped or stripped.startswith("#"):
            continue
        indent = len(line) - len(stripped)
        base = len(previous) - len(previous.lstrip(" "))
        if previous.partition(" #")[0].rstrip().endswith(":"):
            if stripped.startswith("- ") and not found_dash:
                offset, found_dash = max(indent - base, 0), True
            elif indent > base and not stripped.startswith("- ") and not found_mapping:
                mapping, found_mapping = indent - base, True
        previous = line
    return mapping, offset + 2, offset


def _position(data: Any, place: Place, at_key: bool) -> tuple[int, int]:
    """Return line and column, counted from 1, of the key or the value at a place."""
    line, column = 0, 0
    for depth, key in enumerate(place):
        last = depth == len(place) - 1
        try:
            if isinstance(key, int):
                line, column = data.lc.item(key)
            else:
                line, column = data.lc.key(key) if at_key and last else data.lc.value(key)
            data = data[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line + 1, column + 1


def _plain(value: Any) -> Plain:
    """Return data without ruamel's classes."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)
