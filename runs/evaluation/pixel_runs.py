"""Runs that were trained from pixels, all networks together: played on their video files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ...feature_cache import clips_of, read_many
from ...feature_cache.reading.samples import targets
from ...recognizer import Cost, Encoder, Recognition, VideoRecognizer, confidence, uniform_draws
from ...recognizer.randomness import PLAYED_ON_PIXELS
from ..options.parse import UsageError
from ..options.stage_videos import StageVideos
from .outcome import Outcome
from .plug_back import BATCH
from .trace import Played, precision_of


@dataclass(frozen=True, eq=False)
class PixelRun(ABC):
    """A recognizer that was trained with all its networks, and the videos it was trained for.

    Attributes:
        name: What tables call it.
        recognizer: In eval mode, its encoders fused.
        videos: Its videos, those of all splits.
        root: The folder of the videos.
        folder: The run's own.
        settings: What it was trained with, by option.
    """

    what: ClassVar[str]  # its places, in a word, many of them
    recognizer_kind: ClassVar[type[VideoRecognizer]]  # what its recognizer is
    glances: ClassVar[int] = 0  # predictions before the first look; see `Played`

    name: str
    recognizer: VideoRecognizer
    videos: StageVideos
    root: Path
    folder: Path
    settings: Mapping[str, Any]

    @property
    @abstractmethod
    def method(self) -> str:
        """What it is, in tables and on pages: the method, or the control by its places."""

    @property
    @abstractmethod
    def learned(self) -> bool:
        """Whether it learned where to look."""

    @property
    @abstractmethod
    def beside(self) -> tuple[str, ...]:
        """The kinds of places, which depend on nothing that is seen, that it is set beside."""

    @property
    @abstractmethod
    def side_px(self) -> int:
        """P, side of what f_L reads."""

    @property
    @abstractmethod
    def networks(self) -> dict[str, str]:
        """What its networks are, by the option that names them, or where they were read."""

    @property
    @abstractmethod
    def gmacs(self) -> NDArray[np.float64]:
        """``(1, T)``: what a video costs after each prediction; all cost the same."""

    @property
    @abstractmethod
    def draws_shape(self) -> tuple[int, int]:
        """Of the uniform draws of a video that `look` takes."""

    @abstractmethod
    def look(self, frames: Tensor, kind: str | None, draws: Tensor) -> Recognition:
        """Recognize videos.

        Args:
            frames: ``(B, T, ...)`` uint8, as the recognizer takes them.
            kind: One of `beside`; None looks where the run does.
            draws: ``(B, ...)`` uniform in [0, 1), for random places.
        """

    @abstractmethod
    def cost_of(self, played: Played, *, policy: bool) -> Cost:
        """Return what a video cost on average, by network.

        Args:
            played: What was done in the videos.
            policy: Whether they were looked at where the run says; else at other places.
        """

    @property
    def seed(self) -> int:
        """Of its training."""
        return int(self.settings["seed"])

    def check(self, split: str) -> None:
        """Refuse a split that has no videos.

        Raises:
            UsageError: If there are none.
        """
        self.rows(split)

    def play(
        self, split: str, kinds: Sequence[str | None] = (None,), seed: int = 0
    ) -> list[Outcome]:
        """Return what comes of recognizing the videos of a split, each decoded once.

        Args:
            split: Which videos are recognized: ``train``, ``val`` or ``test``.
            kinds: Ways to look, each of which recognizes all videos: see `look`.
            seed: Seed of random places.

        Raises:
            UsageError: If there are no such videos.
            VideoError: If a video cannot be read.
        """
        rows = self.videos.table.iloc[self.rows(split)].reset_index(drop=True)
        recognitions = self.recognize(rows, kinds, seed, f"{self.name} on {split}")
        labels = targets(rows["labels"], self.videos.n_classes)
        return [outcome(each, rows, labels, self.glances) for each in recognitions]

    def recognize(
        self, rows: pd.DataFrame, kinds: Sequence[str | None], seed: int, title: str
    ) -> list[Recognition]:
        """Return what the recognizer makes of videos, each decoded once.

        Args:
            rows: B rows of the table of videos.
            kinds: See `play`.
            seed: Seed of random places; those of a video depend on its position in ``rows``, and on
                no other video.
            title: What the progress bar says.

        Raises:
            VideoError: If a video cannot be read.
        """
        by_kind: list[list[Recognition]] = [[] for _ in kinds]
        for frames, draws in self.batches(rows, seed, title):
            for kind, recognitions in zip(kinds, by_kind, strict=True):
                recognitions.append(self.look(frames, kind, draws))
        return [Recognition.join(each) for each in by_kind]

    def batches(self, rows: pd.DataFrame, seed: int, title: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the frames of some videos at a time, and their draws; see `recognize` and `look`.

        Raises:
            VideoError: If a video cannot be read.
        """
        decoded = iter(
            tqdm(read_many(clips_of(rows), self.videos.frames), title, len(rows), unit="video")
        )
        first, (steps, width) = 0, self.draws_shape
        while batch := [pixels for pixels, _ in islice(decoded, BATCH)]:
            indices = range(first, first + len(batch))
            first += len(batch)
            yield (
                torch.stack(batch),
                uniform_draws(indices, steps, [seed, PLAYED_ON_PIXELS, 0], width),
            )

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


def encoder_names(glance: Encoder, local: Encoder) -> dict[str, str]:
    """Return the names of two encoders, by option; see `PixelRun.networks`."""
    return {"glance-encoder": glance.config.name, "local-encoder": local.config.name}


def outcome(
    recognition: Recognition, rows: pd.DataFrame, labels: Tensor, glances: int = 0
) -> Outcome:
    """Return what was recognized in the videos of rows of the table.

    Args:
        recognition: What the recognizer made of B videos.
        rows: B rows of the table of videos.
        labels: ``(B,)`` int64; or ``(B, C)`` bool, where videos have several.
        glances: See `Played`.
    """
    return came_of(
        recognition.logits, recognition.attended, recognition.gmacs, rows, labels, glances
    )


def came_of(
    logits: Tensor,
    attended: Tensor,
    gmacs: Tensor,
    rows: pd.DataFrame,
    labels: Tensor,
    glances: int = 0,
) -> Outcome:
    """Return what came of B videos.

    Args:
        logits: ``(B, T, C)``, after each frame.
        attended: ``(B, D)`` bool, of each decision whether f_L was run.
        gmacs: ``(B, T)`` float64, so far.
        rows: See `outcome`.
        labels: See `outcome`.
        glances: See `Played`.
    """
    logits = logits.cpu()
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
        attended=attended.cpu().numpy(),
        gmacs=gmacs.cpu().numpy(),
        glances=glances,
        precision=precision_of(logits[:, -1], labels),
    )
    return Outcome(played, logits, labels)
