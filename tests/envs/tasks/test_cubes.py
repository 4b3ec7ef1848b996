"""Cubes: places of any segments in any order, against the classifier on whole sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from support import GRID, SIDE, G, Literal, T

K = GRID**2
STOP = T * K


@pytest.fixture
def literal(tmp_path: Path) -> Literal:
    return Literal(tmp_path, seed=7, aggregation="max_pool", steps=T)


def make(literal: Literal, **config: Any) -> Any:
    return gymnasium.make("focusgym/Cubes-v0", split=None, **literal.files, **config).unwrapped


def confidences(literal: Literal, video: int, looks: list[tuple[int, int]]) -> np.ndarray:
    """Confidence on the true label after each (segment, option), of whole sequences ``(D,)``."""
    cache, segments = literal.cache, np.array([segment for segment, _ in looks])
    glance = cache.glance_vectors(np.array([video]))[0, segments]
    local = cache.local_vectors(video, segments, np.array([option for _, option in looks]))
    with torch.no_grad():
        p = literal.classifier(glance[None], local[None])[0].softmax(dim=-1)
    return p[:, int(cache.labels[video])].numpy()


def test_an_episode_by_hand(literal: Literal) -> None:
    """A cube, the same segment again, another cube, and the stop: rewards, costs, what is seen."""
    env = make(literal, price_per_gmac=0.1)
    seen, _ = env.reset(options={"video": 5})
    p = confidences(literal, 5, [(3, 7), (0, 2)])
    cost = env.player.prices.cost
    look, glances = cost.local_gmacs + cost.classifier_gmacs, T * cost.glance_gmacs
    stored = np.load(literal.cache.root / "glance_maps.npy")[5]
    np.testing.assert_array_equal(seen["maps"], stored.astype(np.float32))
    assert seen["maps"].shape == (T, SIDE, SIDE, G)
    assert not seen["seen"].any()
    _, reward, _, _, info = env.step(3 * K + 7)
    assert reward == pytest.approx(p[0] - 0.1 * (glances + look), abs=1e-5)
    assert info["gmacs"] == pytest.approx(glances + look)
    before = env.player.observe()
    after, reward, over, _, info = env.step(3 * K + 1)  # another place, which is not looked at
    assert (over, reward) == (False, pytest.approx(0.0, abs=1e-6))
    assert info["gmacs"] == pytest.approx(glances + look)
    assert all(np.array_equal(before[name][0], after[name]) for name in after)
    after, reward, _, _, info = env.step(2)
    assert reward == pytest.approx(p[1] - p[0] - 0.1 * look, abs=1e-5)
    assert info["confidence"] == pytest.approx(p[1], abs=1e-5)
    assert np.flatnonzero(after["seen"]).tolist() == [0, 3]
    assert after["now"].argmax() == 0
    _, reward, over, _, info = env.step(STOP)
    assert (over, bool(info["stopped"])) == (True, True)
    assert reward == pytest.approx(0.0, abs=1e-6)
    record = env.record()
    assert record.segments.tolist() == [3, 3, 0, 0]
    assert record.options.tolist() == [7, -1, 2, -1]
    assert record.fed.tolist() == record.attended.tolist() == [True, False, True, False]


def test_what_is_possible(literal: Literal) -> None:
    """The allowed options of segments that were not taken; a stop only after a cube."""
    env = make(literal, options_allowed=[1, 4, 6])
    env.reset()
    allowed = [k in (1, 4, 6) for k in range(K)]
    assert env.action_masks().tolist() == allowed * T + [False]
    env.step(1 * K + 6)
    expected = [ok and t != 1 for t in range(T) for ok in allowed]
    assert env.action_masks().tolist() == [*expected, True]
    with pytest.raises(ValueError, match=r"among options_allowed \[1, 4, 6\]; got \[2\]"):
        env.step(2 * K + 2)


def test_a_stop_before_anything_takes_the_middle(literal: Literal) -> None:
    env = make(literal, n_decisions=2, options_allowed=[0, 3, 8])
    env.reset(options={"video": 4})
    _, _, over, _, info = env.step(STOP)
    assert not over
    assert not info["stopped"]
    assert (env.record().segments.tolist(), env.record().options.tolist()) == ([T // 2], [3])
    assert info["confidence"] == pytest.approx(confidences(literal, 4, [(T // 2, 3)])[0], abs=1e-5)
    _, _, over, _, _ = env.step(0)
    assert over, "as many decisions were made"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_decisions": 0}, "n_decisions must be an integer of at least 1"),
        (
            {"n_decisions": T + 1},
            rf"n_decisions must be in 1..{T}, the segments of .*; got {T + 1}",
        ),
        ({"observation": "map"}, "observation must be 'maps' or 'state'; got 'map'"),
        ({"reward": "padding"}, "asks for others|compares with other options"),
    ],
)
def test_what_is_refused(literal: Literal, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(literal, **config)


@pytest.mark.parametrize("action", [STOP + 1, -1])
def test_actions_that_are_none(literal: Literal, action: int) -> None:
    env = make(literal)
    env.reset()
    with pytest.raises(ValueError, match=rf"in \[0, {STOP + 1}\); got \[{action}\]"):
        env.step(action)
