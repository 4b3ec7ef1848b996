"""A quickstart, a run and a comparison whose folders were moved or renamed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import pandas as pd
import pytest
import yaml
from support import Literal

from focusgym.feature_cache import FeatureCache, VideoError
from focusgym.runs.cli import main
from focusgym.runs.configs.quickstart import QuickstartConfig
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.evaluation.trained import find_boxes, find_trained
from focusgym.runs.folders.run_folder import stored_settings
from focusgym.runs.training.recipes import Recipe
from focusgym.runs.verbs.quickstart import quickstart
from focusgym.runs.verbs.replay import replay

SMALL = ("--n-envs=6", "--minibatch=3", "--conv-channels=2", "--hidden=6", "--epochs=2")


@pytest.fixture
def moved(tiny_run: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """The quickstart as it is after a move: where its files say that it is, nothing is.

    It is a copy, since tests in other processes read the original meanwhile.
    """
    out, new_root = tiny_run[0], tmp_path / "other" / "demo"
    shutil.copytree(out, new_root)
    for file in [*new_root.glob("*.*"), *new_root.glob("cache/*.json")]:
        content = file.read_bytes()
        file.write_bytes(content.replace(bytes(out), bytes(tmp_path / "gone")))
    assert not any(
        bytes(out) in file.read_bytes() for file in new_root.rglob("*") if file.is_file()
    )
    return new_root


def run(capsys: pytest.CaptureFixture[str], *args: object) -> Any:
    """Run a verb with --json; return what it prints."""
    capsys.readouterr()
    main([*map(str, args), "--json"])
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([*map(str, args)])
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1].removeprefix("focusgym: ")


def test_a_quickstart_that_was_moved(
    moved: Path,
    tiny_run: tuple[Path, dict[str, Any]],
    tiny: Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = run(capsys, "cache", "verify", moved / "cache", "--sample=2")
    assert report["problems"] == []
    (row,) = run(capsys, "evaluate", moved / "policy", "--pixels", "--no-fixed")["policies"]
    assert row["parity"]["prediction_agreement"] == 1.0
    shown = replay(ReplayConfig(tmp_path / "out", moved / "policy", videos=(99,), mp4=False))
    assert shown["notes"] == []
    boxes = pd.read_csv(moved / "data" / "boxes.csv").set_index(["path", "frame"])
    video = shown["videos"][0]
    name = FeatureCache.open(moved / "cache").videos["path"][99]
    for frame, box in zip(video["frame_indices"], video["true_boxes"], strict=True):
        expected = boxes.loc[(str(Path(name).relative_to(moved / "data")), frame)]
        assert box["px"] == expected[["left", "top", "right", "bottom"]].tolist()
    # Everything is reused at the new place.
    again = quickstart(QuickstartConfig(out=moved), tiny)
    assert again == tiny_run[1]
    assert capsys.readouterr().out.count("done before, reused") == 9


def test_its_videos_are_elsewhere(
    moved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "disk" / "digits"
    data.parent.mkdir()
    (moved / "data").rename(data)
    try:
        gone = f"no such video; {moved / 'cache'} looks for its videos in {moved / 'data'}"
        evaluate_command = ("evaluate", moved / "policy", "--pixels", "--no-fixed")
        message = refused(capsys, *evaluate_command)
        assert gone in message
        assert message.endswith("with --videos-root (videos_root in Python)")
        config = ReplayConfig(tmp_path / "out", moved / "policy", videos=(99,), mp4=False)
        with pytest.raises(VideoError, match=gone):
            replay(config)
        assert not list(tmp_path.glob("out*"))
        with pytest.raises(SystemExit):
            main(["cache", "verify", str(moved / "cache"), "--sample=1"])
        assert "--videos-root" in capsys.readouterr().out
        where = f"--videos-root={data}"
        (row,) = run(capsys, *evaluate_command, where)["policies"]
        assert row["parity"]["prediction_agreement"] == 1.0
        assert not run(capsys, "cache", "verify", moved / "cache", "--sample=1", where)["problems"]
        replay_command = (
            "replay",
            tmp_path / "out",
            f"--policy={moved / 'policy'}",
            "--videos",
            99,
            where,
        )
        shown = run(capsys, *replay_command, "--no-mp4")
        assert all(shown["videos"][0]["true_boxes"])
        paths = {"cache": moved / "cache", "classifier": moved / "classifier"}
        kind = "focusgym.envs:focusgym/AdaFocus-v0"
        for root in (None, data):
            env = gymnasium.make(
                kind, **paths, split="test", videos_root=root, render_mode="rgb_array"
            )
            env.reset()
            if root is None:
                with pytest.raises(VideoError, match=gone):
                    env.render()
            else:
                assert env.render() is not None
    finally:
        data.rename(moved / "data")


def test_a_table_of_that_name_may_be_another(moved: Path, tmp_path: Path) -> None:
    shutil.copytree(moved / "cache", tmp_path / "cache")
    (tmp_path / "videos").mkdir()
    cache = FeatureCache.open(tmp_path / "cache", videos_root=tmp_path / "videos")
    for text in ("path,x,y\na,1,2\n", ""):
        (tmp_path / "videos" / "boxes.csv").write_text(text)
        assert find_boxes(cache, None) is None


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with a cache, a classifier and the run ``pi``."""
    root = tmp_path / "old"
    Literal(root)
    files = (f"--cache={root}/cache", f"--classifier={root}/classifier")
    main(["train", str(root / "pi"), *files, *SMALL, "--json"])
    return root


def test_a_run_that_was_moved_with_its_cache(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = json.loads((trained / "pi" / "results.json").read_text())
    new = tmp_path / "new"
    trained.rename(new)
    Literal(trained, seed=1)  # another cache where the first one was
    (row,) = run(capsys, "evaluate", new / "pi", "--no-fixed")["policies"]
    assert row == results["test"]
    stored = stored_settings(new / "pi", "train")
    assert (stored["cache"], stored["classifier"]) == (
        str(new / "cache"),
        str(new / "classifier"),
    )
    (new / "pi" / "results.json").unlink()
    (new / "pi" / "checkpoint.safetensors").unlink()
    assert run(capsys, "train", new / "pi", "--resume") == results
    kept = yaml.safe_load((new / "pi" / "config.yaml").read_text())["train"]
    assert kept["cache"] == str(new / "cache")
    # Its settings as a preset: the same run again, once more elsewhere.
    third = tmp_path / "third"
    new.rename(third)
    again = run(capsys, "train", third / "again", f"--preset={third / 'pi' / 'config.yaml'}")
    assert again == {**results, "test": {**results["test"], "name": "again"}}
    main(["compare", str(tmp_path / "table"), "--runs", str(third / "pi"), "--json"])


def test_only_its_cache_is_elsewhere(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupted training goes on with the same cache at another place, and with no other."""
    results = json.loads((trained / "pi" / "results.json").read_text())
    (trained / "pi" / "results.json").unlink()
    away = shutil.move(trained / "cache", tmp_path / "away")
    resume = ("train", trained / "pi", "--resume")
    assert "is not a complete feature cache" in refused(capsys, *resume)
    Literal(tmp_path / "other", seed=1)
    other = [f"--{name}={tmp_path / 'other' / name}" for name in ("cache", "classifier")]
    assert "was begun on other data (" in refused(capsys, *resume, *other)
    assert run(capsys, *resume, f"--cache={away}") == results
    assert find_trained(trained / "pi").cache.root == Path(away)
