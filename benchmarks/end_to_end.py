"""AdaFocusV2 on the digits, trained end to end: controls, techniques, exits, and what they save.

``python benchmarks/end_to_end.py outputs/quickstart outputs/v2`` trains what is missing in
``outputs/v2`` on the videos of a quickstart, preset ``digits_v2``, and prints tables of the test
videos. Called again it goes on after what is complete. ``--seeds`` and ``--epochs`` make it
smaller.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from focusgym.agents import apply_exits, solve_exits
from focusgym.recognizer import (
    NEVER,
    AdaptiveRecognizer,
    Boxes,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    ExitRule,
    FrameConfig,
    PolicyConfig,
    Purpose,
    Recognition,
    build_classifier,
    build_policy,
    generator,
)
from focusgym.recognizer.exit_measures import Measure
from focusgym.runs.cli import main as focusgym
from focusgym.runs.evaluation.opened_runs import find_pixel_run
from focusgym.runs.evaluation.outcome import Outcome
from focusgym.runs.evaluation.pixel_runs import PixelRun

SHARES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STEPS, TURNS = 16, 5  # frames of a video that is timed, and how often
STOPS = (4, 8)  # exits that are timed, after so many frames
# After how many frames the exits that are timed are asked for.
ASKED = {
    "every frame": range(1, STEPS + 1),
    "every 2nd": range(2, STEPS + 1, 2),
    "every 4th": range(4, STEPS + 1, 4),
    "4, 8 and 16": (4, 8, 16),
}
RESAMPLES = 10_000
# Name in the table, options of ``fit end-to-end``, and whether all seeds are trained.
TRAININGS = {
    "learned": ((), True),
    "random": (("--boxes", "random"), True),
    "central": (("--boxes", "central"), True),
    "no_auxiliary": (("--no-auxiliary",), False),
    "no_diversity": (("--no-diversity",), False),
    "no_stop": (("--no-stop-gradient",), False),
    "no_reuse": (("--no-reuse-glance",), False),
}
BESIDE = ("learned", "no_reuse")  # what other boxes are measured beside, in the same networks
Points = NDArray[np.float64]
Run = Callable[[], Recognition]


def train(quickstart: Path, out: Path, name: str, seed: int, epochs: int) -> Path:
    """Return the run of a training, after training it if it is not there."""
    run = out / f"{name}{seed}"
    if not run.is_dir():
        options, _ = TRAININGS[name]
        where = ["--preset", "digits_v2", "--videos", f"{quickstart / 'data'}"]
        how = ["--seed", f"{seed}", "--epochs", f"{epochs}"]
        focusgym(["fit", "end-to-end", f"{run}", *where, *how, *options])
    return run


def by_step(outcome: Outcome) -> Points:
    """Return what is right ``(B, T)`` after each frame, in percent."""
    return 100 * outcome.played.correct.astype(np.float64)


def interval(points: Points, sign: str = "") -> str:
    """Return the mean over videos ``(B,)`` with its 95 % interval, the videos drawn anew."""
    rng = generator(Purpose.RESAMPLING, 0)
    drawn = rng.integers(len(points), size=(RESAMPLES, len(points)))
    low, high = np.quantile(points[drawn].mean(axis=1), [0.025, 0.975])
    return f"{points.mean():{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def row(name: str, outcomes: list[Outcome]) -> str:
    """Return a row of accuracies after each frame, the mean over seeds; final and mean in turn."""
    every = np.stack([by_step(each) for each in outcomes])  # (seeds, B, T)
    steps = " ".join(f"{a:.1f}" for a in every.mean(axis=(0, 1)))
    spread = every.mean(axis=1)
    final, mean = spread[:, -1], spread.mean(axis=1)
    ends = f"{final.mean():.1f} ({final.min():.1f}–{final.max():.1f})"
    means = interval(every.mean(axis=(0, 2)))
    means = f"{means} ({mean.min():.1f}–{mean.max():.1f})"
    return f"| {name} | {len(outcomes)} | {steps} | {ends} | {means} |"


def print_exits(runs: list[PixelRun], every: list[Outcome]) -> None:
    """Print accuracy and cost at ten budgets, solved on val; means over the seeds."""
    solving = [run.play("val")[0] for run in runs]
    print("\n| budget | measure | cost | accuracy, % | over no exits |\n|---|---|---|---|---|")
    for share in SHARES:
        for measure in ("confidence", "entropy"):
            shown = [stopped(*each, share, measure) for each in zip(solving, every, strict=True)]
            cost, right, gain = (np.mean(column, axis=0) for column in zip(*shown, strict=True))
            gained = interval(gain, "+")
            print(f"| {share:g} | {measure} | {cost:.3f} | {right.mean():.1f} | {gained} |")


def stopped(
    val: Outcome, test: Outcome, share: float, measure: Measure
) -> tuple[float, Points, Points]:
    """Return the cost as a share, what is right, and what of that no exits would not have given."""
    costs, spent = (torch.from_numpy(each.played.gmacs) for each in (val, test))
    budget = share * float(costs[:, -1].mean())
    rule = solve_exits(val.logits, val.labels, costs, budget, measure)
    done = apply_exits(test.logits, test.labels, spent, rule.exit_steps(test.logits))
    right = 100 * done.correct.numpy().astype(np.float64)
    return done.mean_gmacs / float(spent[:, -1].mean()), right, right - by_step(test)[:, -1]


def at_size() -> AdaptiveRecognizer:
    """Return AdaFocusV2-MN2/RN at the paper's sizes, P = 128 and 16 frames, with random weights."""
    torch.manual_seed(0)
    glance, local = (Encoder(EncoderConfig(name)) for name in ("mobilenet_v2", "resnet50"))
    sizes = ClassifierConfig(1280, 2048, 200, 4096, 0.2, aggregation="max_pool", steps=STEPS)
    policy = PolicyConfig(7, 7, 1280, n_options=1, hidden=2048, network="centers")
    return AdaptiveRecognizer(
        glance,
        local,
        build_classifier(sizes),
        Boxes(224, 128),
        build_policy(policy),
        torch.float32,
        frames=FrameConfig(STEPS, 224, 256, order="halving"),
    ).fused()


def stopping_after(after: Sequence[int], stop: int) -> ExitRule:
    """Return a rule that asks after so many frames, and stops every video after ``stop`` of them.

    No score reaches the thresholds before, which a recognizer does not know beforehand.
    """
    thresholds = {n: 0.0 if n >= stop else (1 + NEVER) / 2 for n in after}
    return ExitRule("confidence", tuple(thresholds.get(n, NEVER) for n in range(1, STEPS + 1)))


def timed(batch: int) -> str:
    """Recognize videos to their ends and to exits, in turn; return what that took, as a table.

    The last rows are of streams, which have their frames one after the other: what exits save
    there is beside the same stream to its end.
    """
    recognizer = at_size()
    frames = torch.randint(0, 256, (batch, STEPS, 3, 224, 224), dtype=torch.uint8)

    def at_once(rule: ExitRule | None) -> Recognition:
        recognizer.exits = rule
        return recognizer(frames)

    def streamed(rule: ExitRule | None) -> Recognition:
        recognizer.exits = rule
        stream = recognizer.stream(batch)
        return Recognition.join([stream.push(frames[:, t]) for t in range(STEPS)], dim=1)

    to_the_end, stream = partial(at_once, None), partial(streamed, None)
    rows = [("all frames, no exits", to_the_end, to_the_end)]
    for name, after in ASKED.items():
        for stop in STOPS:
            if stop in after:
                run = partial(at_once, stopping_after(after, stop))
                rows.append((f"asked after {name}: stops after {stop}", run, to_the_end))
    rows.append(("a stream, frame by frame, no exits", stream, to_the_end))
    for stop in STOPS:
        run = partial(streamed, stopping_after(range(1, STEPS + 1), stop))
        rows.append((f"a stream that stops after {stop}, over the stream", run, stream))
    clocks: dict[Run, list[tuple[float, float]]] = {run: [] for _, run, _ in rows}
    gmacs: dict[Run, float] = {}
    for turn in range(TURNS + 1):
        for run in clocks:
            start = time.perf_counter(), time.process_time()
            gmacs[run] = float(run().gmacs[0, -1])
            if turn:  # the first one warms up
                clocks[run].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    head = "| | GMACs | their share | share of time | of CPU time | followed to | in CPU time |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, run, base in rows:
        compute = gmacs[run] / gmacs[base]
        shares = np.array(clocks[run]) / np.array(clocks[base])  # (turns, 2)
        medians = np.median(shares, axis=0)
        spread = " | ".join(
            f"{median:.3f} ({column.min():.3f}, {column.max():.3f})"
            for median, column in zip(medians, shares.T, strict=True)
        )
        followed = " | ".join(f"{compute / median:.2f}" for median in medians)
        lines.append(f"| {name} | {gmacs[run]:.2f} | {compute:.3f} | {spread} | {followed} |")
    how = f"{batch} video(s) of {STEPS} frames at a time, {torch.get_num_threads()} thread(s)"
    median = float(np.median([wall for wall, _ in clocks[to_the_end]]))
    title = f"AdaFocusV2-MN2/RN at P = 128, {how}, {median:.2f} s to the end, {TURNS} turns:"
    return "\n".join([title, "", *lines])


def main() -> None:
    """Train what is missing, and print the tables in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("quickstart", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--timing", action="store_true", help="time the paper's sizes, no more")
    args = parser.parse_args()
    if args.timing:
        print("\n\n".join(timed(batch) for batch in (1, 8)))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    by_label: dict[str, list[Outcome]] = {}
    learned_runs: list[PixelRun] = []
    for name, (_, all_seeds) in TRAININGS.items():
        for seed in range(args.seeds if all_seeds else 1):
            run = find_pixel_run(train(args.quickstart, args.out, name, seed, args.epochs))
            kinds = run.beside if name in BESIDE else ()
            outcomes = run.play("test", (None, *kinds), seed)
            for label, each in zip(
                (name, *(f"{k} in {name}" for k in kinds)), outcomes, strict=True
            ):
                by_label.setdefault(label, []).append(each)
            learned_runs += [run] if name == "learned" else []
    print(
        "\n| boxes | seeds | after t frames, % | final | mean over frames |\n|---|---|---|---|---|"
    )
    for name, outcomes in by_label.items():
        print(row(name, outcomes))
    learned = np.stack([by_step(each) for each in by_label["learned"]]).mean(axis=(0, 2))
    for name in ("random", "central", "random in learned", "central in learned"):
        other = np.stack([by_step(each) for each in by_label[name]]).mean(axis=(0, 2))
        print(f"learned less {name}, mean over frames: {interval(learned - other, '+')} points")
    print(f"GMACs of a frame: {asdict(learned_runs[0].recognizer.cost)}")
    print_exits(learned_runs, by_label["learned"])
    for batch in (1, 8):
        print(f"\n{timed(batch)}")


if __name__ == "__main__":
    main()
