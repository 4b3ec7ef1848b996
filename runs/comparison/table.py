"""A comparison as a table: for the CSV, and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ...recognizer import compute_unit
from ..options.console import PlainConsole
from .cells import STATIC
from .statistics import deciding

# After all frames; mean over the frames; after the first decision where to look.
MEASURES = ("final_accuracy", "mean_accuracy", "first_accuracy")
ALL_GROUPS = "all"
# Over which static rows of equal cost a row gains, and how the column is called.
GAINS = {"same_classifier": "over static, same f_C", "any": "over static, any"}
STYLES = {"reference": "bold", "higher": "green", "lower": "red", "unpaired": "dim"}


def table(summary: dict[str, Any]) -> pd.DataFrame:
    """Return a row for each design and group, the static rows, and the designs over all groups.

    Accuracies and differences are shares, not percent; an interval is two columns.
    """
    records = []
    several = len(summary["groups"]) > 1
    overall = summary["overall"] if several else []
    for row in summary["rows"] + summary["static"] + overall:
        difference = row["difference"] or {}
        estimates = {name: row[name] for name in (*MEASURES, "interquartile_mean")}
        for name in ("probability_of_improvement", "mean_average_precision"):
            estimates[name] = row[name] or {}
        names = ("design", "group", "kind", "keep_ratio", "setting")
        record = {name: row[name] for name in names}
        record |= {"patch_px": row["patch_px"], "n_videos": row["n_videos"]}
        for name in ("seeds", "seeds_compared"):
            record[name] = " ".join(map(str, row[name]))
        for name, estimate in estimates.items():
            record[name] = estimate.get("value")
            record |= _bounds(name, estimate.get("interval"))
        record |= _bounds("final_accuracy_over_videos", row["final_over_videos"])
        for name in MEASURES:
            measure_difference = difference.get(name, {})
            record[f"{name}_difference"] = measure_difference.get("value")
            for over in ("over_videos", "over_seeds", "over_seeds_t"):
                record |= _bounds(f"{name}_difference_{over}", measure_difference.get(over))
        record |= {name: row[name] for name in ("verdict", "gmacs_per_video", "milliseconds")}
        for name, gain in row["gains"].items():
            record[f"gain_over_static_{name}"] = (gain or {}).get("value")
            record |= _bounds(f"gain_over_static_{name}", (gain or {}).get("interval"))
        record["kept_share"] = row["kept_share"]
        record["usage"] = used(row)
        record["unpaired"] = row["unpaired"]
        steps = row.get("accuracy_by_step", {"value": []})["value"]
        # After n frames or cubes: 0 is the glance at the whole video.
        first = 1 - row.get("glances", 0)
        record |= {f"step_{n}": value for n, value in enumerate(steps, first)}
        records.append(record)
    return pd.DataFrame(records)


def _bounds(name: str, bounds: Sequence[float] | None) -> dict[str, float | None]:
    low, high = bounds or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def print_comparison(summary: dict[str, Any], console: PlainConsole) -> None:
    """Print accuracies and costs, differences to the reference, and what follows, in percent."""
    parts = [
        (name, [r for r in summary["rows"] if r["group"] == name]) for name in summary["groups"]
    ]
    if len(parts) > 1 and summary["overall"]:
        parts.append((ALL_GROUPS, summary["overall"]))
    for group, rows in parts:
        where = "all patch sizes" if group == ALL_GROUPS else group
        measured = summary["rows"] if group == ALL_GROUPS else rows
        n_videos = sorted({row["n_videos"] for row in measured})
        counts = " or ".join(map(str, n_videos))
        _print(_accuracies(rows, f"{where}: accuracy (%) on {counts} test videos"), console)
        title = f"{where}: difference to {summary['reference']} (points), chance to win (%)"
        _print(_differences(rows, title), console)
    if any(row["setting"] or row["kind"] == "plus" for row in summary["rows"]):
        _print(_plane(summary, "plane", "accuracy"), console)
        if summary["precision_plane"]:
            _print(_plane(summary, "precision_plane", "mAP"), console)
    for line in (*summary["conclusions"], *summary["notes"]):
        console.print(f"- {line}")


def _accuracies(rows: Sequence[dict[str, Any]], title: str) -> Table:
    shown = _table(f"{title}, after all frames and their mean")
    unit = compute_unit(*(row["gmacs_per_video"] for row in rows))
    for name in ("seeds", "final", "95 %", "mean", "95 %", "kept", unit.name):
        shown.add_column(name, justify="right", no_wrap=True)
    more = measured_too(rows)
    for name in more:
        shown.add_column(name, justify="right", no_wrap=True)
    reads = any(row["usage"] for row in rows)
    if reads:
        shown.add_column("95 % over videos", justify="right", no_wrap=True)
        shown.add_column("reads (%)", no_wrap=True)
    for row in rows:
        estimates = [row[name] for name in MEASURES]
        numbers = [[number(e["value"]), span(e["interval"])] for e in estimates]
        costs = [f"{100 * row['kept_share']:.0f}", unit.number(row["gmacs_per_video"])]
        cells = [str(len(row["seeds"])), *numbers[0], *numbers[1], *costs]
        cells += [show(row) for show in more.values()]
        cells += [span(row["final_over_videos"]), used(row)] if reads else []
        shown.add_row(row["label"], *cells, style=STYLES.get(row["verdict"]))
    return shown


def _plane(summary: dict[str, Any], plane: str, quality: str) -> Table:
    """Return how much of a plane of quality and cost each design covers."""
    shown = _table(f"mean {quality} (%) if a video might cost any amount up to the dearest row")
    for name in ("mean", "95 %"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("rows that no other beats", no_wrap=False)
    for each in summary[plane]:
        volume = each["hypervolume"]
        several = len(summary["groups"]) > 1
        best = ", ".join(
            f"{label} ({group})" if several else label for label, group in each["front"]
        )
        if each["design"] == STATIC and each["front"]:  # their names are long
            best = f"{len(each['front'])} of {len(summary[STATIC])} rows: see results.csv"
        shown.add_row(each["design"], number(volume["value"]), span(volume["over_videos"]), best)
    return shown


def measured_too(rows: Sequence[dict[str, Any]]) -> dict[str, Callable[[dict[str, Any]], str]]:
    """Return columns for what is measured of some rows only, and what shows it of a row."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {}
    if any(row["milliseconds"] is not None for row in rows):
        columns["ms"] = milliseconds
    if any(row["mean_average_precision"] for row in rows):
        columns["mAP"] = lambda row: number((row["mean_average_precision"] or {}).get("value"))
    for over, name in GAINS.items():
        if any(row["gains"][over] for row in rows):
            columns[name] = partial(_gain, over)
    return columns


def _gain(over: str, row: dict[str, Any]) -> str:
    """Return a gain over static rows with its interval, in points; a dash where there is none."""
    if (gain := row["gains"][over]) is None:
        return "–"
    bounds = gain["interval"]
    return number(gain["value"], signed=True) + (
        f" ({span(bounds, signed=True)})" if bounds else ""
    )


def milliseconds(row: dict[str, Any]) -> str:
    """Return what a video took; a dash where it was not measured."""
    return "–" if row["milliseconds"] is None else f"{row['milliseconds']:.3g}"


def used(row: dict[str, Any]) -> str:
    """Return the share of the segments that each option group of a system has read, in percent."""
    return ", ".join(f"{name} {number(of, digits=0)}" for name, of in (row["usage"] or {}).items())


def _differences(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """Return the differences, each with the interval that decides its verdict."""
    shown = _table(title)
    for name in ("final", "95 %", "wins", "95 %"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("so", no_wrap=True)
    for row in rows:
        difference = (row["difference"] or {}).get("final_accuracy", {})
        chance = row["probability_of_improvement"] or {}
        cells = [number(difference.get("value"), signed=True)]
        cells.append(span(deciding(difference) if difference else None, signed=True))
        cells += [number(chance.get("value"), digits=0), span(chance.get("interval"), digits=0)]
        if row["verdict"] == "reference":
            cells = [""] * 4
        shown.add_row(row["label"], *cells, row["verdict"], style=STYLES.get(row["verdict"]))
    return shown


def _table(title: str) -> Table:
    shown = Table(
        title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1)
    )
    shown.title_justify = "left"
    shown.add_column("design", no_wrap=True)
    return shown


def _print(shown: Table, console: PlainConsole) -> None:
    console.print_whole(shown)
    console.print()


def number(value: float | None, *, signed: bool = False, digits: int = 1) -> str:
    """Return a share in percent, or a difference of shares in points; a dash for None.

    A difference has as many more digits as show on which side of zero it lies, at most two.
    """
    if value is None:
        return "–"
    wanted = (n for n in range(digits, digits + 3) if round(100 * value, n))
    digits = next(wanted, digits) if signed else digits
    rounded = round(100 * value, digits) + 0.0  # no "-0.0"
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}"


def span(bounds: Sequence[float] | None, *, signed: bool = False, digits: int = 1) -> str:
    """Return an interval of shares in percent, or of differences in points; a dash for None."""
    if bounds is None:
        return "–"
    return ", ".join(number(bound, signed=signed, digits=digits) for bound in bounds)
