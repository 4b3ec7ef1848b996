"""Segments of several frames on pixels: means over frames that are encoded one after the other."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from recognizers import (
    OFFSETS,
    C,
    G,
    K,
    L,
    P,
    S,
    encode,
    gmacs_by_hand,
    make_frames,
    make_recognizer,
)
from torch import Tensor

from focusgym.recognizer import (
    AdaptiveRecognizer,
    Encoder,
    FrameConfig,
    FullFrames,
    OnPixels,
    PatchGrid,
    Recognition,
    count_gmacs,
    frame_cost,
    glance_at,
    look_at,
    look_everywhere,
    uniform_draws,
)
from focusgym.recognizer.pipeline import look

B, T, F = 2, 5, 3
FRAMES = make_frames(B, T * F).unflatten(1, (T, F))  # (B, T, F, 3, S, S)
CHOICES = torch.tensor([[5, 4, 2, 0, 8], [3, 0, 1, 8, 7]])
ATTENDED = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 1]]).bool()


def of_segments(glance_frames: int | None = 1, **options: object) -> AdaptiveRecognizer:
    """Return a recognizer of segments of three frames, of float32 features."""
    base = make_recognizer(feature_dtype=torch.float32, **options)  # type: ignore[arg-type]
    return AdaptiveRecognizer(
        base.glance_encoder,  # type: ignore[arg-type]
        base.local_encoder,  # type: ignore[arg-type]
        base.classifier,
        base.places,
        base.policy,
        torch.float32,
        frames=FrameConfig(T, S, 36, segment_frames=F, glance_frames=glance_frames),
    )


@torch.no_grad()
def mean_map(encoder: Encoder, images: Tensor) -> Tensor:
    """Return the mean of the maps of images ``(n, 3, side, side)``, each encoded alone."""
    return torch.stack([encode(encoder, image) for image in images]).double().mean(dim=0).float()


def patch(segment: Tensor, option: int) -> Tensor:
    top, left = OFFSETS[option // 3], OFFSETS[option % 3]
    return segment[..., top : top + P, left : left + P]


def count_images(encoder: Encoder) -> list[int]:
    counts: list[int] = []
    encoder.trunk.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    return counts


def test_glance_and_look_are_means_over_frames() -> None:
    recognizer = of_segments()
    f_g, f_l, places = recognizer.glance_encoder, recognizer.local_encoder, recognizer.places
    segments = FRAMES.flatten(0, 1)  # (M, F, 3, S, S)
    options = torch.arange(len(segments)) % K
    with torch.no_grad():
        maps, vectors = glance_at(f_g, segments, torch.float32)
        looks = look_at(f_l, places, segments, options, torch.float32)
        everywhere = look_everywhere(f_l, places, f_l.prepare(segments), torch.float32)
        single = segments[:, :1]  # an axis of one frame says nothing
        alone = glance_at(f_g, single, torch.float32)
        frames = glance_at(f_g, segments[:, 0], torch.float32)
    assert maps.shape == (len(segments), 4, 4, F * G)
    assert everywhere.shape == (len(segments), K, L)
    for one, other in zip(alone, frames, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for i, segment in enumerate(segments):
        for f, frame in enumerate(segment):
            alone_map = encode(f_g, frame).permute(1, 2, 0)
            part = maps[i, :, :, f * G : (f + 1) * G]
            torch.testing.assert_close(part, alone_map, rtol=1e-4, atol=1e-5)
        expected = mean_map(f_g, segment)
        torch.testing.assert_close(vectors[i], expected.mean((1, 2)), rtol=1e-4, atol=1e-5)
        for option in range(K):
            expected = mean_map(f_l, patch(segment, option)).mean((1, 2))
            torch.testing.assert_close(everywhere[i, option], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(looks[i], everywhere[i, i % K], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("glance_frames", "glanced"), [(1, [1]), (2, [0, 2]), (None, [0, 1, 2])])
def test_a_recognizer_reads_its_frames_of_a_segment(
    glance_frames: int | None, glanced: list[int]
) -> None:
    recognizer = of_segments(glance_frames, policy=False)
    glance, local, options, attended, _, _ = recognizer.observe(FRAMES, CHOICES, ATTENDED, None)
    assert torch.equal(options, CHOICES)
    assert torch.equal(attended, ATTENDED)
    for b in range(B):
        for t in range(T):
            segment, option = FRAMES[b, t], int(CHOICES[b, t])
            expected = mean_map(recognizer.glance_encoder, segment[glanced]).mean((1, 2))
            torch.testing.assert_close(glance[b, t], expected, rtol=1e-4, atol=1e-5)
            expected = torch.zeros(L)
            if ATTENDED[b, t]:
                expected = mean_map(recognizer.local_encoder, patch(segment, option)).mean((1, 2))
            torch.testing.assert_close(local[b, t], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("glance_frames", "n_glanced"), [(1, 1), (2, 2), (None, 3)])
def test_what_is_charged_is_what_is_run(glance_frames: int | None, n_glanced: int) -> None:
    """Images that go through the networks, and multiply-adds, of whole videos and of streams."""
    recognizer = of_segments(glance_frames, policy=False)
    by_hand, choices = gmacs_by_hand(recognizer), (CHOICES, ATTENDED)
    assert recognizer.cost.glance_gmacs == pytest.approx(n_glanced * by_hand["glance"])
    assert recognizer.cost.local_gmacs == pytest.approx(F * by_hand["local"])
    ways = (
        lambda: recognizer(FRAMES, *choices),
        lambda: recognizer.stream(B).push_all(FRAMES, *choices),
        lambda: recognizer.fused()(FRAMES, *choices),
    )
    glances, looks = (
        count_images(each) for each in (recognizer.glance_encoder, recognizer.local_encoder)
    )
    for run in ways[:2]:
        glances.clear()
        looks.clear()
        recognition = run()
        attended = int(recognition.attended.sum())
        assert 0 < attended < B * T
        assert (sum(glances), sum(looks)) == (B * T * n_glanced, F * attended)
    for run in ways:
        kept: list[Recognition] = []
        spent = count_gmacs(lambda run=run, kept=kept: kept.append(run()))  # type: ignore[misc]
        assert float(kept[0].gmacs[:, -1].sum()) == pytest.approx(spent, rel=1e-9)


def test_streams_take_segments_one_after_the_other() -> None:
    recognizer = of_segments(skips=0.4)
    together = recognizer(FRAMES)
    stream = recognizer.stream()
    parts = [stream.push(segment) for segment in FRAMES[0]]  # (F, 3, S, S)
    recognition = Recognition.join(parts, dim=1)
    assert torch.equal(recognition.options, together.options[:1])
    torch.testing.assert_close(recognition.logits, together.logits[:1], rtol=0, atol=1e-5)
    torch.testing.assert_close(recognition.gmacs, together.gmacs[:1], rtol=1e-12, atol=0)


def test_other_shapes_are_refused() -> None:
    recognizer = of_segments()
    expected = (
        r"uint8 \(B, T, F, 3, S, S\) with F = 3 and S = 32; got torch.uint8 \(2, 5, 3, 32, 32\)"
    )
    with pytest.raises(ValueError, match=expected):
        recognizer(FRAMES[:, :, 0])
    with pytest.raises(ValueError, match=r"with F = 3 and S = 32; got .* \(2, 5, 2, 3, 32, 32\)"):
        recognizer(FRAMES[:, :, :2])
    with pytest.raises(ValueError, match=r"uint8 \(B, T, 3, S, S\) with S = 32; got .* 3, 3, 32"):
        make_recognizer()(FRAMES)
    with pytest.raises(ValueError, match=r"expected a segment for each of 2 streams; .* \(B, F, 3"):
        recognizer.stream(2).push(FRAMES[:, 0, 0])


def test_a_price_is_of_frames_that_are_known() -> None:
    base = make_recognizer()
    networks = base.glance_encoder, base.local_encoder, base.classifier, base.policy, base.places
    one = frame_cost(*networks)
    assert frame_cost(*networks, FrameConfig(T, S)) == one
    cost = frame_cost(*networks, FrameConfig(T, S, segment_frames=4, glance_frames=2))
    assert cost.glance_gmacs == pytest.approx(2 * one.glance_gmacs)
    assert cost.local_gmacs == pytest.approx(4 * one.local_gmacs)
    assert (cost.policy_gmacs, cost.classifier_gmacs) == (one.policy_gmacs, one.classifier_gmacs)


def test_stages_on_pixels_see_what_the_recognizer_sees() -> None:
    recognizer = of_segments(1, policy=False)
    frames = recognizer.frames
    networks = recognizer.glance_encoder, recognizer.local_encoder, recognizer.classifier
    stage = OnPixels(*networks, recognizer.places, frames=frames).eval()
    draws = uniform_draws(range(B), T, [0])
    options = (draws[..., 0] * K).long()
    with torch.no_grad():
        stage_logits = stage(FRAMES, draws)
    torch.testing.assert_close(stage_logits, recognizer(FRAMES, options).logits, rtol=0, atol=1e-5)
    full_frames = FullFrames(recognizer.local_encoder, C).eval()
    with torch.no_grad():
        logits = full_frames(FRAMES)
        pooled = torch.stack(
            [mean_map(recognizer.local_encoder, x).mean((1, 2)) for x in FRAMES.flatten(0, 1)]
        )
        expected = full_frames.head(pooled).unflatten(0, (B, T)).mean(dim=1, keepdim=True)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_gpu_is_given_much_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,024 patches of 128 px, 64 times what a CPU is; on a device that computes nothing."""
    f_l = make_recognizer().local_encoder.to("meta")
    monkeypatch.setattr(look, "autocast", lambda *_: nullcontext())  # which that device lacks
    seen, segments = count_images(f_l), torch.empty(40, 3, 224, 224, device="meta")
    looks = look_everywhere(f_l, PatchGrid(224, 128, 7), segments, torch.float32)
    assert looks.shape == (40, 49, L)
    assert seen == [21 * 49, 19 * 49]
