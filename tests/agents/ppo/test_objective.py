"""Draws, returns, advantages and the loss against what they are by definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from focusgym.agents.ppo.objective import (
    Track,
    Weights,
    discounted_returns,
    draw,
    generalized_advantages,
    log_probs_of,
    make_track,
    ppo_loss,
)

numbers = st.floats(-10, 10, width=32)
shares = st.floats(0, 1, width=32)
shapes = st.tuples(st.integers(1, 3), st.integers(1, 6))


def rows(draw_from: Any, shape: tuple[int, int]) -> np.ndarray:
    return draw_from(arrays(np.float64, shape, elements=numbers))


@given(shape=shapes, gamma=shares, gae_lambda=shares, data=st.data())
def test_returns_and_advantages_are_sums(
    shape: tuple[int, int], gamma: float, gae_lambda: float, data: Any
) -> None:
    rewards, values = (rows(data.draw, shape) for _ in range(2))
    n, steps = shape
    returns, advantages = np.zeros(shape), np.zeros(shape)
    for b in range(n):
        for t in range(steps):
            for u in range(t, steps):
                after = values[b, u + 1] if u + 1 < steps else 0.0
                delta = rewards[b, u] + gamma * after - values[b, u]
                returns[b, t] += gamma ** (u - t) * rewards[b, u]
                advantages[b, t] += (gamma * gae_lambda) ** (u - t) * delta
    r, v = torch.from_numpy(rewards), torch.from_numpy(values)
    before = r.clone(), v.clone()
    computed = discounted_returns(r, gamma)
    np.testing.assert_allclose(computed, returns, rtol=0, atol=1e-9)
    computed = generalized_advantages(r, v, gamma, gae_lambda)
    np.testing.assert_allclose(computed, advantages, rtol=0, atol=1e-9)
    of_one = generalized_advantages(r, v, gamma, 1.0)
    np.testing.assert_allclose(of_one, returns - values, rtol=0, atol=1e-9)
    assert torch.equal(r, before[0])
    assert torch.equal(v, before[1])


def test_a_track_by_hand() -> None:
    """Two episodes of two decisions, γ = 1/2."""
    rewards = torch.tensor([[1.0, 2.0], [0.0, 4.0]])
    values = torch.tensor([[1.0, 1.0], [2.0, 0.0]], requires_grad=True)
    actions, log_probs = torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 2)
    discounts = {"gamma": 0.5, "gae_lambda": 1.0}
    track = make_track(actions, log_probs, values, rewards, **discounts, normalize_returns=False)
    assert track.returns.tolist() == [[2.0, 2.0], [2.0, 4.0]]
    assert track.advantages.tolist() == [[1.0, 1.0], [0.0, 4.0]]
    track = make_track(actions, log_probs, values, rewards, **discounts, normalize_returns=True)
    # Returns 2, 2, 2, 4: mean 2.5, standard deviation 1 (of 3).
    expected = (torch.tensor([[2.0, 2.0], [2.0, 4.0]]) - 2.5) / (1 + 1e-5)
    torch.testing.assert_close(track.returns, expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(track.advantages, expected - values.detach(), rtol=0, atol=1e-7)
    assert not track.values.requires_grad
    assert not track.advantages.requires_grad
    discounts["gae_lambda"] = 0.0
    track = make_track(actions, log_probs, values, rewards, **discounts, normalize_returns=False)
    assert track.advantages.tolist() == [[0.5, 1.0], [-2.0, 4.0]], "r + γV' - V"
    assert track.returns.tolist() == [[1.5, 2.0], [0.0, 4.0]]


def test_draws_have_exactly_the_probabilities() -> None:
    """On an even grid of uniforms the frequencies are the probabilities, to a point of the grid."""
    logits = torch.tensor([0.3, -1.0, 2.0, -1e9, 0.0, 5.0, -1e9])
    p = logits.double().softmax(-1)
    points = 100_000
    uniform = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    drawn = draw(logits.expand(points, -1), uniform)
    assert drawn.dtype == torch.int64
    counts = torch.bincount(drawn, minlength=7)
    assert ((counts - points * p).abs() <= 1).all()
    assert counts[3] == counts[6] == 0
    assert (drawn.diff() >= 0).all(), "by inverting the cumulative sum"


def test_what_is_improbable_is_drawn_as_often_as_it_is_probable() -> None:
    """An option of 1e-9, which float32 would have rounded away beside its neighbour."""
    logits = torch.tensor([0.0, -1e9, math.log(1e-9)])
    uniform = torch.tensor([1 - 1.1e-9, 1 - 0.9e-9, 1 - 1e-12], dtype=torch.float64)
    assert draw(logits.expand(3, -1), uniform).tolist() == [0, 2, 2]


def test_draws_pass_a_chi_square_test() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(3, 1, 9))).float()
    uniform = torch.from_numpy(rng.random((3, 20_000)))
    drawn = draw(logits.expand(3, 20_000, 9), uniform)
    for row, p in zip(drawn, logits[:, 0].double().softmax(-1), strict=True):
        counts = np.bincount(row, minlength=9)
        assert chisquare(counts, p.numpy() * 20_000).pvalue > 1e-3


@given(
    forbidden=st.lists(st.booleans(), min_size=1, max_size=12).filter(lambda x: not all(x)),
    uniform=st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 1 - 2**-53])),
    data=st.data(),
)
@settings(max_examples=300)
def test_what_has_no_probability_is_never_drawn(
    forbidden: list[bool], uniform: float, data: Any
) -> None:
    """Also for the smallest and the largest uniform number, and at either end of the options."""
    finite = data.draw(arrays(np.float32, len(forbidden), elements=st.floats(-80, 80, width=32)))
    logits = torch.from_numpy(finite) + torch.where(torch.tensor(forbidden), -1e9, 0.0)
    drawn = int(draw(logits[None], torch.tensor([uniform], dtype=torch.float64))[0])
    assert not forbidden[drawn]


@given(data=st.data(), k=st.integers(2, 5))
def test_log_probs_are_logarithms_of_the_softmax(data: Any, k: int) -> None:
    logits = data.draw(arrays(np.float64, (2, 3, k), elements=numbers))
    actions = data.draw(arrays(np.int64, (2, 3), elements=st.integers(0, k - 1)))
    log_probs = log_probs_of(torch.from_numpy(logits), torch.from_numpy(actions))
    for b in range(2):
        for t in range(3):
            p = np.exp(logits[b, t]) / np.exp(logits[b, t]).sum()
            assert float(log_probs[b, t]) == pytest.approx(math.log(p[actions[b, t]]), abs=1e-9)


def literal_loss(
    logits: np.ndarray, values: np.ndarray, track: Track, weights: Weights
) -> dict[str, float]:
    """Schulman et al. Eq. 7 and 9, decision by decision, as a person would write them down."""
    a = track.advantages.numpy().astype(float)
    if weights.normalize_advantage:
        a = (a - a.mean()) / (a.std(ddof=1) + 1e-8)
    surrogate, entropy, n_clipped, kl = [], [], 0, []
    for index in np.ndindex(values.shape):
        p = np.exp(logits[index]) / np.exp(logits[index]).sum()
        old = math.exp(float(track.log_probs[index]))
        ratio = p[int(track.actions[index])] / old
        inside = min(max(ratio, 1 - weights.clip_range), 1 + weights.clip_range)
        surrogate.append(min(ratio * a[index], inside * a[index]))
        entropy.append(-sum(q * math.log(q) for q in p))
        n_clipped += abs(ratio - 1) > weights.clip_range
        kl.append(ratio - 1 - math.log(ratio))
    parts = {
        "policy_gradient_loss": -float(np.mean(surrogate)),
        "value_loss": float(np.mean((values - track.returns.numpy()) ** 2)),
        "entropy_loss": -float(np.mean(entropy)),
        "clip_fraction": n_clipped / values.size,
        "approx_kl": float(np.mean(kl)),
    }
    parts["loss"] = (
        parts["policy_gradient_loss"]
        + weights.vf_coef * parts["value_loss"]
        + weights.ent_coef * parts["entropy_loss"]
    )
    return parts


@given(
    seed=st.integers(0, 2**16),
    clip_range=st.floats(0.05, 0.5),
    coefficients=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    normalize=st.booleans(),
)
@settings(deadline=None)
def test_the_loss_is_the_formula(
    seed: int, clip_range: float, coefficients: tuple[float, float], normalize: bool
) -> None:
    rng = np.random.default_rng(seed)
    logits, old = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    values, advantages, returns = rng.normal(size=(3, 2, 3))
    actions = torch.from_numpy(rng.integers(4, size=(2, 3)))
    log_probs = log_probs_of(torch.from_numpy(old), actions)
    track = Track(
        actions, log_probs, torch.zeros(2, 3), *map(torch.from_numpy, (advantages, returns))
    )
    weights = Weights(clip_range, *coefficients, normalize)
    loss, stats = ppo_loss(torch.from_numpy(logits), torch.from_numpy(values), track, weights)
    expected = literal_loss(logits, values, track, weights)
    assert stats == pytest.approx(expected, abs=1e-9)
    assert float(loss) == pytest.approx(expected["loss"], abs=1e-9)


@pytest.mark.parametrize(
    ("ratio", "advantage", "pulls"),
    [
        (1.0, 1.0, True),
        (1.19, 1.0, True),
        (1.21, 1.0, False),  # already far enough
        (0.5, 1.0, True),  # too far the wrong way: back
        (0.81, -1.0, True),
        (0.79, -1.0, False),
        (1.5, -1.0, True),
    ],
)
def test_the_clip_clips(ratio: float, advantage: float, pulls: bool) -> None:
    logits = torch.zeros(1, 1, 4, dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, 1, dtype=torch.float64)
    track = Track(
        torch.tensor([[2]]), (one / 4 / ratio).log(), one, advantage * one, torch.zeros_like(one)
    )
    loss, stats = ppo_loss(logits, 0 * one, track, Weights(0.2, 0.0, 0.0, False))
    loss.backward()
    gradient = logits.grad
    assert gradient is not None
    expected = (
        -advantage * ratio * (torch.eye(4, dtype=torch.float64)[2] - 1 / 4)
        if pulls
        else torch.zeros(4)
    )
    torch.testing.assert_close(gradient[0, 0], expected.double(), rtol=0, atol=1e-12)
    assert stats["clip_fraction"] == float(abs(ratio - 1) > 0.2)


def test_forbidden_options_have_a_finite_entropy_and_no_gradient() -> None:
    logits = torch.zeros(1, 2, 4, requires_grad=True)
    mask = torch.tensor([0.0, -1e9, 0.0, -1e9])
    one = torch.ones(1, 2)
    track = Track(torch.tensor([[0, 2]]), math.log(0.5) * one, one, one, one)
    loss, stats = ppo_loss(logits + mask, one, track, Weights(0.2, 0.5, 0.5, False))
    loss.backward()
    assert stats["entropy_loss"] == pytest.approx(-math.log(2))
    assert stats["loss"] == pytest.approx(-1 - 0.5 * math.log(2))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[..., [1, 3]] == 0).all()


def test_rows_of_a_track() -> None:
    parts = [torch.arange(6).view(3, 2) + 10 * i for i in range(5)]
    track = Track(*parts).rows(torch.tensor([2, 0]))
    columns = [track.actions, track.log_probs, track.values, track.advantages, track.returns]
    for part, of_rows in zip(parts, columns, strict=True):
        assert torch.equal(of_rows, part[[2, 0]])
