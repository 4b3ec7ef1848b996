"""The page of a comparison: what follows in words, the table, the plots, how it was computed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ...recognizer import compute_unit
from ..pages.page import write_page
from . import figures
from .cells import STATIC
from .statistics import DECIDING
from .summary import Cell
from .table import ALL_GROUPS, measured_too, number, span, used

SHAPES = {
    "circle": "●",
    "square": "■",
    "diamond": "◆",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "cross": "✚",
    "x": "✖",
    "star": "★",
    "hexagon": "⬢",
}
_PRECISION = ("precision_plane", "mean_average_precision", "mean average precision, %")
STROKES = {
    "solid": "none",
    "dash": "7 3",
    "dot": "2 3",
    "dashdot": "7 3 2 3",
    "longdash": "11 3",
    "longdashdot": "11 3 2 3",
}


def comparison_page(
    path: Path, summary: dict[str, Any], cells: Sequence[Cell], settings: dict[str, Any]
) -> None:
    """Write a comparison as one HTML file that needs no other file and no network.

    Args:
        path: The file.
        summary: Summary of the comparison, from `summarise`.
        cells: What was summarised; the learning curves come from there.
        settings: What the runs were made with. Of absolute paths the last two names are shown: a
            page is for others.
    """
    styles = figures.styles(summary)
    parts = _parts(summary)
    key = [
        {
            "design": design,
            "color": style.color,
            "shape": SHAPES[style.symbol],
            "stroke": STROKES[style.dash],
        }
        for design, style in styles.items()
    ]
    write_page(
        path,
        "compare.html",
        summary=summary,
        parts=[*parts, *_static(summary)],
        sections=[section for section in _sections(summary, parts, cells) if section["plots"]],
        key=key,
        settings={name: _shown(value) for name, value in settings.items()},
        deciding=DECIDING,
        unit=compute_unit(*(row["gmacs_per_video"] for row in summary["rows"])),
        number=number,
        span=span,
        more=measured_too(summary["rows"]),
        used=used if any(row["usage"] for row in summary["rows"]) else None,
        plotly=Markup(get_plotlyjs()),
    )


_STATIC = (
    " Static: with every f_C, a single option in a number of segments, the same in all videos. "
    "Dotted: what they reach, a mixture of two rows between these."
)


def _parts(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of each group under its title, those over all groups last."""
    parts = []
    for group in summary["groups"]:
        rows = [row for row in summary["rows"] if row["group"] == group]
        patch_px = rows[0]["patch_px"]
        title = group if patch_px is None else f"{group} (patches of {patch_px} px)"
        parts.append({"group": group, "title": title, "rows": rows})
    if len(parts) > 1 and summary["overall"]:
        title = f"mean of {len(parts)} groups"
        parts.append({"group": ALL_GROUPS, "title": title, "rows": summary["overall"]})
    return parts


def _static(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the static rows as a part of the table, which no plot but the plane has."""
    rows = sorted(summary["static"], key=lambda row: row["gmacs_per_video"])
    title = "static: the same in every video, the cheapest first"
    return [{"group": STATIC, "title": title, "rows": rows}] if rows else []


def _sections(
    summary: dict[str, Any], parts: Sequence[dict[str, Any]], cells: Sequence[Cell]
) -> list[dict[str, Any]]:
    """Return the plots by what they show."""
    reference = summary["reference"]
    single = [part for part in parts if part["group"] != ALL_GROUPS]
    curves = [
        (part, of_group)
        for part in single
        if (of_group := [c for c in cells if c.group == part["group"] and c.curve is not None])
    ]
    trained = sorted({cell.design for _, of_group in curves for cell in of_group})
    not_bounds = sorted({row["design"] for row in summary["rows"] if row["kind"] != "bound"})
    in_plane = [*not_bounds, STATIC] if summary["static"] else not_bounds
    return [
        _section(
            "Accuracy after all frames",
            "A large mark: mean over seeds, with its 95 % interval over seeds. Small dots: seeds. "
            "Policies that do not learn are in the table, and below where cost is shown.",
            [],
            ((part["title"], figures.accuracies(summary, part["rows"])) for part in parts),
        ),
        _section(
            f"Difference to {reference}",
            "Thick bar: 95 % interval over videos. Thin: Student's t interval over seeds. A design "
            "is higher or lower where both lie on one side of zero.",
            [],
            _drawn(figures.differences, summary, parts),
        ),
        _section(
            "Probability of improvement",
            f"Chance that a run of the design is more accurate than a run of {reference}, over all "
            "pairs of two such runs; ties count half. 50 %: neither is better. With its 95 % "
            "interval over seeds.",
            [],
            _drawn(figures.improvement, summary, parts),
        ),
        _section(
            "Accuracy after every frame, against what was spent",
            "A mark per frame. Band: 95 % interval over seeds. Bounds, which try every patch, cost "
            "many times more and are left out.",
            not_bounds,
            ((p["title"], figures.against_compute(summary, p["rows"])) for p in single),
        ),
        _section(
            "Accuracy and cost",
            "Designs go over patch sizes, AdaFocus+ over η, the share of frames to keep, at one "
            "patch size; systems over their prices or shares. Bars: 95 % interval over seeds. "
            "Grey: policies that do not learn. A large mark: no other row is as accurate for less, "
            "or more accurate for no more; the cheapest of a design is named."
            + (_STATIC if summary["static"] else ""),
            in_plane,
            [("all groups", figures.plane(summary))],
            summary["plane"],
        ),
        _section(
            "Mean average precision and cost",
            "The same with the mean average precision (mAP) of the last predictions, which counts "
            "all labels of a video.",
            in_plane,
            [("all groups", figures.plane(summary, *_PRECISION))]
            if summary["precision_plane"]
            else [],
            summary["precision_plane"],
        ),
        _section(
            "Learning: episodes that end right",
            "In training, with sampled actions. Mean over seeds; band: 95 % interval over seeds.",
            trained,
            (
                (
                    part["title"],
                    figures.learning_curves(summary, each, "correct", "episodes right, %", 100),
                )
                for part, each in curves
            ),
        ),
        _section(
            "Learning: return",
            "Sum of an episode's rewards, each design in its own reward: heights are not "
            "comparable between designs, only whether a curve still rises.",
            trained,
            (
                (
                    part["title"],
                    figures.learning_curves(summary, each, "mean_return", "mean return", 1),
                )
                for part, each in curves
            ),
        ),
    ]


def _drawn(
    draw: Any, summary: dict[str, Any], parts: Sequence[dict[str, Any]]
) -> Iterable[tuple[str, go.Figure]]:
    """Draw every part; one without a row to draw is left out."""
    plots = ((part["title"], draw(summary, part["rows"])) for part in parts)
    return (plot for plot in plots if plot[1].data)


def _section(
    title: str,
    text: str,
    designs: Sequence[str],
    plots: Iterable[tuple[str, go.Figure]],
    plane: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Return plots under a title; of a plane also how much of it each design covers."""
    drawn = [{"title": name, "figure": json.loads(plot.to_json())} for name, plot in plots]
    covered = [{"design": each["design"], **each["hypervolume"]} for each in plane]
    covered.sort(key=lambda each: -each["value"])
    return {"title": title, "text": text, "designs": designs, "plots": drawn, "covered": covered}


def _shown(value: Any) -> str:
    value = _without_root(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _without_root(value: Any) -> Any:
    """Return a setting in which absolute paths are shortened to their last two names."""
    if isinstance(value, dict):
        return {key: _without_root(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_root(each) for each in value]
    if isinstance(value, str) and (path := PurePath(value)).is_absolute():
        return "/".join(("…", *path.parts[1:][-2:]))
    return value
