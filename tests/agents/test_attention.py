"""Attention over the glance: weights by a plain loop, what is learned, what reading costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import C, G, L, T, add_frames, write_cache, write_classifier
from torch import Tensor

from focusgym.agents import read_segments
from focusgym.agents.attention import (
    AttentionOnFeatures,
    attention_gmacs,
    read_attention,
    train_attention,
)
from focusgym.agents.systems.listentolook import LISTENTOLOOK
from focusgym.envs import FeatureSource
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import ClassifierConfig, FitConfig, build_classifier, read_classifier
from focusgym.recognizer.policies.attention import AttentionPolicy, AttentionPolicyConfig

CONFIG = AttentionPolicyConfig(G, T, 3, 4, 8)


def make_policy(seed: int = 0, **sizes: Any) -> AttentionPolicy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = AttentionPolicy(replace(CONFIG, **sizes))
    with torch.no_grad():
        for weights in policy.parameters():
            weights.mul_(3)  # weights far from 1 / T
    return policy


@pytest.fixture
def source(tmp_path: Path) -> FeatureSource:
    cache = write_cache(tmp_path / "cache", n=20)
    add_frames(cache, (32,))
    cache = FeatureCache.open(cache.root, "full32")
    path = write_classifier(cache, tmp_path / "f_c", aggregation="average_logits")
    return FeatureSource(cache, read_classifier(path))


def loop(policy: AttentionPolicy, glance: np.ndarray, *, soft: bool) -> np.ndarray:
    """Return the weights ``(D, T)`` of one video: gates and products as they are written."""
    w = {name: value.double().numpy() for name, value in policy.state_dict().items()}

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-x)))

    keys = [w["keys.weight"] @ each + w["keys.bias"] for each in glance]
    h = c = np.zeros(policy.config.hidden)
    seen, taken, rows = glance.mean(axis=0), set(), []
    for _ in range(policy.config.reads):
        gates = w["lstm.weight_ih"] @ seen + w["lstm.bias_ih"]
        i, f, g, o = np.split(gates + w["lstm.weight_hh"] @ h + w["lstm.bias_hh"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        query = np.maximum(w["query.0.weight"] @ h + w["query.0.bias"], 0)
        query = w["query.2.weight"] @ query + w["query.2.bias"]
        exps = [
            0.0 if t in taken else np.exp(query @ keys[t] / np.sqrt(policy.config.key_channels))
            for t in range(len(glance))
        ]
        row = np.array(exps) / sum(exps)
        taken.add(int(row.argmax()))
        if not soft:
            row = (np.arange(len(glance)) == row.argmax()).astype(float)
        seen = row @ glance
        rows.append(row)
    return np.stack(rows)


@pytest.mark.parametrize("soft", [True, False])
def test_weights_by_a_loop(soft: bool) -> None:
    policy = make_policy().train(soft)
    glance = np.random.default_rng(1).normal(size=(6, T, G))
    with torch.no_grad():
        weights = policy(torch.from_numpy(glance).float())
    expected = np.stack([loop(policy, each, soft=soft) for each in glance])
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    assert len({tuple(each.argmax(axis=1)) for each in expected}) > 1, "videos differ"


def test_f_c_is_fed_means(source: FeatureSource) -> None:
    """In training the mean of all segments' features under the weights; the gradient reaches π."""
    policy, cache = make_policy(), source.cache
    stage = AttentionOnFeatures(cache, source.classifier, policy).train()
    rows = np.array([3, 0, 7])
    logits = stage(torch.from_numpy(rows))
    glance = np.load(cache.root / "glance_vectors.npy").astype(np.float64)[rows]
    local = np.load(cache.root / "local_vectors_full32.npy").astype(np.float64)[rows, :, 0]
    weights = np.stack([loop(policy, each, soft=True) for each in glance])
    fed = [torch.from_numpy(weights @ each).float() for each in (glance, local)]
    expected = source.classifier(*fed)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    logits.sum().backward()
    assert all(weights.grad is not None for weights in policy.parameters())
    assert not any(weights.requires_grad for weights in stage.classifier.parameters())


def test_reading(source: FeatureSource) -> None:
    """Each segment once, f_C by itself on them, costs by hand: f_G on all segments at first."""
    policy, cache = make_policy().eval(), source.cache
    videos = cache.split("train")
    trace = read_attention(source, videos, policy)
    segments = trace.segments[:, : CONFIG.reads]
    assert all(len({*row}) == CONFIG.reads for row in segments.tolist())
    assert len(np.unique(segments, axis=0)) > 1, "videos differ"
    glance = cache.glance_vectors(videos[:, None], segments)
    local = cache.local_vectors(videos[:, None], segments, 0)
    with torch.no_grad():
        expected = source.classifier(glance, local)
    torch.testing.assert_close(trace.logits[:, : CONFIG.reads], expected, atol=1e-5, rtol=0)
    d, k, h = CONFIG.reads, CONFIG.key_channels, CONFIG.hidden
    asks = T * G * k + d * (4 * h * (G + h) + h * h + h * k + T * k + T * G)
    assert attention_gmacs(policy) == pytest.approx(asks / 1e9)
    cost = source.frame_cost
    read = np.minimum(np.arange(1, T + 1), d)
    each = cost.local_gmacs + cost.classifier_gmacs
    expected_gmacs = T * cost.glance_gmacs + asks / 1e9 + read * each
    np.testing.assert_allclose(trace.gmacs, np.tile(expected_gmacs, (len(videos), 1)))
    assert trace.attended.sum(axis=1).tolist() == [d] * len(videos)


def test_it_learns_where_the_label_is(tmp_path: Path) -> None:
    """One segment shows the label, which the glance tells; the others show another class."""
    cache = write_cache(tmp_path / "cache", n=80)
    add_frames(cache, (32,))
    rng, n = np.random.default_rng(0), cache.n_videos
    labels, when = cache.labels.numpy(), rng.integers(T, size=n)
    shown = np.tile(((labels + rng.integers(1, C, size=n)) % C)[:, None], (1, T))
    shown[np.arange(n), when] = labels
    glance = rng.normal(scale=0.3, size=(n, T, G))
    glance[np.arange(n), when, 0] += 2
    local = np.zeros((n, T, 1, L))
    local[..., 0, :C] = 3 * np.eye(C)[shown]
    np.save(cache.root / "glance_vectors.npy", glance.astype(np.float16))
    np.save(cache.root / "local_vectors_full32.npy", local.astype(np.float16))
    f_c = build_classifier(ClassifierConfig(G, L, C, aggregation="average_logits"))
    with torch.no_grad():
        head = f_c.get_submodule("head")
        assert isinstance(head, torch.nn.Linear)
        for weights in (head.bias, head.weight):
            weights.zero_()
        head.weight[:, G : G + C] = torch.eye(C)
    source = FeatureSource(FeatureCache.open(cache.root, "full32"), f_c)
    policy, test = make_policy(reads=1, hidden=16), source.cache.split("test")
    how = FitConfig(15, 8, {"policy": 1e-2}, optimizer="adamw", schedule="one_cycle")
    train_attention(source, policy, how, [0])
    assert read_attention(source, test, policy).correct.mean() >= 0.9
    assert read_segments(source, test, [0]).correct.mean() < 0.6


def test_a_seed_decides(source: FeatureSource, tmp_path: Path) -> None:
    """What is kept reads again as it did; another seed learns something else."""
    system = replace(LISTENTOLOOK, key_channels=4, hidden=8, epochs=1, lr=0.05)
    videos = source.cache.split("train")

    def read(seed: int, kept: Path | None = None) -> Tensor:
        return system.reader(source, 0.5, seed, kept)(source, videos).logits

    one = read(0, tmp_path / "kept")
    assert torch.equal(one, read(9, tmp_path / "kept")), "the seed is not used again"
    assert torch.equal(one, read(0))
    assert not torch.equal(one, read(1))


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="reads must be at most 4, the segments of a video; got 5"):
        replace(CONFIG, reads=5)
    with pytest.raises(ValueError, match="hidden must be an integer of at least 1; got 0"):
        replace(CONFIG, hidden=0)
    with pytest.raises(ValueError, match=r"for glance vectors \(B, 4, 5\); got \(2, 3, 5\)"):
        make_policy()(torch.zeros(2, 3, G))
