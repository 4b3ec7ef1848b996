"""``focusgym cache``: from a list on the command line to a cache, and what can go wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cache_verb import BARE, FRAMES, SMALL, lists, run, run_json

from focusgym.feature_cache import FeatureCache, verify_cache
from focusgym.recognizer import Encoder, EncoderConfig, encoder_gmacs, write_bundle


def test_plan_build_verify_info(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c"
    arguments = (
        out,
        *lists(data, "txt"),
        *SMALL,
        "--group",
        "patches:small_local:40:3",
        "--views",
        "2",
    )
    printed = run(capsys, "plan", *arguments)
    assert "rows 48 (train 40, val 4, test 4), 2 classes" in printed
    assert "local_vectors_p40_3x3" in printed
    assert "weights of all encoders 0.000 GB" in printed
    assert "problem" not in printed
    assert not out.exists()
    assert "is complete" in run(capsys, "build", *arguments, "--flip", "False", "--seed", "3")
    cache = FeatureCache.open(out, "p40_3x3")
    assert (cache.n_videos, cache.steps, cache.n_options) == (48, 2, 9)
    assert not any(cache.view(row).flipped for row in range(48))
    assert cache.manifest["depends_on"]["augment"] == {"views": 2, "flip": False, "seed": 3}
    assert "all checksums right" in run(capsys, "verify", out, "--sample", "3")
    printed = run(capsys, "info", out)
    assert "group p40_3x3 K = 9 read at 40 px by small_local, L = 64, " in printed
    assert f"fingerprint {cache.fingerprint} glance_maps" in printed
    assert "views 2, flip False, seed 3" in printed
    path = out / "glance_maps.npy"
    data_bytes = bytearray(path.read_bytes())
    data_bytes[-1] ^= 1
    path.write_bytes(data_bytes)
    assert "1 problem(s)" in run(capsys, "verify", out, "--sample", "0", status=1)


def test_segments_of_several_frames(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = Encoder(EncoderConfig("small_local"))
    out, several = tmp_path / "c", ("--segment-frames", "3", "--glance-frames", "1")
    arguments = (out, *lists(data, "txt"), *SMALL, *several)
    price = run_json(capsys, "plan", *arguments)["option_gmacs"]["p28_7x7"]
    run(capsys, "build", *arguments)
    cache = FeatureCache.open(out)
    assert cache.group.gmacs == price == pytest.approx(3 * encoder_gmacs(encoder, 28))
    assert cache.frame_indices(np.array([0])).tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert cache.frames.glanced == (1,), "of each segment"
    printed = run(capsys, "info", out)
    assert "frames 2 segments of 3 frames, the glance reads 1 of them, each of 64 px" in printed
    assert "all checksums right" in run(capsys, "verify", out, "--sample", "2")
    for extra, message in (
        (("--segment-frames", "0"), "segment_frames must be at least 1; got 0"),
        (("--glance-frames", "4"), "glance_frames must be in 1..3, the frames of a segment; got 4"),
    ):
        assert message in run(capsys, "plan", *arguments, *extra, status=2)


def test_shards_of_a_csv_are_merged(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (*lists(data, "csv"), "--format", "csv", *SMALL)
    parts = [tmp_path / f"part{i}" for i in (1, 2)]
    for i, part in enumerate(parts, 1):
        run(capsys, "build", part, *arguments, "--shard", f"{i}/2")
    run(capsys, "merge", *parts, "--out", tmp_path / "merged")
    run(capsys, "build", tmp_path / "whole", *arguments)
    for path in (tmp_path / "whole").rglob("*.*"):
        other = tmp_path / "merged" / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes()
    message = run(capsys, "build", tmp_path / "x", *arguments, "--shard", "1of2", status=2)
    assert "--shard must be i/n, such as 2/4; got '1of2'" in message


def test_problems_are_told_before_and_skipped_when_asked(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (data / "train.txt").read_text().splitlines()
    (data / lines[0].split()[0]).unlink()
    (data / lines[3].split()[0]).write_text("text")
    arguments = (tmp_path / "c", *lists(data, "txt"), *SMALL)
    printed = run(capsys, "plan", *arguments, status=1)
    assert "no such video" in printed
    assert "cannot be decoded" in printed
    assert "2 problem(s)" in printed
    printed = run(capsys, "build", *arguments, status=2)
    assert "train.txt:1: no such video" in printed
    assert not list(tmp_path.glob("c*")), "nothing was begun"
    assert "is complete" in run(capsys, "build", *arguments, "--skip-missing")
    cache = FeatureCache.open(tmp_path / "c")
    assert len(cache.split("skipped")) == len(cache.manifest["skipped"]) == 2


def test_what_cannot_be_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (tmp_path / "c", "--videos", data, *SMALL)
    for extra, message in (
        (("--views", "-1"), "--views must be an integer of at least 0; got -1"),
        (("--device", "cuda"), "--device cuda: torch finds no CUDA device here"),
        (("--precision", "tf32"), "the precision tf32 is of CUDA devices, and the device is cpu"),
        (("--glance", "small_glanse"), "unknown encoder 'small_glanse'"),
        (("--short-videos", "loop"), "invalid choice"),
        (("--images", "%05d.jpg"), "--classes and --images go with lists: give --train"),
    ):
        printed = run(capsys, "build", *arguments, *extra, status=2)
        assert message in printed, printed
    arguments = (tmp_path / "c", "--videos", data, *FRAMES)
    usual = ("--glance", "small_glance", "--weights", "small_glance=random")
    folder = tmp_path / "nowhere" / "encoder"
    small = ("--group", "patches:small_local:28")
    for extra, message in (
        ((*usual, "--group", "patches:small_local:65"), "patch_px must be in 1..64"),
        ((*usual, "--group", "full:small_local:65"), "side of a whole frame must be in 1..64"),
        ((*usual, "--group", "patches:small_local:28:1"), "needs n >= 2"),
        ((*usual, "--group", "full:small_local:28:3"), "expected patches:ENCODER:SIDE, patches:E"),
        ((*usual, "--group", "cubes:small_local:28"), "--group cubes:small_local:28: expected pat"),
        ((*usual, "--group", "patches:28"), "--group patches:28: expected patches:ENCODER:SIDE"),
        ((*usual, *small, *small), "--group: each once; got patches:small_local:28, patches:smal"),
        ((*usual, *small), "no weights for small_local: give --weights small_local=FILE, small_lo"),
        ((*usual, "--group", f"full:{folder}:28"), f"there is no folder {folder}, of an encoder"),
        ((*usual, *small, "--weights", "random"), "--weights random: expected NAME=WEIGHTS, such"),
        ((*usual, *small, *usual[2:]), "--weights: small_glance is given twice"),
        (
            (*usual, *small, "--weights", "vgg=random"),
            "--weights vgg=random: there is no network",
        ),
        ((*usual, *small, "--weights", "small_local=no.pth"), "no such file no.pth"),
        (("--glance", "vgg", "--weights", "vgg=random", *small), "unknown encoder 'vgg'"),
        (("--glance", folder, "--glance-px", "12", *small), "--glance-px: the bundle"),
    ):
        printed = run(capsys, "build", *arguments, *extra, status=2)
        assert message in printed, printed
    before = sorted(data.rglob("*"))
    printed = run(capsys, "build", data, "--videos", data, *SMALL, status=2)
    assert (
        f"{data} exists and is no feature cache: nothing was touched; give the name of a" in printed
    )
    assert "remove" not in printed
    assert sorted(data.rglob("*")) == before
    assert "required" in run(capsys, "build", tmp_path / "c", status=2).lower()
    assert "is not a complete feature cache" in run(capsys, "info", data, status=2)


def test_damaged_caches_are_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "odd [/b] name"
    assert "[/b] name is complete" in run(capsys, "build", out, *lists(data, "txt"), *SMALL)
    for args, message in (
        (("verify", out, "--sample", "-1"), "--sample must be an integer of at least 0; got -1"),
        (("verify", out, "--seed", "-1"), "--seed must be in 0..4294967295; got -1"),
        (("plan", out, *lists(data, "txt"), *SMALL, "--sample", "-2"), "--sample must be an inte"),
        (
            ("build", data / "train.txt" / "x", "--videos", data, *SMALL),
            "nothing can be written in",
        ),
    ):
        assert message in run(capsys, *args, status=2)
    table = pd.read_csv(out / "videos.csv")
    table.drop(columns="split").to_csv(out / "videos.csv", index=False)
    for verb in ("info", "verify"):
        assert "is not a complete feature cache" in run(capsys, verb, out, status=2)
    (out / "videos.csv").unlink()
    assert "is not a complete feature cache" in run(capsys, "info", out, status=2)
    manifest = (out / "manifest.json").read_text()
    (out / "manifest.json").write_text(manifest.replace('"shard"', '"chard"'))
    for args in (("info", out), ("merge", out, "--out", tmp_path / "m")):
        assert "is not a complete feature cache" in run(capsys, *args, status=2)


def test_the_format_of_gestures_does_not_flip(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    depends_on = {}
    for format in ("kinetics", "something"):
        arguments = (*lists(data, "txt"), "--format", format, *SMALL, "--views", "1")
        run(capsys, "build", tmp_path / format, *arguments)
        depends_on[format] = FeatureCache.open(tmp_path / format).manifest["depends_on"]
    for format, flip, short in (
        ("kinetics", True, "repeat_last"),
        ("something", False, "repeat_first"),
    ):
        assert depends_on[format]["augment"]["flip"] is flip
        assert depends_on[format]["frames"]["short_videos"] == short


def test_a_shard_may_hold_nothing_but_missing_videos(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (data / "train.txt").read_text().splitlines()[:14]:
        (data / line.split()[0]).unlink()
    arguments = (*lists(data, "txt"), *SMALL, "--skip-missing")
    printed = run(capsys, "build", tmp_path / "1", *arguments, "--shard", "1/2")
    assert "but for 14 rows that were skipped" in printed
    run(capsys, "build", tmp_path / "2", *arguments, "--shard", "2/2")
    run(capsys, "merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "merged")
    run(capsys, "build", tmp_path / "whole", *arguments)
    for path in (tmp_path / "whole").rglob("*.*"):
        other = tmp_path / "merged" / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("verb", ["plan", "build"])
def test_grids_of_equal_boxes_are_refused_first(
    verb: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a video is looked for, and before anything is written."""
    arguments = (verb, tmp_path / "c", "--videos", tmp_path / "nowhere", *BARE)
    for more, message in (
        (
            ("--group", "patches:small_local:64"),
            "focusgym: a patch of 64 px has 1 different place per axis in a frame of 64 px; got "
            "n=7 options per axis, of which some would be equal: choose a patch of at most 58 px",
        ),
        (
            ("--group", "patches:small_local:28", "--group", "patches:small_local:28:100"),
            "focusgym: a patch of 28 px has 37 different places per axis in a frame of 64 px; got "
            "n=100 options per axis, of which some would be equal: choose at most 37 options per "
            "axis",
        ),
    ):
        assert run(capsys, *arguments, *more, status=2) == message
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    if verb == "plan":  # as many as there are
        most = ("--group", "patches:small_local:28:37")
        run(capsys, "plan", tmp_path / "c", *lists(data, "txt"), *BARE, *most)


def test_groups_of_several_encoders(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Networks by name and by bundle; one that f_G is too is stored once."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        own = Encoder(EncoderConfig("small_local"))
    write_bundle(tmp_path / "own", "encoder", own.config, own)
    glance = ("--glance", "small_glance", "--weights", "small_glance=random")
    groups = [
        "patches:small_local:28:2",
        f"patches:{tmp_path / 'own'}:28:2",
        "full:small_glance:32",
    ]
    group_arguments = [part for group in groups for part in ("--group", group)]
    weights = ("--weights", "small_local=random")
    out = tmp_path / "c"
    built = run_json(
        capsys, "build", out, *lists(data, "txt"), *glance, *FRAMES, *weights, *group_arguments
    )
    assert list(built["fingerprints"]) == ["p28_2x2_small_local", "p28_2x2_own", "full32"]
    groups_by_name = FeatureCache.open(out, "full32").groups
    assert [group.encoder for group in groups_by_name.values()] == ["small_local", "own", "glance"]
    assert sorted(path.name for path in (out / "encoders").iterdir()) == [
        "glance",
        "own",
        "small_local",
    ]
    assert verify_cache(out, sample=1) == []
