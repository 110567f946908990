"""profile.yaml: what is wrong is said with its place, what is changed keeps everything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from profiles.manifest import (
    STARTER,
    ManifestError,
    add_channel,
    add_package,
    parse_declaration,
    read_declaration,
    remove_package,
)
from profiles.schema import SCHEMA_FILE
from storefs.errors import StoreError

FULL = b"""\
channels:
  nixpkgs: https://nixos.org/channels/nixos-unstable
  mine:
    path: ./pkgs
    arguments: {config: {allowUnfree: true}}
  other: git+https://example.org/x.git
packages:
  - hello
  - mine#tools.greet
  - attr: git
    outputs: [out, man]
    priority: 4
    pin: "2.40"
    override: git.nix
  - path: ~/tool
links:
  share/hosts: /etc/hosts
hooks:
  activate: echo hi
system: i686-linux
"""


def test_reads_everything() -> None:
    declaration = parse_declaration(FULL, "/etc/p/profile.yaml", "/home/u")
    kinds = {name: (each.kind, each.location) for name, each in declaration.channels.items()}
    assert kinds == {
        "nixpkgs": ("url", "https://nixos.org/channels/nixos-unstable"),
        "mine": ("path", "/etc/p/pkgs"),
        "other": ("git", "https://example.org/x.git"),
    }
    assert declaration.channels["mine"].arguments == {"config": {"allowUnfree": True}}
    hello, greet, git, tool = declaration.packages
    assert (hello.attr, hello.channel, hello.line) == ("hello", "nixpkgs", 8)
    assert (greet.attr, greet.channel) == ("tools.greet", "mine")
    assert (git.outputs, git.priority, git.pinned, git.version) == (("out", "man"), 4, True, "2.40")
    assert git.override == "/etc/p/git.nix"
    assert (tool.path, tool.label) == ("/home/u/tool", "/home/u/tool")
    assert declaration.links == {"share/hosts": "/etc/hosts"}
    assert (declaration.activation, declaration.system) == (("echo hi",), "i686-linux")
    assert declaration.where(git) == "/etc/p/profile.yaml:10"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chanels: {}\n", "p.yaml:1:1: unknown key 'chanels'; did you mean 'channels'?"),
        ("packages:\n- attr: git\n  outpts: [out]\n", "p.yaml:3:3: unknown key 'outpts'; did you mean 'outputs'?"),
        ("zzz: 1\n", "p.yaml:1:1: unknown key 'zzz'; the keys here are channels, hooks, links, packages, system"),
        (
            "packages:\n- attr: x\n  pin: 1.2\n",
            "p.yaml:3:8: 'packages.0.pin': expected true or false or text, not a number; put it in quotes",
        ),
        ("packages: hello\n", "p.yaml:1:11: 'packages': expected a list, not text"),
        ("packages:\n-\n", "p.yaml:2:2: 'packages.0': expected text or a mapping, but there is nothing"),
        ("- a\n", "p.yaml:1:1: expected a mapping, not a list"),
        ("channels: {n: foo}\n", "p.yaml:1:15: 'foo' is no URL (http, https, file)"),
        (
            "channels:\n  n: {path: ./a, url: http://b}\n",
            "p.yaml:2:6: channel 'n' needs exactly one of 'url', 'path' and",
        ),
        ("channels:\n  n: {path: ./a, rev: abc}\n", "p.yaml:2:18: 'rev' is for git repositories only"),
        ("packages: [hello]\n", "p.yaml:1:12: package 'hello' needs a channel, and 'channels' names none"),
        ("channels: {n: ./x}\npackages: [m#a]\n", "p.yaml:2:12: there is no channel 'm'; there are n"),
        ("channels: {n: ./x}\npackages:\n- a\n- a\n", "p.yaml:4:3: package 'a' is in line 3 already"),
        ("channels: {n: ./x}\npackages:\n- {attr: a, outputs: []}\n", "p.yaml:3:22: 'outputs' must name"),
        ("links: {../x: y}\n", "p.yaml:1:9: '../x' can't be a name in the profile"),
        ("a: 1\na: 2\n", "p.yaml:2:1: the key 'a' is there already; a key stands only once"),
        ("channels:\n\tn: ./x\n", "p.yaml:2:1: there is a tab; YAML is indented with spaces"),
        (
            "channels: {n: ./x}\npackages:\n- a\n - b\n",
            "p.yaml:3:3: 'a - b' is no attribute path; each package is an item of its own: '- PACKAGE'",
        ),
        ("a: [\n", "p.yaml:2:1: "),
        ("a: 'x\n", "p.yaml:2:1: "),
    ],
)
def test_faults_are_placed(text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_declaration(text.encode(), "p.yaml", "/home/u")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(ManifestError, match=r"^p\.yaml:2:4: this is not UTF-8"):
        parse_declaration(b"a: 1\nb: \xff\n", "p.yaml", "/")


def test_empty_file_is_an_empty_profile() -> None:
    for text in (b"", b"# nothing\n", b"channels:\npackages:\nlinks:\nhooks:\n"):
        declaration = parse_declaration(text, "p.yaml", "/")
        assert (declaration.channels, declaration.packages, declaration.links) == ({}, (), {})


def test_missing_file_says_how_to_begin(scratch: Path) -> None:
    with pytest.raises(StoreError, match="verglas profile init"):
        read_declaration(str(scratch / "none.yaml"), "/")


COMMENTED = """\
# mine
channels:
    n: ./x   # here

packages:
# first of all
- hello    # greets
- attr: "git"   # quoted
  outputs:
  - out
  - man

links: {a: b}  # end
"""


def test_adding_keeps_comments_order_quotes_and_indentation() -> None:
    changed = add_package(COMMENTED.encode(), "p", "jq").decode()
    added = [line for line in changed.splitlines() if line not in COMMENTED.splitlines()]
    assert added == ["- jq"]
    assert [line for line in changed.splitlines() if line != "- jq"] == COMMENTED.splitlines()


def test_adding_in_detail_and_removing() -> None:
    changed = add_package(COMMENTED.encode(), "p", {"attr": "x", "priority": 3})
    changed = remove_package(changed, "p", 0)
    declaration = parse_declaration(changed, "p", "/")
    assert [package.attr for package in declaration.packages] == ["git", "x"]
    assert declaration.packages[1].priority == 3
    assert b"# mine" in changed
    assert b"# quoted" in changed


def test_indented_lists_stay_indented() -> None:
    text = b"channels:\n  n: ./x\npackages:\n  - a\n  - b\n"
    assert add_package(text, "p", "c") == text + b"  - c\n"
    assert remove_package(text, "p", 1) == b"channels:\n  n: ./x\npackages:\n  - a\n"


def test_the_starter_is_valid_and_can_be_added_to() -> None:
    text = add_package(STARTER.encode(), "p", "hello")
    assert [package.attr for package in parse_declaration(text, "p", "/").packages] == ["hello"]
    text = add_channel(remove_package(text, "p", 0), "p", "mine", "./pkgs")
    declaration = parse_declaration(text, "p", "/")
    assert declaration.packages == ()
    assert list(declaration.channels) == ["nixpkgs", "mine"]
    assert add_package(b"", "p", "x") == b"packages:\n  - x\n"


def test_schema_for_editors_is_well_formed() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    assert set(schema["properties"]) == {"channels", "packages", "links", "hooks", "system"}
    assert schema["additionalProperties"] is False
