"""f_C, π and the assembled recognizer against plain torch."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from focusgym.recognizer import (
    AdaptiveRecognizer,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    GruClassifier,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
    accuracy_by_step,
    confidence,
)


def test_the_policy_is_a_1x1_convolution_a_linear_layer_and_a_gru() -> None:
    torch.manual_seed(2)
    policy = PolicyNetwork(PolicyConfig(3, 4, 5, n_options=9, conv_channels=2, hidden=6))
    maps = torch.randn(2, 4, 3, 4, 5)
    trunk = policy.trunk
    conv = nn.Conv2d(5, 2, 1)
    conv.load_state_dict({"weight": trunk.conv.weight[:, :, None, None], "bias": trunk.conv.bias})
    state, expected = None, []
    for t in range(4):
        x = conv(maps[:, t].permute(0, 3, 1, 2)).relu()  # (B, 2, h, w)
        x = trunk.linear(x.permute(0, 2, 3, 1).flatten(1)).relu()
        out, state = trunk.gru(x[:, None], state)
        expected.append(policy.actor(out[:, 0]))
    torch.testing.assert_close(policy(maps), torch.stack(expected, 1), rtol=0, atol=1e-6)
    first, state = trunk(maps[:, :2])
    second, _ = trunk(maps[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), trunk(maps)[0])


def small_recognizer(threshold: float | None = None) -> AdaptiveRecognizer:
    torch.manual_seed(3)
    glance = Encoder(EncoderConfig("small_glance", input_px=8))
    local = Encoder(EncoderConfig("small_local"))
    classifier = GruClassifier(ClassifierConfig(32, 64, 4, hidden=8))
    policy = PolicyNetwork(PolicyConfig(4, 4, 32, 9, 4, 8, threshold=threshold))
    return AdaptiveRecognizer(glance, local, classifier, PatchGrid(32, 16, 3), policy)


def random_frames(batch: int, steps: int) -> torch.Tensor:
    return torch.randint(0, 256, (batch, steps, 3, 32, 32), dtype=torch.uint8)


class Counted(nn.Module):
    """f_L, and how many patches each of its runs had."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.runs: list[int] = []

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        self.runs.append(len(patches))
        return self.encoder(patches)


def test_the_recognizer_is_glance_choose_crop_look_classify() -> None:
    recognizer = small_recognizer()
    frames = random_frames(2, 3)
    recognition = recognizer(frames)
    for b in range(2):
        policy_state = state = None
        for t in range(3):
            with torch.no_grad():
                maps = recognizer.glance_encoder(frames[b, t][None])
                stored = maps.permute(0, 2, 3, 1).half().float()
                features, policy_state = recognizer.policy.trunk(stored[None], policy_state)
                option = int(recognizer.policy.actor(features).argmax())
                left, top, right, bottom = recognizer.grid.boxes_px[option]
                patch = frames[b, t, :, top:bottom, left:right][None]
                local = recognizer.local_encoder(patch).mean((2, 3)).half().float()
                x = torch.cat([maps.mean((2, 3)).half().float(), local], dim=1)
                out, state = recognizer.classifier.gru(x[None], state)
                logits = recognizer.classifier.head(out)[0, 0]
            assert int(recognition.options[b, t]) == option
            torch.testing.assert_close(recognition.logits[b, t], logits, rtol=1e-3, atol=1e-4)


def test_given_patches_replace_the_policy() -> None:
    recognizer = small_recognizer()
    frames = random_frames(2, 3)
    chosen = recognizer(frames)
    again = recognizer(frames, chosen.options)
    torch.testing.assert_close(again.logits, chosen.logits)
    recognizer.policy = None
    with pytest.raises(ValueError, match="this recognizer has no policy: give it one"):
        recognizer(frames)


def test_f_l_runs_on_the_frames_that_are_looked_at_and_skipped_ones_are_zero() -> None:
    recognizer = small_recognizer()
    recognizer.local_encoder = counted = Counted(recognizer.local_encoder)
    frames = random_frames(2, 3)
    options = torch.tensor([[4, 9, 0], [9, 9, 8]])
    seen: list[torch.Tensor] = []
    recognizer.classifier.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    recognition = recognizer(frames, options)
    assert counted.runs == [3]
    assert torch.equal(recognition.options, options)
    (local,) = seen
    for b in range(2):
        for t in range(3):
            if options[b, t] == 9:
                assert torch.equal(local[b, t], torch.zeros(64))
                continue
            left, top, right, bottom = recognizer.grid.boxes_px[options[b, t]]
            with torch.no_grad():
                patch = recognizer.local_encoder(frames[b, t, :, top:bottom, left:right][None])
            expected = patch.mean((2, 3)).half().float()[0]
            torch.testing.assert_close(local[b, t], expected, rtol=1e-3, atol=1e-4)


def test_a_video_may_be_skipped_altogether() -> None:
    """What is left is f_C on the glance vectors and zeros; f_L is not even called."""
    recognizer = small_recognizer()
    recognizer.local_encoder = counted = Counted(recognizer.local_encoder)
    frames = random_frames(2, 3)
    found = recognizer(frames, torch.full((2, 3), 9)).logits
    with torch.no_grad():
        glance = recognizer.glance_encoder(frames.flatten(0, 1)).mean((2, 3)).half().float()
        expected = recognizer.classifier(glance.view(2, 3, 32), torch.zeros(2, 3, 64))
    assert counted.runs == []
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_pi_prime_decides_which_frames_are_skipped() -> None:
    """ρ between two of π′'s keep probabilities: what is at or above it is looked at."""
    frames = random_frames(3, 4)
    pi = small_recognizer()
    recognizer = small_recognizer(threshold=0.0)
    recognizer.load_state_dict(pi.state_dict(), strict=False)
    everywhere = pi(frames).options
    assert torch.equal(recognizer(frames).options, everywhere), "ρ = 0 skips nothing"
    with torch.no_grad():
        maps = recognizer.glance_encoder(frames.flatten(0, 1)).permute(0, 2, 3, 1)
        keep = recognizer.policy.keep(maps.half().float().unflatten(0, (3, 4)))
    ordered = keep.flatten().sort().values
    threshold = float(ordered[4] + ordered[5]) / 2
    plus = small_recognizer(threshold=threshold)
    plus.load_state_dict(recognizer.state_dict())
    options = plus(frames).options
    assert torch.equal(options == 9, keep < threshold)
    assert int((options == 9).sum()) == 5
    assert torch.equal(options[options < 9], everywhere[options < 9])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (torch.zeros(2, 2, dtype=torch.int64), r"every frame, \(2, 3\); got torch.int64, \(2, 2\)"),
        (torch.zeros(2, 3), r"got torch.float32, \(2, 3\): give one in \[0, 9\] per frame"),
        (torch.full((2, 3), 10), r"in \[0, 9\], 9 to skip the frame; got values from 10 to 10"),
        (torch.full((2, 3), -1), r"got values from -1 to -1"),
    ],
)
def test_wrong_options_are_refused(options: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_recognizer()(random_frames(2, 3), options)


def test_a_policy_for_another_grid_is_refused() -> None:
    parts = small_recognizer()
    with pytest.raises(ValueError, match=r"the grid's 16 options; got one with 9: assemble"):
        AdaptiveRecognizer(
            parts.glance_encoder,
            parts.local_encoder,
            parts.classifier,
            PatchGrid(32, 16, 4),
            parts.policy,
        )


def test_confidence_and_accuracy_by_hand() -> None:
    logits = torch.log(torch.tensor([[[0.7, 0.3], [0.4, 0.6]], [[0.9, 0.1], [0.2, 0.8]]]))
    labels = torch.tensor([0, 1])
    expected = torch.tensor([[0.7, 0.4], [0.1, 0.8]])
    torch.testing.assert_close(confidence(logits, labels), expected)
    torch.testing.assert_close(confidence(logits[:, 0], labels), expected[:, 0])
    assert accuracy_by_step(logits, labels) == [0.5, 0.5]
    assert accuracy_by_step(logits[:1], labels[:1]) == [1.0, 0.0]


def test_configs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PatchGrid(64, 32).n = 5  # type: ignore[misc]
