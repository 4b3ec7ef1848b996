"""From a batch to logits and losses, against loops over videos and frames."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from stage_trainings import (
    C,
    G,
    K,
    L,
    T,
    make_frames,
    make_pixels,
    make_policy,
    pixel_samples,
    weights_of,
)
from torch import Tensor, nn

from focusgym.recognizer import OnPixels, sequence_losses, uniform_draws

N = 5


def literal(stage: OnPixels, frames: Tensor, options: Tensor, attended: Tensor) -> Tensor:
    """Return logits ``(N, T, C)``: frame after frame, patches cut out by slicing."""
    config = stage.classifier.config
    gru = nn.GRU(L + (G if config.reuse_glance else 0), config.hidden)
    weights = stage.classifier.state_dict()
    gru.load_state_dict({name[4:]: v for name, v in weights.items() if name.startswith("gru.")})
    sequences = []
    for video, chosen, looks in zip(frames, options.tolist(), attended.tolist(), strict=True):
        state, logits = None, []
        for frame, option, look in zip(video, chosen, looks, strict=True):
            local = torch.zeros(L)
            if look:
                top, left = 8 * (option // 3), 8 * (option % 3)  # 16 px of room, 3 places
                patch = frame[:, top : top + 16, left : left + 16]
                local = stage.local_encoder(patch[None])[0].mean(dim=(1, 2))
            glance = stage.glance_encoder(frame[None])[0].mean(dim=(1, 2))
            x = torch.cat([glance, local]) if config.reuse_glance else local
            _, state = gru(x[None, None], state)
            logits.append(state[0, 0] @ weights["head.weight"].T + weights["head.bias"])
        sequences.append(torch.stack(logits))
    return torch.stack(sequences)


def choices_of(
    stage: OnPixels, frames: Tensor, draws: Tensor, case: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Return the options that a stage has to choose, and its looks, one frame after the other."""
    options = torch.empty(len(frames), T, dtype=torch.int64)
    attended = torch.empty(len(frames), T, dtype=torch.bool)
    policy = case.get("policy")
    for i, video in enumerate(frames):
        if policy is not None:
            maps = stage.glance_encoder(video).permute(0, 2, 3, 1)[None]
            p = policy(maps)[0].double().softmax(-1).numpy()
            keep = np.ones(T) if policy.keep is None else policy.keep(maps)[0].numpy()
        for t in range(T):
            first, second = draws[i, t].tolist()
            if policy is None:
                option, looks = math.floor(first * K), second >= case.get("skip_rate", 0)
            elif case.get("sample"):
                option, looks = int((p[t].cumsum() <= first).sum()), second < keep[t]
            else:
                option, looks = int(p[t].argmax()), keep[t] >= policy.config.threshold
            options[i, t], attended[i, t] = option, bool(looks)
    return options, attended


def cases() -> dict[str, dict[str, Any]]:
    torch.manual_seed(1)
    plus = make_policy(0.5, spread=8.0)
    return {
        "random": {},
        "random_with_skips": {"skip_rate": 0.5},
        "no_glance": {"skip_rate": 0.5, "reuse_glance": False},
        "policy": {"policy": plus},
        "policy_sampled": {"policy": plus, "sample": True},
        "policy_sampled_no_glance": {"policy": plus, "sample": True, "reuse_glance": False},
    }


def in_training(stage: OnPixels, *, networks: bool = False) -> OnPixels:
    """Put a stage into training mode, its networks only if so asked."""
    stage.train()
    for network in stage.networks.values():
        network.train(networks)
    return stage


@pytest.mark.parametrize("case", ["random_with_skips", "policy_sampled"])
def test_what_is_validated_is_neither_skipped_at_random_nor_sampled(case: str) -> None:
    options = cases()[case]
    plain = {name: value for name, value in options.items() if name == "policy"}
    frames, _ = make_frames(N)
    draws = uniform_draws(range(N), T, [4])
    stage, other = make_pixels(**options).eval(), make_pixels(**plain).eval()
    other.load_state_dict(stage.state_dict())
    with torch.no_grad():
        assert torch.equal(stage(frames, draws), other(frames, draws))
        assert not torch.equal(in_training(stage)(frames, draws), other(frames, draws))


@pytest.mark.parametrize("case", cases())
def test_pixels_frame_by_frame(case: str) -> None:
    options = cases()[case]
    stage = in_training(make_pixels(**options))
    frames, _ = make_frames(N)
    if stage.policy is not None and stage.policy.keep is not None:
        with torch.no_grad():
            maps = stage.glance_encoder(frames.flatten(0, 1)).permute(0, 2, 3, 1)
            keep = stage.policy.keep(maps.unflatten(0, (N, T))).logit().flatten().sort().values
            # ρ in the middle of a gap: rounding moves no frame across it.
            stage.policy.keep.actor.bias -= (keep[N * T // 2] + keep[N * T // 2 - 1]) / 2
    draws = uniform_draws(range(N), T, [4])
    with torch.no_grad():
        chosen, attended = choices_of(stage, frames, draws, options)
        expected = literal(stage, frames, chosen, attended)
        logits = stage(frames, draws)
    assert logits.shape == (N, T, C)
    assert torch.allclose(logits, expected, atol=2e-6)
    n_skipped = int((~attended).sum())
    assert n_skipped == 0 if case == "random" else 0 < n_skipped < N * T
    assert len(chosen.unique()) > (1 if case == "policy" else 3)
    changed = chosen.clone()
    t = int(attended[0].nonzero()[0])
    changed[0, t] = (changed[0, t] + 1) % K
    with torch.no_grad():
        other = literal(stage, frames, changed, attended)
        assert not torch.allclose(other[0], logits[0], atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("reuse_glance", [True, False])
def test_nothing_looked_at_at_all(training: bool, reuse_glance: bool) -> None:
    """Local vectors are zero; f_L takes part with a gradient of zero, so that processes agree."""
    stage = make_pixels(skip_rate=0.5, reuse_glance=reuse_glance, dropout=0.0)
    in_training(stage, networks=training)
    frames, labels = make_frames(2)
    draws = torch.zeros(2, T, 2, dtype=torch.float64)
    logits = stage(frames, draws)
    with torch.no_grad():
        expected = literal(stage, frames, torch.zeros(2, T).long(), torch.zeros(2, T).bool())
    assert torch.allclose(logits, expected, atol=2e-6)
    sequence_losses(logits, labels).sum().backward()
    gradients = [p.grad for p in stage.local_encoder.parameters()]
    assert all(g is not None and not g.any() for g in gradients)
    assert all(p.grad is not None and p.grad.any() for p in stage.classifier.head.parameters())
    assert all(bool(buffer.isfinite().all()) for buffer in stage.buffers()), "statistics of none"


def test_f_l_runs_on_what_is_looked_at_only() -> None:
    """In training BatchNorm would see patches of skipped frames."""
    stage = make_pixels(skip_rate=0.5)
    seen: list[int] = []
    stage.local_encoder.trunk.register_forward_pre_hook(
        lambda _, inputs: seen.append(len(inputs[0]))
    )
    frames, draws, _ = pixel_samples(N).load(0, torch.arange(N))
    stage(frames, draws)
    assert seen == [int((draws[..., 1] >= 0.5).sum())]
    assert 0 < seen[0] < N * T


def test_the_glance_and_the_policy_never_train() -> None:
    stage = make_pixels(policy=make_policy(0.5))
    before = weights_of(stage)
    assert stage.train() is stage
    frames, labels = make_frames(N)
    loss = sequence_losses(stage(frames, uniform_draws(range(N), T, [0])), labels).sum()
    loss.backward()
    assert stage.policy is not None
    for fixed in (stage.glance_encoder, stage.policy):
        assert not any(module.training for module in fixed.modules())
        assert not any(p.requires_grad for p in fixed.parameters())
        assert all(p.grad is None for p in fixed.parameters())
    for trained in stage.networks.values():
        assert all(module.training for module in trained.modules())
    after = weights_of(stage)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"local_encoder"}, "its statistics"
    assert not any(module.training for module in stage.eval().modules())


@pytest.mark.parametrize("steps", [1, 3])
def test_the_loss_is_the_mean_over_steps(steps: int) -> None:
    """−log softmax of the label, by Python's own exp and log."""
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(4, steps, C), torch.tensor([1, 0, 3, 1])
    losses = sequence_losses(logits, labels)
    assert (tuple(losses.shape), losses.dtype) == ((4,), torch.float32)
    for b in range(4):
        expected = 0.0
        for t in range(steps):
            exponents = [math.exp(z) for z in logits[b, t].tolist()]
            expected -= math.log(exponents[labels[b]] / sum(exponents))
        assert float(losses[b]) == pytest.approx(expected / steps, rel=1e-5)


def test_several_labels_share_the_target() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(3, 2, C)
    several = [[0], [1, 3], [0, 1, 2]]
    hot = torch.zeros(3, C, dtype=torch.bool)
    for b, labels in enumerate(several):
        hot[b, labels] = True
    losses = sequence_losses(logits, hot)
    for b, labels in enumerate(several):
        expected = 0.0
        for t in range(2):
            exponents = [math.exp(z) for z in logits[b, t].tolist()]
            p = [z / sum(exponents) for z in exponents]
            expected -= sum(math.log(p[k]) / len(labels) for k in labels)
        assert float(losses[b]) == pytest.approx(expected / 2, rel=1e-5)
    assert torch.equal(sequence_losses(logits, torch.tensor([0, 1, 2])), one_hot_losses(logits))


def one_hot_losses(logits: Tensor) -> Tensor:
    return sequence_losses(logits, torch.eye(3, C).bool())


def test_losses_are_float32_whatever_the_logits() -> None:
    logits = torch.tensor([[[9.0, -60.0, 0.0, 0.0]]])
    losses = sequence_losses(logits.bfloat16(), torch.tensor([1]))
    assert losses.dtype == torch.float32
    assert float(losses[0]) == pytest.approx(69.0, rel=1e-5)
