"""Opening a file that others may have made: a regular one, and no longer than is expected."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import IO, Any, BinaryIO

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading, in bytes.

    Named pipes, sockets and devices, which may never end or make the reader wait forever, are
    refused. What is opened is what is checked: another file in its place in between is none.

    Raises:
        OSError: If there is no such file, it cannot be opened, or it is no regular file.
        ValueError: If the name holds a null character.
    """
    # Without O_NONBLOCK a named pipe is waited for until somebody writes to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(error.errno, _no_file(stat.S_IFSOCK), os.fspath(path)) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, _no_file(stat.S_IFMT(mode)), os.fspath(path))
    return os.fdopen(descriptor, "rb")


def open_in_place(path: str | os.PathLike[str], mode: str) -> IO[Any]:
    """Open a file that is changed where it is, as `open` does; a symbolic link is not followed.

    Raises:
        OSError: If it cannot be opened, or is a symbolic link.
    """
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a symbolic link, not a file", os.fspath(path))
    encoding = None if "b" in mode else "utf-8"
    return open(path, mode, encoding=encoding, opener=_unlinked)


def check_regular(path: str | os.PathLike[str]) -> int:
    """Return the length of a regular file in bytes; raises as `open_regular`."""
    with open_regular(path) as file:
        return os.fstat(file.fileno()).st_size


def read_limited(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """Read a regular file of at most so many bytes.

    Raises:
        OSError: As `open_regular`.
        ValueError: If the file is longer, or the name holds a null character.
    """
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"{Path(path).name} has more than {most_bytes} bytes")
    return content


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a regular file; raises as `open_regular`."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _unlinked(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _no_file(kind: int) -> str:
    return f"it is {KINDS.get(kind, 'something else')}, not a file"
