"""Thresholds of π′ against a search over all of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support import G, N, T

from focusgym.agents import (
    keep_probabilities,
    keep_threshold,
    policy_plan,
    with_threshold,
)
from focusgym.envs import Plan
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import PolicyConfig, PolicyNetwork

RATIOS = (0.01, 0.1, 0.25, 0.3, 0.5, 0.625, 0.7, 0.9, 0.99, 1.0)


def make_policy(threshold: float | None = 0.5) -> PolicyNetwork:
    torch.manual_seed(2)
    return PolicyNetwork(PolicyConfig(3, 3, G, 9, 2, 6, threshold=threshold)).eval()


def pooled(*values: float) -> tuple[Any, Any]:
    """A policy with given p^B on a cache of one video."""
    keep = torch.tensor([values])
    policy = SimpleNamespace(keep=lambda maps: keep)
    return policy, SimpleNamespace(steps=len(values), stored_glance_maps=lambda videos: None)


def solved(keep: tuple[float, ...], ratio: float) -> float:
    policy, cache = pooled(*keep)
    return keep_threshold(policy, cache, np.array([0]), ratio)


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_share_is_as_near_to_eta_as_a_threshold_gets(cache: FeatureCache, ratio: float) -> None:
    """40 frames: every share n / 40 can be had; counted by policies that play the threshold."""
    policy, videos = make_policy(), np.arange(N)
    threshold = keep_threshold(policy, cache, videos, ratio)
    plan = policy_plan(with_threshold(policy, threshold), cache, videos)
    expected = max(1, np.floor(ratio * N * T + 0.5)) / (N * T)  # of equally near ones the larger
    assert plan.kept_share == pytest.approx(expected)


def test_it_is_the_quantile(cache: FeatureCache) -> None:
    """Between the two order statistics around NumPy's (1 − η) quantile of the pooled p^B."""
    policy, videos = make_policy(), cache.split("train")
    keep = np.sort(keep_probabilities(policy, cache, videos).ravel())
    with torch.no_grad():
        expected = policy.keep(cache.glance_maps(videos))
    np.testing.assert_allclose(keep, np.sort(expected.numpy().ravel()), atol=1e-6)
    many = keep_probabilities(policy, cache, np.tile(videos, 20))  # more than one chunk
    np.testing.assert_allclose(many, np.tile(expected.numpy(), (20, 1)), atol=1e-6)
    for ratio in (0.25, 0.5, 0.75):
        threshold = keep_threshold(policy, cache, videos, ratio)
        n = round((1 - ratio) * len(keep))
        assert keep[n - 1] < threshold < keep[n]
        half_way = (float(keep[n - 1]) + float(keep[n])) / 2
        assert threshold == pytest.approx(half_way, abs=1e-9)
        assert keep[n - 1] <= np.quantile(keep, 1 - ratio) <= keep[n]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(
    "keep",
    [
        (0.2, 0.2, 0.2, 0.8),
        (0.2, 0.8, 0.8, 0.8),
        (0.3, 0.5, 0.5, 0.9),
        (0.6, 0.6, 0.6, 0.6),
        (1.0, 1.0, 0.0, 0.0),
        (0.1, 0.4, 0.7),
    ],
)
def test_frames_that_tie_stay_together(keep: tuple[float, ...], ratio: float) -> None:
    """No threshold in a fine comb of them keeps a share nearer to η, but for keeping nothing."""
    threshold = solved(keep, ratio)
    p = np.array(keep, dtype=np.float32)
    share = (p >= np.float32(threshold)).mean()
    shares = [(p >= candidate).mean() for candidate in np.linspace(0, 1, 1001)]
    nearest = min(abs(s - ratio) for s in shares if s > 0)
    assert abs(share - ratio) == pytest.approx(nearest)
    assert share > 0


def test_by_hand() -> None:
    keep = (0.125, 0.75, 0.25, 0.5)
    assert solved(keep, 0.5) == 0.375  # 0.5 and 0.75 stay: half-way to 0.25
    assert solved(keep, 0.25) == 0.625
    assert solved(keep, 1.0) == 0.0, "everything is kept, also in other videos"
    assert solved(keep, 0.001) == 0.625, "never nothing"
    assert solved(keep, 0.625) == 0.1875, "2 and 3 of 4 are equally near: 3"
    assert solved((0.5, 0.5, 0.5), 0.1) == 0.0
    low = float(np.float32(0.5))
    high = float(np.nextafter(np.float32(0.5), np.float32(1)))
    assert solved((low, high), 0.5) == high, "no float32 lies between"


def test_another_threshold_is_a_copy_of_the_weights(cache: FeatureCache) -> None:
    policy = make_policy(0.5)
    other = with_threshold(policy, 0.25)
    assert (policy.config.threshold, other.config.threshold) == (0.5, 0.25)
    assert not other.training
    for name, value in policy.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
        assert other.state_dict()[name].data_ptr() != value.data_ptr()
    maps = cache.glance_maps(np.arange(3))
    torch.testing.assert_close(other(maps), policy(maps))


def test_the_kept_share_by_hand() -> None:
    options = np.array([[0, 5, 9], [6, 8, 3]])
    attended = np.array([[True, False, False], [False, True, False]])
    assert Plan(options, attended).kept_share == pytest.approx(2 / 6)
    with pytest.raises(ValueError, match=r"expected named \(2, 3\), true wherever f_L runs"):
        Plan(options, attended, ~attended)
    assert Plan.everywhere(np.zeros((2, 3), dtype=int)).kept_share == 1.0


def test_wrong_use_is_refused(cache: FeatureCache) -> None:
    policy, videos = make_policy(), np.arange(N)
    for wrong in (0, -0.5, 1.5, float("nan")):
        with pytest.raises(ValueError, match=rf"keep_ratio must be in \(0, 1\], .*; got {wrong}"):
            keep_threshold(policy, cache, videos, wrong)
    with pytest.raises(ValueError, match="expected videos to solve the threshold on; got none"):
        keep_threshold(policy, cache, videos[:0], 0.5)
    without = make_policy(threshold=None)
    with pytest.raises(ValueError, match="expected a policy with π′.* got one without: train"):
        keep_threshold(without, cache, videos, 0.5)
    with pytest.raises(ValueError, match="expected a policy with π′.* got one without: train"):
        with_threshold(without, 0.5)
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\], or None; got 1.5"):
        with_threshold(policy, 1.5)
    with torch.no_grad():
        policy.keep.actor.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="expected finite keep probabilities; got NaN"):
        keep_threshold(policy, cache, videos, 0.5)
