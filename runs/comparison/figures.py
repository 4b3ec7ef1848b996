"""The plots of a comparison, made with plotly: one per quantity and option group.

Axes and text follow the reader's colour scheme in the page. The palette is Okabe and Ito's, darker
where it would be faint on white; markers and dashes differ as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ...recognizer import ComputeUnit, Purpose, compute_unit, generator
from .cells import STATIC
from .gains import envelope
from .statistics import DECIDING, bootstrap_seeds, interval, mean_over_groups
from .summary import Cell
from .table import number, span
from .words import LEARNED

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#c2649a", "#b08000", "#4aa3d8")
_GREY = "#808080"
_STATIC = "#8c6d31"
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_ROW_PX, _AXIS_PX, _LINES_PX, _PLANE_PX = 34, 92, 360, 460
_MARK_PX, _FRONT_PX = 7, 13  # of a row that another beats, and of one that none does
_POINTS = 60  # of a learning curve
_LONG = 20  # characters of a name that fit beside a plot on a telephone


@dataclass(frozen=True)
class Style:
    """How a design looks in every plot."""

    color: str
    symbol: str
    dash: str


def styles(summary: dict[str, Any]) -> dict[str, Style]:
    """Return the style of each design.

    Colours are for designs, grey is for fixed policies and bounds; static rows look like no other.
    """
    rows = sorted(summary["rows"], key=lambda row: summary["labels"].index(row["label"]))
    kinds = {row["design"]: row["kind"] for row in rows}
    learned = [design for design, kind in kinds.items() if kind in LEARNED]
    grey = [design for design in kinds if design not in learned]
    by_design = {}
    for names, colours in ((learned, _COLOURS), (grey, (_GREY,))):
        for i, name in enumerate(names):
            color = colours[i % len(colours)]
            # Where colours begin anew, dashes go on.
            dash = _DASHES[i // len(colours) % len(_DASHES)]
            by_design[name] = Style(color, _SYMBOLS[i % len(_SYMBOLS)], dash)
    if summary["static"]:
        by_design[STATIC] = Style(_STATIC, "hexagon", "dot")
    return by_design


def accuracies(summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> go.Figure:
    """Return the accuracy after all frames: a dot per design, its seeds, the interval over them."""
    rows = _learned(rows)
    figure = _dots(rows, "accuracy after all frames, %")
    for row in rows:
        style = styles(summary)[row["design"]]
        name, estimate = _wrapped(row["label"]), row["final_accuracy"]
        if "final_accuracy_by_seed" in row:  # not over all groups
            each = list(zip(row["seeds"], row["final_accuracy_by_seed"], strict=True))
            figure.add_scatter(
                x=[100 * score for _, score in each],
                y=[name] * len(each),
                hovertext=[f"{row['label']}, seed {s}: {number(score)} %" for s, score in each],
                hoverinfo="text",
                mode="markers",
                marker={"color": style.color, "size": 5, "opacity": 0.45},
            )
        text = f"<b>{row['label']}</b><br>{number(estimate['value'])} %"
        text += f"<br>95 % over {len(row['seeds'])} seeds: {span(estimate['interval'])}"
        _dot(figure, name, style, estimate["value"], estimate["interval"], text)
    return figure


def differences(summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> go.Figure:
    """Return differences to the reference, with the two intervals that decide the verdict.

    Thick: over videos. Thin: Student's over seeds.
    """
    rows = [row for row in _compared(rows) if row["difference"]]
    figure = _dots(rows, "points above the reference")
    figure.add_vline(x=0, line={"width": 1, "color": _GREY})
    estimates = [row["difference"]["final_accuracy"] for row in rows]
    ends = [0.0, *(each["value"] for each in estimates)]
    ends += [end for each in estimates for over in DECIDING for end in each[over] or []]
    pad = 0.06 * np.ptp(ends) or 0.01
    figure.update_xaxes(range=[100 * (min(ends) - pad), 100 * (max(ends) + pad)])
    for row, each in zip(rows, estimates, strict=True):
        style = styles(summary)[row["design"]]
        name = _wrapped(row["label"])
        text = f"<b>{row['label']}</b>: {row['verdict']}<br>"
        text += f"{number(each['value'], signed=True)} points"
        text += f"<br>95 % over videos: {span(each['over_videos'], signed=True)}"
        text += f"<br>95 % over seeds, by t: {span(each['over_seeds_t'], signed=True)}"
        if each["over_videos"]:
            low, high = (100 * bound for bound in each["over_videos"])
            figure.add_scatter(
                x=[low, high],
                y=[name, name],
                mode="lines",
                line={"color": style.color, "width": 7},
                opacity=0.4,
                hoverinfo="skip",
            )
        _dot(figure, name, style, each["value"], each["over_seeds_t"], text)
    return figure


def improvement(summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> go.Figure:
    """Return the probability that a run of a design is better than one of the reference."""
    rows = [
        row for row in _compared(rows) if (row["probability_of_improvement"] or {}).get("interval")
    ]
    figure = _dots(rows, "chance to beat it, %")
    figure.add_vline(x=50, line={"width": 1, "color": _GREY})
    figure.update_xaxes(range=[-4, 104])
    for row in rows:
        estimate = row["probability_of_improvement"]
        text = f"<b>{row['label']}</b><br>{number(estimate['value'])} %"
        text += f"<br>95 % over seeds: {span(estimate['interval'])}"
        style = styles(summary)[row["design"]]
        _dot(figure, _wrapped(row["label"]), style, estimate["value"], estimate["interval"], text)
    return figure


def against_compute(summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> go.Figure:
    """Return the accuracy after every frame against the multiply-adds spent until then.

    Source: AdaFocus (V1), Figure 6. Bounds are left out: they try all patches, at K times the cost.
    """
    rows = [row for row in rows if row["kind"] != "bound"]
    unit = _unit(rows)
    figure = _lines(f"{unit.name} per video, so far", "accuracy, %")
    for row in rows:
        style = styles(summary)[row["design"]]
        by_step = row["accuracy_by_step"]
        gmacs, accuracy = row["gmacs_by_step"], 100 * np.array(by_step["value"])
        spent = [unit.per_gmac * each for each in gmacs]
        bounds = by_step["interval"] or [None] * len(gmacs)
        if by_step["interval"]:
            low, high = 100 * np.array(by_step["interval"]).T
            _band(figure, row["design"], style, spent, low, high)
        texts = [
            f"<b>{row['label']}</b><br>{_after(row, t)}: {accuracy[t]:.1f} % ({span(bounds[t])})"
            f"<br>{unit.number(gmacs[t])} {unit.name}"
            for t in range(len(gmacs))
        ]
        _line(figure, row["design"], style, spent, accuracy, texts)
    return figure


def plane(
    summary: dict[str, Any],
    of: str = "plane",
    quality: str = "final_accuracy",
    title: str = "accuracy after all frames, %",
) -> go.Figure:
    """Return accuracy against cost: designs over patch sizes, AdaFocus+ over η, fixed ones grey.

    Static rows are marks, with the line that none of them lies above.

    Args:
        summary: Summary of the comparison, from `summarise`.
        of: What of it says which rows are on the front.
        quality: An estimate of a row; rows without it are left out.
        title: Of its axis, with the unit.
    """
    unit = _unit([row for row in summary["rows"] if row["kind"] != "bound"])
    figure = _lines(f"{unit.name} per video", title)
    figure.update_layout(height=_PLANE_PX)
    front = {tuple(key) for each in summary[of] for key in each["front"]}
    curves: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in summary["rows"]:
        if row["kind"] != "bound" and row[quality]:
            # AdaFocus+ goes over η in one group; the others over the groups.
            group = row["group"] if row["kind"] == "plus" else ""
            curves.setdefault((row["design"], group), []).append(row)
    if static := [row for row in summary["static"] if row[quality]]:
        curves[STATIC, ""] = static
    costs = [row["gmacs_per_video"] for rows in curves.values() for row in rows]
    dearest = unit.per_gmac * max(costs, default=0)
    for (design, _), rows in curves.items():
        rows = sorted(rows, key=lambda row: row["gmacs_per_video"])
        texts = []
        for row in rows:
            estimate, cost = row[quality], unit.number(row["gmacs_per_video"])
            texts.append(
                f"<b>{row['label']}</b>, {row['group']}<br>{number(estimate['value'])} % "
                f"({span(estimate['interval'])})<br>{cost} {unit.name}, "
                f"{100 * row['kept_share']:.0f} % of {'cubes' if row['glances'] else 'frames'} kept"
            )
        spent = [unit.per_gmac * row["gmacs_per_video"] for row in rows]
        accuracy = 100 * np.array([row[quality]["value"] for row in rows])
        _line(figure, design, styles(summary)[design], spent, accuracy, texts)
        on_front = [(row["label"], row["group"]) in front for row in rows]
        figure.data[-1].marker.size = [_FRONT_PX if each else _MARK_PX for each in on_front]
        if design != STATIC and all(row[quality]["interval"] for row in rows):
            bounds = 100 * np.array([row[quality]["interval"] for row in rows])
            figure.data[-1].error_y = _errors(accuracy, bounds) | {"width": 2, "thickness": 0.6}
        above, names = "top", [""] * len(rows)
        if rows[0]["kind"] == "plus":  # the cheap end is named: nothing is drawn where less is paid
            names[0] = f"{rows[0]['patch_px']} px, η={rows[0]['keep_ratio']:g}"
            above = "bottom" if rows[0]["group"] == summary["groups"][0] else above
        elif any(on_front):
            names[on_front.index(True)] = design
        inwards = [f"{above} {'left' if 2 * each > dearest else 'right'}" for each in spent]
        mode, font = "markers+text" if design == STATIC else "lines+markers+text", {"size": 11}
        figure.data[-1].update(mode=mode, text=names, textposition=inwards, textfont=font)
        if design == STATIC:
            corners = envelope(accuracy, np.array(spent)).tolist()
            x, y = [spent[i] for i in corners], accuracy[corners]
            _line(figure, design, styles(summary)[design], x, y, [])
            figure.data[-1].update(mode="lines", hoverinfo="skip")
    return figure


def learning_curves(
    summary: dict[str, Any], cells: Sequence[Cell], quantity: str, title: str, scale: float
) -> go.Figure:
    """Return a quantity of the training against the steps: mean over seeds, interval over them.

    Args:
        summary: Summary of the comparison, from `summarise`.
        cells: Of one group, with learning curves.
        quantity: Column of the curves.
        title: Of its axis, with the unit.
        scale: What the column is multiplied with.
    """
    figure = _lines("steps of training", title)
    for design, style in styles(summary).items():
        for label in dict.fromkeys(cell.label for cell in cells if cell.design == design):
            curves = [
                cell.curve.dropna(subset=["steps", quantity])
                for cell in cells
                if cell.label == label and cell.curve is not None
            ]
            if not all(map(len, curves)):
                continue  # a training in which no episode ended
            steps = min((curve["steps"].to_numpy(float) for curve in curves), key=len)
            values = np.stack(
                [np.interp(steps, curve["steps"], scale * curve[quantity]) for curve in curves],
                axis=1,
            )
            # Neighbouring rollouts are averaged: one alone is a few dozen episodes.
            parts = np.array_split(np.arange(len(steps)), min(_POINTS, len(steps)))
            steps = np.array([steps[part].mean() for part in parts])
            values = np.stack([values[part].mean(axis=0) for part in parts])  # (points, S)
            mean = values.mean(axis=1)
            texts = [
                f"<b>{label}</b><br>{step:.0f} steps: {value:.4g}"
                for step, value in zip(steps, mean, strict=True)
            ]
            if len(curves) > 1:
                rng = generator(Purpose.RESAMPLING, summary["resampling_seed"])
                drawn = bootstrap_seeds(mean_over_groups, [values], rng, summary["resamples"])
                _band(figure, design, style, steps, *interval(drawn))
            _line(figure, design, style, steps, mean, texts)
            figure.data[-1].mode = "lines"
    return figure


def _after(row: dict[str, Any], step: int) -> str:
    """Return after what a row's prediction of an index comes."""
    if not row["glances"]:
        return f"frame {step + 1}"
    return f"cube {step}" if step else "glance"


def _unit(rows: Sequence[dict[str, Any]]) -> ComputeUnit:
    """Return the unit of what rows cost; of every video, not of its first frames."""
    return compute_unit(*(row["gmacs_per_video"] for row in rows))


def _learned(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Return the rows that learned, or all if none did: others lie so far off that these shrink."""
    return [row for row in rows if row["kind"] in LEARNED] or rows


def _compared(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Return the rows to set beside the reference."""
    return _learned([row for row in rows if row["verdict"] != "reference"])


def _wrapped(label: str) -> str:
    """Break a long name in two lines, at the underscore or space nearest to its middle."""
    places = [i for i, letter in enumerate(label) if letter in "_ "]
    if len(label) <= _LONG or not places:
        return label
    middle = min(places, key=lambda i: abs(i - len(label) / 2))
    return f"{label[: middle + 1]}<br>{label[middle + 1 :]}"


def _layout(height_px: float) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height_px,
        showlegend=False,
        hovermode="closest",
        margin={"l": 8, "r": 12, "t": 32, "b": 48},
        font={"size": 12},
    )
    figure.update_xaxes(automargin=True, zeroline=False, title_standoff=8)
    figure.update_yaxes(automargin=True, zeroline=False, title_standoff=8)
    return figure


def _dots(rows: Sequence[dict[str, Any]], title: str) -> go.Figure:
    figure = _layout(_ROW_PX * len(rows) + _AXIS_PX)
    names = [_wrapped(row["label"]) for row in rows]
    figure.update_xaxes(title_text=title)
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=names,
        range=[len(names) - 0.4, -0.6],
        tickmode="array",
        tickvals=names,
        fixedrange=True,
    )
    return figure


def _dot(
    figure: go.Figure,
    name: str,
    style: Style,
    value: float,
    bounds: Sequence[float] | None,
    text: str,
) -> None:
    figure.add_scatter(
        x=[100 * value],
        y=[name],
        hovertext=[text],
        hoverinfo="text",
        mode="markers",
        marker={"color": style.color, "size": 10, "symbol": style.symbol},
    )
    if bounds:
        errors = _errors(np.array([100 * value]), 100 * np.array([bounds]))
        figure.data[-1].error_x = errors | {"width": 5, "thickness": 1.5}


def _errors(values: Any, bounds: Any) -> dict[str, Any]:
    above, below = bounds[:, 1] - values, values - bounds[:, 0]
    return {"type": "data", "array": above.tolist(), "arrayminus": below.tolist()}


def _lines(x: str, y: str) -> go.Figure:
    figure = _layout(_LINES_PX)
    figure.update_xaxes(title_text=x, rangemode="tozero")
    figure.update_yaxes(title_text=y)
    return figure


def _line(
    figure: go.Figure, design: str, style: Style, x: Any, y: Any, texts: Sequence[str]
) -> None:
    figure.add_scatter(
        x=list(x),
        y=list(y),
        hovertext=list(texts),
        hoverinfo="text",
        mode="lines+markers",
        line={"color": style.color, "dash": style.dash, "width": 2},
        marker={"color": style.color, "symbol": style.symbol, "size": _MARK_PX},
        legendgroup=design,
        name=design,
    )


def _band(figure: go.Figure, design: str, style: Style, x: Any, low: Any, high: Any) -> None:
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*low, *reversed(high)],
        fill="toself",
        fillcolor=style.color,
        opacity=0.15,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        legendgroup=design,
    )
