"""The files of a cache beside its manifest: arrays, the table of rows, encoders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...recognizer import Encoder, describe, in_words, read_encoder
from ..videos import View
from .manifest import CacheError, in_short
from .rows import TEXT_COLUMNS

SHARED_ARRAYS = ("glance_maps", "glance_vectors", "frame_indices", "crops_px", "flipped")
ENCODERS = "encoders"  # folder of the encoders' bundles


def local_array(group: str) -> str:
    """Return the name of an option group's array."""
    return f"local_vectors_{group}"


def read_table(root: Path) -> pd.DataFrame:
    """Read the table of rows of a cache or a shard.

    Raises:
        CacheError: If it is not there or lacks columns.
    """
    try:
        table = pd.read_csv(
            root / "videos.csv",
            dtype=TEXT_COLUMNS,
            keep_default_na=False,
            na_values={"start_s": "", "end_s": ""},
        )
        table[["name", "path", "label", "labels", "split", "view"]]
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(root, error) from error
    return table


def open_arrays(root: Path, groups: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Map the arrays of a cache or a shard, read-only, by their names on disk.

    Args:
        root: The folder.
        groups: Names of the option groups whose arrays are wanted, besides those of all.

    Raises:
        CacheError: If one is not there or damaged.
    """
    names = (*SHARED_ARRAYS, *map(local_array, groups))
    try:
        return {
            name: np.load(root / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names
        }
    except (OSError, ValueError) as error:
        raise _damaged(root, error) from error


def read_encoders(
    root: Path, manifest: Mapping[str, Any], names: Iterable[str] | None = None
) -> dict[str, Encoder]:
    """Read encoders of a cache or a shard.

    Args:
        root: The folder.
        manifest: Of the cache.
        names: Which encoders; None for all.

    Returns:
        The encoders by name, f_G as ``glance``.

    Raises:
        BundleError: If a bundle cannot be read.
        CacheError: If the weights are not those that the features were made with.
    """
    encoders = {}
    for name in manifest["encoders"] if names is None else names:
        encoders[name] = encoder = read_encoder(root / ENCODERS / name)
        said, found = manifest["encoders"][name], describe(encoder)
        if found != said:
            raise CacheError(
                f"{root / ENCODERS / name} holds {in_short(found)}, but the features were made "
                f"with {in_short(said)}: the bundle was changed; put the former one back, or build "
                "the cache again"
            )
    return encoders


def stored_view(arrays: Mapping[str, NDArray[Any]], row: int) -> View:
    """Return the view that is stored in a row."""
    left, top, right, bottom = arrays["crops_px"][row].tolist()
    indices = np.array(arrays["frame_indices"][row])
    return View(indices, (left, top, right, bottom), bool(arrays["flipped"][row]))


def _damaged(root: Path, error: Exception) -> CacheError:
    return CacheError(
        f"{root} is not a complete feature cache ({in_words(error)}): build it again, or give "
        "another path"
    )
