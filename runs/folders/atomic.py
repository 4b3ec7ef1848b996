"""A result that appears whole: written beside its place, and renamed when it is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...recognizer import as_json, differences
from ...recognizer.files.disks import refusal
from ...recognizer.files.locks import locked
from .steps import OutputError

_BEGUN = "begun.json"
LOCK = ".lock"
_SHOWN = 3  # differences in a message


def check_free(out: Path) -> None:
    """Refuse a place where something is.

    Raises:
        OutputError: If something is there.
    """
    if out.exists() or out.is_symlink():
        raise OutputError(f"{out} exists: nothing was touched; give another folder")


def partial_of(out: Path) -> Path:
    """Return where the work for ``out`` is done: ``OUT.partial``."""
    return out.with_name(f"{out.name}.partial")


def begin(out: Path, what: Mapping[str, Any]) -> None:
    """Make ``OUT.partial``, or find it as an interruption of the same work left it.

    Args:
        out: Where the result will be.
        what: All that decides the result, JSON-able.

    Raises:
        OutputError: If it holds other work or something else, or cannot be made.
    """
    partial = partial_of(out)
    begun = partial / _BEGUN
    here = as_json(what)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        others = [path for path in partial.iterdir() if path not in (begun, partial / LOCK)]
        try:
            there = json.loads(begun.read_text())
        except (FileNotFoundError, ValueError):  # new, or killed while this file was written
            if others:
                raise OutputError(
                    f"{partial} is in the way: it holds files of something else; nothing was "
                    "touched; give another folder, or move it"
                ) from None
            begun.write_text(json.dumps(here, indent=2))
            there = here
    except OSError as error:
        raise _cannot_write(out, error) from error
    found = [each.removeprefix("begun.") for each in differences(here, there, "begun")]
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise OutputError(
            f"{partial} was begun with other settings ({'; '.join(found[:_SHOWN])}{more}): give "
            "those to go on, or remove it to begin anew, or give another folder"
        )


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
def whole(out: Path) -> Iterator[Path]:
    """Give a new folder, which becomes ``out`` at the end of the block; an error leaves nothing.

    Raises:
        OutputError: If it cannot be made.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        around = TemporaryDirectory(prefix=f"{out.name}.partial-", dir=out.parent)
    except OSError as error:
        raise _cannot_write(out, error) from error
    with around as outer:
        inner = Path(outer) / out.name  # the outer folder is closed to others
        inner.mkdir()
        yield inner
        try:
            inner.rename(out)
        except OSError as error:
            raise _cannot_write(out, error) from error


def _cannot_write(out: Path, error: Exception) -> OutputError:
    return OutputError(refusal(out, error))
