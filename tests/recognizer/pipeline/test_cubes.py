"""The recognizer with cubes against the same computed one video and one cube after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cube_recognizers import (
    DRAWS,
    FRAMES,
    KINDS,
    B,
    D,
    H,
    T,
    centres,
    gmacs_by_hand,
    literal,
    make_recognizer,
)
from recognizers import L, P, S, watch
from torch import Tensor

from focusgym.recognizer import (
    NEVER,
    AdaptiveRecognizer,
    BundleError,
    CubeRecognizer,
    ExitRule,
    Recognition,
    count_gmacs,
    hold,
    read_recognizer,
)


@pytest.mark.parametrize("kind", KINDS)
def test_videos_are_recognized_as_one_by_one(kind: str) -> None:
    recognizer = make_recognizer(**KINDS[kind])
    recognition, where = recognizer(FRAMES, draws=DRAWS), centres(recognizer)
    assert_literal(recognizer, recognition, where, gmacs_by_hand(recognizer)["policy"])
    if recognizer.policy.config.learns:
        assert len(set(recognition.logits.argmax(-1).flatten().tolist())) > 1, "predictions vary"
        assert len({str(each) for each in recognition.boxes_px.tolist()}) > 2, "cubes vary"
    # The same places, named by somebody else: the policy does not run.
    other = DRAWS.flip(0, 1).float()
    assert_literal(recognizer, recognizer(FRAMES, other), other, 0)


def assert_literal(
    recognizer: CubeRecognizer, recognition: Recognition, where: Tensor, policy_gmacs: float
) -> None:
    rows = [literal(recognizer, *each) for each in zip(FRAMES, where, strict=True)]
    logits, boxes, middles, spent = zip(*rows, strict=True)
    torch.testing.assert_close(recognition.logits, torch.stack(logits), rtol=0, atol=2e-5)
    assert recognition.boxes_px.tolist() == list(boxes)
    assert recognition.segments.tolist() == list(middles)
    expected = torch.tensor(spent, dtype=torch.float64) + policy_gmacs
    torch.testing.assert_close(recognition.gmacs, expected, rtol=1e-9, atol=0)
    assert (recognition.options[:, 0] == -1).all()
    torch.testing.assert_close(recognition.options[:, 1:], where, rtol=0, atol=1e-5)
    assert recognition.attended.tolist() == [[False] + [True] * D] * B
    assert recognition.fed.all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_charged_is_what_is_multiplied(kind: str) -> None:
    """Torch counts the whole run: convolutions and products that really happened."""
    recognizer = make_recognizer(**KINDS[kind])
    prices = gmacs_by_hand(recognizer)
    cost = recognizer.cost
    assert cost.glance_gmacs == pytest.approx(prices["glance"])
    assert cost.policy_gmacs == pytest.approx(prices["policy"])
    assert cost.local_gmacs == pytest.approx(D * prices["local"])
    assert cost.classifier_gmacs == pytest.approx((D + 1) * prices["classifier"])
    for exits in (None, some_exits(recognizer)):
        recognizer.exits = exits
        for where in (None, DRAWS.float()):
            recognition = recognizer(FRAMES, where, draws=DRAWS)
            spent = count_gmacs(lambda w=where: recognizer(FRAMES, w, draws=DRAWS))  # type: ignore[misc]
            if exits is not None:  # the zeros beside the glance, which are not multiplied
                spent += B * L * H / 1e9
            assert float(recognition.gmacs[:, -1].sum()) == pytest.approx(spent, rel=1e-9)


def some_exits(recognizer: CubeRecognizer) -> ExitRule:
    """Return thresholds in the middle of gaps: two videos stop after the glance, two in turn."""
    recognizer.exits = None
    logits = recognizer(FRAMES, draws=DRAWS).logits.double()
    going, thresholds = list(range(B)), list[float]()
    for d in range(D):
        scores = logits[going, d].softmax(-1).amax(-1)
        ordered, order = scores.sort(descending=True)
        thresholds.append(float(ordered[[1, 0, 0][d] : [3, 2, 2][d]].mean()))
        stopped = [2, 1, 1][d]
        going = [going[int(i)] for i in order[stopped:]]
    return ExitRule("confidence", (*thresholds, NEVER))


@pytest.mark.parametrize("kind", ["frames", "two frames", "fewer glanced at"])
def test_videos_that_are_sure_leave_the_batch(kind: str) -> None:
    """Predictions and costs are those without exits, held at the exit; f_L reads nothing more."""
    recognizer = make_recognizer(**KINDS[kind])
    rule = some_exits(recognizer)
    full = recognizer(FRAMES, draws=DRAWS)
    steps = rule.exit_steps(full.logits)
    assert steps.sort().values.tolist() == [0, 0, 1, 2, 3, 3]
    inputs = watch(recognizer.local_encoder)
    recognizer.exits = rule
    recognition = recognizer(FRAMES, draws=DRAWS)
    torch.testing.assert_close(recognition.logits, hold(full.logits, steps), rtol=0, atol=1e-5)
    torch.testing.assert_close(recognition.gmacs, hold(full.gmacs, steps), rtol=1e-12, atol=0)
    going = torch.arange(D + 1) <= steps[:, None]
    assert torch.equal(recognition.fed, going)
    assert torch.equal(recognition.attended, going & (torch.arange(D + 1) > 0))
    for name, none in (("segments", -1), ("boxes_px", 0), ("options", -1)):
        ours, theirs = getattr(recognition, name), getattr(full, name)
        assert torch.equal(ours[recognition.attended], theirs[recognition.attended]), name
        assert (ours[~recognition.attended] == none).all(), name
    # The batch shrinks: a call for each cube, of the videos that go on.
    n = recognizer.cubes.frames
    sizes = [each.shape[0] * (each.shape[1] if each.ndim == 5 else 1) for each in inputs]
    assert sizes == [n * int((steps > d).sum()) for d in range(D)]
    assert sum(sizes) == n * int(recognition.attended.sum())
    # And nothing is read once all are sure.
    inputs.clear()
    recognizer.exits = ExitRule("entropy", (-NEVER, NEVER, NEVER, NEVER))
    recognition = recognizer(FRAMES, draws=DRAWS)
    assert not inputs
    assert not recognition.attended.any()
    torch.testing.assert_close(recognition.gmacs, full.gmacs[:, :1].expand(-1, D + 1))
    # Exits that nobody meets change nothing.
    recognizer.exits = ExitRule("margin", (NEVER,) * (D + 1))
    never = recognizer(FRAMES, draws=DRAWS)
    torch.testing.assert_close(never.logits, full.logits, rtol=0, atol=1e-5)
    assert never.fed.all()


def test_a_video_does_not_depend_on_the_others() -> None:
    recognizer = make_recognizer(frames=2)
    together = recognizer(FRAMES, draws=DRAWS)
    for b in (0, B - 1):
        alone = recognizer(FRAMES[b : b + 1], draws=DRAWS[b : b + 1])
        torch.testing.assert_close(alone.logits[0], together.logits[b], rtol=0, atol=1e-5)
        assert torch.equal(alone.segments[0], together.segments[b])


def test_what_is_cut_is_what_the_boxes_say() -> None:
    """Every pixel tells where it is from: red x, green y, blue which frame of which video."""
    recognizer = make_recognizer(frames=2, steps=4)
    painted = torch.empty(2, T, 3, S, S, dtype=torch.uint8)
    painted[:, :, 0] = torch.arange(S, dtype=torch.uint8)
    painted[:, :, 1] = torch.arange(S, dtype=torch.uint8)[:, None]
    painted[:, :, 2] = torch.arange(2 * T, dtype=torch.uint8).view(2, T, 1, 1)
    assert recognizer.cost.total_gmacs > 0
    glance, local = watch(recognizer.glance_encoder), watch(recognizer.local_encoder)
    recognition = recognizer(painted, DRAWS[:2].float())
    assert sum(map(len, glance)) == 2 * 4
    (cubes,) = local
    assert cubes.shape == (2 * D, 2, 3, P, P)
    for row, (one, other) in enumerate(cubes):
        b, d = divmod(row, D)
        left, top, right, bottom = recognition.boxes_px[b, d + 1].tolist()
        middle = b * T + int(recognition.segments[b, d + 1])
        assert other[:, 0, 0].tolist() == [left, top, middle]
        assert other[:, -1, -1].tolist() == [right - 1, bottom - 1, middle]
        assert one[:2].equal(other[:2])
        assert b * T <= int(one[2, 0, 0]) < middle


@pytest.mark.parametrize("kind", ["frames", "fewer glanced at", "random in time", "all at random"])
def test_a_bundle_comes_back(kind: str, tmp_path: Path) -> None:
    recognizer = make_recognizer(**KINDS[kind])
    recognizer.exits = some_exits(recognizer)
    expected = recognizer(FRAMES, draws=DRAWS)
    recognizer.save(tmp_path / "bundle", metrics={"val_accuracy": 0.5})
    for fuse in (False, True):
        again = read_recognizer(tmp_path / "bundle", fuse=fuse)
        assert isinstance(again, CubeRecognizer)
        for name in ("cubes", "frames", "classes", "exits"):
            assert getattr(again, name) == getattr(recognizer, name), name
        assert again.policy.config == recognizer.policy.config
        assert again.classifier.config == recognizer.classifier.config
        assert again.glance_encoder.is_fused == fuse
        recognition = again(FRAMES, draws=DRAWS)
        torch.testing.assert_close(recognition.logits, expected.logits, rtol=0, atol=1e-4)
        assert torch.equal(recognition.segments, expected.segments)
        assert again.cost == recognizer.cost
    with pytest.raises(ValueError, match="networks as they were built or trained; got fused"):
        again.save(tmp_path / "other")
    with pytest.raises(BundleError, match="of the kind CubeRecognizer, expected Adapt"):
        AdaptiveRecognizer.from_bundle(tmp_path / "bundle")
