"""Frames that come one after the other against the same frames given at once."""

from __future__ import annotations

from functools import cache
from itertools import cycle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recognizers import CHOICES, KINDS, K, assert_recognized, literal, make_frames, make_recognizer
from torch import Tensor

from focusgym.recognizer import AdaptiveRecognizer, Recognition, RecognizerStream, count_gmacs

FRAMES = make_frames(3, 5)


@cache
def recognizer_of(kind: str, dtype: torch.dtype = torch.float32) -> AdaptiveRecognizer:
    """Shared: not to be changed."""
    return make_recognizer(**KINDS[kind], feature_dtype=dtype)


def pushed(stream: RecognizerStream, frames: Tensor, *choices: Tensor) -> Recognition:
    parts = [
        stream.push(frames[:, t], *(each[:, t] for each in choices)) for t in range(frames.shape[1])
    ]
    return Recognition.join(parts, dim=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_online_is_offline(kind: str, dtype: torch.dtype) -> None:
    recognizer = recognizer_of(kind, dtype)
    # A batch of one may round otherwise in the encoders: then a stored feature moves by 2⁻¹¹.
    atol = 1e-5 if dtype == torch.float32 else 1e-3
    for frames, *choices in ((FRAMES,), (FRAMES, *CHOICES), (FRAMES[1:2],)):
        recognition = pushed(recognizer.stream(len(frames)), frames, *choices)
        assert_recognized(recognition, recognizer(frames, *choices), atol)
    assert_recognized(recognition, literal(recognizer, FRAMES[1:2]), atol)


def test_what_a_push_returns_is_the_prediction_so_far() -> None:
    """Nothing that comes later changes it: the same as a recognition of the frames so far."""
    recognizer = recognizer_of("some skipped")
    stream = recognizer.stream(3)
    assert stream.seen == 0
    for t in range(5):
        recognition = stream.push(FRAMES[:, t])
        assert stream.seen == t + 1
        assert recognition.logits.shape == (3, 1, 4)
        assert recognition.boxes_px.shape == (3, 1, 4)
        assert (
            recognition.options.shape
            == recognition.attended.shape
            == recognition.gmacs.shape
            == (3, 1)
        )
        so_far = recognizer(FRAMES[:, : t + 1])
        last = Recognition(*(value[:, -1:] for value in vars(so_far).values()))
        assert_recognized(recognition, last, atol=1e-5)
        assert not recognition.logits.requires_grad


def test_one_stream_takes_frames_without_a_batch() -> None:
    recognizer = recognizer_of("some skipped")
    stream = recognizer.stream()
    parts = [stream.push(frame) for frame in FRAMES[0]]
    assert_recognized(Recognition.join(parts, dim=1), recognizer(FRAMES[:1]), atol=1e-5)
    stream, frames = recognizer.stream(), FRAMES[0]
    parts = [
        stream.push(frame, option[None], looks[None])
        for frame, option, looks in zip(frames, CHOICES[0][0], CHOICES[1][0], strict=True)
    ]
    expected = recognizer(FRAMES[:1], *(each[:1] for each in CHOICES))
    assert_recognized(Recognition.join(parts, dim=1), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["some skipped", "average"])
def test_streams_may_be_longer_than_the_videos_of_the_training(kind: str) -> None:
    recognizer = recognizer_of(kind)
    assert recognizer.frames is not None
    assert recognizer.frames.steps == 5
    frames = make_frames(2, 40, seed=3)
    recognition = pushed(recognizer.stream(2), frames)
    assert_recognized(recognition, recognizer(frames), atol=2e-5)
    assert recognition.gmacs.diff(dim=1).min() > 0


def test_streams_are_apart_from_each_other() -> None:
    recognizer = recognizer_of("some skipped")
    one, other = recognizer.stream(), recognizer.stream(2)
    firsts, seconds = [], []
    for t in range(5):
        firsts.append(one.push(FRAMES[:1, t]))
        seconds.append(other.push(FRAMES[1:, t]))
    recognition = Recognition.join([Recognition.join(parts, dim=1) for parts in (firsts, seconds)])
    assert_recognized(recognition, recognizer(FRAMES), atol=1e-5)


LOOKS = st.tuples(st.integers(0, K - 1), st.booleans())
ROWS = st.lists(st.lists(LOOKS, min_size=6, max_size=6), min_size=2, max_size=2)


@given(kind=st.sampled_from(sorted(KINDS)), rows=ROWS)
@settings(deadline=None, max_examples=40)
def test_any_pattern_of_skips(kind: str, rows: list[list[tuple[int, bool]]]) -> None:
    recognizer, frames = recognizer_of(kind), make_frames(2, 6, seed=5)
    options, attended = torch.tensor(rows).unbind(-1)
    looks = (options, attended.bool())
    expected = literal(recognizer, frames, *looks)
    assert_recognized(recognizer(frames, *looks), expected, atol=2e-5)
    assert_recognized(pushed(recognizer.stream(2), frames, *looks), expected, atol=2e-5)


def test_frames_are_copied_options_are_not_kept() -> None:
    recognizer = recognizer_of("pi")
    stream, everything = recognizer.stream(3), (FRAMES, *CHOICES)
    buffers = [each[:, 0].clone() for each in everything]
    parts = []
    for t in range(5):  # a camera's buffer, used again and again
        for buffer, each in zip(buffers, everything, strict=True):
            buffer.copy_(each[:, t])
        parts.append(stream.push(*buffers))
        for buffer, each in zip(buffers, everything, strict=True):
            assert torch.equal(buffer, each[:, t])
    expected = recognizer(FRAMES, *CHOICES)
    assert_recognized(Recognition.join(parts, dim=1), expected, atol=1e-5)


def test_each_push_is_charged_for_what_it_multiplies() -> None:
    recognizer = recognizer_of("some skipped")
    assert recognizer.cost.total_gmacs > 0  # counted beforehand
    stream, total = recognizer.stream(3), 0.0
    for t in range(5):
        parts: list[Recognition] = []
        total += count_gmacs(lambda t=t, parts=parts: parts.append(stream.push(FRAMES[:, t])))  # type: ignore[misc]
        assert float(parts[0].gmacs.sum()) == pytest.approx(total, rel=1e-12)


def test_f_l_is_not_called_for_frames_that_are_skipped() -> None:
    recognizer = make_recognizer(skips=0.4)
    assert recognizer.cost.total_gmacs > 0
    runs: list[int] = []
    recognizer.local_encoder.trunk.register_forward_pre_hook(
        lambda _, inputs: runs.append(len(inputs[0]))
    )
    recognition = pushed(recognizer.stream(3), FRAMES)
    patches = recognition.attended.sum(dim=0).tolist()
    assert runs == [n for n in patches if n]
    runs.clear()
    pushed(recognizer.stream(3), FRAMES, CHOICES[0], torch.zeros(3, 5, dtype=torch.bool))
    assert runs == []


OPTIONS = CHOICES[0]
WRONG: dict[str, tuple[Any, Any, str]] = {
    "another batch": (
        FRAMES[:2, 0],
        None,
        r"a frame for each of 3 streams; got \(2, 3, 32, 32\): give \(B, 3, S, S\), or begin",
    ),
    "no batch": (FRAMES[0, 0], None, r"each of 3 streams; got \(3, 32, 32\)"),
    "several frames": (FRAMES, None, r"each of 3 streams; got \(3, 5, 3, 32, 32\)"),
    "no image": (FRAMES[0, 0, 0, 0], None, r"each of 3 streams; got \(32,\)"),
    "a number": (torch.tensor(1), None, r"each of 3 streams; got \(\)"),
    "floats": (FRAMES[:, 0] / 255, None, r"frames must be uint8 .* got torch.float32"),
    "another size": (FRAMES[:, 0, :, :30], None, r"with S = 32; got .*\(3, 1, 3, 30, 32\): call"),
    "options of another batch": (
        FRAMES[:, 0],
        OPTIONS[:2, 0],
        r"expected int64 \(3,\) for every frame; got torch.int64, \(2,\): give one",
    ),
    "an option beside it": (
        FRAMES[:, 0],
        torch.tensor(4),
        r"expected int64 \(3,\) for every frame; got torch.int64, \(\): give one",
    ),
    "options of several frames": (
        FRAMES[:, 0],
        OPTIONS,
        r"\(3,\) for every frame; got .* \(3, 5\)",
    ),
    "options that are not there": (
        FRAMES[:, 0],
        OPTIONS[:, 0] + 4,
        r"in \[0, 9\); got values from 4 to 12; name one",
    ),
    "options that are none": (
        FRAMES[:, 0],
        OPTIONS[:, 0] - 1,
        r"in \[0, 9\); got values from -1 to 7",
    ),
    "options for some frames": (FRAMES[:, 0], OPTIONS[:, 0], "for all frames, or for none"),
    "options of floats": (FRAMES[:, 0], OPTIONS[:, 0] / 2, r"expected int64 .* got torch.float32"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", ["some skipped", "average"])
def test_what_is_wrong_leaves_the_stream_as_it_was(kind: str, wrong: str) -> None:
    recognizer = recognizer_of(kind)
    stream, expected = recognizer.stream(3), pushed(recognizer.stream(3), FRAMES)
    frame, options, message = WRONG[wrong]
    parts = []
    for t in range(5):
        if t or wrong != "options for some frames":  # the first frame decides
            with pytest.raises(ValueError, match=message):
                stream.push(frame, options)
        assert stream.seen == t
        parts.append(stream.push(FRAMES[:, t]))
    recognition = Recognition.join(parts, dim=1)
    for name, value in vars(expected).items():
        assert torch.equal(getattr(recognition, name), value), name


def test_an_encoder_that_fails_leaves_the_stream_as_it_was() -> None:
    recognizer = make_recognizer(skips=0.0)
    expected = pushed(recognizer.stream(3), FRAMES)
    encode, fails = recognizer.local_encoder.encode, cycle([True, False])

    def every_second(prepared: Tensor) -> Tensor:
        if next(fails):
            raise RuntimeError("out of memory")
        return encode(prepared)

    recognizer.local_encoder.encode = every_second  # type: ignore[method-assign]
    stream, parts = recognizer.stream(3), []
    for t in range(5):
        with pytest.raises(RuntimeError, match="out of memory"):
            stream.push(FRAMES[:, t])
        parts.append(stream.push(FRAMES[:, t]))
    assert_recognized(Recognition.join(parts, dim=1), expected, atol=0)


def test_without_a_policy_options_are_given_to_every_push() -> None:
    stream = make_recognizer(policy=False).stream(3)
    with pytest.raises(ValueError, match="this recognizer has no policy: give it one, or give"):
        stream.push(FRAMES[:, 0])
    assert stream.seen == 0


@pytest.mark.parametrize("batch", [0, -1])
def test_no_streams_are_refused(batch: int) -> None:
    with pytest.raises(ValueError, match=rf"expected at least one stream; got batch={batch}"):
        recognizer_of("pi").stream(batch)
