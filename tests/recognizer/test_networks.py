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


def small_recognizer() -> AdaptiveRecognizer:
    torch.manual_seed(3)
    glance = Encoder(EncoderConfig("small_glance", input_px=8))
    local = Encoder(EncoderConfig("small_local"))
    classifier = GruClassifier(ClassifierConfig(32, 64, 4, hidden=8))
    policy = PolicyNetwork(PolicyConfig(4, 4, 32, n_options=9, conv_channels=4, hidden=8))
    return AdaptiveRecognizer(glance, local, classifier, PatchGrid(32, 16, 3), policy)


def test_the_recognizer_is_glance_choose_crop_look_classify() -> None:
    recognizer = small_recognizer()
    frames = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8)
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
    frames = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8)
    chosen = recognizer(frames)
    again = recognizer(frames, chosen.options)
    torch.testing.assert_close(again.logits, chosen.logits)
    recognizer.policy = None
    with pytest.raises(ValueError, match="this recognizer has no policy: give it one"):
        recognizer(frames)


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
