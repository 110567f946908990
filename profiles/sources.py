"""Takes the state that a channel has now: its expressions go into the store, and a lock entry says what they are.

Effects are those of the evaluation (`EvalIO`): adding a tree, downloading, asking git. Runs on the evaluation's thread.
"""

from __future__ import annotations

import os

from evaluator.eval_io import RepositoryRequest
from profiles.lock import LockedChannel
from storefs.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.eval_io import EvalIO
    from profiles.declaration import Channel

_ARCHIVES = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst", ".tar", ".zip")
_SOURCE = "source"  # the name of the store path: equal trees from different places are one path


class ChannelError(StoreError):
    """The expressions of a channel can't be had."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"channel '{name}': {reason}")
        self.name = name


def take_channel(io: EvalIO, channel: Channel) -> LockedChannel:
    """Fetch a channel and return its state. Blocks on the disk or the network.

    Raises:
        ChannelError: it is not there.
        StoreError: it can't be fetched or stored.
    """
    revision = channel.rev
    if channel.kind == "path":
        path = _copy(io, channel)
    elif channel.kind == "git":
        tree = io.fetch_repository(
            RepositoryRequest(channel.location, ref=channel.ref or None, rev=channel.rev or None, name=_SOURCE)
        )
        path, revision = tree.path, tree.rev or ""
    else:
        path, revision = _download(io, channel)
    return LockedChannel(
        channel.kind,
        channel.location,
        channel.rev or channel.ref,
        path,
        io.nar_hash(path).to_string("sri", True),
        revision,
        io.current_time(),
    )


def path_state(io: EvalIO, channel: Channel) -> str:
    """Return the NAR hash that a channel of kind 'path' has now (SRI), without adding anything.

    Raises:
        ChannelError: it is not there.
    """
    if io.file_type(channel.location) is None:
        raise ChannelError(channel.name, f"'{channel.location}' does not exist")
    return io.nar_hash(channel.location).to_string("sri", True)


def is_state_of(locked: LockedChannel, channel: Channel) -> bool:
    """Whether a lock entry was taken from this very channel, as it is declared now."""
    declared = (channel.kind, channel.location, channel.rev or channel.ref)
    return declared == (locked.kind, locked.location, locked.ref)


def _copy(io: EvalIO, channel: Channel) -> str:
    path = channel.location
    if io.file_type(path) is None:
        raise ChannelError(channel.name, f"'{path}' does not exist")
    if os.path.isdir(path) and not os.path.exists(f"{path}/default.nix"):
        raise ChannelError(channel.name, f"'{path}' has no default.nix")
    return io.add_path(_SOURCE, io.resolve(path))


def _download(io: EvalIO, channel: Channel) -> tuple[str, str]:
    url = channel.location.rstrip("/")
    if url.endswith(_ARCHIVES):
        return io.download(url, _SOURCE, unpack=True, expected=None), ""
    # What a channel is, since nix-channel: a directory with an archive of expressions in it.
    path = io.download(f"{url}/nixexprs.tar.xz", _SOURCE, unpack=True, expected=None)
    try:
        name = io.download(f"{url}/git-revision", "git-revision", unpack=False, expected=None)
        revision = io.read_file(name).decode("ascii", "replace").strip()[:64]
    except (StoreError, OSError):
        revision = ""  # only nixos.org has that file
    return path, revision
