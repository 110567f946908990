"""Text on a screen, read by tesseract where it is installed."""

from __future__ import annotations

import shutil
import subprocess

from vmdriver.errors import MissingProgramError, VmTestError

_LAYOUTS = ("11", "6")  # tesseract's --psm: sparse text, and one block such as a text console


def read_variants(png: bytes) -> list[str]:
    """Return what tesseract reads in a picture: as scattered words, and as one block of lines.

    Raises:
        MissingProgramError: tesseract is not installed.
        VmTestError: it failed.
    """
    program = shutil.which("tesseract")
    if program is None:
        raise MissingProgramError("the program 'tesseract'", "tesseract-ocr")
    texts = []
    for layout in _LAYOUTS:
        command = [program, "-", "-", "--psm", layout]
        done = subprocess.run(command, input=png, capture_output=True, check=False)
        if done.returncode:
            raise VmTestError(f"tesseract failed: {done.stderr.decode(errors='replace').strip()}")
        texts.append(done.stdout.decode("utf-8", "replace"))
    return texts
