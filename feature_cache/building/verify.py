"""Checking a finished cache: against its checksums, and against the videos themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ...recognizer import Purpose, ahead, generator
from ..reading.arrays import checksum, open_arrays, read_encoders, read_table, stored_view
from ..reading.manifest import CacheError, read_manifest
from ..reading.roots import VideosRoot, Where
from ..reading.rows import SKIPPED, clips_of, shard_rows
from ..reading.tables import tables_digest
from ..videos import Clip, VideoError, read_view
from ..videos.clips import read_pixels, read_plainly, source_digest
from ..videos.second import read_through_decord
from .build import encoding_workers
from .encode import VideoEncoder, config_of

# Two roundings to the storage dtype, in units of a feature's size; the same again near zero.
TOLERANCE = {"float16": 2e-3, "float32": 1e-4}
# What the precision in which it was computed adds, on another processor or device.
TOLERANCE_OF_PRECISION = {"float32": 0.0, "tf32": 1e-2, "bfloat16": 1e-1}
# Of 255: decoders round apart by one; neighbouring frames of real videos differ by more on average.
PICTURE_TOLERANCE = 0.5
Arrays = Mapping[str, NDArray[Any]]


def verify_cache(
    path: Where,
    sample: int = 8,
    seed: int = 0,
    videos_root: Where | None = None,
    part: tuple[int, int] = (1, 1),
) -> list[str]:
    """Read a whole cache, and decode and encode some of its videos again.

    They are decoded plainly, from the first frame to the last and without an index, and, where the
    file is simple, by another decoder; the pictures of all are compared with those that a build
    would read, and the features of the plain ones with those stored.

    Args:
        path: The cache's folder, or a shard's.
        sample: How many rows are encoded again, drawn at random.
        seed: Seed of the draw of videos.
        videos_root: Where the folder of the videos is now; see `FeatureCache.open`.
        part: (i, n): part i of n of the rows, i from 1, and of the draw what is in it; the n parts
            together check what one call for all does.

    Returns:
        What is wrong, one sentence each; empty where all is well.

    Raises:
        CacheError: If there is no complete cache, its arrays and its table do not fit, or its
            encoders are not those that it was made with.
        ShardError: If there is no such part.
    """
    root = Path(path)
    manifest = read_manifest(root)
    rows = read_table(root, manifest, with_facts=True)
    config = config_of(manifest)
    arrays = open_arrays(root, manifest, manifest["groups"], len(rows))
    precision = manifest["depends_on"].get("precision", "float32")
    tolerance = max(TOLERANCE[config.dtype], TOLERANCE_OF_PRECISION[precision])
    wrong = []
    if manifest.get("tables") != tables_digest(manifest, rows):
        wrong.append(f"{root}: manifest.json or videos.csv was edited: build it again")
    encoder = VideoEncoder(read_encoders(root, manifest), config)
    kept = np.flatnonzero(rows["split"] != SKIPPED)
    drawn = generator(Purpose.VERIFIED_VIDEOS, seed).permutation(kept)[:sample]
    mine = shard_rows(len(rows), part)
    drawn = drawn[np.isin(drawn, mine)]
    where = VideosRoot.find(root, manifest, rows, videos_root)
    clips = clips_of(rows.assign(path=where.paths))
    with encoding_workers(config) as workers:
        stored = ahead(lambda row: _check_row(row, rows, arrays), mine.tolist(), workers)
        wrong += list(tqdm(stored, "checksums", len(mine), unit="video"))
        encoded = ahead(
            lambda row: _check_video(clips[row], row, rows, arrays, encoder, where, tolerance),
            drawn,
            workers,
        )
        wrong += list(tqdm(encoded, "encoding again", len(drawn), unit="video"))
    return [sentence for sentence in wrong if sentence]


def _check_row(row: int, rows: pd.DataFrame, arrays: Arrays) -> str:
    features = {name: np.asarray(array[row]) for name, array in arrays.items()}
    name, expected = rows["name"][row], rows["checksum"][row]
    if rows["split"][row] == SKIPPED:
        empty = not any(values.any() for values in features.values())
        return "" if empty else f"row {row} ({name}) was skipped, but is not zero: build it again"
    if not all(np.isfinite(values).all() for values in features.values()):
        return f"row {row} ({name}) holds values that are not finite: build it again"
    row_checksum = checksum(features)
    if row_checksum != expected:
        return (
            f"row {row} ({name}) has checksum {row_checksum}, expected {expected}: build it again"
        )
    return ""


def _check_video(
    clip: Clip,
    row: int,
    rows: pd.DataFrame,
    arrays: Arrays,
    encoder: VideoEncoder,
    where: VideosRoot,
    tolerance: float,
) -> str:
    try:
        view = stored_view(arrays, row)
        where.check([clip])
        wrong = _compare_decoders(clip, view.frame_indices.ravel())
        frames = read_view(clip, encoder.config.frames, view, plainly=True)
    except (CacheError, VideoError) as error:
        return f"row {row} cannot be encoded again: {error}"
    if source_digest(clip, view.frame_indices) != rows["source"][row]:
        return (
            f"row {row}: {clip.path} is another file than the one that was encoded: put that back, "
            "or build again"
        )
    if wrong:
        return f"row {row}: {wrong}"
    for name, again in encoder.encode(frames).items():
        stored = torch.from_numpy(np.array(arrays[name][row])).float()
        fresh = torch.from_numpy(again).float()
        if not torch.allclose(stored, fresh, rtol=tolerance, atol=tolerance):
            difference = float((stored - fresh).abs().max())
            return (
                f"row {row}: {name} of {clip.path} differs by up to {difference:.3g} from what is "
                "encoded now: the file, the decoder or the encoders have changed; build again"
            )
    return ""


def _compare_decoders(clip: Clip, indices: NDArray[np.int64]) -> str:
    """Return what is wrong with the pictures that a build reads of a video; empty if nothing is."""
    plain = read_plainly(clip, indices)
    others = {
        "as a build reads it": read_pixels(clip, lambda first, n: indices).pictures,
        "through decord": read_through_decord(clip, indices),
    }
    for way, pictures in others.items():
        if pictures is None:
            continue
        apart = np.full(len(indices), np.inf)
        if pictures.shape == plain.shape:
            apart = np.abs(pictures.astype(np.int16) - plain).mean((1, 2, 3))  # (T,)
        if (apart > PICTURE_TOLERANCE).any():
            return (
                f"two ways of decoding {clip.path}, plainly and {way}, give different pictures of "
                f"frame {indices[int(apart.argmax())]}: encode the file anew, such as with ffmpeg"
            )
    return ""
