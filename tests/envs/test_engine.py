"""The engine against a literal implementation of Eq. 7 with torch.nn.GRU on raw features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import C, G, L, T, write_cache
from torch import nn

from focusgym.envs import FocusEngine, increment_over_random
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import ClassifierConfig, GruClassifier

K = 9


def literal_confidence(
    cache: FeatureCache, classifier: GruClassifier, video: int, options: list[int]
) -> float:
    """Return p_ty after looking at ``options`` in the first frames of a video, from the files."""
    glance = np.load(cache.root / "glance_vectors.npy")[video].astype(np.float32)
    local = np.load(cache.root / "local_vectors_p12_3x3.npy")[video].astype(np.float32)
    gru = nn.GRU(G + L, classifier.config.hidden)
    gru.load_state_dict(classifier.gru.state_dict())
    x = [np.concatenate([glance[t], local[t, k]]) for t, k in enumerate(options)]
    with torch.no_grad():
        out, _ = gru(torch.from_numpy(np.stack(x))[:, None])
        p = classifier.head(out[-1, 0]).softmax(-1)
    return float(p[int(cache.videos["label"][video])])


def test_equation_7_by_hand() -> None:
    chosen = torch.tensor([0.9, 0.2])
    random = torch.tensor([[0.5, 0.7], [0.2, 0.4]])
    expected = torch.tensor([0.9 - 0.6, 0.2 - 0.3])
    torch.testing.assert_close(increment_over_random(chosen, random), expected)
    expected = torch.tensor([0.4, 0.0])
    torch.testing.assert_close(increment_over_random(chosen, random[:, :1]), expected)


def test_equation_7_on_a_tiny_case_worked_out(tmp_path: Path) -> None:
    """One hidden unit, zero recurrence: p is a sigmoid of a known number."""
    cache = write_cache(tmp_path / "tiny", n=5, steps=1)
    classifier = GruClassifier(ClassifierConfig(G, L, C, hidden=1)).eval()
    for parameter in classifier.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        classifier.gru.get_parameter("weight_ih_l0")[2, G] = 1.0  # candidate = tanh(local[0])
        classifier.head.weight[:, 0] = torch.tensor([2.0, 0.0, -1.0])
    video, chosen, random = np.array([3]), np.array([4]), np.array([[7]])
    engine = FocusEngine(cache, classifier)
    engine.start(video)
    step = engine.step(chosen, random)
    local = np.load(cache.root / "local_vectors_p12_3x3.npy").astype(np.float64)[3, 0, :, 0]

    def p(option: int) -> float:
        h = 0.5 * np.tanh(local[option])  # update gate = sigmoid(0)
        z = np.exp([2 * h, 0.0, -h])
        return float(z[int(cache.labels[3])] / z.sum())

    assert float(step.confidence) == pytest.approx(p(4), abs=1e-6)
    assert float(step.reward) == pytest.approx(p(4) - p(7), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), n_random=st.integers(1, 4))
def test_rewards_and_confidences_are_the_literal_ones(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n_random: int
) -> None:
    cache = write_cache(tmp_path_factory.mktemp("c") / "cache", seed=seed)
    torch.manual_seed(seed)
    classifier = GruClassifier(ClassifierConfig(G, L, C, hidden=7)).eval()
    rng = np.random.default_rng(seed)
    videos = rng.integers(cache.n_videos, size=3)
    options = rng.integers(K, size=(3, T))
    engine = FocusEngine(cache, classifier)
    engine.start(videos)
    for t in range(T):
        random = rng.integers(K, size=(3, n_random))
        step = engine.step(options[:, t], random)
        for b, video in enumerate(videos):
            before = options[b, :t].tolist()
            p = literal_confidence(cache, classifier, video, [*before, options[b, t]])
            others = [literal_confidence(cache, classifier, video, [*before, k]) for k in random[b]]
            assert float(step.confidence[b]) == pytest.approx(p, abs=1e-5)
            assert float(step.reward[b]) == pytest.approx(p - np.mean(others), abs=1e-5)
    logits = engine.rollout(videos, options)
    torch.testing.assert_close(logits[:, -1], step.logits, rtol=0, atol=1e-5)


def test_counterfactuals_are_all_the_steps_not_taken(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    videos = np.array([0, 5])
    engine = FocusEngine(cache, classifier)
    engine.start(videos)
    engine.step(np.array([1, 2]), np.zeros((2, 1), dtype=int))
    confidences = engine.counterfactuals()
    assert confidences.shape == (2, K)
    for b, (video, first) in enumerate(zip(videos, (1, 2), strict=True)):
        for k in range(K):
            p = literal_confidence(cache, classifier, video, [first, k])
            assert float(confidences[b, k]) == pytest.approx(p, abs=1e-5)
    assert engine.t == 1, "asking does not step"


def test_the_exact_expectation_is_the_mean_of_all_single_draws(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    videos, options = np.arange(4), np.array([0, 3, 8, 5])

    def reward(random: np.ndarray | None) -> torch.Tensor:
        engine = FocusEngine(cache, classifier)
        engine.start(videos)
        return engine.step(options, random).reward

    singles = torch.stack([reward(np.full((4, 1), k)) for k in range(K)])
    torch.testing.assert_close(reward(None), singles.mean(0), rtol=0, atol=1e-6)


def test_the_expected_reward_of_the_uniform_policy_is_zero(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    videos = np.arange(6)
    rewards = []
    for k in range(K):
        engine = FocusEngine(cache, classifier)
        engine.start(videos)
        rewards.append(engine.step(np.full(6, k), None).reward)
    torch.testing.assert_close(torch.stack(rewards).mean(0), torch.zeros(6), rtol=0, atol=1e-6)
