"""Caches of segments of several frames, against frames decoded and encoded one after the other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support import small_group
from torch import Tensor
from video_files import middles, plain_decode

from focusgym.feature_cache import (
    AugmentConfig,
    CacheConfig,
    CacheError,
    DigitsConfig,
    FeatureCache,
    VideoEncoder,
    build_cache,
    build_regrouped,
    cache_info,
    make_digits,
    verify_cache,
    video_table,
)
from focusgym.feature_cache.reading.manifest import read_manifest
from focusgym.recognizer import (
    Encoder,
    FrameConfig,
    PatchGrid,
    WholeFrame,
    encoder_gmacs,
    option_group,
)

S, T, F, N_FRAMES = 64, 2, 3, 11
CLASSES = [str(i) for i in range(10)]
GROUPS = (PatchGrid(S, 28, 3), WholeFrame(S, 32))
Encoders = dict[str, Encoder]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("segments") / "data"
    table = make_digits(DigitsConfig(n_train=1, n_val=1, n_test=1, n_frames=N_FRAMES), root)
    paths = [str(root / path) for path in table["path"]]
    return video_table(paths, table["label"].tolist(), table["split"].tolist())


def config_of(
    encoders: Encoders, glance_frames: int | None = None, *, own_glance: bool = False
) -> CacheConfig:
    local = encoders["local"]
    groups = tuple(option_group(each, "local", local, segment_frames=F) for each in GROUPS)
    frames = FrameConfig(T, S, segment_frames=F, glance_frames=glance_frames, own_glance=own_glance)
    return CacheConfig(frames, groups)


@torch.no_grad()
def by_hand(encoder: Encoder, image: Tensor) -> Tensor:
    """Return the map ``(channels, h, w)`` of one image ``(3, side, side)`` in [0, 1]."""
    size = encoder.config.input_px
    small = image[None]
    if size is not None:
        small = torch.nn.functional.interpolate(small, size=size, mode="area")
    maps: Tensor = encoder.trunk((small - encoder.mean) / encoder.std)
    return maps[0]


def mean(maps: list[Tensor]) -> Tensor:
    total = torch.zeros_like(maps[0], dtype=torch.float64)
    for each in maps:
        total += each
    return (total / len(maps)).float()


@pytest.mark.parametrize(
    ("glance_frames", "glanced"), [(None, [0, 1, 2]), (1, [1]), (2, [0, 2]), (2, None)]
)
def test_features_are_means_over_the_frames_of_a_segment(
    clips: pd.DataFrame,
    encoders: Encoders,
    tmp_path: Path,
    glance_frames: int | None,
    glanced: list[int] | None,
) -> None:
    """``glanced``: which of f_L's frames f_G reads; None where it has frames of its own."""
    config = config_of(encoders, glance_frames, own_glance=glanced is None)
    root = build_cache(clips, CLASSES, tmp_path / "cache", encoders, config)
    cache = FeatureCache.open(root, [group.name for group in config.groups])
    assert (cache.steps, cache.n_options, cache.n_videos) == (T, 10, 3)
    everything = np.arange(3)
    indices = middles(N_FRAMES, T * F)
    if glanced is None:
        own = middles(N_FRAMES, T * 2)
        glance_indices = [own[:2], own[2:]]
        stored = [[*glance_indices[t], *indices[t * F : (t + 1) * F]] for t in range(T)]
    else:
        glance_indices = [[indices[t * F + f] for f in glanced] for t in range(T)]
        stored = [indices[:F], indices[F:]]
    assert cache.frame_indices(everything).tolist() == [stored] * 3
    assert (cache.map_shape[2], cache.glance_channels) == (len(glance_indices[0]) * 32, 32)
    for row in range(3):
        shown = torch.from_numpy(plain_decode(Path(clips["path"][row])).pictures)
        images = shown.permute(0, 3, 1, 2) / 255
        for t in range(T):
            maps = [by_hand(encoders["glance"], images[i]) for i in glance_indices[t]]
            features = cache.glance_maps(everything)[row, t]
            joined = torch.cat([each.permute(1, 2, 0) for each in maps], dim=2)
            torch.testing.assert_close(features, joined, rtol=2e-3, atol=5e-4)
            features = cache.glance_vectors(everything)[row, t]
            torch.testing.assert_close(features, mean(maps).mean((1, 2)), rtol=2e-3, atol=5e-4)
            segment = images[indices[t * F : (t + 1) * F]]
            cuts = [
                segment[:, :, top : top + 28, left : left + 28]
                for top in (0, 18, 36)
                for left in (0, 18, 36)
            ]
            cuts.append(torch.nn.functional.avg_pool2d(segment, 2))
            local = [[by_hand(encoders["local"], x).mean((1, 2)) for x in cut] for cut in cuts]
            expected = torch.stack([mean(vectors) for vectors in local])
            for each in cache.opened:
                vectors = each.local_vectors(np.array([row]), t, slice(None))[0]
                mine = expected[each.first : each.first + len(vectors)]
                torch.testing.assert_close(vectors, mine, rtol=2e-3, atol=5e-4)
    assert verify_cache(root, sample=3) == []


def test_all_frames_are_paid_and_no_other_is_run(
    clips: pd.DataFrame, encoders: Encoders, tmp_path: Path
) -> None:
    """Prices are as many times those of a frame; so many images go through the networks."""
    config = config_of(encoders, 1)
    counts: dict[str, list[int]] = {"glance": [], "local": []}
    encoder = VideoEncoder(encoders, config)
    for name, images in counts.items():
        trunk = encoder.encoders[name].trunk
        trunk.register_forward_pre_hook(lambda _, inputs, to=images: to.append(len(inputs[0])))
    encoder.encode(torch.zeros(T, F, 3, S, S, dtype=torch.uint8))
    assert sum(counts["glance"]) == T
    assert sum(counts["local"]) == T * F * (9 + 1)
    root = build_cache(clips, CLASSES, tmp_path / "cache", encoders, config)
    names = [group.name for group in config.groups]
    cache = FeatureCache.open(root, names)
    of_frame = [encoder_gmacs(encoders["local"], side) for side in (28, 32)]
    assert cache.option_gmacs.tolist() == pytest.approx([3 * of_frame[0]] * 9 + [3 * of_frame[1]])
    assert cache.glance_gmacs == pytest.approx(encoder_gmacs(encoders["glance"], S))
    every = build_cache(clips, CLASSES, tmp_path / "every", encoders, config_of(encoders))
    assert FeatureCache.open(every, names).glance_gmacs == pytest.approx(3 * cache.glance_gmacs)
    facts, _ = cache_info(root)
    assert facts["frames"].startswith(
        "2 segments of 3 frames, the glance reads 1 of them, each of 64"
    )
    assert facts["glance"].endswith("per segment")
    frame_settings = read_manifest(root)["depends_on"]["frames"]
    assert (frame_settings["segment_frames"], frame_settings["glance_frames"]) == (3, 1)
    assert "own_glance" not in frame_settings


def test_frames_for_the_glance_alone_are_paid_and_told(
    clips: pd.DataFrame, encoders: Encoders, tmp_path: Path
) -> None:
    config = config_of(encoders, 5, own_glance=True)
    root = build_cache(clips[:1], CLASSES, tmp_path / "cache", encoders, config)
    cache = FeatureCache.open(root, config.groups[0].name)
    assert cache.frames == config.frames
    assert cache.glance_gmacs == pytest.approx(5 * encoder_gmacs(encoders["glance"], S))
    assert cache.option_gmacs[0] == pytest.approx(3 * encoder_gmacs(encoders["local"], 28))
    facts, _ = cache_info(root)
    assert facts["frames"].startswith(
        "2 segments of 3 frames, the glance reads 5 of its own, each of 64"
    )
    assert facts["glance"].endswith("per segment")


def test_manifests_of_single_frames_are_as_they_were(
    clips: pd.DataFrame, encoders: Encoders, tmp_path: Path
) -> None:
    """They say nothing of segments, so that fingerprints do not change; all others differ."""
    fingerprints = set()
    for frames in (1, 2, 3):
        for glance_frames in (None, *range(1, frames)):
            group = option_group(GROUPS[1], "local", encoders["local"], segment_frames=frames)
            sizes = FrameConfig(2, S, segment_frames=frames, glance_frames=glance_frames)
            out = tmp_path / f"{frames}_{glance_frames}"
            build_cache(clips[:1], CLASSES, out, encoders, CacheConfig(sizes, (group,)))
            manifest = json.loads((out / "manifest.json").read_text())
            fingerprints.add(manifest["fingerprints"]["full32"])
            assert FeatureCache.open(out).frames == sizes
    assert len(fingerprints) == 6
    manifest = json.loads((tmp_path / "1_None" / "manifest.json").read_text())
    assert [*manifest["depends_on"]["frames"]] == [
        *("steps", "frame_px", "resize_px", "short_videos", "resizer"),
    ]
    assert [*manifest["groups"]["full32"]] == ["places", "encoder", "channels", "gmacs"]


def test_copies_and_other_places_of_segments(
    clips: pd.DataFrame, encoders: Encoders, tmp_path: Path
) -> None:
    """Augmented copies draw a frame of each sixth of a video; regrouped caches are as fine."""
    config = config_of(encoders)
    config = replace(config, groups=config.groups[:1], augment=AugmentConfig(4))
    root = build_cache(clips, CLASSES, tmp_path / "cache", encoders, config)
    cache = FeatureCache.open(root)
    drawn = cache.frame_indices(cache.split("train"))
    assert drawn.shape == (4, T, F)
    assert (drawn == np.arange(6).reshape(T, F)).all(), "of 11 frames, parts of one frame each"
    again = FeatureCache.open(build_regrouped(cache, PatchGrid(S, 20, 2), tmp_path / "other"))
    assert again.frames == cache.frames
    assert again.group.gmacs == pytest.approx(3 * encoder_gmacs(encoders["local"], 20))


def test_prices_of_other_segments_are_refused(encoders: Encoders) -> None:
    frames = FrameConfig(T, S, segment_frames=F)
    with pytest.raises(ValueError, match=r"price of p28_3x3 is that of segments of 1 .* has 3: "):
        CacheConfig(frames, (small_group(GROUPS[0]),))
    with pytest.raises(ValueError, match="price of an option is of at least one frame; got 0"):
        replace(small_group(GROUPS[0]), segment_frames=0)


def test_a_cache_of_other_segments_is_not_taken_for_this_one(
    clips: pd.DataFrame, encoders: Encoders, tmp_path: Path
) -> None:
    root = build_cache(clips[:1], CLASSES, tmp_path / "cache", encoders, config_of(encoders))
    with pytest.raises(CacheError, match=r"other videos or settings \(frames differ\)"):
        build_cache(clips[:1], CLASSES, root, encoders, config_of(encoders, 1))
