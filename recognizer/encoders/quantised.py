"""Quantised encoders: convolutions whose weights and inputs have few bits."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

_SUFFIX = re.compile(r"([^:]+)_([2-8])bit")


def without_bits(name: str) -> tuple[str, int | None]:
    """Return the network that a name is of, and its bits: ``resnet50_4bit`` is ``resnet50`` at 4.

    Args:
        name: Of an encoder. ``_2bit`` to ``_8bit`` at its end are the bits; what
            ``module:attribute`` stands for has those of its author.
    """
    match = _SUFFIX.fullmatch(name) if isinstance(name, str) else None  # a file may hold anything
    return (name, None) if match is None else (match[1], int(match[2]))


def fake_quantise(values: Tensor, bits: int) -> Tensor:
    """Round values to the levels that so many bits have; differentiable.

    Each slice of the first axis has a step ``s = 2·mean|x| / √q`` of its own, where q is the
    largest level; the result is s times the level that is nearest. Levels go from 0 to 2^b − 1
    where no value of a slice is negative, else from −2^(b−1) to 2^(b−1) − 1. The gradient goes
    through as if nothing were rounded, but for values beyond the last levels, where it is 0.

    Args:
        values: ``(M, ...)``, at least one axis more.
        bits: b.

    Returns:
        The same shape, float32.

    Source: the step is that with which LSQ (arXiv:1902.08153) section 2.1 begins.
    """
    values = values.float()
    flat = values.detach().flatten(1)
    signed = flat.amin(dim=1) < 0
    top = torch.where(signed, 2 ** (bits - 1) - 1, 2**bits - 1)
    step = 2 * flat.abs().mean(dim=1) / top.sqrt()
    zero = torch.where(signed, 2 ** (bits - 1), 0).to(torch.int32)
    rounded: Tensor = torch.fake_quantize_per_channel_affine(
        values, step.clamp(min=1e-12), zero, 0, 0, 2**bits - 1
    )
    return rounded


class QuantisedConv(nn.Conv2d):
    """A convolution whose weights, by output channel, and inputs, by image, are rounded.

    It computes in float32 what a convolution of integers would give, times the steps.

    Attributes:
        bits: b, of weights and of inputs.
        mac_share: What one of its multiply-adds is charged, as a share of one of 32 bits: b² / 32²,
            the share of the bit-operations. Time does not follow: no processor has such kernels for
            all b, and here all compute in float32.
    """

    bits: int

    @property
    def mac_share(self) -> float:
        """Price of a multiply-add, of one of 32 bits."""
        return self.bits**2 / 32**2

    @classmethod
    def of(cls, conv: nn.Conv2d, bits: int) -> QuantisedConv:
        """Return a convolution with the parameters of another."""
        made = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            conv.bias is not None,
            conv.padding_mode,
        )
        made.weight, made.bias, made.bits = conv.weight, conv.bias, bits
        return made

    def forward(self, input: Tensor) -> Tensor:
        """Convolve maps ``(M, channels, h, w)``."""
        weight = fake_quantise(self.weight, self.bits)
        maps: Tensor = self._conv_forward(fake_quantise(input, self.bits), weight, self.bias)
        return maps


def quantise(network: nn.Module, bits: int) -> None:
    """Give a network's convolutions, but for the first, few bits; weights keep their names.

    Args:
        network: It is changed in place.
        bits: Of weights and inputs.

    Raises:
        ValueError: If it has linear layers, or no convolution behind the first.

    Source: VideoIQ (arXiv:2108.10394): weights and activations of all layers but the first. It
        learns where activations are clipped (PACT), and each precision has its batch
        normalisation; here the steps follow from the values, see `fake_quantise`.
    """
    linear = any(isinstance(module, nn.Linear) for module in network.modules())
    convs = [(path, m) for path, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    if linear or len(convs) < 2:
        raise ValueError(
            "expected a network of convolutions, of which all but the first are quantised; got one "
            f"with {'linear layers' if linear else 'no further convolution'}: choose another, such "
            "as resnet50"
        )
    for path, conv in convs[1:]:
        network.set_submodule(path, QuantisedConv.of(conv, bits))
