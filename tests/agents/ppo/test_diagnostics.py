"""What tells of a collapse: figures made by hand, and when the warning comes."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from focus_models import ROLLOUT, Files, make_model
from stable_baselines3.common.logger import KVWriter, Logger
from support import Literal

from focusgym.agents import CollapseWarning, FocusPPO
from focusgym.agents.ppo.diagnostics import PATIENCE, Watch, keep_use, option_use


class Memory(KVWriter):
    """Keeps the last values of a log."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.values.update(key_values)


def logged(model: FocusPPO) -> dict[str, Any]:
    """Return where the model's log will be."""
    memory = Memory()
    model.set_logger(Logger(None, [memory]))
    return memory.values


EVEN = {"largest_share": 0.2}
FINE = {"share": 0.5, "gains_below_penalty": 0.5, "penalty": 0.1, "gain_mean": 0.2}


def test_use_of_options_by_hand() -> None:
    options = np.array([[0, 0, 0, 0], [2, 2, 4, 4]])
    # Shares 1/2, 1/4, 1/4: the entropy is 1.5 bits.
    expected = {"used": 3.0, "largest_share": 0.5, "effective": 2**1.5}
    assert option_use(options, 9) == pytest.approx(expected)
    assert option_use(np.arange(9)[None], 9) == pytest.approx(
        {"used": 9.0, "largest_share": 1 / 9, "effective": 9.0}
    )
    assert option_use(np.full((2, 2), 8), 9) == pytest.approx(
        {"used": 1.0, "largest_share": 1.0, "effective": 1.0}
    )


def test_use_of_looks_by_hand() -> None:
    probability = np.array([[0.9, 0.1], [0.5, 0.5]])
    attended = np.array([[True, False], [True, True]])
    gains = np.array([[0.3, 9.0], [-0.1, 0.25]])
    use = keep_use(probability, attended, gains, 0.25)
    expected = {
        "probability": 0.5,
        "share": 0.75,
        "penalty": 0.25,
        "gain_mean": 0.15,
        "gain_median": 0.25,
        "gains_below_penalty": 1 / 3,
    }
    assert use == pytest.approx(expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing = keep_use(probability, np.zeros((2, 2), bool), gains, 0.25)
    assert nothing["share"] == 0
    assert all(np.isnan(nothing[k]) for k in ("gain_mean", "gain_median", "gains_below_penalty"))


def test_the_log_tells_gains_and_price_of_a_rollout(tmp_path: Any) -> None:
    """From infos alone: where f_L ran, reward_skip is the gain less the price."""
    model = make_model("both", Literal(tmp_path).files)
    infos: list[dict[str, Any]] = []

    def collect(seen: dict[str, Any], _: Any) -> bool:
        infos.extend(seen["infos"])
        return True

    log = logged(model)
    model.learn(ROLLOUT, callback=collect)
    penalty = 4e-5 * 12**2
    gains = np.array([info["reward_skip"] + penalty for info in infos if info["attended"]])
    assert 0 < len(gains) < ROLLOUT
    assert log["keep/share"] == pytest.approx(len(gains) / ROLLOUT)
    assert log["keep/penalty"] == pytest.approx(penalty)
    assert log["keep/gain_mean"] == pytest.approx(gains.mean())
    assert log["keep/gain_median"] == pytest.approx(np.median(gains))
    assert log["keep/gains_below_penalty"] == pytest.approx((gains < penalty).mean())
    boxes = [tuple(info["box_px"].tolist()) for info in infos]
    assert log["options/used"] == len(set(boxes))
    largest = max(boxes.count(box) for box in boxes) / len(boxes)
    assert log["options/largest_share"] == pytest.approx(largest)


ONE_OPTION = (
    "for 10 rollouts π has chosen one option in more than 99% of all decisions: raise ent_coef or "
    "lower learning_rate, and look whether rewards differ between options at all"
)
ALL = (
    "for 10 rollouts π′ keeps 99.5% of the frames: change the penalty (0.1 now), or give "
    "target_gmacs"
)
NONE = ALL.replace("99.5%", "0.5%")
NO_BINDING = (
    "for 10 rollouts the penalty of a look, 0.1, cannot bind: {} of the looks gain less (mean gain "
    "0.2); choose it among the gains, or give target_gmacs"
)


@pytest.mark.parametrize(
    ("options", "keep", "message"),
    [
        ({"largest_share": 0.995}, None, ONE_OPTION),
        ({"largest_share": 0.995}, FINE, ONE_OPTION),
        (EVEN, {**FINE, "share": 0.995}, ALL),
        (EVEN, {**FINE, "share": 0.005}, NONE),
        (EVEN, {**FINE, "gains_below_penalty": 0.0}, NO_BINDING.format("0.0%")),
        (EVEN, {**FINE, "gains_below_penalty": 1.0}, NO_BINDING.format("100.0%")),
    ],
)
def test_a_sign_that_lasts_is_told_once(
    options: dict[str, float], keep: dict[str, float] | None, message: str
) -> None:
    watch = Watch(9)
    for _ in range(PATIENCE - 1):
        watch.look(options, keep)
    watch.look(EVEN, FINE)  # it went away: counting begins anew
    for _ in range(PATIENCE - 1):
        watch.look(options, keep)
    with pytest.warns(CollapseWarning, match=f"^{re.escape(message)}$"):
        watch.look(options, keep)
    for _ in range(2 * PATIENCE):
        watch.look(options, keep)
    watch.look(EVEN, FINE)
    for _ in range(2 * PATIENCE):
        watch.look(options, keep)


@pytest.mark.parametrize(
    "keep",
    [
        None,
        FINE,
        {**FINE, "share": 0.99},
        {**FINE, "share": 0.0101},
        {**FINE, "gains_below_penalty": 0.99},
        {**FINE, "gains_below_penalty": float("nan"), "gain_mean": float("nan")},
    ],
)
def test_nothing_is_told_of_what_is_well(keep: dict[str, float] | None) -> None:
    watch = Watch(9)
    for _ in range(3 * PATIENCE):
        watch.look({"largest_share": 0.99}, keep)


def test_a_policy_that_collapses_warns_and_a_healthy_one_does_not(tmp_path: Any) -> None:
    files = Literal(tmp_path).files
    make_model("both", files, learning_rate=1e-4).learn(12 * ROLLOUT)  # warnings are errors
    model = make_model("pi", files, learning_rate=0.0)
    actor = model.policy.learners["location"].actor
    actor.bias.data[4] = 100
    log = logged(model)
    with pytest.warns(CollapseWarning, match="one option in more than 99%") as caught:
        model.learn(25 * ROLLOUT)
    assert len(caught) == 1
    # Who reads it finds the call of learn(), or at least no line of the watch itself.
    assert not caught[0].filename.endswith("diagnostics.py")
    assert log["options/largest_share"] == 1


def test_where_one_option_is_allowed_its_use_is_no_collapse(files: Files) -> None:
    model = make_model("pi", files, config={"options_allowed": [7]})
    log = logged(model)
    model.learn(12 * ROLLOUT)
    assert log["options/used"] == 1
