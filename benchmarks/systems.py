"""Systems on whole frames of the digits, beside what costs as much without deciding anything.

``python benchmarks/systems.py outputs/quickstart outputs/systems`` trains an encoder for each side
on whole frames, beginning with the quickstart's f_L; builds a cache; trains f_C and the systems;
and prints tables with 95 % intervals: the videos of test are drawn anew. Called again it goes on
after what is complete. ``--videos``, ``--epochs`` and ``--decisions`` make it smaller, and
``--systems`` names those that are wanted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from focusgym.agents import LearnedSystem, TaskTrace, find_system, read_segments
from focusgym.envs import (
    EnvConfig,
    FeatureSource,
    FocusEngine,
    open_source,
    uniform_segments,
)
from focusgym.feature_cache import (
    GLANCE,
    CacheConfig,
    FeatureCache,
    VideoSamples,
    build_cache,
    video_table,
)
from focusgym.recognizer import (
    Encoder,
    EncoderConfig,
    FrameConfig,
    FullFrames,
    Purpose,
    WholeFrame,
    coarse_to_fine,
    fit,
    generator,
    option_group,
    read_encoder,
    write_bundle,
)
from focusgym.runs.configs.fit import FitClassifierConfig, HeadConfig, TrainingConfig
from focusgym.runs.configs.train import (
    LearnerConfig,
    PolicyTrainingConfig,
    SkipConfig,
    SystemConfig,
    TrainConfig,
)
from focusgym.runs.evaluation.trace import read_played
from focusgym.runs.folders.run_folder import is_run
from focusgym.runs.options.systems import groups_of_system
from focusgym.runs.training.recipes import adamw
from focusgym.runs.training.stage_run import fit_classifier
from focusgym.runs.training.system_run import run_system

SIDES = (64, 32, 16)  # px, of the frames' 64
FRAME_PX = 64
SEED = 0
DECIDING: tuple[str, ...] = (
    "frameexit",
    "frameexit_gates",
    "adaframe",
    "arnet",
    "ocsampler",
    "lite_eval",
)
DECIDING += ("lite_eval_gates", "scsampler", "frame_glimpses", "multi_agent")
FIXED = ("average", "gru", "tsn")
RESAMPLES = 10_000
Points = NDArray[np.float64]  # (B,) of each video, in percent


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        steps: T.
        videos: Most videos of a split; None for all.
        epochs: Of the encoders; f_C has twice as many.
        decisions: Of each system's training; None for the recipe's.
    """

    steps: int
    videos: int | None
    epochs: int
    decisions: int | None


@dataclass(frozen=True)
class Trained:
    """A system at a setting, on test.

    Attributes:
        label: Its setting.
        gmacs: Mean cost of a video.
        right: Whether each video ends right, in percent.
        read: Mean share of the segments that are read.
    """

    label: str
    gmacs: float
    right: Points
    read: float


def videos_of(quickstart: Path, most: int | None) -> tuple[pd.DataFrame, list[str]]:
    """Return the table of a quickstart's videos, at most so many of each split."""
    data = quickstart / "data"
    table = pd.read_csv(data / "videos.csv", dtype={"path": str})
    if most is not None:
        table = table.groupby("split", sort=False).head(most)
    paths = [str(data / path) for path in table["path"]]
    rows = video_table(paths, table["label"].tolist(), table["split"].tolist())
    return rows, [str(label) for label in range(int(table["label"].max()) + 1)]


def make_cache(quickstart: Path, out: Path, sizes: Sizes) -> Path:
    """Train an encoder for each side on whole frames, and encode all frames with them."""
    cache = out / "cache"
    if (cache / "manifest.json").is_file():
        return cache
    videos, classes = videos_of(quickstart, sizes.videos)
    frames = FrameConfig(steps=sizes.steps, frame_px=FRAME_PX)
    samples = {
        split: VideoSamples(
            videos[videos["split"] == split].reset_index(drop=True), len(classes), frames
        )
        for split in ("train", "val")
    }
    encoders = {GLANCE: read_encoder(quickstart / "encoders" / "glance")}
    groups = []
    for index, side in enumerate(SIDES):
        folder = out / "encoders" / f"local{side}"
        if not folder.exists():
            torch.manual_seed(SEED)
            encoder = Encoder(EncoderConfig("small_local", side))
            encoder.load_state_dict(read_encoder(quickstart / "encoders" / "local").state_dict())
            settings = adamw(sizes.epochs, 16, encoder=3e-3)
            stage, name = FullFrames(encoder, len(classes)), f"whole frames of {side} px"
            fit(stage, samples["train"], samples["val"], settings, name=name, seed=[SEED, index])
            folder.parent.mkdir(parents=True, exist_ok=True)
            write_bundle(folder, "encoder", encoder.config, encoder)
        encoders[folder.name] = read_encoder(folder)
        places = WholeFrame(FRAME_PX, side)
        groups.append(option_group(places, folder.name, encoders[folder.name]))
    config = CacheConfig(frames, tuple(groups))
    build_cache(videos, classes, cache, encoders, config, videos_root=quickstart / "data")
    return cache


def classifier_of(name: str, cache: Path, out: Path, sizes: Sizes) -> Path:
    """Train the f_C of a system."""
    system = find_system(name)
    kind = system.classifier
    several = "_several" if system.several_groups else ""
    folder = out / f"classifier_{kind.name}{several}"
    if not folder.exists():
        training = TrainingConfig(
            epochs=2 * sizes.epochs, optimizer="adamw", lr_classifier=1e-3, seed=SEED
        )
        head = HeadConfig(128, 0.2, kind.reuse_glance, kind.aggregation)  # type: ignore[arg-type]
        groups = groups_of_system(system, cache, ())
        config = FitClassifierConfig(
            folder, cache, training, head, groups, skip_rate=kind.skip_rate, order=kind.order
        )
        fit_classifier(config, torch.device("cpu"))
    return folder


def trained(name: str, cache: Path, f_c: Path, out: Path, sizes: Sizes) -> list[Trained]:
    """Train a system at all settings of its recipe, or find it trained."""
    system = find_system(name)
    found = []
    for setting in system.settings:
        folder = out / "runs" / name / f"{setting:g}"
        learns = isinstance(system, LearnedSystem)
        config = TrainConfig(
            folder,
            PolicyTrainingConfig(threads=1),
            SkipConfig(),
            cache,
            f_c,
            seed=SEED,
            resume=is_run(folder),
            method=SystemConfig(name, setting if len(system.settings) > 1 else None),
            learning=LearnerConfig(sizes.decisions) if learns else LearnerConfig(),
        )
        results = run_system(config)
        played = read_played(folder / "played.npz")
        right = 100 * played.correct[:, -1].astype(float)
        gmacs = results["test"]["gmacs_per_video"]
        read = results["test"]["kept_share"]
        found.append(Trained(system.setting_label(setting), gmacs, right, read))
    return found


def read_with(source: FeatureSource, segments: Sequence[int], option: int = 0) -> TaskTrace:
    """Read the same segments of every video of test."""
    return read_segments(source, source.cache.split("test"), segments, option)


def uniform_line(source: FeatureSource) -> list[Trained]:
    """Return what uniform subsets of 1 to T segments come to with an f_C, the cheapest first."""
    steps = source.cache.steps
    subsets = [uniform_segments(k, steps).tolist() for k in range(1, steps + 1)]
    return [_fixed(f"{len(each)}", read_with(source, each)) for each in subsets]


def prefix_line(source: FeatureSource) -> list[Trained]:
    """Return what the first 1 to T segments, coarse to fine, come to, the cheapest first.

    Max-pooling's heads are trained on just these segments, so that uniform subsets are new to them.
    """
    order = coarse_to_fine(source.cache.steps)
    return [_fixed(f"{k}", read_with(source, order[:k])) for k in range(1, len(order) + 1)]


def resolution_line(source: FeatureSource) -> list[Trained]:
    """Return what each single side, read in every segment, comes to, the cheapest first."""
    every = range(source.cache.steps)
    names = [each.group.name for each in source.cache.opened]
    line = [_fixed(name, read_with(source, every, k)) for k, name in enumerate(names)]
    return sorted(line, key=lambda point: point.gmacs)


def coarse_line(source: FeatureSource) -> list[Trained]:
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
        line.append(Trained(f"{k}", gmacs, 100 * right.astype(float), k / steps))
    return line


def _fixed(label: str, trace: TaskTrace) -> Trained:
    gmacs, right = float(trace.gmacs[:, -1].mean()), 100 * trace.correct.astype(float)
    return Trained(label, gmacs, right, float(trace.attended.mean()))


def at_cost(line: Sequence[Trained], gmacs: float) -> Points:
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


def print_table(
    name: str, found: Sequence[Trained], lines: Mapping[str, Sequence[Trained]]
) -> None:
    """Print a system at its settings beside lines of what decides nothing, in Markdown."""
    print(f"\n**{name}**, all with the same f_C:\n")
    heads = [name, "MMACs", "reads, %", "accuracy, %"]
    heads += [f"less {what} of that cost" for what in lines]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for each in found:
        gains = [interval(each.right - at_cost(line, each.gmacs)) for line in lines.values()]
        cells = [f"{1e3 * each.gmacs:.2f}", f"{100 * each.read:.0f}", f"{each.right.mean():.1f}"]
        print(f"| {' | '.join([each.label, *cells, *gains])} |")
    for what, line in lines.items():
        points = [f"{p.label}: {p.right.mean():.1f} % at {1e3 * p.gmacs:.2f}" for p in line]
        print(f"\n{what}: {'; '.join(points)}")


def main(quickstart: Path, out: Path, sizes: Sizes, systems: Sequence[str]) -> None:
    """Train and print everything."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    stated = out / "sizes.json"
    here = json.dumps(sizes.__dict__)
    if stated.is_file() and stated.read_text() != here:
        raise SystemExit(f"{out} was begun with {stated.read_text()}: give another folder")
    stated.write_text(here)
    cache = make_cache(quickstart, out, sizes)
    features = FeatureCache.open(cache, "full64")
    counts = {split: len(features.split(split)) for split in ("train", "val", "test")}
    print(f"videos: {counts}; T = {features.steps}; encoders for {SIDES} px")
    for name in (name for name in systems if name not in FIXED):
        f_c = classifier_of(name, cache, out, sizes)
        system = find_system(name)
        groups = groups_of_system(system, cache, ())
        source = open_source(EnvConfig(cache, f_c, group=groups))
        found = trained(name, cache, f_c, out, sizes)
        lines = {"a uniform subset": uniform_line}
        if system.several_groups:
            lines = {"a single side in every segment": resolution_line}
        elif system.classifier.order == "coarse_to_fine":
            lines["a coarse-to-fine prefix"] = prefix_line
        elif system.classifier.skip_rate:
            lines["a uniform subset, the others coarse,"] = coarse_line
        print_table(name, found, {what: line(source) for what, line in lines.items()})
    print("\n| | MMACs | accuracy, % |\n|---|---|---|")
    for name in (name for name in systems if name in FIXED):
        f_c = classifier_of(name, cache, out, sizes)
        (found_,) = trained(name, cache, f_c, out, sizes)
        print(f"| {name} | {1e3 * found_.gmacs:.2f} | {found_.right.mean():.1f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("quickstart", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--videos", type=int)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--decisions", type=int)
    parser.add_argument("--systems", nargs="+", default=[*DECIDING, *FIXED])
    asked = parser.parse_args()
    main(
        asked.quickstart,
        asked.out,
        Sizes(asked.steps, asked.videos, asked.epochs, asked.decisions),
        asked.systems,
    )
