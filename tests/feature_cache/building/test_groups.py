"""A cache of four option groups: two of patches, two of whole frames, read by three encoders."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from focusgym.feature_cache import (
    CacheConfig,
    CacheError,
    FeatureCache,
    build_cache,
    clips_of,
    merge_shards,
    read_frames,
    verify_cache,
)
from focusgym.recognizer import (
    AdaptiveRecognizer,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    GruClassifier,
    OptionGroup,
    PatchGrid,
    WholeFrame,
    encoder_gmacs,
    option_group,
)

S, GLANCE_PX = 64, 16
CLASSES = [str(i) for i in range(10)]
NAMES = ["p28_3x3", "p20_2x2", "full64", "full32"]
Encoders = dict[str, Encoder]


@pytest.fixture(scope="module")
def networks() -> Encoders:
    """f_G sees frames at a quarter of their side; the widths of the others differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {
            "glance": Encoder(EncoderConfig("small_glance", GLANCE_PX)).eval(),
            "wide": Encoder(EncoderConfig("small_local")).eval(),
            "narrow": Encoder(EncoderConfig("small_glance")).eval(),
        }


def groups_of(networks: Encoders) -> tuple[OptionGroup, ...]:
    return (
        option_group(PatchGrid(S, 28, 3), "wide", networks["wide"]),
        option_group(PatchGrid(S, 20, 2), "narrow", networks["narrow"]),
        option_group(WholeFrame(S, 64), "wide", networks["wide"]),
        option_group(WholeFrame(S, 32), "glance", networks["glance"]),
    )


@pytest.fixture(scope="module")
def config_of_groups(networks: Encoders) -> CacheConfig:
    return CacheConfig(FrameConfig(2, S), groups_of(networks))


@pytest.fixture(scope="module")
def root(
    videos: pd.DataFrame,
    networks: Encoders,
    config_of_groups: CacheConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("groups") / "cache"
    return build_cache(videos, CLASSES, out, networks, config_of_groups)


def by_hand(frames: Tensor, group: OptionGroup, encoder: Encoder) -> Tensor:
    """Local vectors ``(T, K, L)``: one box at a time, cut and averaged in grey levels."""
    vectors = []
    with torch.no_grad():
        for frame in frames:
            for left, top, right, bottom in group.places.boxes_px:
                pixels = frame[None, :, top:bottom, left:right].float() / 255
                side = group.places.side_px
                block = pixels.shape[-1] // side
                images = functional.avg_pool2d(pixels, block) if block > 1 else pixels
                vectors.append(encoder.encode((images - encoder.mean) / encoder.std).mean((2, 3)))
    return torch.cat(vectors).view(len(frames), group.places.n_options, -1)


def test_arrays_are_what_the_encoders_give(
    root: Path, videos: pd.DataFrame, networks: Encoders, config_of_groups: CacheConfig
) -> None:
    cache = FeatureCache.open(root, NAMES)
    assert list(cache.groups) == NAMES
    assert sorted(path.name for path in (root / "encoders").iterdir()) == sorted(networks)
    frames, _ = read_frames(clips_of(videos)[3], config_of_groups.frames)
    row, steps = np.array([3]), np.arange(2)
    for each in cache.opened:
        expected = by_hand(frames, each.group, networks[each.group.encoder])
        vectors = each.local_vectors(row[:, None], steps, slice(None))[0]
        assert vectors.shape == (2, each.group.places.n_options, each.group.channels)
        torch.testing.assert_close(vectors, expected, rtol=2e-3, atol=2e-4)
    with torch.no_grad():  # f_G reads at its own side what patches are cut from
        small = functional.avg_pool2d(frames / 255, S // GLANCE_PX)
        glance = networks["glance"]
        maps = glance.trunk((small - glance.mean) / glance.std).permute(0, 2, 3, 1)
    torch.testing.assert_close(cache.glance_maps(row)[0], maps, rtol=2e-3, atol=2e-4)
    assert verify_cache(root, sample=2) == []


def test_options_of_groups_come_one_after_the_other(root: Path, networks: Encoders) -> None:
    cache = FeatureCache.open(root, ["full32", "p28_3x3", "p20_2x2"])
    assert [(each.group.name, each.first) for each in cache.opened] == [
        ("full32", 0),
        ("p28_3x3", 1),
        ("p20_2x2", 10),
    ]
    assert cache.n_options == len(cache.boxes_px) == 14
    assert cache.boxes_px[0].tolist() == [0, 0, S, S]
    assert cache.boxes_px[13].tolist() == [44, 44, 64, 64]
    prices = [encoder_gmacs(networks["glance"], 32)] + [encoder_gmacs(networks["wide"], 28)] * 9
    prices += [encoder_gmacs(networks["narrow"], 20)] * 4
    assert cache.option_gmacs.tolist() == pytest.approx(prices, rel=1e-12)
    again = pickle.loads(pickle.dumps(cache))
    assert again.fingerprint == cache.fingerprint
    assert [each.first for each in again.opened] == [0, 1, 10]
    single = [FeatureCache.open(root, name) for name in NAMES]
    backwards = FeatureCache.open(root, ["p28_3x3", "full32", "p20_2x2"])
    assert len({each.fingerprint for each in (*single, cache, backwards)}) == 6
    assert FeatureCache.open(root, ["full32"]).fingerprint == single[3].fingerprint


def test_fingerprints_follow_their_own_group(
    root: Path,
    videos: pd.DataFrame,
    networks: Encoders,
    config_of_groups: CacheConfig,
    tmp_path: Path,
) -> None:
    """They change with the group's own encoder or places, with f_G, and with nothing else."""
    patches, small, *_, full_frame = config_of_groups.groups
    before = FeatureCache.open(root, NAMES).manifest["fingerprints"]

    def fingerprints(name: str, encoders: Encoders, *groups: OptionGroup) -> dict[str, str]:
        config = replace(config_of_groups, groups=groups)
        built = build_cache(videos[:1], CLASSES, tmp_path / name, encoders, config)
        stored = json.loads((built / "manifest.json").read_text())["fingerprints"]
        return {group: value[:8] for group, value in stored.items()}

    def other(encoder: Encoder) -> Encoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return Encoder(encoder.config).eval()

    alike = fingerprints("alike", networks, patches, small, full_frame)
    assert not set(alike.values()) & {value[:8] for value in before.values()}, "fewer videos"
    narrow = {**networks, "narrow": other(networks["narrow"])}
    changed = fingerprints("narrow", narrow, patches, small, full_frame)
    assert [changed[name] == alike[name] for name in alike] == [True, False, True]
    moved = replace(small, places=PatchGrid(S, 20, 3))
    changed = fingerprints("moved", networks, patches, moved, full_frame)
    assert [changed[name] == alike[name] for name in alike] == [True, False, True]
    glance = {**networks, "glance": other(networks["glance"])}
    changed = fingerprints("glance", glance, patches, small, full_frame)
    assert not any(changed[name] == alike[name] for name in alike)
    without = {name: networks[name] for name in ("glance", "wide")}
    assert fingerprints("without", without, patches) == {"p28_3x3": alike["p28_3x3"]}


def test_shards_of_several_groups_are_merged(
    root: Path,
    videos: pd.DataFrame,
    networks: Encoders,
    config_of_groups: CacheConfig,
    tmp_path: Path,
) -> None:
    parts = [
        build_cache(videos, CLASSES, tmp_path / f"{i}", networks, config_of_groups, shard=(i, 2))
        for i in (1, 2)
    ]
    merged = merge_shards(parts, tmp_path / "merged")
    for path in root.rglob("*.*"):
        if path.name != "manifest.json":  # it tells the way to the videos
            assert (merged / path.relative_to(root)).read_bytes() == path.read_bytes()
    names = ("fingerprints", "groups", "encoders", "depends_on")
    one, two = (FeatureCache.open(each, NAMES).manifest for each in (root, merged))
    assert all(one[name] == two[name] for name in names)


def test_a_recognizer_reads_whole_frames_as_the_cache_does(root: Path, networks: Encoders) -> None:
    cache = FeatureCache.open(root, "full32")
    f_c = GruClassifier(ClassifierConfig(32, 32, 10, hidden=8)).eval()
    places, (glance, local) = cache.places, cache.encoders()
    recognizer = AdaptiveRecognizer(glance, local, f_c, places, feature_dtype=cache.dtype)
    rows = np.array([0, 4])
    clips = clips_of(cache.videos.iloc[rows])
    frames = torch.stack([read_frames(clip, cache.frames)[0] for clip in clips])
    options, attended = np.zeros((2, 2), np.int64), np.array([[True, False], [True, True]])
    on_pixels = recognizer(frames, options, attended)
    with torch.no_grad():
        on_cache = f_c(*cache.sequences(rows, options, attended)[:2])
    torch.testing.assert_close(on_pixels.logits, on_cache, rtol=0, atol=1e-3)
    assert on_pixels.boxes_px.tolist() == [[[0, 0, S, S], [0] * 4], [[0, 0, S, S]] * 2]
    assert recognizer.cost.local_gmacs == cache.local_gmacs


def test_what_is_refused(
    root: Path,
    videos: pd.DataFrame,
    networks: Encoders,
    config_of_groups: CacheConfig,
    tmp_path: Path,
) -> None:
    with pytest.raises(CacheError, match="holds 4 option groups: say which of"):
        FeatureCache.open(root)
    with pytest.raises(CacheError, match="no option group 'full16': choose one of"):
        FeatureCache.open(root, ["full32", "full16"])
    for several in ([], ["full32", "full32"]):
        with pytest.raises(CacheError, match="opened once each, and at least one; got"):
            FeatureCache.open(root, several)
    cache = FeatureCache.open(root, NAMES)
    for use in (
        lambda: cache.places,
        lambda: cache.encoders(),
    ):
        with pytest.raises(CacheError, match="several option groups .* and one is expected here"):
            use()
    fewer = {name: networks[name] for name in ("glance", "wide")}
    with pytest.raises(ValueError, match="expected the encoders glance, narrow, wide: 'glance' fo"):
        build_cache(videos, CLASSES, tmp_path / "c", fewer, config_of_groups)
    wrong = replace(config_of_groups, groups=(replace(config_of_groups.groups[0], channels=5),))
    with pytest.raises(ValueError, match="p28_3x3 has 5 channels, its encoder wide 64: make the"):
        build_cache(videos, CLASSES, tmp_path / "c", fewer, wrong)
    with pytest.raises(ValueError, match="must be of letters, digits, '_', '-' and '.'; got 'a/b'"):
        replace(config_of_groups.groups[0], name="a/b")
    with pytest.raises(ValueError, match="positive width and price; got 64 channels and 0 GMACs"):
        replace(config_of_groups.groups[0], gmacs=0)
