"""What looks cost: in the reward (Eq. 10's penalty), on the bill, and against a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import GRID, C, G, L, Literal, T, add_frames, write_cache, write_classifier

from focusgym.envs import FocusEnv, FocusVectorEnv
from focusgym.feature_cache import FeatureCache

K, P_PX = GRID**2, 12
GLANCE_GMACS, LOCAL_GMACS = 0.3, 1.5  # of `write_cache`
CLASSIFIER_GMACS = {
    "gru": (3 * 7 * (G + L + 7) + 7 * C) / 1e9,  # three gates of 7 units; the output layer
    "average": (G + L) * C / 1e9,
}
FRAME_GMACS = GLANCE_GMACS + CLASSIFIER_GMACS["gru"]

ACTION_SETS = st.sampled_from(["pairs", "flat"])
decisions = st.lists(st.tuples(st.integers(0, K - 1), st.booleans()), min_size=T, max_size=T)


def action_of(action_set: str, option: int, looks: bool) -> Any:
    return np.array([option, looks], dtype=int) if action_set == "pairs" else option if looks else K


@pytest.fixture(scope="module")
def literal(tmp_path_factory: pytest.TempPathFactory) -> Literal:
    return Literal(tmp_path_factory.mktemp("literal"))


@settings(max_examples=15, deadline=None)
@given(
    looks=decisions,
    prices=st.tuples(st.floats(0, 1e-2), st.floats(0, 1e-2)),
    action_set=ACTION_SETS,
)
def test_the_reward_of_looking_falls_straight_with_its_price(
    literal: Literal, looks: list[tuple[int, bool]], prices: tuple[float, float], action_set: str
) -> None:
    """Eq. 10: slope -P² in λ where b = 1, none where b = 0; the sign turns at λ = gain / P²."""

    def rewards(price: float) -> np.ndarray:
        penalty = {"per_px2": price}
        env = FocusEnv(task="AdaFocusPlus", **literal.files, action_set=action_set, penalty=penalty)
        env.reset(seed=0)
        infos = [env.step(action_of(action_set, k, b))[4] for k, b in looks]
        return np.array([info["reward_skip"] for info in infos])

    b = np.array([b for _, b in looks])
    fall = rewards(prices[1]) - rewards(prices[0])
    np.testing.assert_allclose(fall, b * P_PX**2 * (prices[0] - prices[1]), rtol=0, atol=1e-6)
    gains = rewards(0.0)
    assert (gains[~b] == 0).all()
    for t in np.flatnonzero(b & (gains > 1e-3)):
        turn = gains[t] / P_PX**2
        assert rewards(turn - 1e-7)[t] > 0 > rewards(turn + 1e-7)[t]


@pytest.mark.parametrize("aggregation", ["gru", "average"])
@pytest.mark.parametrize("action_set", [None, "pairs", "flat"])
def test_the_bill_is_the_sum_over_frames_and_looks(
    tmp_path: Path, action_set: str | None, aggregation: str
) -> None:
    files = Literal(tmp_path, aggregation=aggregation).files
    looks = [True] * T if action_set is None else [True, False, False, True]
    frame = GLANCE_GMACS + CLASSIFIER_GMACS[aggregation] + 0.25
    if action_set is None:
        env = FocusEnv(**files, policy_gmacs=0.25)
    else:
        env = FocusEnv(task="AdaFocusPlus", **files, action_set=action_set, policy_gmacs=0.25)
    for _ in range(2):
        env.reset()
        bill = 0.0
        for t, b in enumerate(looks):
            action = np.int64(t) if action_set is None else action_of(action_set, t, b)
            bill += frame + LOCAL_GMACS * b
            assert env.step(action)[4]["gmacs"] == pytest.approx(bill, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    budget_gmacs=st.floats(T * FRAME_GMACS, 1.1 * T * (FRAME_GMACS + LOCAL_GMACS)),
    played=st.tuples(decisions, decisions, decisions),
    action_set=ACTION_SETS,
    allowed=st.none() | st.sets(st.integers(0, K - 1), min_size=1),
)
def test_a_budget_is_never_exceeded_and_forbids_only_what_would(
    literal: Literal,
    budget_gmacs: float,
    played: tuple[list[tuple[int, bool]], ...],
    action_set: str,
    allowed: set[int] | None,
) -> None:
    options = sorted(allowed or range(K))
    played = tuple([(options[k % len(options)], b) for k, b in one] for one in played)
    env = FocusVectorEnv(
        3,
        task="AdaFocusPlus",
        **literal.files,
        action_set=action_set,
        budget_gmacs=budget_gmacs,
        options_allowed=None if allowed is None else options,
        autoreset_mode="Disabled",
    )
    env.reset(seed=0)
    spent, done_looks = np.zeros(3), np.zeros(3, dtype=int)
    for t in range(T):
        room = spent + (T - t) * FRAME_GMACS + LOCAL_GMACS <= budget_gmacs
        mask = np.zeros((3, K + (2 if action_set == "pairs" else 1)), dtype=bool)
        mask[:, options] = True if action_set == "pairs" else room[:, None]
        if action_set == "pairs":
            mask[:, K], mask[:, K + 1] = True, room
        else:
            mask[:, K] = True
        assert np.array_equal(env.action_masks(), mask)
        wants = np.array([one[t][1] for one in played])
        actions = np.array([action_of(action_set, *one[t]) for one in played])
        _, _, _, _, info = env.step(actions)
        attended = wants & room
        assert info["attended"].tolist() == attended.tolist()
        assert (info["reward_skip"][~attended] == 0).all()
        spent, done_looks = spent + FRAME_GMACS + LOCAL_GMACS * attended, done_looks + attended
        np.testing.assert_allclose(info["gmacs"], spent, rtol=1e-12)
    assert (info["gmacs"] <= budget_gmacs * (1 + 1e-9)).all()
    most = int((budget_gmacs - T * FRAME_GMACS) / LOCAL_GMACS)
    n_looks = [sum(b for _, b in one) for one in played]
    assert done_looks.tolist() == [min(n, most) for n in n_looks]


@pytest.mark.parametrize("action_set", ["pairs", "flat"])
@pytest.mark.parametrize("n_looks", range(T + 1))
def test_a_budget_for_n_looks_gives_the_first_n(
    literal: Literal, n_looks: int, action_set: str
) -> None:
    """A budget that is spent to the last digit, however it was added up."""
    frame = GLANCE_GMACS + CLASSIFIER_GMACS["gru"] + 0.1
    for budget in (T * frame + n_looks * LOCAL_GMACS, sum([frame] * T + [LOCAL_GMACS] * n_looks)):
        env = FocusEnv(
            task="AdaFocusPlus",
            **literal.files,
            action_set=action_set,
            budget_gmacs=budget,
            policy_gmacs=0.1,
            reward="confidence",
        )
        _, info = env.reset(seed=0)
        video, looks = info["video_id"], []
        for t in range(T):
            _, _, done, truncated, info = env.step(action_of(action_set, 2 * t, True))
            looks.append((2 * t, int(t < n_looks)))
            assert info["attended"] is (t < n_looks)
            p = literal.confidence(video, looks)
            assert info["confidence"] == pytest.approx(p, abs=1e-6), "a forced skip is a skip"
            box = env.record().boxes_px[t]
            assert (box == 0).all() == (action_set == "flat" and t >= n_looks)
        assert (done, truncated) == (True, False), "the episode does not end early"
        assert info["gmacs"] == pytest.approx(budget)


def test_a_budget_that_does_not_pay_for_glances_is_refused(literal: Literal) -> None:
    with pytest.raises(
        ValueError,
        match=r"budget_gmacs must be at least 2\.2.*, what f_G, f_C and the agent need for 4 "
        r"frames without a look; got 2\.1",
    ):
        FocusEnv(task="AdaFocusPlus", **literal.files, budget_gmacs=2.1, policy_gmacs=0.25)


@pytest.fixture
def sides(tmp_path: Path) -> dict[str, Any]:
    """Keywords of environments whose two options are whole frames at two sides, dear and cheap."""
    cache = write_cache(tmp_path / "cache")
    groups = add_frames(cache)
    f_c = write_classifier(FeatureCache.open(cache.root, groups), tmp_path / "f_c")
    return {"cache": cache.root, "classifier": f_c, "group": groups, "action_set": "flat"}


@pytest.mark.parametrize(("unit", "ratio"), [("per_gmac", 4), ("per_px2", 4)])
def test_each_option_has_its_own_price(sides: dict[str, Any], unit: str, ratio: int) -> None:
    """The cheap side is half of the dear one: a quarter of the pixels and of the GMACs."""
    gains = {}
    for price in (0.0, 0.001):
        env = gymnasium.make("focusgym/AdaFocusPlus-v0", penalty={unit: price}, **sides).unwrapped
        for option in (0, 1):
            env.reset(options={"video": 3})
            gains[price, option] = env.step(option)[4]["reward_skip"]
    taken = [gains[0.0, option] - gains[0.001, option] for option in (0, 1)]
    dearest = {"per_gmac": 1.5 * (32 / 12) ** 2, "per_px2": 32**2}[unit]
    assert taken[0] == pytest.approx(0.001 * dearest, abs=1e-5)
    assert taken[1] == pytest.approx(taken[0] / ratio, abs=1e-5)


def test_a_budget_has_room_for_the_cheap_option(sides: dict[str, Any]) -> None:
    free = gymnasium.make("focusgym/AdaFocusPlus-v0", **sides).unwrapped
    prices = free.player.prices
    cheap = prices.option_gmacs.min()
    budget = T * prices.frame_gmacs + 1.5 * cheap
    env = gymnasium.make("focusgym/AdaFocusPlus-v0", budget_gmacs=budget, **sides).unwrapped
    env.reset()
    assert env.action_masks().tolist() == [False, True, True]
    assert not env.step(0)[4]["attended"]
    env.reset()
    assert env.step(1)[4]["attended"]
    assert env.action_masks().tolist() == [False, False, True]
