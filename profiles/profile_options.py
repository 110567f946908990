"""What the `verglas profile` verbs have in common: where the declaration, its lock file and the profile are."""

from __future__ import annotations

import os

from storefs.options import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from storefs.config import Config
    from storefs.options import Invocation

FILE = Option("--file", "-f", takes=("FILE",), help="the declaration; ~/.config/verglas/profile.yaml by default")
PROFILE = Option("--profile", "-p", takes=("PATH",), help="the profile; where ~/.nix-profile points by default")
JSON = Option("--json", help="print JSON")
PLACE = (FILE, PROFILE)


class Place:
    """Where things are: absolute paths.

    Attributes:
        manifest: the declaration, profile.yaml.
        lock: its lock file.
        profile: the profile's link.
    """

    __slots__ = ("lock", "manifest", "profile")

    def __init__(self, manifest: str, profile: str) -> None:
        self.manifest = manifest
        self.lock = lock_path(manifest)
        self.profile = profile


def lock_path(manifest_path: str) -> str:
    """Return where the lock file of a declaration is: `profile.yaml.lock`, beside it.

    Not `profile.lock`: that is what Nix locks while it changes a profile called `profile`.
    """
    return manifest_path + ".lock"


def place_of(invocation: Invocation) -> Place:
    """Return the place that a command line means."""
    config = invocation.config
    manifest = invocation.value("--file") or f"{config.xdg('config')}/verglas/profile.yaml"
    return Place(os.path.abspath(manifest), profile_of(invocation))


def profile_of(invocation: Invocation) -> str:
    """Return the profile that `--profile`, NIX_PROFILE or ~/.nix-profile mean, an absolute path."""
    config = invocation.config
    given = invocation.value("--profile")
    if given is not None:
        return os.path.abspath(given)
    return config.variable("NIX_PROFILE") or default_profile(config.home, config.state_dir, lambda: user_name(config))


def default_profile(home: str, state_dir: str, user: Callable[[], str]) -> str:
    """Return the profile that `~/.nix-profile` leads to, making that link if it is not there (as Nix does).

    Args:
        home: the user's home directory.
        state_dir: where the profiles live that a new link is pointed to.
        user: tells the user's name, which takes a look into several files.
    """
    link = f"{home}/.nix-profile"
    try:
        if not os.path.lexists(link):
            system = os.geteuid() == 0
            profile = f"{state_dir}/profiles/default" if system else f"{state_dir}/profiles/per-user/{user()}/profile"
            try:
                os.symlink(profile, link)
            except FileExistsError:
                pass  # another process made it just now
        return os.path.normpath(os.path.join(home, os.readlink(link)))
    except OSError:
        return link


def user_name(config: Config) -> str:
    """Return the user's name: the password database's, or else the variable USER."""
    import pwd  # noqa: PLC0415  asked for once in a profile's life

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return config.variable("USER")
