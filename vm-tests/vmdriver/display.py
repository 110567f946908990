"""A machine's keyboard, its screen, its virtual consoles and its windows."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vmdriver.commands import TIMEOUT, Commands, retry
from vmdriver.keyboard import CHARACTERS
from vmdriver.screen import read_variants

if TYPE_CHECKING:
    from vmdriver.report import Report


class Display(Commands):
    """The methods of a machine that stand for a person in front of it. What is on the screen needs `graphics`."""

    report: Report

    def send_key(self, key: str, delay: float | None = 0.01, log: bool | None = True) -> None:
        """Press a key, by QEMU's name for it ('ctrl-alt-delete') or as the character it makes."""
        if log:
            self.log(f"sending key '{key}'")
        self.qemu.qmp.monitor(f"sendkey {CHARACTERS.get(key, key)}")
        if delay:
            time.sleep(delay)

    def send_chars(self, chars: str, delay: float | None = 0.01) -> None:
        """Type a text."""
        with self.nested(f"sending keys {chars!r}"):
            for char in chars:
                self.send_key(char, delay, log=False)

    def screenshot(self, filename: str) -> None:
        """Take a picture of the screen: FILENAME.png in the output directory, and in the report."""
        name = filename if "." in os.path.basename(filename) else f"{filename}.png"
        path = Path(name) if "/" in name else self.out_dir / name
        with self.nested(f"making screenshot {path}"):
            png = self._screen()
            path.write_bytes(png)
        self.report.picture(self.name, path.name, png)

    def get_screen_text_variants(self) -> list[str]:
        """Return what tesseract reads on the screen, in different ways."""
        return read_variants(self._screen())

    def get_screen_text(self) -> str:
        """Return what tesseract reads on the screen."""
        return self.get_screen_text_variants()[0]

    def wait_for_text(self, regex: str, timeout: int = TIMEOUT) -> None:
        """Wait until tesseract reads something on the screen that matches."""

        def matches(last: bool) -> bool:
            variants = self.get_screen_text_variants()
            if last:
                self.log(f"last attempt to read the screen; the text was: {variants}")
            return any(re.search(regex, text) for text in variants)

        with self.nested(f"waiting for {regex} to appear on screen"):
            retry(matches, timeout)

    def get_tty_text(self, tty: str) -> str:
        """Return what a virtual console shows."""
        return self.execute(f"fold -w$(stty -F /dev/tty{tty} size | cut -d' ' -f2) /dev/vcs{tty}")[1]

    def wait_until_tty_matches(self, tty: str, regexp: str, timeout: int = TIMEOUT) -> None:
        """Wait until a virtual console shows something that matches."""

        def matches(last: bool) -> bool:
            text = self.get_tty_text(tty)
            if last:
                self.log(f"last attempt to match /{regexp}/ on tty {tty}, which shows: {text}")
            return re.search(regexp, text) is not None

        with self.nested(f"waiting for {regexp} to appear on tty {tty}"):
            retry(matches, timeout)

    def dump_tty_contents(self, tty: str) -> None:
        """Write what a virtual console shows into the journal, or on the serial console where there is none."""
        self.execute(f"fold -w 80 /dev/vcs{tty} | {{ systemd-cat 2>/dev/null || cat >/dev/console; }}")

    def wait_for_x(self, timeout: int = TIMEOUT) -> None:
        """Wait until an X server can be connected to."""
        ask = "journalctl -b SYSLOG_IDENTIFIER=systemd | grep -q 'Reached target Current graphical'"
        self.wait_until(f"{ask} && [ -e /tmp/.X11-unix/X0 ]", timeout, succeeds=True, what="the X11 server")

    def get_window_names(self) -> list[str]:
        """Return the names of all X11 windows."""
        return re.findall(r'^ *0x[0-9a-f]+ "([^"]*)"', self.succeed("xwininfo -root -tree"), re.MULTILINE)

    def wait_for_window(self, regexp: str, timeout: int = TIMEOUT) -> None:
        """Wait until there is an X11 window whose name matches."""

        def visible(last: bool) -> bool:
            names = self.get_window_names()
            if last:
                self.log(f"last attempt to match {regexp} among the windows: {', '.join(names)}")
            return any(re.search(regexp, name) for name in names)

        with self.nested("waiting for a window to appear"):
            retry(visible, timeout)

    def _screen(self) -> bytes:
        path = self.qemu.folder / "screen.png"
        self.qemu.qmp.command("screendump", filename=str(path), format="png")
        return path.read_bytes()
