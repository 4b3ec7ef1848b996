"""The gates of an AF network: masks, gradients, losses and schedules, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from focusgym.recognizer import uniform_draws
from focusgym.recognizer.afnet.gates import (
    Navigation,
    SpatialNavigation,
    gate_temperature,
    ratio_target,
    select,
    selection_loss,
)


def test_without_noise_the_higher_score_wins() -> None:
    margin = torch.tensor([[-2.0, -1e-3, 0.0, 1e-3, 2.0]])
    assert select(margin, 0.01).tolist() == [[0, 0, 0, 1, 1]]


def test_the_gradient_is_that_of_the_softmax_over_the_temperature() -> None:
    margin = torch.tensor([[-1.0, 0.5, 3.0]], dtype=torch.float64, requires_grad=True)
    draws = torch.tensor([[0.5, 0.1, 0.9]], dtype=torch.float64)
    mask = select(margin, 0.5, draws)
    # Noise: log(u / (1 − u)) is 0, −2.197 and 2.197.
    assert mask.tolist() == [[0, 0, 1]]
    (mask * torch.tensor([[1.0, 10.0, 100.0]])).sum().backward()
    assert margin.grad is not None
    for i, noisy in enumerate((-1.0, 0.5 - math.log(9), 3.0 + math.log(9))):
        keep = math.exp(noisy / 0.5) / (1 + math.exp(noisy / 0.5))
        assert margin.grad[0, i].item() == pytest.approx(10**i * keep * (1 - keep) / 0.5)


def test_noise_keeps_a_frame_as_often_as_its_softmax_says() -> None:
    """As two Gumbel numbers would: the difference of two is the noise of one draw."""
    draws = uniform_draws(range(500), 8, (0, 0, 0), 5).flatten(0, 1)  # (4000, 5)
    margin = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    share = select(margin.expand(4000, 5), 1.0, draws).mean(dim=0)
    gumbels = -np.log(-np.log(np.random.RandomState(0).random_sample((2, 20000))))
    for kept, m in zip(share.tolist(), margin.tolist(), strict=True):
        expected = np.mean(gumbels[1] + m > gumbels[0])
        assert abs(kept - expected) < 4 * math.sqrt(0.25 / 4000)


def test_the_ends_of_the_draws_give_finite_gradients() -> None:
    margin = torch.zeros(1, 2, requires_grad=True)
    mask = select(margin, 0.01, torch.tensor([[0.0, 1 - 1e-16]], dtype=torch.float64))
    mask.sum().backward()
    assert mask.tolist() == [[0, 1]]
    assert margin.grad is not None
    assert margin.grad.isfinite().all()


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0; got 0"):
        select(torch.zeros(1, 1), 0.0)


def test_a_gate_begins_by_keeping_and_has_weights_for_each_frame() -> None:
    torch.manual_seed(0)
    gate = Navigation(16, 3, 10.0).eval()
    maps = torch.randn(2 * 3, 16, 4, 5)
    with torch.no_grad():
        gate.score.weight.zero_()
        assert gate(maps).tolist() == [[9, 9, 9]] * 2
        gate.score.weight.normal_()
        margins = gate(maps)
    for video in range(2):
        for frame in range(3):
            pooled = maps[3 * video + frame].mean(dim=(1, 2))
            reduced = (gate.reduce.weight[:, :, 0, 0] @ pooled) / math.sqrt(1 + gate.norm.eps)
            own = gate.score.weight[2 * frame : 2 * frame + 2, :, 0, 0]
            skip, keep = (own @ reduced.clamp(min=0)).tolist()
            assert margins[video, frame].item() == pytest.approx(keep + 10 - skip - 1, rel=1e-4)


def test_selection_loss() -> None:
    shares = torch.tensor([1.0, 0.25])
    expected = 0.5 * ((0.4 - 1) ** 2 + (0.4 - 0.25) ** 2) / 2
    assert selection_loss(shares, 0.4, weight=0.5).item() == pytest.approx(expected)
    # A frame of the second block costs three times as much: 1 + 0.75 of 4 is run.
    loss = selection_loss(shares, 0.4, weight=0.5, prices=torch.tensor([2.0, 6.0]))
    assert loss.item() == pytest.approx(0.5 * (0.4 - 1.75 / 4) ** 2)


def test_a_threshold_keeps_as_many_frames_as_the_noise_does() -> None:
    """Margins are all above 0: without a threshold all frames would be kept."""
    margin = torch.linspace(0.1, 1.5, 400).view(50, 8)
    gate = Navigation(4, 8, 3.0)
    for _ in range(100):
        gate.follow(margin)
    by_noise = (1 / (1 + np.exp(-margin.double().numpy()))).mean()
    kept = select(margin - gate.threshold, 1.0)
    assert kept.mean().item() == pytest.approx(by_noise, abs=1 / 200)
    assert margin[kept == 1].min() > margin[kept == 0].max(), "those with the highest margins"
    for margins in (
        torch.full((50, 8), 9.0),  # the noise keeps all but one of 10,000
        torch.full((50, 8), math.nan),
        torch.full((50, 8), math.inf),
    ):
        gate = Navigation(4, 8, 3.0)
        gate.follow(margins)
        assert gate.threshold == 0
    gate.eval().follow(margin)
    assert gate.threshold == 0, "a gate that is not trained stays as it is"


def test_gates_of_positions_learn_when_the_target_first_falls() -> None:
    """Without noise their gradient at that temperature must not vanish."""
    torch.manual_seed(0)
    gate, maps = SpatialNavigation(16), torch.randn(4, 16, 8, 8)
    share = select(gate(maps), gate_temperature(10, 50)).mean()
    selection_loss(share[None], ratio_target(10, 0.4)).backward()
    assert gate.score.bias is not None
    assert gate.score.bias.grad is not None
    assert float(gate.score.bias.grad.abs().max()) > 1e-3


def test_temperatures() -> None:
    assert [round(gate_temperature(t, 4), 6) for t in range(6)] == [
        1,
        0.316228,
        0.1,
        0.031623,
        0.01,
        0.01,
    ]
    assert gate_temperature(1, 4, "linear") == pytest.approx(0.7525)
    assert gate_temperature(1, 4, "cosine") == pytest.approx(0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2)
    for kind in ("exponential", "cosine", "linear"):
        assert gate_temperature(0, 9, kind) == pytest.approx(1)  # type: ignore[arg-type]
        assert gate_temperature(9, 9, kind) == pytest.approx(0.01)  # type: ignore[arg-type]
    assert gate_temperature(1, 2, first=4.0, last=1.0) == pytest.approx(2)


def test_temperatures_are_checked() -> None:
    with pytest.raises(ValueError, match="kind must be one of exponential, cosine, linear; got 's"):
        gate_temperature(0, 1, "steps")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_steps at least 1; got 0 and 0"):
        gate_temperature(0, 0)
    with pytest.raises(ValueError, match="temperatures must be above 0; got 1.0 and 0"):
        gate_temperature(0, 1, last=0)


def test_ratio_targets() -> None:
    targets = [ratio_target(epoch, 0.4) for epoch in (0, 9, 10, 14, 15, 19, 20, 49)]
    assert targets == pytest.approx([1, 1, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4])
    assert ratio_target(1, 0.5, starts=(1,)) == pytest.approx(0.5)


def test_ratio_targets_are_checked() -> None:
    with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\]; got 1.5"):
        ratio_target(0, 1.5)
    with pytest.raises(ValueError, match=r"starts must be ascending epochs, .* got \(2, 1\)"):
        ratio_target(0, 0.5, starts=(2, 1))
