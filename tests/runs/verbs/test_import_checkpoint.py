"""``focusgym import-checkpoint``: a file of the released structure, and all that comes of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from released_files import (
    Checkpoint,
    all_weights_loaded,
    checkpoint_after_stage_two,
    encoder_entries,
    literal_classifier,
    literal_policy,
    literal_recognition,
)
from verbs import Digits

from focusgym import feature_cache, recognizer
from focusgym.agents import policy_plan, read_policy
from focusgym.feature_cache import FeatureCache, read_frames
from focusgym.recognizer import (
    AdaptiveRecognizer,
    FrameConfig,
    PatchGrid,
    Released,
    read_bundle,
    read_classifier,
    read_encoder,
)
from focusgym.runs.cli import main

NAMES = [f"activity {i}" for i in range(200)]


def run(*args: object) -> None:
    with all_weights_loaded():
        main([str(each) for each in args])


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Run the verb, which ends with one line and exit status 2; return the line."""
    with pytest.raises(SystemExit) as caught:
        run("import-checkpoint", *args)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return str(line)


@pytest.fixture(scope="module")
def entries() -> Checkpoint:
    return encoder_entries()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for what is large; it is removed at the end."""
    root = tmp_path_factory.mktemp("released")
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def checkpoint(entries: Checkpoint) -> Checkpoint:
    """Of the released sizes."""
    return checkpoint_after_stage_two(entries)


@pytest.fixture(scope="module")
def file(checkpoint: Checkpoint, root: Path) -> Path:
    torch.save(checkpoint, root / "actnet.pth.tar")
    return root / "actnet.pth.tar"


@pytest.fixture(scope="module")
def small(entries: Checkpoint, root: Path) -> tuple[Checkpoint, Path]:
    """The same encoders, a small policy, two classes."""
    checkpoint = checkpoint_after_stage_two(entries, hidden=8, classes=2)
    torch.save(checkpoint, root / "small.pth.tar")
    return checkpoint, root / "small.pth.tar"


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each checkpoint is read and converted once, however often the verb asks in a test."""
    read: dict[Path, Checkpoint] = {}
    converted: dict[int, Released] = {}

    def read_checkpoint(path: Path, entries: Sequence[str]) -> Checkpoint:
        if path not in read:
            read[path] = real_read(path, entries)
        return read[path]

    def convert_released(checkpoint: Checkpoint) -> Released:
        if id(checkpoint) not in converted:
            converted[id(checkpoint)] = real_convert(checkpoint)
        return converted[id(checkpoint)]

    verb = "focusgym.runs.verbs.import_checkpoint"
    real_read, real_convert = feature_cache.read_checkpoint, recognizer.convert_released
    monkeypatch.setattr(f"{verb}.read_checkpoint", read_checkpoint)
    monkeypatch.setattr(f"{verb}.convert_released", convert_released)


@pytest.fixture(scope="module")
def imported(file: Path, root: Path) -> tuple[Path, str]:
    """The folder, and what was printed."""
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n\n")
    out, classes = root / "deep" / "released", root / "classes.txt"
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("focusgym.runs.verbs.import_checkpoint.print_line", lines.append)
        run("import-checkpoint", file, out, "--patch", 128, "--classes", classes)
    assert [path.name for path in out.parent.iterdir()] == ["released"]
    return out, "\n".join(lines)


def test_the_bundles_are_the_parts_of_the_recognizer(imported: tuple[Path, str]) -> None:
    out, _ = imported
    names = {"recognizer", "policy", "classifier", "glance", "local", "report.json"}
    assert {path.name for path in out.iterdir()} == names
    recognizer_bundle = read_bundle(out / "recognizer", "recognizer")
    assert recognizer_bundle.cache_fingerprint is None
    assert recognizer_bundle.config["classes"] == NAMES
    assert recognizer_bundle.config["feature_dtype"] == "float32"
    assert recognizer_bundle.config["frames"] == asdict(FrameConfig(16, 224, 256, resizer="pillow"))
    assert recognizer_bundle.config["places"] == asdict(PatchGrid(224, 128, 7))
    seen = 0
    for folder, part, kind in (
        ("glance", "glance_encoder", "encoder"),
        ("local", "local_encoder", "encoder"),
        ("classifier", "classifier", "classifier"),
        ("policy", "policy", "policy"),
    ):
        bundle = read_bundle(out / folder, kind)
        assert bundle.cache_fingerprint is None
        for name, value in bundle.weights.items():
            assert torch.equal(value, recognizer_bundle.weights[f"{part}.{name}"])
        seen += len(bundle.weights)
    assert seen == len(recognizer_bundle.weights)


@torch.no_grad()
def test_policy_and_classifier_are_the_released_ones(
    imported: tuple[Path, str], checkpoint: Checkpoint
) -> None:
    out, _ = imported
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 3, 1280, 7, 7, generator=generator)
    features = torch.rand(2, 3, 1280 + 2048, generator=generator)
    outputs = read_policy(out / "policy")(maps.permute(0, 1, 3, 4, 2))
    expected = literal_policy(checkpoint["policy"], maps)
    assert expected.std() > 1
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-4)
    outputs = read_classifier(out / "classifier")(features[..., :1280], features[..., 1280:])
    torch.testing.assert_close(
        outputs, literal_classifier(checkpoint["fc"], features), rtol=0, atol=1e-5
    )


def test_a_video_is_recognized_as_by_the_released_networks(
    imported: tuple[Path, str],
    checkpoint: Checkpoint,
    digits: Digits,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the file to the predictions after each of 16 frames."""
    out, _ = imported
    clip = digits.clips[0]
    frames, _ = read_frames(clip, FrameConfig(16, 224, 256, resizer="pillow"))
    where, logits = literal_recognition(checkpoint, frames[None], 128)
    p, options = logits[0].softmax(-1), where[0].argmax(-1).tolist()
    assert len(set(options)) > 1
    margins = where[0].topk(2).values.diff(dim=-1).abs()
    assert margins.min() > 0.01, "no option is chosen by rounding"
    run("recognize", clip.path, "--bundle", out / "recognizer", "--json", "--top", "200")
    recognized = json.loads(capsys.readouterr().out)
    for t, (option, step) in enumerate(zip(options, recognized["steps"], strict=True)):
        top, left = (int(each * 96 / 6) for each in divmod(option, 7))
        assert step["box_px"] == [left, top, left + 128, top + 128]
        assert step["class"] == NAMES[int(p[t].argmax())]
        assert step["probability"] == pytest.approx(float(p[t].max()), rel=2e-3)
    last = {each["class"]: each["probability"] for each in recognized["classes"]}
    np.testing.assert_allclose([last[name] for name in NAMES], p[-1], rtol=2e-3)
    assert recognized["gmacs"] == pytest.approx(26.52, abs=0.005)


def test_the_report_is_printed_and_kept(imported: tuple[Path, str], checkpoint: Checkpoint) -> None:
    out, printed = imported
    report = json.loads((out / "report.json").read_text())
    assert report["entries"] == [name for name in checkpoint if name != "scaler"]
    assert report["used"] == {"glancer": 312, "focuser": 318, "fc": 6, "policy": 9}
    assert report["inferred"]["conv_channels"] == 32
    assert report["left_out"]["optimizer"] == "not needed to recognize"
    lines = [f"used      {entry}: {n} tensors" for entry, n in report["used"].items()]
    lines += [f"left out  {what}: {why}" for what, why in report["left_out"].items()]
    lines += [f"inferred  {name} = {value}" for name, value in report["inferred"].items()]
    lines += [f"{out}: a recognizer of 26.52 GMACs per video of 16 frames"]
    assert printed.splitlines() == lines
    cost = report["gmacs_per_frame"]
    assert 16 * sum(cost.values()) == pytest.approx(26.52, abs=0.005)


def test_compute_at_other_patch_sizes(imported: tuple[Path, str]) -> None:
    """The paper's, with the 32 channels of the released policy."""
    out, _ = imported
    parts = read_encoder(out / "glance"), read_encoder(out / "local")
    heads = read_classifier(out / "classifier"), read_policy(out / "policy")
    for side, gmacs in ((96, 17.18), (128, 26.52), (160, 38.53), (192, 53.21)):
        assembled = AdaptiveRecognizer(*parts, heads[0], PatchGrid(224, side), heads[1])
        cost = assembled.cost.of_video(16, policy=True)
        assert cost.total_gmacs == pytest.approx(gmacs, abs=0.006)


def test_before_stage_ii_there_is_no_policy(
    small: tuple[Checkpoint, Path], root: Path, digits: Digits, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {name: value for name, value in small[0].items() if name != "policy"}
    torch.save(entries, root / "stage1.pth.tar")
    out, arguments = root / "stage1", (root / "stage1.pth.tar", "--patch", 128, "--steps", 8)
    run("import-checkpoint", *arguments, out)
    printed = capsys.readouterr().out
    assert (
        "there is no policy in it, which is expected in an entry 'policy' (it holds epoch, "
        "model_state_dict, glancer, focuser, fc, acc, best_acc, optimizer): the recognizer "
        "has to be told where to look"
    ) in printed
    cost = json.loads((out / "report.json").read_text())["gmacs_per_frame"]
    assert f"{8 * sum(cost.values()):.4g} GMACs per video of 8 frames" in printed
    assert not (out / "policy").exists()
    with pytest.raises(SystemExit) as caught:
        run("recognize", digits.clips[0].path, "--bundle", out / "recognizer")
    assert caught.value.code == 2
    assert "has no policy, so it has to be told where to look" in capsys.readouterr().err
    shutil.rmtree(out)


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {os.environ['FOCUSGYM_TEST_EVIL']}",)


def test_nothing_in_a_file_is_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOCUSGYM_TEST_EVIL", str(tmp_path / "evil"))
    torch.save({"glancer": {}, "acc": Evil()}, tmp_path / "evil.pth.tar")
    message = refused(capsys, tmp_path / "evil.pth.tar", tmp_path / "out", "--patch", 128)
    assert "it asks for posix.system, which was not executed" in message
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pth.tar"]


@pytest.mark.usefixtures("read_once")
def test_mistakes_are_one_line_and_leave_nothing(
    small: tuple[Checkpoint, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = small[1]
    (tmp_path / "three.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "latin.txt").write_bytes("d\u00e9j\u00e0 vu\n".encode("latin-1"))
    (tmp_path / "none").write_text("\n \n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    out, patch = tmp_path / "out", ("--patch", 128)
    for args, text in (
        ((file, tmp_path / "mine", *patch), "mine exists: nothing was touched; give another"),
        ((file, out, "--patch", 300), "patch_px must be in 1..224 (the frame side); got 300"),
        ((file, out, *patch, "--steps", 0), "steps and frame_px must be positive; got 0, 224"),
        ((tmp_path / "nowhere", out, *patch), "nowhere: give the file with the entries glancer"),
        ((tmp_path / "three.txt", out, *patch), "is not a checkpoint that can be loaded safely"),
        (
            (file, out, *patch, "--classes", tmp_path / "three.txt"),
            "three.txt names 3 classes, the checkpoint has 2: give the list that it was trained",
        ),
        ((file, out, *patch, "--classes", tmp_path / "latin.txt"), "cannot be read as UTF-8 text"),
        ((file, out, *patch, "--classes", tmp_path / "none.txt"), "No such file or directory"),
        (
            (file, out, *patch, "--classes", tmp_path / "none"),
            "none names no class: give one in ea",
        ),
        ((file, out, *patch, "--cache", tmp_path), "is not a complete feature cache"),
        (
            (file, out, "--patch", 224),
            "a patch of 224 px has 1 different place per axis in a frame",
        ),
        ((file, tmp_path / "three.txt" / "out", *patch), "three.txt/out cannot be written ("),
    ):
        assert text in refused(capsys, *args)
        assert sorted(tmp_path.rglob("*")) == before


def test_an_interruption_leaves_nothing(
    small: tuple[Checkpoint, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("focusgym.runs.verbs.import_checkpoint.write_bundle", interrupted)
    with pytest.raises(SystemExit) as caught:
        run("import-checkpoint", small[1], tmp_path / "out", "--patch", 128)
    assert caught.value.code == 130
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("read_once")
def test_a_policy_for_a_cache_of_its_encoders(
    imported: tuple[Path, str],
    small: tuple[Checkpoint, Path],
    file: Path,
    digits: Digits,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Built with the weights that were imported; f_C goes on with the policy's patches."""
    checkpoint, path = small
    parts, _ = imported
    names = [clip.key.split("\t")[0] for clip in digits.clips[:2]]
    for i, split in enumerate(("train", "val")):
        (root / f"{split}.txt").write_text(f"{names[i]} 6 {i}")
    lists = ("--train", root / "train.txt", "--val", root / "val.txt")
    frames = ("--steps", 2, "--preset", "activitynet", "--format", "kinetics")
    run(
        *("cache", "build", root / "cache", "--videos", digits.options[1], *lists, *frames),
        *("--glance", parts / "glance", "--group", f"patches:{parts / 'local'}:32"),
    )
    cache = FeatureCache.open(root / "cache")
    arguments = ("--patch", 32, "--steps", 2, "--cache", cache.root)
    out = root / "for_cache"
    capsys.readouterr()
    run("import-checkpoint", path, out, *arguments, "--json")
    printed = json.loads(capsys.readouterr().out)
    report = json.loads((out / "report.json").read_text())
    assert {key: printed[key] for key in report} == report
    assert (printed["out"], printed["steps"]) == (str(out), 2)
    gmacs = 2 * sum(report["gmacs_per_frame"].values())
    assert printed["gmacs_per_video"] == pytest.approx(gmacs, rel=1e-9)
    for name in ("recognizer", "policy", "classifier"):
        assert read_bundle(out / name, name).cache_fingerprint == cache.fingerprint
    recognizer_bundle = read_bundle(out / "recognizer", "recognizer")
    assert recognizer_bundle.config["feature_dtype"] == "float16", "what f_C is to go on with"
    policy, videos = read_policy(out / "policy", cache.fingerprint), np.arange(2)
    maps = cache.glance_maps(videos).permute(0, 1, 4, 2, 3)
    logits = literal_policy(checkpoint["policy"], maps)
    chosen = torch.from_numpy(policy_plan(policy, cache, videos).options)
    assert len(chosen.unique()) > 1
    # σ is 2. Where two are equally good, rounding decides.
    taken = logits.gather(-1, chosen[..., None])[..., 0]
    torch.testing.assert_close(taken, logits.max(-1).values, rtol=0, atol=2e-3)
    tuned = ("--policy", out / "policy", "--classifier", out / "classifier", "--epochs", 1)
    run("fit", "classifier", root / "tuned", "--cache", cache.root, *tuned)
    assert read_bundle(root / "tuned", "classifier").cache_fingerprint == cache.fingerprint

    capsys.readouterr()
    message = refused(capsys, file, root / "no", *arguments)
    assert "has 2 classes, the checkpoint 200: build a cache of the data set that it was" in message
    message = refused(capsys, path, root / "no", "--patch", 48, "--cache", cache.root)
    assert "holds no option group 'p48_7x7': choose one of ['p32_7x7']" in message
    message = refused(capsys, path, root / "no", "--patch", 32, "--cache", cache.root)
    assert f"{cache.root} was made of FrameConfig(steps=2, frame_px=224, resize_px=256" in message
    assert "the checkpoint is for FrameConfig(steps=16" in message
    changed = checkpoint["focuser"] | {"net.bn1.weight": torch.ones(64)}
    torch.save({**checkpoint, "focuser": changed}, root / "changed.pth.tar")
    message = refused(capsys, root / "changed.pth.tar", root / "no", *arguments)
    assert f"{cache.root} was made with the encoder local, resnet50, weights " in message
    assert "build a cache with the bundles that this verb writes" in message
    assert not (root / "no").exists()
