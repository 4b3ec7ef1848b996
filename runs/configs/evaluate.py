"""What the verb ``evaluate`` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ...agents.exits.kinds import Solver
from ...recognizer.exit_measures import Measure
from .devices import Device
from .executor import ExecutorConfig
from .own import OwnConfig


@dataclass(frozen=True)
class EvaluateConfig(OwnConfig):
    """Measure trained policies on a split, beside policies that do not learn.

    Attributes:
        policies: Runs of 'focusgym train'; of 'focusgym fit' end-to-end, cubes or afnet, which are
            played on the video files; policy bundles; or zip files of models of
            Stable-Baselines3. Such a file can run code when it is opened: give only your own.
        algorithm: What saved the zip files: PPO, A2C, DQN, RecurrentPPO, ..., or module:attribute.
        cache: The feature cache, if not the one that a policy was trained on.
        classifier: Bundle of f_C, if not the one that a policy was trained with.
        group: For zip files, the option group that they choose from, where a cache holds several.
        split: Split of the cache, or of the videos, that is measured on.
        keep_ratio: For AdaFocus+: shares of the training frames to keep; ρ is solved for each. May
            be repeated after one --keep-ratio: 0.25 0.5 0.75.
        exit_at: Let videos stop on a prediction that is sure enough: shares of the full cost that
            they may spend on average. The threshold is solved on the split val for each share;
            random and fixed exits of the same mean cost are measured beside.
        exit_after: Numbers of frames after which videos may stop, such as 2 4 8 16; after each if
            none are given. A recognizer reads the frames in between together, which is faster. Of
            cubes, numbers of predictions: the first is that after the glance.
        exit_measure: How sure a prediction is: its largest probability, its negated entropy, or its
            largest probability less the second.
        exit_solver: What solves the thresholds: common, the same one for all steps; msdnet, the
            published rule, under which shares of videos that stop are a geometric sequence; or
            accurate, one per step for the highest accuracy, for splits of thousands of videos.
        fixed: Measure the random, central and Gaussian policies too.
        oracle: Measure the greedy oracle too, which tries all options.
        pixels: Plug the policies back into the recognizer, which reads the video files, and tell
            whether its predictions are those on the cache.
        videos_root: For what is read from the video files: their folder now, where it is no longer
            the one that --videos named when the cache was built, or the run was made.
        seed: Seed of the random and the Gaussian policy, and of exits that do not look.
        device: Where to compute: cuda:1 is the second GPU; auto takes a GPU where there is one.
        json: Print one JSON object instead of a table.
        where: Where the policies are measured, each by itself.
    """

    policies: Annotated[Positional[tuple[Path, ...]], arg(metavar="POLICY...")]
    algorithm: str | None = None
    cache: Path | None = None
    classifier: Path | None = None
    group: str | None = None
    split: str = "test"
    keep_ratio: tuple[float, ...] = ()
    exit_at: tuple[float, ...] = ()
    exit_after: tuple[int, ...] = ()
    exit_measure: Measure = "confidence"
    exit_solver: Solver = "common"
    fixed: bool = True
    oracle: bool = False
    pixels: bool = False
    videos_root: Path | None = None
    seed: int = 0
    device: Device = "cpu"
    json: bool = False
    where: ExecutorConfig = field(default_factory=ExecutorConfig)
