"""Files and folders that appear whole: written beside, put on disk, renamed."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the name of a new file, which becomes ``path`` at the end of the block.

    The content is on disk before the name is: a reader, and a machine that lost its power, finds
    the former file or the new one. An error in the block leaves the former file and nothing else.
    The new file is made here: what a killed process left in its place is removed, and no link that
    stands there is followed.

    Args:
        path: The file; its folder must exist.

    Yields:
        The name to write to, of an empty file in the same folder.
    """
    beside = path.with_name(f"{path.name}.partial")
    beside.unlink(missing_ok=True)
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield beside
        _sync(beside)
        beside.replace(path)
        _sync(path.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a text file in UTF-8, or bytes, that appears complete or not at all."""
    with whole_file(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_folder(
    path: Path, refused: Callable[[OSError], Exception], *, replace: bool = False
) -> Iterator[Path]:
    """Give a new, empty folder, which becomes ``path`` at the end of the block.

    An error in the block leaves what was there before, and nothing else.

    Args:
        path: The folder; those above it are made if needed.
        refused: Returns what is raised where it cannot be made, of the reason.
        replace: Whether a ``path`` that is there is replaced.

    Yields:
        The folder, beside ``path``.
    """
    beside = path.with_name(f"{path.name}.partial-{token_hex(4)}")
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise refused(error) from error
    try:
        yield beside
        # Renamed before it is deleted: what is half deleted is never taken for complete.
        replaced = path.with_name(f"{path.name}.replaced")
        try:
            if replace:
                shutil.rmtree(replaced, ignore_errors=True)
                if path.exists():
                    path.rename(replaced)
            beside.rename(path)
        except OSError as error:
            raise refused(error) from error
        if replace:
            shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def remove_unfinished(path: Path, names: Collection[str]) -> None:
    """Remove what processes that were killed in `whole_folder` have left beside a folder.

    Args:
        path: The folder, which may not be there.
        names: Of all that is written into it; what holds anything else is left alone.
    """
    made = {f"{name}{end}" for name in names for end in ("", ".partial")}
    for left in path.parent.glob(f"{glob.escape(path.name)}.partial-*"):
        with suppress(OSError):  # another process removes its own
            if {each.name for each in left.iterdir()} <= made:
                shutil.rmtree(left)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
