"""Disks that are full, or refuse: what is said of them."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)  # for reading, or for writing
_REFUSED = (errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, *_CLOSED)


def disk_error(error: BaseException | None) -> OSError | None:
    """Return what a disk or a folder refused, if that stands behind an error.

    Args:
        error: What was raised. Errors of PyAV's count too, and what an error was raised from.

    Returns:
        An error with its number and, where it is known, the file's name.
    """
    while error is not None:
        number = getattr(error, "errno", None)
        if number in (*FULL, *_REFUSED):
            return OSError(number, os.strerror(number), _name_in(error))
        hidden = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or hidden
    return None


def _name_in(error: BaseException) -> str | None:
    name = getattr(error, "filename", None)
    if not isinstance(name, (str, bytes, os.PathLike)):  # none, or a descriptor
        return None
    return os.fsdecode(name).removeprefix("file:")  # of PyAV's addresses


def refusal(place: str | Path, error: Exception, otherwise: str = "give another folder") -> str:
    """Return a sentence that says why a place cannot be used, and what to do.

    Args:
        place: What the user knows it by.
        error: The error that was raised.
        otherwise: What to do if the place stays as it is.
    """
    number = getattr(error, "errno", None)
    why = getattr(error, "strerror", None) or str(error)
    if number in FULL:
        return f"{place}: the disk is full ({why}): free some space, or {otherwise}"
    how = "read or written" if number in _CLOSED else "written"
    return f"{place} cannot be {how} ({why}): {otherwise}"


def leave_to_main_thread() -> None:
    """Let the main thread alone tell of disks.

    What another thread, or an object at its end, cannot write, such as TensorBoard's events, stops
    the main thread too.
    """
    threading.excepthook = _but_for_disks(threading.excepthook)
    sys.unraisablehook = _but_for_disks(sys.unraisablehook)


def _but_for_disks(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def without_disks(args: Any) -> None:
        if disk_error(args.exc_value) is None:
            hook(args)

    return without_disks
