"""AdaFocus-TSM by its commands: from pairs of digits to a recognizer, its replay and stage III."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from focusgym.agents import read_policy
from focusgym.feature_cache import Clip, FeatureCache, make_encoder, read_frames
from focusgym.recognizer import (
    AdaptiveRecognizer,
    Encoder,
    EncoderConfig,
    read_encoder,
    read_recognizer,
    weights_digest,
    write_bundle,
)
from focusgym.runs.cli import main

FRAMES = "--steps 1 --segment-frames 3 --glance-frames 2 --own-glance --frame 48 --resize 0"


def focusgym(*words: object) -> None:
    """Run a command."""
    main([str(word) for word in words])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of pairs of digits, f_C, and a run of the exact gradient."""
    root = tmp_path_factory.mktemp("pairs")
    few = ["--n-train", "12", "--n-val", "6", "--n-test", "6", "--n-frames", "8"]
    focusgym("data", "digit-pairs", root / "data", *few)
    glance, local = "small_residual_glance_tsm", "small_residual_tsm"
    focusgym(
        *("cache", "build", root / "cache", "--videos", root / "data", *FRAMES.split()),
        *("--glance", glance, "--glance-px", 8, "--group", f"patches:{local}:28:3"),
        *("--weights", f"{glance}=random", "--weights", f"{local}=random"),
    )
    focusgym(
        *("fit", "classifier", root / "f_c", "--preset", "digit_pairs", "--cache", root / "cache"),
        *("--epochs", 2),
    )
    focusgym(
        *("train", root / "policy", "--system", "adafocus_tsm", "--cache", root / "cache"),
        *("--classifier", root / "f_c"),
        *("--learner", "{conv_channels: 4, hidden: 16, epochs: 2, batch_size: 6}"),
    )
    return root


def test_the_recognizer_gives_what_the_run_gave(root: Path) -> None:
    cache = FeatureCache.open(root / "cache")
    recognizer = read_recognizer(root / "policy" / "recognizer")
    assert isinstance(recognizer, AdaptiveRecognizer)
    assert recognizer.frames is not None
    results: dict[str, Any] = json.loads((root / "policy" / "results.json").read_text())
    videos = cache.split("test")
    clips: list[Clip] = cache.clips(videos)
    frames = torch.stack([read_frames(clip, recognizer.frames)[0] for clip in clips])
    recognition = recognizer(frames)
    right = recognition.logits[:, -1].argmax(dim=-1) == cache.labels[videos]
    assert float(right.double().mean()) == pytest.approx(results["test"]["accuracy"])
    assert float(recognition.gmacs[0, -1]) == pytest.approx(
        results["test"]["gmacs_per_video"], rel=1e-6
    )
    policy = read_policy(root / "policy" / "trained")
    options, _ = policy.choose(cache.stored_glance_maps(videos))
    assert torch.equal(recognition.options, options)


def test_it_is_recognized_and_replayed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = next((root / "data" / "videos" / "test").glob("*.mp4"))
    focusgym("recognize", video, "--bundle", root / "policy" / "recognizer", "--json")
    assert json.loads(capsys.readouterr().out)["attended"] == 1
    focusgym(
        *("replay", root / "replay", "--policy", root / "policy", "--json"),
        *("--videos", *FeatureCache.open(root / "cache").split("test")[:2]),
    )
    shown = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in shown["policies"]] == ["AdaFocus", "random patches"]
    assert len(shown["videos"]) == 2
    assert (root / "replay" / "index.html").is_file()


def test_stage_three_goes_on_from_its_patches(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    focusgym(
        *("fit", "classifier", root / "tuned", "--preset", "digit_pairs"),
        *("--cache", root / "cache", "--classifier", root / "f_c", "--policy", root / "policy"),
        *("--epochs", 1),
    )
    assert "right on the validation videos" in capsys.readouterr().out
    assert (root / "tuned" / "bundle.json").is_file()


def test_whole_frames_are_a_recognizer_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TSM+: the only option is the whole frame, so nothing has to be said."""
    glance, local = "small_residual_glance_tsm", "small_residual_tsm"
    focusgym(
        *("cache", "build", root / "frames", "--videos", root / "data", *FRAMES.split()),
        *("--glance", glance, "--glance-px", 8, "--group", f"full:{local}:48"),
        *("--weights", f"{glance}=random", "--weights", f"{local}=random"),
    )
    focusgym(
        *("fit", "classifier", root / "f_c_plus", "--preset", "digit_pairs"),
        *("--cache", root / "frames", "--epochs", 1),
    )
    focusgym(
        *("train", root / "plus", "--system", "tsm_plus", "--cache", root / "frames"),
        *("--classifier", root / "f_c_plus", "--json"),
    )
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    recognizer = read_recognizer(root / "plus" / "recognizer")
    assert isinstance(recognizer, AdaptiveRecognizer)
    assert not recognizer.must_be_told
    video = next((root / "data" / "videos" / "test").glob("*.mp4"))
    focusgym("recognize", video, "--bundle", root / "plus" / "recognizer", "--json")
    recognized = json.loads(capsys.readouterr().out)
    assert recognized["attended"] == 1
    assert recognized["gmacs"] == pytest.approx(results["test"]["gmacs_per_video"], rel=1e-6)


@pytest.mark.parametrize(
    "words",
    [
        "cache build OUT --steps 4 --glance small_residual_glance_tsm "
        "--weights small_residual_glance_tsm=random --group patches:small_local:28 "
        "--weights small_local=random",
        "cache build OUT --steps 1 --segment-frames 3 --glance-frames 1 "
        "--glance small_residual_glance_tsm --weights small_residual_glance_tsm=random "
        "--group patches:small_local:28 --weights small_local=random",
        "cache build OUT --steps 1 --segment-frames 1 --glance-frames 3 --own-glance "
        "--glance small_glance --weights small_glance=random "
        "--group patches:small_residual_tsm:28 --weights small_residual_tsm=random",
        "fit encoder OUT --steps 4 --network small_residual_tsm --weights random --epochs 1",
        "fit end-to-end OUT --preset digit_pairs --segment-frames 1",
        "fit cubes OUT --preset digit_pairs --glance-steps 1",
        "fit cubes OUT --preset digit_pairs --cube-frames 1",
    ],
)
def test_a_shift_along_one_frame_is_refused(
    words: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [str(out) if word == "OUT" else word for word in words.split()]
    with pytest.raises(SystemExit) as end:
        focusgym(*arguments, "--videos", root / "data", "--frame", 48, "--resize", 0)
    assert end.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "shifts channels along the frames of a segment; got 1 frame of each" in message
    assert not list(tmp_path.iterdir())


def test_what_ppo_learned_is_no_policy_bundle(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    focusgym(
        *("train", root / "ppo", "--system", "adafocus_tsm_gaussian", "--cache", root / "cache"),
        *("--classifier", root / "f_c", "--decisions", 64),
        *("--learner", "{n_envs: 4, n_steps: 8, batch_size: 32}"),
    )
    assert not (root / "ppo" / "recognizer").exists()
    with pytest.raises(SystemExit):
        focusgym(
            *("fit", "classifier", root / "from_ppo", "--preset", "digit_pairs"),
            *("--cache", root / "cache", "--policy", root / "ppo"),
        )
    message = capsys.readouterr().err
    assert "is a run of the system adafocus_tsm_gaussian, and no policy by itself" in message


def test_f_l_begins_from_a_network_of_its_name(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a rate of 0 it stays as it began."""
    glance, local = "small_residual_glance_tsm", "small_residual_tsm"
    write_bundle(tmp_path / "glance", "encoder", EncoderConfig(glance, 8), encoder(glance, 8))
    words: tuple[object, ...] = (
        *("fit", "patches", tmp_path / "out", "--preset", "digit_pairs", *FRAMES.split()),
        *("--videos", root / "data", "--glance-encoder", tmp_path / "glance"),
        *("--local-encoder", local, "--lr-local", 0, "--epochs", 1),
    )
    with pytest.raises(SystemExit):
        focusgym(*words)
    assert f"there are no weights for {local}: give --weights" in capsys.readouterr().err
    focusgym(*words, "--weights", f"{local}=random")
    begun, kept = make_encoder(EncoderConfig(local), "random"), read_encoder(tmp_path / "out/local")
    assert weights_digest(kept) == weights_digest(begun)


def test_a_run_needs_no_encoders_but_for_its_recognizer(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(root / "cache", tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache" / "encoders")
    focusgym(
        *("train", tmp_path / "run", "--system", "adafocus_tsm", "--cache", tmp_path / "cache"),
        *("--classifier", root / "f_c", "--json"),
        *("--learner", "{conv_channels: 4, hidden: 16, epochs: 1, batch_size: 6}"),
    )
    captured = capsys.readouterr()
    assert "focusgym: no recognizer is written: " in captured.err
    assert json.loads(captured.out)["test"]["n_videos"] == 6
    assert not (tmp_path / "run" / "recognizer").exists()


def encoder(name: str, input_px: int) -> Encoder:
    return make_encoder(EncoderConfig(name, input_px), "random")
