"""What ``focusgym recognize`` refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from recognizers import make_recognizer
from verbs import Digits, run_recognize


def test_mistakes_are_one_line(
    digits: Digits, encoders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = digits.clips[0].path
    make_recognizer().save(bundle := tmp_path / "bundle")
    make_recognizer(policy=False).save(tmp_path / "blind")
    shutil.copytree(bundle, tmp_path / "changed")
    content = json.loads((tmp_path / "changed" / "bundle.json").read_text())
    content["config"]["places"]["n"] = 4
    (tmp_path / "changed" / "bundle.json").write_text(json.dumps(content))
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "there.mp4").touch()
    twin = tmp_path / "folder" / "sub" / f"{Path(video).stem}.avi"
    arguments = (video, "--bundle", bundle)
    before = sorted(tmp_path.rglob("*"))
    for args, text in (
        (("--bundle", bundle), "give at least one video file"),
        ((*arguments, "--top", 0), "--top must be an integer of at least 1; got 0"),
        ((*arguments, "--device", "cuda"), "torch finds no CUDA device here"),
        (
            (video, "--bundle", tmp_path / "nowhere"),
            "is not a readable bundle (there is no file bundle.json)",
        ),
        ((video, "--bundle", encoders / "local"), "holds a encoder, expected a recognizer"),
        (
            (video, "--bundle", tmp_path / "blind"),
            "has no policy, so it has to be told where to look",
        ),
        (
            (video, "--bundle", tmp_path / "changed"),
            "config and weights do not make a recognizer",
        ),
        (
            (video, twin, "--bundle", bundle, "--annotate", tmp_path / "new"),
            f"{video} and {twin} would both be annotated in",
        ),
        (
            ("there.avi", "--bundle", bundle, "--annotate", tmp_path / "folder"),
            "there.mp4 exists: nothing was touched; give another --annotate",
        ),
        (
            (*arguments, "--annotate", tmp_path / "changed" / "bundle.json" / "x"),
            "bundle.json/x cannot be written (",
        ),
        ((*arguments, "--annotate", tmp_path / ("x" * 300)), "cannot be written (File name too"),
    ):
        lines, message = run_recognize(capsys, *args, status=2)
        assert not lines
        assert message.startswith("focusgym: ")
        assert message.count("\n") == 1
        assert text in message
        assert sorted(tmp_path.rglob("*")) == before


def test_without_a_quickstart_there_is_no_recognizer(
    digits: Digits,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one that it makes is taken where none is given."""
    monkeypatch.chdir(tmp_path)
    _, message = run_recognize(capsys, digits.clips[0].path, status=2)
    assert "run `focusgym quickstart` first, which makes one, or give --bundle" in message
    make_recognizer().save(made := tmp_path / "made")
    (tmp_path / "outputs/quickstart/recognizers").mkdir(parents=True)
    shutil.copytree(made, tmp_path / "outputs/quickstart/recognizers/adafocus_plus")
    lines, _ = run_recognize(capsys, digits.clips[0].path)
    assert "frames looked at" in lines[1]
