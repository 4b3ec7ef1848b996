from __future__ import annotations

import numpy as np
from support import G, T

from focusgym.agents import (
    CentralAgent,
    GaussianAgent,
    LearnedAgent,
    OracleAgent,
    RandomAgent,
    TrueBoxAgent,
)
from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import GruClassifier, PolicyConfig, PolicyNetwork

VIDEOS = np.array([7, 2, 0, 9, 4])


def test_fixed_policies(cache: FeatureCache, classifier: GruClassifier) -> None:
    engine = FocusEngine(FeatureSource(cache, classifier))
    assert (CentralAgent().options(engine, VIDEOS) == 4).all()
    random = RandomAgent(0).options(engine, VIDEOS)
    assert random.shape == (5, T)
    assert np.array_equal(random, RandomAgent(0).options(engine, VIDEOS))
    assert not np.array_equal(random, RandomAgent(1).options(engine, VIDEOS))
    # Frame 32, patch 12: candidate centres at 6, 16, 26 on each axis.
    centers = np.zeros((cache.n_videos, T, 2))
    centers[2] = [[6, 6], [26, 6], [7, 25], [100, -3]]
    assert TrueBoxAgent(centers).options(engine, VIDEOS)[1].tolist() == [0, 2, 6, 2]


def test_the_gaussian_policy_has_its_normal_distribution(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    """Per axis P(cell 0) = Φ((11 - 16) / 8), and so on: a product of two."""
    from statistics import NormalDist

    engine = FocusEngine(FeatureSource(cache, classifier))
    options = GaussianAgent(0).options(engine, np.tile(VIDEOS, 2000))
    axis = NormalDist(16, 8)
    share = [axis.cdf(11), axis.cdf(21) - axis.cdf(11), 1 - axis.cdf(21)]
    seen = np.bincount(options.ravel(), minlength=9) / options.size
    np.testing.assert_allclose(seen, np.outer(share, share).ravel(), atol=0.01)


def test_the_oracle_is_the_brute_force_greedy_choice(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    engine = FocusEngine(FeatureSource(cache, classifier))
    options = OracleAgent().options(engine, VIDEOS)
    for b, video in enumerate(VIDEOS):
        for t in range(T):
            tried = np.tile(options[b, : t + 1], (9, 1))
            tried[:, t] = np.arange(9)
            logits = engine.rollout(np.full(9, video), tried)[:, -1]
            best = logits.softmax(-1)[:, cache.labels[video]].argmax()
            assert options[b, t] == best


def test_the_learned_agent_takes_the_most_probable_patch(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    policy = PolicyNetwork(PolicyConfig(3, 3, G, n_options=9, conv_channels=2, hidden=6)).eval()
    engine = FocusEngine(FeatureSource(cache, classifier))
    many = np.tile(VIDEOS, 40)  # more than one chunk
    options = LearnedAgent(policy).options(engine, many)
    for b, video in enumerate(VIDEOS):
        expected = policy(cache.glance_maps(np.array([video])))[0].argmax(-1)
        assert options[b].tolist() == expected.tolist()
    assert np.array_equal(options.reshape(40, 5, T), np.tile(options[:5], (40, 1, 1)))
