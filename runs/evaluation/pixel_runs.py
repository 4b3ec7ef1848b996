"""Runs of ``focusgym fit end-to-end``, opened again: played on the video files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ...feature_cache import clips_of, read_many
from ...feature_cache.reading.samples import targets
from ...recognizer import (
    FIXED_KINDS,
    AdaptiveRecognizer,
    Recognition,
    confidence,
    fixed_places,
    uniform_draws,
)
from ...recognizer.places.fixed import FixedKind
from ..configs.fit import FitEndToEndConfig
from ..folders.atomic import OutputError
from ..folders.run_folder import is_run, verb_of
from ..options.parse import UsageError
from ..options.presets import CONFIG, PresetError, preset_args, resolved
from ..options.stage_videos import StageVideos
from .outcome import Outcome
from .plug_back import BATCH
from .trace import Played

VERB = "fit end-to-end"
METHOD = "AdaFocusV2"
DRAWS = 20  # of places that depend on nothing: other numbers than any training's


@dataclass(frozen=True, eq=False)
class PixelRun:
    """A recognizer that was trained end to end, and the videos that it was trained for.

    Attributes:
        name: What tables call it.
        recognizer: In eval mode, its encoders fused.
        boxes: Where it looks: ``learned``, or how its boxes were placed in training.
        videos: Its videos, those of all splits.
        root: The folder of the videos.
        folder: The run's own.
        settings: What it was trained with, by option.
    """

    name: str
    recognizer: AdaptiveRecognizer
    boxes: str
    videos: StageVideos
    root: Path
    folder: Path
    settings: Mapping[str, Any]

    @property
    def method(self) -> str:
        """What it is, in tables and on pages: the method, or the control by its places."""
        return METHOD if self.own_kind is None else f"{self.boxes} boxes"

    @property
    def seed(self) -> int:
        """Of its training."""
        return int(self.settings["seed"])

    @property
    def own_kind(self) -> FixedKind | None:
        """How its boxes were placed in training; None where it learned where to look."""
        return next((kind for kind in FIXED_KINDS if kind == self.boxes), None)

    @property
    def gmacs(self) -> NDArray[np.float64]:
        """``(1, T)``: what a video costs after each step; all cost the same."""
        policy, cost = self.own_kind is None, self.recognizer.cost
        steps = range(1, self.videos.frames.steps + 1)
        return np.array([[cost.of_video(n, policy=policy).total_gmacs for n in steps]])

    def check(self, split: str) -> None:
        """Refuse a split that has no videos.

        Raises:
            UsageError: If there are none.
        """
        self.rows(split)

    def play(
        self, split: str, kinds: Sequence[FixedKind | None] = (None,), seed: int = 0
    ) -> list[Outcome]:
        """Return what comes of recognizing the videos of a split, each decoded once.

        Args:
            split: Which videos are recognized: ``train``, ``val`` or ``test``.
            kinds: Ways to look, each of which recognizes all videos: places that depend on nothing
                that is seen; or, for None, where the run looks.
            seed: Seed of random and Gaussian places.

        Raises:
            UsageError: If there are no such videos.
            VideoError: If a video cannot be read.
        """
        rows = self.videos.table.iloc[self.rows(split)].reset_index(drop=True)
        found = self.recognize(rows, kinds, seed, f"{self.name} on {split}")
        labels = targets(rows["labels"], self.videos.n_classes)
        return [outcome(each, rows, labels) for each in found]

    def recognize(
        self, rows: pd.DataFrame, kinds: Sequence[FixedKind | None], seed: int, title: str
    ) -> list[Recognition]:
        """Return what the recognizer makes of videos, each decoded once.

        Args:
            rows: B rows of the table of videos.
            kinds: See `play`.
            seed: Seed of random and Gaussian places; those of a video depend on its position in
                ``rows``, and on no other video.
            title: What the progress bar says.

        Raises:
            VideoError: If a video cannot be read.
        """
        frames, kinds = self.videos.frames, [kind or self.own_kind for kind in kinds]
        decoded = iter(tqdm(read_many(clips_of(rows), frames), title, len(rows), unit="video"))
        found: list[list[Recognition]] = [[] for _ in kinds]
        first = 0
        while batch := [pixels for pixels, _ in islice(decoded, BATCH)]:
            indices = range(first, first + len(batch))
            draws = uniform_draws(indices, frames.steps, [seed, DRAWS, 0])
            first += len(batch)
            for kind, recognitions in zip(kinds, found, strict=True):
                places = self.recognizer.places
                where = None if kind is None else fixed_places(kind, places, draws)
                recognitions.append(self.recognizer(torch.stack(batch), where))
        return [Recognition.join(each) for each in found]

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of a split in the table of videos.

        Raises:
            UsageError: If there are none.
        """
        table = self.videos.table
        rows = np.flatnonzero(table["split"] == split)
        if not len(rows):
            raise UsageError(
                f"--split {split}: {self.name} was trained for videos without that split; it has "
                f"{', '.join(dict.fromkeys(table['split']))}"
            )
        return rows


def is_pixel_run(path: Path) -> bool:
    """Say whether a folder is a run of ``focusgym fit end-to-end``."""
    return is_run(path) and verb_of(path) == VERB


def find_pixel_run(path: Path, videos_root: Path | None = None, device: str = "cpu") -> PixelRun:
    """Open a run, and look for its videos.

    Args:
        path: The run's folder.
        videos_root: Where the folder of its videos is now.
        device: Where it is played.

    Raises:
        OutputError: If the run's settings are damaged.
        BundleError: If the recognizer cannot be read.
        VideoListError: If the videos, or their lists, are no longer there.
    """
    try:
        args = [str(path), *preset_args(str(path / CONFIG), VERB)]
    except PresetError as error:
        raise OutputError(
            f"{path / CONFIG} is damaged: put it back, or train the run again ({error})"
        ) from error
    config = tyro.cli(FitEndToEndConfig, args=args, config=(tyro.conf.OmitArgPrefixes,))
    if videos_root is not None:
        config = replace(config, videos=replace(config.videos, videos=videos_root))
    recognizer = AdaptiveRecognizer.from_bundle(path, device)
    name = path.resolve().name
    videos = StageVideos.read(config)
    root, settings = config.videos.videos, resolved(config)
    return PixelRun(name, recognizer, config.boxes, videos, root, path, settings)


def all_places(run: PixelRun) -> tuple[FixedKind, ...]:
    """Return the kinds of places that a run is set beside: all but its own."""
    return tuple(kind for kind in FIXED_KINDS if kind != run.boxes)


def outcome(found: Recognition, rows: pd.DataFrame, labels: Tensor) -> Outcome:
    """Return what was recognized in the videos of rows of the table.

    Args:
        found: What the recognizer made of B videos.
        rows: B rows of the table of videos.
        labels: ``(B,)`` int64; or ``(B, C)`` bool, where videos have several.
    """
    logits = found.logits.cpu()
    predictions = logits.argmax(dim=-1)
    several = labels.ndim == 2
    right = labels.gather(1, predictions) if several else predictions == labels[:, None]
    played = Played(
        names=rows["name"].to_numpy().astype(np.str_),
        labels=rows["label"].to_numpy(np.int64),
        predictions=predictions.numpy(),
        correct=right.numpy(),
        confidences=confidence(logits, labels).float().numpy(),
        options=np.zeros(predictions.shape, dtype=np.int64),
        attended=found.attended.cpu().numpy(),
        gmacs=found.gmacs.cpu().numpy(),
    )
    return Outcome(played, logits, labels)
