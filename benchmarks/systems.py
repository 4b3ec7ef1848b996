"""All systems on the digits in one table, beside what costs as much without deciding anything.

``python benchmarks/systems.py outputs/quickstart outputs/all_systems`` makes one cache of the
quickstart's videos that serves all systems but two: patches for its f_L; whole frames at 64, 32 and
16 px, each with an encoder of its own; the first of these with 4 and 2 bits, and with mask profiles
that take channels from the frame before. A second cache, of clips of one segment and an encoder
that shifts along their frames, serves TSM and TSM+. Then ``focusgym compare --systems all`` trains
an f_C for each kind and every system at all of its settings, all of these with as many decisions;
AdaFocus beside has the epochs of its preset; with ``--pixels`` so have AdaFocusV2, AdaFocusV3 and
AFNet, which are trained from pixels, once, with seed 0, on the same videos. Behind its table comes
the same in Markdown, a line for each system, and the static rows that no other static row, nor a
mixture of two, lies above, for each option and of all. Called again it goes on after what is
complete. ``--videos``, ``--epochs`` and ``--decisions`` make it smaller; what stands behind ``--``
goes to ``focusgym compare``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from focusgym.runs.comparison.gains import envelope
from focusgym.runs.comparison.table import GAINS, number, span

FOCUSGYM = "import sys; from focusgym.runs.cli import main; main(sys.argv[1:])"
NETWORK = "small_residual"  # of whole frames: it can be masked, quantised and shifted
FRAME_PX, STEPS = 64, 6  # of the quickstart
SIDES = (64, 32, 16)  # px
BITS = (4, 2)
PROFILES = ("reuse0", "reuse50", "reuse50_skip25")
PATCH = "28:7"  # side and candidates per axis


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
        pairs = [("--group", group) for group in of_cache]
        pairs += [] if clips else [("--weights", f"{network}={weights}") for network in masked]
        focusgym(
            *("cache", "build", args.out / name, "--videos", videos, *frames(clips)),
            *("--glance", theirs / "glance", *(word for pair in pairs for word in pair)),
        )


def fit_from_pixels(args: argparse.Namespace, videos: Path) -> list[Path]:
    """Train AdaFocusV2, AdaFocusV3 and AFNet from pixels, once each; return their runs."""
    encoders = args.quickstart / "encoders"
    begun = ["--glance-encoder", encoders / "glance", "--local-encoder", encoders / "local"]
    base = args.out / "pixels" / "afnet_base"  # whose gates keep all
    tuned = ["--weights", base, "--epochs", 8, "--lr-afnet", 0.008, "--lr-gates", 0.04]
    wanted: dict[str, tuple[str, str, list[object]]] = {
        "v2": ("end-to-end", "digits_v2", []),
        "v3": ("cubes", "digits_v3", ["--steps", STEPS, "--cubes", STEPS // 2, *begun]),
        "afnet_base": ("afnet", "afnet_digits", ["--steps", STEPS, "--ratio", 1]),
        "afnet": ("afnet", "afnet_digits", ["--steps", STEPS, *tuned]),
    }
    for name, (verb, preset, options) in wanted.items():
        out: Path = args.out / "pixels" / name
        if not (out / "bundle.json").is_file():
            out.parent.mkdir(exist_ok=True)
            how = ["--videos", videos, "--preset", preset, "--seed", 0]
            focusgym("fit", verb, out, *how, *options)
    return [args.out / "pixels" / name for name in wanted if name != "afnet_base"]


def print_systems(summary: dict[str, Any]) -> None:
    """Print a line for each system, its settings in the order of the first column, in Markdown."""
    planes = {each["design"]: each["hypervolume"]["value"] for each in summary["plane"]}
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in summary["rows"]:
        rows.setdefault(row["design"], []).append(row)
    print(f"\n| | MMACs | ms | accuracy, % | {' | '.join(GAINS.values())} | on the plane |")
    print(f"|{'---|' * (5 + len(GAINS))}")
    for design, settings in rows.items():
        ratios = [row["keep_ratio"] and f"η {row['keep_ratio']:g}" for row in settings]
        names = [ratio or row["setting"] for ratio, row in zip(ratios, settings, strict=True)]
        knob = names[0].partition(" ")[0]
        shown = ", ".join(name.removeprefix(f"{knob} ") for name in names)
        cells = [f"`{design}`" + (f", {knob} {shown}" if len(settings) > 1 else "")]
        cells.append(", ".join(f"{1e3 * row['gmacs_per_video']:.1f}" for row in settings))
        cells.append(", ".join(timed(row) for row in settings))
        cells.append("; ".join(accuracy_of(row) for row in settings))
        adaptive = [row for row in settings if row["gains"]["any"]]
        cells += ["; ".join(gain_of(row, over) for row in adaptive) for over in GAINS]
        cells.append(number(planes.get(design)))
        print(f"| {' | '.join(cells)} |")


def timed(row: dict[str, Any]) -> str:
    """Return the milliseconds of a video; a dash where they were not measured."""
    return "–" if row["milliseconds"] is None else f"{row['milliseconds']:.1f}"


def gain_of(row: dict[str, Any], over: str) -> str:
    """Return a gain with its interval, in points; a dash where there is none."""
    if (gain := row["gains"][over]) is None:
        return "–"
    value, *ends = (f"{100 * each:+.1f}" for each in (gain["value"], *gain["interval"]))
    return f"{value} [{', '.join(ends)}]"


def accuracy_of(row: dict[str, Any]) -> str:
    """Return an accuracy in percent, its interval over videos, and the extremes of seeds."""
    accuracy = f"{number(row['final_accuracy']['value'])} [{span(row['final_over_videos'])}]"
    scores = row["final_accuracy_by_seed"]
    if len(scores) == 1:
        return accuracy
    return f"{accuracy} ({number(min(scores))}–{number(max(scores))})"


def print_static(static: list[dict[str, Any]]) -> None:
    """Print the corners of the line that no static row lies above, of each option and of all."""
    options: dict[str, list[dict[str, Any]]] = {}
    for row in static:
        options.setdefault(row["setting"].partition(" in ")[0], []).append(row)
    print("\n| static | corners of the line: accuracy, % at MMACs |\n|---|---|")
    for name, rows in (options | {"all": static}).items():
        accuracy = np.array([row["final_accuracy"]["value"] for row in rows])
        gmacs = np.array([row["gmacs_per_video"] for row in rows])
        corners = [
            f"{number(accuracy[i])} at {1e3 * gmacs[i]:.1f}" for i in envelope(accuracy, gmacs)
        ]
        print(f"| {name.rstrip(',')} | {', '.join(corners)} |")


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
    parser.add_argument("--pixels", action="store_true", help="AdaFocusV2, V3 and AFNet beside")
    parser.add_argument("--time", type=int, default=20, help="videos whose time is measured")
    argv = sys.argv[1:]
    end = argv.index("--") if "--" in argv else len(argv)
    args = parser.parse_args(argv[:end])
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    videos = videos_of(args)
    make_encoders(args, videos)
    make_caches(args, videos)
    beside = ["--end-to-end", *fit_from_pixels(args, videos)] if args.pixels else []
    compared = args.out / "compare"
    focusgym(
        *("compare", compared, "--preset", "digits", "--cache", args.out / "cache"),
        *("--clips-cache", args.out / "clips", "--reward", "increment_over_random", "--oracle"),
        *("--patch", PATCH.partition(":")[0], "--systems", *args.systems),
        *("--decisions", args.decisions, "--seeds", args.seeds, "--time", args.time),
        *(*beside, *argv[end + 1 :]),
    )
    summary = json.loads((compared / "results.json").read_text())
    print_systems(summary)
    print_static(summary["static"])


if __name__ == "__main__":
    main()
