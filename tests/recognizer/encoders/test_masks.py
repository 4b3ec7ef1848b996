"""Mask profiles: channels by hand, prices by a count, memories, and what agents see on pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from digit_caches import digit_cache
from support import write_classifier
from torch import Tensor

from focusgym.envs import FeatureSource, PixelSource
from focusgym.feature_cache import CacheConfig, DigitsConfig, FeatureCache, make_encoder, read_many
from focusgym.recognizer import (
    Encoder,
    EncoderConfig,
    FrameConfig,
    WholeFrame,
    encoder_gmacs,
    load_weights,
    option_group,
    read_classifier,
)
from focusgym.recognizer.encoders.masks import MaskProfile, ReuseMemory


def encoder_of(name: str) -> Encoder:
    return make_encoder(EncoderConfig(name), "random")


def images(n: int, side: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)


def by_hand(plain: Encoder, prepared: Tensor, inside: Sequence[list[Tensor]]) -> list[Tensor]:
    """Encode one image of ``small_residual``; ``inside`` has what each block takes, if anything.

    Returns the map, and after it what each block has inside when nothing is masked.
    """
    x, hidden = plain.trunk[0](prepared), []  # type: ignore[index]
    for block, taken in zip(plain.trunk[1:], inside, strict=True):  # type: ignore[index]
        h = block.norm1(block.conv1(x)).relu()
        hidden.append(h)
        channels = h.shape[1]
        if taken:  # half of the channels are computed, a quarter reused, a quarter zeros
            h = h.clone()
            h[:, channels // 2 : 3 * channels // 4] = taken[0][:, channels // 2 : 3 * channels // 4]
            h[:, 3 * channels // 4 :] = 0
        x = (block.norm2(block.conv2(h)) + block.beside_norm(block.beside(x))).relu()
    return [x, *hidden]


@torch.no_grad()
def test_channels_by_hand() -> None:
    plain, masked = encoder_of("small_residual"), encoder_of("small_residual_reuse25_skip25")
    prepared = plain.prepare(images(3))
    now, before = prepared[:1], prepared[1:2]
    _, *earlier = by_hand(plain, before, [[], []])
    expected = by_hand(plain, now, [[each] for each in earlier])[0]
    maps = masked.encode_after(torch.cat([now, before]), torch.cat([now, now]))
    torch.testing.assert_close(maps[1:], expected, atol=1e-4, rtol=1e-4)
    fused = masked.fused()
    torch.testing.assert_close(fused.encode_after(before, now), expected, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(plain.encode(now), expected, atol=1e-2)
    all_ = encoder_of("small_residual_reuse0")
    for each in (all_.encode(now), encoder_of("small_residual_reuse50").encode_after(now, now)):
        torch.testing.assert_close(each, plain.encode(now), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_memory_keeps_what_was_last_computed() -> None:
    """Full, reused, reused: the third frame has the channels of the first; videos are apart."""
    full, half = encoder_of("small_residual_reuse0"), encoder_of("small_residual_reuse50")
    frames = full.prepare(images(4))
    memory, rows = ReuseMemory(3), torch.tensor([2, 0])
    start = torch.cat([frames[:1], frames[3:]])
    full.encode_from(start, memory, rows)
    half.encode_from(torch.cat([frames[1:2], frames[3:]]), memory, rows)
    maps = half.encode_from(torch.cat([frames[2:3], frames[3:]]), memory, rows)
    expected = half.encode_after(start, torch.cat([frames[2:3], frames[3:]]))
    torch.testing.assert_close(maps, expected, atol=1e-4, rtol=1e-4)
    stale = half.encode_after(frames[1:2], frames[2:3])
    assert not torch.allclose(maps[:1], stale, atol=1e-3)
    new = half.encode_from(frames[:1], memory, torch.tensor([1]))
    torch.testing.assert_close(new, full.encode(frames[:1]), atol=1e-4, rtol=1e-4)


def test_what_it_is_charged() -> None:
    """The first convolution of a block for what it computes, the second but for what is skipped."""
    first = 16 * 16 * 16 * 27
    blocks = ((8 * 8, 16, 32), (4 * 4, 32, 64))
    for name, computed, taken in (
        ("reuse0", 1, 1),
        ("reuse50", 0.5, 1),
        ("reuse25_skip25", 0.5, 0.75),
    ):
        macs = first + sum(
            area * (computed * a * b * 9 + taken * b * b * 9 + a * b) for area, a, b in blocks
        )
        encoder = Encoder(EncoderConfig(f"small_residual_{name}")).eval()
        assert encoder_gmacs(encoder, 32) == pytest.approx(macs / 1e9), name


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@torch.no_grad()
def test_networks_of_torchvision(name: str) -> None:
    """Weights of the plain network fit, and a still video gives its maps."""
    plain, half = encoder_of(name), Encoder(EncoderConfig(f"{name}_reuse50")).eval()
    for module in plain.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    plain.train()(images(4, side=64))  # moves statistics to those of images: maps are of order 1
    plain.eval()
    load_weights(half, plain.trunk.state_dict())
    still, moved = plain.prepare(images(2, side=64)).split(1)
    expected = plain.encode(still)
    torch.testing.assert_close(half.encode_after(still, still), expected, atol=1e-3, rtol=1e-3)
    assert float((half.encode_after(moved, still) - expected).abs().max()) > 0.1
    assert encoder_gmacs(half, 64) < 0.85 * encoder_gmacs(plain, 64)


def test_on_a_cache_and_on_pixels(tmp_path: Path) -> None:
    """A cache has features after a frame in full; on pixels after what was read before."""
    encoders = {
        "glance": encoder_of("small_glance"),
        **{name: encoder_of(f"small_residual_{name}") for name in ("reuse0", "reuse50")},
    }
    groups = tuple(
        option_group(WholeFrame(64, 32), name, encoders[name], f"full32_{name}")
        for name in ("reuse0", "reuse50")
    )
    config = CacheConfig(FrameConfig(steps=3, frame_px=64), groups)
    digit_cache(tmp_path, DigitsConfig(n_train=2, n_val=1, n_test=2, n_frames=6), encoders, config)
    cache = FeatureCache.open(tmp_path / "cache", [group.name for group in groups])
    videos = cache.split("test")
    frames = torch.stack([each for each, _ in read_many(cache.clips(videos), cache.frames)])
    half = encoders["reuse50"].eval()
    with torch.no_grad():
        prepared = half.prepare(frames[0])
        small = WholeFrame(64, 32).crop(prepared, torch.zeros(3, dtype=torch.int64))
        expected = half.encode_after(small[[0, 0, 1]], small).mean(dim=(2, 3))
    stored = np.load(cache.root / "local_vectors_full32_reuse50.npy")[videos[0], :, 0]
    np.testing.assert_allclose(stored, expected, atol=2e-3)

    path = write_classifier(cache, tmp_path / "f_c", aggregation="average_logits")
    f_c = read_classifier(path).requires_grad_(False)
    for weights in f_c.parameters():
        weights.mul_(5)
    rows = np.arange(len(videos))

    def inputs(options: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What f_C is fed of the last segment, on the cache and on pixels, ``(B, C)``."""
        sources = FeatureSource(cache, f_c), PixelSource(cache, f_c, cache.fused_encoders(), frames)
        for source, which in zip(sources, (videos, rows), strict=True):
            for t, option in enumerate(options):
                chosen = np.full((len(which), 1), option)
                fed = source.gather(which, np.full(len(which), t), chosen)
            f_c_inputs.append(fed[:, 0])
        return f_c_inputs[-2], f_c_inputs[-1]

    f_c_inputs: list[Tensor] = []
    torch.testing.assert_close(*inputs([0, 1, 0]), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(*inputs([1, 0, 1]), atol=1e-3, rtol=1e-3)
    on_cache, on_pixels = inputs([0, 1, 1])  # the third takes channels of the first
    with torch.no_grad():
        local = torch.zeros(1, cache.local_channels)
        late = half.encode_after(small[:1], small[2:]).mean(dim=(2, 3))
        local[:, encoders["reuse0"].channels :] = late
        expected = f_c.project(cache.glance_vectors(videos[:1], np.array([2])), local)
    torch.testing.assert_close(on_pixels[:1], expected, atol=1e-3, rtol=1e-3)
    assert float((on_cache - on_pixels).abs().max()) > 2e-3
    with pytest.raises(ValueError, match="one option of a video at a time; got several"):
        PixelSource(cache, f_c, cache.fused_encoders(), frames).gather(
            rows, np.zeros_like(rows), np.ones((len(rows), 2), dtype=np.int64)
        )


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="shares that are reused and skipped, of less than 1 toge"):
        MaskProfile(0.5, 0.5)
    for name in ("vgg11_reuse50", "resnet18_tsm_reuse50", "resnet18_reuse50_4bit"):
        with pytest.raises(ValueError, match=f"there is no mask profile of '{name}': choose"):
            EncoderConfig(name)
    with pytest.raises(ValueError, match="expected an encoder with a mask profile, such as"):
        encoder_of("small_local").encode_after(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    glance = {"glance": encoder_of("small_residual_reuse50"), "local": encoder_of("small_local")}
    group = option_group(WholeFrame(64, 32), "local", glance["local"])
    from focusgym.feature_cache.building.encode import check_encoders

    with pytest.raises(
        ValueError, match="it can be an f_L on segments of one frame; got it as gla"
    ):
        check_encoders(glance, CacheConfig(FrameConfig(steps=3, frame_px=64), (group,)))
