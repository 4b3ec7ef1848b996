"""What building a cache would take, before it is begun."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ...recognizer import ahead
from ..reading.rows import cache_rows, clips_of
from ..videos import Clip, VideoError, count_frames
from .build import encode_row, encoding_workers
from .encode import VideoEncoder
from .writer import free_bytes, nearest_folder, size_bytes


@dataclass(frozen=True)
class Plan:
    """What a build would take.

    Attributes:
        rows: Rows of the cache by split; augmented copies count.
        array_bytes: Size of each array.
        weights_bytes: Size of all encoders' weights, which the cache holds too.
        free_bytes: Space on the disk where the cache would be.
        seconds_per_row: From a timed sample, all workers together.
        sampled: How many rows were timed.
        problems: What would be wrong, one sentence each.
    """

    rows: dict[str, int]
    array_bytes: dict[str, int]
    weights_bytes: int
    free_bytes: int
    seconds_per_row: float
    sampled: int
    problems: list[str]

    @property
    def total_bytes(self) -> int:
        """Size of the cache: all arrays, and the weights."""
        return sum(self.array_bytes.values()) + self.weights_bytes

    @property
    def hours(self) -> float:
        """Estimated time to build."""
        return sum(self.rows.values()) * self.seconds_per_row / 3600


def plan_cache(
    videos: pd.DataFrame, root: str | os.PathLike[str], encoder: VideoEncoder, sample: int = 8
) -> Plan:
    """Open every video, and decode and encode a few.

    Args:
        videos: The table of videos.
        root: Where the cache would be.
        encoder: All encoders, and what is stored.
        sample: Rows that are timed, spread over the list, after one per worker to warm up.

    Returns:
        Sizes, time and problems.
    """
    root = Path(root)
    rows = cache_rows(videos, encoder.config.augment)
    problems = [reason for reason in videos["missing"] if reason]
    present = videos[videos["missing"] == ""]

    def probe(clip: Clip) -> str:
        try:
            count_frames(clip)
        except VideoError as error:
            return str(error)
        return ""

    workers = torch.get_num_threads()
    clips = clips_of(present)
    probed = list(tqdm(ahead(probe, clips, workers), "opening", len(clips), unit="video"))
    problems += [reason for reason in probed if reason]
    readable = present[np.array([not reason for reason in probed], dtype=bool)]
    seconds, sampled = _time_rows(cache_rows(readable, encoder.config.augment), encoder, sample)
    shapes = encoder.shapes()
    array_bytes = {name: size_bytes({name: shape}, len(rows)) for name, shape in shapes.items()}
    free = free_bytes(root)
    total = sum(array_bytes.values()) + encoder.weights_bytes
    if total > free:
        problems.append(
            f"the cache needs {total / 1e9:.3g} GB, and the disk has {free / 1e9:.3g} GB free"
        )
    if root.exists():
        problems.append(f"{root} exists already")
    elif not os.access(place := nearest_folder(root), os.W_OK | os.X_OK):
        problems.append(f"{place} cannot be written to: give another folder than {root}")
    return Plan(
        {str(split): int(n) for split, n in rows["split"].value_counts(sort=False).items()},
        array_bytes,
        encoder.weights_bytes,
        free,
        seconds,
        sampled,
        problems,
    )


def _time_rows(rows: pd.DataFrame, encoder: VideoEncoder, sample: int) -> tuple[float, int]:
    """Return seconds per row, all workers together, and how many rows were timed."""
    with encoding_workers(encoder.config) as workers:
        n = min(len(rows), sample + workers)
        picked = rows.iloc[np.linspace(0, len(rows) - 1, n).astype(int)].reset_index(drop=True)
        clips = clips_of(picked)
        views = [None if view < 0 else int(view) for view in picked["view"]]

        def encode(row: int) -> bool:
            try:
                encode_row(clips[row], views[row], encoder)
            except VideoError:  # opened, but damaged further in: the build will name it
                return False
            return True

        warm = max(0, min(workers, n - 1))
        list(ahead(encode, range(warm), workers))
        start = time.perf_counter()
        timed = list(tqdm(ahead(encode, range(warm, n), workers), "timing", n - warm))
        seconds = time.perf_counter() - start
    return seconds / max(1, len(timed)), len(timed)
