"""``focusgym recognize`` with cubes: as text, as JSON, as a film, and within a budget."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import decord
import numpy as np
import pandas as pd
import pytest
import torch
from end_to_end_runs import CUBE_FRAMES, D, S, videos_of
from safetensors.torch import load_file, save_file
from verbs import Call, run_recognize

from focusgym.recognizer import (
    NEVER,
    CubeRecognizer,
    ExitRule,
    Recognition,
    encoder_gmacs,
    format_gmacs,
    hold,
    read_recognizer,
)

T = CUBE_FRAMES.steps


@pytest.fixture
def run(cube_run: tuple[Path, Call]) -> Path:
    return cube_run[0]


@pytest.fixture
def videos(end_to_end_digits: Path) -> list[str]:
    table = pd.read_csv(end_to_end_digits / "videos.csv")
    paths = table["path"][table["split"] == "test"]
    return [str(end_to_end_digits / path) for path in paths]


def opened(run: Path) -> CubeRecognizer:
    recognizer = read_recognizer(run)
    assert isinstance(recognizer, CubeRecognizer)
    return recognizer


def recognized(run: Path, data: Path) -> Recognition:
    """What the recognizer makes of the test videos, which have as many frames as it reads."""
    recognition = opened(run)(videos_of(data, "test", CUBE_FRAMES)[0])
    assert isinstance(recognition, Recognition)
    return recognition


def full_frames(recognizer: CubeRecognizer) -> float:
    """GMACs of both encoders on all frames, and of f_C as often as with cubes."""
    each = encoder_gmacs(recognizer.glance_encoder, S) + encoder_gmacs(recognizer.local_encoder, S)
    return T * each + recognizer.cost.classifier_gmacs


def test_json_has_the_glance_and_the_cubes_in_the_policys_order(
    run: Path, videos: list[str], end_to_end_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, _ = run_recognize(capsys, *videos, "--bundle", run, "--json", "--top", 2)
    recognition = recognized(run, end_to_end_digits)
    p = recognition.logits.softmax(-1)
    assert len(lines) == 9
    for b, line in enumerate(map(json.loads, lines)):
        assert line["video"] == videos[b]
        assert (line["fed"], line["attended"]) == (D + 1, D)
        assert [each["class"] for each in line["classes"]] == [
            str(int(c)) for c in p[b, -1].topk(2).indices
        ]
        glance, *cubes = line["steps"]
        assert (glance["frame"], glance["box_px"]) == (None, None)
        assert [step["frame"] for step in cubes] == recognition.segments[b, 1:].tolist()
        assert [step["box_px"] for step in cubes] == recognition.boxes_px[b, 1:].tolist()
        for t, step in enumerate(line["steps"]):
            assert step["class"] == str(int(p[b, t].argmax()))
            assert step["probability"] == pytest.approx(float(p[b, t].max()), abs=1e-3)
            assert step["gmacs"] == pytest.approx(float(recognition.gmacs[b, t]))
        assert line["gmacs"] == line["steps"][-1]["gmacs"]
        assert line["full_frames_gmacs"] == pytest.approx(full_frames(opened(run)))
        assert line["times_less"] == pytest.approx(line["full_frames_gmacs"] / line["gmacs"])


def test_text(run: Path, videos: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    recognizer = opened(run)
    gmacs, full = recognizer.cost.total_gmacs, full_frames(recognizer)
    lines, _ = run_recognize(capsys, videos[0], "--bundle", run)
    assert lines[0].startswith(f"{videos[0]}: ")
    assert lines[1] == (
        f"  3 of 3 cubes looked at, {format_gmacs(gmacs)}, {full / gmacs:.1f} times less than full "
        f"frames ({format_gmacs(full)})"
    )
    assert re.fullmatch(r"  \d+\.\d ms decoding, \d+\.\d ms recognizing \(mean of.*", lines[2])


def exiting(run: Path, out: Path, thresholds: tuple[float, ...]) -> Path:
    """Save a copy of the recognizer that stops."""
    recognizer = read_recognizer(run, fuse=False)
    recognizer.exits = ExitRule("confidence", thresholds)
    recognizer.save(out)
    return out


@pytest.mark.parametrize("stops", [0, 1])
def test_a_video_that_stops_is_said_to(
    stops: int, run: Path, videos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thresholds = (*[NEVER] * stops, 0.0, *[NEVER] * (D - stops))
    out = exiting(run, tmp_path / "exiting", thresholds)
    arguments = (videos[0], "--bundle", out, "--annotate")
    lines, _ = run_recognize(capsys, *arguments, tmp_path / "text")
    spent = float(np.cumsum(opened(run).step_gmacs(policy=True))[stops])
    sentence = f"  {stops} of 3 cubes looked at, stopped after {stops}, {format_gmacs(spent)}, "
    assert lines[1].startswith(sentence)
    lines, _ = run_recognize(capsys, *arguments, tmp_path / "json", "--json")
    line = json.loads(lines[0])
    assert (line["fed"], line["attended"]) == (stops + 1, stops)
    assert [step["frame"] is not None for step in line["steps"][1:]] == [
        d <= stops for d in range(1, D + 1)
    ]
    costs = [step["gmacs"] for step in line["steps"][stops:]]
    assert costs == pytest.approx([spent] * (D + 1 - stops))
    assert len(decord.VideoReader(line["annotated"])) == T


def test_annotated_videos_show_each_cube_in_its_frame(
    run: Path, videos: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The box of the last cube up to a frame, whatever its place in the policy's order."""
    out = tmp_path / "annotated"
    lines, _ = run_recognize(capsys, *videos[:3], "--bundle", run, "--json", "--annotate", out)
    for line in map(json.loads, lines):
        boxes = {step["frame"]: step["box_px"] for step in line["steps"][1:]}
        assert len(boxes) == D, "no frame twice"
        pictures = decord.VideoReader(line["annotated"])[:].asnumpy().astype(int)
        assert len(pictures) == T
        box = None
        for frame in range(T):
            box = boxes.get(frame, box)
            shown = pictures[frame][-6 * S :]  # frames are six times as large
            green = (shown[..., 1] > shown[..., 0] + 80) & (shown[..., 1] > shown[..., 2] + 60)
            x, y = (np.flatnonzero(green.sum(axis) > 90) for axis in (0, 1))
            if box is None:
                assert not len(x)
                continue
            edges = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            np.testing.assert_allclose(edges, [6 * edge for edge in box], atol=2)


def test_a_budget_is_met_by_exits_solved_on_the_validation_videos(
    run: Path, videos: list[str], end_to_end_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = load_file(run / "validation.safetensors")
    costs = kept["gmacs"].mean(0)
    budget = float(0.5 * (costs[0] + costs[-1]))
    arguments = (*videos, "--bundle", run, "--json", "--gmacs")
    lines, _ = run_recognize(capsys, *arguments, budget)
    steps = torch.tensor([json.loads(line)["fed"] - 1 for line in lines])
    # The highest threshold that is within the budget on the validation videos: by trying all.
    entropies = torch.distributions.Categorical(logits=kept["logits"].double()).entropy()
    best = max(
        (
            float(hold(kept["gmacs"], first)[:, -1].mean()),
            threshold,
        )
        for threshold in [0.0, *entropies[:, :-1].flatten().tolist(), 9.0]
        for first in [stops(entropies, threshold)]
        if float(hold(kept["gmacs"], first)[:, -1].mean()) <= budget
    )
    recognition = recognized(run, end_to_end_digits)
    full = torch.distributions.Categorical(logits=recognition.logits.double()).entropy()
    assert best[0] > float(costs[0]), "some go on"
    near = (full - best[1]).abs() < 1e-4  # computed in another batch: within rounding
    expected = stops(full, best[1])
    assert torch.equal(steps[~near.any(1)], expected[~near.any(1)])
    lines, _ = run_recognize(capsys, *arguments, 2 * float(costs[-1]))
    assert {json.loads(line)["fed"] for line in lines} == {D + 1}
    lines, _ = run_recognize(capsys, *arguments, float(costs[0]))
    assert {json.loads(line)["fed"] for line in lines} == {1}


def stops(entropies: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return the first step whose entropy is low enough, ``(N,)``; the last one at the latest."""
    return torch.tensor(
        [
            next((t for t, h in enumerate(row[:-1]) if h <= threshold), len(row) - 1)
            for row in entropies.tolist()
        ]
    )


def test_what_a_budget_refuses(
    run: Path,
    end_to_end_run: tuple[Path, Call],
    videos: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    path = copy / "validation.safetensors"
    tensors = {name: value.clone() for name, value in load_file(path).items()}  # it maps the file

    def refusal(gmacs: float = 1.0) -> str:
        lines, error = run_recognize(
            capsys, videos[0], "--bundle", copy, "--gmacs", gmacs, status=2
        )
        assert not lines
        assert "Traceback" not in error
        return error

    first = float(tensors["gmacs"][:, 0].mean())
    assert (
        f"--gmacs: a video costs {first:.4g} GMACs up to its first step, and the budget"
        in refusal(0.9 * first)
    )
    for damage in (
        lambda: path.write_bytes(path.read_bytes()[:-7]),
        lambda: path.write_bytes(b"no tensors"),
        lambda: save_file({key: tensors[key] for key in ("logits", "labels")}, path),
        lambda: save_file({**tensors, "gmacs": tensors["gmacs"][:, :2].contiguous()}, path),
        lambda: shutil.copy(end_to_end_run[0] / path.name, path),
        lambda: save_file({**tensors, "logits": tensors["logits"] * math.nan}, path),
        lambda: save_file({**tensors, "gmacs": -tensors["gmacs"]}, path),
        lambda: save_file({**tensors, "gmacs": tensors["gmacs"] * math.nan}, path),
        lambda: save_file({**tensors, "labels": tensors["labels"] + 99}, path),
    ):
        damage()  # type: ignore[no-untyped-call]
        assert f"--gmacs: {path} is damaged: copy it again, or train the run anew (" in refusal()
    path.unlink()
    assert f"--gmacs: {copy} has no validation.safetensors, the predictions that exits" in refusal()


def test_a_control_that_looks_at_random_is_refused(
    random_cubes_run: Path, videos: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines, message = run_recognize(capsys, videos[0], "--bundle", random_cubes_run, status=2)
    assert not lines
    assert f"{random_cubes_run} looks at random: it is a control; give a recognizer that" in message
