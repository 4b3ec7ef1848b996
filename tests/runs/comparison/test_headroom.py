"""Whether looking can pay: the rows, their differences, and what is said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import Literal, N, T, engine_of

from focusgym.runs.comparison.headroom import (
    Margin,
    agents_by_rule,
    compared,
    margin,
    measure_headroom,
    verdict,
)

EVERY = np.arange(N)


@pytest.fixture(scope="module")
def literal(tmp_path_factory: pytest.TempPathFactory) -> Literal:
    return Literal(tmp_path_factory.mktemp("headroom"))


@pytest.fixture(scope="module")
def headroom(literal: Literal) -> dict[str, Any]:
    return measure_headroom(engine_of(literal), EVERY, 1)


def test_rows_are_those_of_the_equations(literal: Literal, headroom: dict[str, Any]) -> None:
    """The plan of each rule, and every video through f_C as the paper writes it."""
    labels = literal.cache.labels.tolist()
    for row, (name, agent) in zip(headroom["rows"], agents_by_rule(1).items(), strict=True):
        assert row["name"] == name
        plan = agent.plan(engine_of(literal), EVERY)
        assert plan.attended.all() == (name != "no_patch")
        right = np.zeros((N, T))
        for video in EVERY:
            looks = [(max(k, 0), int(plan.attended[video, 0])) for k in plan.options[video]]
            for t in range(T):
                p = literal.probabilities(video, looks[: t + 1])
                right[video, t] = int(p.argmax()) == labels[video]
        np.testing.assert_allclose(row["accuracy_by_step"], right.mean(axis=0))
        assert row["mean"] == pytest.approx(right.mean())
    gmacs = {row["name"]: row["gmacs_per_video"] for row in headroom["rows"]}
    assert gmacs["random"] - gmacs["no_patch"] == pytest.approx(T * 1.5)
    assert gmacs["glance_rule"] == gmacs["fixed_box"] == gmacs["random"]
    assert gmacs["most_confident"] == gmacs["oracle"] > gmacs["random"] + 8 * T * 1.5


def test_the_best_blind_rule_is_what_others_are_measured_against(headroom: dict[str, Any]) -> None:
    means = {row["name"]: row["mean"] for row in headroom["rows"]}
    blind = ("no_patch", "random", "central", "gaussian", "fixed_box")
    assert means[headroom["best_blind"]] == max(means[name] for name in blind)
    assert headroom["over_best_blind"].keys() == {"glance_rule", "most_confident", "oracle"}
    for name, over in headroom["over_best_blind"].items():
        assert over["mean"] == pytest.approx(100 * (means[name] - means[headroom["best_blind"]]))
    assert headroom["verdict"].startswith("10 validation videos are too few to tell")


def test_differences_are_paired() -> None:
    """Of 400 videos resampled percentiles are those of the normal distribution, about."""
    rng = np.random.default_rng(0)
    random = rng.random((400, 2)) < 0.5
    ours = random | (rng.random((400, 2)) < 0.2)  # never worse
    first, second = compared({"random": random, "ours": ours}, 0)
    assert first["over_random"]["mean"] == 0
    assert first["over_random"]["interval"] == [0, 0]
    gained = ours.mean(axis=1) - random.mean(axis=1)
    half = 1.96 * gained.std() / 20
    over = second["over_random"]
    assert over["by_step"] == pytest.approx((ours.mean(0) - random.mean(0)).tolist())
    assert over["mean"] == pytest.approx(gained.mean())
    assert over["interval"] == pytest.approx([gained.mean() - half, gained.mean() + half], abs=3e-3)
    # Unpaired, the interval would be far wider.
    unpaired = 1.96 * np.sqrt(ours.mean(1).var() + random.mean(1).var()) / 20
    assert np.diff(over["interval"])[0] < 0.7 * 2 * unpaired
    low, high = second["interval"]
    assert low < second["mean"] < high
    assert [len(each) for each in second["intervals_by_step"]] == [2, 2]
    for (least, most), (lowest, highest), gain in zip(
        over["intervals_by_step"], second["intervals_by_step"], over["by_step"], strict=True
    ):
        assert 0 < least < gain < most
        assert highest - lowest > 0.09  # Wilson's, of a share near a half
    points = margin(ours, random, 0)
    assert [points.mean, points.low, points.high] == pytest.approx(
        [100 * over["mean"], *(100 * end for end in over["interval"])]
    )


UP, DOWN, NONE = Margin(5.12, 3.2, 7), Margin(-2.0, -4.0, -0.1), Margin(0.5, -1.0, 2.0)


def verdict_text(
    rule: Margin, surest: Margin, oracle: Margin, worth: Margin = UP, best: str = "fixed_box"
) -> str:
    over = {"glance_rule": rule, "most_confident": surest, "oracle": oracle}
    return verdict(over, best, worth, 200)


def test_verdicts() -> None:
    blind = "the best rule that is blind to the video (best fixed box, cross-validated)"
    assert verdict_text(UP, NONE, UP) == (
        "Looking can pay here: a linear rule that sees the glance alone gains +5.1 [+3.2, +7.0] "
        f"points over {blind}, on videos that it was not fitted to."
    )
    text = verdict_text(NONE, UP, UP)
    assert text.startswith("Looking may pay here: who tries all patches")
    assert f"gains +5.1 [+3.2, +7.0] points over {blind} without the label" in text
    assert "alone gains +0.5 [-1.0, +2.0], so a policy has to find more" in text
    assert verdict_text(DOWN, NONE, UP) == (
        f"No rule tried here is clearly better than {blind}: the linear rule on the glance gains "
        "-2.0 [-4.0, -0.1] points, the most confident of all patches +0.5 [-1.0, +2.0]. The "
        "oracle's +5.1 [+3.2, +7.0] is no evidence: it knows the label."
    )
    assert verdict_text(DOWN, DOWN, NONE) == (
        "Nothing here shows that looking can pay: not even the oracle, which knows the label, is "
        f"clearly better than {blind}: it gains +0.5 [-1.0, +2.0] points."
    )
    wide = Margin(8.0, -1.0, 17.0)
    assert verdict_text(DOWN, DOWN, wide).endswith(
        "The interval is wide: more validation videos could tell."
    )
    assert verdict_text(UP, UP, UP, NONE).endswith(
        "Mind that the best blind rule is not clearly better than no patch at all: +0.5 [-1.0, "
        "+2.0] points."
    )
    assert verdict_text(UP, UP, UP, Margin(0, 0, 0), "no_patch").endswith(
        "no rule that is blind to the video is better than no patch at all."
    )
