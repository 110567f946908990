"""Channels as `nix-channel` keeps them: the list in `~/.nix-channels`, and a profile in which each is a package.

The list is lines of a URL and a name. What is in a channel comes into the store as an archive and is unpacked by a
derivation (`unpack-channel.nix`); the packages of the channels profile are these, so a channel has generations and can
be rolled back. `~/.nix-defexpr/channels` points to that profile. Rules: nix-channel.cc of Nix 2.8.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.print_value import show_string
from profiles.nix_env.changes import Changer
from profiles.nix_env.choosing import FROM_EXPRESSIONS, Source
from profiles.store_reader import StoreReader
from storefs import logs
from storefs.durable import replace_file, replace_symlink
from storefs.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from evaluator.session import Session
    from storefs.config import Config

UNPACK_EXPRESSION = Path(__file__).with_name("unpack-channel.nix")

_ARCHIVE = re.compile(r"\.tar\.(gz|bz2|xz)$")
_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]*")
_URL = re.compile(r"(file|http|https)://")
_VERSION = re.compile(r"-\d.*$")


class BadChannelError(StoreError):
    """A channel's URL or name can't be used."""


class NoChannelError(StoreError):
    """There is no channel of this name."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        super().__init__(f"there is no channel '{name}'; there are {', '.join(sorted(known)) or 'none'}")


def list_path(home: str) -> str:
    """Return where the list of channels is."""
    return f"{home}/.nix-channels"


def channels_profile(config: Config, user: str) -> str:
    """Return the profile that a user's channels are installed in."""
    return f"{config.state_dir}/profiles/per-user/{user}/channels"


def parse_list(text: str) -> dict[str, str]:
    """Read the list: channel names and their URLs."""
    channels = {}
    for line in text.splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            url = words[0].rstrip("/")
            channels[words[1] if len(words) > 1 else url.rpartition("/")[2]] = url
    return channels


def print_list(channels: Mapping[str, str]) -> str:
    """Return the text of the list, sorted by name."""
    return "".join([f"{channels[name]} {name}\n" for name in sorted(channels)])


def read_list(path: str) -> dict[str, str]:
    """Read the list at `path`; none if there is no file. Raises OSError."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse_list(file.read())
    except FileNotFoundError:
        return {}


def name_for(url: str) -> str:
    """Return what a channel is called whose user gave only a URL: its last part, without `-stable` or `-unstable`."""
    name = url.rstrip("/").rpartition("/")[2]
    return name.removesuffix("-unstable").removesuffix("-stable")


def subscribe(path: str, url: str, name: str) -> None:
    """Add a channel to the list, or change its URL.

    Raises:
        BadChannelError: the URL or the name can't be used.
    """
    if not _URL.match(url):
        raise BadChannelError(f"invalid channel URL '{url}'; it begins with file://, http:// or https://")
    if not _NAME.fullmatch(name):
        raise BadChannelError(f"invalid channel identifier '{name}'; use letters, digits, '_', '.' and '-'")
    write_list(path, read_list(path) | {name: url})


def write_list(path: str, channels: Mapping[str, str]) -> None:
    """Write the list, durably. Raises OSError."""
    replace_file(os.path.realpath(path), print_list(channels).encode())


def unsubscribe(session: Session, path: str, profile: str, name: str) -> None:
    """Remove a channel from the list and from the profile; one that is not there is no failure, as in Nix."""
    channels = read_list(path)
    channels.pop(name, None)
    write_list(path, channels)
    _changer(session, profile).uninstall([name], str)


def update(session: Session, path: str, profile: str, names: Collection[str]) -> None:
    """Fetch channels and make them a new generation of the channels profile.

    Args:
        session: the evaluation; its store gets the channels.
        path: the list.
        profile: the channels profile.
        names: only these; the others stay as they are. All of them if empty.

    Raises:
        NoChannelError: one of `names` is not in the list.
        StoreError: a channel can't be fetched; nothing was changed.
    """
    channels = read_list(path)
    for name in names:
        if name not in channels:
            raise NoChannelError(name, channels)
    functions = []
    for name in sorted(channels):
        if names and name not in names:
            functions.append(_kept(session, profile, name, channels[name]))
        else:
            functions.append(session.run(lambda: _fetched(session, name, channels[name])))  # noqa: B023  runs at once
    logs.info("unpacking channels...")
    _changer(session, profile).install(functions, preserve_installed=False, remove_all=True)


def link_expressions(home: str, profile: str) -> None:
    """Make nix-env find the channels: `~/.nix-defexpr/channels` points to the profile. Raises OSError."""
    folder = f"{home}/.nix-defexpr"
    if os.path.islink(folder):
        os.unlink(folder)  # what it was before channels were profiles
    os.makedirs(folder, exist_ok=True)
    replace_symlink(f"{folder}/channels", profile)


def _changer(session: Session, profile: str) -> Changer:
    source = Source(session, FROM_EXPRESSIONS, str(UNPACK_EXPRESSION), "", "*")
    return Changer(source, profile, dry_run=False, prebuilt=None, force_name="")


def _full_name(name: str, url: str) -> str:
    """The name with the version that the URL ends with, so that `nix-env -q` shows something useful."""
    version = _VERSION.search(url.rpartition("/")[2])
    return name + version.group() if version else name


def _kept(session: Session, profile: str, name: str, url: str) -> str:
    """A function that gives the channel as it is installed."""
    try:
        reader = StoreReader(session.store)
        target = reader.read_link(f"{reader.resolve(profile)}/{name}")
    except OSError:
        raise StoreError(f"channel '{name}' was never updated; 'nix-channel --update' fetches all") from None
    path = session.store.directory.print(session.store.directory.to_store_path(target)[0])
    return (
        f'f: rec {{ name = {show_string(_full_name(name, url))}; type = "derivation"; outputs = ["out"]; '
        f'system = "builtin"; outPath = builtins.storePath {show_string(path)}; out = {{ inherit outPath; }}; }}'
    )


def _fetched(session: Session, name: str, url: str) -> str:
    """A function that gives the channel as it is now; its archive is in the store afterwards."""
    where = effective_url(url)
    if _ARCHIVE.search(where):
        archive = _download(session, where, where.rpartition("/")[2])
    else:
        try:
            archive = _download(session, f"{where}/nixexprs.tar.xz", "nixexprs.tar.xz")
        except StoreError:
            archive = _download(session, f"{where}/nixexprs.tar.bz2", "nixexprs.tar.bz2")
    return (
        f"f: f {{ name = {show_string(_full_name(name, url))}; channelName = {show_string(name)}; "
        f"src = builtins.storePath {show_string(archive)}; }}"
    )


def _download(session: Session, url: str, name: str) -> str:
    return session.io.download(url, name, unpack=False, expected=None)


def effective_url(url: str) -> str:
    """Return where a URL redirects to, so that all parts of a channel are from the same state of it. Blocks.

    A URL that can't be asked is returned as it is: fetching from it will say why.
    """
    if url.startswith("file:"):
        return url
    import urllib.error  # noqa: PLC0415  15 ms that channels on this machine do not pay
    import urllib.request  # noqa: PLC0415

    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=30) as answer:
            found: str = answer.geturl()
    except urllib.error.HTTPError as error:
        # A directory without a page of its own is a good place for a channel all the same.
        found = error.geturl()
    except OSError:
        return url
    return found.rstrip("/")
