from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support import G, T

from focusgym.agents import (
    CentralAgent,
    FixedAgent,
    GaussianAgent,
    LearnedAgent,
    OracleAgent,
    RandomAgent,
    TrueBoxAgent,
    UniformFramesAgent,
    best_fixed_option,
)
from focusgym.envs import FeatureSource, FocusEngine, uniform_segments
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import GruClassifier, PolicyConfig, PolicyNetwork

VIDEOS = np.array([7, 2, 0, 9, 4])


def test_fixed_policies(cache: FeatureCache, classifier: GruClassifier) -> None:
    engine = FocusEngine(FeatureSource(cache, classifier))
    assert (CentralAgent().plan(engine, VIDEOS).options == 4).all()
    plan = RandomAgent(0).plan(engine, VIDEOS)
    random = plan.options
    assert plan.attended.all()
    assert random.shape == (5, T)
    assert np.array_equal(random, RandomAgent(0).plan(engine, VIDEOS).options)
    assert not np.array_equal(random, RandomAgent(1).plan(engine, VIDEOS).options)
    # Frame 32, patch 12: candidate centres at 6, 16, 26 on each axis.
    centers = np.zeros((cache.n_videos, T, 2))
    centers[2] = [[6, 6], [26, 6], [7, 25], [100, -3]]
    assert TrueBoxAgent(centers).plan(engine, VIDEOS).options[1].tolist() == [0, 2, 6, 2]


def test_the_gaussian_policy_has_its_normal_distribution(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    """Per axis P(cell 0) = Φ((11 - 16) / 8), and so on: a product of two."""
    from statistics import NormalDist

    engine = FocusEngine(FeatureSource(cache, classifier))
    options = GaussianAgent(0).plan(engine, np.tile(VIDEOS, 2000)).options
    axis = NormalDist(16, 8)
    share = [axis.cdf(11), axis.cdf(21) - axis.cdf(11), 1 - axis.cdf(21)]
    seen = np.bincount(options.ravel(), minlength=9) / options.size
    np.testing.assert_allclose(seen, np.outer(share, share).ravel(), atol=0.01)


def test_the_best_fixed_box_is_that_of_a_brute_force(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    """Every box, every video and every step on its own, from the softmax of whole rollouts."""
    engine = FocusEngine(FeatureSource(cache, classifier))
    best_options = []
    for videos in (VIDEOS, VIDEOS[:1], np.array([3, 8]), np.array([6])):
        mean = []
        for option in range(9):
            logits = engine.rollout(videos, np.full((len(videos), T), option))
            sure = [logits[b].softmax(-1)[:, cache.labels[v]] for b, v in enumerate(videos)]
            mean.append(float(torch.stack(sure).mean()))
        best_options.append(best_fixed_option(engine, videos))
        assert best_options[-1] == int(np.argmax(mean))
    assert len(set(best_options)) > 1, "the answer depends on the videos"
    with pytest.raises(ValueError, match="expected videos to choose the best fixed option on"):
        best_fixed_option(engine, np.array([], dtype=np.int64))


def test_a_fixed_box_is_played_everywhere(cache: FeatureCache, classifier: GruClassifier) -> None:
    engine = FocusEngine(FeatureSource(cache, classifier))
    agent = FixedAgent(5)
    assert (agent.name, agent.runs_policy, agent.tries_all) == ("fixed", False, False)
    assert agent.plan(engine, VIDEOS).options.tolist() == [[5] * T] * 5
    for wrong in (-1, 9):
        with pytest.raises(ValueError, match=rf"fixed option in \[0, 9\) .* got {wrong}: take"):
            FixedAgent(wrong).plan(engine, VIDEOS)


@pytest.mark.parametrize(
    ("k", "frames"), [(0, []), (1, [2]), (2, [1, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3])]
)
def test_uniform_frames_are_the_middles_of_equal_segments(
    cache: FeatureCache, classifier: GruClassifier, k: int, frames: list[int]
) -> None:
    """Of 4 frames; 3 segments have their middles at 0.67, 2 and 3.33."""
    engine = FocusEngine(FeatureSource(cache, classifier))
    where = RandomAgent(0)
    agent = UniformFramesAgent(k, where)
    plan, everywhere = agent.plan(engine, VIDEOS), where.plan(engine, VIDEOS)
    assert agent.name == f"uniform_{k}"
    assert np.array_equal(plan.options, everywhere.options)
    assert plan.attended.tolist() == [[t in frames for t in range(T)]] * 5


@pytest.mark.parametrize("steps", [1, 2, 5, 6, 8, 16, 25])
def test_uniform_frames_by_the_formula(steps: int) -> None:
    for k in range(steps + 1):
        expected = [math.floor((i + 0.5) * steps / k) for i in range(k)]
        assert uniform_segments(k, steps).tolist() == expected
        assert len(set(expected)) == k


def test_uniform_frames_cost_what_their_locations_cost(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    policy = PolicyNetwork(PolicyConfig(3, 3, G, n_options=9, conv_channels=2, hidden=6))
    for where in (CentralAgent(), LearnedAgent(policy), OracleAgent()):
        agent = UniformFramesAgent(2, where)
        assert (agent.runs_policy, agent.tries_all) == (where.runs_policy, where.tries_all)
    engine = FocusEngine(FeatureSource(cache, classifier))
    for wrong in (-1, T + 1):
        with pytest.raises(ValueError, match=rf"expected k in 0 to 4, .* got {wrong}"):
            UniformFramesAgent(wrong, CentralAgent()).plan(engine, VIDEOS)


def test_the_oracle_is_the_brute_force_greedy_choice(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    engine = FocusEngine(FeatureSource(cache, classifier))
    options = OracleAgent().plan(engine, VIDEOS).options
    for b, video in enumerate(VIDEOS):
        for t in range(T):
            tried = np.tile(options[b, : t + 1], (9, 1))
            tried[:, t] = np.arange(9)
            logits = engine.rollout(np.full(9, video), tried)[:, -1]
            best = logits.softmax(-1)[:, cache.labels[video]].argmax()
            assert options[b, t] == best
