"""What the pages of ``replay`` need: two policies on the same videos, on a cache or on pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import Cost, FrameConfig
from ..configs.replay import Kind
from ..evaluation.trace import Played
from .gaze import Gaze

_LIKELIEST = 5  # classes that are shown after a decision
# What is known of an episode only where a policy chooses among options; see `Episode.facts`.
OF_OPTIONS = (
    "options",
    "keep",
    "random",
    "rewards",
    "location_rewards",
    "skip_rewards",
    "regrets",
    "probabilities",
    "alternatives",
)


@dataclass(frozen=True, eq=False)
class Shot:
    """The frames of a video, in the order in which they are read.

    Attributes:
        pixels: ``(T, 3, S, S)`` uint8; of a segment of several frames the middle one.
        frame_indices: ``(T,)`` int64, the places of these frames in the file.
    """

    pixels: Tensor
    frame_indices: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Footage:
    """The videos that policies are shown on.

    Attributes:
        table: N rows with ``name``, ``labels`` (classes, joined by ``;``), ``split``, ``path`` and
            ``view``, which is −1 where a video is no augmented copy.
        classes: Names of the C classes.
        frames: Which frames are taken.
        listed_in: What the rows are rows of, in words.
        rows_in: Where a user finds the rows.
        usual_boxes: A table of true boxes in a usual place; None where there is none.
        read: Reads the frames of a row. It raises `VideoError` where the video is gone.
    """

    table: pd.DataFrame
    classes: Sequence[str]
    frames: FrameConfig
    listed_in: str
    rows_in: str
    usual_boxes: Path | None
    read: Callable[[int], Shot]

    def name(self, row: int) -> str:
        """Return the name of a video."""
        return str(self.table["name"][row])

    def labels(self, row: int) -> list[int]:
        """Return the true classes of a video."""
        return [int(label) for label in str(self.table["labels"][row]).split(";")]

    def label(self, row: int) -> str:
        """Return the names of the true classes of a video."""
        return "; ".join(self.classes[label] for label in self.labels(row))


class Episode(Protocol):
    """A video with a policy, decision by decision."""

    @property
    def label(self) -> str:
        """Names of the true classes."""

    @property
    def attended(self) -> NDArray[np.bool_]:
        """``(T,)``: whether f_L ran."""

    @property
    def boxes_px(self) -> NDArray[Any]:
        """``(T, 4)``: where it ran, (left, top, right, bottom) in the S×S frame, pixels."""

    @property
    def correct(self) -> NDArray[np.bool_]:
        """``(T,)``: whether the prediction after each decision is right."""

    @property
    def confidences(self) -> NDArray[np.floating]:
        """``(T,)``: on the true label, after each decision."""

    @property
    def class_probabilities(self) -> NDArray[np.float32]:
        """``(T, C)``: f_C's, after each decision."""

    @property
    def gmacs(self) -> NDArray[np.float64]:
        """``(T,)``: cost so far after each decision, GMACs."""

    @property
    def unseen(self) -> Sequence[str]:
        """``(T,)``: what to say where f_L did not run, in a word."""

    def seen(self, pixels: Tensor) -> Tensor:
        """Return what each decision is about ``(T, 3, S, S)``, of the frames of the video."""

    def facts(self, classes: Sequence[str], labels: Sequence[int]) -> dict[str, Any]:
        """Return it as JSON-able values, lists by decision.

        Besides what `outcome_facts` gives it has the keys `OF_OPTIONS`, None where they mean
        nothing.

        Args:
            classes: Names of the C classes.
            labels: The true ones of the video.
        """

    def pictures(self) -> NDArray[np.uint8]:
        """Draw every decision, ``(T, H, W, 3)``.

        Raises:
            VideoError: If the video is gone or cannot be read; the message names it.
        """


class Pair(Protocol):
    """Two policies on the same B videos: those of a split, then some that were chosen by hand.

    Attributes:
        footage: The videos.
        rows: ``(B,)`` rows of `footage`.
        n_split: How many of them are the split's: the first ones.
        several_labels: Whether videos may have several labels.
        policies: What is said of each, JSON-able: ``name``; ``folder``, of its run or bundle;
            ``about``, a sentence without its end, or None; whether it is ``learned``; ρ as
            ``threshold`` and the ``price`` of a look where it has π′.
        facts: What is said of both, JSON-able, with the keys ``reward``, ``cache`` (fingerprint),
            ``patch_px``, ``grid`` and ``boxes_px`` of the options: None where they mean nothing.
            ``absent`` says in a sentence what is not shown, and why; None where all is.
            ``approximate`` says likewise which numbers come near to the true ones only. Where cubes
            follow a glance ``cubes`` is their number D, and ``steps`` is D + 1. Of AF networks
            ``gates`` are the names of the gates of each, and ``full_gmacs`` the cost of each with
            every frame kept.
        lacks: Why there can be no video of a kind.
        played: What each policy did in the videos of the split.
        gazes: Where each looked in these.
        costs: What a video of the split costs each on average, by network.
        random_path_px: How far a look would be from the one before if it were put at random,
            pixels; None if that is not the same for both.
    """

    @property
    def footage(self) -> Footage: ...  # noqa: D102
    @property
    def rows(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def n_split(self) -> int: ...  # noqa: D102
    @property
    def several_labels(self) -> bool: ...  # noqa: D102
    @property
    def policies(self) -> Sequence[dict[str, Any]]: ...  # noqa: D102
    @property
    def facts(self) -> dict[str, Any]: ...  # noqa: D102
    @property
    def lacks(self) -> Mapping[Kind, str]: ...  # noqa: D102
    @property
    def played(self) -> Sequence[Played]: ...  # noqa: D102
    @property
    def gazes(self) -> Sequence[Gaze]: ...  # noqa: D102
    @property
    def costs(self) -> Sequence[Cost]: ...  # noqa: D102
    @property
    def random_path_px(self) -> float | None: ...  # noqa: D102

    def regrets(self) -> NDArray[np.floating]:
        """Return the summed regrets of the first in the videos of the split.

        It is not called where `lacks` says that there are none.
        """

    def episodes(self, positions: NDArray[np.int64]) -> Sequence[Sequence[Episode]]:
        """Return what each policy did in some of the B videos, by policy."""


def outcome_facts(
    episode: Episode, classes: Sequence[str], labels: Sequence[int]
) -> dict[str, Any]:
    """Return what is known of every episode, as JSON-able values, lists by decision.

    Besides what its attributes say it has ``predictions`` with their ``certainties``; and
    ``likeliest``, the most probable classes and the true ones with their probabilities, most
    probable first.

    Args:
        episode: Of a policy in a video.
        classes: Names of the C classes.
        labels: The true ones of the video.
    """
    return {
        "attended": episode.attended.tolist(),
        "boxes_px": episode.boxes_px.tolist(),
        "confidences": rounded(episode.confidences),
        "predictions": [classes[label] for label in predictions(episode).tolist()],
        "certainties": rounded(certainties(episode)),
        "likeliest": [_likeliest(each, labels) for each in episode.class_probabilities],
        "correct": episode.correct.tolist(),
        "gmacs": episode.gmacs.tolist(),
    }


def predictions(episode: Episode) -> NDArray[np.int64]:
    """Return the most probable class ``(T,)`` after each decision."""
    return np.asarray(episode.class_probabilities.argmax(axis=-1))


def certainties(episode: Episode) -> NDArray[np.float32]:
    """Return its probability ``(T,)``."""
    return np.asarray(episode.class_probabilities.max(axis=-1))


def rounded(values: NDArray[Any]) -> Any:
    """Return numbers as lists, with what float32 knows of a probability, in half of the bytes."""
    return np.round(values.astype(np.float64), 6).tolist()


def _likeliest(probabilities: NDArray[np.float32], labels: Sequence[int]) -> list[list[Any]]:
    """Return (class, probability) of the most probable classes, and of the true ones."""
    order = np.argsort(-probabilities, kind="stable").tolist()
    shown = [label for i, label in enumerate(order) if i < _LIKELIEST or label in labels]
    return [[label, rounded(probabilities[label])] for label in shown]
