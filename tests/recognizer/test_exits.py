"""Exits: scores and rules against literal loops, and work that really stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recognizers import (
    CHOICES,
    KINDS,
    C,
    assert_recognized,
    literal,
    make_frames,
    make_recognizer,
    watched,
)
from scipy.special import softmax
from scipy.stats import entropy

from focusgym.recognizer import (
    MEASURES,
    NEVER,
    AdaptiveRecognizer,
    BundleError,
    ExitRule,
    Recognition,
    count_gmacs,
    exit_scores,
    exit_steps,
    hold,
)

FRAMES = make_frames(3, 5)


def test_scores_are_those_of_scipy() -> None:
    logits = 3 * torch.randn(7, 4, 5, generator=torch.Generator().manual_seed(0))
    p = softmax(logits.double().numpy(), axis=-1)
    ordered = np.sort(p, axis=-1)
    expected = {
        "confidence": p.max(-1),
        "entropy": -entropy(p, axis=-1),
        "margin": ordered[..., -1] - ordered[..., -2],
    }
    for measure in MEASURES:
        scores = exit_scores(logits, measure)
        assert scores.dtype == torch.float64
        np.testing.assert_allclose(scores.numpy(), expected[measure], rtol=1e-9, atol=1e-12)
        shifted = exit_scores(logits.double() + 50, measure)
        torch.testing.assert_close(shifted, scores, rtol=0, atol=1e-9)
        assert (scores < NEVER).all()


def test_very_sure_predictions_are_still_told_apart() -> None:
    logits = torch.tensor([[20.0, 0.0], [25.0, 0.0], [30.0, -torch.inf]])
    for measure in MEASURES:
        first, second, certain = exit_scores(logits, measure).tolist()
        assert first < second < certain == (0.0 if measure == "entropy" else 1.0)
    assert exit_scores(torch.zeros(2, 1), "margin").tolist() == [1.0, 1.0]


SCORES = st.integers(1, 5).flatmap(
    lambda steps: st.tuples(
        st.lists(
            st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=steps, max_size=steps), min_size=1
        ),
        st.lists(st.sampled_from([0.1, 0.2, 0.25, NEVER]), min_size=steps, max_size=steps),
    )
)


@given(SCORES)
@settings(deadline=None, max_examples=50)
def test_a_video_stops_at_the_first_score_that_reaches(case: Any) -> None:
    scores, thresholds = case
    expected = []
    for row in scores:
        step = 0
        while step < len(row) - 1 and row[step] < thresholds[step]:
            step += 1
        expected.append(step)
    steps = exit_steps(torch.tensor(scores, dtype=torch.float64), thresholds)
    assert steps.tolist() == expected
    values = torch.arange(2 * len(scores) * len(thresholds)).view(len(scores), -1, 2)
    held = hold(values, steps)
    for n, last in enumerate(expected):
        for t in range(len(thresholds)):
            assert torch.equal(held[n, t], values[n, min(t, last)])


def test_a_rule_checks_itself() -> None:
    rule = ExitRule("margin", (0.5, 0))
    assert rule.steps == 2
    wrong: tuple[Any, ...] = ((), [0.5], (0.5, float("nan")), (float("inf"),), ("0.5",), (True,))
    for thresholds in wrong:
        with pytest.raises(ValueError, match="expected a finite threshold for each step, a tuple"):
            ExitRule("margin", thresholds)
    unknown: Any = "logit"
    for make in (lambda: ExitRule(unknown, (0.5,)), lambda: exit_scores(FRAMES[0], unknown)):
        with pytest.raises(ValueError, match="one of confidence, entropy, margin; got 'logit'"):
            make()
    with pytest.raises(ValueError, match=r"scores \(N, T\) of T = 2 thresholds; got \(1, 3\)"):
        exit_steps(torch.zeros(1, 3), rule.thresholds)


def exiting(recognizer: AdaptiveRecognizer, steps: list[int]) -> ExitRule:
    """Give a recognizer a rule by which the videos of `FRAMES` exit after these steps."""
    scores = exit_scores(recognizer(FRAMES).logits, "confidence").tolist()
    thresholds = []
    for t in range(5):
        now = [row[t] for row, step in zip(scores, steps, strict=True) if step == t]
        later = [row[t] for row, step in zip(scores, steps, strict=True) if step > t]
        assert max(later, default=0.0) < min(now, default=1.0) - 1e-3, "no rule does this"
        thresholds.append((min(now, default=NEVER) + max(later, default=0.0)) / 2 if now else NEVER)
    recognizer.exits = ExitRule("confidence", tuple(thresholds))
    return recognizer.exits


def possible(recognizer: AdaptiveRecognizer) -> list[int]:
    """Return exits that some rule gives, two different ones at least, and one at the end."""
    scores = exit_scores(recognizer(FRAMES).logits, "confidence")
    first = int(scores[:, 0].argmax())
    rest = [b for b in range(3) if b != first]
    second = rest[int(scores[rest, 2].argmax())]
    return [{first: 0, second: 2}.get(b, 4) for b in range(3)]


def stopped(recognition: Recognition, steps: list[int]) -> Recognition:
    """Return what a recognition becomes whose videos stop, video by video and frame by frame."""
    columns = {name: value.clone() for name, value in vars(recognition).items()}
    for b, last in enumerate(steps):
        for t in range(last + 1, recognition.logits.shape[1]):
            columns["logits"][b, t] = recognition.logits[b, last]
            columns["gmacs"][b, t] = recognition.gmacs[b, last]
            columns["options"][b, t] = -1
            columns["boxes_px"][b, t] = 0
            columns["attended"][b, t] = columns["fed"][b, t] = False
    return Recognition(**columns)


@pytest.mark.parametrize("config", [{}, {"skips": 0.4}, {"aggregation": "average"}], ids=str)
def test_what_is_recognized_is_what_was_known_at_the_exit(config: dict[str, Any]) -> None:
    recognizer = make_recognizer(**config, feature_dtype=torch.float32)
    expected = literal(recognizer, FRAMES)
    steps = possible(recognizer)
    rule = exiting(recognizer, steps)
    recognition = recognizer(FRAMES)
    assert rule.exit_steps(expected.logits).tolist() == steps
    assert_recognized(recognition, stopped(expected, steps), atol=2e-5)
    assert recognition.fed.sum(dim=1).tolist() == [step + 1 for step in steps]
    alone = Recognition.join([recognizer(video[None]) for video in FRAMES])
    assert_recognized(alone, recognition, atol=2e-5)
    rest = recognizer.fused()(FRAMES)
    assert torch.equal(rest.fed, recognition.fed)


def test_given_options_stop_too() -> None:
    recognizer = make_recognizer(policy=False, feature_dtype=torch.float32)
    full = recognizer(FRAMES, *CHOICES)
    scores = exit_scores(full.logits, "margin")
    middle = float(scores[:, 1].sort().values[:2].mean())
    recognizer.exits = ExitRule("margin", (NEVER, middle, NEVER, NEVER, NEVER))
    steps = recognizer.exits.exit_steps(full.logits).tolist()
    assert sorted(steps) == [1, 1, 4]
    assert_recognized(recognizer(FRAMES, *CHOICES), stopped(full, steps), atol=2e-5)
    with pytest.raises(ValueError, match=r"int64 \(3, 5\) for every frame; got"):
        recognizer(FRAMES, CHOICES[0][:, :2])
    with pytest.raises(ValueError, match=r"frames must be uint8"):
        recognizer(FRAMES[0])


def all_at_once(recognizer: AdaptiveRecognizer) -> Recognition:
    return recognizer(FRAMES)


def one_by_one(recognizer: AdaptiveRecognizer) -> Recognition:
    stream = recognizer.stream(3)
    return Recognition.join([stream.push(FRAMES[:, t]) for t in range(5)], dim=1)


@pytest.mark.parametrize(("run", "blocks"), [(all_at_once, (1, 2, 2)), (one_by_one, (1,) * 5)])
def test_nothing_is_computed_after_an_exit(
    run: Callable[[AdaptiveRecognizer], Recognition], blocks: tuple[int, ...]
) -> None:
    """Images that f_G and f_L see, and f_C's and π's rows, in frames that are read together.

    No video can stop after the second and the fourth frame: the next one is read with them.
    """
    recognizer = make_recognizer(skips=0.0)
    steps = possible(recognizer)
    exiting(recognizer, steps)
    glance, local = watched(recognizer)
    policy = recognizer.policy
    assert policy is not None
    rows: dict[str, list[int]] = {"π": [], "f_C": []}
    policy.trunk.linear.register_forward_pre_hook(
        lambda _, x: rows["π"].append(x[0][..., 0].numel())
    )
    head = recognizer.classifier.get_submodule("head")
    head.register_forward_pre_hook(lambda _, x: rows["f_C"].append(len(x[0])))
    run(recognizer)
    running = [sum(step >= t for step in steps) for t in range(5)]
    assert running == [3, 2, 2, 1, 1]
    ends = np.cumsum(blocks)
    read = [sum(running[end - n : end]) for end, n in zip(ends, blocks, strict=True)]
    assert [len(images) for images in glance] == read
    assert [len(images) for images in local] == read
    assert rows == {"π": read, "f_C": running}
    exiting_frames = [
        FRAMES[b, end - n : end]
        for end, n in zip(ends, blocks, strict=True)
        for b in range(3)
        if steps[b] >= end - n
    ]
    assert torch.equal(torch.cat(glance), torch.cat(exiting_frames)), "and of the right videos"


THRESHOLDS = st.lists(st.sampled_from([0.5, 1.0, NEVER, 3.0]), min_size=1, max_size=6)


@given(THRESHOLDS, st.integers(0, 8))
def test_frames_are_read_up_to_the_next_possible_exit(thresholds: list[float], seen: int) -> None:
    """Against a rule that is asked step by step with the surest predictions there are."""
    rule = ExitRule("confidence", tuple(thresholds))
    surest = torch.tensor([[1000.0, 0.0]])
    step = seen
    while not rule.stops(surest, step):
        step += 1
    assert rule.until_exit(seen) == step - seen + 1


@pytest.mark.parametrize("kind", ["pi", "some skipped", "average"])
def test_a_stream_takes_frames_one_by_one_and_together(kind: str) -> None:
    """In turn, with exits or without, it is in the end where the frames one by one bring it."""
    recognizer = make_recognizer(**KINDS[kind], feature_dtype=torch.float32)
    for exits in (None, ExitRule("confidence", (NEVER, NEVER, NEVER, 0.0, NEVER))):
        recognizer.exits = exits
        stream = recognizer.stream(3)
        parts = [stream.push(FRAMES[:, 0]), stream.push_all(FRAMES[:, 1:3])]
        parts += [stream.push(FRAMES[:, 3]), stream.push_all(FRAMES[:, 4:])]
        assert_recognized(Recognition.join(parts, dim=1), one_by_one(recognizer), atol=2e-5)
        with pytest.raises(ValueError, match=r"segments of each of 3 streams; got \(2, 5, 3, 32"):
            stream.push_all(FRAMES[:2])


def test_what_is_charged_is_what_is_multiplied() -> None:
    recognizer = make_recognizer(skips=0.4)
    assert recognizer.cost.total_gmacs > 0  # counted beforehand
    exiting(recognizer, possible(recognizer))
    recognitions: list[Recognition] = []
    spent = count_gmacs(lambda: recognitions.append(recognizer(FRAMES)))
    assert float(recognitions[0].gmacs[:, -1].sum()) == pytest.approx(spent, rel=1e-12)


def test_a_stream_that_has_exited_rests() -> None:
    """Also for good, after the rule's last step; what it knows stays."""
    recognizer = make_recognizer()
    steps = possible(recognizer)
    exiting(recognizer, steps)
    glance, local = watched(recognizer)
    stream = recognizer.stream(3)
    for t in range(7):
        recognition = stream.push(FRAMES[:, min(t, 4)])
        assert stream.running.tolist() == [step > t for step in steps]
        assert recognition.fed[:, 0].tolist() == [step >= t for step in steps]
    assert sum(map(len, glance)) == sum(map(len, local)) == sum(steps) + 3
    torch.testing.assert_close(
        recognition.logits, recognizer(FRAMES).logits[:, -1:], rtol=0, atol=1e-3
    )
    assert not recognition.attended.any()
    with pytest.raises(ValueError, match=r"int64 \(3,\) for every frame; got torch.int64, \(2,\)"):
        stream.push(FRAMES[:, 0], torch.zeros(2, dtype=torch.int64))


def test_without_exits_every_frame_is_fed() -> None:
    recognizer = make_recognizer(skips=1.0)
    assert recognizer(FRAMES).fed.all()
    assert recognizer.stream(3).push(FRAMES[:, 0]).fed.tolist() == [[True]] * 3


def test_the_rule_goes_with_the_bundle(tmp_path: Path) -> None:
    recognizer = make_recognizer()
    steps = possible(recognizer)
    rule = exiting(recognizer, steps)
    recognizer.save(tmp_path / "bundle")
    again = AdaptiveRecognizer.from_bundle(tmp_path / "bundle")
    assert again.exits == rule
    assert again(FRAMES).fed.sum(dim=1).tolist() == [step + 1 for step in steps]
    path = tmp_path / "bundle" / "bundle.json"
    content = json.loads(path.read_text())
    assert content["config"]["exits"] == json.loads(json.dumps(asdict(rule)))
    for wrong, message in (
        ({"measure": "margin"}, "finite threshold for each step"),
        ({"measure": "margin", "thresholds": [0.5]}, "expected exits of 5 steps, .* got 1"),
        (["margin"], "exits"),
        ({"measure": "margin", "thresholds": [0.5] * 5, "more": 1}, "more"),
    ):
        content["config"]["exits"] = wrong
        path.write_text(json.dumps(content))
        with pytest.raises(BundleError, match=message):
            AdaptiveRecognizer.from_bundle(tmp_path / "bundle")
    del content["config"]["exits"]  # as earlier versions wrote it
    path.write_text(json.dumps(content))
    assert AdaptiveRecognizer.from_bundle(tmp_path / "bundle").exits is None


def test_a_rule_for_other_videos_is_refused() -> None:
    recognizer = make_recognizer()
    parts: list[Any] = [
        getattr(recognizer, name)
        for name in ("glance_encoder", "local_encoder", "classifier", "places")
    ]
    with pytest.raises(ValueError, match="expected exits of 5 steps, .* got 2: solve the rule"):
        AdaptiveRecognizer(
            *parts, frames=recognizer.frames, exits=ExitRule("confidence", (0.5, 0.5))
        )


def test_predictions_that_are_no_numbers_do_not_stop() -> None:
    logits = torch.full((2, 3, C), torch.nan)
    assert ExitRule("confidence", (0.0, 0.0, 0.0)).exit_steps(logits).tolist() == [2, 2]
