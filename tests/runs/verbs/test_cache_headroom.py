"""``focusgym cache headroom``: what it prints, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cache_verb import run, run_json
from support import Literal, add_frames, add_group, engine_of, write_cache, write_classifier

from focusgym.feature_cache import FeatureCache
from focusgym.runs.comparison.headroom import measure_headroom


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache of random features with 10 videos to select on, and a classifier of it."""
    cache = write_cache(tmp_path / "cache", n=50)
    write_classifier(cache, tmp_path / "classifier")
    return tmp_path


def test_what_is_printed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("headroom", root / "cache", "--classifier", root / "classifier")
    report = run_json(capsys, *arguments, "--seed", "2")
    assert (report["split"], report["n_videos"]) == ("val", 10)
    assert report["cache"] == str(root / "cache")
    assert [row["name"] for row in report["rows"]] == [
        *("no_patch", "random", "central", "gaussian", "fixed_box"),
        *("glance_rule", "most_confident", "oracle"),
    ]
    printed = run(capsys, *arguments, "--seed", "2")
    assert "accuracy (%) on 10 videos, after t frames; 95 % intervals" in printed
    for words in ("no patch", "best fixed box, cross-validated", "no label", "no policy can"):
        assert words in printed
    assert report["verdict"] in printed
    central = report["rows"][2]
    shown = " ".join(f"{100 * share:.1f}" for share in central["accuracy_by_step"])
    assert f"central patch {shown} {100 * central['mean']:.1f} " in printed


def test_only_the_validation_videos_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    literal = Literal(tmp_path)
    report = run_json(
        capsys, "headroom", tmp_path / "cache", "--classifier", tmp_path / "classifier"
    )
    expected = measure_headroom(engine_of(literal), literal.cache.split("val"), 0)
    assert report == report | expected


def test_what_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache, f_c = root / "cache", ("--classifier", root / "classifier")

    def refused(*args: str | Path) -> str:
        return run(capsys, "headroom", *args, status=2).removeprefix("focusgym: ")

    assert "--classifier" in refused(cache)
    assert "nowhere is not" in refused(root / "nowhere", *f_c)
    assert "nowhere" in refused(cache, "--classifier", root / "nowhere")
    assert refused(cache, *f_c, "--seed=-1").startswith("--seed must be in 0")
    other = write_cache(root / "other", n=50, seed=1)
    refusal = refused(other.root, *f_c)
    assert other.fingerprint[:12] in refusal
    assert FeatureCache.open(cache).fingerprint[:12] in refusal
    for n, message in (
        (5, "one has one video in the split val, and what is fitted to a video is measured on"),
        (4, "split 'val' has no videos in"),
    ):
        few = write_cache(root / f"one{n}" / "one", n=n)
        write_classifier(few, root / f"one{n}" / "classifier")
        refusal = refused(few.root, "--classifier", root / f"one{n}" / "classifier")
        assert message in refusal
    more = FeatureCache.open(shutil.copytree(cache, root / "more"))
    add_frames(more)
    assert "holds 3 option groups: say which of" in refused(more.root, *f_c)
    frames_cache = FeatureCache.open(more.root, "full16")
    path = write_classifier(frames_cache, root / "of_frames")
    assert refused(more.root, "--group", "full16", "--classifier", path).startswith(
        "--group full16: it has one option, and where to look cannot be chosen: give another of "
        "p12_3x3, full32, full16, or build the cache with patches"
    )


def test_a_group_of_several(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = add_group(FeatureCache.open(root / "cache"))
    cache = FeatureCache.open(root / "cache", name)
    path = write_classifier(cache, root / "of_group")
    report = run_json(capsys, "headroom", root / "cache", "--group", name, "--classifier", path)
    gmacs = {row["name"]: row["gmacs_per_video"] for row in report["rows"]}
    assert gmacs["random"] - gmacs["no_patch"] == pytest.approx(cache.steps * 0.7)
    assert np.isfinite(list(gmacs.values())).all()
