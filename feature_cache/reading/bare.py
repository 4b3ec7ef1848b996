"""A cache without videos: what it says of frames, options and encoders, and no features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from ...recognizer import write_bundle
from ...recognizer.files.atomic import whole_file, write_whole
from .arrays import ENCODERS, open_arrays
from .store import FeatureCache
from .tables import COLUMNS, tables_digest


def write_bare_cache(cache: FeatureCache, folder: Path) -> None:
    """Write a cache of no videos, with the opened option groups and the encoders of another.

    It has the same fingerprint, so that whatever was trained on the features fits it; and it is
    opened like any cache. It is for systems that read pixels.

    Args:
        cache: Of which groups are opened.
        folder: Empty, and there.

    Raises:
        BundleError, CacheError: If an encoder cannot be read, or was changed.
    """
    names = [each.group.name for each in cache.opened]
    encoders = cache.encoders_by_name()
    kept = {"groups": names, "fingerprints": names, "encoders": encoders}
    manifest = {
        **cache.manifest,
        **{part: {name: cache.manifest[part][name] for name in of} for part, of in kept.items()},
        "videos_root": {"from_cache": None, "absolute": ""},
        "decoders": {},
        "skipped": [],
    }
    table = pd.DataFrame(columns=COLUMNS)
    manifest["tables"] = tables_digest(manifest, table)
    for name, array in open_arrays(cache.root, cache.manifest, names, cache.n_videos).items():
        with whole_file(folder / f"{name}.npy") as beside, beside.open("wb") as file:
            np.save(file, np.empty((0, *array.shape[1:]), array.dtype))
    write_whole(folder / "videos.csv", table.to_csv(index=False))
    (folder / ENCODERS).mkdir()
    for name, encoder in encoders.items():
        write_bundle(folder / ENCODERS / name, "encoder", encoder.config, encoder)
    write_whole(folder / "manifest.json", json.dumps(manifest, indent=2))
