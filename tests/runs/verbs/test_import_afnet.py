"""``focusgym import-checkpoint`` of an AFNet checkpoint, against the network written out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from released_afnet_files import ReleasedAFNet, checkpoint_afnet, checkpoint_images, released_afnet
from released_files import Checkpoint, all_weights_loaded
from torch import Tensor

from focusgym.recognizer import AFNetConfig, AFNetRecognizer, FrameConfig, read_recognizer
from focusgym.runs.cli import main

T, C = 3, 4
FRAMES = FrameConfig(T, 224, 240, short_videos="repeat_first", resizer="pillow")
COMMAND = "import-checkpoint"


def run(*args: object) -> None:
    with all_weights_loaded():
        main([str(each) for each in args])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what is large; it is removed at the end."""
    root = tmp_path_factory.mktemp("released_afnet")
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def model() -> ReleasedAFNet:
    torch.manual_seed(3)
    return released_afnet(T, C)


@pytest.fixture(scope="module")
def file(model: ReleasedAFNet, root: Path) -> Path:
    torch.save(checkpoint_afnet(model), root / "ckpt.best.pth.tar")
    return root / "ckpt.best.pth.tar"


@pytest.fixture(scope="module")
def imported(file: Path, root: Path) -> tuple[Path, list[str]]:
    """The folder, and what was printed."""
    out, printed = root / "released", list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("focusgym.runs.verbs.import_checkpoint.print_line", printed.append)
        run(COMMAND, file, out)
    return out, printed


def network_of(out: Path) -> AFNetRecognizer:
    with all_weights_loaded():
        recognizer = read_recognizer(out / "recognizer", fuse=False)
    assert isinstance(recognizer, AFNetRecognizer)
    return recognizer


@torch.no_grad()
def test_the_network_computes_what_the_released_one_does(
    imported: tuple[Path, list[str]], model: ReleasedAFNet, file: Path, root: Path
) -> None:
    """Logits and masks, with and without the shift, which the file does not tell."""
    run(COMMAND, file, root / "shifted", "--shift", "offline", "--classes", classes_in(root, C))
    frames = torch.randint(0, 256, (1, T, 3, 64, 64)).byte()
    seen = []
    for out, shift in ((imported[0], None), (root / "shifted", "offline")):
        recognizer = network_of(out)
        assert recognizer.network.config == AFNetConfig("resnet50", C, T, shift=shift)
        assert recognizer.frames == FRAMES
        logits, masks = model(frames, shift=shift is not None)
        for gather in (False, True):
            output = recognizer.network(frames, gather=gather)
            torch.testing.assert_close(output.masks, masks, rtol=0, atol=0)
            torch.testing.assert_close(output.logits, logits, rtol=1e-3, atol=1e-3)
        assert 0 < masks.mean() < 1
        seen.append(logits)
    assert (seen[0] - seen[1]).abs().max() > 0.01, "the shift decides"
    assert network_of(root / "shifted").classes == tuple("abcd")


def test_what_is_reported(imported: tuple[Path, list[str]], model: ReleasedAFNet) -> None:
    out, printed = imported
    assert {path.name for path in out.iterdir()} == {"recognizer", "report.json"}
    report = json.loads((out / "report.json").read_text())
    checkpoint = checkpoint_afnet(model)
    n = len(checkpoint["state_dict"])
    assert report["used"] == {"backbone": n - 10 * 8 - 2, "gates": 10 * 8, "head": 2}
    assert report["inferred"] == {"backbone": "resnet50", "steps": T, "n_classes": C}
    named = {"epoch", "arch", "optimizer", "best_prec1", "val_acc_top1"}
    assert report["left_out"].keys() == named
    assert report["entries"] == [*checkpoint]
    cost = network_of(out).cost
    assert report["gmacs_always"] == pytest.approx(cost.always_gmacs)
    assert report["gmacs_all_kept"] == pytest.approx(cost.at_ratio(1.0, T))
    assert printed[0] == f"used      backbone: {n - 82} tensors"
    assert printed[-1] == (
        f"{out}: a recognizer without temporal shift of {cost.always_gmacs:.4g} GMACs to "
        f"{cost.at_ratio(1.0, T):.4g} GMACs per video of {T} frames, as many as its gates keep"
    )


def classes_in(folder: Path, n: int) -> Path:
    path = folder / f"{n}.txt"
    path.write_text("\n".join("abcdefg"[:n]))
    return path


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    with pytest.raises(SystemExit):
        run(COMMAND, *args)
    return capsys.readouterr().err


def test_options_that_do_not_fit(
    file: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, expected in (
        (("--patch", 128), "--patch 128: an AF network reads whole frames: leave it out"),
        (("--cache", root), f"--cache {root}: an AF network reads whole frames: leave it out"),
        (("--steps", 8), "--steps 8: the checkpoint's gates are for 3 frames: give --steps 3"),
        (("--classes", classes_in(root, 3)), "names 3 classes, the checkpoint has 4: give the"),
    ):
        assert expected in refused(capsys, file, tmp_path / "out", *more)
    torch.save({"glancer": {}}, tmp_path / "other.pth.tar")
    message = refused(capsys, tmp_path / "other.pth.tar", tmp_path / "out", "--shift", "offline")
    assert "--shift offline: this is for AFNet; the file is none of its: leave it out" in message
    assert not (tmp_path / "out").exists()


WRONG: list[tuple[Callable[[dict[str, Tensor]], object], str]] = [
    (
        lambda state: state.pop("module.base_model.layer2.refine_module.1.conv2.weight"),
        "missing stages.1.pairs.1.focal.branch.3.weight, unexpected none",
    ),
    (
        lambda state: state.update({"module.base_model.layer1.more.weight": torch.zeros(1)}),
        "missing none, unexpected layer1.more.weight",
    ),
    (
        lambda state: state.update({"module.base_model.layer4.0.bn1.bias": torch.zeros(3)}),
        "after.0.branch.1.bias is (3,), expected (512,)",
    ),
    (
        lambda state: state.update(
            {"module.base_model.layer3.list_gen.4.conv_gs.bias": torch.zeros(8)}
        ),
        "stages.2.pairs.4.navigation.score.bias is (8,), expected (6,)",
    ),
    (
        lambda state: state["module.base_model.bn1.weight"].fill_(torch.nan),
        "holds NaN or infinite numbers in module.base_model.bn1.weight: its training failed",
    ),
    (
        lambda state: state.update({"module.base_model.fc.weight": torch.zeros(C, 2048)}),
        "the weights hold module.new_fc.weight and module.base_model.fc.weight, which are both",
    ),
    (
        lambda state: state.pop("module.new_fc.weight"),
        "the checkpoint holds nothing for head.weight, expected a tensor of 2 axes",
    ),
    (
        lambda state: [state.pop(key) for key in [*state] if ".layer4.2." in key],
        "has (2, 3, 5, 2) pairs of blocks in its three AF modules and blocks after them; expected "
        "(2, 3, 5, 3) (resnet50), or (3, 7, 17, 3) (resnet101)",
    ),
]


@pytest.mark.parametrize(("change", "expected"), WRONG)
def test_files_that_do_not_fit(
    change: Callable[[dict[str, Tensor]], object],
    expected: str,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content: Checkpoint = torch.load(file, weights_only=True)
    change(content["state_dict"])
    monkeypatch.setattr("focusgym.runs.verbs.import_checkpoint.read_checkpoint", lambda *_: content)
    assert expected in refused(capsys, file, tmp_path / "out")
    assert not [*tmp_path.iterdir()]


def test_a_backbone_without_gates_is_for_a_training(
    model: ReleasedAFNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(checkpoint_images(model), tmp_path / "images.pth.tar")
    message = refused(capsys, tmp_path / "images.pth.tar", tmp_path / "out")
    assert "the checkpoint has no navigation modules (list_gen)" in message
    assert "begin a training with it (focusgym fit afnet --weights FILE)" in message


def test_the_config_names_everything_that_is_kept(imported: tuple[Path, list[str]]) -> None:
    content = json.loads((imported[0] / "recognizer" / "bundle.json").read_text())["config"]
    assert content == {
        "recognizer": "afnet",
        "afnet": asdict(AFNetConfig("resnet50", C, T)),
        "frames": asdict(FRAMES),
        "classes": [],
    }
