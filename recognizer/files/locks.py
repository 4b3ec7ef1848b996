"""Locks of files and folders: one process at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(
    file: Path, busy: Exception, refused: Callable[[Exception], Exception]
) -> Iterator[None]:
    """Keep other processes out while the block runs; the lock of one that was killed is gone.

    Args:
        file: The lock; it is made if it is not there, and stays.
        busy: Raised if another process has it.
        refused: Makes what is raised if it cannot be made, from the error.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise busy from None
    except (OSError, NotImplementedError) as error:  # where files cannot be locked
        raise refused(error) from error
    try:
        yield
    finally:
        lock.release()
