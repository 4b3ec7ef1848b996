"""``focusgym import-checkpoint`` of an AdaFocusV2 checkpoint, and the recognizer that it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from released_files import calibrated
from released_v2_files import AdaFocusV2, FlatMobileNet, checkpoint_v2, released_v2, resnet
from torch import Tensor
from verbs import Digits

from focusgym.feature_cache import read_frames
from focusgym.recognizer import (
    Boxes,
    FrameConfig,
    read_bundle,
    read_classifier,
    read_encoder,
)
from focusgym.runs.cli import main

C, T, PATCH = 3, 4, 96
SIZES = {"conv": 8, "hidden": 24, "units": 20, "classes": C, "steps": T}
NAMES = [f"activity {i}" for i in range(C)]
ORDER = [1, 0, 3, 2]  # of four segments: the middle, the first, the last, what is left
COMMAND = "import-checkpoint"


def run(*args: object) -> None:
    main([str(each) for each in args])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what is large; it is removed at the end."""
    root = tmp_path_factory.mktemp("released_v2")
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def frames(digits: Digits) -> Tensor:
    """A video's ``(1, T, 3, 224, 224)``, in the order in which they are read."""
    config = FrameConfig(T, 224, 256, resizer="pillow")
    return read_frames(digits.clips[0], config)[0][ORDER][None]


@pytest.fixture(scope="module")
def model(frames: Tensor) -> AdaFocusV2:
    torch.manual_seed(3)
    parts = calibrated(FlatMobileNet()), resnet()
    return released_v2(*parts, frames, PATCH, **SIZES)


@pytest.fixture(scope="module")
def file(model: AdaFocusV2, root: Path) -> Path:
    torch.save(checkpoint_v2(model), root / "actnet.pth.tar")
    return root / "actnet.pth.tar"


@pytest.fixture(scope="module")
def imported(file: Path, root: Path) -> tuple[Path, list[str]]:
    """The folder, and what was printed."""
    (root / "classes.txt").write_text("\n".join(NAMES))
    out, sizes = root / "released", ("--patch", PATCH, "--steps", T)
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("focusgym.runs.verbs.import_checkpoint.print_line", printed.append)
        run(COMMAND, file, out, *sizes, "--classes", root / "classes.txt")
    return out, printed


def test_the_bundles_are_the_parts_of_the_recognizer(imported: tuple[Path, list[str]]) -> None:
    out, _ = imported
    names = {"recognizer", "classifier", "glance", "local", "report.json"}
    assert {path.name for path in out.iterdir()} == names
    bundle = read_bundle(out / "recognizer", "recognizer")
    assert bundle.cache_fingerprint is None
    assert bundle.config["classes"] == NAMES
    assert bundle.config["feature_dtype"] == "float32"
    frames = FrameConfig(T, 224, 256, resizer="pillow", order="halving")
    assert bundle.config["frames"] == asdict(frames)
    assert bundle.config["places"] == asdict(Boxes(224, PATCH))
    assert bundle.config["policy"]["network"] == "centers"
    assert bundle.config["classifier"]["aggregation"] == "max_pool"
    for name, part in (
        ("glance_encoder", read_encoder(out / "glance")),
        ("local_encoder", read_encoder(out / "local")),
        ("classifier", read_classifier(out / "classifier")),
    ):
        for key, value in part.state_dict().items():
            assert torch.equal(value, bundle.weights[f"{name}.{key}"])


def test_the_report_is_printed_and_kept(imported: tuple[Path, list[str]]) -> None:
    out, printed = imported
    report = json.loads((out / "report.json").read_text())
    assert report["used"] == {
        "global_CNN": 312,
        "local_CNN": 318,
        "classifier": 14,
        "policy_stn": 17,
    }
    assert report["inferred"]["steps"] == T
    auxiliary = "an auxiliary head, which only training needs"
    assert report["left_out"]["local_CNN_fc: 1.weight and 1 more"] == auxiliary
    lines = [f"used      {entry}: {n} tensors" for entry, n in report["used"].items()]
    lines += [f"left out  {what}: {why}" for what, why in report["left_out"].items()]
    lines += [f"inferred  {name} = {value}" for name, value in report["inferred"].items()]
    gmacs = T * sum(report["gmacs_per_frame"].values())
    lines += [f"{out}: a recognizer of {gmacs:.4g} GMACs per video of {T} frames"]
    assert printed == lines
    # The encoders cost what is published; π and f_C are small here.
    published = {"glance_gmacs": 0.29951, "local_gmacs": 0.75073}
    for name, expected in published.items():
        assert report["gmacs_per_frame"][name] == pytest.approx(expected, rel=0.001)


@torch.no_grad()
def test_a_video_is_recognized_as_by_the_released_networks(
    imported: tuple[Path, list[str]],
    model: AdaFocusV2,
    frames: Tensor,
    digits: Digits,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the file to the boxes and the predictions after each of the frames."""
    out, _ = imported
    logits, boxes = model(frames, PATCH)
    p = logits[0].softmax(-1)
    run("recognize", digits.clips[0].path, "--bundle", out / "recognizer", "--json", "--top", C)
    recognized = json.loads(capsys.readouterr().out)
    for t, step in enumerate(recognized["steps"]):
        np.testing.assert_allclose(step["box_px"], boxes[0, t], atol=2e-3)
        assert step["class"] == NAMES[int(p[t].argmax())]
        assert step["probability"] == pytest.approx(float(p[t].max()), rel=2e-3)
    middles = [int(6 / T / 2 + 6 / T * k) for k in range(T)]  # of a video of 6 frames
    assert [step["frame"] for step in recognized["steps"]] == [middles[k] for k in ORDER]
    last = {each["class"]: each["probability"] for each in recognized["classes"]}
    np.testing.assert_allclose([last[name] for name in NAMES], p[-1], rtol=2e-3)


def test_mistakes_are_one_line_and_leave_nothing(
    file: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    before = sorted(tmp_path.rglob("*"))
    sizes = ("--patch", PATCH, "--steps", T)
    for args, text in (
        (
            (*sizes, "--cache", tmp_path),
            f"--cache {tmp_path}: a cache holds the features of a grid's patches, AdaFocusV2 looks "
            "anywhere between them: leave --cache out",
        ),
        (("--patch", 300, "--steps", T), "the side of a box must be in 1..224 (the frame side)"),
        (
            ("--patch", PATCH),
            "--steps 16: the checkpoint has heads for 1 to 4 frames: give --steps 4",
        ),
        ((*sizes, "--classes", tmp_path / "two.txt"), "names 2 classes, the checkpoint has 3: gi"),
    ):
        with pytest.raises(SystemExit) as caught:
            run(COMMAND, file, tmp_path / "out", *args)
        assert caught.value.code == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert text in line
        assert sorted(tmp_path.rglob("*")) == before


def test_a_glance_of_another_size_is_refused(
    model: AdaFocusV2, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = checkpoint_v2(model)
    content["state_dict"]["module.policy_stn.encoder.4.weight"] = torch.zeros(24, 8 * 25)
    torch.save(content, tmp_path / "small.pth.tar")
    with pytest.raises(SystemExit):
        run(COMMAND, tmp_path / "small.pth.tar", tmp_path / "out", "--patch", 96, "--steps", T)
    assert (
        "the policy reads glance maps of 5×5, frames of 224 px give 7×7: it was trained with "
        "another glance size, which this import does not know"
    ) in capsys.readouterr().err
