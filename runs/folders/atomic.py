"""Folders that appear whole: made beside their place, and renamed when they are complete.

Nothing is resumed here: what an interruption cuts short is gone. Runs that go on are the business
of `run_folder`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from ...recognizer import FocusgymError
from ...recognizer.files.disks import refusal
from ...recognizer.files.locks import locked

LOCK = ".lock"


class OutputError(FocusgymError):
    """The output folder cannot be used; the message says why and what to do."""


def check_free(out: Path, otherwise: str = "give another folder") -> None:
    """Refuse a place where something is.

    Args:
        out: The place.
        otherwise: What to do if something is there.

    Raises:
        OutputError: If something is there.
    """
    if out.exists() or out.is_symlink():
        raise OutputError(f"{out} exists: nothing was touched; {otherwise}")


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; the lock of one that was killed is gone with it.

    Raises:
        OutputError: If another process is in it, or it cannot be written.
    """
    busy = OutputError(f"{folder}: another process is at it: wait for it, or stop it")
    with locked(folder / LOCK, busy, lambda error: _cannot_write(folder, error)):
        yield


@contextmanager
def whole(out: Path, *, replace: bool = False, called: Path | None = None) -> Iterator[Path]:
    """Give a new, empty folder, which becomes ``out`` at the end of the block.

    An error in the block leaves what was there before, and nothing else.

    Args:
        out: The folder; those above it are made if needed.
        replace: Whether an ``out`` that is there is replaced.
        called: What a user knows it by, for messages; None for ``out`` itself.

    Yields:
        The folder, beside ``out``.

    Raises:
        OutputError: If it cannot be made.
    """
    beside = out.with_name(f"{out.name}.partial-{token_hex(4)}")
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise _cannot_write(called or out, error) from error
    try:
        yield beside
        # Renamed before it is deleted: what is half deleted is never taken for complete.
        replaced = out.with_name(f"{out.name}.replaced")
        try:
            if replace:
                shutil.rmtree(replaced, ignore_errors=True)
                if out.exists():
                    out.rename(replaced)
            beside.rename(out)
        except OSError as error:
            raise _cannot_write(called or out, error) from error
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _cannot_write(out: Path, error: Exception) -> OutputError:
    return OutputError(refusal(out, error))
