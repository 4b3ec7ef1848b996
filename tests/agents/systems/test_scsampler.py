"""SCSampler: its loss pair by pair, and a ranking that finds the segment that tells the class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import T
from telling_cache import telling_segments, telling_source, write_telling

from focusgym.agents.systems.scsampler import (
    SCSAMPLER,
    Salience,
    SalienceConfig,
    ranking_loss,
    salience,
    subset_config,
)
from focusgym.agents.task_play import trace_source
from focusgym.envs import FeatureSource, FocusEngine


@pytest.fixture
def source(tmp_path: Path) -> FeatureSource:
    return telling_source(write_telling(tmp_path, "average", reuse_glance=False))


def test_the_ranking_loss_pair_by_pair() -> None:
    scores = torch.tensor([[0.5, 2.0, -1.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    sure = torch.tensor([[0.9, 0.2, 0.2, 0.1], [0.3, 0.3, 0.3, 0.3]])
    pairs = [
        max(0.0, 1 - float(scores[0, i] - scores[0, j]))
        for i in range(4)
        for j in range(4)
        if sure[0, i] > sure[0, j]
    ]
    assert len(pairs) == 5
    assert ranking_loss(scores, sure).tolist() == pytest.approx([sum(pairs) / 5, 0.0])


def test_salience_is_f_c_on_one_segment(source: FeatureSource) -> None:
    videos = np.array([3, 8, 20])
    saliences = salience(FocusEngine(source), videos)
    telling = telling_segments(source.cache)[videos]
    sure = float(np.exp(6) / (np.exp(6) + 2))
    expected = np.where(np.arange(T) == telling[:, None], sure, 1 / 3)
    np.testing.assert_allclose(saliences.numpy(), expected, atol=1e-5)


def test_the_highest_scores_are_read(source: FeatureSource) -> None:
    """As a sort says; f_G on all segments, f_L and f_C on two, and the network's own cost."""
    torch.manual_seed(0)
    network = Salience(SalienceConfig(source.cache.glance_channels, 6, 2))
    videos = source.cache.split("train")
    trace = trace_source(network, subset_config(network, source), source, videos)
    with torch.no_grad():
        scores = network(source.glances(videos, np.ones((len(videos), T), dtype=bool)))
    best = np.sort(np.argsort(-scores.numpy(), axis=1)[:, :2], axis=1)
    assert trace.segments[:, :2].tolist() == best.tolist()
    assert (trace.segments[:, 2:] == -1).all()
    cost, g = source.frame_cost, source.cache.glance_channels
    own = T * (g * 6 + 6) / 1e9
    each = cost.local_gmacs + cost.classifier_gmacs
    np.testing.assert_allclose(trace.gmacs[:, -1], T * cost.glance_gmacs + own + 2 * each)
    local = source.cache.local_vectors(videos[:, None], best, np.zeros_like(best))
    expected = source.classifier(source.glances(videos, trace.fed)[:, :2], local)[:, -1]
    torch.testing.assert_close(trace.logits[:, -1], expected)


def test_a_ranking_learns_what_tells_the_class(source: FeatureSource) -> None:
    """And the same seed gives the same network."""
    system = replace(SCSAMPLER, hidden=8, epochs=15, batch_size=12, lr=0.05)
    videos = source.cache.split("test")
    one, again = (system.reader(source, 0.25, 3)(source, videos) for _ in range(2))
    assert one.segments[:, 0].tolist() == telling_segments(source.cache)[videos].tolist()
    assert one.correct.all()
    assert one.logits.equal(again.logits)
