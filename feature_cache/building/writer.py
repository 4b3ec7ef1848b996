"""A cache while it is being written: arrays in place, a journal, a lock, an atomic finish."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from safetensors import SafetensorError

from ...recognizer import in_words
from ...recognizer.files.declared import map_array
from ...recognizer.files.locks import locked
from ..reading import journal
from ..reading.journal import NOTHING, Journal, RowFacts
from ..reading.manifest import CacheError
from ..reading.schema import ArraySchema

SYNC_S = 2.0
FULL = (errno.ENOSPC, errno.EDQUOT)
Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]


def size_bytes(shapes: Shapes, n_rows: int) -> int:
    """Return the size of all arrays of a cache."""
    return n_rows * sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes.values())


def partial_path(root: Path) -> Path:
    """Return the folder in which a cache is until it is complete."""
    return root.with_name(root.name + ".partial")


class CacheWriter:
    """Writes the rows of a cache into ``ROOT.partial``, which becomes ``ROOT`` when it is complete.

    A context manager: one writer at a time; what was written is on disk when the block is left,
    however it is left. A process that is killed loses at most the rows of the last two seconds.

    Attributes:
        rows: What is on disk, by row.
    """

    def __init__(
        self,
        root: Path,
        identity: Mapping[str, Any],
        shapes: Shapes,
        n_rows: int,
        weights_bytes: int = 0,
        restart: bool = False,
    ) -> None:
        """Say what is to be written.

        Args:
            root: The cache's folder.
            identity: Everything that the content depends on; JSON-able.
            shapes: Shape of one row, and dtype, of every array.
            n_rows: Rows of the cache.
            weights_bytes: Size of what is written beside the arrays at the end.
            restart: Throw away what was begun with another identity, instead of refusing.
        """
        self._root = root
        self._partial = partial_path(root)
        self._identity = dict(identity)
        self._shapes = shapes
        self._n_rows = n_rows
        self._weights_bytes = weights_bytes
        self._restart = restart
        self._lock_file = root.with_name(root.name + ".lock")
        self._lock = ExitStack()
        self._files: dict[str, tuple[int, int, int]] = {}  # descriptor, offset, bytes of a row
        self._unsynced: dict[int, RowFacts] = {}
        self._journal: Journal | None = None
        self.rows: dict[int, RowFacts] = {}
        self._synced_s = time.monotonic()

    def __enter__(self) -> CacheWriter:
        """Take the lock, and begin or go on.

        Raises:
            CacheError: If another process writes this cache, if it was begun with other settings,
                or if the disk has too little space.
        """
        busy = CacheError(
            f"{self._root} is being written by another process: wait for it, or stop it"
        )
        try:
            self._root.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._refused(error) from error
        self._lock.enter_context(locked(self._lock_file, busy, self._refused))
        try:
            if self._root.exists():
                raise CacheError(
                    f"{self._root} was finished by another process meanwhile: run the same command "
                    "again, which checks it"
                )
            self._check_links()
            self._journal = self._go_on() or self._begin()
            self.rows = self._journal.rows
            self._check_space(self._n_rows - len(self.rows))
            for name in self._shapes:
                array = self._array(name)
                row_bytes = array.nbytes // self._n_rows
                offset = (self._partial / f"{name}.npy").stat().st_size - array.nbytes
                descriptor = os.open(self._partial / f"{name}.npy", os.O_RDWR)
                self._files[name] = descriptor, offset, row_bytes
        except BaseException:
            self._release()
            self._unlock()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put what was written on disk, and let the lock go."""
        try:
            if self._files:
                self._close()
        finally:
            self._unlock()

    def write(self, row: int, features: Mapping[str, NDArray[Any]], facts: RowFacts) -> None:
        """Write one row of every array.

        Args:
            row: Row of the table of videos.
            features: Its part of every array.
            facts: What the journal notes.

        Raises:
            CacheError: If the disk is full; all rows before this one are kept.
        """
        with self._told_when_full():
            for name, (descriptor, offset, row_bytes) in self._files.items():
                _write_all(descriptor, features[name], offset + row * row_bytes)
            self._unsynced[row] = facts
            if time.monotonic() - self._synced_s > SYNC_S:
                self._sync()

    def erase(self, row: int) -> None:
        """Take a row back: zeros, and a note that it is not there."""
        blank = {name: np.zeros(shape, dtype) for name, (shape, dtype) in self._shapes.items()}
        self.write(row, blank, NOTHING)

    def sync(self) -> None:
        """Put what was written on disk, and only then note it in the journal."""
        with self._told_when_full():
            self._sync()

    def _sync(self) -> None:
        for descriptor, _, _ in self._files.values():
            os.fdatasync(descriptor)
        if self._journal is not None:
            self._journal.add(self._unsynced)
        self._unsynced = {}
        self._synced_s = time.monotonic()

    def finish(self, write_tables: Callable[[Path], None]) -> None:
        """Make the cache appear, complete.

        Args:
            write_tables: Writes everything but the arrays into the folder that it is given.
        """
        self._close()
        with self._told_when_full():
            write_tables(self._partial)
            _sync_files(self._partial)
        self._partial.rename(self._root)
        # Last, so that whatever is cut short here is either begun or complete.
        (self._root / journal.NAME).unlink()

    def _check_links(self) -> None:
        """Refuse links among what is written to where it is, which would change other files."""
        paths = self._partial.iterdir() if self._partial.is_dir() else ()
        if links := sorted(path.name for path in paths if path.is_symlink()):
            raise CacheError(
                f"{self._partial / links[0]} is a symbolic link, and builds write files: remove "
                f"{self._partial} and build again"
            )

    def _go_on(self) -> Journal | None:
        """Return the journal of a build that was begun, unless there is none."""
        begun_journal = Journal.read(self._partial)
        if begun_journal is None or begun_journal.identity == self._identity:
            return begun_journal
        begun_journal.close()
        if self._restart:
            shutil.rmtree(self._partial)
            return None
        keys = self._identity.keys() | begun_journal.identity.keys()
        other = sorted(k for k in keys if self._identity.get(k) != begun_journal.identity.get(k))
        raise CacheError(
            f"{self._partial} was begun with other settings ({', '.join(other)}): go on with those "
            f"({_count(begun_journal.rows)} of {self._n_rows} rows are there), give another "
            "folder, or begin anew (build: --restart)"
        )

    def _begin(self) -> Journal:
        self._check_space(self._n_rows)
        with self._told_when_full():
            self._partial.mkdir(exist_ok=True)
            for name, (shape, dtype) in self._shapes.items():
                open_memmap(self._partial / f"{name}.npy", "w+", dtype, (self._n_rows, *shape))
            return Journal.begin(self._partial, self._identity)

    @contextmanager
    def _told_when_full(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            # safetensors tells the number in its text only.
            if getattr(error, "errno", 0) not in FULL and f"os error {errno.ENOSPC}" not in str(
                error
            ):
                raise
            kept = _count({**self.rows, **self._unsynced})
            raise CacheError(
                f"the disk of {self._partial} is full: {kept} of {self._n_rows} rows are kept; "
                "free some space and run the same command, which goes on from there"
            ) from error

    def _array(self, name: str) -> NDArray[Any]:
        path = self._partial / f"{name}.npy"
        try:
            array = map_array(path)
            shape, dtype = self._shapes[name]
            ArraySchema(dtype, (self._n_rows, *shape)).check(name, array)
            return array
        except (OSError, ValueError) as error:
            raise CacheError(
                f"{path} is damaged ({in_words(error)}): remove {self._partial} and build again"
            ) from error

    def _check_space(self, n_rows: int) -> None:
        needed = size_bytes(self._shapes, n_rows) + self._weights_bytes
        free = free_bytes(self._root)
        if needed > free:
            raise CacheError(
                f"{self._root} needs {needed / 1e9:.3g} GB, and the disk has {free / 1e9:.3g} GB "
                "free: free some, build on another disk, or store less (views, patch sizes, frames)"
            )

    def _close(self) -> None:
        try:
            self.sync()
        finally:
            self._release()

    def _release(self) -> None:
        if self._journal is not None:
            self._journal.close()
        for descriptor, _, _ in self._files.values():
            os.close(descriptor)
        self._files = {}

    def _unlock(self) -> None:
        self._lock_file.unlink(missing_ok=True)
        self._lock.close()

    def _refused(self, error: Exception) -> CacheError:
        return CacheError(
            f"nothing can be written in {self._root.parent} ({in_words(error)}): give another "
            "folder"
        )


def free_bytes(root: Path) -> int:
    """Return the free space where a folder is or will be."""
    return shutil.disk_usage(nearest_folder(root)).free


def nearest_folder(root: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    return next(path for path in (root, *root.absolute().parents) if path.exists())


def _write_all(descriptor: int, values: NDArray[Any], offset: int) -> None:
    # Written, not stored through the map: a full disk is then an error, not a fatal signal.
    left = memoryview(np.ascontiguousarray(values).tobytes())
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def _count(rows: Mapping[int, RowFacts]) -> int:
    return sum(facts != NOTHING for facts in rows.values())


def _sync_files(folder: Path) -> None:
    """Put every file of a folder on disk."""
    for path in folder.rglob("*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
