"""The AF network of MobileNet-V3's blocks."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from .blocks import FocalBlock, ResidualBlock
from .body import Body
from .config import AFNetConfig
from .modules import AFModule, BlockPair, DynamicFusion

_SQUEEZES = 4


class _Sizes(NamedTuple):
    """Of an inverted residual block.

    Attributes:
        side: Of its depthwise kernel, pixels.
        expansion: By how much it widens its input.
        channels: After it.
        squeezes: Whether it has squeeze-and-excitation.
        is_hard_swish: Whether its activations are hard swishes, or ReLUs.
        stride: Of the depthwise convolution; in a stage of pairs, of the ample branch.
    """

    side: int
    expansion: float
    channels: int
    squeezes: bool
    is_hard_swish: bool
    stride: int


_STEM, _TAIL, _HIDDEN = 16, 960, 1280
_BEFORE = (
    _Sizes(3, 1, 16, False, False, 1),
    _Sizes(3, 4, 24, False, False, 2),
    _Sizes(3, 3, 24, False, False, 2),
)
# Of each stage the pairs, and the block after the fusion.
_STAGES = (
    (
        (_Sizes(5, 3, 40, True, False, 2), _Sizes(5, 3, 40, True, False, 1)),
        _Sizes(5, 3, 40, True, False, 2),
    ),
    (
        (
            _Sizes(3, 6, 80, False, True, 2),
            _Sizes(3, 2.5, 80, False, True, 1),
            _Sizes(3, 2.3, 80, False, True, 1),
        ),
        _Sizes(3, 2.3, 80, False, True, 1),
    ),
)
_AFTER = (
    _Sizes(3, 6, 112, True, True, 1),
    _Sizes(3, 6, 112, True, True, 1),
    _Sizes(5, 6, 160, True, True, 2),
    _Sizes(5, 6, 160, True, True, 1),
    _Sizes(5, 6, 160, True, True, 1),
)


class SqueezeExcitation(nn.Module):
    """Scales the channels of each frame by weights from their mean over the positions."""

    def __init__(self, channels: int) -> None:
        """Build it with random weights."""
        super().__init__()
        inner = _rounded(channels // _SQUEEZES)
        self.layers = nn.Sequential(
            nn.Linear(channels, inner),
            nn.ReLU(inplace=True),
            nn.Linear(inner, channels),
            nn.Hardsigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps ``(M, channels, h, w)``, scaled."""
        weights: Tensor = self.layers(maps.mean(dim=(2, 3)))
        return maps * weights[:, :, None, None]


def mobilenet_body(config: AFNetConfig) -> Body:
    """Build the AF network of MobileNet-V3 (large) up to its last layer.

    Source: supplement of AFNet, section 3; sizes, squeeze-and-excitation before the activation, the
        absence of ReLUs after blocks and fusions, and a 1×1 convolution in the place of what has no
        way around the focal branch are its released code's.
    """
    channels, before = _STEM, []
    for sizes in _BEFORE:
        before.append(_block(channels, sizes))
        channels = sizes.channels
    stages = []
    for pairs, last in _STAGES:
        stages.append(_stage(config, channels, pairs, last))
        channels = last.channels
    after = []
    for sizes in _AFTER:
        after.append(_block(channels, sizes))
        channels = sizes.channels
    return Body(
        nn.Sequential(*_convolution(3, _STEM, 3, 2), nn.Hardswish(inplace=True)),
        before,
        stages,
        after,
        nn.Sequential(*_convolution(channels, _TAIL, 1), nn.Hardswish(inplace=True)),
        nn.Sequential(nn.Linear(_TAIL, _HIDDEN), nn.Hardswish(inplace=True)),
        _HIDDEN,
    )


def _stage(config: AFNetConfig, n_in: int, pairs: tuple[_Sizes, ...], last: _Sizes) -> AFModule:
    ample_in, focal_in, joined = n_in, n_in, []
    for sizes in pairs:
        ample_sizes = sizes._replace(channels=sizes.channels // config.divisor)
        branch = _branch(focal_in, sizes._replace(stride=1), config.focal_groups)
        beside = nn.Sequential()
        if focal_in != sizes.channels:
            groups = config.focal_groups
            beside = nn.Sequential(*_convolution(focal_in, sizes.channels, 1, groups=groups))
        focal = FocalBlock(branch, beside, relu=False)
        joined.append(BlockPair(config, ample_in, _block(ample_in, ample_sizes), focal))
        ample_in, focal_in = ample_sizes.channels, sizes.channels
    widen = nn.Sequential()
    if ample_in != focal_in:
        widen = nn.Sequential(*_convolution(ample_in, focal_in, 1))
    fusion = DynamicFusion(focal_in, bias=True) if config.fusion == "dynamic" else None
    return AFModule(joined, widen, fusion, _block(focal_in, last), relu=False)


def _block(n_in: int, sizes: _Sizes) -> ResidualBlock:
    """Return a block that reads every frame; around it nothing goes that would have to change."""
    goes_around = sizes.stride == 1 and n_in == sizes.channels
    return ResidualBlock(
        _branch(n_in, sizes, 1), nn.Sequential() if goes_around else None, relu=False
    )


def _branch(n_in: int, sizes: _Sizes, groups: int) -> nn.Sequential:
    """Return an inverted residual branch; ``groups`` are those of its 1×1 convolutions."""
    inner = _rounded(n_in * sizes.expansion)
    layers: list[nn.Module] = []
    if inner != n_in:
        layers += [*_convolution(n_in, inner, 1, groups=groups), _activation(sizes)]
    layers += _convolution(inner, inner, sizes.side, sizes.stride, groups=inner)
    squeezing: list[nn.Module] = [SqueezeExcitation(inner)] if sizes.squeezes else []
    layers += [*squeezing, _activation(sizes)]
    return nn.Sequential(*layers, *_convolution(inner, sizes.channels, 1, groups=groups))


def _activation(sizes: _Sizes) -> nn.Module:
    return nn.Hardswish(inplace=True) if sizes.is_hard_swish else nn.ReLU(inplace=True)


def _convolution(
    n_in: int, n_out: int, side: int, stride: int = 1, *, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(n_in, n_out, side, stride, side // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(n_out)]


def _rounded(channels: float) -> int:
    """Return the nearest multiple of 8 that is not a tenth below the number of channels."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
