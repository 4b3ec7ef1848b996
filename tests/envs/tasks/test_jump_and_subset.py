"""Jumps and subsets: any segments in any order, against the classifier on whole sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from support import Literal, T

from focusgym.envs import uniform_segments


@pytest.fixture
def literal(tmp_path: Path) -> Literal:
    return Literal(tmp_path, seed=7)


def make(literal: Literal, name: str, **config: Any) -> Any:
    return gymnasium.make(f"focusgym/{name}-v0", split=None, **literal.files, **config).unwrapped


def probabilities(literal: Literal, video: int, segments: list[int], option: int) -> np.ndarray:
    cache = literal.cache
    glance = cache.glance_vectors(np.array([video]))[0, segments]
    local = cache.local_vectors(video, np.array(segments), np.full(len(segments), option))
    with torch.no_grad():
        p = literal.classifier(glance[None], local[None])[0].softmax(dim=-1)
    return p.numpy()  # (D, C)


def test_jumps_feed_each_segment_once(literal: Literal) -> None:
    env = make(literal, "Jump", option=2, price_per_gmac=0.1)
    env.reset(options={"video": 5})
    label = int(literal.cache.labels[5])
    p = probabilities(literal, 5, [3, 0], 2)[:, label]
    cost = env.player.prices.cost
    look = cost.local_gmacs + cost.classifier_gmacs
    glances = T * cost.glance_gmacs
    _, reward, _, _, info = env.step(3)
    assert reward == pytest.approx(p[0] - 0.1 * (glances + look), abs=1e-5)
    assert info["gmacs"] == pytest.approx(glances + look)
    seen, reward, over, _, info = env.step(3)  # again: nothing is gained or spent
    assert (over, reward) == (False, pytest.approx(0.0, abs=1e-6))
    assert info["gmacs"] == pytest.approx(glances + look)
    seen, reward, _, _, info = env.step(0)
    assert reward == pytest.approx(p[1] - p[0] - 0.1 * look, abs=1e-5)
    assert info["confidence"] == pytest.approx(p[1], abs=1e-5)
    assert np.flatnonzero(seen["seen"]).tolist() == [0, 3]
    assert seen["now"].argmax() == 0
    assert env.action_masks().tolist() == [s not in (0, 3) for s in range(T)] + [True]
    _, reward, over, _, info = env.step(T)
    assert (over, bool(info["stopped"])) == (True, True)
    assert env.record().fed.tolist() == [True, False, True, False]


def test_a_stop_before_anything_takes_the_middle(literal: Literal) -> None:
    env = make(literal, "Jump", n_decisions=2)
    env.reset()
    assert not env.action_masks()[T]
    _, _, over, _, _ = env.step(T)
    assert not over
    assert env.record().segments.tolist() == [T // 2]
    _, _, over, _, _ = env.step(0)
    assert over, "as many decisions were made"


def test_the_best_margin_pays_for_better_predictions_only(literal: Literal) -> None:
    env = make(literal, "Jump", reward="best_margin")
    order, label = [1, 3, 0, 2], int(literal.cache.labels[5])
    env.reset(options={"video": 5})
    p = probabilities(literal, 5, order, 0)
    others = np.delete(p, label, axis=1).max(axis=1)
    best = 0.0
    for segment, margin in zip(order, p[:, label] - others, strict=True):
        assert env.step(segment)[1] == pytest.approx(max(0.0, margin - best), abs=1e-5)
        best = max(best, margin)


@pytest.mark.parametrize("k", [1, 2, T])
def test_a_subset_is_fed_in_the_videos_order(literal: Literal, k: int) -> None:
    env = make(literal, "Subset", n_segments=k, option=3)
    seen, _ = env.reset(options={"video": 6})
    assert np.abs(seen["glances"]).sum(axis=1).all(), "all segments are glanced at first"
    label = int(literal.cache.labels[6])
    scores = np.array([0.1, 0.9, -0.3, 0.9], dtype=np.float32)
    chosen = {1: [1], 2: [1, 3], T: [0, 1, 2, 3]}[k]
    p = probabilities(literal, 6, chosen, 3)[:, label]
    uniform = probabilities(literal, 6, uniform_segments(k, T).tolist(), 3)[-1, label]
    _, reward, over, _, info = env.step(scores)
    assert over
    assert reward == pytest.approx(p[-1] - uniform, abs=1e-5)
    assert info["confidence"] == pytest.approx(p[-1], abs=1e-5)
    cost = env.player.prices.cost
    expected = T * cost.glance_gmacs + k * (cost.local_gmacs + cost.classifier_gmacs)
    assert info["gmacs"] == pytest.approx(expected)
    record = env.record()
    assert record.segments.tolist() == chosen
    assert record.confidences.tolist() == pytest.approx(p.tolist(), abs=1e-5)
    assert record.rewards.tolist() == pytest.approx([0.0] * (k - 1) + [reward])


@pytest.mark.parametrize(("log_std", "least", "most"), [(0.0, 0.03, 0.2), (-1.0, 0.0, 0.02)])
def test_clipped_scores_prefer_earlier_segments(
    literal: Literal, log_std: float, least: float, most: float
) -> None:
    """How far above and below even chances the segments are drawn, with noise of either size."""
    task = make(literal, "Subset", n_segments=1).player.task
    drawn = np.random.default_rng(0).normal(0, np.exp(log_std), (40_000, T)).clip(-1, 1)
    task.seen = np.zeros(drawn.shape, dtype=bool)
    shares = np.bincount(task.read(drawn)[:, 0], minlength=T) / len(drawn)
    assert least < shares.max() - 1 / T < most
    assert least < 1 / T - shares.min() < most


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("Jump", {"n_decisions": 0}, "n_decisions must be an integer of at least 1"),
        ("Jump", {"n_decisions": T + 1}, rf"n_decisions must be in 1..{T}"),
        ("Jump", {"observation": "map"}, "observation must be 'state'"),
        ("Subset", {"n_segments": T + 1}, rf"n_segments must be in 1..{T}"),
        ("Subset", {"reward": {"name": "increment_over_random", "draws": 3}}, "draws 1"),
        ("Subset", {"reward": "padding"}, "asks for others"),
        ("Subset", {"option": 9}, "option must be among"),
    ],
)
def test_what_is_refused(literal: Literal, name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(literal, name, **config)


@pytest.mark.parametrize("scores", [np.full(T, np.nan), np.zeros(T + 1), np.array(["a"] * T)])
def test_wrong_scores_are_refused(literal: Literal, scores: np.ndarray) -> None:
    env = make(literal, "Subset")
    env.reset()
    with pytest.raises(ValueError, match="expected"):
        env.step(scores)
