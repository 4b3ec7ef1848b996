"""Rows of an opened cache, compared with their checksums when they are first read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .arrays import checksum, open_arrays
from .manifest import CacheError
from .rows import SKIPPED


class CheckedRows:
    """Which rows of a cache were seen to be what the build wrote.

    A row is read whole once, with all option groups, for it has one checksum; so a disk's mistake
    in features that a training reads is found before they are used.
    """

    def __init__(self, root: Path, manifest: Mapping[str, Any], table: pd.DataFrame) -> None:
        """Take a cache.

        Args:
            root: Folder of the cache.
            manifest: Manifest of the cache.
            table: Its rows; nothing is checked where they have no ``checksum``.
        """
        self._root, self._manifest, self._table = root, manifest, table
        has_sums = "checksum" in table
        self._left = np.array((table["split"] != SKIPPED) & has_sums, dtype=bool)
        self._n_left = int(self._left.sum())
        self._arrays: dict[str, NDArray[Any]] = {}

    def check(self, videos: NDArray[np.int64] | int) -> None:
        """Check the rows that were not read before.

        Args:
            videos: Rows, in any shape.

        Raises:
            CacheError: If one is not what the build wrote.
        """
        if not self._n_left:
            return
        rows = np.asarray(videos).ravel()
        rows = rows[self._left[rows]]
        for row in np.unique(rows).tolist() if len(rows) else ():
            self._arrays = self._arrays or open_arrays(
                self._root, self._manifest, self._manifest["groups"], len(self._table)
            )
            row_checksum = checksum({name: array[row] for name, array in self._arrays.items()})
            name, expected = self._table["name"][row], self._table["checksum"][row]
            if row_checksum != expected:
                raise CacheError(
                    f"{self._root}: row {row} ({name}) has checksum {row_checksum}, expected "
                    f"{expected}: its features are damaged; build the cache again, or put its "
                    "files back"
                )
            self._left[row] = False
            self._n_left -= 1
