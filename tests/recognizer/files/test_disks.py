"""Files on disks that are full, and what stands behind an error."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from disks import PAGE, Disk

from focusgym.recognizer.files.atomic import write_whole
from focusgym.recognizer.files.disks import disk_error


def test_files_appear_whole(tmp_path: Path) -> None:
    """A file that is there stays as it is where a new one has no room."""
    with Disk.mounted(tmp_path / "disk") as disk:
        path = disk.place / "file.json"
        write_whole(path, "before")
        disk.change("nr_blocks=2")
        with pytest.raises(OSError, match="No space left on device"):
            write_whole(path, "x" * 3 * PAGE)
        assert [each.name for each in disk.place.iterdir()] == ["file.json"]
        assert path.read_text() == "before"


def test_what_stands_behind_an_error() -> None:
    full = OSError(errno.ENOSPC, "no room", "name")

    def raised(*, hidden: bool = False, cause: bool = True) -> Exception:
        try:
            try:
                raise full
            except OSError as error:
                if hidden:
                    raise ValueError("another") from None
                if cause:
                    raise ValueError("another") from error
                raise ValueError("another")  # noqa: B904
        except ValueError as error:
            return error

    for error in (full, raised(), raised(cause=False)):
        os_error = disk_error(error)
        assert os_error is not None
        assert (os_error.errno, os_error.filename) == (errno.ENOSPC, "name")
    for other in (raised(hidden=True), FileNotFoundError(errno.ENOENT, "gone"), OSError("x"), None):
        assert disk_error(other) is None
