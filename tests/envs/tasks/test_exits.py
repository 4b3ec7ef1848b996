"""Exits: what is fed, gained and paid in episodes that end early, against the classifier alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from support import C, Literal, T

from focusgym.recognizer import coarse_to_fine

GO_ON, STOP = 1, 0


@pytest.fixture(params=["gru", "average"])
def literal(tmp_path: Path, request: pytest.FixtureRequest) -> Literal:
    return Literal(tmp_path, seed=7, aggregation=request.param)


def make(literal: Literal, **config: Any) -> Any:
    return gymnasium.make("focusgym/Exit-v0", split=None, **literal.files, **config).unwrapped


def confidences(literal: Literal, video: int, segments: list[int], option: int) -> list[float]:
    """Return the confidence after each of some segments, by the classifier on whole sequences."""
    cache = literal.cache
    glance = cache.glance_vectors(np.array([video]))[0, segments]
    local = cache.local_vectors(video, np.array(segments), np.full(len(segments), option))
    with torch.no_grad():
        p = literal.classifier(glance[None], local[None])[0].softmax(dim=-1)
    return p[:, int(cache.labels[video])].tolist()


@pytest.mark.parametrize("price", [0.0, 0.3])
def test_an_episode_until_a_stop(literal: Literal, price: float) -> None:
    order = [2, 0, 3]
    env = make(literal, frame_order=order, option=5, price_per_gmac=price)
    env.reset(options={"video": 4})
    expected = confidences(literal, 4, order, 5)
    prices = env.player.prices
    each = prices.frame_gmacs + prices.cost.local_gmacs
    before, spent = 0.0, 0.0
    for d, segment in enumerate(order[:2]):
        seen, reward, over, _, info = env.step(GO_ON)
        spent += each
        assert info["confidence"] == pytest.approx(expected[d], abs=1e-5)
        assert reward == pytest.approx(expected[d] - before - price * each, abs=1e-5)
        assert info["gmacs"] == pytest.approx(spent)
        assert seen["seen"].tolist() == [float(s in order[: d + 1]) for s in range(T)]
        assert not over
        before = expected[d]
        assert segment in order
    _, reward, over, _, info = env.step(STOP)
    assert over
    assert reward == pytest.approx(0.0, abs=1e-6), "a stop gains and spends nothing"
    assert info["stopped"]
    assert info["gmacs"] == pytest.approx(spent)
    assert info["confidence"] == pytest.approx(expected[1], abs=1e-5)
    assert info["box_px"].tolist() == [0, 0, 0, 0]
    record = env.record()
    assert record.segments.tolist() == order
    assert record.fed.tolist() == [True, True, False]


def test_the_first_segment_is_always_taken(literal: Literal) -> None:
    env = make(literal)
    env.reset()
    assert env.action_masks().tolist() == [False, True]
    _, _, over, _, info = env.step(STOP)
    assert not over
    assert info["confidence"] > 0
    assert env.action_masks().tolist() == [True, True]
    for _ in range(T - 1):
        assert not over
        _, _, over, _, _ = env.step(GO_ON)
    assert over, "the order is at its end"
    assert sorted(env.record().segments.tolist()) == list(range(T))


def test_before_anything_is_fed_nothing_is_predicted(literal: Literal) -> None:
    seen, _ = make(literal).reset()
    assert seen["probabilities"].tolist() == pytest.approx([1 / C] * C)
    assert not seen["seen"].any()
    assert seen["now"].argmax() == coarse_to_fine(T)[0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"frame_order": [0, 0]}, rf"different segments in \[0, {T}\), at least one; got \[0, 0\]"),
        ({"frame_order": [T]}, "different segments"),
        ({"frame_order": []}, "different segments"),
        ({"option": 9}, "option must be among"),
        ({"option": 0, "options_allowed": [1]}, r"option must be among \[1\]"),
        ({"price_per_gmac": -1.0}, "price_per_gmac must be a finite number of at least 0"),
        ({"reward": "increment_over_random"}, "compares with other options"),
        ({"reward": "padding"}, "compares with other options"),
    ],
)
def test_what_is_refused(literal: Literal, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(literal, **config)
