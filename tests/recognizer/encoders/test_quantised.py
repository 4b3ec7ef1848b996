"""Quantised encoders: levels by hand, prices by a count, training through the rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from focusgym.feature_cache import make_encoder
from focusgym.recognizer import Encoder, EncoderConfig, encoder_gmacs, load_weights
from focusgym.recognizer.encoders.quantised import QuantisedConv, fake_quantise


def by_hand(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the nearest of all levels, slice by slice."""
    rows = []
    for row in values:
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if row.min() < 0 else (0, 2**bits - 1)
        levels = 2 * np.abs(row).mean() / np.sqrt(high) * np.arange(low, high + 1)
        rows.append(levels[np.abs(row[..., None] - levels).argmin(axis=-1)])
    return np.stack(rows)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_levels_by_hand(bits: int) -> None:
    rng = np.random.default_rng(bits)
    values = rng.normal(size=(6, 5, 7)) * np.array([1, 3, 0.01, 1, 1, 0])[:, None, None]
    values[3:5] = np.abs(values[3:5])  # as after a ReLU
    exact = torch.from_numpy(values).float().requires_grad_()
    rounded = fake_quantise(exact, bits)
    np.testing.assert_allclose(rounded.detach(), by_hand(values, bits), atol=1e-5)
    assert max(len(np.unique(row.round(6))) for row in rounded.detach().numpy()) <= 2**bits
    rounded.sum().backward()
    assert exact.grad is not None
    for row, gradient in zip(values, exact.grad.numpy(), strict=True):
        levels = by_hand(row[None], bits)[0]
        inside = np.abs(levels - row) <= np.diff(np.unique(levels)).min(initial=np.inf) / 2
        assert (gradient == inside).all(), "as if nothing were rounded, but beyond the last level"


def test_an_encoder_of_few_bits() -> None:
    """It computes with rounded weights and inputs, also fused; the first layer is as it was."""
    encoder = make_encoder(EncoderConfig("small_local_3bit"), "random")
    plain = make_encoder(EncoderConfig("small_local"), "random")
    assert encoder.state_dict().keys() == plain.state_dict().keys()
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(encoder.state_dict()[key], value)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    x = plain.prepare(images)
    with torch.no_grad():
        for index, (conv, norm, _) in enumerate(plain.trunk):  # type: ignore[arg-type]
            weight = conv.weight
            if index:
                x, weight = (
                    torch.from_numpy(by_hand(each.numpy(), 3)).float() for each in (x, weight)
                )
            x = norm(nn.functional.conv2d(x, weight, None, conv.stride, conv.padding)).relu()
        torch.testing.assert_close(encoder(images), x, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(encoder.fused()(images), encoder(images), rtol=1e-3, atol=1e-3)
        assert not torch.allclose(encoder(images), plain(images), atol=1e-2)
        one = encoder(images[:1])
    torch.testing.assert_close(one, x[:1], rtol=1e-3, atol=1e-3)  # whatever else is in the batch


def test_what_it_is_charged() -> None:
    """Of b bits b² / 32²: of each convolution but the first."""
    first = 16 * 16 * 16 * 27
    later = 8 * 8 * 32 * 16 * 9 + 4 * 4 * 64 * 32 * 9 + 4 * 4 * 64 * 64 * 9
    for name, share in (("", 1), ("_8bit", 1 / 16), ("_2bit", 1 / 256)):
        encoder = Encoder(EncoderConfig(f"small_local{name}")).eval()
        expected = (first + share * later) / 1e9
        assert encoder_gmacs(encoder, 32) == pytest.approx(expected)
    shifted = Encoder(EncoderConfig("resnet18_tsm_4bit"))
    assert sum(isinstance(m, QuantisedConv) for m in shifted.modules()) == 19
    assert (shifted.config.name, shifted.shift) == ("resnet18_tsm_4bit", "offline")
    load_weights(shifted, Encoder(EncoderConfig("resnet18")).trunk.state_dict())


def test_training_goes_through_the_rounding() -> None:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig("small_local_2bit")).train()
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        loss = (encoder(images).mean(dim=(1, 2, 3)) - torch.arange(8) / 8).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_tiny_4bit", "all but the first are quantised; got one with linear layers"),
        ("small_local_9bit", "unknown encoder 'small_local_9bit'"),
        ("vgg11_tsm_4bit", "there is no temporal shift in 'vgg11'"),
    ],
)
def test_what_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Encoder(EncoderConfig(name))
