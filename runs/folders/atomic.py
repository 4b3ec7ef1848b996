"""Folders that appear whole: made beside their place, and renamed when they are complete.

Nothing is resumed here: what an interruption cuts short is gone. Runs that go on are the business
of `run_folder`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...recognizer import FocusgymError
from ...recognizer.files.atomic import whole_folder
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
def output_folder(
    out: Path, *, replace: bool = False, called: Path | None = None
) -> Iterator[Path]:
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
    place = called or out
    with whole_folder(out, lambda error: _cannot_write(place, error), replace=replace) as beside:
        yield beside


def _cannot_write(out: Path, error: Exception) -> OutputError:
    return OutputError(refusal(out, error))
