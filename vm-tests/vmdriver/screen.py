"""Text on a screen, read by tesseract where it is installed."""

from __future__ import annotations

import shutil
import subprocess

from vmdriver.errors import MissingProgramError


def read_text(png: bytes) -> str:
    """Return what tesseract reads in a picture.

    Raises:
        MissingProgramError: tesseract is not installed.
    """
    program = shutil.which("tesseract")
    if program is None:
        raise MissingProgramError("the program 'tesseract'", "tesseract-ocr")
    done = subprocess.run([program, "-", "-", "--psm", "11"], input=png, capture_output=True, check=False)
    return done.stdout.decode("utf-8", "replace")
