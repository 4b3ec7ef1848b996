"""What is said of policies beside each other, against loops over their videos and seeds."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from comparisons import RESAMPLES, TWO, find_row, make_cell, make_played, of, right, two_designs

from focusgym.recognizer import Purpose, generator
from focusgym.runs.comparison.summary import Cell, ComparisonError, summarise


def percentiles(values: list[float]) -> Any:
    return pytest.approx(np.percentile(values, [2.5, 97.5]).tolist())


def test_scores_of_a_row_are_those_of_loops() -> None:
    cells, summary = two_designs()
    row, ours = find_row(summary, "b", TWO[0]), of(cells, "b", TWO[0])
    final = [sum(video[-1] for video in right(c)) / 25 for c in ours]
    mean = [sum(sum(video) for video in right(c)) / 75 for c in ours]
    first = [sum(video[0] for video in right(c)) / 25 for c in ours]
    assert row["seeds"] == [0, 1, 2]
    assert row["n_videos"] == 25
    assert row["final_accuracy_by_seed"] == pytest.approx(final)
    assert row["final_accuracy"]["value"] == pytest.approx(sum(final) / 3)
    assert row["mean_accuracy"]["value"] == pytest.approx(sum(mean) / 3)
    assert row["interquartile_mean"]["value"] == pytest.approx(sum(final) / 3)
    drawn = generator(Purpose.RESAMPLING, 5).integers(3, size=(RESAMPLES, 3))
    three = {"final_accuracy": final, "mean_accuracy": mean, "first_accuracy": first}
    for name, scores in three.items():
        means = [sum(scores[i] for i in draw) / 3 for draw in drawn]
        assert row[name]["interval"] == percentiles(means)
    for t in range(3):
        by_seed = [sum(video[t] for video in right(c)) / 25 for c in ours]
        assert row["accuracy_by_step"]["value"][t] == pytest.approx(sum(by_seed) / 3)
        means = [sum(by_seed[i] for i in draw) / 3 for draw in drawn]
        assert row["accuracy_by_step"]["interval"][t] == percentiles(means)
        spent = [sum(c.played.gmacs[:, t]) / 25 for c in ours]
        assert row["gmacs_by_step"][t] == pytest.approx(sum(spent) / 3)
    assert row["gmacs_per_video"] == row["gmacs_by_step"][-1]
    kept = [np.count_nonzero(c.played.attended) / 75 for c in ours]
    assert row["kept_share"] == pytest.approx(sum(kept) / 3)


def test_scores_over_all_groups_are_those_of_loops() -> None:
    cells, summary = two_designs()
    finals = [[sum(v[-1] for v in right(c)) / 25 for c in of(cells, "b", g)] for g in TWO]
    row = find_row(summary, "b")
    means = [sum(each) / len(each) for each in finals]
    assert row["final_accuracy"]["value"] == pytest.approx(sum(means) / 2)
    pooled = sorted(finals[0] + finals[1])
    assert row["interquartile_mean"]["value"] == pytest.approx(sum(pooled[1:-1]) / 3)
    rng = generator(Purpose.RESAMPLING, 5)
    draws = [rng.integers(n, size=(RESAMPLES, n)) for n in (3, 2)]
    resampled, middles = [], []
    for r in range(RESAMPLES):
        parts = [[each[i] for i in d[r]] for each, d in zip(finals, draws, strict=True)]
        resampled.append(sum(sum(part) / len(part) for part in parts) / 2)
        middles.append(sum(sorted(parts[0] + parts[1])[1:-1]) / 3)
    assert row["final_accuracy"]["interval"] == percentiles(resampled)
    assert row["interquartile_mean"]["interval"] == percentiles(middles)


@pytest.mark.parametrize("groups", [TWO[:1], TWO])
def test_differences_are_paired_by_seed_and_video_as_in_loops(groups: tuple[str, ...]) -> None:
    cells, summary = two_designs()
    by_video = np.zeros(25)  # groups share their videos: one draw for all
    by_seed: list[list[float]] = []
    for group in groups:
        pairs = list(zip(of(cells, "b", group), of(cells, "a", group), strict=True))
        by_seed.append([])
        for ours, theirs in pairs:
            differences = [x[-1] - y[-1] for x, y in zip(right(ours), right(theirs), strict=True)]
            by_seed[-1].append(sum(differences) / 25)
            by_video += np.array(differences) / len(pairs) / len(groups)
    row = find_row(summary, "b", TWO[0] if len(groups) == 1 else "all")
    difference = row["difference"]["final_accuracy"]
    assert difference["value"] == pytest.approx(by_video.mean())
    videos = generator(Purpose.RESAMPLING, 5).integers(25, size=(RESAMPLES, 25))
    means = [sum(by_video[i] for i in draw) / 25 for draw in videos]
    assert difference["over_videos"] == percentiles(means)
    rng = generator(Purpose.RESAMPLING, 5)
    draws = [rng.integers(len(each), size=(RESAMPLES, len(each))) for each in by_seed]
    means = [
        sum(np.mean([d[i] for i in draw[r]]) for d, draw in zip(by_seed, draws, strict=True))
        / len(groups)
        for r in range(RESAMPLES)
    ]
    assert difference["over_seeds"] == percentiles(means)


def test_probability_of_improvement_is_that_of_loops() -> None:
    cells, summary = two_designs()
    chances = []
    for group in TWO:
        scores = [[c.played.correct[:, -1].mean() for c in of(cells, d, group)] for d in "ba"]
        pairs = list(itertools.product(*scores))
        chances.append(sum((x > y) + 0.5 * (x == y) for x, y in pairs) / len(pairs))
        improvement = find_row(summary, "b", group)["probability_of_improvement"]
        assert improvement["value"] == pytest.approx(chances[-1])
        assert (
            0
            <= improvement["interval"][0]
            <= improvement["value"]
            <= improvement["interval"][1]
            <= 1
        )
    improvement = find_row(summary, "b")["probability_of_improvement"]
    assert improvement["value"] == pytest.approx(sum(chances) / 2)


def test_groups_with_other_videos_are_drawn_apart() -> None:
    cells = [
        make_cell(design, seed, (0.5, level), group=group, n=n, prefix=group, draws=draws)
        for group, n in zip(TWO, (20, 30), strict=True)
        for design, level, draws in (("a", 0.5, 1), ("b", 0.8, 2))
        for seed in range(2)
    ]
    summary = summarise(cells, "a", resamples=RESAMPLES)
    sets = []
    for group in TWO:
        ours, theirs = (
            np.mean([c.played.correct[:, -1] for c in of(cells, d, group)], axis=0) for d in "ba"
        )
        sets.append(ours - theirs)
    difference = find_row(summary, "b")["difference"]["final_accuracy"]
    assert difference["value"] == pytest.approx((sets[0].mean() + sets[1].mean()) / 2)
    rng = generator(Purpose.RESAMPLING, 0)
    draws = [rng.integers(n, size=(RESAMPLES, n)) for n in (20, 30)]
    means = [
        sum(values[d[r]].mean() for values, d in zip(sets, draws, strict=True)) / 2
        for r in range(RESAMPLES)
    ]
    assert difference["over_videos"] == percentiles(means)


def test_a_design_with_itself_shows_no_difference() -> None:
    cells, _ = two_designs()
    again = [replace(cell, design="the same") for cell in cells if cell.design == "a"]
    for group in (TWO[0], "all"):
        row = find_row(summarise([*cells, *again], "a"), "the same", group)
        for difference in row["difference"].values():
            nothing = {over: [0, 0] for over in ("over_videos", "over_seeds", "over_seeds_t")}
            assert difference == {"value": 0} | nothing
        assert row["probability_of_improvement"]["value"] == 0.5
        assert row["verdict"] == "not apart"


def test_swapping_the_reference_turns_differences_round() -> None:
    cells, summary = two_designs()
    turned = find_row(summarise(cells, "b", seed=5, resamples=RESAMPLES), "a")
    row = find_row(summary, "b")
    for name, difference in row["difference"].items():
        other = turned["difference"][name]
        assert other["value"] == pytest.approx(-difference["value"])
        for over in ("over_videos", "over_seeds", "over_seeds_t"):
            assert other[over] == pytest.approx([-difference[over][1], -difference[over][0]])
    chances = [r["probability_of_improvement"]["value"] for r in (row, turned)]
    assert sum(chances) == pytest.approx(1)


def test_a_figure_does_not_depend_on_what_else_is_compared_or_in_which_order() -> None:
    cells, summary = two_designs()
    more = [*(make_cell("c", s, group=TWO[0], n=25, draws=9) for s in range(4)), *cells[::-1]]
    summary_of_more = summarise(more, "a", seed=5, resamples=RESAMPLES)
    for group in TWO:
        assert find_row(summary_of_more, "b", group) == find_row(summary, "b", group)


def test_both_intervals_must_leave_out_zero() -> None:
    """Every seed gains in many videos, one seed loses: apart over videos, not over seeds."""
    right_in = {"a": [50, 50, 50], "steady": [65, 66, 67], "varies": [90, 95, 40]}
    labels = np.zeros(100, dtype=np.int64)
    cells = []
    for design, counts in right_in.items():
        for seed, count in enumerate(counts):
            cell = make_cell(design, seed, (0.5,), n=100)
            wrong = (np.arange(100) >= count)[:, None]
            did = replace(cell.played, labels=labels, predictions=wrong * 1, correct=~wrong)
            cells.append(replace(cell, played=did))
    summary = summarise(cells, "a")
    assert find_row(summary, "steady", TWO[0])["verdict"] == "higher"
    varies = find_row(summary, "varies", TWO[0])
    low, high = varies["difference"]["final_accuracy"]["over_seeds"]
    assert low < 0 < varies["difference"]["final_accuracy"]["over_videos"][0] < high
    assert varies["verdict"] == "not apart"
    assert find_row(summarise(cells, "steady"), "a", TWO[0])["verdict"] == "lower"
    ends = {}
    for label in ("steady", "varies"):
        difference = find_row(summary, label, TWO[0])["difference"]["final_accuracy"]
        low, high = np.transpose([difference["over_videos"], difference["over_seeds_t"]])
        ends[label] = f"{100 * low.min():+.1f} to {100 * high.max():+.1f}"
    assert summary["conclusions"] == [
        "p28_7x7: a is right in 50.0 % after all frames. Higher, by points: steady (+16.0, "
        f"{ends['steady']}). Not apart, by points: varies (+25.0, {ends['varies']})."
    ]


def test_in_short_also_says_what_policies_do_that_do_not_learn() -> None:
    """After the designs; what knows the truth stands in the table alone."""
    cells = [make_cell("a", s, (0.7,), n=200, draws=s) for s in range(3)]
    cells += [make_cell("b", s, (0.7,), n=200, draws=s) for s in range(3)]
    for name, kind in (("central", "fixed"), ("random", "fixed"), ("oracle", "bound")):
        accuracy = 1.0 if kind == "bound" else 0.1
        cells.append(make_cell(name, 0, (accuracy,), n=200, kind=kind, draws=50))  # type: ignore[arg-type]
    (conclusion,) = summarise(cells, "a")["conclusions"]
    learned, fixed = conclusion.split(" Policies that do not learn. ")
    assert "Not apart, by points: b (0.0, 0.0 to 0.0)." in learned
    assert fixed.startswith("Lower, by points: central (-")
    assert "; random (-" in fixed
    assert "oracle" not in conclusion


def test_the_interval_that_is_printed_decides() -> None:
    """It leaves out zero just where the verdict is higher or lower, over many differences."""
    rng = generator(Purpose.RESAMPLING, 0)
    seen = set()
    for _ in range(40):
        levels = rng.uniform(0.4, 0.6, 2)
        cells = [
            make_cell(d, s, (level,), n=150, draws=int(rng.integers(10**6)))
            for d, level in zip("ab", levels, strict=True)
            for s in range(3)
        ]
        summary = summarise(cells, "a", resamples=50)
        row = find_row(summary, "b", TWO[0])
        (bounds,) = re.findall(r"b \([^,]+, (\S+) to (\S+?)\)", summary["conclusions"][0])
        low, high = map(float, bounds)
        verdict = "higher" if low > 0 else "lower" if high < 0 else "not apart"
        assert row["verdict"] == verdict
        seen.add(verdict)
    assert len(seen) == 3


def test_one_seed_gives_no_interval_over_seeds_and_says_so() -> None:
    cells = [make_cell("a", 0, (0.1,), n=200), make_cell("b", 0, (0.9,), n=200, draws=1)]
    summary = summarise(cells, "a")
    row = find_row(summary, "b", TWO[0])
    assert row["final_accuracy"]["interval"] is None
    assert row["interquartile_mean"]["interval"] is None
    assert row["accuracy_by_step"]["interval"] is None
    assert row["probability_of_improvement"] == {"value": 1, "interval": None}
    difference = row["difference"]["final_accuracy"]
    assert difference["over_seeds"] is None
    assert difference["over_videos"][0] > 0
    assert row["verdict"] == "higher"
    (note,) = (note for note in summary["notes"] if note.startswith("One seed"))
    assert "say nothing about another training: a (p28_7x7), b (p28_7x7)." in note
    assert ", one seed)." in summary["conclusions"][0]


def test_one_video_gives_no_interval_over_videos() -> None:
    cells = [make_cell(design, 0, (1.0,), n=1) for design in "ab"]
    row = find_row(summarise(cells, "a"), "b", TWO[0])
    assert row["difference"]["final_accuracy"]["over_videos"] is None
    assert row["verdict"] == "not apart"


def test_few_seeds_are_said_to_be_few() -> None:
    assert any(
        "2 seeds holds the true mean in about 50 %" in note for note in two_designs()[1]["notes"]
    )


def test_plus_at_every_keep_ratio_is_a_row() -> None:
    cells = [make_cell("a"), *(make_cell("p", kind="plus", keep_ratio=e) for e in (0.5, 1))]
    labels = [row["label"] for row in summarise(cells, "a")["rows"]]
    assert labels == ["a", "p η=0.5", "p η=1"]


def test_cells_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ComparisonError, match="expected keep_ratio with kind 'plus' and only"):
        make_cell("a", keep_ratio=0.5)
    with pytest.raises(ComparisonError, match="got kind 'plus' and keep_ratio None: give both or"):
        make_cell("a", kind="plus")
    curve = pd.DataFrame({"steps": [1], "mean_return": [0.0]})
    with pytest.raises(
        ComparisonError, match=r"columns \['correct', 'mean_return', 'steps'\]; got"
    ):
        replace(make_cell("a"), curve=curve)
    with pytest.raises(ComparisonError, match=r"got 'c' beside \['a', 'b'\]: name one of them"):
        summarise([make_cell("a"), make_cell("b")], "c")
    with pytest.raises(ComparisonError, match=r"one run per seed; got seeds \[0, 0\]: leave out"):
        summarise([make_cell("a"), make_cell("a")], "a")
    with pytest.raises(
        ComparisonError, match=r"as many frames in every run; got 3 \(seed 0\) and 2"
    ):
        summarise([make_cell("a"), make_cell("a", 1, (0.5, 0.5))], "a")
    with pytest.raises(ComparisonError, match=r"same videos in every run; other videos: 40 and 30"):
        summarise([make_cell("a"), make_cell("a", 1, n=30)], "a")


def test_the_summary_is_json() -> None:
    summary = two_designs()[1]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_runs_that_stand_in_every_group_are_drawn_once() -> None:
    """Copies of a system's runs say no more than the runs do."""
    groups = [f"p{side}_7x7" for side in (20, 28, 36, 44)]
    seeds = range(4)
    ours = [make_played((0.5 + 0.1 * s,), s) for s in seeds]
    theirs = [make_played((0.5,), 10 + s) for s in seeds]

    def overall(names: list[str], own_reference: bool) -> dict[str, Any]:
        cells = [
            Cell(design, name, None, s, played[s])
            for name in names
            for s in seeds
            for design, played in (("reference", theirs), ("system", ours))
        ]
        if own_reference:  # as designs have, which are trained in each group
            cells = [
                replace(c, played=replace(c.played)) if c.design == "reference" else c
                for c in cells
            ]
        return find_row(summarise(cells, "reference", resamples=RESAMPLES), "system")

    one = overall(groups[:1], own_reference=False)
    for own_reference in (False, True):
        four = overall(groups, own_reference)
        for name in ("final_accuracy", "mean_accuracy", "interquartile_mean", "difference"):
            assert four[name] == one[name], name
        low, high = four["probability_of_improvement"]["interval"]
        wide = one["probability_of_improvement"]["interval"]
        if own_reference:  # its own draws in each group: narrower, by the reference's part
            assert wide[0] < low < high <= wide[1]
        else:
            assert [low, high] == wide
