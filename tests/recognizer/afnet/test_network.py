"""AF networks: masked, gathered and folded, against each layer written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from focusgym.recognizer.afnet.config import BACKBONES, AFNetConfig, Backbone
from focusgym.recognizer.afnet.gates import gate_draws, selection_loss
from focusgym.recognizer.afnet.network import AFNet

T = 4
MASKS: dict[str, Callable[[Tensor], Tensor | None]] = {
    "all": torch.ones_like,
    "none": torch.zeros_like,
    "random": lambda drawn: (drawn > 0.5).float(),
    "its own": lambda drawn: None,
}
# Bottlenecks as in ResNet-50, but fewer and narrower.
NARROW = Backbone(True, 16, False, (32, 64, 64, 128), (3, 4, 3, 2))


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "narrow", NARROW)


def make(backbone: str = "small", **options: Any) -> AFNet:
    """A network in eval mode, none of whose normalisations or gates is as it was initialised."""
    torch.manual_seed(0)
    network = AFNet(AFNetConfig(backbone, 5, T, **options))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.0)
                module.bias.normal_(0, 0.3)
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 1.5)
        for stage in network.stages:
            for pair in stage.pairs:
                pair.navigation.score.bias.normal_(0, 1)  # so that it keeps some
    return network.eval()


def clips(batch: int, side: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, T, 3, side, side), generator=generator).byte()


def masks_of(kind: str, network: AFNet, batch: int) -> Tensor | None:
    drawn = torch.rand(batch, T, network.n_gates, generator=torch.Generator().manual_seed(3))
    return MASKS[kind](drawn)


def assert_near(found: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= relative * float(expected.abs().max())


def norm(x: Tensor, layer: nn.BatchNorm2d) -> Tensor:
    mean, var = layer.running_mean, layer.running_var
    assert mean is not None
    assert var is not None
    scale = layer.weight / (var + layer.eps).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + layer.bias[:, None, None]


def convolved(x: Tensor, layer: nn.Conv2d, stride: int, groups: int) -> Tensor:
    padding = layer.weight.shape[-1] // 2
    return functional.conv2d(x, layer.weight, None, stride, padding, groups=groups)


def literal_block(
    maps: Tensor, block: Any, shift: str | None, stride: int, groups: int, weights: Tensor
) -> Tensor:
    """A residual block before its last ReLU, written out."""
    beside = maps
    if stride == 2:
        beside = functional.avg_pool2d(beside, 3, 2, 1)
    for layer in block.beside:
        if isinstance(layer, nn.Conv2d):
            beside = convolved(beside, layer, 1, 1)
        elif isinstance(layer, nn.BatchNorm2d):
            beside = norm(beside, layer)
    clip = maps.unflatten(0, (-1, T))
    if shift is not None:
        part, moved, still = maps.shape[1] // 8, clip.clone(), torch.zeros_like(clip[:, :1])
        after = torch.cat([clip[:, 1:], still], dim=1)
        before = torch.cat([still, clip[:, :-1]], dim=1)
        if shift == "offline":
            moved[:, :, :part] = after[:, :, :part]
            moved[:, :, part : 2 * part] = before[:, :, part : 2 * part]
        else:
            moved[:, :, :part] = before[:, :, :part]
        clip = moved
    x = clip.flatten(0, 1) * weights[:, None, None, None]
    convolutions = [layer for layer in block.branch if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in block.branch if isinstance(layer, nn.BatchNorm2d)]
    for i, (layer, normalisation) in enumerate(zip(convolutions, norms, strict=True)):
        first = len(convolutions) // 2 if len(convolutions) == 3 else 0  # that has the stride
        x = norm(convolved(x, layer, stride if i == first else 1, groups), normalisation)
        if i < len(convolutions) - 1:
            x = x.relu()
    return beside + x


def literal(network: AFNet, frames: Tensor, masks: Tensor) -> Tensor:
    """The logits of an AF network with masks, layer by layer."""
    config, blocks = network.config, network.config.sizes.blocks
    x = (frames.flatten(0, 1) / 255 - network.mean) / network.std
    conv, normalisation = network.stem[0], network.stem[1]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(normalisation, nn.BatchNorm2d)
    x = norm(convolved(x, conv, 2, 1), normalisation).relu()
    if config.backbone != "small":
        x = functional.max_pool2d(x, 3, 2, 1)
    every, gate = torch.ones(len(x)), 0
    for index, stage in enumerate(network.stages):
        ample = focal = x
        for i in range(blocks[index] - 1):
            pair, kept = stage.pairs[i], masks[:, :, gate].flatten()  # type: ignore[index, union-attr]
            stride = 2 if i == 0 else 1
            focal = literal_block(focal, pair.focal, config.shift, 1, 2, kept)
            ample = literal_block(ample, pair.ample, config.shift, stride, 1, every)
            if i < blocks[index] - 2:
                ample, focal = ample.relu(), focal.relu()
            gate += 1
        ample = norm(convolved(ample, stage.widen[0], 1, 1), stage.widen[1])  # type: ignore[index, arg-type]
        rows = torch.arange(focal.shape[2]) // 2
        columns = torch.arange(focal.shape[3]) // 2
        ample = ample[:, :, rows][:, :, :, columns]
        joined = ample + focal
        if config.fusion == "dynamic":
            first, second = stage.fusion.layers[0].weight, stage.fusion.layers[2].weight  # type: ignore[union-attr, index]
            share = ((joined.mean(dim=(2, 3)) @ first.T).relu() @ second.T).sigmoid()
            joined = share[:, :, None, None] * ample + (1 - share[:, :, None, None]) * focal
        stride = 1 if index == len(network.stages) - 1 else 2
        x = literal_block(joined.relu(), stage.last, config.shift, stride, 1, every).relu()
    for i, block in enumerate(network.plain):
        x = literal_block(x, block, config.shift, 2 if i == 0 else 1, 1, every).relu()
    scores = x.mean(dim=(2, 3)) @ network.head.weight.T + network.head.bias
    return scores.unflatten(0, (-1, T)).mean(dim=1)


@pytest.mark.parametrize(
    ("backbone", "shift", "fusion", "batches"),
    [
        ("small", None, "dynamic", (1, 8)),
        ("small", "online", "addition", (1, 8)),
        ("narrow", None, "addition", (1, 8)),
        ("narrow", "offline", "dynamic", (1, 8)),
        ("resnet34", None, "dynamic", (1,)),
        ("resnet50", "offline", "dynamic", (1,)),
    ],
)
@torch.no_grad()
def test_masked_gathered_and_folded_networks_equal_their_layers_written_out(
    backbone: str, shift: Any, fusion: Any, batches: tuple[int, ...]
) -> None:
    network = make(backbone, shift=shift, fusion=fusion)
    folded = network.fused()
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.plain.modules())
    for batch in batches:
        frames = clips(batch)
        for kind in MASKS:
            masks = masks_of(kind, network, batch)
            masked = network(frames, masks=masks)
            gathered = network(frames, masks=masks, gather=True)
            assert torch.equal(masked.masks, gathered.masks)
            assert_near(gathered.logits, masked.logits)
            assert_near(folded(frames, masks=masks, gather=True).logits, masked.logits, 1e-4)
            assert_near(masked.logits, literal(network, frames, masked.masks), 1e-4)
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
    whole = network(frames, gather=True)
    for i in range(8):
        alone = network(frames[i : i + 1], gather=True)
        assert_near(alone.logits[0], whole.logits[i])
        assert torch.equal(alone.masks[0], whole.masks[i])


@torch.no_grad()
def test_noise_is_what_the_caller_gives() -> None:
    network, frames = make(), clips(4)
    quiet = [network(frames).masks for _ in range(2)]
    assert torch.equal(*quiet)
    draws = gate_draws(range(4), T, network.n_gates, (0, 0, 0))
    noisy = [network(frames, draws=draws).masks for _ in range(2)]
    assert torch.equal(*noisy)
    assert not torch.equal(noisy[0], quiet[0])
    assert torch.equal(network(frames, draws=torch.full_like(draws, 0.5)).masks, quiet[0])


@torch.no_grad()
def test_soft_selection_weights_every_frame() -> None:
    network, frames = make(selection="soft"), clips(2)
    soft = network(frames)
    assert ((soft.masks > 0) & (soft.masks < 1)).all()
    gathered = network(frames, gather=True)
    assert torch.equal(soft.logits, gathered.logits)
    assert gathered.ran.all()
    assert_near(soft.logits, literal(network, frames, soft.masks), 1e-4)


@torch.no_grad()
def test_spatial_gates_set_positions_to_zero() -> None:
    network, frames = make("narrow", spatial=True, shift="offline"), clips(3)
    for stage in network.stages:
        for pair in stage.pairs:  # type: ignore[union-attr]
            pair.spatial.score.bias.copy_(torch.tensor([0.0, 1.0]))
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
    selection_loss(network(clips(2)).positions, 0.4).backward()
    assert float(gate.reduce.weight.grad.abs().sum()) > 0  # type: ignore[union-attr]


def test_gates_are_trained_by_both_losses() -> None:
    for selection in ("hard", "soft"):
        network = make(selection=selection).train()
        gate = network.stages[0].pairs[0].navigation  # type: ignore[index, union-attr]
        draws = gate_draws(range(2), T, network.n_gates, (0, 0, 0))
        for loss in ("logits", "selection"):
            network.zero_grad()
            output = network(clips(2), draws=draws)
            if loss == "logits":
                functional.cross_entropy(output.logits, torch.tensor([0, 1])).backward()
            else:
                selection_loss(output.masks, 0.1).backward()
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet5"}, "did you mean 'resnet50'"),
        ({"n_frames": 0}, "n_frames must be at least 1; got 0"),
        ({"ample_divisor": 3}, "ample_divisor must divide 16, the fewest channels of small; got 3"),
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
