"""From the table of videos to the rows of a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...recognizer import FocusgymError
from ..videos import AugmentConfig, Clip

SKIPPED = "skipped"


class ShardError(FocusgymError):
    """A part of a cache that does not exist was asked for."""


def video_table(paths: Sequence[str], labels: Sequence[int], splits: Sequence[str]) -> pd.DataFrame:
    """Return the table of readable video files with one label each, as `read_lists` gives it."""
    return pd.DataFrame(
        {
            "name": [Path(path).name for path in paths],
            "path": list(paths),
            "label": list(labels),
            "labels": [str(label) for label in labels],
            "split": list(splits),
            "start_s": np.nan,
            "end_s": np.nan,
            "images": "",
            "n_images": 0,
            "missing": "",
        }
    )


def cache_rows(videos: pd.DataFrame, augment: AugmentConfig | None) -> pd.DataFrame:
    """Return one row per video, or per augmented copy of it.

    Args:
        videos: The table of videos.
        augment: Copies of the training videos; None for none.

    Returns:
        The table with the column ``view``: the number of the copy, from 0, or −1 where middle
        frames and the central crop are taken. Copies of a video follow each other.
    """
    train = videos["split"].to_numpy() == "train"
    copies = np.where(train, augment.views, 1) if augment else np.ones(len(videos), dtype=np.int64)
    rows = videos.loc[videos.index.repeat(copies)].reset_index(drop=True)
    number = np.concatenate([np.arange(n) for n in copies]) if len(videos) else copies
    return rows.assign(view=np.where(np.repeat(train & bool(augment), copies), number, -1))


def clips_of(rows: pd.DataFrame) -> list[Clip]:
    """Return the clip of each row."""
    columns = ["path", "name", "start_s", "end_s", "images", "n_images"]
    return [
        Clip(
            path,
            f"{name}\t{start}\t{end}",
            None if np.isnan(start) else start,
            None if np.isnan(end) else end,
            images,
            n_images,
        )
        for path, name, start, end, images, n_images in rows[columns].itertuples(index=False)
    ]


def rows_digest(rows: pd.DataFrame) -> str:
    """Return the SHA-256 of what a list says, not of where the files are."""
    columns = ["name", "labels", "split", "start_s", "end_s", "view"]
    return hashlib.sha256(rows[columns].to_csv(index=False).encode()).hexdigest()


def shard_rows(n_rows: int, shard: tuple[int, int]) -> NDArray[np.int64]:
    """Return the rows of part i of n, i from 1: contiguous, sizes at most one apart.

    Raises:
        ShardError: If there is no such part.
    """
    part, parts = shard
    if not 1 <= part <= parts:
        raise ShardError(f"shard must be i/n with 1 <= i <= n; got {part}/{parts}")
    if parts > n_rows:
        raise ShardError(f"{parts} shards of {n_rows} rows: give at most one shard per row")
    return np.arange((part - 1) * n_rows // parts, part * n_rows // parts)


def label_matrix(labels: pd.Series[str], n_classes: int) -> NDArray[np.bool_]:
    """Return ``(N, C)`` bool: which labels each row has; ``labels`` joins them by ``;``."""
    pairs = labels.str.split(";").explode().astype(np.int64)
    matrix = np.zeros((len(labels), n_classes), dtype=np.bool_)
    matrix[np.repeat(np.arange(len(labels)), labels.str.count(";") + 1), pairs.to_numpy()] = True
    return matrix
