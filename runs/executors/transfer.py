"""Folders as files, for nodes that do not share a file system: packed, carried, put in place."""

from __future__ import annotations

import errno
import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from secrets import token_hex
from typing import IO, Any

from ...recognizer import in_words
from ..folders.atomic import output_folder
from .units import ExecutorError

SHARED, OBJECT_STORE = "shared", "object-store"
_BELOW = "below"  # marks a path that is told from the root of the units' files
# What names, times and sizes raise that no folder can hold.
_NO_FILE = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)
_NO_NUMBER = (errno.EINVAL, errno.EOVERFLOW)
Archive = bytes | str  # the content itself, or the address of the file that has it


@dataclass(frozen=True)
class Carrier:
    """Carries folders between machines, as tar files.

    Attributes:
        transfer: ``object-store``: an archive is its content, which Ray carries; or the URL of a
            folder that all machines reach: an archive is the URL of a file in it.
    """

    transfer: str

    def check(self) -> None:
        """Refuse a URL that cannot be written, before any work is done.

        Raises:
            ExecutorError: If it cannot, or what reads such URLs is not installed.
        """
        if self.transfer == OBJECT_STORE:
            return
        try:
            self.remove(self._write(lambda file: None))
        except Exception as error:  # each kind of file system has errors of its own
            raise ExecutorError(
                f"--transfer {self.transfer}: nothing can be written there ({error}): give the URL "
                "of a folder that this machine and all nodes can write, and install what fsspec "
                "needs for it, such as s3fs for s3://"
            ) from error

    def pack(self, folder: Path) -> Archive:
        """Return a folder as an archive."""
        return self._write(lambda file: _pack(folder, file))

    def unpack(self, archive: Archive, folder: Path) -> None:
        """Fill a folder, which is made if needed, from an archive.

        Raises:
            ExecutorError: If the archive is damaged, holds links, or what would leave the folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with self._open(archive) as file:
            try:
                with tarfile.open(fileobj=file, mode="r|") as tar:
                    tar.extractall(folder, filter=_plain)
            # Beside those of the archive, what no folder can hold: an OverflowError is of times.
            except (tarfile.TarError, ValueError, LookupError, OverflowError, OSError) as error:
                if isinstance(error, OSError) and error.errno not in (*_NO_FILE, *_NO_NUMBER):
                    raise
                raise ExecutorError(
                    f"the files of a unit came damaged ({in_words(error)}): run the same command "
                    "again"
                ) from error

    def place(self, archive: Archive, folder: Path) -> None:
        """Let a folder appear from an archive at once, in place of what is there."""
        with output_folder(folder, replace=True) as partial:
            self.unpack(archive, partial)
        self.remove(archive)

    def remove(self, archive: Archive) -> None:
        """Remove an archive's file, if it is one."""
        if isinstance(archive, str):
            files, path = _file_system(archive)
            files.rm_file(path)

    def _write(self, fill: Callable[[IO[bytes]], None]) -> Archive:
        if self.transfer == OBJECT_STORE:
            content = io.BytesIO()
            fill(content)
            return content.getvalue()
        url = f"{self.transfer.rstrip('/')}/{token_hex(16)}.tar"
        files, path = _file_system(url)
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        with files.open(path, "wb") as file:
            fill(file)
        return url

    def _open(self, archive: Archive) -> IO[bytes]:
        if isinstance(archive, bytes):
            return io.BytesIO(archive)
        files, path = _file_system(archive)
        opened: IO[bytes] = files.open(path, "rb")
        return opened


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Refuse all but files and folders: links may leave the folder, whatever tarfile checks."""
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise ValueError(f"{member.name} is neither a file nor a folder")
    return tarfile.data_filter(member, folder)


def _pack(folder: Path, file: IO[bytes]) -> None:
    with tarfile.open(fileobj=file, mode="w|", dereference=True) as tar:  # links arrive as files
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)


def _file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path in it."""
    from fsspec.core import url_to_fs  # with torch it is there; imported where it is needed

    files, path = url_to_fs(url)
    return files, str(path)


def below(root: Path, value: object) -> tuple[str, str] | None:
    """Return what a pickle says in place of a path below a root; None of anything else."""
    if not isinstance(value, PurePath):
        return None
    path = Path(value).resolve()
    return (_BELOW, path.relative_to(root).as_posix()) if path.is_relative_to(root) else None


class BelowUnpickler(pickle.Unpickler):
    """Reads what was pickled with `below`, with another folder as the root."""

    def __init__(self, content: bytes, root: Path) -> None:
        """Say what is read, and where the root is here."""
        super().__init__(io.BytesIO(content))
        self._root = root

    def persistent_load(self, pid: Any) -> Path:
        """Return a path below the root."""
        return self._root / str(pid[1])
