"""LiteEval: its loss by another way, and a gate that learns where fine features tell the class."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import T
from telling_cache import telling_segments, telling_source, write_telling

from focusgym.agents.systems.lite_eval import (
    LITE_EVAL_GATES,
    Gate,
    GateConfig,
    GateOnFeatures,
    schedule,
)
from focusgym.envs import FeatureSource, FocusEngine


@pytest.fixture
def source(tmp_path: Path) -> FeatureSource:
    return telling_source(write_telling(tmp_path, "gru", reuse_glance=True))


def small_gate(source: FeatureSource, share: float) -> Gate:
    torch.manual_seed(1)
    state = source.classifier.start(1).shape[1]
    return Gate(GateConfig(source.cache.glance_channels, state, 8, share))


def test_the_schedule_by_hand() -> None:
    """At the start, after 5,000 batches, and where the temperature has ended."""
    assert schedule(0, 20) == (1.0, 1.0)
    temperature, weight = schedule(5_000, 2_500)
    assert (temperature, weight) == pytest.approx((math.exp(-0.5), 2 - math.exp(-2)))
    assert schedule(10_000, 20)[0] == 0.5


def test_the_loss_is_that_of_the_paper(source: FeatureSource) -> None:
    """The engine plays what the noisy gate said; the loss is written out in NumPy."""
    gate = small_gate(source, share=0.3)
    stage = GateOnFeatures(source, gate, batch_size=4)
    stage.begin_epoch(3, 6)  # of 36 training videos, so that 27 batches were before
    temperature, weight = math.exp(-27e-4), 2 - math.exp(-27 / 6)
    assert (stage.temperature, stage.weight) == pytest.approx((temperature, weight))
    videos = np.array([5, 0, 9, 11])
    draws = torch.rand(4, T, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    stage.train()
    outputs = stage(torch.from_numpy(videos), draws)
    labels = source.labels[videos]
    losses = stage.losses(outputs, labels)
    engine = FocusEngine(source)
    engine.start(videos)
    fine = np.zeros((4, T), dtype=bool)
    for t in range(T):
        seen = np.eye(T)[[t] * 4]
        glances = source.glances(videos, np.ones((4, T), dtype=bool))
        margin = gate(glances[:, t], engine.state).detach().numpy()
        noise = draws[:, t, 0].numpy()
        fine[:, t] = margin + np.log(noise) - np.log1p(-noise) > 0
        without_noise, _ = gate.predict(
            {"now": seen, "glances": glances.numpy(), "state": engine.state.numpy()}
        )
        assert (without_noise == np.where(margin > 0, 0, 1)).all()
        options = np.zeros((4, 1), dtype=int)
        engine.commit(engine.try_options(np.full(4, t), options, fine[:, t, None]))
    assert 0 < fine.mean() < 1
    np.testing.assert_array_equal(outputs.fine.detach().numpy(), fine)
    torch.testing.assert_close(outputs.logits[:, 0].detach(), engine.logits)
    entropy = -np.log(engine.confidence.numpy())
    expected = entropy + weight * (fine.mean() - 0.3) ** 2
    np.testing.assert_allclose(losses.detach().numpy(), expected, rtol=1e-5)
    losses.sum().backward()
    assert gate.margin.weight.grad is not None
    assert gate.margin.weight.grad.abs().sum() > 0, "through the masks and through f_C"


def test_a_gate_learns_where_to_read(source: FeatureSource) -> None:
    """One segment of four tells the class, and the glance says which: nothing else is read."""
    system = replace(LITE_EVAL_GATES, hidden=8, epochs=60, batch_size=12, lr=0.05)
    cache, cost = source.cache, source.frame_cost
    videos = cache.split("test")
    trace = system.reader(source, 0.25, 0)(source, videos)
    telling = telling_segments(cache)[videos]
    assert (trace.attended == (np.arange(T) == telling[:, None])).mean() > 0.9
    assert trace.correct.mean() > 0.9
    assert trace.fed.all()
    state = source.classifier.start(1).shape[1]
    gate = (8 * cache.glance_channels + 8 + state) / 1e9
    each = cost.glance_gmacs + cost.classifier_gmacs + gate
    expected = T * each + trace.attended.sum(axis=1) * cost.local_gmacs
    np.testing.assert_allclose(trace.gmacs[:, -1], expected)
    assert np.array_equal(trace.named, trace.attended)
    assert not trace.options.any()


class _Stopped(Exception):
    pass


def test_a_training_that_was_interrupted(
    source: FeatureSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its third epoch, gone on with: the noise, and so the gate, is the same."""
    system = replace(LITE_EVAL_GATES, hidden=4, epochs=4, batch_size=12)
    system.reader(source, 0.5, 2, tmp_path / "whole")
    plain, calls = GateOnFeatures.begin_epoch, 0

    def interrupted(stage: GateOnFeatures, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:  # the first one is of the stage being made
            raise _Stopped
        plain(stage, *args)

    monkeypatch.setattr(GateOnFeatures, "begin_epoch", interrupted)
    with pytest.raises(_Stopped):
        system.reader(source, 0.5, 2, tmp_path / "again")
    assert (tmp_path / "again.safetensors").is_file()
    system.reader(source, 0.5, 2, tmp_path / "again")
    weights = [tmp_path / name / "weights.safetensors" for name in ("whole", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    system.reader(source, 0.5, 3, tmp_path / "other")
    assert (tmp_path / "other" / "weights.safetensors").read_bytes() != weights[0].read_bytes()
