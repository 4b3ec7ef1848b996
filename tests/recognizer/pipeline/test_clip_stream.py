"""Clips that come frame by frame: the same prediction as of the whole clip, and as of its begin."""

from __future__ import annotations

import pytest
import torch
from recognizers import make_frames

from focusgym.recognizer import (
    AdaptiveRecognizer,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    PatchGrid,
    WholeFrame,
    build_classifier,
    count_gmacs,
)

S, F, B, C = 32, 5, 2, 4
CLIPS = make_frames(B, F, side=S)  # (B, F, 3, S, S)


def of_clips(
    shift: str = "_tsm_online", places: str = "full", **frames: object
) -> AdaptiveRecognizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoders = [Encoder(EncoderConfig(f"small_residual{shift}")) for _ in range(2)]
        f_c = build_classifier(ClassifierConfig(64, 64, C, aggregation="average_logits"))
    return AdaptiveRecognizer(
        *encoders,
        f_c,
        WholeFrame(S, S) if places == "full" else PatchGrid(S, 16, 3),
        None,
        torch.float32,
        frames=FrameConfig(**{"steps": 1, "frame_px": S, "segment_frames": F, **frames}),  # type: ignore[arg-type]
    ).eval()


@pytest.mark.parametrize("places", ["full", "patches"])
def test_after_the_last_frame_it_is_the_prediction_of_the_clip(places: str) -> None:
    recognizer = of_clips(places=places)
    options = torch.tensor([[0], [4]]) if places == "patches" else torch.zeros(B, 1).long()
    at_once = recognizer(CLIPS[:, None], options)
    stream = recognizer.clip_stream(B, options[:, 0] if places == "patches" else None)
    for f in range(F):
        recognition = stream.push(CLIPS[:, f])
        # What was predicted so far is what a clip of these frames would have given.
        if f:
            begin = of_clips(places=places, segment_frames=f + 1)
            begin.load_state_dict(recognizer.state_dict())
            expected = begin(CLIPS[:, None, : f + 1], options).logits
            torch.testing.assert_close(recognition.logits, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(recognition.logits, at_once.logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(recognition.boxes_px, at_once.boxes_px)
    f_c = recognizer.cost.classifier_gmacs
    assert float(recognition.gmacs[0, 0]) == pytest.approx(
        float(at_once.gmacs[0, 0]) + (F - 1) * f_c
    )


def test_what_is_charged_is_what_is_run() -> None:
    recognizer = of_clips()
    assert recognizer.cost.local_gmacs > 0  # counted once, now
    stream = recognizer.clip_stream(1)
    spent = [count_gmacs(lambda f=f: stream.push(CLIPS[:1, f])) for f in range(2)]  # type: ignore[misc]
    assert float(stream.push(CLIPS[:1, 2]).gmacs) == pytest.approx(sum(spent) * 3 / 2, rel=1e-6)


def test_what_cannot_be_a_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one stream; got batch=0"):
        of_clips().clip_stream(0)
    with pytest.raises(ValueError, match="got offline and offline: train encoders whose names"):
        of_clips("_tsm").clip_stream()
    with pytest.raises(ValueError, match="expected a recognizer of clips, whose frames f_G and"):
        of_clips(glance_frames=2).clip_stream()
    with pytest.raises(ValueError, match="has several places: give `options`"):
        of_clips(places="patches").clip_stream(2)
    with pytest.raises(ValueError, match="a frame for each of 2 streams; got"):
        of_clips().clip_stream(2).push(CLIPS[:1, 0])
