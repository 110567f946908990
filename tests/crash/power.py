"""A model of a disk that keeps only what it was told to keep: replays a program's system calls up to a power cut.

The calls come from strace. What survives a cut is, at the least:

- the contents that a file had when it was last fsync'ed or fdatasync'ed, and what was written through O_DSYNC;
- the names that a directory had when it was last fsync'ed;
- everything at the time of a syncfs.

Threads share descriptors. Of calls that overlap, what a sync makes durable is what was there when it began; what other
calls do is done when they end.

Anything else may be there or not, in any mixture; `survivors` gives the state with none of it and states with random
parts of it. (Sources: fsync(2), open(2); Pillai et al., OSDI 2014.)
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CALL = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)(<.*>)?")
_UNFINISHED = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
_SYNCS = ("fsync", "fdatasync", "syncfs")
_BENEATH = re.compile(r'(AT_FDCWD|\d+), "((?:\\x[0-9a-f]{2})*)"')  # a path, and the open folder that it begins in
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_PROCESS = "the program"  # whose threads share descriptors; it starts no others
_NUMBER = re.compile(r", (\d+)\)?$")

TRACED = (
    "openat,close,write,writev,lseek,pwrite64,pwritev,fsync,fdatasync,syncfs,link,linkat,symlink,rename,renameat,"
    "unlink,unlinkat,mkdir,rmdir,ftruncate"
)


class _Moment:
    """What a sync that begins now makes durable: contents, how many writes those are, and names."""

    def __init__(self, disk: Disk) -> None:
        self.contents = [bytearray(content) for content in disk.contents]
        self.writes = list(disk.writes)
        self.names = dict(disk.names)
        self.number = disk.calls


class Disk:
    """The files below one directory, as the program sees them (`current`) and as a cut would leave them (`durable`)."""

    def __init__(self, top: Path) -> None:
        self.top = str(top)
        self.contents: list[bytearray] = []
        self.durable_contents: list[bytes] = []
        self.targets: dict[int, bytes] = {}  # file -> where it leads, of symbolic links, which are as durable as names
        self.pending: list[list[tuple[int, bytes]]] = []  # writes since the last sync of each file
        self.writes: list[int] = []  # how many there were of each file
        self.unfinished: dict[str, tuple[str, _Moment | None]] = {}  # thread -> the beginning of its call
        self.calls = 0
        self.names_of = 0  # the call with which the last sync of names that has ended began
        self._moment: _Moment | None = None  # when the sync that ends now began
        self.names: dict[str, int | None] = {}  # path -> file, None for a directory
        self.durable_names: dict[str, int | None] = {}
        self.open_files: dict[tuple[str, int], tuple[int, bool]] = {}  # (process, descriptor) -> (file, O_DSYNC)
        self.open_paths: dict[tuple[str, int], str] = {}
        self.positions: dict[tuple[str, int], int] = {}
        self.finished = False
        inodes: dict[int, int] = {}
        for parent, folders, files in os.walk(top):
            for folder in folders:
                path = f"{parent}/{folder}"
                self.names[path] = self._new_link(os.fsencode(os.readlink(path))) if os.path.islink(path) else None
            for name in files:
                path = f"{parent}/{name}"
                if os.path.islink(path):
                    self.names[path] = self._new_link(os.fsencode(os.readlink(path)))
                    continue
                status = os.stat(path)
                if status.st_ino not in inodes:
                    inodes[status.st_ino] = self._new_file(Path(path).read_bytes())
                self.names[path] = inodes[status.st_ino]
        self.durable_names = dict(self.names)

    def _new_file(self, content: bytes = b"") -> int:
        self.contents.append(bytearray(content))
        self.durable_contents.append(content)
        self.pending.append([])
        self.writes.append(0)
        return len(self.contents) - 1

    def _new_link(self, target: bytes) -> int:
        file = self._new_file()
        self.targets[file] = target
        return file

    def apply(self, line: str) -> bool:
        """Replay one line of strace; returns whether it changed anything."""
        self._moment = None
        self.calls += 1
        begun = _UNFINISHED.match(line)
        if begun is not None:
            moment = _Moment(self) if begun["name"] in _SYNCS else None
            self.unfinished[begun["pid"]] = (f"{begun['pid']} {begun['name']}({begun['arguments']}", moment)
            return False
        resumed = _RESUMED.match(line)
        if resumed is not None:
            beginning, self._moment = self.unfinished.pop(resumed["pid"])
            line = beginning + resumed["rest"]
        call = _CALL.match(line)
        if call is None or call["result"].startswith("-"):
            return False
        name, arguments = call["name"], call["arguments"]
        handler = getattr(self, f"_{name}", None)
        return handler is not None and bool(handler(_PROCESS, arguments, int(call["result"])))

    def _inside(self, path: str) -> bool:
        return path.startswith(self.top + "/")

    def _openat(self, process: str, arguments: str, result: int) -> bool:
        (path,) = self._paths(process, arguments)
        self.open_paths[process, result] = path
        self.open_files.pop((process, result), None)
        self.positions[process, result] = 0
        if not self._inside(path):
            return False
        created = path not in self.names
        if created and "O_CREAT" in arguments:
            self.names[path] = self._new_file()
        file = self.names.get(path)
        if file is not None:
            self.open_files[process, result] = (file, "O_DSYNC" in arguments)
            if "O_TRUNC" in arguments:
                self.contents[file].clear()
                self.pending[file].append((-1, b""))
                self.writes[file] += 1
            if "O_APPEND" in arguments:
                self.positions[process, result] = -1
        return created

    def _write_at(self, process: str, descriptor: int, data: bytes, position: int) -> bool:
        found = self.open_files.get((process, descriptor))
        if found is None:
            return False
        file, synchronous = found
        content = self.contents[file]
        _splice(content, position, data)
        if synchronous:
            durable = bytearray(self.durable_contents[file])
            _splice(durable, position, data)
            self.durable_contents[file] = bytes(durable)
            for _, moment in self.unfinished.values():
                if moment is not None and file < len(moment.contents):
                    _splice(moment.contents[file], position, data)
        else:
            self.pending[file].append((position, data))
            self.writes[file] += 1
        return True

    def _write(self, process: str, arguments: str, result: int) -> bool:
        descriptor = _descriptor(arguments)
        data = _strings(arguments)[0]
        if descriptor == 1 and data == b"finished\n":
            self.finished = True
            return True
        found = self.open_files.get((process, descriptor))
        if found is None:
            return False
        position = self.positions[process, descriptor]
        if position < 0:
            return self._write_at(process, descriptor, data, len(self.contents[found[0]]))
        self.positions[process, descriptor] = position + result
        return self._write_at(process, descriptor, data[:result], position)

    def _pwrite64(self, process: str, arguments: str, result: int) -> bool:
        position = _last_number(arguments)
        return self._write_at(process, _descriptor(arguments), _strings(arguments)[0][:result], position)

    def _pwritev(self, process: str, arguments: str, result: int) -> bool:
        data = b"".join(_strings(arguments))[:result]
        return self._write_at(process, _descriptor(arguments), data, _last_number(arguments))

    def _lseek(self, process: str, arguments: str, result: int) -> bool:
        self.positions[process, _descriptor(arguments)] = result
        return False

    def _writev(self, process: str, arguments: str, result: int) -> bool:
        descriptor = _descriptor(arguments)
        position = self.positions.get((process, descriptor), 0)
        self.positions[process, descriptor] = position + result
        return self._write_at(process, descriptor, b"".join(_strings(arguments))[:result], position)

    def _ftruncate(self, process: str, arguments: str, result: int) -> bool:
        found = self.open_files.get((process, _descriptor(arguments)))
        if found is None:
            return False
        size = _last_number(arguments)
        content = self.contents[found[0]]
        if size < len(content):
            del content[size:]
        else:
            content.extend(bytes(size - len(content)))
        return False

    def _sync_file(self, file: int, moment: _Moment) -> None:
        if file >= len(moment.contents):
            return  # made since
        later = self.writes[file] - moment.writes[file]
        if later <= len(self.pending[file]):  # else another sync, which began later, has ended
            self.durable_contents[file] = bytes(moment.contents[file])
            del self.pending[file][: len(self.pending[file]) - later]

    def _fsync(self, process: str, arguments: str, result: int) -> bool:
        descriptor = _descriptor(arguments)
        moment = self._moment or _Moment(self)
        found = self.open_files.get((process, descriptor))
        if found is not None:
            self._sync_file(found[0], moment)
            return True
        path = self.open_paths.get((process, descriptor), "")
        if path in self.names or path == self.top:
            self._sync_names(moment, lambda name: os.path.dirname(name) == path)
            return True
        return False

    _fdatasync = _fsync

    def _syncfs(self, process: str, arguments: str, result: int) -> bool:
        moment = self._moment or _Moment(self)
        for file in range(len(self.contents)):
            self._sync_file(file, moment)
        self._sync_names(moment, lambda _: True)
        return True

    def _sync_names(self, moment: _Moment, those: Callable[[str], bool]) -> None:
        if moment.number < self.names_of:
            return  # another sync, which began later, has ended
        self.names_of = moment.number
        for name in [each for each in self.durable_names if those(each)]:
            if name not in moment.names:
                del self.durable_names[name]
        self.durable_names.update({name: file for name, file in moment.names.items() if those(name)})

    def _paths(self, process: str, arguments: str) -> list[str]:
        """The absolute paths of a call that names them beneath open folders, or absolutely."""
        found = []
        for folder, text in _BENEATH.findall(arguments):
            path = bytes.fromhex(text.replace("\\x", "")).decode()
            beneath = folder != "AT_FDCWD" and not path.startswith("/")
            found.append(f"{self.open_paths[process, int(folder)]}/{path}" if beneath else path)
        return found

    def _link(self, process: str, arguments: str, result: int) -> bool:
        return self._named(*(path.decode() for path in _strings(arguments)))

    def _linkat(self, process: str, arguments: str, result: int) -> bool:
        return self._named(*self._paths(process, arguments))

    def _named(self, old: str, new: str) -> bool:
        if not self._inside(new):
            return False
        self.names[new] = self.names[old]
        return True

    def _symlink(self, process: str, arguments: str, result: int) -> bool:
        target, new = _strings(arguments)
        if not self._inside(new.decode()):
            return False
        self.names[new.decode()] = self._new_link(target)
        return True

    def _rename(self, process: str, arguments: str, result: int) -> bool:
        return self._renamed(*(path.decode() for path in _strings(arguments)))

    def _renameat(self, process: str, arguments: str, result: int) -> bool:
        return self._renamed(*self._paths(process, arguments))

    def _renamed(self, old: str, new: str) -> bool:
        if not self._inside(new) or old not in self.names or self.names[old] == self.names.get(new, -1):
            return False
        self.names[new] = self.names.pop(old)
        return True

    def _unlink(self, process: str, arguments: str, result: int) -> bool:
        return self.names.pop(_strings(arguments)[0].decode(), "none") != "none"

    _rmdir = _unlink

    def _unlinkat(self, process: str, arguments: str, result: int) -> bool:
        (path,) = self._paths(process, arguments)
        return self.names.pop(path, "none") != "none"

    def _mkdir(self, process: str, arguments: str, result: int) -> bool:
        path = _strings(arguments)[0].decode()
        if not self._inside(path):
            return False
        self.names[path] = None
        return True

    def survivors(self, source: random.Random, count: int) -> Iterator[tuple[dict[str, int | None], list[bytes]]]:
        """Yield states that a power cut now may leave: the poorest first, then random richer ones."""
        yield dict(self.durable_names), list(self.durable_contents)
        for _ in range(count):
            names = dict(self.durable_names)
            for path in sorted(set(self.names) | set(self.durable_names)):
                if source.random() < 0.5:
                    if path in self.names:
                        names[path] = self.names[path]
                    else:
                        names.pop(path, None)
            contents = []
            for file, durable in enumerate(self.durable_contents):
                content = bytearray(durable)
                for position, data in self.pending[file]:
                    if source.random() < 0.5 and position >= 0:
                        _splice(content, position, data)
                contents.append(bytes(content))
            yield names, contents

    def materialise(self, names: dict[str, int | None], contents: list[bytes]) -> None:
        """Make the real directory look like a state; entries whose directory did not survive are gone."""
        made: dict[int, str] = {}
        for path in sorted(names):
            parent = os.path.dirname(path)
            if not os.path.isdir(parent):
                continue
            file = names[path]
            if file is None:
                os.makedirs(path, exist_ok=True)
            elif file in made:
                os.link(made[file], path)
            elif file in self.targets:
                os.symlink(self.targets[file], path)
            else:
                Path(path).write_bytes(contents[file])
                made[file] = path


def _splice(content: bytearray, position: int, data: bytes) -> None:
    if position > len(content):
        content.extend(bytes(position - len(content)))
    content[position : position + len(data)] = data


def _strings(arguments: str) -> list[bytes]:
    found = []
    for match in _STRING.finditer(arguments):
        assert not match[2], "strace cut a string short"
        found.append(bytes.fromhex(match[1].replace("\\x", "")))
    return found


def _descriptor(arguments: str) -> int:
    return int(arguments.split(",", 1)[0].split("<", maxsplit=1)[0].rstrip(")"))


def _last_number(arguments: str) -> int:
    match = _NUMBER.search(arguments)
    assert match is not None, arguments[-80:]
    return int(match[1])
