"""A comparison as a table: every figure is in the CSV, and none is cut off in the terminal."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from comparisons import TWO, find_row, make_cell, make_comparison, two_designs

from focusgym.runs.comparison.summary import print_comparison, summarise, table
from focusgym.runs.options.console import PlainConsole


def test_the_csv_has_every_figure_of_every_row() -> None:
    cells, summary = two_designs()
    frame = table(summary)
    assert frame[["design", "group"]].to_numpy().tolist() == [
        [design, group] for group in (*TWO, "all") for design in "ab"
    ]
    row, record = find_row(summary, "b", TWO[1]), frame.iloc[3]
    difference = row["difference"]["mean_accuracy"]
    assert record["mean_accuracy_difference"] == difference["value"]
    assert record["mean_accuracy_difference_over_seeds_low"] == difference["over_seeds"][0]
    assert record["mean_accuracy_difference_over_seeds_t_low"] == difference["over_seeds_t"][0]
    assert record["seeds_compared"] == "0 1"
    assert record["final_accuracy_high"] == row["final_accuracy"]["interval"][1]
    assert record["step_2"] == row["accuracy_by_step"]["value"][1]
    assert record["seeds"] == "0 1"
    assert record["patch_px"] == 36
    assert list(table(summarise(cells[:3], "a"))["group"]) == [TWO[0]]
    again = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    np.testing.assert_array_equal(again["interquartile_mean"], frame["interquartile_mean"])


def printed(summary: dict[str, Any], width: int) -> list[str]:
    console = PlainConsole(file=io.StringIO(), width=width)
    print_comparison(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_tables_fit_eighty_columns_and_say_what_was_measured() -> None:
    longest = "increment_over_random"
    cells = [replace(c, design=longest if c.design == "b" else "a") for c in two_designs()[0]]
    assert max(map(len, printed(summarise(cells, longest), 80))) <= 80
    summary = two_designs()[1]
    lines = printed(summary, 80)
    assert max(map(len, lines)) <= 80
    row = find_row(summary, "b", TWO[0])
    low, high = (f"{100 * bound:.1f}" for bound in row["final_accuracy"]["interval"])
    accuracy, costs = f"{100 * row['final_accuracy']['value']:.1f}", f"{row['gmacs_per_video']:.4g}"
    first, second = [line.split() for line in lines if line.startswith("b ")][:2]
    assert first[:5] == ["b", "3", accuracy, f"{low},", high]
    assert first[-1] == costs
    difference = row["difference"]["final_accuracy"]
    assert second[1] == f"{100 * difference['value']:+.1f}"
    ends = np.transpose([difference["over_videos"], difference["over_seeds_t"]])
    assert second[2:4] == [f"{100 * ends[0].min():+.1f},", f"{100 * ends[1].max():+.1f}"]
    assert " ".join(second).endswith(row["verdict"])
    text = " ".join(" ".join(lines).split())
    assert "p28_7x7: accuracy (%) on 25 test videos" in text
    assert "all patch sizes: difference to a (points), chance to win (%)" in text
    for sentence in (*summary["conclusions"], *summary["notes"]):
        assert f"- {sentence}" in text


def test_the_tables_say_on_how_many_videos_each_group_was_tested() -> None:
    cells = [make_cell("a", group=group, n=n) for group, n in zip(TWO, (50, 20), strict=True)]
    printed_lines = printed(summarise(cells, "a", resamples=50), 120)
    lines = " ".join(" ".join(printed_lines).split())
    for where in ("p28_7x7: accuracy (%) on 50", "p36_7x7: accuracy (%) on 20"):
        assert f"{where} test videos" in lines
    assert "all patch sizes: accuracy (%) on 20 or 50 test videos" in lines


def test_a_narrow_console_cuts_no_figure_off() -> None:
    summary = summarise(make_comparison(), "increment_over_random", resamples=100)
    names = tuple(row["label"] for row in summary["overall"])
    tables = []
    for width in (40, 200):
        lines = itertools.takewhile(
            lambda line: line[:17] != "mean accuracy (%)", printed(summary, width)
        )
        tables.append([line.split() for line in lines if line.startswith(names)])
    assert tables[0] == tables[1]
    assert len(tables[0]) == 2 * 3 * len(names)
