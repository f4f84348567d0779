"""What can go wrong: each error says what, where, and what to do."""

from __future__ import annotations

from pathlib import Path


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
    """Files are missing, or are not those that the manifest lists."""

    #: What is wrong with which file: paths below the output directory.
    files: dict[str, str]

    def __init__(self, out: Path, files: dict[str, str]) -> None:
        self.files = files
        listed = "".join(f"\n  {path}: {what}" for path, what in files.items())
        help = "run the sweep again with the same --out: it writes anew what is not as it should be"
        super().__init__(f"files in {out} are not those of the sweep:{listed}", help)


class ProgramError(GranuleError):
    """The program `granule` was not found, or could not do what it was asked for."""
