"""What can go wrong: each error says what, where, and what to do."""

from __future__ import annotations

import os
import reprlib
import shlex
from pathlib import Path


def shell_path(path: Path) -> str:
    """The path as an argument of a command that a person pastes into a shell, which no program takes for an option.

    Where it has characters that are not printed, or bytes that are not UTF-8, `printf` writes it, as the program
    `granule` has it in its own messages: every shell understands that.
    """
    text = str(path)
    # zsh replaces `=ls` by the path of `ls`.
    if text.startswith(("-", "=", "%")):
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)
    raw = os.fsencode(text)
    body = raw.rstrip(b"\n")
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:,+@= "
    shown = "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in body)
    # A substitution drops line feeds at its end.
    newlines = "\n" * (len(raw) - len(body))
    return (f"\"$(printf '{shown}')\"" if shown else "") + (f"'{newlines}'" if newlines else "")


class GranuleError(Exception):
    """Any error of this package."""

    def __init__(self, what: str, help: str) -> None:
        super().__init__(f"{what}\n  help: {help}")


class NotASweepError(GranuleError):
    """The directory holds no sweep."""


class UnfinishedError(GranuleError):
    """The sweep was not run to its end, so that its files may be of an earlier one."""


class NewerFormatError(GranuleError):
    """The manifest was written by a granule whose format this package does not know."""


class NotThereError(GranuleError, LookupError):
    """The sweep has no such condition, seed or array."""


class DamagedError(GranuleError):
    """Files are missing or cannot be read, or they are not those that the manifest lists."""

    #: What is wrong with which file: paths below the output directory.
    files: dict[str, str]

    def __init__(self, out: Path, files: dict[str, str]) -> None:
        self.files = files
        listed = "".join(f"\n  {path}: {what}" for path, what in files.items())
        help = "run the sweep again with the same --out: it writes anew what is not as it should be"
        super().__init__(f"files in {out} are not those of the sweep:{listed}", help)


class ProgramError(GranuleError):
    """The program `granule` was not found, or could not do what it was asked for."""


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def shown(value: object) -> str:
    """A value from a file, for a message: shortened, on one line, with control characters escaped."""
    return _short.repr(value)


def text(value: str) -> str:
    """Text from a file, for a message: unchanged if it is printable and not too long, else as `shown`."""
    return value if value.isprintable() and len(value) <= 1000 else shown(value)
