"""What exits cost in accuracy, beside random and fixed exits of the same mean cost.

``python benchmarks/exits.py outputs/quickstart`` prints a table for the policy of a quickstart.
Thresholds are solved on its split val and reported on test, with 95 % intervals: the videos of
test are drawn anew, all rows together. Below it stands what the exits save in time on pixels.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from quickstart import SEEDS
from rows import row

from focusgym.agents import SOLVERS, apply_exits, solve_exits
from focusgym.agents.exits.kinds import Solver
from focusgym.feature_cache import read_many
from focusgym.recognizer import MEASURES, AdaptiveRecognizer, Purpose, generator
from focusgym.recognizer.exit_measures import Measure
from focusgym.runs.evaluation.trace import all_labels, play
from focusgym.runs.evaluation.trained import find_trained

SHARE = 0.6  # of the full cost
RESAMPLES = 10_000
TIMED, BATCH, TURNS = 128, 16, 5  # videos of test, videos at once, repetitions
Points = NDArray[np.float64]  # (N,) of each video, in percent


class Split(NamedTuple):
    """What a policy predicts in a split: logits, labels and the cost so far."""

    logits: torch.Tensor
    labels: torch.Tensor
    costs: torch.Tensor


class Compared(NamedTuple):
    """A rule on test: the share of the full cost, and what it gains over others, per video."""

    share: float
    accuracy: Points
    over_full: Points
    over_random: Points
    over_fixed: Points


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Compare the quickstarts that were run into ``out/quickstart-SEED``."""
    comparisons = []
    for seed in SEEDS:
        val, test = splits(out / f"quickstart-{seed}")
        comparisons.append(compared(val, test, SHARE, "confidence", "common"))
    how = f"quickstarts of seeds {', '.join(map(str, SEEDS))}; after all frames, test split"
    name = f"exits_{100 * SHARE:.0f}"
    return {
        f"{name}_share": row(
            [100 * each.share for each in comparisons], "%", f"{how}; of the full cost"
        ),
        f"{name}_over_full": row(
            [each.over_full.mean() for each in comparisons], "points", f"{how}; less no exits"
        ),
        f"{name}_over_random": row(
            [each.over_random.mean() for each in comparisons], "points", f"{how}; less random exits"
        ),
        f"{name}_over_fixed": row(
            [each.over_fixed.mean() for each in comparisons], "points", f"{how}; less fixed exits"
        ),
    }


def splits(folder: Path) -> tuple[Split, Split]:
    """Play the policy of a quickstart on val and on test."""
    trained = find_trained(folder / "policy")

    def played(split: str) -> Split:
        videos = trained.cache.split(split)
        done, logits = play(trained.engine, trained.agent, videos, trained.cost)
        return Split(logits, all_labels(trained.cache, videos), torch.from_numpy(done.gmacs))

    return played("val"), played("test")


def compared(val: Split, test: Split, share: float, measure: Measure, solver: Solver) -> Compared:
    """Solve a rule on val and compare it on test.

    Of the controls it is the expectation over their draws that is compared, exactly: a random exit
    comes after a step as often as the rule's, a fixed one after one of two neighbouring steps.
    """
    budget = share * float(val.costs[:, -1].mean())
    steps = solve_exits(*val, budget, measure, solver).exit_steps(test.logits)
    ours = apply_exits(*test, steps)
    n_steps = test.logits.shape[1]
    by_step = 100 * np.stack(
        [apply_exits(*test, torch.full_like(steps, t)).correct.numpy() for t in range(n_steps)],
        axis=1,
    ).astype(float)  # (N, T)
    shares = np.bincount(steps.numpy(), minlength=n_steps) / len(steps)
    cost = test.costs.mean(dim=0).numpy()
    place = np.interp(ours.mean_gmacs, cost, np.arange(n_steps))
    low = min(int(place), n_steps - 2)
    fixed = by_step[:, low] + (place - low) * (by_step[:, low + 1] - by_step[:, low])
    accuracy = 100 * ours.correct.numpy().astype(float)
    return Compared(
        ours.mean_gmacs / float(cost[-1]),
        accuracy,
        accuracy - by_step[:, -1],
        accuracy - by_step @ shares,
        accuracy - fixed,
    )


def on_pixels(folder: Path, val: Split, test: Split) -> str:
    """Recognize videos of test with and without exits, in turn; return what that took, in words."""
    trained = find_trained(folder / "policy")
    cache, f_c = trained.cache, trained.engine.source.classifier
    glance, local = (encoder.fused() for encoder in cache.encoders())
    parts = (glance, local, f_c, cache.places, trained.policy, cache.dtype)
    rule = solve_exits(*val, SHARE * float(val.costs[:, -1].mean()))
    without_exits = AdaptiveRecognizer(*parts)
    stopping = AdaptiveRecognizer(*parts, exits=rule)
    clips = cache.clips(cache.split("test")[:TIMED])
    frames = torch.stack([pixels for pixels, _ in read_many(clips, cache.frames)])
    fed, gmacs, shares = torch.empty(0), torch.empty(0), []
    for _ in range(TURNS):
        seconds = []
        for recognizer in (without_exits, stopping):
            start = time.perf_counter()
            recognitions = [recognizer(batch) for batch in frames.split(BATCH)]
            seconds.append(time.perf_counter() - start)
        shares.append(seconds[1] / seconds[0])
        fed = torch.cat([each.fed.sum(dim=1) for each in recognitions])
        gmacs = torch.cat([each.gmacs[:, -1] for each in recognitions])
    same = (fed - 1 == rule.exit_steps(test.logits[:TIMED])).double().mean()
    share = float(gmacs.mean() / test.costs[:TIMED, -1].mean())
    return (
        f"{len(fed)} videos on pixels, {BATCH} at once: {share:.3f} of the GMACs in "
        f"{np.median(shares):.3f} of the time ({min(shares):.3f} to {max(shares):.3f}, {TURNS} "
        f"turns); {100 * same:.1f} % exit after the frame that the cache says"
    )


def interval(points: Points) -> str:
    """Return the mean with its 95 % interval over the videos, in words."""
    rng = generator(Purpose.RESAMPLING, 0)
    drawn = rng.integers(len(points), size=(RESAMPLES, len(points)))
    low, high = np.quantile(points[drawn].mean(axis=1), [0.025, 0.975])
    return f"{points.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def main(folder: Path) -> None:
    """Print the table of a quickstart, in Markdown."""
    val, test = splits(folder)
    accuracies = [
        apply_exits(*test, torch.full((len(test.labels),), t)).accuracy
        for t in range(test.logits.shape[1])
    ]
    print(
        f"{len(val.labels)} videos of val, {len(test.labels)} of test; accuracy after t frames, %:"
    )
    print(" ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies))
    print("\n| measure, solver | cost | accuracy, % | over no exits | over random | over fixed |")
    print("|---|---|---|---|---|---|")
    for measure in MEASURES:
        for solver in SOLVERS:
            comparison = compared(val, test, SHARE, measure, solver)
            cells = [interval(comparison.over_full), interval(comparison.over_random)]
            cells += [interval(comparison.over_fixed)]
            shown = (
                f"{comparison.share:.3f} | {comparison.accuracy.mean():.1f} | {' | '.join(cells)}"
            )
            print(f"| {measure}, {solver} | {shown} |")
    print(f"\n{on_pixels(folder, val, test)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
