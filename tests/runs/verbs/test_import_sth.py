"""``focusgym import-checkpoint`` of a Something-Something checkpoint, and its recognizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from released_files import all_weights_loaded
from released_sth_files import AdaFocusSth, checkpoint_sth, released_sth
from torch import Tensor
from verbs import Digits

from focusgym.feature_cache import read_frames
from focusgym.recognizer import Boxes, FrameConfig, read_bundle, read_classifier, read_encoder
from focusgym.runs.cli import main

GLANCED, LOOKED, PATCH, C = 2, 4, 96, 5
FRAMES = FrameConfig(
    1,
    224,
    256,
    short_videos="repeat_first",
    resizer="pillow",
    segment_frames=LOOKED,
    glance_frames=GLANCED,
    own_glance=True,
)
COMMAND = "import-checkpoint"
SIZES = ("--patch", PATCH, "--local-frames", LOOKED)


def run(*args: object) -> None:
    with all_weights_loaded():
        main([str(each) for each in args])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what is large; it is removed at the end."""
    root = tmp_path_factory.mktemp("released_sth")
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def clips(digits: Digits) -> Tensor:
    """Of two videos ``(2, F, 3, 224, 224)``: the frames that f_G reads, then f_L's."""
    return torch.cat([read_frames(clip, FRAMES)[0] for clip in digits.clips[:2]])


@pytest.fixture(scope="module")
def model(clips: Tensor) -> AdaFocusSth:
    torch.manual_seed(3)
    return released_sth(clips[:, :GLANCED], clips[:, GLANCED:], PATCH, conv=8, hidden=24)


@pytest.fixture(scope="module")
def file(model: AdaFocusSth, root: Path) -> Path:
    torch.save(checkpoint_sth(model), root / "144x144.pth.tar")
    return root / "144x144.pth.tar"


@pytest.fixture(scope="module")
def imported(file: Path, root: Path) -> tuple[Path, list[str]]:
    """The folder, and what was printed."""
    out = root / "released"
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("focusgym.runs.verbs.import_checkpoint.print_line", printed.append)
        run(COMMAND, file, out, *SIZES)
    return out, printed


def test_the_bundles_are_the_parts_of_the_recognizer(imported: tuple[Path, list[str]]) -> None:
    out, printed = imported
    names = {"recognizer", "classifier", "glance", "local", "report.json"}
    assert {path.name for path in out.iterdir()} == names
    bundle = read_bundle(out / "recognizer", "recognizer")
    assert bundle.config["feature_dtype"] == "float32"
    assert bundle.config["frames"] == asdict(FRAMES)
    assert bundle.config["places"] == asdict(Boxes(224, PATCH, whole_pixels=True))
    assert bundle.config["policy"]["network"] == "relu_centers"
    assert bundle.config["classifier"]["aggregation"] == "average_logits"
    for name, part in (
        ("glance_encoder", read_encoder(out / "glance")),
        ("local_encoder", read_encoder(out / "local")),
        ("classifier", read_classifier(out / "classifier")),
    ):
        for key, value in part.state_dict().items():
            assert torch.equal(value, bundle.weights[f"{name}.{key}"])
    report = json.loads((out / "report.json").read_text())
    assert report["inferred"]["glance_frames"] == GLANCED
    # The encoders cost what is published, times their frames; π and f_C are small here.
    gmacs = report["gmacs_per_frame"]
    assert gmacs["glance_gmacs"] == pytest.approx(GLANCED * 0.29951, rel=0.001)
    assert gmacs["local_gmacs"] == pytest.approx(LOOKED * 0.75073, rel=0.001)
    total = f"{sum(gmacs.values()):.4g}"
    assert printed[-1] == f"{out}: a recognizer of {total} GMACs per video of 2 + 4 frames"


@torch.no_grad()
def test_a_video_is_recognized_as_by_the_released_networks(
    imported: tuple[Path, list[str]],
    model: AdaFocusSth,
    clips: Tensor,
    digits: Digits,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the file to the box and the prediction."""
    logits, boxes, corners = model(clips[:, :GLANCED], clips[:, GLANCED:], PATCH)
    assert (corners - corners.round()).abs().min() > 1e-3, "rounding decides no corner"
    assert not torch.equal(boxes[0], boxes[1])
    paths = [clip.path for clip in digits.clips[:2]]
    run("recognize", *paths, "--bundle", imported[0] / "recognizer", "--json", "--top", C)
    lines = capsys.readouterr().out.splitlines()
    for line, box, scores in zip(lines, boxes, logits, strict=True):
        recognized = json.loads(line)
        (step,) = recognized["steps"]
        assert step["box_px"] == box.tolist()
        probabilities = sorted(
            (each["probability"] for each in recognized["classes"]), reverse=True
        )
        expected = scores.softmax(-1).sort(descending=True).values
        np.testing.assert_allclose(probabilities, expected, rtol=2e-3)


def test_without_a_policy_f_g_reads_eight_frames(
    model: AdaFocusSth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = checkpoint_sth(model)
    del content["policy"]
    torch.save(content, tmp_path / "stage1.pth.tar")
    run(COMMAND, tmp_path / "stage1.pth.tar", tmp_path / "out", "--patch", 144)
    printed = capsys.readouterr().out
    assert "there is no policy in it" in printed
    assert printed.endswith(" GMACs per video of 8 + 12 frames\n")
    frames = read_bundle(tmp_path / "out" / "recognizer", "recognizer").config["frames"]
    assert (frames["glance_frames"], frames["segment_frames"], frames["steps"]) == (8, 12, 1)
    shutil.rmtree(tmp_path / "out")


def test_mistakes_are_one_line_and_leave_nothing(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for args, text in (
        (
            (*SIZES, "--cache", tmp_path),
            f"--cache {tmp_path}: a cache holds the features of a grid's patches, this checkpoint "
            "looks anywhere between them: leave --cache out",
        ),
        (
            (*SIZES, "--steps", 16),
            "--steps 16: a video of Something-Something is one clip: leave it out",
        ),
        (("--patch", 300), "the side of a box must be in 1..224 (the frame side)"),
        (("--patch", PATCH, "--local-frames", 0), "segment_frames must be at least 1; got 0"),
    ):
        with pytest.raises(SystemExit) as caught:
            run(COMMAND, file, tmp_path / "out", *args)
        assert caught.value.code == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert text in line
        assert not any(tmp_path.iterdir())
