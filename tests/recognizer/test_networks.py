"""What a frame says of the true label, and configs that stay as they are."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from focusgym.recognizer import PatchGrid, accuracy_by_step, confidence


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
