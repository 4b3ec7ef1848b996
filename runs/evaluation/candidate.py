"""What ``focusgym evaluate`` measures: policies, systems, and runs that were trained end to end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...feature_cache import FeatureCache
from ...feature_cache.reading.rows import SKIPPED
from ..configs.evaluate import EvaluateConfig
from ..options.parse import UsageError
from .exits import SOLVED_ON, check_exits, exit_rows
from .outcome import Outcome

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

Plays = Callable[[NDArray[np.int64]], Outcome]  # of rows of a cache


class Label(NamedTuple):
    """How the rows of a candidate are called.

    Attributes:
        name: Of its own row.
        beside: Suffix for the names of the fixed policies that are measured on the same features;
            None if an earlier candidate has the same features, so that they are already measured.
    """

    name: str
    beside: str | None = None


Labels = Mapping[Path, Label]


class Candidate(ABC):
    """What is measured by itself, on whatever machine.

    Attributes:
        path: Of the run, the bundle or the file.
        label: How its rows are called.
    """

    path: Path
    label: Label

    @classmethod
    @abstractmethod
    def serves(cls, path: Path) -> bool:
        """Say whether this kind opens what is there."""

    @classmethod
    @abstractmethod
    def open(
        cls, paths: Sequence[Path], config: EvaluateConfig, labels: Labels | None
    ) -> Sequence[Self]:
        """Open all of this kind; refuse options that mean nothing for them.

        Args:
            paths: Folders or files of what is evaluated.
            config: Options of the verb ``evaluate``.
            labels: Of all rows; if not given, rows of one name are told apart by their folders.

        Raises:
            UsageError: If options mean nothing for one.
            BundleError: If a bundle cannot be read, or belongs to another cache.
            CacheError: If the cache cannot be opened, or lacks the split.
        """

    @abstractmethod
    def solving(self, config: EvaluateConfig) -> list[Outcome]:
        """Return what comes of the videos that exits are solved on, once for each of its rows.

        Empty for a kind whose `rows` plays those videos itself.

        Raises:
            UsageError: If a share of the cost is too small.
        """

    @abstractmethod
    def rows(self, config: EvaluateConfig, solving: Sequence[Outcome]) -> list[dict[str, Any]]:
        """Measure; return its rows, and those of policies that do not learn beside it.

        Args:
            config: Options of the verb ``evaluate``.
            solving: What `solving` returned; empty without exits.
        """


def refuse(options: Mapping[str, object], paths: Sequence[Path], what: str) -> None:
    """Refuse the first option that is set, where there are paths.

    Args:
        options: Values by option.
        paths: Of a kind for which the options mean nothing.
        what: What the first of them is.

    Raises:
        UsageError: If one is set.
    """
    for option, value in options.items():
        if value and paths:
            raise UsageError(
                f"{option}: {paths[0]} {what}: leave the option out, or evaluate the others by "
                "themselves"
            )


def names_of(paths: Sequence[Path], names: Sequence[str], labels: Labels | None) -> list[str]:
    """Return the names of rows: those of labels, or their own where these differ, or paths."""
    if labels is not None:
        return [labels[path].name for path in paths]
    return [*names] if len({*names}) == len(names) else [f"{path}" for path in paths]


def solving_on(name: str, cache: FeatureCache, plays: Plays, config: EvaluateConfig) -> Outcome:
    """Return what comes of the videos that exits are solved on; refuse too small a share."""
    outcome = plays(cache.split(SOLVED_ON))
    check_exits(name, config.exit_at, config.exit_after, outcome.played.gmacs)
    return outcome


def exits_of(
    name: str, solving: Outcome, outcome: Outcome, config: EvaluateConfig
) -> list[dict[str, Any]]:
    """Return the rows of the exits that are asked for."""
    how = (config.exit_measure, config.exit_solver, config.seed, config.exit_after)
    return exit_rows(name, solving, outcome, config.exit_at, *how)


def videos_of(cache: FeatureCache, config: EvaluateConfig) -> NDArray[np.int64]:
    """Return the rows of the split; refuse those that cannot be read as they are asked for."""
    if config.split == SKIPPED:
        raise UsageError(f"--split {SKIPPED}: these videos could not be read: choose another")
    videos = cache.split(config.split)
    if config.pixels and (cache.videos["view"].to_numpy()[videos] >= 0).any():
        raise UsageError(
            f"--pixels: {cache.root} holds augmented copies of the split {config.split}, "
            "and the recognizer reads videos as they are: choose another --split"
        )
    if config.pixels:
        cache.clips(videos)  # refused here, before anything is played
    return videos
