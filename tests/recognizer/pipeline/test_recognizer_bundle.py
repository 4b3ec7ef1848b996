"""A recognizer on disk: what comes back, what runs elsewhere, and what is refused."""

from __future__ import annotations

import copy
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from kills import in_children
from recognizers import CHOICES, KINDS, P, S, assert_recognized, make_frames, make_recognizer
from safetensors.torch import load_file
from torch import nn

from focusgym.feature_cache import Clip, read_frames, sample_frames
from focusgym.feature_cache.videos.mp4 import write_mp4
from focusgym.recognizer import (
    AdaptiveRecognizer,
    BundleError,
    ClassifierConfig,
    Encoder,
    FrameConfig,
    GruClassifier,
    PatchGrid,
    RecognizerConfig,
    read_bundle,
)

FRAMES = make_frames(3, 5)


@pytest.mark.parametrize("kind", [*KINDS, "no policy"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_everything_comes_back(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    config = KINDS.get(kind, {"policy": False})
    recognizer = make_recognizer(**config, feature_dtype=dtype, seed=3)
    choices = CHOICES if recognizer.policy is None else ()
    recognizer.save(tmp_path / "bundle")
    again = AdaptiveRecognizer.from_bundle(tmp_path / "bundle")
    assert again.frames == recognizer.frames == FrameConfig(5, S, 36)
    assert again.classes == recognizer.classes == ("a", "b", "c", "d")
    assert again.places == recognizer.places == PatchGrid(S, P, 3)
    assert again.feature_dtype == recognizer.feature_dtype == dtype
    assert again.precision == "float32"
    assert again.classifier.config == recognizer.classifier.config
    assert type(again.classifier) is type(recognizer.classifier)
    for name in ("glance_encoder", "local_encoder"):
        assert getattr(again, name).config == getattr(recognizer, name).config
        assert getattr(again, name).is_fused
    for name in ("classifier", "policy"):
        one, other = getattr(again, name), getattr(recognizer, name)
        assert (one is None) == (other is None)
        for key, value in other.state_dict().items() if other else ():
            assert torch.equal(one.state_dict()[key], value), key
    if recognizer.policy is not None:
        assert again.policy is not None
        assert again.policy.config == recognizer.policy.config
        assert (again.policy.keep is None) == (recognizer.policy.keep is None)
    computing = [module for module in again.modules() if type(module) is not nn.Module]
    assert not any(module.training for module in computing)
    assert again.cost == recognizer.cost
    # Bit for bit what fusing gives, and the unfused one within rounding.
    assert_recognized(again(FRAMES, *choices), recognizer.fused()(FRAMES, *choices), atol=0)
    assert_recognized(again(FRAMES, *choices), recognizer(FRAMES, *choices), atol=1e-3)


def test_the_weights_are_those_of_all_networks(bundle: Path) -> None:
    recognizer = make_recognizer(skips=0.4)
    weights = load_file(bundle / "weights.safetensors")
    expected = recognizer.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    stored = read_bundle(bundle, "recognizer", "f" * 64)
    assert stored.metrics == {"accuracy": 0.5}
    rho = recognizer.policy and recognizer.policy.config.threshold
    assert stored.config["policy"]["threshold"] == rho
    assert sorted(path.name for path in bundle.iterdir()) == ["bundle.json", "weights.safetensors"]
    with pytest.raises(BundleError, match=r"fingerprint f{12}…\) than the one \(fingerprint g\)"):
        read_bundle(bundle, "recognizer", "g")


def test_options_allowed_and_input_sizes_come_back(tmp_path: Path) -> None:
    recognizer = make_recognizer(options_allowed=[2, 5])
    recognizer.save(tmp_path / "bundle")
    again = AdaptiveRecognizer.from_bundle(tmp_path / "bundle")
    assert again.policy is not None
    assert again.policy.config.options_allowed == [2, 5]
    assert set(again(FRAMES).options.unique().tolist()) == {2, 5}
    assert isinstance(again.glance_encoder, Encoder)
    assert again.glance_encoder.config.input_px == 8


def test_one_encoder_may_be_both(tmp_path: Path) -> None:
    """As with one file of weights for f_G and f_L."""
    one = make_recognizer().glance_encoder
    f_c = GruClassifier(ClassifierConfig(32, 32, 4, hidden=8))
    frames = FrameConfig(5, S, 36)
    recognizer = AdaptiveRecognizer(one, one, f_c, PatchGrid(S, P, 3), frames=frames)
    expected = recognizer(FRAMES, *CHOICES)
    recognizer.save(tmp_path / "bundle")
    assert recognizer.local_encoder is recognizer.glance_encoder is one
    again = AdaptiveRecognizer.from_bundle(tmp_path / "bundle")
    assert_recognized(again(FRAMES, *CHOICES), expected, atol=1e-3)


def test_saving_changes_nothing(tmp_path: Path) -> None:
    recognizer = make_recognizer(skips=0.4)
    expected = recognizer(FRAMES)
    before = copy.deepcopy(recognizer.state_dict())
    for _ in range(2):  # also over the former one
        recognizer.save(tmp_path / "bundle")
    assert all(torch.equal(v, before[name]) for name, v in recognizer.state_dict().items())
    assert_recognized(recognizer(FRAMES), expected, atol=0)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Twelve frames of 60×40 pixels."""
    frames = make_frames(1, 12, side=60)[0, :, :, :40]
    write_mp4(frames.permute(0, 2, 3, 1).contiguous().numpy(), tmp_path / "video.mp4")
    return tmp_path / "video.mp4"


# What another program has: the bundle, a video, and this package.
ELSEWHERE = """
import json, sys
import torch
from focusgym.feature_cache import Clip, read_frames
from focusgym.recognizer import AdaptiveRecognizer
recognizer = AdaptiveRecognizer.from_bundle("moved")
frames, _ = read_frames(Clip(sys.argv[1]), recognizer.frames)
recognition = recognizer(frames[None])
stream = recognizer.stream()
for frame in frames:
    last = stream.push(frame)
torch.testing.assert_close(last.logits, recognition.logits[:, -1:], rtol=0, atol=1e-3)
best = recognizer.classes[int(recognition.logits[0, -1].argmax())]
print(json.dumps([best, *(value.tolist() for value in vars(recognition).values())]))
"""


def test_a_bundle_is_all_that_another_program_needs(
    bundle: Path, video: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bundle.rename(elsewhere / "moved")

    def program() -> None:
        os.chdir(elsewhere)
        sys.argv = ["-c", str(video)]
        exec(ELSEWHERE, {})

    ended = in_children(program)
    assert ended.codes == [0], ended.err
    best, *columns = json.loads(ended.out)
    recognizer = make_recognizer(skips=0.4)
    assert recognizer.frames is not None
    frames, view = read_frames(Clip(str(video)), recognizer.frames)
    expected = recognizer(frames[None])
    recognition = type(expected)(
        torch.tensor(columns[0]),
        *(torch.tensor(column) for column in columns[1:4]),
        torch.tensor(columns[4], dtype=torch.float64),
    )
    assert_recognized(recognition, expected, atol=1e-3)
    assert best == recognizer.classes[int(expected.logits[0, -1].argmax())]
    # Frames decoded by others, prepared by the recognizer, are the same.
    with av.open(str(video)) as container:
        decoded = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    assert len(decoded) == 12
    assert view.frame_indices.tolist() == sample_frames(12, recognizer.frames).tolist()
    chosen = torch.from_numpy(decoded[view.frame_indices]).permute(0, 3, 1, 2)
    prepared = AdaptiveRecognizer.from_bundle(elsewhere / "moved").prepare(chosen)
    assert (prepared.int() - frames.int()).abs().max() <= 2, "another decoder rounds otherwise"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_precision_is_the_readers_choice(bundle: Path, precision: str) -> None:
    recognizer = AdaptiveRecognizer.from_bundle(bundle, precision=precision)
    assert recognizer.precision == precision
    other = make_recognizer(skips=0.4).fused()
    other.precision = precision
    assert_recognized(recognizer(FRAMES), other(FRAMES), atol=0)
    assert recognizer.device == torch.device("cpu")


@pytest.mark.parametrize("precision", ["half", "", "int8", "float64"])
def test_an_unknown_precision_is_refused(bundle: Path, precision: str) -> None:
    message = rf"precision must be one of float32, bfloat16, float16; got {precision!r}"
    with pytest.raises(ValueError, match=message) as caught:
        AdaptiveRecognizer.from_bundle(bundle, precision=precision)
    assert not isinstance(caught.value, BundleError)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
def test_a_bundle_is_read_to_cuda(bundle: Path, tmp_path: Path) -> None:
    recognizer = AdaptiveRecognizer.from_bundle(bundle, "cuda")
    assert recognizer.device.type == "cuda"
    expected = AdaptiveRecognizer.from_bundle(bundle)(FRAMES).logits
    torch.testing.assert_close(recognizer(FRAMES).logits.cpu(), expected, rtol=0, atol=2e-2)
    make_recognizer(skips=0.4).to("cuda").save(tmp_path / "from_cuda")
    again = AdaptiveRecognizer.from_bundle(tmp_path / "from_cuda")
    assert torch.equal(again(FRAMES).logits, expected)


def test_what_cannot_be_saved_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    unfused = "save the recognizer that they were fused from"
    with pytest.raises(
        ValueError,
        match=rf"expected networks as they were built or trained; got fused ones: {unfused}",
    ):
        make_recognizer().fused().save(path)
    make_recognizer().save(tmp_path / "good")
    with pytest.raises(ValueError, match="got fused ones"):
        AdaptiveRecognizer.from_bundle(tmp_path / "good").save(path)
    recognizer = make_recognizer()
    recognizer.frames = None
    with pytest.raises(
        ValueError,
        match=r"does not know how its frames are prepared: assemble it with `frames`, so that it",
    ):
        recognizer.save(path)
    with pytest.raises(ValueError, match="feature_dtype must be float16 or float32; got bfloat16"):
        make_recognizer(feature_dtype=torch.bfloat16).save(path)
    assert not path.exists()


def config_of(recognizer: AdaptiveRecognizer) -> RecognizerConfig:
    glance, local = recognizer.glance_encoder, recognizer.local_encoder
    assert isinstance(glance, Encoder)
    assert isinstance(local, Encoder)
    assert recognizer.frames is not None
    return RecognizerConfig(
        glance.config,
        local.config,
        recognizer.classifier.config,
        None if recognizer.policy is None else recognizer.policy.config,
        recognizer.places,
        recognizer.frames,
        recognizer.classes,
    )


@pytest.mark.parametrize("config", [{"skips": 0.4}, {"policy": False}])
def test_configs_go_through_json(config: dict[str, Any]) -> None:
    expected = config_of(make_recognizer(**config))
    plain = json.loads(json.dumps(asdict(expected)))
    assert RecognizerConfig.of(plain) == expected
    assert RecognizerConfig.of(asdict(expected)) == expected
    assert expected.feature_dtype == "float16"
    del plain["feature_dtype"], plain["classes"]
    assert RecognizerConfig.of(plain) == replace(expected, classes=())


def test_configs_check_themselves() -> None:
    config = config_of(make_recognizer())
    with pytest.raises(ValueError, match="feature_dtype must be float16 or float32; got float64"):
        replace(config, feature_dtype="float64")
    wrong: list[Any] = [("a", "b", "c", 4), ["a", "b", "c", "d"], "abcd"]
    for classes in wrong:
        with pytest.raises(ValueError, match="classes must be names; got .*b"):
            replace(config, classes=classes)
