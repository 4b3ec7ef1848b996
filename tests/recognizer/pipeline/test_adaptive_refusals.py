"""The recognizer refuses what does not fit, and prepares frames of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from recognizers import (
    CHOICES,
    G,
    P,
    S,
    assert_recognized,
    make_frames,
    make_recognizer,
    watched,
)
from torch import Tensor, nn

from focusgym.recognizer import (
    AdaptiveRecognizer,
    FrameConfig,
    GruClassifier,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
)

FRAMES = make_frames(3, 5)


@pytest.mark.parametrize("size", [(36, 36), (36, 50), (61, 40), (20, 90), (300, 400), (32, 32)])
def test_frames_of_any_size_are_prepared(size: tuple[int, int]) -> None:
    """Short side 36, bilinear and anti-aliased, then the central 32×32."""
    recognizer = make_recognizer()
    frames = make_frames(2, 2, side=400)[..., : size[0], : size[1]]
    before = frames.clone()
    prepared = recognizer.prepare(frames)
    assert torch.equal(frames, before)
    assert (prepared.dtype, prepared.shape) == (torch.uint8, (2, 2, 3, 32, 32))
    scale = 36 / min(size)
    resized = [max(36, int(side * scale)) for side in size]
    exact = nn.functional.interpolate(
        frames.flatten(0, 1).float(), size=resized, mode="bilinear", antialias=True
    )
    top, left = (round((side - 32) / 2) for side in resized)
    expected = exact[..., top : top + 32, left : left + 32].unflatten(0, (2, 2))
    assert (prepared.float() - expected).abs().max() < 1.01, "rounded in two steps"
    compose = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(36), torchvision.transforms.CenterCrop(32)]
    )
    picture = Image.fromarray(frames[1, 0].permute(1, 2, 0).numpy())
    by_pillow = torch.from_numpy(np.array(compose(picture))).permute(2, 0, 1)
    assert (prepared[1, 0].int() - by_pillow.int()).abs().max() <= 1
    assert torch.equal(recognizer.prepare(frames[1, 0]), prepared[1, 0])
    recognizer(prepared)


def test_frames_that_were_square_from_the_start_stay_as_they_are() -> None:
    recognizer = make_recognizer()
    recognizer.frames = FrameConfig(steps=5, frame_px=S)
    assert torch.equal(recognizer.prepare(FRAMES), FRAMES)
    with pytest.raises(ValueError, match=r"frames are 40×32 px, expected 32×32: set resize_px"):
        recognizer.prepare(torch.zeros(2, 3, 32, 40, dtype=torch.uint8))
    recognizer.frames = None
    with pytest.raises(
        ValueError,
        match=r"does not know how its frames were prepared: assemble it with `frames`, or load it",
    ):
        recognizer.prepare(FRAMES)


@pytest.mark.parametrize(
    ("frames", "received"),
    [
        (FRAMES.float(), r"torch.float32 \(3, 5, 3, 32, 32\): call `prepare` first where they"),
        (FRAMES[0], r"torch.uint8 \(5, 3, 32, 32\)"),
        (FRAMES[..., :31], r"torch.uint8 \(3, 5, 3, 32, 31\)"),
        (FRAMES[..., :31, :], r"torch.uint8 \(3, 5, 3, 31, 32\)"),
        (FRAMES[:, :, :1], r"torch.uint8 \(3, 5, 1, 32, 32\)"),
        (FRAMES.permute(0, 1, 3, 4, 2), r"torch.uint8 \(3, 5, 32, 32, 3\)"),
    ],
)
def test_frames_of_another_form_are_refused(frames: Tensor, received: str) -> None:
    message = rf"frames must be uint8 \(B, T, 3, S, S\) with S = 32; got {received}"
    for choices in ((), CHOICES):
        with pytest.raises(ValueError, match=message):
            make_recognizer()(frames, *choices)


@pytest.mark.parametrize("frames", [FRAMES[:0], FRAMES[:, :0]])
def test_no_frames_are_refused(frames: Tensor) -> None:
    message = rf"expected at least one video and one frame; got \({len(frames)}, {frames.shape[1]},"
    with pytest.raises(ValueError, match=message):
        make_recognizer()(frames)


@pytest.mark.parametrize(
    ("options", "attended", "message"),
    [
        (
            torch.zeros(3, 4, dtype=torch.int64),
            None,
            r"expected int64 \(3, 5\) for every frame; got torch.int64, \(3, 4\): give one option",
        ),
        (
            torch.zeros(5, 3, dtype=torch.int64),
            None,
            r"\(3, 5\) for every frame; got torch.int64, \(5, 3\)",
        ),
        (torch.zeros(3, dtype=torch.int64), None, r"got torch.int64, \(3,\)"),
        (
            torch.zeros(3, 5),
            None,
            r"got torch.float32, \(3, 5\): give one option in \[0, 9\) per frame",
        ),
        (torch.zeros(3, 5, dtype=torch.bool), None, r"got torch.bool, \(3, 5\)"),
        (
            torch.full((3, 5), 9),
            None,
            r"must be in \[0, 9\); got values from 9 to 9; name one everywhere: `attended` says",
        ),
        (torch.full((3, 5), 9), CHOICES[1], r"got values from 9 to 9"),
        (CHOICES[0] - 1, None, r"got values from -1 to 7"),
        (CHOICES[0].where(CHOICES[1], -1), CHOICES[1], r"got values from -1 to 8; name one every"),
        (
            CHOICES[0],
            CHOICES[1].long(),
            r"expected a bool for every frame, \(3, 5\), whether .* got torch.int64, \(3, 5\)",
        ),
        (CHOICES[0], CHOICES[1][:2], r"got torch.bool, \(2, 5\)"),
        (None, CHOICES[1], r"says which options are looked at: give `options` as well"),
    ],
)
def test_wrong_options_are_refused(
    options: Tensor | None, attended: Tensor | None, message: str
) -> None:
    recognizer = make_recognizer()
    glance, _ = watched(recognizer)
    with pytest.raises(ValueError, match=message):
        recognizer(FRAMES, options, attended)
    assert glance == [], "before anything is computed"


def test_without_a_policy_options_have_to_be_given() -> None:
    recognizer = make_recognizer(policy=False)
    with pytest.raises(
        ValueError, match="this recognizer has no policy: give it one, or give `options`"
    ):
        recognizer(FRAMES)
    assert recognizer.cost.policy_gmacs == 0
    taken_away = make_recognizer()
    taken_away.policy = None
    with pytest.raises(ValueError, match="has no policy"):
        taken_away(FRAMES)


def test_parts_that_do_not_fit_are_refused() -> None:
    parts = make_recognizer()
    f_g, f_l, f_c, grid = (
        parts.glance_encoder,
        parts.local_encoder,
        parts.classifier,
        parts.places,
    )
    assert isinstance(f_c, GruClassifier)
    policy = PolicyNetwork(PolicyConfig(4, 4, G, 16, 2, 4))
    with pytest.raises(
        ValueError,
        match=r"a policy with the 9 options of p12_3x3; got one with 16: assemble it with the",
    ):
        AdaptiveRecognizer(f_g, f_l, f_c, grid, policy)
    with pytest.raises(
        ValueError,
        match=r"p12_3x3 is for frames of 32 px, the frames have 64 px: give both the same side",
    ):
        AdaptiveRecognizer(f_g, f_l, f_c, grid, frames=FrameConfig(3, 64))
    with pytest.raises(
        ValueError, match=r"names of the classifier's 4 classes; got 3: give one each, or none"
    ):
        AdaptiveRecognizer(f_g, f_l, f_c, grid, classes=["a", "b", "c"])
    for wrong in ("half", "", "float64"):
        with pytest.raises(
            ValueError,
            match=rf"precision must be one of float32, bfloat16, float16; got {wrong!r}",
        ):
            AdaptiveRecognizer(f_g, f_l, f_c, grid, precision=wrong)


def test_it_is_assembled_for_inference() -> None:
    parts = make_recognizer()
    expected = parts(FRAMES, *CHOICES)
    for part in (parts.glance_encoder, parts.local_encoder, parts.classifier):
        part.train()
    grid = PatchGrid(S, P, 3)
    built = AdaptiveRecognizer(parts.glance_encoder, parts.local_encoder, parts.classifier, grid)
    assert not any(module.training for module in built.modules())
    assert_recognized(built(FRAMES, *CHOICES), expected)


def test_parts_for_other_encoders_are_refused() -> None:
    recognizer = make_recognizer()
    f_g, f_l, f_c = recognizer.glance_encoder, recognizer.local_encoder, recognizer.classifier
    with pytest.raises(ValueError, match="reads 32 channels of f_G, which has 64: assemble it"):
        AdaptiveRecognizer(f_l, f_l, f_c, recognizer.places)
    with pytest.raises(ValueError, match="reads 64 channels of f_L, which has 32: assemble it"):
        AdaptiveRecognizer(f_g, f_g, f_c, recognizer.places)
    policy = PolicyNetwork(PolicyConfig(3, 3, 32, 9, 4, 8))
    other = AdaptiveRecognizer(f_g, f_l, f_c, recognizer.places, policy)
    with pytest.raises(ValueError, match=r"\(3, 3, 32\), f_G gives \(4, 4, 32\): assemble it"):
        other(FRAMES)


def test_a_fused_recognizer_shares_nothing_with_the_original() -> None:
    recognizer = make_recognizer(skips=0.4)
    before = recognizer(FRAMES)
    recognizer.fused().double()
    assert torch.equal(recognizer(FRAMES).logits, before.logits)


def test_options_may_be_an_array() -> None:
    recognizer = make_recognizer()
    options = np.arange(FRAMES[:, :, 0, 0, 0].numel()).reshape(FRAMES.shape[:2]) % 9
    recognition = recognizer(FRAMES, options)
    assert torch.equal(recognition.options, torch.from_numpy(options))
