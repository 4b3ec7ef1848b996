"""The encoders f_G and f_L: networks that turn frames or patches into feature maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from .errors import FocusgymError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _conv(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def _small_glance() -> nn.Module:
    return nn.Sequential(_conv(3, 16, 1), _conv(16, 32, 2), _conv(32, 32, 1))


def _small_local() -> nn.Module:
    return nn.Sequential(_conv(3, 16, 2), _conv(16, 32, 2), _conv(32, 64, 2), _conv(64, 64, 1))


def _mobilenet_v2() -> nn.Module:
    # torchvision's names without the leading "features.", which `load_trunk` strips.
    trunk: nn.Module = torchvision.models.mobilenet_v2(weights=None).features
    return trunk


_TRUNKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "small_glance": (_small_glance, 32),
    "small_local": (_small_local, 64),
    "mobilenet_v2": (_mobilenet_v2, 1280),
}


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder, and at which resolution it sees its input.

    Attributes:
        name: ``small_glance``, ``small_local`` (this project's, for the embedded digits) or
            ``mobilenet_v2`` (torchvision's, without its classifier).
        input_px: Side to which the input is down-sampled (area average) first, pixels; None
            leaves it as it comes.

    Raises:
        ValueError: If the name is unknown.
    """

    name: str
    input_px: int | None = None

    def __post_init__(self) -> None:
        """Check the name."""
        if self.name not in _TRUNKS:
            raise ValueError(f"unknown encoder {self.name!r}: choose one of {', '.join(_TRUNKS)}")


class WeightsError(FocusgymError):
    """A state dict does not fit an encoder; the message lists the keys."""


class Encoder(nn.Module):
    """A convolutional trunk with its input resolution and normalisation (ImageNet's).

    Attributes:
        config: What it was built from.
        channels: G or L, the channels of the feature map.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        """Build the encoder with random weights."""
        super().__init__()
        self.config = config
        build, self.channels = _TRUNKS[config.name]
        # Channels last: up to twice as fast on CPU, and the order in which maps are stored.
        self.trunk = build().to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: ``(M, 3, side, side)`` uint8.

        Returns:
            ``(M, channels, h, w)`` float32: ``e^G`` or ``e^L`` before pooling.

        Raises:
            ValueError: If the images are not uint8: normalisation expects 0 to 255.

        Source: AdaFocus (arXiv:2105.03245) Eq. 1 and 2.
        """
        if images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8 in 0..255; got {images.dtype}")
        x = images.float().contiguous(memory_format=torch.channels_last) / 255.0
        if self.config.input_px is not None:
            x = functional.interpolate(x, size=self.config.input_px, mode="area")
        maps: Tensor = self.trunk((x - self.mean) / self.std)
        return maps


def load_trunk(encoder: Encoder, weights: dict[str, Tensor]) -> None:
    """Load a torchvision classification checkpoint into an encoder's trunk, head excepted.

    Args:
        encoder: A torchvision encoder.
        weights: State dict with torchvision's names; ``classifier.*`` may be there or not.

    Raises:
        WeightsError: If keys are missing or left over, listing them, or if a shape differs.
    """
    trunk = {
        key.removeprefix("features."): value
        for key, value in weights.items()
        if not key.startswith("classifier.")
    }
    own = encoder.trunk.state_dict()
    for key, value in trunk.items():
        if key in own and value.shape != own[key].shape:
            raise WeightsError(
                f"the weights do not fit {encoder.config.name}: {key} is {tuple(value.shape)}, "
                f"expected {tuple(own[key].shape)}: give torchvision's state dict of this network"
            )
    result = encoder.trunk.load_state_dict(trunk, strict=False)
    # Every BatchNorm counts its batches; inference does not use the count, and exports drop it.
    missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise WeightsError(
            f"the weights do not fit {encoder.config.name}: missing {_some(missing)}, unexpected "
            f"{_some(result.unexpected_keys)}: give torchvision's state dict of this network"
        )


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "") or "none"


def encode_glance(encoder: nn.Module, frames: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return glance maps and glance vectors as they are stored.

    The cache and the recognizer on pixels both call this, so a policy sees in deployment what it
    saw in training, rounding included.

    Args:
        encoder: f_G.
        frames: ``(M, 3, S, S)`` uint8.
        dtype: Storage dtype, to which both are rounded.

    Returns:
        ``(M, h, w, G)`` maps, channels last, and their spatial means ``(M, G)``.
    """
    maps = encoder(frames).float()
    return maps.permute(0, 2, 3, 1).to(dtype), maps.mean(dim=(2, 3)).to(dtype)


def encode_local(encoder: nn.Module, patches: Tensor, dtype: torch.dtype) -> Tensor:
    """Return local vectors ``(M, L)`` of patches ``(M, 3, P, P)`` uint8, as they are stored."""
    pooled: Tensor = encoder(patches).float().mean(dim=(2, 3))
    return pooled.to(dtype)
