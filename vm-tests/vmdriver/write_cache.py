"""A drive with a volatile write cache: what it has lost after a power cut.

QEMU's `blklogwrites` filter logs every write and every flush, in the format of the kernel's dm-log-writes
(Documentation/admin-guide/device-mapper/log-writes.rst). The guest writes to a throw-away copy; afterwards the log is
applied to the drive itself, as far as the drive would have had it on its platter: everything before the last flush,
and of what came later whatever the drive happened to write.
"""

from __future__ import annotations

import os
import struct
import subprocess
from typing import TYPE_CHECKING

from vmdriver.errors import VmTestError

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

_SECTOR = 512
_MAGIC = 0x6A736677736872
_ENTRY = struct.Struct("<QQQQ")  # sector, sectors, flags, length of data
_FLUSH, _FUA, _DISCARD = 1, 2, 4
_PIECE = 1 << 20


def drive(disk: Path, copy: Path, log: Path) -> str:
    """Return the options of a QEMU drive that begins as `disk`, and make the files it writes: `copy` and `log`."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(disk.absolute()), "-F", "raw", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmTestError(f"'{' '.join(command)}' failed: {done.stderr.strip()}")
    log.touch()
    options = {
        "driver": "blklogwrites",
        "file.driver": "qcow2",
        "file.file.driver": "file",
        "file.file.filename": copy,
        "log.driver": "file",
        "log.filename": log,
    }
    return ",".join(f"{name}={value}" for name, value in options.items())


def settle(disk: Path, log: Path, choice: random.Random | None) -> int:
    """Write what is in `log` to `disk`; returns how many writes were lost.

    Args:
        disk: the raw image that the guest's drive began as.
        log: of the machine's whole run.
        choice: decides about each write that was not flushed. None for a machine that ended by itself: all are kept.
    """
    lost = 0
    pending: list[tuple[int, int, int]] = []
    source, target = os.open(log, os.O_RDONLY), os.open(disk, os.O_WRONLY)
    try:
        for sector, offset, length, flags in _entries(source):
            if flags & _FLUSH:
                for write in pending:
                    _copy(source, target, *write)
                pending.clear()
            if flags & _FUA:
                _copy(source, target, sector * _SECTOR, offset, length)
            elif length and not flags & _DISCARD:
                pending.append((sector * _SECTOR, offset, length))
        for write in pending:
            if choice is None or choice.random() < 0.5:
                _copy(source, target, *write)
            else:
                lost += 1
    finally:
        os.close(source)
        os.close(target)
    return lost


def _entries(log: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each entry's sector on the disk, its data's place and length in the log, and its flags, to the log's end.

    The header's own count lags behind when QEMU is killed, so entries are read until there is none: an empty header,
    or one that promises more than the file has.
    """
    header = os.pread(log, _SECTOR, 0)
    if len(header) < _SECTOR or struct.unpack_from("<Q", header)[0] != _MAGIC:
        return
    size = os.fstat(log).st_size
    position = _SECTOR
    while len(entry := os.pread(log, _ENTRY.size, position)) == _ENTRY.size:
        sector, sectors, flags, _ = _ENTRY.unpack(entry)
        length = 0 if flags & _DISCARD else sectors * _SECTOR
        position += _SECTOR
        if not (sectors or flags) or position + length > size:
            return
        yield sector, position, length, flags
        position += length


def _copy(source: int, target: int, where: int, offset: int, length: int) -> None:
    for done in range(0, length, _PIECE):
        os.pwrite(target, os.pread(source, min(_PIECE, length - done), offset + done), where + done)
