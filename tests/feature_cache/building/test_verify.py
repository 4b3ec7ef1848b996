"""What verify, plan and info say about good caches and bad ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from focusgym.feature_cache import (
    AugmentConfig,
    CacheConfig,
    CacheError,
    FeatureCache,
    VideoEncoder,
    build_cache,
    cache_info,
    plan_cache,
    verify_cache,
)
from focusgym.feature_cache.building import writer
from focusgym.recognizer import Encoder, EncoderConfig, EncoderError, OptionGroup, PatchGrid

CLASSES = [str(i) for i in range(10)]
Encoders = dict[str, Encoder]


@pytest.fixture
def copy(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> FeatureCache:
    """A cache of copies of the videos, one of them skipped, with augmented views."""
    paths = []
    for number, path in enumerate(videos["path"]):
        paths.append(tmp_path / f"{number}.mp4")
        paths[-1].write_bytes(Path(path).read_bytes())
    paths[1].write_text("text")
    table = videos.assign(path=[str(path) for path in paths])
    config = replace(config, augment=AugmentConfig(2))
    root = build_cache(table, CLASSES, tmp_path / "c", encoders, config, skip_missing=True)
    return FeatureCache.open(root)


def test_a_good_cache_has_nothing_wrong(built: FeatureCache, copy: FeatureCache) -> None:
    assert verify_cache(built.root) == []
    assert verify_cache(copy.root, sample=100) == []


@pytest.mark.parametrize(
    ("array", "row"),
    [("glance_maps", 0), ("local_vectors_p28_7x7", 4), ("crops_px", 5), ("flipped", 6)],
)
def test_a_changed_bit_is_found(copy: FeatureCache, array: str, row: int) -> None:
    path = copy.root / f"{array}.npy"
    values = np.load(path, mmap_mode="r+")
    values[row : row + 1].reshape(-1).view(np.uint8)[:1] ^= 1
    values.flush()
    wrong = verify_cache(copy.root, sample=0)
    assert len(wrong) == 1
    assert f"row {row} ({copy.videos['name'][row]}) has checksum" in wrong[0]
    assert wrong[0].endswith("build it again")


def test_rows_that_cannot_be_are_found(copy: FeatureCache) -> None:
    maps = np.load(copy.root / "glance_maps.npy", mmap_mode="r+")
    maps[4, 0, 0, 0, 0] = np.nan
    maps[2, 0] = 1.0  # copies 0 and 1 of the skipped video are rows 2 and 3
    maps.flush()
    wrong = verify_cache(copy.root, sample=0)
    assert "row 2 (00001.mp4) was skipped, but is not zero: build it again" in wrong
    assert "row 4 (00002.mp4) holds values that are not finite: build it again" in wrong
    assert len(wrong) == 2


def test_videos_that_changed_are_found(copy: FeatureCache, tmp_path: Path) -> None:
    (tmp_path / "2.mp4").unlink()
    (tmp_path / "3.mp4").write_bytes((tmp_path / "0.mp4").read_bytes())
    wrong = verify_cache(copy.root, sample=100)
    text = "\n".join(wrong)
    assert text.count("cannot be encoded again: ") == text.count("no such video") == 2
    assert text.count("3.mp4 is another file than the one that was encoded: put that back") == 1
    assert len(wrong) == 3


def test_other_features_are_found(copy: FeatureCache) -> None:
    values = np.load(copy.root / "local_vectors_p28_7x7.npy", mmap_mode="r+")
    values[4, 0, 0, 0] += 0.25
    values.flush()
    checked, encoded = verify_cache(copy.root, sample=100)
    assert "row 4 (00002.mp4) has checksum" in checked
    assert "row 4: local_vectors_p28_7x7 of " in encoded
    assert "2.mp4 differs by up to 0.25 from what is encoded now: the file, the decod" in encoded
    assert encoded.endswith("the encoders have changed; build again")


def test_edited_tables_are_found(copy: FeatureCache) -> None:
    table = (copy.root / "videos.csv").read_text()
    (copy.root / "videos.csv").write_text(table.replace(",val,", ",test,"))
    edited = f"{copy.root}: manifest.json or videos.csv was edited: build it again"
    assert verify_cache(copy.root, sample=0) == [edited]
    (copy.root / "videos.csv").write_text(table.replace(str(copy.root.parent), "/elsewhere"))
    assert verify_cache(copy.root, sample=0) == [], "videos may be moved"
    manifest = json.loads((copy.root / "manifest.json").read_text())
    manifest["glance_map_range"][1] += 1
    (copy.root / "manifest.json").write_text(json.dumps(manifest))
    assert verify_cache(copy.root, sample=0) == [edited]


def test_other_weights_are_refused(copy: FeatureCache) -> None:
    path = copy.root / "encoders" / "local" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-2:] = b"\x80\x41"  # the last weight becomes 16
    path.write_bytes(data)
    message = "holds .* but the features were made with .* put the former one back, or build"
    with pytest.raises(CacheError, match=message):
        verify_cache(copy.root)
    with pytest.raises(CacheError, match=message):
        copy.encoders()


def test_a_table_that_does_not_fit_is_refused(copy: FeatureCache) -> None:
    table = (copy.root / "videos.csv").read_text().splitlines()
    (copy.root / "videos.csv").write_text("\n".join(table[:-1]))
    with pytest.raises(CacheError, match=r"has 8 rows, videos\.csv 7: build it again"):
        verify_cache(copy.root)
    (copy.root / "glance_maps.npy").unlink()
    with pytest.raises(CacheError, match="is not a complete feature cache .*: build it again"):
        verify_cache(copy.root)


def test_a_plan_has_the_sizes_of_the_build(
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(config, augment=AugmentConfig(2))
    root = tmp_path / "c"
    plan = plan_cache(videos, root, VideoEncoder(encoders, config), sample=2)
    assert plan.problems == []
    assert plan.rows == {"train": 6, "val": 1, "test": 1}
    assert plan.sampled == 2
    assert plan.hours == pytest.approx(8 * plan.seconds_per_row / 3600)
    assert not list(tmp_path.iterdir())
    build_cache(videos, CLASSES, root, encoders, config)
    for name, size in plan.array_bytes.items():
        assert np.load(root / f"{name}.npy").nbytes == size
    weights = sum(path.stat().st_size for path in root.rglob("*.safetensors"))
    assert plan.weights_bytes == pytest.approx(weights, rel=0.05)
    assert plan.total_bytes == sum(plan.array_bytes.values()) + plan.weights_bytes

    (tmp_path / "text.mp4").write_text("text")
    damaged = videos.assign(
        path=[*videos["path"][:4], str(tmp_path / "text.mp4")], missing=["gone", *[""] * 4]
    )
    monkeypatch.setattr("focusgym.feature_cache.building.plan.free_bytes", lambda root: 10)
    plan = plan_cache(damaged, root, VideoEncoder(encoders, config), sample=2)
    assert plan.problems[0] == "gone"
    assert "text.mp4 cannot be decoded" in plan.problems[1]
    assert "GB, and the disk has 1e-08 GB free" in plan.problems[2]
    assert plan.problems[3].endswith("c exists already")
    nothing = damaged.assign(missing="gone")
    assert plan_cache(nothing, root, VideoEncoder(encoders, config)).sampled == 0


def test_encoders_that_cannot_see_so_little_are_refused(
    encoders: Encoders, config: CacheConfig
) -> None:
    big = Encoder(EncoderConfig("inception_v3"))
    group = OptionGroup("p28_7x7", PatchGrid(64, 28), "local", big.channels, 1.0)
    config = replace(config, groups=(group,))
    message = (
        r"small_glance on frames of 64 px, or inception_v3 on 28 px, cannot run \(.*\): "
        "choose other sizes or another encoder"
    )
    with pytest.raises(EncoderError, match=message):
        VideoEncoder({**encoders, "local": big}, config).shapes()


def test_info_tells_what_a_cache_is_made_of(copy: FeatureCache) -> None:
    facts, table = cache_info(copy.root)
    assert facts["views"] == "2, flip True, seed 0"
    assert facts["encoder glance"].startswith("small_glance at 12 px, weights ")
    assert facts["encoder local"].startswith("small_local, weights ")
    group = facts["group p28_7x7"]
    assert group.startswith("K = 49 read at 28 px by local, L = 64, ")
    assert group.endswith(f" each, fingerprint {copy.fingerprint}")
    assert facts["glance_vectors"] == "(8, 3, 32) float16, 0.000 GB"
    assert "cannot be decoded" in facts["skipped 00001.mp4"]
    assert table["rows"].to_dict() == {"train": 4, "skipped": 2, "val": 1, "test": 1}
    assert table["videos"].to_dict() == {"train": 2, "skipped": 1, "val": 1, "test": 1}
    assert free_space_is_read()


def free_space_is_read() -> bool:
    return writer.free_bytes(Path("/nowhere/at/all")) > 0
