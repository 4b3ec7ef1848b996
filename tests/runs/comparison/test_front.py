"""Rows on the plane of accuracy and cost, against definitions written as loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from comparisons import make_cell, make_comparison

from focusgym.runs.comparison.figures import plane
from focusgym.runs.comparison.front import hypervolume, on_front
from focusgym.runs.comparison.summary import summarise, table


def test_the_front_is_what_no_other_point_beats() -> None:
    rng = np.random.default_rng(0)
    accuracy, gmacs = rng.integers(0, 6, (2, 40)) / 5  # with equals
    is_on_front = on_front(accuracy, gmacs)
    for i in range(40):
        beaten = any(
            (accuracy[j] >= accuracy[i] and gmacs[j] < gmacs[i])
            or (accuracy[j] > accuracy[i] and gmacs[j] <= gmacs[i])
            for j in range(40)
        )
        assert is_on_front[i] == (not beaten)
    assert is_on_front.any()


def test_the_share_of_the_plane_is_what_random_budgets_can_expect() -> None:
    rng = np.random.default_rng(1)
    accuracy, gmacs = rng.random((2, 3, 5))
    shares = hypervolume(accuracy, gmacs, 1.2)
    budgets = 1.2 * (np.arange(20_000) + 0.5) / 20_000
    for row in range(3):
        allowed = [accuracy[row][gmacs[row] <= budget] for budget in budgets]
        expected = np.mean([each.max() if len(each) else 0 for each in allowed])
        assert shares[row] == pytest.approx(expected, abs=1e-3)
    # What lies beyond the end counts nothing; by hand: half of the plane at 0.6.
    assert hypervolume(np.array([0.6, 0.9]), np.array([1.0, 3.0]), 2.0) == pytest.approx(0.3)


def test_a_comparison_says_which_rows_no_other_beats() -> None:
    summary = summarise(make_comparison(), "increment_over_random", resamples=50)
    designs = {each["design"]: each for each in summary["plane"]}
    assert {*designs} == {row["design"] for row in summary["rows"] if row["kind"] != "bound"}
    front = {tuple(key) for each in designs.values() for key in each["front"]}
    rows = [row for row in summary["rows"] if row["kind"] != "bound"]
    for row in rows:
        beaten = any(
            other["final_accuracy"]["value"] >= row["final_accuracy"]["value"]
            and other["gmacs_per_video"] < row["gmacs_per_video"]
            for other in rows
        )
        if beaten:
            assert (row["label"], row["group"]) not in front
    low, high = designs["adafocus_plus"]["hypervolume"]["over_videos"]
    assert low < designs["adafocus_plus"]["hypervolume"]["value"] < high


def test_static_rows_are_marks_on_the_plane_with_the_line_above_them() -> None:
    """They change no other row but by its gains."""
    cells, static = [make_cell("a"), make_cell("b", draws=1)], []
    for i, (level, cost) in enumerate(((0.2, 0.1), (0.9, 0.5), (0.3, 0.4), (0.8, 2.0))):
        cell = make_cell("static", accuracy=(level,) * 3, kind="static", n=40, local_gmacs=cost)
        static.append(replace(cell, setting=f"{i}", classifier="f_c"))
    summary, without = (summarise(cells, "a", each, resamples=50) for each in (static, ()))
    for row in summary["rows"]:
        assert row["gains"]["same_classifier"] is None
        assert {*row["gains"]["any"]["beside"]} <= {"static 0", "static 1"}
    bare = [{**row, "gains": None} for row in summary["rows"]]
    assert bare == [{**row, "gains": None} for row in without["rows"]]
    assert summary["conclusions"] == without["conclusions"]
    assert table(summary)["setting"].tolist() == ["", "", "0", "1", "2", "3"]
    marks, line = (trace for trace in plane(summary).data if trace.name == "static")
    assert (marks.mode, line.mode) == ("markers+text", "lines")
    accuracy = [100 * row["final_accuracy"]["value"] for row in summary["static"]]
    assert sorted(marks.y) == pytest.approx(sorted(accuracy))
    assert list(line.y) == pytest.approx(accuracy[:2])


def test_a_single_row_covers_nothing_before_its_cost() -> None:
    """The dearest row of all is where the plane ends."""
    summary = summarise([make_cell("a", keep_ratio=None)], "a", resamples=50)
    (only,) = summary["plane"]
    assert only["hypervolume"]["value"] == pytest.approx(0)
    assert only["front"] == [["a", "p28_7x7"]]
