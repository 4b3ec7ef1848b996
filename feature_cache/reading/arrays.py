"""The files of a cache beside its manifest: arrays, the table of rows, encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...recognizer import Encoder, describe, in_words, read_encoder
from ...recognizer.files.declared import map_array
from ..videos import View
from .manifest import CacheError, in_short
from .schema import array_schemas, read_rows

SHARED_ARRAYS = ("glance_maps", "glance_vectors", "frame_indices", "crops_px", "flipped")
ENCODERS = "encoders"  # folder of the encoders' bundles


def local_array(group: str) -> str:
    """Return the name of an option group's array."""
    return f"local_vectors_{group}"


def read_table(root: Path, manifest: Mapping[str, Any], *, with_facts: bool) -> pd.DataFrame:
    """Read the table of rows of a cache or a shard.

    Args:
        root: The folder.
        manifest: Manifest of the cache.
        with_facts: Whether what a build notes of every file is needed.

    Raises:
        CacheError: If it is not there, lacks columns, or a cell holds no such value.
    """
    try:
        return read_rows(root / "videos.csv", len(manifest["depends_on"]["classes"]), with_facts)
    except (OSError, ValueError) as error:
        raise _damaged(root, error) from error


def open_arrays(
    root: Path, manifest: Mapping[str, Any], groups: Iterable[str], n_rows: int
) -> dict[str, NDArray[Any]]:
    """Map the arrays of a cache or a shard, read-only, by their names on disk.

    Args:
        root: The folder.
        manifest: Manifest of the cache.
        groups: Names of the option groups whose arrays are wanted, besides those of all.
        n_rows: N, the rows of its table.

    Raises:
        CacheError: If one is not there, damaged, or of another shape or dtype than the manifest and
            the table say.
    """
    schemas = array_schemas(manifest, n_rows)
    arrays = {}
    try:
        for name in (*SHARED_ARRAYS, *map(local_array, groups)):
            arrays[name] = array = map_array(root / f"{name}.npy")
            if array.shape and len(array) != n_rows:
                raise CacheError(
                    f"{root}: {name} has {len(array)} rows, videos.csv {n_rows}: build it again"
                )
            schemas[name].check(name, array)
        maps, vectors = arrays["glance_maps"].shape, arrays["glance_vectors"].shape
        if 0 in (*maps[1:], *vectors[1:]) or maps[-1] % vectors[-1]:
            raise ValueError(f"glance maps of {maps} and glance vectors of {vectors} do not fit")
    except (OSError, ValueError) as error:
        if isinstance(error, CacheError):
            raise
        raise _damaged(root, error) from error
    return arrays


def read_encoders(
    root: Path, manifest: Mapping[str, Any], names: Iterable[str] | None = None
) -> dict[str, Encoder]:
    """Read encoders of a cache or a shard.

    Args:
        root: The folder.
        manifest: Manifest of the cache.
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
        expected, description = manifest["encoders"][name], describe(encoder)
        if description != expected:
            raise CacheError(
                f"{root / ENCODERS / name} holds {in_short(description)}, but the features were "
                f"made with {in_short(expected)}: the bundle was changed; put the former one back, "
                "or build the cache again"
            )
    return encoders


def stored_view(arrays: Mapping[str, NDArray[Any]], row: int) -> View:
    """Return the view that is stored in a row.

    Raises:
        CacheError: If it is invalid: the row is of a video that was skipped, or damaged.
    """
    left, top, right, bottom = arrays["crops_px"][row].tolist()
    indices = np.array(arrays["frame_indices"][row])
    if not (0 <= left < right and 0 <= top < bottom and indices.min() >= 0):
        raise CacheError(
            f"row {row} has the crop {[left, top, right, bottom]} and the frames "
            f"{indices.ravel().tolist()!s:.80}: the cache is damaged; build it again"
        )
    return View(indices, (left, top, right, bottom), bool(arrays["flipped"][row]))


def checksum(features: Mapping[str, NDArray[Any]]) -> str:
    """Return a digest, 32 hexadecimal digits, of all arrays of one row, by name."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(features):
        digest.update(np.ascontiguousarray(features[name]).tobytes())
    return digest.hexdigest()


def _damaged(root: Path, error: Exception) -> CacheError:
    return CacheError(
        f"{root} is not a complete feature cache ({in_words(error)}): build it again, or give "
        "another path"
    )
