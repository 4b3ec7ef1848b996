"""AF networks frame by frame: the same masks and predictions as with the whole video, and costs."""

from __future__ import annotations

import pytest
import torch
from af_networks import T, assert_near, clips, literal, make
from torch import Tensor

from focusgym.recognizer import AFNetRecognizer, FrameConfig, PredictionError, count_gmacs

B, S = 3, 32
FRAMES = clips(B, S)  # (B, T, 3, S, S)


def make_recognizer(**options: object) -> AFNetRecognizer:
    """One whose gates keep some of the frames, by what they see and by the place in the video."""
    network = make(**options)
    with torch.no_grad():
        for stage in network.stages:
            for pair in stage.pairs:  # type: ignore[union-attr]
                pair.navigation.score.weight.normal_(0, 3)
    return AFNetRecognizer(network, frames=FrameConfig(T, S))


@pytest.mark.parametrize("selection", ["hard", "soft"])
@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize("shift", [None, "online"])
def test_it_is_the_recognizer_after_the_last_frame(
    shift: str | None, spatial: bool, selection: str
) -> None:
    recognizer = make_recognizer(shift=shift, spatial=spatial, selection=selection)
    looked, expected = recognizer.look(FRAMES), recognizer(FRAMES)
    if selection == "hard":
        assert 0 < looked.masks.mean() < 1
    stream = recognizer.stream(B)
    for t in range(T):
        recognition = stream.push(FRAMES[:, t])
        assert stream.seen == t + 1
        assert stream.so_far.masks.shape == (B, t + 1, recognizer.network.n_gates)
        assert (recognition.segments == t).all()
        assert not recognition.attended.any()
    assert_near(recognition.logits, expected.logits)
    torch.testing.assert_close(recognition.gmacs, expected.gmacs)
    assert torch.equal(stream.so_far.ran, looked.ran)
    for one, other in zip(stream.so_far, looked, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="expected frames 0 to 3 of a video.*got frame 4: begin"):
        stream.push(FRAMES[:, 0])
    assert stream.seen == T


@pytest.mark.parametrize("backbone", ["small", "mobilenet_v3"])
@pytest.mark.parametrize("shift", [None, "online"])
def test_after_each_frame_it_is_the_mean_of_the_frames_so_far(
    shift: str | None, backbone: str
) -> None:
    """Against the whole network, masked and not gathered, and its logits frame by frame."""
    recognizer = make_recognizer(backbone=backbone, shift=shift)
    network, by_frame = recognizer.network, list[Tensor]()
    hook = network.head.register_forward_hook(lambda _, __, out: by_frame.append(out))
    with torch.no_grad():
        network(FRAMES)
    hook.remove()
    stream = recognizer.stream(B)
    for t in range(T):
        logits = stream.push(FRAMES[:, t]).logits[:, 0]
        assert_near(logits, sum(by_frame[0][:, i] for i in range(t + 1)) / (t + 1), 1e-4)  # type: ignore[arg-type]


def test_a_frame_that_no_stream_keeps_is_remembered() -> None:
    """The channels that it hands on to the next frame are its own, though its branches are not."""
    recognizer = make_recognizer(shift="online")
    keeps = torch.tensor([1.0, -1.0, 1.0, -1.0])
    with torch.no_grad():
        for stage in recognizer.network.stages:
            for pair in stage.pairs:  # type: ignore[union-attr]
                pair.navigation.score.bias[1::2] = 1e6 * keeps
    masks = (keeps > 0).float()[None, :, None].expand(B, T, recognizer.network.n_gates)
    stream = recognizer.stream(B)
    for t in range(T):
        recognition = stream.push(FRAMES[:, t])
    assert torch.equal(stream.so_far.masks, masks)
    with torch.no_grad():
        expected = literal(recognizer.network, FRAMES, masks)
    assert_near(recognition.logits[:, 0], expected, 1e-4)


@pytest.mark.parametrize("shift", [None, "online"])
def test_what_is_charged_is_what_is_run(shift: str | None) -> None:
    recognizer = make_recognizer(shift=shift)
    recognizer(FRAMES)  # what branches make of zeros, once
    assert recognizer.cost.always_gmacs > 0  # counted once, now
    stream, spent, recognition = recognizer.stream(), 0.0, None
    for t in range(T):

        def push(t: int = t) -> None:
            nonlocal recognition
            recognition = stream.push(FRAMES[0, t])

        spent += count_gmacs(push)
        assert recognition is not None
        assert float(recognition.gmacs) == pytest.approx(spent, rel=1e-6)


def test_what_cannot_be_a_stream_is_refused() -> None:
    recognizer = make_recognizer()
    with pytest.raises(ValueError, match="at least one stream; got batch=0"):
        recognizer.stream(0)
    with pytest.raises(ValueError, match="is offline, which needs .* train one with --shift"):
        make_recognizer(shift="offline").stream()
    stream = recognizer.stream(2)
    with pytest.raises(ValueError, match="a frame for each of 2 streams; got"):
        stream.push(FRAMES[:, 0])
    with pytest.raises(ValueError, match="frames must be uint8"):
        stream.push(FRAMES[:2, 0].float())
    with pytest.raises(ValueError, match="at least one frame before; got none: push one first"):
        assert stream.so_far
    assert stream.seen == 0
    torch.nn.init.constant_(recognizer.network.head.bias, float("nan"))
    with pytest.raises(PredictionError, match="NaN or infinite"):
        stream.push(FRAMES[:2, 0])
