"""The verb ``data``: folders that the other verbs read."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from focusgym.feature_cache import DigitsConfig, make_digits, read_videos
from focusgym.runs.cli import Command, main
from focusgym.runs.options.mistakes import mistake

HARD = ("--visible-share", "0.5", "--decoys", "1", "--digit-px", "12", "--largest-digit-px", "30")
FEW = ("--n-train", "4", "--n-val", "2", "--n-test", "3", "--n-frames", "4")


def refused(capsys: pytest.CaptureFixture[str], *args: str | Path) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["data", *map(str, args)])
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(("name", "n_classes"), [("digits", 10), ("digit-pairs", 20)])
def test_a_data_set_is_written_and_read(
    name: str, n_classes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "some where" / "data"
    main(["data", name, str(out), *FEW])
    printed = capsys.readouterr().out
    summary_line, next_line = printed.splitlines()
    assert (
        f"{out} holds 9 videos (train 4, val 2, test 3) of 4 frames and {n_classes} cla"
        in summary_line
    )
    files = re.findall(r"\w+\.\w+", summary_line.partition("classes: ")[2])
    assert sorted(files) == sorted(path.name for path in out.iterdir() if path.is_file())
    command = shlex.split(next_line.removeprefix("next: "))
    verb, trained = ("encoder", "tsm") if name == "digit-pairs" else ("end-to-end", "v2")
    assert command[:4] == ["focusgym", "fit", verb, f"outputs/data_{trained}"]
    assert command[command.index("--videos") + 1] == str(out)
    assert mistake(command[1:], Command) is None
    listed = read_videos(out).videos
    assert listed["split"].value_counts().to_dict() == {"train": 4, "val": 2, "test": 3}
    assert not listed["missing"].any()
    assert listed["label"].between(0, n_classes - 1).all()
    assert len(pd.read_csv(out / "boxes.csv")) == 9 * 4


def test_json_and_the_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object; and the videos are those that the library makes with this seed."""
    main(["data", "digits", str(tmp_path / "data"), *FEW, "--seed", "5", *HARD, "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "data": str(tmp_path / "data"),
        "rows": {"train": 4, "val": 2, "test": 3},
        "n_frames": 4,
        "n_classes": 10,
        "seed": 5,
    }
    sizes = {"n_train": 4, "n_val": 2, "n_test": 3, "n_frames": 4, "seed": 5}
    hard = {"decoys": 1, "digit_px": 12, "largest_digit_px": 30}
    config = DigitsConfig(**sizes, **hard, visible_share=0.5)
    make_digits(config, tmp_path / "again")
    for path in (tmp_path / "again").rglob("*.*"):
        written = tmp_path / "data" / path.relative_to(tmp_path / "again")
        assert written.read_bytes() == path.read_bytes()


def test_what_is_there_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    for name in ("digits", "digit-pairs"):
        for place in (tmp_path, tmp_path / "mine.txt"):
            message = refused(capsys, name, place, *FEW)
            assert message == (
                f"focusgym: {place} exists: nothing was touched; give another folder\n"
            )
    assert (tmp_path / "mine.txt").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_wrong_sizes_and_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "data"
    for option in ("--n-train", "--n-val", "--n-test", "--n-frames"):
        message = refused(capsys, "digits", out, option, "0")
        assert message == f"focusgym: {option} must be an integer of at least 1; got 0\n"
    message = refused(capsys, "digit-pairs", out, "--n-frames", "1")
    assert message == (
        "focusgym: digit_pairs needs at least two frames, one for each digit; got 1\n"
    )
    assert "did you mean `focusgym data digit-pairs`?" in refused(capsys, "digit-pair", out)
    assert not out.exists()


def test_an_interruption_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("focusgym.feature_cache.videos.digit_folder.contained", interrupted)
    with pytest.raises(SystemExit) as caught:
        main(["data", "digit-pairs", str(tmp_path / "data"), *FEW])
    assert caught.value.code == 130
    assert "interrupted; nothing that was not finished is kept" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
