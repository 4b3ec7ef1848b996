"""Agents that are fitted to other videos than they play: recomputed naively, fold by fold."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from support import Literal, N, T, engine_of

from focusgym.agents import CrossFittedBoxAgent, GlanceRuleAgent, RandomAgent, cross_fitted
from focusgym.agents.cross_fitted import STRENGTHS, video_folds

K = 9
VIDEOS = np.arange(N)


@pytest.fixture(scope="module")
def literal(tmp_path_factory: pytest.TempPathFactory) -> Literal:
    return Literal(tmp_path_factory.mktemp("cross_fitted"))


def folds_of(literal: Literal) -> np.ndarray:
    return video_folds(literal.cache.labels.numpy(), 3)


def test_folds_share_out_videos_and_classes() -> None:
    labels = np.array([0] * 12 + [1] * 7 + [2] * 4)
    folds = video_folds(labels, 0)
    assert sorted(np.bincount(folds)) == [4, 4, 5, 5, 5]
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert not np.array_equal(folds, video_folds(labels, 1))
    assert sorted(video_folds(np.zeros(3, dtype=np.int64), 0)) == [0, 1, 2]
    with pytest.raises(ValueError, match="expected at least two videos, .* got 1: give a split"):
        video_folds(np.zeros(1, dtype=np.int64), 0)


def test_the_box_is_the_best_one_of_the_other_folds(literal: Literal) -> None:
    folds = folds_of(literal)
    sure = np.array(
        [
            [
                np.mean([literal.confidence(v, [(k, 1)] * (t + 1)) for t in range(T)])
                for k in range(K)
            ]
            for v in VIDEOS
        ]
    )
    plan = CrossFittedBoxAgent(3).plan(engine_of(literal), VIDEOS)
    assert plan.attended.all()
    boxes = []
    for video in VIDEOS:
        others = [other for other in VIDEOS if folds[other] != folds[video]]
        boxes.append(int(np.argmax([np.mean([sure[v, k] for v in others]) for k in range(K)])))
    assert plan.options.tolist() == [[box] * T for box in boxes]
    assert len(set(boxes)) > 1


def naive_rule(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Least squares with a ridge, by rows that are added for the penalty; ``(M, K, G)``."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    if math.isinf(strength):
        return np.zeros(x.shape[2]), y.mean(axis=0)
    squares = ((x - x.mean(axis=0)) ** 2).sum(axis=(0, 1))
    added = np.hstack([np.diag(np.sqrt(strength * squares)), np.zeros((len(squares), K))])
    rows = np.hstack([x.reshape(-1, x.shape[2]), np.tile(np.eye(K), (len(x), 1))])
    both = np.vstack([rows, added]), np.concatenate([y.ravel(), np.zeros(len(squares))])
    solution = np.linalg.lstsq(*both, rcond=None)[0]
    return solution[: len(squares)], solution[len(squares) :]


def test_the_rule_is_that_of_a_naive_nested_cross_validation(literal: Literal) -> None:
    cache, folds = literal.cache, folds_of(literal)
    before = RandomAgent(3).plan(engine_of(literal), VIDEOS).options
    gains = np.empty((N, T, K))
    for video, t, k in itertools.product(VIDEOS, range(T), range(K)):
        looks = [(int(each), 1) for each in before[video, :t]]
        gains[video, t, k] = literal.confidence(video, [*looks, (k, 1)])
    maps = np.load(cache.root / "glance_maps.npy").astype(np.float64)
    # Frame 32 px, cells of 32 / 3 px: what is in a patch, pixel by pixel of a finer grid.
    fine = maps.repeat(32, axis=2).repeat(32, axis=3)  # 96 × 96
    glance = np.stack(
        [
            fine[:, :, 3 * top : 3 * bottom, 3 * left : 3 * right].mean(axis=(2, 3))
            for left, top, right, bottom in cache.boxes_px
        ],
        axis=2,
    )

    def frames(which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return glance[which].reshape(-1, K, glance.shape[3]), gains[which].reshape(-1, K)

    plan = GlanceRuleAgent(3).plan(engine_of(literal), VIDEOS)
    strengths = []
    for fold in range(5):
        worth = dict.fromkeys(STRENGTHS, 0.0)
        for inner, strength in itertools.product(range(5), STRENGTHS):
            if inner != fold:
                w, b = naive_rule(*frames((folds != fold) & (folds != inner)), strength)
                x, y = frames(folds == inner)
                worth[strength] += y[np.arange(len(y)), (x @ w + b).argmax(axis=1)].sum()
        strengths.append(max(STRENGTHS, key=lambda strength: worth[strength]))
        w, b = naive_rule(*frames(folds != fold), strengths[-1])
        scores = frames(folds == fold)[0] @ w + b
        chosen = plan.options[folds == fold].ravel()
        chosen_scores = scores[np.arange(len(scores)), chosen]
        np.testing.assert_allclose(chosen_scores, scores.max(axis=1), atol=1e-5)
    assert min(strengths) < math.inf, "in a fold the glance counts"


def test_parts_of_the_videos_give_the_same(
    literal: Literal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As much memory as there is, or next to none."""
    agent = GlanceRuleAgent(3)
    at_once = agent.plan(engine_of(literal), VIDEOS).options
    monkeypatch.setattr(cross_fitted, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(cross_fitted, "_CHUNK", 3)
    assert np.array_equal(agent.plan(engine_of(literal), VIDEOS).options, at_once)


def test_few_videos_and_very_many_frames(literal: Literal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two videos there is one to fit to, and no other to choose a penalty on: a fixed box."""
    plan = GlanceRuleAgent(0).plan(engine_of(literal), VIDEOS[:2])
    assert (plan.options == plan.options[:, :1]).all()
    monkeypatch.setattr(cross_fitted, "_MOST_FRAMES", 1)  # a video of each fold is fitted to
    assert GlanceRuleAgent(0).plan(engine_of(literal), VIDEOS).options.shape == (N, T)


@pytest.mark.parametrize("agent", [CrossFittedBoxAgent(3), GlanceRuleAgent(3)])
def test_labels_of_a_fold_do_not_decide_what_is_played_in_it(
    agent: CrossFittedBoxAgent | GlanceRuleAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    literal = Literal(tmp_path)
    folds = np.arange(N) % 5
    monkeypatch.setattr(cross_fitted, "video_folds", lambda labels, seed: folds)
    before = agent.plan(engine_of(literal), VIDEOS).options
    labels = literal.cache.labels.clone()
    labels[folds == 2] = (labels[folds == 2] + 1) % 3
    literal.cache.labels = labels
    after = agent.plan(engine_of(literal), VIDEOS).options
    assert np.array_equal(before[folds == 2], after[folds == 2])
    assert not np.array_equal(before, after)
