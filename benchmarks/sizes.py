"""AR-Net on digits of many sizes: what choosing a side by what is seen gains over single sides.

``python benchmarks/sizes.py outputs/sizes`` writes videos whose digits are 10 to 44 px high in
frames of 64 px, a size for each video; trains an encoder for whole frames at each of three sides,
and one for the glance; builds a cache of them; and trains AR-Net on it at all of its prices with
``focusgym compare``. It prints, of the test videos, what each single side comes to, what an oracle
that knows the size could gain over them, and what AR-Net does: over the line between single sides
at the same mean cost, over a random side in each segment, and over the best of all that reads a
side in a uniform subset of the segments. Called again it goes on after what is complete; another
``--seed`` of the videos, or ``--same-videos``, needs a folder of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from seeds import in_percent
from systems import NETWORK, Played, Points, at_cost, fit_encoder, focusgym, frames

from focusgym.agents import find_system, read_segments
from focusgym.envs import EnvConfig, FeatureSource, FocusEngine, open_source, uniform_segments
from focusgym.recognizer import Purpose, generator
from focusgym.runs.evaluation.trace import read_played
from focusgym.runs.folders.run_folder import stored_settings

SMALLEST_PX, LARGEST_PX = 10, 44
N_TRAIN = 1000  # of encoders, and as many others of f_C and agents
SIDES = (64, 32, 24)  # px
GLANCE, GLANCE_PX = "small_glance", 8
COSTS = (10, 15, 20, 25, 30, 35, 40)  # MMACs of a video, at which the oracle is told
PRICES = find_system("arnet").settings


def make_videos(args: argparse.Namespace) -> tuple[Path, Path]:
    """Write the videos; return a folder with those for encoders, and one with those for agents.

    Half of the training videos are in the list of each; those of val and test are in both. To an
    encoder the videos that it was trained on are easy at any side: an agent that was trained on
    their features would learn that the cheapest one is enough.
    """
    data = args.out / "data"
    if not data.exists():
        focusgym(
            *("data", "digits", data, "--seed", args.seed, "--n-train", 2 * N_TRAIN),
            *("--digit-px", SMALLEST_PX, "--largest-digit-px", LARGEST_PX),
        )
    table = pd.read_csv(data / "videos.csv", dtype=str)
    place = table.groupby("split", sort=False).cumcount()
    for name, left_out in (("for_encoders", place >= N_TRAIN), ("for_agents", place < N_TRAIN)):
        folder: Path = args.out / name
        folder.mkdir(exist_ok=True)
        if not (folder / "videos").exists():
            (folder / "videos").symlink_to((data / "videos").resolve())
        rest = table[~((table["split"] == "train") & left_out)]
        rest.to_csv(folder / "videos.csv", index=False)
    others = "for_encoders" if args.same_videos else "for_agents"
    return args.out / "for_encoders", args.out / others


def make_cache(args: argparse.Namespace, videos: Path, others: Path) -> None:
    """Train the encoders that are missing, and build the cache of others or go on with it.

    At 32 px a network learns in few epochs what it takes many to learn at 64 px: the one for 64 px
    begins with the weights of a short training at 32 px, and the smaller sides with those of 64 px.
    """
    made = args.out / "encoders"
    fit_encoder(args, videos, "glance", "random", args.epochs, GLANCE, GLANCE_PX)
    before: object = "random"
    for name, side in (("first", 32), *((f"full{side}", side) for side in SIDES)):
        fit_encoder(args, videos, name, before, args.epochs, NETWORK, side)
        before = made / name / "weights.safetensors"
    groups = [("--group", f"full:{made}/full{side}:{side}") for side in SIDES]
    focusgym(
        *("cache", "build", args.out / "cache", "--videos", others, *frames(False)),
        *("--glance", made / "glance", *(word for pair in groups for word in pair)),
    )


def sizes_of(args: argparse.Namespace, source: FeatureSource, split: str) -> NDArray[np.int64]:
    """Return the side of the digit of each video of a split ``(B,)``, pixels."""
    boxes = pd.read_csv(args.out / "data" / "boxes.csv").groupby("path").first()
    names = source.cache.videos["name"].to_numpy()[source.cache.split(split)]
    split_boxes = boxes.loc[names]
    return (split_boxes["right"] - split_boxes["left"]).to_numpy(np.int64)


def by_cost(points: Sequence[Played]) -> list[Played]:
    """Return points with the cheapest first."""
    return sorted(points, key=lambda point: point.gmacs)


def subsets(source: FeatureSource, split: str) -> list[Played]:
    """Return what each side in a uniform subset of 1 to T segments comes to; of T, at the end."""
    videos, steps, points = source.cache.split(split), source.cache.steps, []
    for n in range(1, steps + 1):
        for option, opened in enumerate(source.cache.opened):
            trace = read_segments(source, videos, uniform_segments(n, steps).tolist(), option)
            cost, right = float(trace.gmacs[:, -1].mean()), 100 * trace.correct.astype(float)
            label = opened.group.name + (f" of {n}" if n < steps else "")
            points.append(Played(label, cost, right))
    return points


def upper(points: Sequence[Played]) -> list[str]:
    """Return the labels of the points that no mixture of others is above, the cheapest first."""
    hull: list[Played] = []
    for point in by_cost(points):
        while len(hull) > 1 and _slope(hull[-2], point) >= _slope(hull[-2], hull[-1]):
            hull.pop()
        if not hull or point.right.mean() > hull[-1].right.mean():
            hull.append(point)
    return [point.label for point in hull]


def _slope(low: Played, high: Played) -> float:
    return float((high.right.mean() - low.right.mean()) / (high.gmacs - low.gmacs))


class Seed:
    """An f_C, and what is read with it and nothing decided.

    Attributes:
        source: Cache and f_C.
        val: Single sides on val, the cheapest first.
        line: The same on test.
        static: Of all sides in uniform subsets those on test that no mixture is above on val.
    """

    def __init__(
        self, args: argparse.Namespace, seed: int, f_c: str, groups: Sequence[str]
    ) -> None:
        """Open them, and read all subsets."""
        cache = str(args.out / "cache")
        self.seed = seed
        self.source = open_source(EnvConfig(cache, f_c, group=tuple(groups)))
        val, test = subsets(self.source, "val"), subsets(self.source, "test")
        n_sides = len(self.source.cache.opened)
        self.val, self.line = by_cost(val[-n_sides:]), by_cost(test[-n_sides:])
        best = upper(val)
        self.static = by_cost([point for point in test if point.label in best])


def random_sides(seed: Seed, gmacs: float) -> Points:
    """Return how often each video is right with one of two sides at random in each segment.

    Args:
        seed: f_C, and of the draw.
        gmacs: The mean cost: single sides next to it are drawn.
    """
    cache, line = seed.source.cache, seed.line
    videos, options = cache.split("test"), [each.group.name for each in cache.opened]
    place = float(np.interp(gmacs, [point.gmacs for point in line], np.arange(len(line))))
    low = min(int(place), len(line) - 2)
    dear = (
        generator(Purpose.RANDOM_AGENT, seed.seed).random((len(videos), cache.steps)) < place - low
    )
    cheap_option, dear_option = (options.index(point.label) for point in line[low : low + 2])
    chosen = np.where(dear, dear_option, cheap_option)
    logits = FocusEngine(seed.source).rollout(videos, chosen)[:, -1]
    right: Points = 100 * (logits.argmax(dim=-1) == cache.labels[videos]).numpy().astype(float)
    return right


def by_size(line: Sequence[Played], sizes: NDArray[np.int64], limits: Sequence[int]) -> Played:
    """Return what an oracle comes to that reads larger digits with cheaper sides.

    Args:
        line: Single sides, the cheapest first.
        sizes: ``(B,)`` of the digits, pixels.
        limits: Smallest digit of each side but the last, falling.
    """
    which = len(line) - 1 - (sizes[:, None] >= np.asarray(limits)).sum(axis=1)
    right = np.stack([point.right for point in line])[which, np.arange(len(sizes))]
    cost = float(np.asarray([point.gmacs for point in line])[which].mean())
    return Played(f"{tuple(limits)}", cost, right)


def thirds(sizes: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Return which videos have small, medium and large digits, a third each."""
    third = (sizes[:, None] >= np.quantile(sizes, [1 / 3, 2 / 3])).sum(axis=1)
    return [third == i for i in range(3)]


def print_singles(seeds: Sequence[Seed], sizes: NDArray[np.int64]) -> None:
    """Print what each side comes to in every segment: of all videos, and by size."""
    parts = thirds(sizes)
    heads = [f"{sizes[part].min()}–{sizes[part].max()} px" for part in parts]
    print(f"\n| in every segment | MMACs | accuracy, % | {' | '.join(heads)} |\n|{'---|' * 6}")
    for points in zip(*(seed.line for seed in seeds), strict=True):
        rights = [point.right / 100 for point in points]
        cells = [f"{100 * np.mean(rights, axis=0)[part].mean():.1f}" for part in parts]
        cells = [f"{1e3 * points[0].gmacs:.2f}", in_percent(rights), *cells]
        print(f"| {points[0].label} | {' | '.join(cells)} |")


def print_oracle(seeds: Sequence[Seed], val: NDArray[np.int64], test: NDArray[np.int64]) -> None:
    """Print what an oracle gains that knows the sizes: limits by val, figures of test."""
    print(f"\n| side by the true size | MMACs | accuracy, % | over single sides |\n|{'---|' * 4}")
    limits = [*combinations_with_replacement(range(LARGEST_PX + 1, SMALLEST_PX - 1, -1), 2)]
    tried = [[by_size(seed.val, val, each) for each in limits] for seed in seeds]
    for budget in COSTS:
        rights, gains, costs = [], [], []
        for seed, points in zip(seeds, tried, strict=True):
            fits = [i for i, point in enumerate(points) if 1e3 * point.gmacs <= budget]
            best = max(fits, key=lambda i: float(points[i].right.mean()))
            best_point = by_size(seed.line, test, limits[best])
            costs.append(1e3 * best_point.gmacs)
            rights.append(best_point.right / 100)
            gains.append((best_point.right - at_cost(seed.line, best_point.gmacs)) / 100)
        print(
            f"| at most {budget} | {np.mean(costs):.1f} | {in_percent(rights)} | "
            f"{in_percent(gains)} |"
        )


def print_runs(args: argparse.Namespace, seeds: Sequence[Seed], sizes: NDArray[np.int64]) -> None:
    """Print what AR-Net comes to at each price, and over what decides nothing at its cost."""
    names = [each.group.name for each in seeds[0].source.cache.opened]
    heads = ["MMACs", "accuracy, %", "over single sides", "over random sides", "over subsets"]
    print(f"\n| {' | '.join(['AR-Net', *heads])} |\n|{'---|' * 6}")
    usage = []
    for price in PRICES:
        columns: list[list[Points]] = [[], [], [], []]
        costs, read = [], np.zeros((3, len(names)))
        for seed in seeds:
            played = read_played(run_of(args, price, seed.seed) / "played.npz")
            right = 100 * played.correct[:, -1].astype(float)
            cost = float(played.gmacs[:, -1].mean())
            costs.append(1e3 * cost)
            beside = at_cost(seed.line, cost), random_sides(seed, cost), at_cost(seed.static, cost)
            for column, points in zip(columns, (0 * right, *beside), strict=True):
                column.append((right - points) / 100)
            looks = np.stack([(played.options == k) & played.attended for k in range(len(names))])
            of_video = looks.sum(axis=2) / seed.source.cache.steps  # (K, B)
            read += [of_video[:, part].mean(axis=1) / len(seeds) for part in thirds(sizes)]
        cells = [
            f"{np.mean(costs):.2f} ({min(costs):.2f} to {max(costs):.2f})",
            *map(in_percent, columns),
        ]
        print(f"| price {price:g} | {' | '.join(cells)} |")
        usage.append([" / ".join(f"{100 * share:.0f}" for share in of) for of in read])
    print(f"\n| segments read, %: {' / '.join(names)} | small | medium | large |\n|{'---|' * 4}")
    for price, of_sizes in zip(PRICES, usage, strict=True):
        print(f"| price {price:g} | {' | '.join(of_sizes)} |")


def run_of(args: argparse.Namespace, price: float, seed: int) -> Path:
    """Return the folder of a training."""
    folder: Path = args.out / "compare" / "cells" / "systems" / "arnet"
    return folder / f"price-{price:g}" / f"seed-{seed}"


def main() -> None:
    """Make what is missing, and print the tables in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of the videos")
    parser.add_argument(
        "--same-videos", action="store_true", help="train agents on the videos of the encoders"
    )
    parser.add_argument("--seeds", type=int, default=3, help="of f_C and of trainings")
    parser.add_argument("--epochs", type=int, default=12, help="of each encoder")
    parser.add_argument("--decisions", type=int, default=20_000, help="of each training")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    make_cache(args, *make_videos(args))
    focusgym(
        *("compare", args.out / "compare", "--preset", "digits", "--cache", args.out / "cache"),
        *("--reward", "--no-plus", "--systems", "arnet", "--decisions", args.decisions),
        *("--seeds", args.seeds, "--jobs", 1),
    )
    seeds = []
    for seed in range(args.seeds):
        settings = stored_settings(run_of(args, PRICES[0], seed), "train")
        seeds.append(Seed(args, seed, settings["classifier"], settings["group"]))
    val, test = (sizes_of(args, seeds[0].source, split) for split in ("val", "test"))
    print_singles(seeds, test)
    print_oracle(seeds, val, test)
    print_runs(args, seeds, test)


if __name__ == "__main__":
    main()
