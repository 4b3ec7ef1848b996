"""One trained or fixed policy of a comparison, and whether two were tested on the same videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd

from ...recognizer import FocusgymError
from ...recognizer.files.typed import typed
from ..evaluation.trace import Played
from ..training.policy_run import damaged_results, read_results
from .statistics import Array

CURVE = {"steps", "mean_return", "correct"}
STATIC: Final = "static"  # design and kind of rows that do the same in every video, of each f_C


class ComparisonError(FocusgymError):
    """Runs cannot stand beside each other; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One trained (or fixed) policy of a comparison.

    Attributes:
        design: Name of the row: a reward design, a run's name, ``"random"``, …
        group: Option group, such as ``"p28_7x7"``.
        patch_px: Side P of the patches of the group; None where it is no group of patches.
        seed: Of the training, or of the draws of a fixed policy.
        played: What it did in the videos of the test split.
        kind: ``"trained"``; ``"fixed"``, decided without learning; ``"bound"``, knows the truth;
            ``"plus"``, AdaFocus+ at one η; ``"static"``, the same looks in every video.
        keep_ratio: η of the kind ``"plus"``.
        curve: Learning curve: columns ``steps``, ``mean_return`` and ``correct`` (share of the
            training episodes that end right), one row per rollout.
        setting: Of a system that has several, such as ``price 0.1``.
        usage: Of a system, the share of all segments that each option group has read.
        milliseconds: A video took on pixels, where that was measured; see `times`.
        classifier: What its f_C is called, of all seeds, in the comparison's folder; None where it
            is its own.

    Raises:
        ComparisonError: If there is an η but no AdaFocus+ or the other way round, or the learning
            curve has other columns.
    """

    design: str
    group: str
    patch_px: int | None
    seed: int
    played: Played
    kind: Literal["trained", "fixed", "bound", "plus", "static"] = "trained"
    keep_ratio: float | None = None
    curve: pd.DataFrame | None = None
    setting: str = ""
    usage: Mapping[str, float] | None = None
    milliseconds: float | None = None
    classifier: str | None = None

    def __post_init__(self) -> None:
        """Check η and the learning curve."""
        if (self.kind == "plus") != (self.keep_ratio is not None):
            raise ComparisonError(
                f"{self.design}: expected keep_ratio with kind 'plus' and only there; got kind "
                f"{self.kind!r} and keep_ratio {self.keep_ratio}: give both or neither"
            )
        if self.curve is not None and (missing := CURVE - set(self.curve.columns)):
            raise ComparisonError(
                f"{self.design}: expected a learning curve with columns {sorted(CURVE)}; got "
                f"{list(self.curve.columns)}: add {sorted(missing)}"
            )

    @property
    def label(self) -> str:
        """The design, and η or a setting where there is one: the name of a row."""
        if self.keep_ratio is not None:
            return f"{self.design} η={self.keep_ratio:g}"
        return f"{self.design} {self.setting}".strip()

    @property
    def outcome(self) -> Array:
        """``(3, B)``: right after all frames, in which share of them, after the first decision."""
        correct = self.played.correct.astype(np.float64)
        first = min(self.played.glances, correct.shape[1] - 1)  # a glance is no decision
        return np.stack([correct[:, -1], correct.mean(axis=1), correct[:, first]])


def other_videos(ours: Cell, theirs: Cell) -> str | None:
    """Say in what the test videos of two cells differ; None if they are the same."""
    x, y = ours.played, theirs.played
    if not np.array_equal(x.names, y.names):
        shared = len(np.intersect1d(x.names, y.names))
        return f"other videos: {len(x.names)} and {len(y.names)}, {shared} of them in both"
    if not np.array_equal(x.labels, y.labels):
        return f"other true classes in {int((x.labels != y.labels).sum())} videos"
    return None


@dataclass(frozen=True)
class _Results:
    """What a comparison takes from the results of a system: see `Cell.usage`."""

    usage: dict[str, float]

    def __post_init__(self) -> None:
        if not all(0 <= each <= 1 + 1e-6 for each in self.usage.values()):
            raise ValueError(f"usage must be shares in [0, 1]; got {self.usage!r:.200}")


def read_usage(out: Path) -> dict[str, float]:
    """Return the share of all segments that each option group has read.

    Raises:
        OutputError: If the results of the run do not say.
    """
    try:
        return typed(_Results, read_results(out), others=True).usage
    except ValueError as error:
        raise damaged_results(out, error) from error
