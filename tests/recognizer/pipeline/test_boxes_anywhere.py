"""A recognizer that looks at boxes at any place, offline, online, with exits and from a bundle."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recognizers import GLANCE_PX, C, G, L, P, S, encode, make_encoder, make_frames, make_recognizer
from torch import Tensor
from torch.nn import functional

from focusgym.recognizer import (
    NEVER,
    AdaptiveRecognizer,
    Boxes,
    BundleError,
    ClassifierConfig,
    ExitRule,
    FrameConfig,
    OnPixels,
    PatchGrid,
    PolicyConfig,
    PredictionError,
    Recognition,
    WholeFrame,
    build_classifier,
    build_policy,
    uniform_draws,
)

T = 5
FRAMES = make_frames(3, T)
BOXES = Boxes(S, P)
CENTERS = torch.rand(3, T, 2, generator=torch.Generator().manual_seed(3))
# Whether these are looked at; where they are not, a centre is given all the same, or none is.
LOOKS = torch.tensor([[0, 1, 0, 0, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]]).bool()


def make(exits: ExitRule | None = None, policy: bool = True) -> AdaptiveRecognizer:
    """Return a recognizer whose centres differ from frame to frame."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoders = make_encoder("small_glance", GLANCE_PX), make_encoder("small_local")
        sizes = ClassifierConfig(G, L, C, hidden=8, aggregation="max_pool", steps=T)
        f_c = build_classifier(sizes)
        pi: Any = build_policy(PolicyConfig(4, 4, G, 1, 4, 6, network="centers"))
    recognizer = AdaptiveRecognizer(
        *encoders,
        f_c,
        BOXES,
        pi if policy else None,
        torch.float32,
        frames=FrameConfig(T, S, resize_px=36, order="halving"),
        classes=["a", "b", "c", "d"],
        exits=exits,
    )
    with torch.no_grad():
        for norm in (pi.conv_norm, pi.norm):
            norm.momentum = 1.0
        maps = recognizer.glance_encoder(FRAMES.flatten(0, 1)).permute(0, 2, 3, 1)
        pi.train()(maps.unflatten(0, (3, T)))
        pi.eval().actor.weight.mul_(8)
        for head in f_c.heads:  # type: ignore[union-attr]
            head.weight.mul_(6)  # type: ignore[operator, union-attr]
    return recognizer


def box_by_torch(image: Tensor, center: Tensor) -> Tensor:
    """Return the box ``(3, P, P)`` of an image ``(3, S, S)``; see AdaFocusV2's released code."""
    shift = -1 + (2 * center * (S - P) + P) / S
    theta = torch.tensor([[P / S, 0, float(shift[0])], [0, P / S, float(shift[1])]])
    grid = functional.affine_grid(theta[None], [1, 3, P, P], align_corners=False)
    return functional.grid_sample(image[None], grid, "bilinear", "border", align_corners=False)[0]


@torch.no_grad()
def literal(recognizer: Any, frames: Tensor, centers: Tensor, looks: Tensor) -> Tensor:
    """Return logits ``(B, T, C)``, one frame after the other."""
    f_c, rows = recognizer.classifier, []
    for video, where, attended in zip(frames, centers, looks, strict=True):
        units, logits = torch.zeros(1, 8), []
        for t, frame in enumerate(video):
            glance, local = encode(recognizer.glance_encoder, frame).mean((1, 2)), torch.zeros(L)
            if attended[t]:
                prepared = recognizer.local_encoder.prepare(frame[None])[0]
                box = box_by_torch(prepared, where[t])
                local = recognizer.local_encoder.trunk(box[None])[0].mean((1, 2))
            x = f_c.norm(f_c.layer(torch.cat([glance, local])[None])).relu()
            units = torch.maximum(units, x)
            logits.append(f_c.heads[t](units)[0])
        rows.append(torch.stack(logits))
    return torch.stack(rows)


def assert_same(recognition: Recognition, expected: Recognition) -> None:
    for name in ("attended", "fed"):
        assert torch.equal(getattr(recognition, name), getattr(expected, name)), name
    for name in ("logits", "options", "boxes_px", "gmacs"):
        one, other = getattr(recognition, name), getattr(expected, name)
        assert one.dtype == other.dtype, name
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4, msg=name)


def pushed(recognizer: AdaptiveRecognizer, frames: Tensor, *choices: Tensor) -> Recognition:
    stream = recognizer.stream(len(frames))
    columns = range(frames.shape[1])
    parts = [stream.push(frames[:, t], *(each[:, t] for each in choices)) for t in columns]
    return Recognition.join(parts, dim=1)


def test_where_the_policy_looks() -> None:
    recognizer = make()
    policy: Any = recognizer.policy
    recognition = recognizer(FRAMES)
    with torch.no_grad():
        maps = torch.stack([encode(recognizer.glance_encoder, f) for f in FRAMES.flatten(0, 1)])
        centers = policy(maps.permute(0, 2, 3, 1).unflatten(0, (3, T)))
    assert float(centers.std(dim=(0, 1)).min()) > 0.05
    assert recognition.options.dtype == torch.float32
    torch.testing.assert_close(recognition.options, centers, rtol=1e-4, atol=1e-5)
    corner = (S - P) * centers
    boxes = torch.cat([corner, corner + P], -1)
    assert recognition.boxes_px.dtype == torch.float32
    torch.testing.assert_close(recognition.boxes_px, boxes, rtol=1e-4, atol=1e-4)
    everywhere = torch.ones(3, T, dtype=torch.bool)
    assert torch.equal(recognition.attended, everywhere)
    expected = literal(recognizer, FRAMES, centers, everywhere)
    torch.testing.assert_close(recognition.logits, expected, rtol=1e-3, atol=1e-3)
    assert float(expected.std()) > 0.1
    of_frame = recognizer.cost
    each = of_frame.glance_gmacs + of_frame.policy_gmacs + of_frame.local_gmacs
    each += of_frame.classifier_gmacs
    assert recognition.gmacs[0].tolist() == pytest.approx([each * (t + 1) for t in range(T)])


def test_given_centres() -> None:
    recognizer = make()
    where = CENTERS.masked_fill(~LOOKS[..., None], 0.5)  # what is not looked at counts for nothing
    recognition = recognizer(FRAMES, where, LOOKS)
    expected = literal(recognizer, FRAMES, CENTERS, LOOKS)
    torch.testing.assert_close(recognition.logits, expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(recognition.options, where)
    assert recognition.boxes_px[~LOOKS].tolist() == [[0] * 4] * int((~LOOKS).sum())
    assert torch.equal(recognition.boxes_px[LOOKS], BOXES.boxes_at(CENTERS[LOOKS]))
    again = make(policy=False)(FRAMES, where.numpy(), LOOKS.numpy())
    torch.testing.assert_close(again.logits, recognition.logits)
    spared = T * recognizer.cost.local_gmacs * float((~LOOKS).double().mean(1)[0])
    full = recognizer(FRAMES, CENTERS).gmacs[0, -1]
    assert float(full - recognition.gmacs[0, -1]) == pytest.approx(spared)


def test_online_is_offline() -> None:
    recognizer = make()
    assert_same(pushed(recognizer, FRAMES), recognizer(FRAMES))
    assert_same(pushed(recognizer, FRAMES[1:2]), recognizer(FRAMES[1:2]))
    choices = CENTERS, LOOKS
    assert_same(pushed(recognizer, FRAMES, *choices), recognizer(FRAMES, *choices))
    stream = recognizer.stream()
    parts = [stream.push(f, CENTERS[0, t, None]) for t, f in enumerate(FRAMES[0])]
    assert_same(Recognition.join(parts, 1), recognizer(FRAMES[:1], CENTERS[:1]))


def test_exits_stop() -> None:
    """Up to its exit a video is as without; then nothing is run for it."""
    full = make()(FRAMES)
    scores = full.logits.double().softmax(-1).amax(-1)  # (3, T)
    first = scores[:, 1].sort().values.tolist()
    rule = ExitRule("confidence", (NEVER, (first[0] + first[1]) / 2, NEVER, NEVER, NEVER))
    steps = torch.where(scores[:, 1] >= rule.thresholds[1], 1, T - 1)
    assert sorted(steps.tolist()) == [1, 1, T - 1]
    recognizer = make(rule)
    images: list[int] = []
    assert recognizer.cost.total_gmacs > 0  # counted before
    recognizer.local_encoder.trunk.register_forward_pre_hook(
        lambda _, inputs: images.append(len(inputs[0]))
    )
    recognition = recognizer(FRAMES)
    fed = torch.arange(T) <= steps[:, None]
    assert torch.equal(recognition.fed, fed)
    assert torch.equal(recognition.attended, fed)
    assert sum(images) == int(fed.sum())
    torch.testing.assert_close(recognition.options[fed], full.options[fed], rtol=1e-4, atol=1e-5)
    assert recognition.options[~fed].tolist() == [[-1, -1]] * int((~fed).sum())
    assert not recognition.boxes_px[~fed].any()
    for b in range(3):
        held = full.logits[b, torch.arange(T).clamp(max=int(steps[b]))]
        torch.testing.assert_close(recognition.logits[b], held, rtol=1e-4, atol=1e-4)
    assert_same(pushed(recognizer, FRAMES), recognition)


def test_a_bundle_gives_the_same(tmp_path: Path) -> None:
    recognizer = make(ExitRule("entropy", (-0.9,) * T))
    recognizer.save(tmp_path / "bundle", metrics={"accuracy": 0.5})
    config = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["config"]
    assert config["places"] == asdict(BOXES)
    assert config["policy"]["network"] == "centers"
    assert config["frames"]["order"] == "halving"
    read = AdaptiveRecognizer.from_bundle(tmp_path / "bundle")
    assert read.places == BOXES
    assert read.frames == recognizer.frames
    assert_same(read(FRAMES), recognizer(FRAMES))
    plain = AdaptiveRecognizer.from_bundle(tmp_path / "bundle", fuse=False)
    for name, value in recognizer.state_dict().items():
        assert torch.equal(plain.state_dict()[name], value), name
    # Places of another kind than the policy's are refused, in words.
    changed = (tmp_path / "bundle" / "bundle.json").read_text()
    changed = changed.replace('"kind": "boxes"', '"kind": "full"')
    changed = changed.replace('"whole_pixels": false,', "")
    (tmp_path / "bundle" / "bundle.json").write_text(changed)
    with pytest.raises(BundleError, match="centres of boxes, and full12 is named by indices"):
        AdaptiveRecognizer.from_bundle(tmp_path / "bundle")


def test_what_is_refused() -> None:
    recognizer = make()
    for wrong, message in (
        (CENTERS[..., 0], r"expected float32 \(3, 5, 2\).*one centre \(x, y\) in \[0, 1\] per fra"),
        (CENTERS.double(), "got torch.float64"),
        (torch.zeros(3, T, dtype=torch.int64), "got torch.int64"),
        (CENTERS[:2], r"got torch.float32, \(2, 5, 2\)"),
        (CENTERS + 1, r"must be in \[0, 1\].*one everywhere: `attended` says"),
        (torch.full_like(CENTERS, -1), "got -1 to -1"),
        (CENTERS.numpy() * np.float32("nan"), "got nan to nan"),
    ):
        with pytest.raises(ValueError, match=message):
            recognizer(FRAMES, wrong)
    unnamed = CENTERS.masked_fill(~LOOKS[..., None], -1)
    with pytest.raises(ValueError, match=r"got -1 to .*; name one everywhere"):
        recognizer(FRAMES, unnamed, LOOKS)
    with pytest.raises(ValueError, match="no policy: give it one, or give `options`"):
        make(policy=False)(FRAMES)
    parts = recognizer.glance_encoder, recognizer.local_encoder, recognizer.classifier
    policy: Any = recognizer.policy
    with pytest.raises(ValueError, match="names centres of boxes, and full12 is named by indices"):
        AdaptiveRecognizer(*parts, WholeFrame(S, P), policy)
    chooses = build_policy(replace(policy.config, network="gru"))
    with pytest.raises(ValueError, match="names indices of options, and boxes12 is named by cent"):
        AdaptiveRecognizer(*parts, BOXES, chooses)
    with pytest.raises(
        ValueError, match="expected a policy with the 9 options of p12_3x3; got one"
    ):
        AdaptiveRecognizer(*parts, PatchGrid(S, P, 3), policy)
    with torch.no_grad():
        policy.actor.bias.fill_(float("nan"))
    with pytest.raises(PredictionError, match="names a centre that is NaN or infinite"):
        recognizer(FRAMES)


def test_patches_of_a_grid_are_boxes_of_whole_pixels() -> None:
    """The same networks on the same pixels say the same, whether of a grid or of boxes."""
    on_grid = make_recognizer(policy=False, feature_dtype=torch.float32)
    parts = on_grid.glance_encoder, on_grid.local_encoder, on_grid.classifier
    on_boxes = AdaptiveRecognizer(*parts, BOXES, None, torch.float32)
    options = torch.arange(15).view(3, T) % 9
    corners = torch.from_numpy(on_grid.places.boxes_px)[options][..., :2]
    one, other = on_grid(FRAMES, options), on_boxes(FRAMES, corners / torch.tensor(S - P))
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(one.boxes_px, other.boxes_px.round().long())


def test_stage_one_on_random_boxes() -> None:
    """`OnPixels` learns on boxes at random places too; and where a network of centres looks."""
    recognizer = make()
    parts = recognizer.glance_encoder, recognizer.local_encoder, recognizer.classifier
    draws = uniform_draws(range(3), T, [7])
    stage = OnPixels(*parts, BOXES).eval()
    with torch.no_grad():
        logits = stage(FRAMES, draws)
        torch.testing.assert_close(logits, recognizer(FRAMES, draws.float()).logits)
        of_policy = OnPixels(*parts, BOXES, recognizer.policy).eval()(FRAMES, draws)
        torch.testing.assert_close(of_policy, recognizer(FRAMES).logits, rtol=1e-4, atol=1e-4)
    skipping = OnPixels(*parts, BOXES, skip_rate=0.5).train()(FRAMES, draws)
    assert skipping.shape == (3, T, C)
    with pytest.raises(ValueError, match="draws nothing: leave the sampling out"):
        OnPixels(*parts, BOXES, recognizer.policy, sample=True).train()(FRAMES, draws)
