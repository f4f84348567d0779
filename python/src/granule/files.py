"""Opens files of a sweep for this package: without blocking, regular files only, and up to a limit."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np

# With O_NONBLOCK, opening a pipe does not wait for a process at its other end. Some systems lack some flags.
_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read(path: Path, limit: int) -> memoryview:
    """Returns the bytes of a regular file of at most `limit` bytes, in writable memory.

    Follows links. Raises only `OSError`, whose `strerror` states the problem.
    """
    try:
        with open(path, "rb", buffering=0, opener=_opener) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _irregular(status.st_mode)
            if status.st_size > limit:
                raise OSError(errno.EFBIG, f"{status.st_size} bytes instead of at most {limit}")
            buffer = _memory(status.st_size + 1)  # One more byte shows that the file has grown.
            length = 0
            while length < len(buffer) and (count := file.readinto(buffer[length:])):
                length += count
    except IsADirectoryError:
        raise _irregular(stat.S_IFDIR) from None
    except PermissionError:
        raise OSError(errno.EACCES, f"permission denied; {_remedy(path)}") from None
    except ValueError:  # The path has a null character.
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
    if length != status.st_size:
        raise OSError(errno.EBUSY, "changed while it was read; read it again when no program writes to it")
    return buffer[:length]


def read_below(directory: Path, path: str, limit: int) -> memoryview:
    """As `read`, for a path with `/` below this directory. None of its parts may be a link."""
    place = directory
    for part in path.split("/"):
        place /= part
        if os.path.islink(place):
            what = f"{part} is a symbolic link; replace it with the file or directory that it points to"
            raise OSError(errno.ELOOP, what)
    return read(place, limit)


def _opener(path: str, _flags: int) -> int:
    return os.open(path, _FLAGS)


def _irregular(mode: int) -> OSError:
    kind = _KINDS.get(stat.S_IFMT(mode), "a special file")
    return OSError(errno.EINVAL, f"is {kind}; expected a regular file")


def _memory(size: int) -> memoryview:
    try:
        return np.empty(size, np.uint8).data
    except MemoryError:
        raise OSError(errno.ENOMEM, f"has {size - 1} bytes, more than there is memory for") from None


def _remedy(path: Path) -> str:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return "make its directory readable, as with `chmod u+rx`"
    return f"make it readable, as with `chmod u+r` (its mode is {mode:04o})"
