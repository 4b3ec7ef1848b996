"""AdaFocusV3 on digits that are hidden in most frames: Table 5, exits, and beside AdaFocusV2.

``python benchmarks/cubes.py outputs/v3 outputs/quickstart`` writes the videos and trains what is
missing in ``outputs/v3``, preset ``digits_v3``, from the encoders of quickstarts: one for each
seed, or one for all. It prints tables of the test videos. Called again it goes on after what is
complete.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from end_to_end import Points, by_step, interval

from focusgym.agents import apply_exits, fixed_exits, random_exits, solve_exits
from focusgym.feature_cache import DigitsConfig, make_digits
from focusgym.recognizer import (
    ClassifierConfig,
    CubePolicy,
    CubePolicyConfig,
    CubeRecognizer,
    Cubes,
    Encoder,
    EncoderConfig,
    ExitRule,
    FrameConfig,
    build_classifier,
)
from focusgym.recognizer.exit_measures import Measure
from focusgym.recognizer.exits import exit_scores
from focusgym.runs.cli import main as focusgym
from focusgym.runs.evaluation.opened_runs import find_pixel_run
from focusgym.runs.evaluation.outcome import Outcome
from focusgym.runs.evaluation.pixel_runs import PixelRun

# The digit is visible in a quarter of the 24 frames at most.
DIGITS = DigitsConfig(n_frames=24, visible_share=0.15, most_visible_share=0.25)
RANDOM = "random"  # the first stage: the networks that all policies are trained in
# Name in the table, and options of ``fit cubes`` beside ``--networks``: the second stage.
Played = tuple[Outcome, Outcome]  # what came of val and of test
POLICIES = {
    "deep": (),
    "pixel": ("--gradient", "pixel"),
    "deep, time alone": ("--space", "random"),
    "deep, space alone": ("--time", "random"),
}
EPOCHS = 6  # of a policy alone
RATES = (2e-3, 8e-3)  # of π, tried for both gradients with the first seed, on val
SHOWN = (0, 1, 2, 4, 8)  # cubes
MANY = 16  # cubes where exits are measured: with 8 the glance is half of the cost
SHARES = (0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9)
TURNS = 3


def fit(out: Path, name: str, *args: str, verb: str = "cubes") -> Path:
    """Return the run of a training, after training it if it is not there."""
    run = out / name
    if not run.is_dir():
        focusgym(["fit", verb, f"{run}", *args])
    return run


def first_stage(out: Path, quickstart: Path, seed: int) -> Path:
    """Return the run whose cubes are random."""
    parts = quickstart / "encoders"
    networks = ["--glance-encoder", f"{parts / 'glance'}", "--local-encoder", f"{parts / 'local'}"]
    axes = ["--time", "random", "--space", "random"]
    return fit(out, f"{RANDOM}{seed}", *how(out, seed), *networks, *axes)


def how(out: Path, seed: int) -> list[str]:
    """Return the options that all trainings of a seed have."""
    return ["--preset", "digits_v3", "--videos", f"{out / 'data'}", "--seed", f"{seed}"]


def second_stage(out: Path, networks: Path, name: str, seed: int, rate: float) -> Path:
    """Return the run of a policy that was trained alone."""
    args = [*how(out, seed), "--networks", f"{networks}", "--lr-policy", f"{rate:g}"]
    args += ["--epochs", f"{EPOCHS}"]
    folder = f"{name.replace(', ', '_').replace(' ', '_')}_{rate:g}_{seed}"
    return fit(out, folder, *args, *POLICIES[name])


def at_once(out: Path, quickstart: Path, verb: str, seed: int) -> Path:
    """Return the run of all networks, trained at once with the same rates and epochs."""
    parts = quickstart / "encoders"
    args = ["--glance-encoder", f"{parts / 'glance'}", "--local-encoder", f"{parts / 'local'}"]
    if verb == "cubes":
        return fit(out, f"joint_v3_{seed}", *how(out, seed), *args, "--cubes", f"{MANY}")
    preset = Path(__file__).with_name("digits_v2_hidden.yaml")
    args += ["--preset", f"{preset}", "--videos", f"{out / 'data'}", "--seed", f"{seed}"]
    return fit(out, f"joint_v2_{seed}", *args, verb=verb)


def val_accuracy(run: Path) -> float:
    """Return how right a run is on the videos that it was selected on."""
    return float(json.loads((run / "bundle.json").read_text())["metrics"]["val_accuracy"])


def best_rate(out: Path, networks: Path, name: str) -> float:
    """Return the rate that is best on val with the first seed."""
    accuracies = {rate: val_accuracy(second_stage(out, networks, name, 0, rate)) for rate in RATES}
    print(
        f"{name}: "
        + ", ".join(f"{r:g} gives {100 * a:.1f} % on val" for r, a in accuracies.items())
    )
    return max(accuracies, key=lambda rate: accuracies[rate])


def table_row(name: str, outcomes: Sequence[Outcome]) -> str:
    """Return accuracies after some cubes: mean over seeds and videos, interval, seeds' range."""
    every = np.stack([by_step(each) for each in outcomes])  # (seeds, B, D + 1)
    cells = []
    for n in SHOWN:
        seeds = every[:, :, n].mean(axis=1).tolist()
        cells.append(f"{interval(every[:, :, n].mean(axis=0))}{spread(seeds)}")
    return f"| {name} | {len(outcomes)} | {' | '.join(cells)} |"


def points(outcomes: Sequence[Outcome], cubes: int) -> Points:
    """Return what is right of each video ``(B,)`` after some cubes, in percent over the seeds."""
    both: Points = np.mean([by_step(each)[:, cubes] for each in outcomes], axis=0)
    return both


def stopped(
    val: Outcome, test: Outcome, share: float, measure: Measure, seed: int
) -> dict[str, tuple[float, Points]]:
    """Return cost over budget, and what is right, of solved, random and fixed exits."""
    costs, spent = (torch.from_numpy(each.played.gmacs) for each in (val, test))
    budget = share * float(costs[:, -1].mean())
    steps = solve_exits(val.logits, val.labels, costs, budget, measure).exit_steps(test.logits)
    mean = apply_exits(test.logits, test.labels, spent, steps).mean_gmacs
    chosen = {
        measure: steps,
        "random": random_exits(steps, seed),
        "fixed": fixed_exits(spent, mean, seed),
    }
    by_rule = {}
    for name, each in chosen.items():
        done = apply_exits(test.logits, test.labels, spent, each)
        right = 100 * done.correct.numpy().astype(np.float64)
        by_rule[name] = (done.mean_gmacs / budget, right)
    return by_rule


def print_exits(runs: Sequence[Played]) -> None:
    """Print Figure 6: accuracy at shares of the full cost, and what the entropy gains on others."""
    others = ("confidence", "random", "fixed")
    gains = " | ".join(f"over {name}" for name in others)
    print(f"\n| share of the full cost | spent of this budget | entropy | {gains} |")
    print("|---|---|---|---|---|---|")
    for share in SHARES:
        rights: dict[str, list[Points]] = {}
        spent = []
        for seed, (val, test) in enumerate(runs):
            by_rule = stopped(val, test, share, "entropy", seed)
            by_rule["confidence"] = stopped(val, test, share, "confidence", seed)["confidence"]
            spent.append(by_rule["entropy"][0])
            for name, (_, right) in by_rule.items():
                rights.setdefault(name, []).append(right)
        mean = {name: np.mean(each, axis=0) for name, each in rights.items()}
        gain = [interval(mean["entropy"] - mean[name], "+") for name in others]
        met = f"{np.mean(spent):.3f}{spread(spent, 3)}"
        print(f"| {share:g} | {met} | {interval(mean['entropy'])} | {' | '.join(gain)} |")
    full = [float(by_step(test)[:, -1].mean()) for _, test in runs]
    costs = np.mean([test.played.gmacs.mean(axis=0) for _, test in runs], axis=0)
    print(
        f"all cubes: {np.mean(full):.1f}{spread(full)} %; the glance alone costs "
        f"{costs[0] / costs[-1]:.3f}"
    )


def right_at(run: Played, budget: float) -> Points:
    """Return what is right of each test video ``(B,)``, with exits by entropy, in percent.

    Args:
        run: What came of val, to solve the exits on, and of test, to report on.
        budget: Mean GMACs of a video.
    """
    val, test = run
    costs, spent = (torch.from_numpy(each.played.gmacs) for each in run)
    rule = solve_exits(val.logits, val.labels, costs, budget, "entropy")
    done = apply_exits(test.logits, test.labels, spent, rule.exit_steps(test.logits))
    return 100 * done.correct.numpy().astype(np.float64)


def print_beside(v3: Sequence[Played], v2: Sequence[Played]) -> None:
    """Print Table 2: V2+ and V3 at equal cost, over the same seeds."""
    least = max(float(val.played.gmacs[:, 0].mean()) for val, _ in (*v3, *v2))
    most = max(float(test.played.gmacs[:, -1].mean()) for _, test in (*v3, *v2))
    print("\n| MMACs of a video | AdaFocusV2+ | AdaFocusV3 | V3 less V2+ |\n|---|---|---|---|")
    for budget in np.geomspace(least, most, 8).tolist():
        rights = [[right_at(run, budget) for run in runs] for runs in (v2, v3)]
        cells = [
            f"{np.mean(each):.1f}{spread([float(right.mean()) for right in each])}"
            for each in rights
        ]
        gain = interval(np.mean(rights[1], axis=0) - np.mean(rights[0], axis=0), "+")
        print(f"| {1e3 * budget:.1f} | {' | '.join(cells)} | {gain} |")


def spread(seeds: Sequence[float], digits: int = 1) -> str:
    """Return the smallest and the largest of some seeds, in parentheses."""
    return f" ({min(seeds):.{digits}f}–{max(seeds):.{digits}f})" if len(seeds) > 1 else ""


def at_size() -> CubeRecognizer:
    """Return AdaFocusV3-MN2/RN at the paper's sizes, P = 128, 18 frames, with random weights."""
    torch.manual_seed(0)
    glance, local = (Encoder(EncoderConfig(name)) for name in ("mobilenet_v2", "resnet50"))
    sizes = ClassifierConfig(1280, 2048, 200, 4096, 0.2, aggregation="max_pool", steps=19)
    f_c = build_classifier(sizes)
    with torch.no_grad():  # so that videos are not all equally sure
        for head in f_c.get_submodule("heads").children():
            head.get_parameter("weight").mul_(1e4)
    return CubeRecognizer(
        glance,
        local,
        f_c,
        Cubes(224, 128, 18),
        CubePolicy(CubePolicyConfig(7, 7, 1280, 18, 18)),
        frames=FrameConfig(18, 224, 256),
    ).fused()


def print_throughput(batch: int) -> None:
    """Print how time follows compute where videos of a batch stop after different cubes."""
    without_exits, stopping = at_size(), at_size()
    frames = torch.randint(0, 256, (batch, 18, 3, 224, 224), dtype=torch.uint8)
    # Random weights: thresholds at the videos' own scores let them stop here and there.
    scores = exit_scores(without_exits(frames).logits, "entropy")
    levels = scores.quantile(torch.linspace(0.9, 0.5, 18, dtype=scores.dtype), dim=0)
    numbers = [float(levels[step, step]) for step in range(18)]
    stopping.exits = ExitRule("entropy", (*numbers, 0.0))
    shares, gmacs, stops = [], [0.0, 0.0], torch.zeros(batch)
    for turn in range(TURNS + 1):
        seconds = []
        for i, recognizer in enumerate((without_exits, stopping)):
            start = time.process_time()
            recognition = recognizer(frames)
            seconds.append(time.process_time() - start)
            gmacs[i], stops = float(recognition.gmacs[:, -1].mean()), recognition.fed.sum(dim=1)
        if turn:  # the first one warms up
            shares.append(seconds[1] / seconds[0])
    compute, median = gmacs[1] / gmacs[0], float(np.median(shares))
    print(
        f"\nAdaFocusV3-MN2/RN at P = 128, {batch} videos of 18 frames at a time, {gmacs[0]:.2f} "
        f"GMACs each: exits after {sorted((stops - 1).tolist())} cubes spend {compute:.3f} of the "
        f"GMACs in {median:.3f} of the CPU time ({min(shares):.3f} to {max(shares):.3f}, {TURNS} "
        f"turns): compute is followed to {compute / median:.2f}"
    )


def main() -> None:
    """Train what is missing, and print the tables in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("quickstarts", type=Path, nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--at-once", action="store_true", help="print Figure 6 and Table 2 alone")
    parser.add_argument("--timing", action="store_true", help="print the throughput alone")
    args = parser.parse_args()
    if args.timing:
        for batch in (8, 32):
            print_throughput(batch)
        return
    if not args.quickstarts:
        parser.error("give the folder of a quickstart")
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "data").is_dir():
        make_digits(DIGITS, out / "data")
    folders = [args.quickstarts[s % len(args.quickstarts)] for s in range(args.seeds)]
    if args.at_once:
        beside(out, folders)
        return
    stages = [first_stage(out, folder, seed) for seed, folder in enumerate(folders)]
    rates = {name: best_rate(out, stages[0], name) for name in ("deep", "pixel")}
    runs: dict[str, list[PixelRun]] = {RANDOM: [find_pixel_run(stage) for stage in stages]}
    for name in POLICIES:
        rate = rates["pixel" if name == "pixel" else "deep"]
        paths = [second_stage(out, stage, name, s, rate) for s, stage in enumerate(stages)]
        runs[name] = [find_pixel_run(path) for path in paths]
    test = {
        name: [run.play("test", seed=seed)[0] for seed, run in enumerate(each)]
        for name, each in runs.items()
    }
    columns = " | ".join(f"after {n} cubes" for n in SHOWN)
    print(f"\n| gradient, axes | seeds | {columns} |\n|---|---|{'---|' * len(SHOWN)}")
    for name, outcomes in test.items():
        print(table_row(name, outcomes))
    for name in (RANDOM, *list(POLICIES)[1:]):
        for n in (1, 8):
            gain = interval(points(test["deep"], n) - points(test[name], n), "+")
            print(f"deep less {name}, after {n}: {gain} points")
    beside(out, folders)


def beside(out: Path, quickstarts: Sequence[Path]) -> None:
    """Train all networks at once, with a seed for each quickstart; print Figure 6 and Table 2."""
    by_system = []
    for name, verb in (("AdaFocusV3", "cubes"), ("AdaFocusV2", "end-to-end")):
        runs: list[Played] = []
        for seed, folder in enumerate(quickstarts):
            run = find_pixel_run(at_once(out, folder, verb, seed))
            runs.append((run.play("val")[0], run.play("test", seed=seed)[0]))
        steps = np.mean([by_step(test).mean(axis=0) for _, test in runs], axis=0)
        print(f"{name}, all networks at once: {steps.round(1).tolist()}", flush=True)
        if verb == "cubes":
            print_exits(runs)
        by_system.append(runs)
    print_beside(*by_system)


if __name__ == "__main__":
    main()
