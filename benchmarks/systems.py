"""All systems on the digits in one table, beside what costs as much without deciding anything.

``python benchmarks/systems.py outputs/quickstart outputs/all_systems`` makes one cache of the
quickstart's videos that serves all systems but two: patches for its f_L; whole frames at 64, 32 and
16 px, each with an encoder of its own; the first of these with 4 and 2 bits, and with mask profiles
that take channels from the frame before. A second cache, of clips of one segment and an encoder
that shifts along their frames, serves TSM and TSM+. Then ``focusgym compare --systems all`` trains
an f_C for each kind and every system at all of its settings, all of these with as many decisions;
AdaFocus beside has the epochs of its preset. Behind its
table come those of controls: what each system gains, with 95 % intervals over videos, over what
decides nothing at the same mean cost with the same f_C. Called again it goes on after what is
complete. ``--videos``, ``--epochs`` and ``--decisions`` make it smaller; what stands behind ``--``
goes to ``focusgym compare``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from focusgym.agents import System, TaskTrace, find_system, read_segments
from focusgym.envs import EnvConfig, FeatureSource, FocusEngine, open_source, uniform_segments
from focusgym.recognizer import Purpose, coarse_to_fine, generator
from focusgym.runs.evaluation.trace import read_played
from focusgym.runs.folders.run_folder import stored_settings

FOCUSGYM = "import sys; from focusgym.runs.cli import main; main(sys.argv[1:])"
NETWORK = "small_residual"  # of whole frames: it can be masked, quantised and shifted
FRAME_PX, STEPS = 64, 6  # of the quickstart
SIDES = (64, 32, 16)  # px
BITS = (4, 2)
PROFILES = ("reuse0", "reuse50", "reuse50_skip25")
SINGLE = "a single option in every segment"
PATCH = "28:7"  # side and candidates per axis
SEED = 0
RESAMPLES = 10_000
Points = NDArray[np.float64]  # (B,) of each video, in percent


@dataclass(frozen=True)
class Played:
    """What was done at a setting, on test.

    Attributes:
        label: The setting.
        gmacs: Mean cost of a video.
        right: Whether each video ends right, in percent.
    """

    label: str
    gmacs: float
    right: Points


Line = Callable[[FeatureSource], list[Played]]


def videos_of(args: argparse.Namespace) -> Path:
    """Return the folder of the videos; with ``--videos`` of at most so many of each split."""
    data: Path = args.quickstart / "data"
    if args.videos is None:
        return data
    few: Path = args.out / "data"
    if not few.exists():
        few.mkdir()
        table = pd.read_csv(data / "videos.csv", dtype=str)
        few.joinpath("videos").symlink_to(data.resolve() / "videos")
        chosen = table.groupby("split", sort=False).head(args.videos)
        chosen.to_csv(few / "videos.csv", index=False)
    return few


def make_encoders(args: argparse.Namespace, videos: Path) -> None:
    """Train one encoder on whole frames, and those that begin with its weights."""
    first = f"full{SIDES[0]}"
    fit_encoder(args, videos, first, "random", args.epochs, NETWORK)
    weights = args.out / "encoders" / first / "weights.safetensors"
    short = max(1, args.epochs // 3)
    for side in SIDES[1:]:
        fit_encoder(args, videos, f"full{side}", weights, args.epochs, NETWORK, side)
    for bits in BITS:
        fit_encoder(args, videos, f"bits{bits}", weights, short, f"{NETWORK}_{bits}bit")
    fit_encoder(args, videos, "shifts", weights, short, f"{NETWORK}_tsm", clips=True)


def fit_encoder(
    args: argparse.Namespace,
    videos: Path,
    name: str,
    weights: object,
    epochs: int,
    network: str,
    side: int = FRAME_PX,
    *,
    clips: bool = False,
) -> None:
    """Train an encoder on whole frames, unless it is there."""
    out: Path = args.out / "encoders" / name
    if not out.exists():
        out.parent.mkdir(exist_ok=True)
        focusgym(
            *("fit", "encoder", out, "--videos", videos, *frames(clips), "--network", network),
            *("--weights", weights, "--input-px", side, "--no-augment", "--epochs", epochs),
            *("--batch-size", 16, "--optimizer", "adamw", "--lr-encoder", 4 * 3e-3),
        )


def frames(clips: bool) -> list[object]:
    """Return which frames are read: each a segment of its own, or all in one."""
    segments = ["--steps", 1, "--segment-frames", STEPS] if clips else ["--steps", STEPS]
    return [*segments, "--frame", FRAME_PX, "--resize", 0]


def make_caches(args: argparse.Namespace, videos: Path) -> None:
    """Build both caches, or go on with them."""
    made, theirs = args.out / "encoders", args.quickstart / "encoders"
    weights = made / f"full{SIDES[0]}" / "weights.safetensors"
    groups = [f"patches:{theirs / 'local'}:{PATCH}"]
    groups += [f"full:{made}/full{side}:{side}" for side in SIDES]
    groups += [f"full:{made}/bits{bits}:{SIDES[0]}" for bits in BITS]
    masked = [f"{NETWORK}_{profile}" for profile in PROFILES]
    groups += [f"full:{network}:{SIDES[0]}" for network in masked]
    for name, clips, of_cache in (
        ("cache", False, groups),
        ("clips", True, [f"full:{made}/shifts:{SIDES[0]}"]),
    ):
        given = [("--group", group) for group in of_cache]
        given += [] if clips else [("--weights", f"{network}={weights}") for network in masked]
        focusgym(
            *("cache", "build", args.out / name, "--videos", videos, *frames(clips)),
            *("--glance", theirs / "glance", *(word for pair in given for word in pair)),
        )


def read_with(source: FeatureSource, segments: Sequence[int], option: int = 0) -> TaskTrace:
    """Read the same segments of every video of test."""
    return read_segments(source, source.cache.split("test"), segments, option)


def uniform_line(source: FeatureSource) -> list[Played]:
    """Return what uniform subsets of 1 to T segments come to with an f_C, the cheapest first."""
    steps = source.cache.steps
    subsets = [uniform_segments(k, steps).tolist() for k in range(1, steps + 1)]
    return [_fixed(f"{len(each)}", read_with(source, each)) for each in subsets]


def prefix_line(source: FeatureSource) -> list[Played]:
    """Return what the first 1 to T segments, coarse to fine, come to, the cheapest first.

    Max-pooling's heads are trained on just these segments, so that uniform subsets are new to them.
    """
    order = coarse_to_fine(source.cache.steps)
    return [_fixed(f"{k}", read_with(source, order[:k])) for k in range(1, len(order) + 1)]


def resolution_line(source: FeatureSource) -> list[Played]:
    """Return what each single side, read in every segment, comes to, the cheapest first."""
    every = range(source.cache.steps)
    names = [each.group.name for each in source.cache.opened]
    line = [_fixed(name, read_with(source, every, k)) for k, name in enumerate(names)]
    return sorted(line, key=lambda point: point.gmacs)


def coarse_line(source: FeatureSource) -> list[Played]:
    """Return what uniform subsets of 0 to T segments come to where the others are fed coarsely.

    f_G and f_C run on all segments, and nothing decides.
    """
    videos, steps = source.cache.split("test"), source.cache.steps
    cost, engine = source.frame_cost, FocusEngine(source)
    labels, line = source.cache.labels[videos], []
    for k in range(steps + 1):
        fine = np.isin(np.arange(steps), uniform_segments(k, steps))
        shape = len(videos), steps
        logits = engine.rollout(videos, np.zeros(shape, np.int64), np.broadcast_to(fine, shape))
        right = (logits[:, -1].argmax(dim=-1) == labels).numpy()
        gmacs = steps * (cost.glance_gmacs + cost.classifier_gmacs) + k * cost.local_gmacs
        line.append(Played(f"{k}", gmacs, 100 * right.astype(float)))
    return line


def _fixed(label: str, trace: TaskTrace) -> Played:
    gmacs, right = float(trace.gmacs[:, -1].mean()), 100 * trace.correct.astype(float)
    return Played(label, gmacs, right)


def at_cost(line: Sequence[Played], gmacs: float) -> Points:
    """Return how often each video is right on a line between points, at a mean cost.

    A random choice between two neighbouring points costs as much on average. Beyond the line it is
    the nearest end: what is cheaper than all points is set beside one that costs more. f_G does not
    run there where f_C does not take its vectors; for a system it does, and is charged.
    """
    costs = [point.gmacs for point in line]
    place = float(np.interp(gmacs, costs, np.arange(len(costs))))
    low = min(int(place), len(line) - 2)
    part = place - low
    mixed: Points = (1 - part) * line[low].right + part * line[low + 1].right
    return mixed


def interval(points: Points) -> str:
    """Return the mean with its 95 % interval over the videos, in words."""
    rng = generator(Purpose.RESAMPLING, SEED)
    drawn = rng.integers(len(points), size=(RESAMPLES, len(points)))
    low, high = np.quantile(points[drawn].mean(axis=1), [0.025, 0.975])
    return f"{points.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def lines_of(system: System) -> dict[str, Line]:
    """Return what stands beside a system, by its name in tables."""
    if system.places == "patches":
        return {}  # clip_random and others are rows of the table
    if system.several_groups:
        return {SINGLE: resolution_line}
    lines: dict[str, Line] = {"a uniform subset": uniform_line}
    if system.classifier.order == "coarse_to_fine":
        lines["a coarse-to-fine prefix"] = prefix_line
    elif system.classifier.skip_rate:
        lines["a uniform subset, the others coarse,"] = coarse_line
    return lines


def print_controls(compared: Path) -> None:
    """Print what the systems of a finished comparison gain over their controls, in Markdown."""
    drawn: dict[tuple[str, str], list[Played]] = {}  # lines, by f_C and name

    def line(folder: str, groups: Sequence[str], cache: str, name: str, draw: Line) -> list[Played]:
        if (folder, name) not in drawn:
            drawn[folder, name] = draw(open_source(EnvConfig(cache, folder, group=tuple(groups))))
        return drawn[folder, name]

    for of_system in sorted((compared / "cells" / "systems").iterdir()):
        rows: dict[str, list[Path]] = {}
        for results in sorted(of_system.rglob("results.json")):
            label = results.parent.parent.relative_to(of_system).as_posix()
            rows.setdefault(label, []).append(results.parent)
        said = stored_settings(next(iter(rows.values()))[0], "train")
        lines = lines_of(find_system(said["system"]))
        if not lines or len(rows) == 1:
            continue
        heads = [f"less {name} of that cost" for name in lines]
        print(f"\n| {' | '.join([of_system.name, 'MMACs', 'accuracy, %', *heads])} |")
        print(f"|{'---|' * (len(heads) + 3)}")
        for label, runs in rows.items():
            found: list[Played] = []
            gains: dict[str, list[Points]] = {name: [] for name in lines}
            for run in runs:
                played, said = read_played(run / "played.npz"), stored_settings(run, "train")
                right = 100 * played.correct[:, -1].astype(float)
                found.append(Played(label, float(played.gmacs[:, -1].mean()), right))
                for name, draw in lines.items():
                    files = said["classifier"], said["group"], said["cache"]
                    beside = line(*files, name, draw)
                    gains[name].append(right - at_cost(beside, found[-1].gmacs))
            cost = 1e3 * np.mean([each.gmacs for each in found])
            cells = [f"{cost:.2f}", f"{np.mean([each.right for each in found]):.1f}"]
            cells += [interval(np.mean(each, axis=0)) for each in gains.values()]
            print(f"| {' | '.join([label.replace('-', ' ', 1), *cells])} |")
        if SINGLE in lines:
            settings = [stored_settings(run, "train") for runs in rows.values() for run in runs]
            folders = dict.fromkeys(said["classifier"] for said in settings)
            print_line([*zip(*(drawn[folder, SINGLE] for folder in folders), strict=True)])


def print_line(points: Sequence[Sequence[Played]]) -> None:
    """Print what each point of a line comes to: means over the seeds of f_C."""
    print("\n| in every segment | MMACs | accuracy, % |\n|---|---|---|")
    for seeds in points:
        cost, rights = 1e3 * seeds[0].gmacs, [float(each.right.mean()) for each in seeds]
        spread = f"{min(rights):.1f}–{max(rights):.1f}"
        print(f"| {seeds[0].label} | {cost:.2f} | {np.mean(rights):.1f} ({spread}) |")


def focusgym(*words: object) -> None:
    """Run a verb."""
    subprocess.run([sys.executable, "-c", FOCUSGYM, *map(str, words)], check=True)


def main() -> None:
    """Run all steps, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("quickstart", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--videos", type=int, help="most of each split")
    parser.add_argument("--epochs", type=int, default=12, help="of the encoders")
    parser.add_argument("--decisions", type=int, default=60_000, help="of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--systems", nargs="+", default=["all"])
    parser.add_argument("--time", type=int, default=20, help="videos whose time is measured")
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    args = parser.parse_args(given[:end])
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    videos = videos_of(args)
    make_encoders(args, videos)
    make_caches(args, videos)
    compared = args.out / "compare"
    focusgym(
        *("compare", compared, "--preset", "digits", "--cache", args.out / "cache"),
        *("--clips-cache", args.out / "clips", "--reward", "increment_over_random", "--oracle"),
        *("--patch", PATCH.partition(":")[0], "--systems", *args.systems),
        *("--decisions", args.decisions, "--seeds", args.seeds, "--time", args.time),
        *given[end + 1 :],
    )
    print_controls(compared)


if __name__ == "__main__":
    main()
