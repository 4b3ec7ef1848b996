"""``focusgym fit cubes``: what is trained, kept, refused, and goes on; the policy alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from end_to_end_runs import CUBE_FRAMES, D, P, S, cubes_command, interrupt, videos_of
from safetensors.torch import load_file
from torch import Tensor, nn
from verbs import Call, assert_kept, contents, refused, run_fit, single_batch

from focusgym.recognizer import (
    CubePolicy,
    CubePolicyConfig,
    CubeRecognizer,
    Cubes,
    CubesEndToEnd,
    read_bundle,
    read_recognizer,
    uniform_draws,
)
from focusgym.runs.cli import _parse
from focusgym.runs.options.parse import settings_of

T = CUBE_FRAMES.steps


@pytest.fixture
def data(end_to_end_digits: Path) -> Path:
    return end_to_end_digits


def policy_of_seed_3(**axes: str) -> CubePolicy:
    torch.manual_seed(3)
    return CubePolicy(CubePolicyConfig(4, 4, 32, T, D, 3, 6, **axes))


def opened(out: Path, *, fuse: bool = False) -> CubeRecognizer:
    recognizer = read_recognizer(out, fuse=fuse)
    assert isinstance(recognizer, CubeRecognizer)
    return recognizer


def weights(out: Path, network: str) -> dict[str, Tensor]:
    all_weights = read_bundle(out, "recognizer").weights
    return {name: value for name, value in all_weights.items() if name.startswith(f"{network}.")}


def test_what_is_trained(cube_run: tuple[Path, Call], data: Path) -> None:
    _, call = cube_run
    settings = asdict(call.settings)
    assert settings["lr"] == dict.fromkeys(("glance", "local", "classifier", "policy"), 0.1)
    assert (settings["optimizer"], settings["schedule"]) == ("adamw", "one_cycle")
    assert (settings["epochs"], settings["batch_size"]) == (2, 5)
    stage = call.stage
    assert isinstance(stage, CubesEndToEnd)
    assert [*stage.networks] == ["glance", "local", "classifier", "policy"]
    assert [*stage.heads] == ["glance", "local"]
    sizes = stage.classifier.config
    assert (sizes.aggregation, sizes.steps, sizes.hidden) == ("max_pool", D + 1, 8)
    assert stage._cubes == Cubes(S, P, T)
    assert stage._cell_px == 8, "the gradient is that of deep features"
    expected = policy_of_seed_3()
    assert stage.policy is not None
    assert stage.policy.config == expected.config  # type: ignore[comparison-overlap]
    for name, value in expected.state_dict().items():
        assert torch.equal(stage.policy.state_dict()[name], value), name
    frames, draws, labels = single_batch(call.train, epoch=1)
    expected_frames, expected_labels = videos_of(data, "train", CUBE_FRAMES)
    assert torch.equal(frames, expected_frames), "nothing is augmented"
    assert torch.equal(labels, expected_labels)
    assert torch.equal(draws, uniform_draws(range(12), D, [*call.seed, 1], 6))
    frames, draws, labels = single_batch(call.validation)
    assert torch.equal(frames, videos_of(data, "val", CUBE_FRAMES)[0])
    assert not torch.equal(draws, uniform_draws(range(7), D, [*call.seed, 0], 6))


def test_what_is_kept(cube_run: tuple[Path, Call], data: Path) -> None:
    """A recognizer, what it predicts of the validation videos, and the settings as a preset."""
    out, call = cube_run
    stage = call.again()
    networks = {
        "glance_encoder": stage.glance_encoder,
        "local_encoder": stage.local_encoder,
        "classifier": stage.classifier,
        "policy": stage.policy,
    }
    assert_kept(out, "recognizer", nn.ModuleDict(networks), call.kept)
    recognizer = opened(out)
    assert recognizer.cubes == Cubes(S, P, T)
    assert recognizer.frames == CUBE_FRAMES.for_any_size()
    assert recognizer.classes == tuple("0123456789")
    assert recognizer.exits is None
    # What was measured in selection is what the recognizer does, after the glance and every cube.
    frames, labels = videos_of(data, "val", CUBE_FRAMES)
    recognition = recognizer(frames)
    right = (recognition.logits.argmax(-1) == labels[:, None]).double().mean()
    assert call.kept.val_accuracy == pytest.approx(float(right))
    kept = load_file(out / "validation.safetensors")
    torch.testing.assert_close(kept["logits"], recognition.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kept["gmacs"], recognition.gmacs)
    assert torch.equal(kept["labels"], labels)
    again = _parse(["fit", "cubes", "x", "--preset", str(out / "config.yaml")]).verb
    assert (again.head.hidden, again.training.lr_policy, again.cubes) == (8, 0.1, D)
    assert again.videos.videos == data
    assert json.loads((out / "run.json").read_text())["verb"] == "fit cubes"


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    cube_run: tuple[Path, Call],
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    interrupt(monkeypatch, cubes_command(out, data))
    before = contents(partial)
    assert sorted(before) == [".lock", "checkpoint.safetensors", "config.yaml", "run.json"]
    for more, differs in (
        (("--cubes", 2), "cubes was 3, is 2"),
        (("--cube-frames", 2), "cube-frames was 1, is 2"),
        (("--gradient", "pixel"), "gradient was 'deep', is 'pixel'"),
        (("--time", "random"), "time was 'learned', is 'random'"),
        (("--glance-steps", 3), "glance-steps was None, is 3"),
    ):
        message = refused(capsys, *cubes_command(out, data, *more))
        assert f"{partial} was begun with other settings (" in message
        assert differs in message
    assert contents(partial) == before, "nothing was touched"
    run_fit(*cubes_command(out, data))
    files, expected = contents(out), contents(cube_run[0])
    networks = [name for name in expected if name not in ("config.yaml", "run.json")]
    assert "validation.safetensors" in networks
    assert {name: files[name] for name in networks} == {n: expected[n] for n in networks}
    assert files.keys() == expected.keys()


def test_a_control_has_a_policy_that_places_cubes_at_random(
    random_cubes_run: Path, data: Path
) -> None:
    """It has no weights; what is predicted of the validation videos is of their own draws."""
    recognizer = opened(random_cubes_run)
    assert recognizer.policy.config.draws
    assert not [*recognizer.policy.parameters()]
    frames, labels = videos_of(data, "val", CUBE_FRAMES)
    kept = load_file(random_cubes_run / "validation.safetensors")
    assert kept["logits"].shape == (7, D + 1, 10)
    assert torch.equal(kept["labels"], labels)
    draws = uniform_draws(range(7), D, [3, 13, 0], 6)[..., :3]
    torch.testing.assert_close(
        kept["logits"], recognizer(frames, draws=draws).logits, rtol=1e-4, atol=1e-4
    )


def test_the_second_stage_trains_the_policy_alone(
    random_cubes_run: Path, tmp_path: Path, data: Path, calls: list[Call]
) -> None:
    """f_G, f_L and f_C stay as the run with random cubes has left them, to the last bit."""
    out = tmp_path / "second"
    arguments = ("--networks", random_cubes_run, "--epochs", 1, "--glance-steps", 3)
    run_fit(*cubes_command(out, data, *arguments))
    (call,) = calls
    assert call.settings.lr == {"policy": 0.1}
    assert not [*call.stage.heads]
    for network in ("glance_encoder", "local_encoder", "classifier"):
        before, after = weights(random_cubes_run, network), weights(out, network)
        assert before.keys() == after.keys()
        assert before
        for name, value in before.items():
            assert torch.equal(after[name], value), name
    recognizer = opened(out)
    assert recognizer.policy.config.learns
    assert recognizer.policy.config.steps == 3, "another glance than the first stage's"
    if call.kept.epoch:  # else it is the policy that it began with
        began = call.stage.policy.state_dict()
        moved = [
            float((recognizer.policy.state_dict()[name] - value).abs().max())
            for name, value in began.items()
        ]
        assert max(moved) > 1e-4


def test_what_cannot_be_trained_is_refused(
    cube_run: tuple[Path, Call],
    end_to_end_run: tuple[Path, Call],
    random_cubes_run: Path,
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, alone = cube_run[0], ("--networks", random_cubes_run)
    for more, message in (
        (("--patch", 65), "side of a cube must be in 1..64 (the frame side); got 65"),
        (("--cube-frames", 7), "a cube must have 1..6 frames (those of the video); got 7"),
        (("--cubes", 0), "cubes must be an integer of at least 1; got 0"),
        (("--glance-steps", 7), "--glance-steps: f_G reads at most the 6 frames; got 7"),
        (("--order", "halving"), "--order and --segment-frames: cubes are made of the video's"),
        (("--segment-frames", 2), "--order and --segment-frames: cubes are made of the video's"),
        (("--no-reuse-glance",), "--no-reuse-glance: f_C predicts from the glance alone before"),
        (("--lr-encoder", 1), "--lr-encoder: this stage does not train it: leave the option out"),
        (("--lr-policy", -1), "--lr-policy must be 0, to keep it fixed, or more; got -1"),
        (("--patch", 60), "8 px around a cube of 60 px, which do not fit into a frame of 64 px"),
        (("--preset", "activitynet_v2"), "says nothing for `focusgym fit cubes`"),
        (
            (*alone, "--time", "random", "--space", "uniform"),
            "--networks: with it the policy is trained alone, and --time and --space leave nothing",
        ),
        (
            (*alone, "--cubes", 2),
            f"--cubes: {random_cubes_run} was trained with 3; got 2: give",
        ),
        ((*alone, "--patch", 24), f"--patch: {random_cubes_run} was trained with 28; got 24"),
        ((*alone, "--steps", 5), f"--steps: {random_cubes_run} was trained with 6; got 5"),
        ((*alone, "--cube-frames", 2), f"--cube-frames: {random_cubes_run} was trained with 1"),
        ((*alone, "--hidden", 5), f"--hidden: {random_cubes_run} was trained with 8; got 5: give"),
        (
            ("--networks", end_to_end_run[0]),
            f"--networks {end_to_end_run[0]} is a recognizer without cubes: give a run of 'focus",
        ),
        (("--networks", tmp_path / "nowhere"), "nowhere is not a readable bundle"),
    ):
        assert message in refused(capsys, *cubes_command(tmp_path / "out", data, *more)), more
    assert not [*tmp_path.iterdir()]
    damaged = shutil.copytree(first, tmp_path / "damaged")
    (damaged / "weights.safetensors").write_bytes(b"nothing")
    refusal = refused(capsys, *cubes_command(tmp_path / "out", data, "--networks", damaged))
    assert "damaged is not a readable bundle" in refusal


def test_presets_of_the_paper() -> None:
    """Sizes of sections 4.1 and 4.2; on long videos the rates are AdaFocusV2's."""
    names = ("glance", "local", "classifier", "policy")
    for preset in ("activitynet_v3", "fcvid_v3", "mini_kinetics_v3", "sthsth_v3", "diving48_v3"):
        config = _parse(["fit", "cubes", "out", "--videos", "v", "--preset", preset]).verb
        settings = settings_of(config.training, names)
        sizes = (config.frames.steps, config.cubes, config.cube_frames, config.glance_steps)
        assert (config.frames.frame, config.patch) == (224, 128)
        assert config.head.aggregation == "max_pool"
        if preset in ("sthsth_v3", "diving48_v3"):
            assert sizes == (16, 2, 12, 8)
            assert not config.frames.flip
            continue
        assert sizes == (18, 18, 1, None)
        scale = settings.batch_size / 32
        expected = {"glance": 1e-3, "local": 2e-3, "classifier": 1e-2, "policy": 2e-4}
        assert settings.scaled_lr == pytest.approx({k: scale * v for k, v in expected.items()})
    plain = _parse(["fit", "cubes", "out", "--videos", "v"]).verb
    assert (plain.time, plain.space, plain.gradient) == ("learned", "learned", "deep")
    assert plain.training.lr_policy == 4e-4
    digits = _parse(["fit", "cubes", "out", "--videos", "v", "--preset", "digits_v3"]).verb
    assert (digits.frames.steps, digits.frames.frame, digits.cubes) == (24, 64, 8)
