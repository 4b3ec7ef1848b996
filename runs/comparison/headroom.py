"""Whether looking can pay, told before any policy is trained: rules on the cache and f_C alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...agents import (
    Agent,
    CentralAgent,
    CrossFittedBoxAgent,
    GaussianAgent,
    GlanceRuleAgent,
    MostConfidentAgent,
    OracleAgent,
    RandomAgent,
    UniformFramesAgent,
)
from ...envs import FocusEngine
from ...recognizer import Purpose, compute_unit, generator
from ..evaluation.measures import SHOWN, accuracy_interval, plain_table, print_whole
from ..evaluation.trace import play
from ..options.parse import print_line
from .statistics import bootstrap_videos, interval

# Rules that look nowhere, or where they look whatever the video shows.
BLIND = ("no_patch", "random", "central", "gaussian", "fixed_box")
LOOKING = ("glance_rule", "most_confident", "oracle")
NAMES = {
    "no_patch": "no patch",
    "random": "random patches",
    "central": "central patch",
    "gaussian": "Gaussian patches",
    "fixed_box": "best fixed box, cross-validated",
    "glance_rule": "linear rule on the glance, cross-validated",
    "most_confident": "most confident of all patches, no label",
    "oracle": "oracle: knows the label, no policy can",
}
FEWEST = 20  # videos, of which an interval by resampling says anything
SMALL = 2.0  # points, which are hardly worth a policy
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Margin:
    """By how much a rule is better than another on the same videos, in points.

    Attributes:
        mean: Over videos and frames.
        low: Lower end of its 95 % interval over videos.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return it as ``+5.1 [+3.2, +7.0]``."""
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def agents_by_rule(seed: int) -> dict[str, Agent]:
    """Return who plays by each rule; those that are fitted are cross-fitted to what they play."""
    return {
        "no_patch": UniformFramesAgent(0, CentralAgent()),
        "random": RandomAgent(seed),
        "central": CentralAgent(),
        "gaussian": GaussianAgent(seed),
        "fixed_box": CrossFittedBoxAgent(seed),
        "glance_rule": GlanceRuleAgent(seed),
        "most_confident": MostConfidentAgent(),
        "oracle": OracleAgent(),
    }


def measure_headroom(engine: FocusEngine, videos: NDArray[np.int64], seed: int) -> dict[str, Any]:
    """Play cached videos by all rules, and set them beside one another.

    Args:
        engine: Over the cache and f_C, which was not trained on these videos; its epoch may have
            been chosen on them.
        videos: ``(B,)`` rows of the cache.
        seed: Of random places, and of the folds.

    Returns:
        ``n_videos``; ``rows``, see `compared`; ``best_blind``, the name of the best rule that is
        blind to the video; ``over_best_blind``, what the others are better; and the ``verdict``.
        All JSON-able.
    """
    rights, gmacs = {}, {}
    bar = tqdm(agents_by_rule(seed).items(), "rules", leave=False)
    for name, agent in bar:
        bar.set_postfix_str(NAMES[name])
        played, _ = play(engine, agent, videos, engine.source.frame_cost)
        rights[name] = played.correct
        gmacs[name] = float(played.gmacs_by_step[-1])
    rows = compared(rights, seed)
    best = max(BLIND, key=lambda name: float(rights[name].mean()))
    over = {name: margin(rights[name], rights[best], seed) for name in LOOKING}
    worth = margin(rights[best], rights["no_patch"], seed)
    return {
        "n_videos": len(videos),
        "rows": [row | {"gmacs_per_video": gmacs[row["name"]]} for row in rows],
        "best_blind": best,
        "over_best_blind": {
            name: {"mean": each.mean, "interval": [each.low, each.high]}
            for name, each in over.items()
        },
        "verdict": verdict(over, best, worth, len(videos)),
    }


def compared(rights: Mapping[str, NDArray[np.bool_]], seed: int) -> list[dict[str, Any]]:
    """Return how right rules are on the same videos, and how much more than random patches.

    Args:
        rights: By rule, ``(B, T)``: whether the prediction after each frame is right.
        seed: Seed of the resampling.

    Returns:
        Of each rule ``accuracy_by_step`` with ``intervals_by_step`` (Wilson's), ``mean`` over the
        frames with its ``interval`` over videos; and ``over_random``, paired differences of
        accuracies, ``by_step`` with ``intervals_by_step``, and ``mean`` with ``interval``. Shares,
        and intervals of 95 %.
    """
    rows = []
    for name, right in rights.items():
        by_step = right.mean(axis=0).tolist()
        (mean,), ((low, high),) = _means(right.mean(axis=1)[None], seed)
        gained = right.astype(np.float64) - rights["random"]
        means, intervals = _means(np.vstack([gained.T, gained.mean(axis=1)]), seed)
        rows.append(
            {
                "name": name,
                "accuracy_by_step": by_step,
                "intervals_by_step": [accuracy_interval(each, len(right)) for each in by_step],
                "mean": mean,
                "interval": [low, high],
                "over_random": {
                    "by_step": means[:-1],
                    "intervals_by_step": intervals[:-1],
                    "mean": means[-1],
                    "interval": intervals[-1],
                },
            }
        )
    return rows


def margin(ours: NDArray[np.bool_], theirs: NDArray[np.bool_], seed: int) -> Margin:
    """Return by how much one rule is better than another, ``(B, T)`` right each, paired."""
    gained = 100 * (ours.mean(axis=1) - theirs.mean(axis=1))
    (mean,), ((low, high),) = _means(gained[None], seed)
    return Margin(mean, low, high)


def verdict(over: Mapping[str, Margin], best: str, worth: Margin, n_videos: int) -> str:
    """Say whether looking can pay, with the reasons in numbers.

    Args:
        over: By how much rules that look are better than the best blind one.
        best: The name of that one.
        worth: By how much it is better than no patch at all; it flatters, for the rule was chosen
            as the best on the same videos.
        n_videos: B.
    """
    rule, surest, oracle = (over[name] for name in LOOKING)
    blind = f"the best rule that is blind to the video ({NAMES[best]})"
    if n_videos < FEWEST:
        return (
            f"{n_videos} validation videos are too few to tell whether looking can pay: a few "
            "hundred tell differences of some points."
        )
    if rule.low > 0:
        text = (
            "Looking can pay here: a linear rule that sees the glance alone gains "
            f"{rule} points over {blind}, on videos that it was not fitted to."
        )
    elif surest.low > 0:
        text = (
            "Looking may pay here: who tries all patches and keeps the one after which f_C is most "
            f"confident gains {surest} points over {blind} without the label; but a linear rule "
            f"that sees the glance alone gains {rule}, so a policy has to find more in the glance "
            "than a linear rule does."
        )
    elif oracle.low > 0:
        text = (
            f"No rule tried here is clearly better than {blind}: the linear rule on the glance "
            f"gains {rule} points, the most confident of all patches {surest}. The oracle's "
            f"{oracle} is no evidence: it knows the label."
        )
    else:
        text = (
            "Nothing here shows that looking can pay: not even the oracle, which knows the label, "
            f"is clearly better than {blind}: it gains {oracle} points."
        )
        if oracle.high > SMALL:
            text += " The interval is wide: more validation videos could tell."
    if best == "no_patch":
        text += " Mind that no rule that is blind to the video is better than no patch at all."
    elif worth.low <= 0:
        text += (
            f" Mind that the best blind rule is not clearly better than no patch at all: {worth} "
            "points."
        )
    return text


def print_headroom(headroom: Mapping[str, Any]) -> None:
    """Print what `measure_headroom` returned: accuracies in percent, differences in points."""
    rows = headroom["rows"]
    steps = len(rows[0]["accuracy_by_step"])
    shown = np.unique(np.linspace(1, steps, min(steps, SHOWN)).round().astype(int))
    unit = compute_unit(*(row["gmacs_per_video"] for row in rows))
    title = f"accuracy (%) on {headroom['n_videos']} videos, after t frames; 95 % intervals"
    table = plain_table(title, "rule")
    for name in (*(f"t={n}" for n in shown), "mean", "95 %", "over random", "95 %", unit.name):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        over = row["over_random"]
        (low, high), (least, most) = 100 * np.array([row["interval"], over["interval"]])
        table.add_row(
            NAMES[row["name"]],
            *(f"{100 * row['accuracy_by_step'][n - 1]:.1f}" for n in shown),
            f"{100 * row['mean']:.1f}",
            f"{low:.1f}–{high:.1f}",
            *(f"{100 * over['mean']:+.1f}", f"{least:+.1f} to {most:+.1f}")
            if row["name"] != "random"
            else ("", ""),
            unit.number(row["gmacs_per_video"]),
        )
    print_whole(table)
    print_line(headroom["verdict"])


def _means(values: NDArray[np.floating], seed: int) -> tuple[list[float], list[list[float]]]:
    """Return means over videos of values ``(M, B)``, and their intervals, each low and high."""
    rng = generator(Purpose.RESAMPLING, seed)  # the same videos are drawn for all
    values_f64 = np.asarray(values, dtype=np.float64)
    resampled = bootstrap_videos([values_f64], [1.0], rng, _RESAMPLES)
    bounds: Sequence[list[float]] = interval(resampled).T.tolist()
    return values_f64.mean(axis=-1).tolist(), [*bounds]
