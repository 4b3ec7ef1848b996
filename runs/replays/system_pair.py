"""Two systems of boxes on a feature cache, or one beside random boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...agents import TaskTrace
from ...agents.centers import read_boxes
from ...recognizer import Cost, shortened, uniform_draws
from ...recognizer.randomness import PLAYED_ON_PIXELS
from ..configs.replay import ReplayConfig
from ..evaluation.outcome import Outcome
from ..evaluation.system_runs import SystemRun, find_system_run
from ..evaluation.systems import played_of
from ..evaluation.trace import Played, all_labels
from ..options.devices import device_of
from ..options.parse import UsageError
from .box_episodes import BoxLooker
from .box_pair import BoxPair, Seen, in_thousandths
from .cached_pair import cached_footage
from .names import told_apart
from .pixel_pair import absent_of
from .rows import rows_of

_RANDOM = "random boxes"
_APPROXIMATE = (
    "Predictions, confidences and accuracies are approximate: the features of a box were "
    "interpolated between those of the four patches of the cache around it. `focusgym evaluate RUN "
    "--pixels` cuts the boxes out of the frames, and measures them"
)


def system_pair(config: ReplayConfig) -> BoxPair:
    """Open the runs that are asked for, to be played on their cache.

    Raises:
        UsageError: If an option means nothing here, a system does not put a box at any place of
            every frame in turn, or the runs are of other features.
        OutputError: If a file of a run is damaged.
        CacheError, BundleError: If cache or classifier cannot be opened.
    """
    for option, changed in (
        ("--cache", config.cache is not None),
        ("--classifier", config.classifier is not None),
        ("--reward", config.reward != ReplayConfig.reward),
    ):
        if changed:
            raise UsageError(
                f"{option}: {config.policy} is a run of a system, which is shown on what it was "
                "trained with, without rewards: leave the option out"
            )
    paths = [config.policy] if config.second is None else [config.policy, config.second]
    runs = [_open(path, config) for path in paths]
    cache, last = runs[0].source.cache, runs[-1].source.cache
    if last.fingerprint != cache.fingerprint:
        raise UsageError(
            f"--second {config.second} is for features with the fingerprint "
            f"{shortened(last.fingerprint)}, expected {shortened(cache.fingerprint)}, as "
            f"{config.policy}: give a run on the same option group of the same cache"
        )
    footage, split = cached_footage(cache), cache.split(config.split)
    rows = rows_of(config.videos, footage, split)

    def watch() -> list[Seen]:
        traces = [run.watch(rows) for run in runs]
        if len(runs) == 1:
            key = [config.seed, PLAYED_ON_PIXELS, 0]
            draws = uniform_draws(range(len(rows)), cache.steps, key)
            traces.append(read_boxes(runs[0].source, rows, draws))
        return [
            _seen(run, trace, rows) for run, trace in zip((runs[0], runs[-1]), traces, strict=True)
        ]

    how = (len(split), absent_of("box", "frame"), watch, cache.fingerprint, _APPROXIMATE)
    return BoxPair(_lookers(runs, paths), footage, rows, *how)


def _open(path: Path, config: ReplayConfig) -> SystemRun:
    run = find_system_run(path, config.videos_root, device_of(config.device))
    one_video = run.source.cache.split(config.split)[:1]
    if run.watch(one_video).boxes_px is None:
        raise UsageError(
            f"{path} is a run of the system {run.system.name}, which is not replayed: of systems, "
            "replay shows those that put a box at any place of every frame in turn; `focusgym "
            "evaluate` and `focusgym compare --systems` set it beside others"
        )
    return run


def _lookers(runs: Sequence[SystemRun], paths: Sequence[Path]) -> tuple[BoxLooker, BoxLooker]:
    side = runs[0].source.cache.places.side_px
    one, *more = (
        BoxLooker(run.system.name, run.name, f"the run {run.name}", True, side) for run in runs
    )
    if more:
        return told_apart((one, more[0]), (paths[0], paths[1]))
    what = f"random places on the cache and f_C of {runs[0].name}"
    return one, BoxLooker(_RANDOM, runs[0].name, what, False, side)


def _seen(run: SystemRun, trace: TaskTrace, rows: NDArray[np.int64]) -> Seen:
    """Return what came of an episode of each video, and what its networks cost."""
    cache, cost = run.source.cache, run.source.frame_cost
    played = played_of(trace, cache)
    others = cost.glance_gmacs + cost.local_gmacs + cost.classifier_gmacs
    policy = max(0.0, float(played.gmacs[:, 0].mean()) - others)
    outcome = Outcome(played, trace.logits, all_labels(cache, rows))
    assert trace.boxes_px is not None
    cost = replace(cost, policy_gmacs=policy)

    def cost_of(came: Played) -> Cost:
        return cost.of_video(cache.steps, policy=True, kept_share=came.kept_share)

    return Seen(in_thousandths(trace.boxes_px), outcome, cost_of)
