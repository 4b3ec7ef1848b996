"""What a run shows at its end: a table, a plot, pictures, and where they are."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from ...feature_cache import FeatureCache, read_frames
from ...recognizer import compute_unit
from ...recognizer.files.atomic import whole_file, write_whole
from ..configs.quickstart import QuickstartConfig
from ..options.console import plainly
from .measures import accuracy_interval
from .plug_back import true_boxes

# Colour says what kind of policy a line is: grey fixed, green learned, orange learned with frames
# skipped, blue a bound.
STYLES: dict[str, dict[str, Any]] = {
    "random": {"color": "0.55", "linestyle": ":"},
    "central": {"color": "0.55", "linestyle": "-"},
    "gaussian": {"color": "0.55", "linestyle": "--"},
    "adafocus": {"color": "tab:green", "linestyle": "-", "linewidth": 2.5},
    "adafocus_finetuned": {"color": "tab:green", "linestyle": "--"},
    "random_finetuned": {"color": "tab:green", "linestyle": ":"},
    "adafocus_plus": {"color": "tab:orange", "linestyle": "-", "linewidth": 2.5},
    "uniform_frames": {"color": "tab:orange", "linestyle": "--"},
    "true_box": {"color": "tab:blue", "linestyle": "-"},
    "oracle": {"color": "tab:blue", "linestyle": "--"},
}
MEANINGS = {
    "random": "a random patch in every frame",
    "central": "the central patch",
    "gaussian": "a patch near the centre, σ = S/4",
    "adafocus": "the learned policy",
    "adafocus_finetuned": "the learned policy, f_C tuned on its patches (stage III)",
    "random_finetuned": "the learned policy, f_C tuned as long on random patches",
    "adafocus_plus": "a learned policy that also skips frames (AdaFocus+)",
    "uniform_frames": "adafocus, looking only at frames spread uniformly",
    "true_box": "told where the true box is, also where it is hidden",
    "oracle": "told the label, tries all patches of every frame",
}
PICTURED = 6
_LABEL_SHARE = 0.042  # of the height of the plot: a line of text

FILES = ("results.json", "results.csv", "accuracy.png", "patches.png")


def clear_report(out: Path) -> None:
    """Delete an earlier report of this run: a report in the folder is that of a complete run."""
    for name in FILES:
        (out / name).unlink(missing_ok=True)


def write_report(
    results: dict[str, Any],
    cache: FeatureCache,
    options: NDArray[np.int64],
    boxes: pd.DataFrame | None,
    config: QuickstartConfig,
    console: Console,
) -> None:
    """Write the report's files into the run's folder and print the table.

    Args:
        results: Content of ``results.json``.
        cache: The feature cache.
        options: ``(B, T)`` the patches that ``adafocus`` looks at in the test videos.
        boxes: True boxes, where there are any.
        config: What was run, and where.
        console: Where the table is printed.
    """
    out = config.out
    table = results_table(results)
    write_whole(out / "results.csv", table.to_csv(index=False))
    pictures = {
        "accuracy.png": accuracy_plot(results),
        "patches.png": patch_strip(cache, options, boxes),
    }
    for name, figure in pictures.items():
        with whole_file(out / name) as beside:
            figure.savefig(beside, dpi=150, format="png")
    write_whole(out / "results.json", json.dumps(results, indent=2))

    print_table(results, table, console)
    print_places(config, console)


def print_table(results: dict[str, Any], table: pd.DataFrame, console: Console) -> None:
    """Print the accuracies in percent, what the policies are, and the parity figures.

    The column ``kept`` is the share of the frames that f_L looked at, in percent.
    """
    steps = results["steps"]
    title = f"accuracy (%) on {results['n_videos']} test videos, after t frames; frames kept (%)"
    shown = Table(
        title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1)
    )
    shown.title_justify = "left"
    shown.add_column("policy", no_wrap=True)
    for t in range(steps):
        shown.add_column(f"t={t + 1}", justify="right")
    shown.add_column("mean", justify="right")
    shown.add_column("kept", justify="right")
    unit = compute_unit(*table["gmacs_per_video"])
    shown.add_column(unit.name, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        numbers = [row[f"step_{t + 1}"] for t in range(steps)] + [row["mean"]]
        style = "bold green" if row["policy"] == "adafocus" else None
        cells = [f"{100 * number:.1f}" for number in numbers] + [f"{100 * row['kept_share']:.0f}"]
        shown.add_row(str(row["policy"]), *cells, unit.number(row["gmacs_per_video"]), style=style)
    # Digits are never cut off: where the console is too narrow, its lines are longer than it is.
    unbounded = Console(width=1000)
    needed = Measurement.get(unbounded, unbounded.options, shown).maximum
    console.width = max(console.width, needed)
    console.print(shown)
    for name in table["policy"]:
        console.print(f"[dim]{name:19} {MEANINGS[name]}[/]", highlight=False)
    half = 100 * widest_half_interval(table, results["n_videos"])
    console.print(
        f"\nwith {results['n_videos']} videos each accuracy above is known to ±{half:.1f} points "
        "or better (95 %)",
        highlight=False,
    )
    parity = results["parity"]
    console.print(
        f"pixels against cache: {100 * parity['prediction_agreement']:.2f} % of predictions "
        f"agree, confidences within {parity['max_abs_confidence_difference']:.1e}",
        highlight=False,
    )


def widest_half_interval(table: pd.DataFrame, n_videos: int) -> float:
    """Return half the width of the widest 95 % interval over videos among all accuracies.

    A mean over steps is taken for a share of videos that are right: what it is over one video lies
    between 0 and 1, so its variance is that of such a share at most.

    Args:
        table: As `results_table` gives it.
        n_videos: Test videos.

    Returns:
        A share, of 1.
    """
    columns = [name for name in table if str(name).startswith("step_") or name == "mean"]
    accuracies = np.unique(table[columns])
    return max(float(np.ptp(accuracy_interval(each, n_videos))) for each in accuracies) / 2


def print_places(config: QuickstartConfig, console: Console) -> None:
    """Print where everything is and what to try next with it."""
    out, own = config.out, config.videos is not None
    console.print(f"\n{out}/", style="bold", markup=False, highlight=False, soft_wrap=True)
    for name, what in (
        ("results.json, results.csv", "the table"),
        ("accuracy.png", "accuracy after t frames, a line per policy"),
        ("patches.png", f"where the policy looks (green){'' if own else ', the true box (grey)'}"),
        ("policy/, policy_plus/", "the policy bundles; policy_plus also skips frames"),
        ("recognizers/", "what `focusgym recognize` takes"),
        ("cache/, classifier/", "what gymnasium.make takes: see the README"),
    ):
        console.print(f"  {name:26} {what}", highlight=False)
    console.print("\nnext:")
    command = "focusgym" if shutil.which("focusgym") else ".venv/bin/focusgym"
    for what, arguments in next_commands(config):
        line = f"  [dim]{what}:[/] {command} {escape(shlex.join(arguments))}"
        console.print(line, highlight=False, soft_wrap=True)


def next_commands(config: QuickstartConfig) -> list[tuple[str, list[str]]]:
    """Return what to try after a run, and the arguments of ``focusgym`` for it."""
    out = config.out
    here = out != QuickstartConfig().out
    cache = ["--cache", f"{out}/cache"] if here else []
    trained = [*cache, "--classifier", f"{out}/classifier"] if here else []
    # The preset has the sizes that the run's own policies were trained with.
    preset = ["--preset", "digits" if config.videos is None else config.preset]
    both = ["--policy", f"{out}/policy_plus", "--second", f"{out}/policy"]
    if config.videos is None:
        clips = ["--videos", "DIR", "--weights", "FILE", "--out", "outputs/clips"]
        last = ("your own clips", ["quickstart", *clips])
    else:
        bundle = ["--bundle", f"{out}/recognizers/adafocus_plus"]
        last = ("recognize another video", ["recognize", "VIDEO", *bundle])
    return [
        ("look at what the policies do", ["replay", "outputs/replay", *both]),
        ("train one yourself", ["train", "outputs/pi", *preset, *trained]),
        ("compare reward designs", ["compare", "outputs/table5", *preset, *cache]),
        last,
    ]


def results_table(results: dict[str, Any]) -> pd.DataFrame:
    """Return a row per policy: accuracy after each step and their mean, kept share, GMACs."""
    return pd.DataFrame(
        {
            "policy": row["name"],
            **{f"step_{t + 1}": value for t, value in enumerate(row["accuracy_by_step"])},
            "mean": float(np.mean(row["accuracy_by_step"])),
            "kept_share": row["kept_share"],
            "gmacs_per_video": row["gmacs_per_video"],
        }
        for row in results["policies"]
    )


@plainly
def accuracy_plot(results: dict[str, Any]) -> Figure:
    """Return the plot of accuracy after t frames: a line per policy with its name at the end.

    Bands are 95 % intervals over videos (Wilson's), of the last frame drawn as bars too.
    """
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots()
    steps = results["steps"]
    frames = np.arange(1, steps + 1)
    ends, colours = [], []
    for row in results["policies"]:
        style = STYLES[row["name"]]
        bounds = [accuracy_interval(a, results["n_videos"]) for a in row["accuracy_by_step"]]
        low, high = 100 * np.transpose(bounds)
        accuracies = 100 * np.asarray(row["accuracy_by_step"])
        axes.fill_between(frames, low, high, color=style["color"], alpha=0.1, linewidth=0)
        axes.plot(frames, accuracies, marker=".", **style)
        ends.append(accuracies[-1])
        colours.append(style["color"])
        axes.vlines(steps, low[-1], high[-1], color=style["color"], linewidth=1)
    axes.set_xticks(frames)
    axes.set_xlabel("frames seen")
    axes.set_ylabel(f"accuracy on {results['n_videos']} test videos, %; bands: 95 %")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    low, high = axes.get_ylim()
    places = spread(ends, _LABEL_SHARE * (high - low))
    axes.set_ylim(min(low, *places), max(high, *places))
    room = 0.04 * max(1, steps - 1)
    for row, end, place, colour in zip(results["policies"], ends, places, colours, strict=True):
        corners = [steps, steps + room, steps + 2 * room], [end, place, place]
        axes.plot(*corners, color=colour, linewidth=0.7, clip_on=False)
        name = row["name"]
        axes.text(steps + 2.3 * room, place, name, color=colour, va="center", size=9)
    axes.set_xlim(1 - room, steps + room)
    return figure


def spread(values: Sequence[float], least: float) -> list[float]:
    """Return places for labels: near their values, in their order, none too near to another.

    Args:
        values: Where the labels belong.
        least: Distance between two of them.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(values, kind="stable")
    # Less their rank times the distance, places need only not to fall: isotonic regression.
    shifted = np.asarray(values, dtype=np.float64)[order] - least * np.arange(len(values))
    places = np.empty(len(values))
    places[order] = isotonic_regression(shifted).x + least * np.arange(len(values))
    return [float(place) for place in places]


@plainly
def patch_strip(
    cache: FeatureCache, options: NDArray[np.int64], boxes: pd.DataFrame | None
) -> Figure:
    """Return the picture strip: a row per video, its frames, the chosen patch, the true box.

    The videos are the first test video of each class in turn, not a selection of good ones.

    Args:
        cache: The feature cache.
        options: ``(B, T)`` the patches that ``adafocus`` looks at in the test videos.
        boxes: True boxes, where there are any.
    """
    test = cache.split("test")
    firsts = cache.videos.iloc[test].reset_index().groupby("label")["index"].first()
    rows = firsts.to_numpy()[:PICTURED]
    truth = None if boxes is None else true_boxes(cache, boxes)
    figure = Figure(figsize=(1.5 * cache.steps, 1.6 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), cache.steps, squeeze=False)
    for axes_row, video in zip(grid, rows, strict=True):
        (clip,) = cache.clips(np.array([video]))
        frames, view = read_frames(clip, cache.frames)
        pixels, indices = cache.frames.middle(frames), cache.frames.middle(view.frame_indices)
        chosen = options[np.searchsorted(test, video)]
        for t, axes in enumerate(axes_row):
            axes.imshow(pixels[t].permute(1, 2, 0).numpy())
            axes.set(xticks=[], yticks=[])
            _draw(axes, cache.boxes_px[chosen[t]], edgecolor="lime", linewidth=2)
            if truth is not None:
                box = truth.iloc[video * cache.steps + t]
                style = "-" if box["visible"] else ":"
                corners = box[["left", "top", "right", "bottom"]].to_numpy(float)
                _draw(axes, corners, edgecolor="0.75", linewidth=1.2, linestyle=style)
            if t == 0:
                axes.set_ylabel(shorten(cache.classes[cache.labels[video]], 24), fontsize=9)
            axes.set_title(f"frame {indices[t]}", fontsize=7, pad=2)
    legend = "green: chosen patch"
    if boxes is not None:
        legend += "   grey: true box (dotted: hidden in this frame)"
    figure.suptitle(legend, fontsize=9)
    return figure


def shorten(name: str, most: int) -> str:
    """Return a name of at most so many characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _draw(axes: Any, box_px: NDArray[Any], **style: Any) -> None:
    left, top, right, bottom = box_px
    # Pixel centres are at integers: a box's edge lies half a pixel before its first pixel.
    corner = (left - 0.5, top - 0.5)
    axes.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, **style))
