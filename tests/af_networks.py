"""AF networks for tests: whose gates keep some frames, and their layers written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from focusgym.recognizer import AFNet, AFNetConfig
from focusgym.recognizer.afnet.config import RESNETS, ResNet

T = 4
MASKS: dict[str, Callable[[Tensor], Tensor | None]] = {
    "all": torch.ones_like,
    "none": torch.zeros_like,
    "random": lambda drawn: (drawn > 0.5).float(),
    "its own": lambda drawn: None,
}
# Bottlenecks as in ResNet-50, but fewer and narrower.
NARROW = ResNet(True, 16, False, (32, 64, 64, 128), (3, 4, 3, 2))


def make(backbone: str = "small", **options: Any) -> AFNet:
    """A network in eval mode, no normalisation, gate or threshold of which is as initialised."""
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
                pair.navigation.threshold.normal_(0, 0.3)
    return network.eval()


def clips(batch: int, side: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, T, 3, side, side), generator=generator).byte()


def masks_of(kind: str, network: AFNet, batch: int) -> Tensor | None:
    drawn = torch.rand(batch, T, network.n_gates, generator=torch.Generator().manual_seed(3))
    return MASKS[kind](drawn)


def assert_near(actual: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= relative * float(expected.abs().max())


def norm(x: Tensor, layer: nn.BatchNorm2d) -> Tensor:
    mean, var = layer.running_mean, layer.running_var
    assert mean is not None
    assert var is not None
    scale = layer.weight / (var + layer.eps).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + layer.bias[:, None, None]


def convolved(x: Tensor, layer: nn.Conv2d, stride: int, groups: int) -> Tensor:
    padding = layer.weight.shape[-1] // 2
    return functional.conv2d(x, layer.weight, None, stride, padding, groups=groups)


def shifted(maps: Tensor, shift: str | None) -> Tensor:
    """The temporal shift, frame by frame."""
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
    return clip.flatten(0, 1)


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
    x = shifted(maps, shift) * weights[:, None, None, None]
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
    config, blocks = network.config, RESNETS[network.config.backbone].blocks
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
    for i, block in enumerate(network.after):
        x = literal_block(x, block, config.shift, 2 if i == 0 else 1, 1, every).relu()
    scores = x.mean(dim=(2, 3)) @ network.head.weight.T + network.head.bias
    return scores.unflatten(0, (-1, T)).mean(dim=1)


def literal_mobilenet(network: AFNet, frames: Tensor, masks: Tensor) -> Tensor:
    """The logits of AFNet's MobileNet-V3 with masks, layer by layer."""
    every, gate = torch.ones(frames.shape[0] * T), 0
    x = (frames.flatten(0, 1) / 255 - network.mean) / network.std
    x = hard_swish(norm(convolved(x, network.stem[0], 2, 1), network.stem[1]))  # type: ignore[arg-type]

    def run(maps: Tensor, block: Any, stride: int, groups: int, weights: Tensor) -> Tensor:
        read = shifted(maps, network.config.shift) * weights[:, None, None, None]
        return inverted(read, block.branch, stride, groups)

    for block, stride in zip(network.before, (1, 2, 2), strict=True):
        added = run(x, block, stride, 1, every)
        x = x + added if stride == 1 else added
    for stage, n_pairs, last in zip(network.stages, (2, 3), (2, 1), strict=True):
        ample = focal = x
        for i in range(n_pairs):
            pair, kept = stage.pairs[i], masks[:, :, gate].flatten()  # type: ignore[index, union-attr]
            beside = focal
            if i == 0:
                beside = norm(convolved(focal, pair.focal.beside[0], 1, 2), pair.focal.beside[1])
            focal = beside + run(focal, pair.focal, 1, 2, kept)
            added = run(ample, pair.ample, 1 if i else 2, 1, every)
            ample = ample + added if i else added
            gate += 1
        rows, columns = (torch.arange(side) // 2 for side in focal.shape[2:])
        ample = ample[:, :, rows][:, :, :, columns]
        layers: Any = stage.fusion.layers  # type: ignore[union-attr]
        share = functional.linear((ample + focal).mean((2, 3)), layers[0].weight, layers[0].bias)
        share = functional.linear(share.relu(), layers[2].weight, layers[2].bias).sigmoid()
        x = share[:, :, None, None] * ample + (1 - share[:, :, None, None]) * focal
        added = run(x, stage.last, last, 1, every)
        x = x + added if last == 1 else added
    for i, (block, stride) in enumerate(zip(network.after, (1, 1, 2, 1, 1), strict=True)):
        added = run(x, block, stride, 1, every)
        x = x + added if i in (1, 3, 4) else added
    x = hard_swish(norm(convolved(x, network.tail[0], 1, 1), network.tail[1]))  # type: ignore[arg-type]
    hidden: Any = network.hidden[0]
    x = hard_swish(functional.linear(x.mean(dim=(2, 3)), hidden.weight, hidden.bias))
    scores = x @ network.head.weight.T + network.head.bias
    return scores.unflatten(0, (-1, T)).mean(dim=1)


def hard_swish(x: Tensor) -> Tensor:
    return x * (x + 3).clamp(0, 6) / 6


def inverted(x: Tensor, layers: Any, stride: int, groups: int) -> Tensor:
    """The branch of an inverted residual block, written out."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            depthwise = layer.weight.shape[2] > 1
            parts = x.shape[1] if depthwise else groups
            x = convolved(x, layer, stride if depthwise else 1, parts)
        elif isinstance(layer, nn.BatchNorm2d):
            x = norm(x, layer)
        elif isinstance(layer, nn.ReLU):
            x = x.relu()
        elif isinstance(layer, nn.Hardswish):
            x = hard_swish(x)
        else:
            first, second = layer.layers[0], layer.layers[2]
            scale = functional.linear(x.mean((2, 3)), first.weight, first.bias).relu()
            scale = functional.linear(scale, second.weight, second.bias)
            x = x * ((scale + 3).clamp(0, 6) / 6)[:, :, None, None]
    return x
