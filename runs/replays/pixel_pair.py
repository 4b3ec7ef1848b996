"""Two runs that were trained end to end, or one beside places that depend on nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...feature_cache import clips_of, read_frames, rows_digest
from ...feature_cache.reading.samples import targets
from ...recognizer import FrameConfig
from ..configs.replay import ReplayConfig
from ..evaluation.budgets import exits_within
from ..evaluation.cube_runs import CubeRun
from ..evaluation.opened_runs import find_pixel_run
from ..evaluation.pixel_runs import PixelRun, outcome
from ..evaluation.plug_back import CENTRAL
from ..evaluation.trained import boxes_beside
from ..options.devices import device_of
from ..options.parse import UsageError
from .box_episodes import BoxLooker
from .box_pair import BoxPair, Seen, in_thousandths
from .contract import Footage, Shot
from .names import told_apart
from .rows import rows_of


def absent_of(place: str, where: str) -> str:
    """Say in a sentence, without its end, what is not known of boxes in a frame, or of cubes."""
    return (
        f"A {place} of these runs may be at any place of the {where}: it is not one of a list of "
        "options. So there are no probabilities of options, no alternatives, no regrets and no "
        "rewards to show"
    )


def pixel_pair(config: ReplayConfig) -> BoxPair:
    """Open the runs that are asked for, to be played on the video files.

    Raises:
        UsageError: If an option means nothing here, or the runs are of other videos.
        BundleError: If a recognizer cannot be read.
        VideoListError: If the videos, or their lists, are no longer there.
    """
    refuse_options_of_caches(config)
    runs = _runs(config)
    first = runs[0][0]
    frames, split = first.videos.frames, first.rows(config.split)
    footage = footage_of(first.videos.table, first.videos.classes, frames, first.root)
    rows = rows_of(config.videos, footage, split)

    def watch() -> list[Seen]:
        return _watch(runs, footage, rows, config)

    cubes = first.draws_shape[0] if isinstance(first, CubeRun) else None
    absent = absent_of(*(("box", "frame") if cubes is None else ("cube", "video")))
    return BoxPair(_lookers(runs, config), footage, rows, len(split), absent, watch, cubes=cubes)


def refuse_options_of_caches(config: ReplayConfig) -> None:
    """Refuse options that mean nothing for what is played on video files.

    Raises:
        UsageError: If one is given.
    """
    for option, changed in (
        ("--cache", config.cache is not None),
        ("--classifier", config.classifier is not None),
        ("--reward", config.reward != ReplayConfig.reward),
    ):
        if changed:
            raise UsageError(
                f"{option}: {config.policy} was trained end to end, and is played on the video "
                "files, without a cache or rewards: leave the option out"
            )


def refuse_others(config: ReplayConfig, *parts: tuple[str, Any, Any]) -> None:
    """Refuse two runs that cannot be shown beside each other.

    Args:
        config: Options that name the runs.
        parts: What has to be the same of both, in a word, and what each has.

    Raises:
        UsageError: If something is not the same.
    """
    for what, mine, its in parts:
        if mine != its:
            raise UsageError(
                f"--second {config.second} reads other {what} than {config.policy}: expected the "
                f"same{_difference(mine, its)}; give two runs on the same videos and frames"
            )


def _runs(config: ReplayConfig) -> list[tuple[PixelRun, str | None]]:
    """Open one run or two, each with the places that it is shown with; None for its own."""
    run = _open(config.policy, config)
    if config.second is None:  # beside random places, or others where it is random
        return [(run, None), (run, run.beside[0])]
    other = _open(config.second, config)
    refuse_others(
        config,
        ("places", run.what, other.what),
        (f"numbers of {run.what}", run.gmacs.shape[1], other.gmacs.shape[1]),
        ("videos", digest(run.videos.table), digest(other.videos.table)),
        ("classes", run.videos.classes, other.videos.classes),
        ("frames", asdict(run.videos.frames), asdict(other.videos.frames)),
    )
    return [(run, None), (other, None)]


def _open(path: Path, config: ReplayConfig) -> PixelRun:
    """Open a run; its videos stop where that is asked for."""
    run = find_pixel_run(path, config.videos_root, device_of(config.device))
    if config.gmacs is None:
        return run
    if not isinstance(run, CubeRun):
        raise UsageError(
            f"--gmacs: {path} is no run of 'focusgym fit cubes', whose videos stop: leave the "
            "option out"
        )
    run.recognizer.exits = exits_within(path, run.recognizer, config.gmacs)
    return run


def _lookers(
    runs: list[tuple[PixelRun, str | None]], config: ReplayConfig
) -> tuple[BoxLooker, BoxLooker]:
    """Return what pages say of them."""
    one, two = (
        BoxLooker(
            name=run.method if kind is None else f"{kind} {run.what}",
            folder=run.name,
            what=f"the run {run.name}"
            if kind is None
            else f"{kind} places in the networks of {run.name}",
            learned=kind is None and run.learned,
            side_px=run.side_px,
        )
        for run, kind in runs
    )
    return (
        (one, two)
        if config.second is None
        else told_apart((one, two), (config.policy, config.second))
    )


def _watch(
    runs: list[tuple[PixelRun, str | None]],
    footage: Footage,
    rows: NDArray[np.int64],
    config: ReplayConfig,
) -> list[Seen]:
    """Play the videos; where both have the same networks, each video is decoded once."""
    table = footage.table.iloc[rows]
    labels = targets(table["labels"], len(footage.classes))
    (first, kind), (second, other_kind) = runs
    listed = table.reset_index(drop=True)

    def recognized(run: PixelRun, *kinds: str | None) -> list[Seen]:
        recognitions = run.recognize(listed, kinds, config.seed, f"{run.name} on {config.split}")
        return [
            Seen(
                in_thousandths(each.boxes_px.cpu().numpy()),
                outcome(each, table, labels, run.glances),
                partial(run.cost_of, policy=kind is None),
                each.segments.cpu().numpy() if run.glances else None,
            )
            for kind, each in zip(kinds, recognitions, strict=True)
        ]

    if first is second:
        return recognized(first, kind, other_kind)
    return [*recognized(first, kind), *recognized(second, other_kind)]


def _difference(mine: Any, its: Any) -> str:
    """Say by which settings two differ, if that is what they are."""
    if not isinstance(mine, dict):
        return ""
    parts = [f"{key} {mine[key]!r}, got {its[key]!r}" for key in mine if mine[key] != its[key]]
    return f" ({'; '.join(parts)})"


def _central(table: pd.DataFrame) -> pd.DataFrame:
    return table.reset_index(drop=True).assign(view=CENTRAL)


def digest(table: pd.DataFrame) -> str:
    """Return what tells videos from others."""
    return rows_digest(_central(table))


def footage_of(
    videos: pd.DataFrame, classes: Sequence[str], frames: FrameConfig, root: Path
) -> Footage:
    """Return the videos that a run is shown on.

    Args:
        videos: Their table.
        classes: Names of the C classes.
        frames: Which frames of them are read.
        root: Their folder.
    """
    table = _central(videos)
    clips = clips_of(table)

    @cache  # pages, films and strip show the same few videos
    def read(row: int) -> Shot:
        pixels, view = read_frames(clips[row], frames)
        return Shot(frames.middle(pixels), frames.middle(view.frame_indices))

    listed, where = "the list of videos", "the list that a replay without --videos shows"
    return Footage(table, classes, frames, listed, where, boxes_beside(root), read)
