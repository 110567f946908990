"""`verglas describe-stores`: which stores there are, how their URIs look, and which parameters they take."""

from __future__ import annotations

import sys

from storefs.commands.operations.json_output import print_json
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas describe-stores",
    "Show which kinds of stores there are",
    options=(Option("--json", help="print objects"),),
    description="""
A store is named by `--store`, by NIX_REMOTE, and by `--from` and `--to` of `verglas copy`; a substituter in nix.conf.
Parameters follow a `?`, joined by `&`.
""",
)

# name -> (URI, {parameter: (default, what it is for)})
_CACHE: dict[str, tuple[object, str]] = {
    "compression": ("xz", "how new NARs are compressed: xz, zstd, bzip2, gzip, br or none"),
    "compression-level": (-1, "of the compression; -1 is its own default"),
    "priority": (0, "substituters with a lower number are asked first; 0 is what the cache says itself"),
    "secret-key": ("", "a file with the key that signs what is uploaded"),
    "trusted": (False, "believe what is in it without signatures"),
    "want-mass-query": (False, "whether it may be asked about thousands of paths"),
    "write-nar-listing": (False, "write `.ls` files, which show what is in a path without fetching it"),
}
_SSH: dict[str, tuple[object, str]] = {
    "compress": (False, "compress what goes over the connection"),
    "remote-store": ("", "the store to use there, as a URI"),
    "ssh-key": ("", "a file with the private key"),
    "trusted": (False, "as a substituter: believe what is in it without signatures"),
}
_STORES: dict[str, tuple[str, dict[str, tuple[object, str]]]] = {
    "Local Store": (
        "local, or a directory",
        {
            "log": ("", "the directory of build logs"),
            "real": ("", "where the store's files are seen on this machine"),
            "root": ("", "the directory below which everything of a chroot store is"),
            "state": ("", "the directory of profiles, roots and the database"),
            "store": ("/nix/store", "the store directory in paths"),
        },
    ),
    "Local Daemon Store": ("daemon, or unix://PATH", {"trusted": (False, "believe what is in it without signatures")}),
    "SSH Store": ("ssh-ng://[USER@]HOST", _SSH | {"remote-program": ("nix-daemon", "what is started there")}),
    "Legacy SSH Store": ("ssh://[USER@]HOST", _SSH | {"remote-program": ("nix-store", "what is started there")}),
    "Local Binary Cache Store": ("file:///DIR", _CACHE),
    "Http Binary Cache Store": ("http://HOST/PATH, https://HOST/PATH", _CACHE),
    "S3 Binary Cache Store": (
        "s3://BUCKET",
        _CACHE
        | {
            "endpoint": ("", "the server, if it is not Amazon's"),
            "profile": ("", "whose credentials, in the words of ~/.aws/credentials"),
            "region": ("us-east-1", "where the bucket is"),
            "scheme": ("https", "or http"),
        },
    ),
}


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    if invocation.flag("--json"):
        stores = {
            name: {
                key: {"aliases": [], "defaultValue": default, "description": text, "documentDefault": True}
                for key, (default, text) in sorted(parameters.items())
            }
            for name, (_, parameters) in sorted(_STORES.items())
        }
        print_json(invocation, stores)
        return 0
    for name, (uri, parameters) in _STORES.items():
        sys.stdout.write(f"{name}: {uri}\n")
        for key, (default, text) in sorted(parameters.items()):
            shown = {True: "true", False: "false"}.get(default, default) if isinstance(default, bool) else default
            sys.stdout.write(f"  {key:<18}  {text}" + (f" (default: {shown})\n" if default != "" else "\n"))
    return 0
