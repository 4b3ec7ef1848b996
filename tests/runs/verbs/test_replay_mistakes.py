"""What ``focusgym replay`` refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import add_group, write_cache

from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import (
    ClassifierConfig,
    FocusgymError,
    PolicyConfig,
    PolicyNetwork,
    build_classifier,
    write_bundle,
)
from focusgym.runs.cli import main
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.verbs.replay import replay


@pytest.fixture(scope="module")
def run(tiny_run: tuple[Path, dict[str, Any]]) -> Path:
    return tiny_run[0]


def test_mistakes_say_what_to_do_and_leave_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("mine")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("path,frame\nx,1\n")
    twice = pd.read_csv(run / "data" / "boxes.csv")
    twice["path"] = str((run / "data").resolve()) + "/" + twice["path"]
    pd.concat([twice, twice]).to_csv(tmp_path / "twice.csv", index=False)
    twice.astype({"left": str}).assign(left="far").to_csv(tmp_path / "words.csv", index=False)
    (tmp_path / "text.csv").write_text("one\n" + "more, than, one\n" * 2)
    out, policy = tmp_path / "out", ("--policy", run / "policy")
    for args, text in (
        ((used, *policy), "used exists: nothing was touched; give another folder"),
        ((out, "--policy", tmp_path / "nowhere"), "is no trained policy: give a folder"),
        ((out, *policy, "--second", tmp_path / "nowhere"), "is no trained policy"),
        ((out, *policy, "--cache", tmp_path / "nowhere"), "give --cache"),
        ((out, *policy, "--classifier", tmp_path / "none"), "give --classifier"),
        ((out, *policy, "--split", "tost"), "split 'tost' has no videos"),
        ((out, *policy, "--more", "-1"), "--more must be an integer of at least 0; got -1"),
        ((out, *policy, "--count", "0"), "--count must be an integer of at least 1; got 0"),
        ((out, *policy, "--videos", "100"), "--videos must be rows of the cache in [0, 100)"),
        ((out, *policy, "--videos", "-1"), "--videos must be rows of the cache in [0, 100)"),
        ((out, *policy, "--videos", "9", "9"), "--videos must be different rows; got [9, 9]"),
        ((out, *policy, "--select", "skipped"), "there is nothing to show (AdaFocus has no π′"),
        ((out, *policy, "--reward", "gain"), "reward must be one of"),
        ((out, *policy, "--reward", "[1"), "--reward '[1': expected a name"),
        ((out, *policy, "--boxes", boxes), "is no table of boxes"),
        ((out, *policy, "--boxes", tmp_path / "no.csv"), "is no table of boxes"),
        ((out, *policy, "--boxes", tmp_path / "text.csv"), "is no table of boxes"),
        ((out, *policy, "--boxes", tmp_path / "twice.csv"), "more than one box for frame 0 of "),
        ((out, *policy, "--boxes", tmp_path / "words.csv"), "something else than numbers"),
        ((out, *policy, "--seed", "-1"), "--seed must be in 0.."),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as caught:
            main(["replay", *map(str, args)])
        assert caught.value.code == 2
        captured = capsys.readouterr()
        assert not captured.out
        assert text in captured.err
        assert captured.err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before


def test_a_second_policy_of_another_group_is_refused(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache")
    other = add_group(cache)
    for name, group in (("nine", cache.group.name), ("four", other)):
        features = FeatureCache.open(cache.root, group)
        h, w, channels = features.map_shape
        sizes = PolicyConfig(h, w, channels, features.n_options, 4, 8)
        network = PolicyNetwork(sizes)
        write_bundle(tmp_path / name, "policy", sizes, network, features.fingerprint)
        config = ClassifierConfig(channels, features.local_channels, features.n_classes, hidden=4)
        if name == "nine":
            f_c = build_classifier(config)
            write_bundle(tmp_path / "classifier", "classifier", config, f_c, features.fingerprint)
    with pytest.raises(
        FocusgymError,
        match=f"option group {other} of .*expected option group {cache.group.name} of",
    ):
        replay(ReplayConfig(tmp_path / "out", tmp_path / "nine", tmp_path / "four"))
    assert not (tmp_path / "out").exists()


def test_a_video_that_is_gone_is_named(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "cache"
    shutil.copytree(run / "cache", moved)
    table = pd.read_csv(moved / "videos.csv")
    table.loc[99, "path"] = str(tmp_path / "gone.mp4")
    table.to_csv(moved / "videos.csv", index=False)
    config = ReplayConfig(
        tmp_path / "out", run / "policy", None, moved, run / "classifier", videos=(98, 99)
    )
    with pytest.raises(FocusgymError, match=r"gone\.mp4"):
        replay(config)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
