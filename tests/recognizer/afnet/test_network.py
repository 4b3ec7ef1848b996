"""AF networks: masked, gathered and folded, against each layer written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from af_networks import (
    MASKS,
    NARROW,
    T,
    assert_near,
    clips,
    convolved,
    literal,
    literal_mobilenet,
    make,
    masks_of,
    norm,
)
from torch import Tensor, nn
from torch.nn import functional

from focusgym.recognizer import AFNet, AFNetConfig, selection_loss, uniform_draws
from focusgym.recognizer.afnet.config import RESNETS


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RESNETS, "narrow", NARROW)


@pytest.mark.parametrize(
    ("backbone", "shift", "fusion", "batches"),
    [
        ("small", None, "dynamic", (1, 8)),
        ("small", "online", "addition", (1, 8)),
        ("narrow", None, "addition", (1, 8)),
        ("narrow", "offline", "dynamic", (1, 8)),
        ("resnet34", None, "dynamic", (1,)),
        ("resnet50", "offline", "dynamic", (1,)),
        ("mobilenet_v3", None, "dynamic", (8,)),
        ("mobilenet_v3", "offline", "dynamic", (1,)),
    ],
)
@torch.no_grad()
def test_masked_gathered_and_folded_networks_equal_their_layers_written_out(
    backbone: str, shift: Any, fusion: Any, batches: tuple[int, ...]
) -> None:
    network = make(backbone, shift=shift, fusion=fusion)
    folded = network.fused()
    written_out = literal_mobilenet if backbone == "mobilenet_v3" else literal
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.after.modules())
    for batch in batches:
        frames = clips(batch)
        for kind in MASKS:
            masks = masks_of(kind, network, batch)
            masked = network(frames, masks=masks)
            gathered = network(frames, masks=masks, gather=True)
            assert torch.equal(masked.masks, gathered.masks)
            assert_near(gathered.logits, masked.logits)
            assert_near(folded(frames, masks=masks, gather=True).logits, masked.logits, 1e-4)
            assert_near(masked.logits, written_out(network, frames, masked.masks), 1e-4)
            assert masked.ran.all()
            assert torch.equal(gathered.ran, masked.masks > 0)
            if kind == "its own" and batch == 8:
                assert 0.1 < float(masked.masks.mean()) < 0.9
                again = network(frames, gather=True)
                assert torch.equal(again.logits, gathered.logits)


@torch.no_grad()
def test_gathering_follows_changed_weights_and_sizes() -> None:
    network = make()
    masks = masks_of("random", network, 2)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    for change in ("nothing", "a step", "loading", "size", "half precision and back"):
        side = 40 if change == "size" else 32
        if change == "a step":
            for parameter in network.parameters():
                parameter.add_(torch.full_like(parameter, 0.05))
        elif change == "loading":
            network.load_state_dict(state)
        elif change == "half precision and back":
            network.half().float()
        masked, gathered = (
            network(clips(2, side), masks=masks, gather=gather).logits for gather in (False, True)
        )
        assert_near(gathered, masked)


def test_weights_that_were_made_in_inference_mode() -> None:
    with torch.inference_mode():
        network = make()
        masks = masks_of("random", network, 2)
        gathered = network(clips(2), masks=masks, gather=True).logits
        assert_near(gathered, network(clips(2), masks=masks).logits)


@torch.no_grad()
def test_under_autocast_gathered_and_masked_are_close() -> None:
    network = make("narrow", shift="offline")
    masks = masks_of("random", network, 2)
    exact = network(clips(2), masks=masks).logits
    with torch.autocast("cpu", torch.bfloat16):
        gathered = network(clips(2), masks=masks, gather=True).logits.float()
    assert_near(gathered, exact, 0.1)
    assert_near(network(clips(2), masks=masks, gather=True).logits, exact)


@torch.no_grad()
def test_a_video_does_not_depend_on_its_batch() -> None:
    network, frames = make(shift="offline"), clips(8)
    together = network(frames, gather=True)
    for i in range(8):
        alone = network(frames[i : i + 1], gather=True)
        assert_near(alone.logits[0], together.logits[i])
        assert torch.equal(alone.masks[0], together.masks[i])


@torch.no_grad()
def test_noise_is_what_the_caller_gives() -> None:
    network, frames = make(), clips(4)
    quiet = [network(frames).masks for _ in range(2)]
    assert torch.equal(*quiet)
    draws = uniform_draws(range(4), T, (0, 0, 0), network.n_gates)
    noisy = [network(frames, draws=draws).masks for _ in range(2)]
    assert torch.equal(*noisy)
    assert not torch.equal(noisy[0], quiet[0])
    # Noise stands in the place of the thresholds: draws of 1/2 are no noise.
    undrawn = network(frames, draws=torch.full_like(draws, 0.5))
    assert torch.equal(undrawn.masks, (undrawn.margins > 0).float())
    thresholds = torch.stack([p.navigation.threshold for s in network.stages for p in s.pairs])  # type: ignore[union-attr, misc]
    assert thresholds.abs().min() > 0
    # What the gates of the later blocks see depends on the masks of those before.
    first = network(frames).margins[:, :, 0]
    assert torch.equal(quiet[0][:, :, 0], (first > thresholds[0]).float())


@torch.no_grad()
def test_soft_selection_weights_every_frame() -> None:
    network, frames = make(selection="soft"), clips(2)
    soft = network(frames)
    assert ((soft.masks > 0) & (soft.masks < 1)).all()
    gathered = network(frames, gather=True)
    assert torch.equal(soft.logits, gathered.logits)
    assert gathered.ran.all()
    assert_near(soft.logits, literal(network, frames, soft.masks), 1e-4)


def _halve(gate: Any, args: tuple[Tensor], margin: Tensor) -> Tensor:
    """Let a gate keep half of the positions that it sees, whatever its weights."""
    ordered = margin.flatten().sort().values
    middle = ordered[len(ordered) // 2 - 1 : len(ordered) // 2 + 1].mean()  # at no margin itself
    gate.score.bias[1] -= middle
    return margin - middle


@torch.no_grad()
def test_spatial_gates_set_positions_to_zero() -> None:
    network, frames = make("narrow", spatial=True, shift="offline"), clips(3)
    handles = []
    for stage in network.stages:
        for pair in stage.pairs:  # type: ignore[union-attr]
            pair.spatial.reduce.weight.normal_()
            pair.spatial.score.weight.copy_(torch.eye(2)[:, :, None, None])
            pair.spatial.score.bias.zero_()
            handles.append(pair.spatial.register_forward_hook(_halve))
    network(frames)
    for handle in handles:
        handle.remove()
    seen: list[Tensor] = []
    pair = network.stages[0].pairs[1]  # type: ignore[index, union-attr]
    pair.focal.branch.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    gate, masked = pair.spatial, network(frames)
    assert ((masked.positions > 0.05) & (masked.positions < 0.95)).any()
    for kind in MASKS:
        masks = masks_of(kind, network, 3)
        gathered = network(frames, masks=masks, gather=True)
        assert_near(gathered.logits, network(frames, masks=masks).logits)
        assert torch.equal(gathered.ran, gathered.masks > 0)
    # The second pair reads nothing at a position whose nearest one of the ample branch is skipped.
    ample = torch.randn(2, 16, 4, 4)
    scores = norm(convolved(ample, gate.reduce, 1, 1), gate.norm).relu()
    skip, keep = functional.conv2d(scores, gate.score.weight, gate.score.bias).unbind(1)
    assert torch.equal(gate(ample) > 0, keep > skip)
    zeros = (seen[0] == 0).all(dim=1).view(3, T, -1).double().mean(dim=2)
    kept = masked.masks[:, :, 1] * masked.positions[:, :, 1]
    torch.testing.assert_close(zeros.float(), 1 - kept)


def test_spatial_gates_are_trained() -> None:
    network = make(spatial=True).train()
    gate = network.stages[0].pairs[1].spatial  # type: ignore[index, union-attr]
    selection_loss(network(clips(2)).positions.mean(dim=(0, 1)), 0.4).backward()
    assert float(gate.reduce.weight.grad.abs().sum()) > 0  # type: ignore[union-attr]


def test_gates_are_trained_by_both_losses() -> None:
    for selection in ("hard", "soft"):
        network = make(selection=selection).train()
        gate = network.stages[0].pairs[0].navigation  # type: ignore[index, union-attr]
        draws = uniform_draws(range(2), T, (0, 0, 0), network.n_gates)
        for loss in ("logits", "selection"):
            network.zero_grad()
            output = network(clips(2), draws=draws)
            if loss == "logits":
                functional.cross_entropy(output.logits, torch.tensor([0, 1])).backward()
            else:
                selection_loss(output.masks.mean(dim=(0, 1)), 0.1).backward()
            assert float(gate.reduce.weight.grad.abs().sum()) > 0  # type: ignore[union-attr]


def test_a_network_begins_by_keeping_every_frame() -> None:
    torch.manual_seed(0)
    network = AFNet(AFNetConfig("small", 5, T))
    assert network(clips(4)).masks.eq(1).all()


def test_gathering_is_for_eval_mode() -> None:
    with pytest.raises(RuntimeError, match=r"in training mode: call eval\(\), or do not gather"):
        make().train()(clips(1), gather=True)


def test_inputs_are_checked() -> None:
    network = make()
    with pytest.raises(ValueError, match=r"frames must be \(B, 4, 3, S, S\).* got \(1, 3, 3, 32, "):
        network(clips(1)[:, :3])
    with pytest.raises(ValueError, match=r"masks must be \(B, T, gates\), \(1, 4, 4\); got \(1, 4"):
        network(clips(1), masks=torch.ones(1, 4, 5))
    with pytest.raises(ValueError, match="images must be uint8"):
        network(clips(1).float())
    with pytest.raises(ValueError, match="masks of hard selection must be 0 or 1"):
        network(clips(1), masks=torch.full((1, T, 4), 0.3))
    with pytest.raises(RuntimeError, match=r"in training mode: call eval\(\)"):
        network.train().next_frame(clips(1)[:, 0], 0, network.start())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet5"}, "did you mean 'resnet50'"),
        ({"n_frames": 0}, "n_frames must be a whole number of at least 1; got 0"),
        ({"n_classes": 2.5}, "n_classes must be a whole number of at least 1; got 2.5"),
        ({"spatial": "no"}, "spatial must be True or False; got 'no'"),
        ({"keep_score": float("nan")}, "keep_score must be a finite number; got nan"),
        (
            {"ample_divisor": 3},
            "ample_divisor must divide 16, of which all channels of small are",
        ),
        ({"focal_groups": 5}, "focal_groups must divide 16"),
        ({"fusion": "sum"}, "fusion must be one of dynamic, addition; got 'sum'"),
        ({"selection": "none"}, "selection must be one of hard, soft; got 'none'"),
        ({"shift": "both"}, "shift must be None or one of offline, online; got 'both'"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
    ],
)
def test_configs_are_checked(options: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"backbone": "small", "n_classes": 5, "n_frames": 4, **options}
    with pytest.raises(ValueError, match=message):
        AFNetConfig(**values)
