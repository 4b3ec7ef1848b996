"""The recognizer on pixels against the same computed one frame after the other, by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from recognizers import (
    CHOICES,
    KINDS,
    OFFSETS,
    C,
    G,
    L,
    P,
    S,
    assert_recognized,
    keep_probabilities,
    literal,
    make_frames,
    make_recognizer,
    watched,
)
from torch import Tensor, nn

from focusgym.recognizer import AdaptiveRecognizer, Recognition, count_gmacs

FRAMES = make_frames(3, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_videos_are_recognized_as_frame_by_frame(kind: str) -> None:
    recognizer = make_recognizer(**KINDS[kind], feature_dtype=torch.float32)
    recognition = recognizer(FRAMES)
    assert_recognized(recognition, literal(recognizer, FRAMES), atol=2e-5)
    assert recognition.logits.shape == (3, 5, C)
    assert len(set(recognition.logits.argmax(-1).flatten().tolist())) > 1, "predictions vary"
    assert not recognition.logits.requires_grad
    shares = {"all skipped": 0.0, "none skipped": 1.0, "pi": 1.0, "average of local vectors": 1.0}
    assert float(recognition.attended.double().mean()) == pytest.approx(shares.get(kind, 0.6))
    if kind != "all skipped":
        assert len(set(recognition.options.flatten().tolist())) > 4, "options vary"


@pytest.mark.parametrize("kind", KINDS)
def test_given_options_replace_the_policy_and_its_price(kind: str) -> None:
    config = {name: value for name, value in KINDS[kind].items() if name != "skips"}
    recognizer = make_recognizer(**config, policy=False, feature_dtype=torch.float32)
    recognition = recognizer(FRAMES, *CHOICES)
    assert_recognized(recognition, literal(recognizer, FRAMES, *CHOICES), atol=2e-5)
    assert torch.equal(recognition.options, CHOICES[0])
    choosing = make_recognizer(**KINDS[kind], feature_dtype=torch.float32)
    assert_recognized(choosing(FRAMES, *CHOICES), literal(choosing, FRAMES, *CHOICES), atol=2e-5)
    own = choosing(FRAMES)
    again = choosing(FRAMES, own.options, own.attended)
    torch.testing.assert_close(again.logits, own.logits, rtol=0, atol=1e-6)
    policy = choosing.cost.policy_gmacs * torch.arange(1, 6)
    torch.testing.assert_close(own.gmacs - again.gmacs, policy.double().expand(3, 5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_features_are_rounded_to_the_dtype_of_the_cache(dtype: torch.dtype) -> None:
    recognizer = make_recognizer(skips=0.4, feature_dtype=dtype)
    assert recognizer.policy is not None
    inputs_of: dict[str, tuple[Tensor, ...]] = {}
    watch: Callable[[str], Callable[..., None]]
    watch = lambda name: lambda module, inputs: inputs_of.update({name: inputs})  # noqa: E731
    recognizer.policy.trunk.register_forward_pre_hook(watch("policy"))
    recognizer.classifier.register_forward_pre_hook(watch("classifier"))
    recognition = recognizer(FRAMES)
    assert_recognized(recognition, literal(recognizer, FRAMES), atol=5e-4)
    maps, glance, local = inputs_of["policy"][0], *inputs_of["classifier"]
    assert maps.shape == (3, 5, 4, 4, G)
    for values in (maps, glance, local):
        assert values.dtype == torch.float32
        assert torch.equal(values.half().float(), values) == (dtype == torch.float16)
    # The mean of the map as f_G gives it, not of the rounded one.
    with torch.no_grad():
        exact = recognizer.glance_encoder(FRAMES.flatten(0, 1)).mean((2, 3)).view(3, 5, G)
    torch.testing.assert_close(glance, exact.to(dtype).float(), rtol=1e-3, atol=1e-4)
    assert torch.equal(local[~recognition.attended], torch.zeros(6, L))
    assert (local[recognition.attended] != 0).any(dim=1).all()


def test_f_l_runs_on_the_patches_that_are_looked_at_and_on_nothing_else() -> None:
    """Every pixel tells where it is from: red x, green y, blue which frame of which video."""
    recognizer = make_recognizer(skips=0.4)
    painted = torch.empty(3, 5, 3, S, S, dtype=torch.uint8)
    painted[:, :, 0] = torch.arange(S, dtype=torch.uint8)
    painted[:, :, 1] = torch.arange(S, dtype=torch.uint8)[:, None]
    painted[:, :, 2] = torch.arange(15, dtype=torch.uint8).view(3, 5, 1, 1)
    policy = recognizer.policy
    assert policy is not None
    some = float(keep_probabilities(recognizer, painted).quantile(0.4))
    policy.config = replace(policy.config, threshold=some)
    glance, local = watched(recognizer)
    for choices in ((), CHOICES):
        glance.clear()
        local.clear()
        recognition = recognizer(painted, *choices)
        assert sum(map(len, glance)) == 15
        (patches,) = local
        assert patches.dtype == torch.uint8
        assert patches.shape == (int(recognition.attended.sum()), 3, P, P)
        rows = recognition.attended.flatten().nonzero().squeeze(1)
        for patch, row in zip(patches, rows.tolist(), strict=True):
            left, top, right, bottom = recognition.boxes_px.flatten(0, 1)[row].tolist()
            assert patch[:, 0, 0].tolist() == [left, top, row]
            assert patch[:, -1, -1].tolist() == [right - 1, bottom - 1, row]
            option = int(recognition.options.flatten()[row])
            assert (left, top) == (OFFSETS[option % 3], OFFSETS[option // 3])
        assert (recognition.boxes_px[~recognition.attended] == 0).all()
    assert torch.equal(recognition.attended, CHOICES[1])
    assert recognition.attended.sum() == 5


def test_long_videos_are_encoded_in_batches_that_change_nothing() -> None:
    recognizer = make_recognizer(skips=0.4)
    frames = make_frames(3, 200, seed=7)
    glance, local = watched(recognizer)
    recognition = recognizer(frames)
    assert len(glance) > 1
    assert sum(map(len, glance)) == 600
    assert sum(map(len, local)) == recognition.attended.sum() > 100
    alone = Recognition.join([recognizer(video[None]) for video in frames])
    assert (recognition.options == alone.options).double().mean() > 0.995
    same = recognizer(frames, alone.options, alone.attended)
    torch.testing.assert_close(same.logits, alone.logits, rtol=0, atol=1e-3)


def test_a_video_may_be_skipped_altogether() -> None:
    """What is left is f_C on the glance vectors and zeros; f_L is not even called."""
    recognizer = make_recognizer()
    _, local = watched(recognizer)
    nowhere = torch.zeros(3, 5, dtype=torch.bool)
    logits = recognizer(FRAMES, torch.zeros(3, 5, dtype=torch.int64), nowhere).logits
    with torch.no_grad():
        vectors = recognizer.glance_encoder(FRAMES.flatten(0, 1)).mean((2, 3)).half().float()
        expected = recognizer.classifier(vectors.view(3, 5, G), torch.zeros(3, 5, L))
    assert local == []
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    _, local = watched(plus := make_recognizer(skips=1.0))
    plus(FRAMES)
    assert local == []


@pytest.mark.parametrize("kind", ["pi", "some skipped", "average", "local vectors only"])
def test_what_is_charged_is_what_is_multiplied(kind: str) -> None:
    """Torch counts the whole run: convolutions and products that really happened."""
    recognizer = make_recognizer(**KINDS[kind])
    assert recognizer.cost.total_gmacs > 0  # counted beforehand
    for choices in ((), CHOICES):
        recognition = recognizer(FRAMES, *choices)
        spent = count_gmacs(lambda choices=choices: recognizer(FRAMES, *choices))  # type: ignore[misc]
        assert float(recognition.gmacs[:, -1].sum()) == pytest.approx(spent, rel=1e-12)
    once = recognizer.cost
    for other in (recognizer.fused(), make_recognizer(**KINDS[kind])):
        other.precision = "bfloat16"
        assert other.cost == once
    torch.testing.assert_close(recognizer(FRAMES[:1]).gmacs, recognizer(FRAMES).gmacs[:1])


def test_rho_is_the_threshold_of_the_keep_probabilities() -> None:
    recognizer = make_recognizer(skips=0.4)
    keep = keep_probabilities(recognizer, FRAMES)
    assert recognizer.policy is not None
    everywhere = make_recognizer(skips=0.0)(FRAMES).options
    for rho in (0.2, 0.5, 0.8):
        recognizer.policy.config = replace(recognizer.policy.config, threshold=rho)
        recognition = recognizer(FRAMES)
        near = (keep - rho).abs() < 1e-3  # computed in another way: within rounding
        assert torch.equal(recognition.attended[~near], (keep >= rho)[~near])
        assert near.sum() < 3
        assert torch.equal(recognition.options, everywhere), "π names an option all the same"


def test_options_that_are_not_allowed_are_not_taken() -> None:
    free, bound = make_recognizer(), make_recognizer(options_allowed=[2, 5])
    bound.load_state_dict(free.state_dict())
    assert set(bound(FRAMES).options.unique().tolist()) == {2, 5}
    assert len(free(FRAMES).options.unique()) > 4


def test_recognitions_are_joined_as_videos_or_as_frames() -> None:
    recognizer = make_recognizer(skips=0.4)
    together = recognizer(FRAMES)
    by_videos = Recognition.join([recognizer(FRAMES[:1]), recognizer(FRAMES[1:])])
    # Other batches may round otherwise in the encoders: then a stored feature moves by 2⁻¹¹.
    assert_recognized(by_videos, together, atol=1e-3)
    by_frames = Recognition.join(
        [_frames(together, slice(0, 2)), _frames(together, slice(2, 5))], dim=1
    )
    singly = together.videos()
    assert [len(single.logits) for single in singly] == [1, 1, 1]
    for field in fields(Recognition):
        assert torch.equal(getattr(by_frames, field.name), getattr(together, field.name))
        for b, single in enumerate(singly):
            assert torch.equal(getattr(single, field.name)[0], getattr(together, field.name)[b])


def _frames(recognition: Recognition, steps: slice) -> Recognition:
    return Recognition(
        *(getattr(recognition, field.name)[:, steps] for field in fields(Recognition))
    )


def test_nothing_that_is_given_is_changed_or_kept() -> None:
    recognizer = make_recognizer()
    originals = (FRAMES, *CHOICES)
    frames, options, attended = (each.clone() for each in originals)
    recognition = recognizer(frames, options, attended)
    for each, before in zip((frames, options, attended), originals, strict=True):
        assert torch.equal(each, before)
        each.zero_()  # the caller's own: a recognition is not a view of it
    assert torch.equal(recognition.options, CHOICES[0])
    assert torch.equal(recognition.attended, CHOICES[1])


def test_frames_may_lie_in_memory_in_any_order() -> None:
    recognizer = make_recognizer(skips=0.4)
    expected = recognizer(FRAMES)
    channels_last = FRAMES.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    steps_first = FRAMES.transpose(0, 1).contiguous().transpose(0, 1)
    wider = torch.zeros(3, 5, 3, S + 4, S + 4, dtype=torch.uint8)
    wider[..., 2:-2, 2:-2] = FRAMES
    for frames in (channels_last, steps_first, wider[..., 2:-2, 2:-2]):
        assert not frames.is_contiguous()
        assert_recognized(recognizer(frames), expected, atol=1e-3)


def test_a_fused_recognizer_gives_the_same_and_the_original_stays() -> None:
    recognizer = make_recognizer(skips=0.4)
    before = {name: value.clone() for name, value in recognizer.state_dict().items()}
    fused = recognizer.fused()
    assert_recognized(fused(FRAMES), recognizer(FRAMES), atol=1e-3)
    assert recognizer.state_dict().keys() == before.keys()
    assert all(torch.equal(v, before[name]) for name, v in recognizer.state_dict().items())
    assert any(isinstance(module, nn.BatchNorm2d) for module in recognizer.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert (fused.frames, fused.classes) == (recognizer.frames, recognizer.classes)
    other = recognizer.fused()
    assert_recognized(other.fused()(FRAMES), recognizer(FRAMES), atol=1e-3)


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", 2**-7), ("float16", 2**-10)])
def test_encoders_compute_in_lower_precision_and_nothing_else_does(
    precision: str, dtype: float
) -> None:
    exact = make_recognizer(skips=0.0, feature_dtype=torch.float32)
    lower = make_recognizer(skips=0.0, feature_dtype=torch.float32)
    lower.precision = precision
    assert lower.policy is not None
    assert lower.policy.keep is not None
    outputs: dict[str, torch.dtype] = {}
    watch: Callable[[str], Callable[..., None]]
    watch = lambda name: lambda module, inputs, output: outputs.update({name: output.dtype})  # noqa: E731
    parts = {
        "glance": lower.glance_encoder.get_submodule("trunk.2.0"),
        "local": lower.local_encoder.get_submodule("trunk.3.0"),
        "pi": lower.policy.actor,
        "pi_prime": lower.policy.keep.actor,
        "cells": lower.policy.trunk.conv,
        "head": lower.classifier.get_submodule("head"),
    }
    for name, module in parts.items():
        module.register_forward_hook(watch(name))
    frames = make_frames(6, 5, seed=1)
    options = exact(frames).options
    expected, recognition = exact(frames, options), lower(frames, options)
    chosen = lower(frames).options
    rounded = getattr(torch, precision)
    assert outputs == {
        name: rounded if name in ("glance", "local") else torch.float32 for name in parts
    }
    difference = (recognition.logits.softmax(-1) - expected.logits.softmax(-1)).abs().max()
    assert 0 < difference < 16 * dtype
    assert (recognition.logits.argmax(-1) == expected.logits.argmax(-1)).double().mean() >= 0.9
    assert (chosen == options).double().mean() >= 0.9
    assert recognition.logits.dtype == torch.float32
    # In a stream, and in one that is built so from the beginning.
    parts_of = (lower.glance_encoder, lower.local_encoder, lower.classifier, lower.places)
    built = AdaptiveRecognizer(*parts_of, lower.policy, torch.float32, precision=precision)
    assert_recognized(built(frames), lower(frames))
    stream = built.stream(6)
    outputs.clear()
    stream.push(frames[:, 0])
    assert outputs["glance"] == outputs["local"] == rounded
    assert outputs["pi"] == outputs["head"] == torch.float32


def test_the_device_is_that_of_the_networks() -> None:
    recognizer = make_recognizer()
    assert recognizer.device == torch.device("cpu")
    assert recognizer.to("meta").device == torch.device("meta")
    assert make_recognizer().to("cpu")(FRAMES).logits.device == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
@pytest.mark.parametrize("kind", KINDS)
def test_on_cuda_it_is_the_same(kind: str) -> None:
    on_cpu = make_recognizer(**KINDS[kind])
    expected = on_cpu(FRAMES)
    on_cuda = make_recognizer(**KINDS[kind]).to("cuda")
    assert on_cuda.cost == on_cpu.cost
    stream = on_cuda.stream(3)
    pushed = [stream.push(FRAMES[:, t]) for t in range(5)]
    on_choices = on_cuda.fused()(FRAMES.cuda(), expected.options, expected.attended)
    for recognition in (
        on_cuda(FRAMES),
        on_cuda(FRAMES.cuda()),
        Recognition.join(pushed, dim=1),
        on_choices,
    ):
        assert all(value.device.type == "cuda" for value in vars(recognition).values())
        torch.testing.assert_close(recognition.logits.cpu(), expected.logits, rtol=0, atol=2e-2)
        assert torch.equal(recognition.options.cpu(), expected.options)
        assert torch.equal(recognition.boxes_px.cpu(), expected.boxes_px)
    assert all(p.device.type == "cuda" for p in on_cuda.parameters()), "counting moves a copy"
