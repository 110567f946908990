"""What a user declared: channels, packages, links and hooks, as plain values. Made by `manifest.py` from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from profiles.printed_data import Plain


@dataclass(frozen=True, slots=True)
class Channel:
    """Where package expressions come from.

    Attributes:
        name: as packages refer to it.
        kind: 'url', 'path' or 'git'.
        location: the URL, or an absolute path, or what git clones.
        ref, rev: of a git repository, '' if not given.
        arguments: what the channel's function is called with.
        line: where it is declared, counted from 1.
    """

    name: str
    kind: str
    location: str
    ref: str = ""
    rev: str = ""
    arguments: Mapping[str, Plain] = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True, slots=True)
class Package:
    """Something to install.

    Attributes:
        attr: attribute path, '' for the whole of `path`.
        channel: the channel's name, '' with `path`.
        path: an absolute path, '' with `channel`.
        outputs: which ones, None for those that the package itself names.
        priority: None for the package's own.
        pinned: upgrades leave it alone.
        version: what its version must be, '' for any.
        override: an absolute path of a file with a function, '' for none.
        line: where it is declared, counted from 1.
    """

    attr: str
    channel: str = ""
    path: str = ""
    outputs: tuple[str, ...] | None = None
    priority: int | None = None
    pinned: bool = False
    version: str = ""
    override: str = ""
    line: int = 0

    @property
    def label(self) -> str:
        """How messages call it, and how commands can."""
        if not self.path:
            return self.attr
        return f"{self.path}#{self.attr}" if self.attr else self.path


@dataclass(frozen=True, slots=True)
class Declaration:
    """A whole profile.yaml.

    Attributes:
        path: the file.
        text: its bytes.
        channels: by name, in order.
        packages: in order.
        links: name relative to the profile -> target.
        activation: shell commands to run after a switch.
        system: '' for this machine's.
    """

    path: str
    text: bytes
    channels: Mapping[str, Channel]
    packages: tuple[Package, ...]
    links: Mapping[str, str]
    activation: tuple[str, ...] = ()
    system: str = ""

    def where(self, declared: Package | Channel) -> str:
        """Return `FILE:LINE` of what is declared."""
        return f"{self.path}:{declared.line}"
