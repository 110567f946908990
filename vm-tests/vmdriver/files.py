"""Files copied into a machine and out of it, over the agent's second port."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import tarfile
from pathlib import Path

from vmdriver.commands import Commands
from vmdriver.errors import MachineError

_ARCHIVE = "/tmp/.vm-copy.tar"


class Files(Commands):
    """The methods of a machine that copy files."""

    def copy_from_host(self, source: str, target: str) -> None:
        """Copy a file or a directory into the machine, as `target`."""
        self.connect()
        path = Path(source)
        if path.is_dir():
            content = io.BytesIO()
            with tarfile.open(fileobj=content, mode="w") as archive:
                archive.add(path, arcname=".")
            self._put(content.getvalue(), _ARCHIVE)
            place = shlex.quote(target)
            self.succeed(f"mkdir -p {place} && tar -x -C {place} -f {_ARCHIVE} && rm {_ARCHIVE}")
            return
        self._put(path.read_bytes(), target)
        if os.access(path, os.X_OK):
            self.succeed(f"chmod +x {shlex.quote(target)}")

    copy_from_host_via_shell = copy_from_host

    def copy_from_machine(self, source: str, target_dir: str = "") -> None:
        """Copy a file or a directory out of the machine, into `target_dir` below the output directory."""
        self.connect()
        folder = self.out_dir / target_dir
        folder.mkdir(parents=True, exist_ok=True)
        source = source.rstrip("/")
        name = os.path.basename(source)
        if self.execute(f"test -d {shlex.quote(source)}")[0] == 0:
            parent = shlex.quote(os.path.dirname(source) or "/")
            self.succeed(f"tar -c -C {parent} -f {_ARCHIVE} {shlex.quote(name)}")
            # tarfile is safe with strange archives only from Python 3.11.4 on; tar is everywhere
            subprocess.run(["tar", "-x", "-C", folder], input=self._get(_ARCHIVE), check=True)
            self.succeed(f"rm {_ARCHIVE}")
        else:
            (folder / name).write_bytes(self._get(source))

    copy_from_vm = copy_from_machine  # the older name

    def _put(self, content: bytes, target: str) -> None:
        if self.agent.put(content, target):
            raise MachineError(self.name, f"file '{target}' can't be written", self.console_tail())

    def _get(self, source: str) -> bytes:
        content = self.agent.get(source)
        if content is None:
            raise MachineError(self.name, f"file '{source}' can't be read")
        return content
