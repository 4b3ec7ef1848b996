"""With whom a policy is paired, what follows from it, and what is not said where it cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from comparisons import TWO, find_row, make_cell, of, right, two_designs
from scipy import stats

from focusgym.runs.comparison.summary import Cell, summarise


def test_a_policy_that_does_not_learn_is_paired_with_every_seed() -> None:
    learned = [make_cell("a", seed, draws=1) for seed in range(3)]
    central = make_cell("central", 7, (0.2, 0.2, 0.2), kind="fixed")
    for reference, other, sign in (("a", "central", 1), ("central", "a", -1)):
        summary = summarise([*learned, central], reference)
        row = find_row(summary, other, TWO[0])
        means = [c.played.correct[:, -1].mean() for c in learned]
        expected = central.played.correct[:, -1].mean() - np.mean(means)
        assert row["difference"]["final_accuracy"]["value"] == pytest.approx(sign * expected)
        assert row["difference"]["final_accuracy"]["over_seeds"] is not None
        assert (row["seeds_compared"], row["seeds_left_out"]) == ([0, 1, 2], [])
        assert not any(note.startswith("One seed") for note in summary["notes"])


def test_seeds_that_only_one_has_are_left_out_of_the_difference() -> None:
    ours = [make_cell("b", seed, draws=1) for seed in (1, 2, 3)]
    theirs = [make_cell("a", seed) for seed in (0, 1, 2)]
    row = find_row(summarise([*ours, *theirs], "a"), "b", TWO[0])
    pairs = zip(ours[:2], theirs[1:], strict=True)
    gaps = [x.played.correct[:, -1].mean() - y.played.correct[:, -1].mean() for x, y in pairs]
    assert row["seeds_compared"] == [1, 2]
    assert row["difference"]["final_accuracy"]["value"] == pytest.approx(sum(gaps) / 2)
    assert row["seeds_left_out"] == [0, 3]
    notes = summarise([*ours, *theirs], "a")["notes"]
    assert any("from drawing 2 seeds" in note for note in notes)
    assert (
        "b (p28_7x7): the difference and what follows from it rest on seeds 1, 2, which a has as "
        "well; accuracies and chances also on 0, 3."
    ) in notes


def test_one_seed_in_common_among_several_decides_nothing() -> None:
    """It gains in the seed that both have, and is worse in the mean."""
    ours = [make_cell("b", s, (0.9 if s == 2 else 0.3,), n=200, draws=1) for s in (2, 3, 4)]
    summary = summarise([*ours, *(make_cell("a", s, (0.6,), n=200) for s in range(3))], "a")
    row = find_row(summary, "b", TWO[0])
    assert (row["difference"], row["verdict"]) == (None, "unpaired")
    assert row["unpaired"] == "p28_7x7: only seed 2 in common with a, and two are needed"
    assert row["probability_of_improvement"]["value"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("gains", "verdict"), [((20, 22), "higher"), ((12, 30), "not apart")])
def test_the_verdict_takes_the_t_interval_over_seeds(gains: tuple[int, int], verdict: str) -> None:
    """Both seeds gain in many videos; of two, only gains that hardly differ say something."""
    labels = np.zeros(100, dtype=np.int64)
    cells = []
    for design, counts in (("a", (50, 50)), ("b", [50 + gain for gain in gains])):
        for seed, count in enumerate(counts):
            cell = make_cell(design, seed, (0.5,), n=100)
            wrong = (np.arange(100) >= count)[:, None]
            did = replace(cell.played, labels=labels, predictions=wrong * 1, correct=~wrong)
            cells.append(replace(cell, played=did))
    summary = summarise(cells, "a")
    row = find_row(summary, "b", TWO[0])
    margin = row["difference"]["final_accuracy"]
    assert margin["over_seeds"] == pytest.approx([min(gains) / 100, max(gains) / 100])
    half = 12.7062 * (max(gains) - min(gains)) / 200
    middle = sum(gains) / 200
    assert margin["over_seeds_t"] == pytest.approx([middle - half, middle + half], abs=1e-5)
    assert row["verdict"] == verdict
    assert any("Over two seeds it is so wide that hardly" in note for note in summary["notes"])


def test_over_groups_differences_of_a_seed_are_averaged_first() -> None:
    cells, summary = two_designs()
    for n_first in (3, 2):  # the second group has two seeds
        kept = [c for c in cells if c.seed < n_first]
        margin = find_row(summarise(kept, "a", resamples=50), "b")["difference"]["final_accuracy"]
        gaps = []
        for group in TWO:
            pairs = zip(of(kept, "b", group), of(kept, "a", group), strict=True)
            finals = [np.subtract(right(x), right(y), dtype=float)[:, -1] for x, y in pairs]
            gaps.append([float(final.mean()) for final in finals])
        if n_first == 2:
            gaps = [np.mean(gaps, axis=0).tolist()]
        ends = [stats.ttest_1samp(each, 0).confidence_interval(0.95) for each in gaps]
        assert margin["over_seeds_t"] == pytest.approx(np.mean(ends, axis=0).tolist())
    assert find_row(summary, "b")["seeds_compared"] == [0, 1, 2]


def test_the_notes_say_how_often_equal_designs_seem_apart() -> None:
    for n_seeds, words in (
        (1, "one seed and 1,000 videos, 5, 11 and 39 %"),
        (3, "3 seeds and 1,000 videos, 1, 2 and 4 %"),
        (12, "10 seeds and 1,000 videos, 3, 4 and 5 %"),
    ):
        cells = [make_cell(d, s, draws=k) for k, d in enumerate("abc") for s in range(n_seeds)]
        (note,) = (n for n in summarise(cells, "a", resamples=50)["notes"] if "simulation" in n)
        assert note.startswith("2 comparisons, none corrected for their number.")
        assert words in note


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (make_cell("b"), "40 test videos"),
        (make_cell("b", group=TWO[1]), "40 test videos"),
        (
            make_cell("b", group=TWO[1], n=30),
            "other test videos in other groups: 40 in p28_7x7, 30 in p36_7x7",
        ),
        (
            make_cell("b", prefix="clip"),
            "other test videos for other policies: 40 or 40 in p28_7x7",
        ),
    ],
)
def test_how_many_videos_were_tested_is_said_for_each_group(other: Cell, words: str) -> None:
    assert summarise([make_cell("a"), other], "a", resamples=50)["test_videos"] == words


@pytest.mark.parametrize(
    ("other", "reason", "has_chance"),
    [
        (make_cell("b", 0, prefix="clip"), "other videos: 40 and 40, 0 of them in both", False),
        (make_cell("b", 0, n=30), "other videos: 30 and 40, 30 of them in both", False),
        (make_cell("b", 5), "no seed in common with a", True),
        (make_cell("b", 0, group=TWO[1]), "a has no run there", False),
    ],
)
def test_what_cannot_be_paired_says_why(other: Cell, reason: str, has_chance: bool) -> None:
    summary = summarise([make_cell("a", 0), other], "a")
    row = find_row(summary, "b", other.group)
    assert row["difference"] is None
    assert row["unpaired"] == f"{other.group}: {reason}"
    assert row["verdict"] == "unpaired"
    assert (row["probability_of_improvement"] is not None) == has_chance
    assert f"b is not paired. {row['unpaired']}." in summary["notes"]
    assert any("Cannot be compared: b" in s or "no run here" in s for s in summary["conclusions"])


def test_other_true_classes_are_not_paired() -> None:
    cell = make_cell("b", 0)
    labels = cell.played.labels.copy()
    labels[:3] += 1
    cells = [make_cell("a", 0), replace(cell, played=replace(cell.played, labels=labels))]
    row = find_row(summarise(cells, "a"), "b", TWO[0])
    assert row["unpaired"] == "p28_7x7: other true classes in 3 videos"


def test_a_group_that_a_design_lacks_is_named_and_no_mean_is_taken_over_the_others() -> None:
    cells = [make_cell("a", s, group=g) for g in TWO for s in range(2)]
    cells += [make_cell("b", s, group=TWO[1], draws=1) for s in range(2)]
    summary = summarise(cells, "a")
    assert [row["label"] for row in summary["overall"]] == ["a"]
    assert "b has no run in p28_7x7: it has no row over all groups." in summary["notes"]
    assert find_row(summary, "b", TWO[1])["difference"] is not None


def test_where_the_reference_lacks_a_group_nothing_is_said_over_all() -> None:
    cells = [make_cell("a", s, group=TWO[0]) for s in range(3)]
    cells += [make_cell("b", s, (0.9,) * 3, group=g, draws=1) for g in TWO for s in range(3)]
    summary = summarise(cells, "a")
    assert [row["label"] for row in summary["overall"]] == ["b"]
    row = find_row(summary, "b")
    assert (row["difference"], row["probability_of_improvement"]) == (None, None)
    assert row["verdict"] == "unpaired"
    assert summary["conclusions"][0] == (
        "Mean of 2 groups: a has no run in p36_7x7, so nothing is compared."
    )
    alone = "b is paired in p28_7x7 alone: no difference over all groups."
    assert f"{alone} p36_7x7: a has no run there." in summary["notes"]


def test_what_is_paired_in_one_group_alone_has_no_difference_over_all() -> None:
    """B is better where it is paired, and far worse where it is not, so worse in the mean."""
    cells = [make_cell("a", s, group=g, n=200) for g in TWO for s in range(3)]
    for group, seeds, level in zip(TWO, ((0, 1, 2), (5, 6, 7)), (0.9, 0.1), strict=True):
        cells += [make_cell("b", s, (level,) * 3, group=group, n=200, draws=1) for s in seeds]
    summary = summarise(cells, "a")
    assert find_row(summary, "b", TWO[0])["verdict"] == "higher"
    row = find_row(summary, "b")
    assert row["final_accuracy"]["value"] < find_row(summary, "a")["final_accuracy"]["value"]
    assert (row["difference"], row["probability_of_improvement"]) == (None, None)
    assert (row["verdict"], row["seeds_compared"]) == ("unpaired", [])
    assert row["unpaired"] == (
        "paired in p28_7x7 alone: no difference over all groups; p36_7x7: no seed in common with a"
    )
    assert summary["conclusions"][0].endswith("after all frames. Cannot be compared: b.")
    assert not any("b is not paired" in note for note in summary["notes"])
    alone = "b is paired in p28_7x7 alone: no difference over all groups."
    assert f"{alone} p36_7x7: no seed in common with a." in summary["notes"]
