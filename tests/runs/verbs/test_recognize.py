"""``focusgym recognize``: predictions for video files, as text and as JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import decord
import numpy as np
import pytest
import torch
from recognizers import gmacs_by_hand, keep_probabilities, literal, make_recognizer
from torch import nn
from verbs import Digits, run_recognize

from focusgym.feature_cache import read_frames
from focusgym.recognizer import (
    NEVER,
    AdaptiveRecognizer,
    ExitRule,
    PatchGrid,
    PolicyNetwork,
    format_gmacs,
)

FULL_LOCAL = [(16, 3, 16), (8, 16, 32), (4, 32, 64), (4, 64, 64)]  # f_L on 32×32: side, in, out
CLASSES = ("up", "[b]down[/b]", ":cat:", "d\u00e9j\u00e0 vu")  # printed as they are


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Path:
    """A recognizer that skips some of the frames of these videos."""
    recognizer = make_recognizer(skips=0.4)
    recognizer.classes = CLASSES
    policy, frames = recognizer.policy, recognizer.frames
    assert policy is not None
    assert frames is not None
    pixels = torch.stack([read_frames(clip, frames)[0] for clip in digits.clips])
    threshold = float(keep_probabilities(recognizer, pixels).quantile(0.3))
    policy.config = replace(policy.config, threshold=threshold)
    recognizer.save(path := tmp_path_factory.mktemp("recognize") / "recognizer")
    return path


def full_frames(recognizer: AdaptiveRecognizer) -> float:
    """GMACs of both encoders on five whole frames, and of f_C, from the sizes of the layers."""
    prices = gmacs_by_hand(recognizer)
    local = sum(9 * side**2 * n_in * n_out for side, n_in, n_out in FULL_LOCAL) / 1e9
    return 5 * (prices["glance"] + local + prices["classifier"])


def without_times(line: dict[str, Any]) -> dict[str, Any]:
    """Return the rest of a JSON object, which has times."""
    rest = dict(line)
    assert 0 < rest.pop("decode_ms") < 60_000
    assert 0 < rest.pop("recognize_ms") < 60_000
    return rest


def by_hand(bundle: Path, digits: Digits, top: int) -> list[dict[str, Any]]:
    """One video after the other, with a recognizer and frames of our own."""
    recognizer = AdaptiveRecognizer.from_bundle(bundle)
    assert recognizer.frames is not None
    lines = []
    for clip in digits.clips:
        frames, view = read_frames(clip, recognizer.frames)
        output = recognizer(frames[None])
        p = output.logits[0].softmax(-1).tolist()
        order = sorted(range(4), key=lambda c: -p[-1][c])[:top]
        steps = [
            {
                "frame": int(view.frame_indices[t]),
                "box_px": output.boxes_px[0, t].tolist() if output.attended[0, t] else None,
                "class": CLASSES[p[t].index(max(p[t]))],
                "probability": max(p[t]),
                "gmacs": float(output.gmacs[0, t]),
            }
            for t in range(5)
        ]
        lines.append(
            {
                "video": clip.path,
                "classes": [{"class": CLASSES[c], "probability": p[-1][c]} for c in order],
                "fed": 5,
                "attended": int(output.attended.sum()),
                "gmacs": steps[-1]["gmacs"],
                "full_frames_gmacs": (full := full_frames(make_recognizer(skips=0.4))),
                "times_less": full / float(str(steps[-1]["gmacs"])),
                "steps": steps,
            }
        )
    return lines


def assert_near(actual: Any, expected: Any) -> None:
    """Numbers within the rounding of another batch, by which a stored feature moves by 2⁻¹¹."""
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key, value in expected.items():
            assert_near(actual[key], value)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_near(one, other)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=1e-6, abs=1e-3)
    else:
        assert actual == expected


def test_json_is_what_the_recognizer_says(
    bundle: Path, digits: Digits, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twelve videos, in batches; each line is one object."""
    videos = [clip.path for clip in digits.clips]
    lines, _ = run_recognize(capsys, *videos, "--bundle", bundle, "--json", "--top", 2)
    recognized = [without_times(json.loads(line)) for line in lines]
    assert_near(recognized, by_hand(bundle, digits, top=2))
    looks = [step["box_px"] is not None for line in recognized for step in line["steps"]]
    assert 0 < sum(looks) < len(looks)
    assert len({str(line["classes"]) for line in recognized}) > 3


def test_text(bundle: Path, digits: Digits, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence against a recognition frame by frame, with multiply-adds from the sizes."""
    recognizer = make_recognizer(skips=0.4)  # the same networks, not fused
    saved = AdaptiveRecognizer.from_bundle(bundle)
    assert recognizer.policy is not None
    assert saved.policy is not None
    assert recognizer.frames is not None
    recognizer.policy.config = saved.policy.config
    clip = digits.clips[0]
    frames, _ = read_frames(clip, recognizer.frames)
    expected = literal(recognizer, frames[None])
    best = expected.logits[0, -1].softmax(-1).topk(3)
    n_attended, prices = int(expected.attended.sum()), gmacs_by_hand(recognizer)
    gmacs = 5 * sum(prices[name] for name in ("glance", "policy", "classifier"))
    gmacs += n_attended * prices["local"]
    full = full_frames(recognizer)
    lines, _ = run_recognize(capsys, clip.path, "--bundle", bundle)
    first = lines[0].removeprefix(f"{clip.path}: ")
    names, percents, signs = zip(*(part.rsplit(" ", 2) for part in first.split(", ")), strict=True)
    assert names == tuple(CLASSES[c] for c in best.indices.tolist())
    assert set(signs) == {"%"}
    assert all(re.fullmatch(r"\d+\.\d", p) for p in percents)
    # To the digit that is printed, and what rounding of stored features may move.
    expected_percents = [100 * p for p in best.values.tolist()]
    assert [float(p) for p in percents] == pytest.approx(expected_percents, abs=0.05 + 0.1)
    assert lines[1:-1] == [
        f"  {n_attended} of 5 frames looked at, {format_gmacs(gmacs)}, {full / gmacs:.1f} times "
        f"less than full frames ({format_gmacs(full)})",
    ]
    assert re.fullmatch(
        r"  \d+\.\d ms decoding, \d+\.\d ms recognizing \(mean of its batch\)", lines[-1]
    )
    lines, _ = run_recognize(capsys, clip.path, "--bundle", bundle, "--top", 100)
    assert lines[0].count(" %") == 4, "there are no more classes"


def test_a_video_that_stops_is_said_to(
    digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recognizer = make_recognizer(skips=0.0)
    recognizer.exits = ExitRule("confidence", (NEVER, 0.0, NEVER, NEVER, NEVER))
    recognizer.save(tmp_path / "exiting")
    lines, _ = run_recognize(capsys, digits.clips[0].path, "--bundle", tmp_path / "exiting")
    gmacs = 2 * sum(gmacs_by_hand(recognizer).values())
    assert lines[1].startswith(
        f"  2 of 5 frames looked at, stopped after 2, {format_gmacs(gmacs)}, "
    )


def test_what_costs_more_than_full_frames_is_said_to(
    digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a patch costs as much as the whole frame, the policy is paid in addition."""
    recognizer = make_recognizer()
    assert recognizer.policy is not None
    # The first layer has a stride of 2: to it, 31 pixels are as many as 32.
    recognizer.places = PatchGrid(32, 31, 2)
    recognizer.policy = PolicyNetwork(replace(recognizer.policy.config, n_options=4)).eval()
    recognizer.save(tmp_path / "whole")
    policy = gmacs_by_hand(recognizer)["policy"] - (9 - 4) * 6 / 1e9  # of hidden units to options
    gmacs = full_frames(recognizer) + 5 * policy
    lines, _ = run_recognize(capsys, digits.clips[0].path, "--bundle", tmp_path / "whole")
    ratio = gmacs / full_frames(recognizer)
    assert f"{format_gmacs(gmacs)}, {ratio:.1f} times more than full frames" in lines[1]


def test_what_cannot_be_read_is_named_and_the_others_are_told(
    bundle: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    good = [clip.path for clip in digits.clips[:2]]
    bad = [tmp_path / name for name in ("text.mp4", "empty.mp4", "nowhere.mp4")] + [tmp_path]
    videos = [bad[0], good[0], bad[1], bad[2], good[1], bad[3]]
    lines, _ = run_recognize(capsys, *videos, "--bundle", bundle, status=1)
    firsts = [line for line in lines if not line.startswith("  ")]
    assert (len(lines), len(firsts)) == (4 + 2 * 3, 6)
    for video, line in zip(videos, firsts, strict=True):
        assert line.startswith(f"{video}")
        assert (" %, " in line) == (video in good)
    assert "no such video" in firsts[3]
    lines, _ = run_recognize(capsys, *videos, "--bundle", bundle, "--json", status=1)
    recognized = [json.loads(line) for line in lines]
    assert [each["video"] for each in recognized] == [str(video) for video in videos]
    assert ["error" in each for each in recognized] == [video in bad for video in videos]
    lines, _ = run_recognize(capsys, *bad, "--bundle", bundle, status=1)
    assert len(lines) == 4


def test_predictions_that_are_no_numbers_are_no_success(
    bundle: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of weights whose features are too large for float16, and of weights that are NaN."""
    recognizer = AdaptiveRecognizer.from_bundle(bundle, fuse=False)
    *_, last = (m for m in recognizer.local_encoder.modules() if isinstance(m, nn.BatchNorm2d))
    with torch.no_grad():
        last.weight *= 1e30
        recognizer.save(tmp_path / "large")
        last.weight *= torch.nan
        recognizer.save(tmp_path / "nan")
    videos = [clip.path for clip in digits.clips[:2]]
    lines, _ = run_recognize(capsys, *videos, "--bundle", tmp_path / "large", status=1)
    for video, line in zip(videos, lines, strict=True):
        assert re.match(re.escape(f"{video}: prediction ") + r"\d+, counted from 0, is NaN", line)
        assert "too large for the precision float32 or for features of float16: take" in line
    lines, _ = run_recognize(capsys, *videos, "--bundle", tmp_path / "large", "--json", status=1)
    assert [[*json.loads(line)] for line in lines] == [["video", "error"]] * 2
    lines, message = run_recognize(capsys, *videos, "--bundle", tmp_path / "nan", status=2)
    assert not lines
    assert "of the recognizer holds NaN or infinity: its training diverged, or the file" in message


def test_a_name_that_is_not_utf8_is_read_like_any_other(
    bundle: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = digits.clips[0].path
    odd = shutil.copy(good, tmp_path / os.fsdecode(b"odd\xff.mp4"))
    arguments = (good, odd, "--bundle", bundle, "--annotate", out := tmp_path / "new" / "out")
    lines, message = run_recognize(capsys, *arguments, "--json")
    assert not message
    first, second = map(json.loads, lines)
    assert {path.name for path in out.iterdir()} == {Path(good).name, "odd\udcff.mp4"}
    assert second["video"] == str(odd)
    assert second["steps"] == first["steps"]
    lines, message = run_recognize(capsys, good, odd, "--bundle", bundle)
    assert not message
    assert "odd\\udcff.mp4: " in lines[3]


def test_no_folder_is_left_where_nothing_was_annotated(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "deep" / "new", tmp_path / "there" / "new", tmp_path / "there"):
        lines, _ = run_recognize(
            capsys, "nowhere.mp4", "--bundle", bundle, "--annotate", folder, status=1
        )
        assert lines == ["nowhere.mp4: no such video: check the path"]
        assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_bundle_copied_elsewhere_works_alone(
    bundle: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = shutil.copy(digits.clips[0].path, tmp_path / "a video.mp4")
    expected, _ = run_recognize(capsys, video, "--bundle", bundle, "--json")
    moved = shutil.copytree(bundle, tmp_path / "else where")
    hidden = bundle.rename(bundle.with_name("hidden"))
    try:
        moved_lines, _ = run_recognize(capsys, video, "--bundle", moved, "--json")
    finally:
        hidden.rename(bundle)
    moved_line, line = (without_times(json.loads(lines[0])) for lines in (moved_lines, expected))
    assert moved_line == line


def test_annotated_videos_show_what_the_json_says(
    bundle: Path, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Frames of 64 px were made 36 px wide and cut to 32; copies are six times as large."""
    videos = [clip.path for clip in digits.clips[:4]]
    out = tmp_path / "deep" / "annotated"
    lines, _ = run_recognize(capsys, *videos, "--bundle", bundle, "--json", "--annotate", out)
    assert sorted(path.name for path in out.iterdir()) == sorted(Path(v).name for v in videos)
    skipped = 0
    for video, line in zip(videos, map(json.loads, lines), strict=True):
        assert line["annotated"] == str(out / Path(video).name)
        pictures = decord.VideoReader(line["annotated"])[:].asnumpy().astype(int)
        assert len(pictures) == 6
        for t, step in enumerate(line["steps"]):
            frame = pictures[step["frame"]][-6 * 64 :]
            green = (frame[..., 1] > frame[..., 0] + 80) & (frame[..., 1] > frame[..., 2] + 60)
            # Edges are longer than any green stroke of a digit.
            x, y = (np.flatnonzero(green.sum(axis) > 90) for axis in (0, 1))
            skipped += step["box_px"] is None
            if step["box_px"] is None:
                assert not len(x), t
                continue
            edges = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            expected = [(edge + 2) * 64 / 36 * 6 for edge in step["box_px"]]
            np.testing.assert_allclose(edges, expected, atol=2)
    assert skipped
    printed, _ = run_recognize(
        capsys, videos[0], "--bundle", bundle, "--annotate", tmp_path / "other"
    )
    assert printed[-1] == f"  annotated in {tmp_path / 'other' / Path(videos[0]).name}"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precision_is_the_encoders(
    precision: str, bundle: Path, digits: Digits, capsys: pytest.CaptureFixture[str]
) -> None:
    video = digits.clips[0].path
    lines, _ = run_recognize(capsys, video, "--bundle", bundle, "--json", "--precision", precision)
    recognizer = AdaptiveRecognizer.from_bundle(bundle, precision=precision)
    assert recognizer.frames is not None
    output = recognizer(read_frames(digits.clips[0], recognizer.frames)[0][None])
    expected = output.logits[0, -1].softmax(-1).max()
    best = json.loads(lines[0])["classes"][0]["probability"]
    assert best == pytest.approx(float(expected), abs=1e-5)
    exact, _ = run_recognize(capsys, video, "--bundle", bundle, "--json")
    assert json.loads(exact[0])["classes"] != json.loads(lines[0])["classes"]
