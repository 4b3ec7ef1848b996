"""AF networks of Bottlenecks and BasicBlocks: AF-ResNets, and a small one."""

from __future__ import annotations

from torch import nn

from .blocks import FocalBlock, ResidualBlock
from .body import Body
from .config import AFNetConfig, ResNet
from .modules import AFModule, BlockPair, DynamicFusion

# A Bottleneck narrows its channels to a quarter.
_NARROWS = 4


def resnet_body(config: AFNetConfig, sizes: ResNet) -> Body:
    """Build an AF-ResNet up to its pooling.

    Source: supplement of AFNet, Table 7.
    """
    *gated, (n_out, n_blocks) = zip(sizes.channels, sizes.blocks, strict=True)
    before, stages = sizes.stem_channels, []
    for i, (channels, n) in enumerate(gated):
        stride = 1 if i == len(gated) - 1 else 2  # the plain stage after it has one
        stages.append(_stage(config, sizes, before, channels, n, stride))
        before = channels
    after = [
        residual_block(
            before if i == 0 else n_out,
            n_out,
            bottleneck=sizes.is_bottleneck,
            stride=2 if i == 0 else 1,
        )
        for i in range(n_blocks)
    ]
    return Body(_stem(sizes), [], stages, after, nn.Sequential(), nn.Sequential(), n_out)


def residual_block(
    n_in: int, n_out: int, *, bottleneck: bool, stride: int = 1, relu: bool = True
) -> ResidualBlock:
    """Build a Bottleneck or BasicBlock that reads every frame.

    What goes around the branch is average-pooled where the block has a stride, and goes through a
    1×1 convolution where the numbers of channels differ.

    Args:
        n_in: Channels before it.
        n_out: Channels after it.
        bottleneck: Whether it is a Bottleneck, or a BasicBlock.
        stride: Of its first 3×3 convolution.
        relu: Whether it ends in a ReLU.

    Source: the pooling beside the branch and the normalisation that begins at zero are those of
        AFNet's released code, which has Bottlenecks only: BasicBlocks are built in the same way.
    """
    branch = _branch(n_in, n_out, stride, 1, bottleneck)
    nn.init.zeros_(branch[-1].weight)  # type: ignore[arg-type]  # of a BatchNorm2d
    return ResidualBlock(branch, _beside(n_in, n_out, stride), relu=relu)


def _stage(
    config: AFNetConfig, sizes: ResNet, n_in: int, n_out: int, n_blocks: int, stride: int
) -> AFModule:
    bottleneck, narrow = sizes.is_bottleneck, n_out // config.divisor
    pairs = []
    for i in range(n_blocks - 1):
        ample_in, focal_in = (n_in, n_in) if i == 0 else (narrow, n_out)
        relu = i < n_blocks - 2  # the last one's follows the fusion
        ample = residual_block(
            ample_in, narrow, bottleneck=bottleneck, stride=2 if i == 0 else 1, relu=relu
        )
        branch = _branch(focal_in, n_out, 1, config.focal_groups, bottleneck)
        focal = FocalBlock(branch, _beside(focal_in, n_out, 1), relu=relu)
        pairs.append(BlockPair(config, ample_in, ample, focal))
    widen: list[nn.Module] = []
    if narrow != n_out:
        widen = [nn.Conv2d(narrow, n_out, 1, bias=False), nn.BatchNorm2d(n_out)]
    fusion = DynamicFusion(n_out) if config.fusion == "dynamic" else None
    last = residual_block(n_out, n_out, bottleneck=bottleneck, stride=stride)
    return AFModule(pairs, nn.Sequential(*widen), fusion, last, relu=True)


def _branch(n_in: int, n_out: int, stride: int, groups: int, bottleneck: bool) -> nn.Sequential:
    """Return convolutions, each with its normalisation, with ReLUs between them."""
    if bottleneck:
        inner = n_out // _NARROWS
        sizes = [(n_in, inner, 1, 1), (inner, inner, 3, stride), (inner, n_out, 1, 1)]
    else:
        sizes = [(n_in, n_out, 3, stride), (n_out, n_out, 3, 1)]
    layers: list[nn.Module] = []
    for before, after, side, step in sizes:
        conv = nn.Conv2d(before, after, side, step, side // 2, groups=groups, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def _beside(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    """Return what goes around a branch; empty where nothing has to change."""
    layers: list[nn.Module] = []
    if stride > 1:
        layers.append(nn.AvgPool2d(3, stride, padding=1))
    if n_in != n_out:
        layers += [nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out)]
    return nn.Sequential(*layers)


def _stem(sizes: ResNet) -> nn.Sequential:
    side, channels = 3 if sizes.is_small else 7, sizes.stem_channels
    layers: list[nn.Module] = [
        nn.Conv2d(3, channels, side, 2, side // 2, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
    if not sizes.is_small:
        layers.append(nn.MaxPool2d(3, 2, padding=1))
    return nn.Sequential(*layers)
