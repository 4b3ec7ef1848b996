"""One place for a whole video: the exact gradient by hand, and what is learned and read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import GRID, SIDE, C, G, L, write_cache, write_classifier
from torch import Tensor

from focusgym.agents import find_system
from focusgym.agents.clips import ClipOnFeatures, ClipOutputs, read_clips, train_clips
from focusgym.agents.systems import adafocus_tsm
from focusgym.agents.systems.adafocus_tsm import ADAFOCUS_TSM, ClipByGradient
from focusgym.envs import FeatureSource
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import (
    BundleError,
    ClassifierConfig,
    FitConfig,
    FitError,
    Policy,
    PolicyConfig,
    build_classifier,
    build_policy,
    policy_gmacs,
    read_classifier,
)

K = GRID**2
CONFIG = PolicyConfig(SIDE, SIDE, G, K, 4, 16, network="clip")
VIDEOS = np.array([3, 0, 7, 5])


def make_policy(seed: int = 0, scale: float = 3) -> Policy:
    """One that prefers something, in another way in each video."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = build_policy(CONFIG).eval()
    with torch.no_grad():
        policy.get_submodule("actor").weight.mul_(scale)  # type: ignore[operator, union-attr]
    return policy


@pytest.fixture(params=[1, 3])
def source(tmp_path: Path, request: pytest.FixtureRequest) -> FeatureSource:
    """Random features of one segment, or of several, and a sum of logits."""
    cache = write_cache(tmp_path / "cache", steps=request.param, n=20)
    path = write_classifier(cache, tmp_path / "f_c", aggregation="average_logits")
    return FeatureSource(cache, read_classifier(path))


@torch.no_grad()
def by_hand(source: FeatureSource, videos: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return f_C's logits ``(B, K, T, C)`` and confidences ``(B, K)`` of all options."""
    cache, steps = source.cache, np.arange(source.cache.steps)
    glance = cache.glance_vectors(videos)
    logits = torch.stack(
        [
            source.classifier(glance, cache.local_vectors(videos[:, None], steps, k))
            for k in range(K)
        ],
        dim=1,
    )
    labels = cache.labels[videos]
    probabilities = logits[:, :, -1].softmax(-1)
    return logits, torch.stack([p[:, y] for p, y in zip(probabilities, labels, strict=True)])


@torch.no_grad()
def preferences(source: FeatureSource, videos: np.ndarray, policy: Any) -> Tensor:
    """Return π's logits ``(B, K)``: the mean of those of the segments."""
    return torch.stack([policy(each[None])[0].mean(0) for each in source.cache.glance_maps(videos)])


def test_the_stage_tries_every_option(source: FeatureSource) -> None:
    policy = make_policy()
    outputs = ClipOnFeatures(source, policy)(torch.from_numpy(VIDEOS))
    logits, sure = by_hand(source, VIDEOS)
    prefers = preferences(source, VIDEOS, policy)
    torch.testing.assert_close(outputs.policy, prefers, rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs.values, sure, rtol=0, atol=1e-5)
    best = prefers.argmax(-1)
    assert len(set(best.tolist())) > 1
    expected = torch.stack([each[k, -1:] for each, k in zip(logits, best, strict=True)])
    torch.testing.assert_close(outputs.logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("baseline", [0.0, 0.37, -2.0])
def test_its_gradient_is_the_expectation_of_reinforce(baseline: float) -> None:
    """Over all options, whatever the baseline; and by the Jacobian of the softmax."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(5, K, dtype=torch.float64, generator=generator).requires_grad_()
    p = torch.rand(5, K, dtype=torch.float64, generator=generator)
    outputs = ClipOutputs(z, p, torch.zeros(5, 1, C))
    losses = ClipOnFeatures.losses(object.__new__(ClipOnFeatures), outputs, torch.zeros(5))
    assert losses.shape == (5,)
    losses.sum().backward()
    assert z.grad is not None
    for video in range(5):
        pi = z[video].detach().exp() / z[video].detach().exp().sum()
        assert float(losses[video].detach()) == pytest.approx(-float(pi @ p[video]))
        jacobian = torch.diag(pi) - torch.outer(pi, pi)
        torch.testing.assert_close(z.grad[video], -(jacobian @ p[video]))
        expectation = torch.zeros(K, dtype=torch.float64)
        for k in range(K):
            of_log = torch.eye(K, dtype=torch.float64)[k] - pi  # ∇ log π(k)
            expectation += pi[k] * (p[video, k] - baseline) * of_log
        torch.testing.assert_close(z.grad[video], -expectation)


def test_the_gradient_of_weights(source: FeatureSource) -> None:
    """That of the policy's last bias, against differences of the expected confidence by hand."""
    policy = make_policy(scale=1)
    stage = ClipOnFeatures(source, policy)
    rows = torch.from_numpy(VIDEOS)
    stage.losses(stage(rows), source.cache.labels[rows]).sum().backward()
    _, sure = by_hand(source, VIDEOS)
    prefers = preferences(source, VIDEOS, policy).double()
    bias: Any = policy.get_submodule("actor").bias
    for k in range(K):
        ends = []
        for change in (1e-4, -1e-4):
            moved = prefers.clone()
            moved[:, k] += change
            ends.append(-(moved.softmax(-1) * sure.double()).sum())
        assert float(bias.grad[k]) == pytest.approx(float(ends[0] - ends[1]) / 2e-4, abs=1e-4)
    assert all(parameter.grad is None for parameter in stage.classifier.parameters())


@pytest.fixture
def named(tmp_path: Path) -> tuple[FeatureSource, np.ndarray]:
    """Videos of one segment, in which a cell of the glance map names the option of the label.

    Every other option shows another class. f_C takes what the local vector says.
    """
    cache = write_cache(tmp_path / "cache", n=150, steps=1)
    rng, n = np.random.default_rng(0), cache.n_videos
    at, labels = rng.integers(K, size=n), cache.labels.numpy()
    maps = rng.normal(scale=0.1, size=(n, 1, K, G))
    maps[np.arange(n), 0, at, 0] += 4
    shown = np.tile((labels + rng.integers(1, C, size=n))[:, None] % C, (1, K))
    shown[np.arange(n), at] = labels
    local = np.eye(L)[shown] * 3
    for name, values in (
        ("glance_maps", maps.reshape(n, 1, SIDE, SIDE, G)),
        ("local_vectors_p12_3x3", local[:, None]),
    ):
        np.save(cache.root / f"{name}.npy", values.astype(np.float16))
    f_c = build_classifier(ClassifierConfig(G, L, C, aggregation="average_logits")).eval()
    with torch.no_grad():
        for parameter in f_c.parameters():
            parameter.zero_()
        weight = next(each for each in f_c.parameters() if each.ndim == 2)
        weight[:, -L : -L + C] = torch.eye(C)
    return FeatureSource(FeatureCache.open(cache.root), f_c), at


def test_it_learns_the_option_that_the_map_names(named: tuple[FeatureSource, np.ndarray]) -> None:
    """In videos that it has not seen; a ninth would be chance."""
    source, at = named
    policy, test = make_policy(scale=1), source.cache.split("test")
    before = read_clips(source, test, policy)
    how = FitConfig(25, 16, {"policy": 1e-2}, optimizer="adamw", schedule="one_cycle")
    fitted = train_clips(source, policy, how, [0])
    trace = read_clips(source, test, policy)
    hits = (trace.options[:, 0] == at[test]).mean()
    assert hits > 0.6
    assert trace.correct.mean() == pytest.approx(hits)
    assert before.correct.mean() < 0.5
    assert fitted.val_accuracy > 0.6
    assert fitted.epoch > 0
    assert not policy.training


def test_what_is_read_by_hand(source: FeatureSource) -> None:
    policy, cache = make_policy(), source.cache
    videos, steps = cache.split("train"), cache.steps
    trace = read_clips(source, videos, policy)
    chosen = preferences(source, videos, policy).argmax(-1)
    logits, sure = by_hand(source, videos)
    rows = torch.arange(len(videos))
    torch.testing.assert_close(trace.logits, logits[rows, chosen], rtol=0, atol=1e-5)
    np.testing.assert_allclose(trace.confidence, sure[rows, chosen], atol=1e-5)
    assert trace.options.tolist() == [[k] * steps for k in chosen.tolist()]
    assert trace.segments.tolist() == [[*range(steps)]] * len(videos)
    assert trace.attended.all()
    each = 0.3 + 1.5 + source.frame_cost.classifier_gmacs + policy_gmacs(policy)
    expected = np.tile(each * np.arange(1, steps + 1), (len(videos), 1))
    np.testing.assert_allclose(trace.gmacs, expected)


def test_controls_by_hand(source: FeatureSource) -> None:
    """The centre, the option that is best in validation, and random ones of a seed."""
    cache, test = source.cache, source.cache.split("test")
    logits, _ = by_hand(source, test)
    _, sure = by_hand(source, cache.split("val"))
    played = {}
    for name in ("clip_central", "clip_fixed", "clip_random"):
        system: Any = find_system(name)
        trace = system.reader(source, 1.0, 4)(source, test)
        options = trace.options[:, 0]
        assert trace.options.tolist() == [[k] * cache.steps for k in options]
        rows = torch.arange(len(test))
        torch.testing.assert_close(trace.logits, logits[rows, options], rtol=0, atol=1e-5)
        each = 0.3 + 1.5 + source.frame_cost.classifier_gmacs
        np.testing.assert_allclose(trace.gmacs[:, -1], cache.steps * each)
        played[name] = options
    assert set(played["clip_central"].tolist()) == {4}
    if cache.steps == 1:
        assert set(played["clip_fixed"].tolist()) == {int(sure.mean(0).argmax())}
    random: Any = find_system("clip_random")
    every = np.arange(cache.n_videos)
    one, again, other = (random.reader(source, 1.0, s)(source, every).options for s in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()
    assert len(set(one[:, 0].tolist())) > 3


def test_what_is_kept_is_read(
    source: FeatureSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is a policy for clips: a file that was changed is refused."""
    assert isinstance(ADAFOCUS_TSM, ClipByGradient)
    system = replace(ADAFOCUS_TSM, conv_channels=2, hidden=5, epochs=2, batch_size=4)
    videos, kept = source.cache.split("test"), tmp_path / "kept"
    first = system.reader(source, 1.0, 3, kept)(source, videos)
    monkeypatch.delattr(adafocus_tsm, "train_clips")
    again = ADAFOCUS_TSM.reader(source, 1.0, 3, kept)(source, videos)
    torch.testing.assert_close(again.logits, first.logits, rtol=0, atol=0)
    text = (kept / "bundle.json").read_text()
    (kept / "bundle.json").write_text(text.replace('"clip"', '"gru"'))
    with pytest.raises(BundleError, match="names one option for all segments; got 'gru'"):
        system.reader(source, 1.0, 3, kept)


def test_a_video_alone_in_a_batch_is_refused(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache", steps=1, n=20)
    path = write_classifier(cache, tmp_path / "f_c", aggregation="average_logits")
    source = FeatureSource(cache, read_classifier(path))
    n = len(cache.split("train"))
    how = FitConfig(1, n - 1, {"policy": 1e-3}, optimizer="adamw", schedule="one_cycle")
    with pytest.raises(FitError, match=f"of {n} training videos in batches of {n - 1} the last"):
        train_clips(source, make_policy(), how, [0])
