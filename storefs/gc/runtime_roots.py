"""What running processes use right now, from /proc: executables, directories, open and mapped files, environments.

A guess on the safe side: a process that stands in another mount namespace shows its files under other names, so every
path component that looks like a store path counts.  Processes of other users are seen as far as the kernel lets us.
"""

from __future__ import annotations

import os
import re

from storefs.formats.store_path import StorePath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from storefs.formats.store_path import StoreDir

_COMPONENT = rb"([0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9A-Za-z+._?=-]{1,211})"
_BELOW_ANYTHING = re.compile(rb"/" + _COMPONENT + rb"(?=/|$|\n| \(deleted\))")
_KERNEL_SETTINGS = ("modprobe", "fbsplash", "poweroff_cmd")


def find_runtime_roots(store_dir: StoreDir, proc: str = "/proc") -> Iterator[tuple[StorePath, str]]:
    """Yield (path, what uses it); paths need not be valid.  ``proc`` is where procfs is mounted."""
    in_store = re.compile(re.escape(os.fsencode(store_dir.path)) + b"/" + _COMPONENT)
    try:
        processes = [name for name in os.listdir(proc) if name.isdigit()]
    except OSError:
        return
    for process in processes:
        yield from _process_roots(f"{proc}/{process}", in_store)
    for name in _KERNEL_SETTINGS:
        file = f"{proc}/sys/kernel/{name}"
        for path in _paths(in_store, _read(file)):
            yield path, file


def _process_roots(directory: str, in_store: re.Pattern[bytes]) -> Iterator[tuple[StorePath, str]]:
    links = [f"{directory}/exe", f"{directory}/cwd", f"{directory}/root"]
    try:
        links.extend(f"{directory}/fd/{name}" for name in os.listdir(f"{directory}/fd"))
    except OSError:
        pass  # it ended, or it is another user's
    for link in links:
        try:
            target = os.fsencode(os.readlink(link))
        except OSError:
            continue
        for path in _paths(_BELOW_ANYTHING, target):
            yield path, link
    for name, pattern in (("maps", _BELOW_ANYTHING), ("environ", in_store)):
        for path in _paths(pattern, _read(f"{directory}/{name}")):
            yield path, f"{directory}/{name}"


def _paths(pattern: re.Pattern[bytes], text: bytes) -> set[StorePath]:
    return {StorePath(found.decode("ascii")) for found in set(pattern.findall(text))}


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
