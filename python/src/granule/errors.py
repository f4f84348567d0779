"""The errors of this package. Each states what failed, where, and what to do."""

from __future__ import annotations

import os
import reprlib
import shlex
from pathlib import Path


def shell_path(path: Path) -> str:
    """Returns the path as an argument of a shell command to paste, which no program takes for an option.

    For characters that are not printable, or bytes that are not UTF-8, the argument is a call of `printf`, as in the
    messages of the program `granule`. Every shell understands that.
    """
    text = str(path)
    # zsh expands `=ls` to the path of `ls`.
    if text.startswith(("-", "=", "%")):
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)
    raw = os.fsencode(text)
    body = raw.rstrip(b"\n")
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:,+@= "
    shown = "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in body)
    # Command substitution drops trailing line feeds.
    newlines = "\n" * (len(raw) - len(body))
    return (f"\"$(printf '{shown}')\"" if shown else "") + (f"'{newlines}'" if newlines else "")


class GranuleError(Exception):
    """The base class of all errors of this package."""

    def __init__(self, what: str, help: str) -> None:
        super().__init__(f"{what}\n  help: {help}")


class NotASweepError(GranuleError):
    """The directory holds no sweep."""


class UnfinishedError(GranuleError):
    """The sweep did not finish, so its files may be those of an earlier sweep."""


class NewerFormatError(GranuleError):
    """The manifest has a format that this package does not know. A newer granule wrote it."""


class NotThereError(GranuleError, LookupError):
    """The sweep has no such condition, seed or array."""


class DamagedError(GranuleError):
    """Files are missing, cannot be read, or differ from the manifest."""

    #: The problem of each file, by path below the output directory.
    files: dict[str, str]

    def __init__(self, out: Path, files: dict[str, str]) -> None:
        self.files = files
        listed = "".join(f"\n  {path}: {what}" for path, what in files.items())
        help = "run the sweep again with the same --out: it writes missing and changed files again"
        super().__init__(f"files in {out} are not those of the sweep:{listed}", help)


class ProgramError(GranuleError):
    """The program `granule` was not found, or failed."""


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def shown(value: object) -> str:
    """Returns a value from a file for a message: shortened, on one line, with control characters escaped."""
    return _short.repr(value)


def text(value: str) -> str:
    """Returns text from a file for a message: unchanged if it is printable and short enough, else as `shown`."""
    return value if value.isprintable() and len(value) <= 1000 else shown(value)
