"""Told where a stage learns nothing: beside chance by hand, and at the end of a real training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from focusgym.recognizer import (
    ClassifierConfig,
    FitConfig,
    OnFeatures,
    TensorSamples,
    build_classifier,
)
from focusgym.runs.training.chance import chance_note, chance_of
from focusgym.runs.training.stages import Training


def test_chance_is_the_most_frequent_class() -> None:
    assert chance_of(torch.tensor([2, 0, 2, 2, 1])) == 0.6
    several = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 1, 1], [1, 0, 0]], dtype=torch.bool)
    assert chance_of(several) == 0.75
    assert chance_of(torch.arange(26).repeat(3)) == pytest.approx(1 / 26)


def wilson(share: float, n: int) -> float:
    """The lower end, by the formula."""
    z = 1.959964
    root = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (share + z**2 / (2 * n) - root) / (1 + z**2 / n)


@pytest.mark.parametrize("n", [40, 400])
def test_it_is_told_just_where_the_interval_reaches_chance(n: int) -> None:
    labels = torch.arange(n) % 4  # chance is a quarter
    noted = [chance_note("stage I", right / n, labels) is not None for right in range(n + 1)]
    assert noted == [wilson(right / n, n) <= 0.25 for right in range(n + 1)]
    assert noted[0]
    assert not noted[-1]


def test_what_is_told() -> None:
    labels = torch.arange(100) % 4
    assert chance_note("stage I", 0.3, labels) == (
        "stage I: 30.0 % right on 100 validation videos (95 % interval from 21.9 %), expected "
        "clearly more than the 25.0 % of always naming the most frequent class: it may have "
        "learned nothing. Try more epochs, a higher learning rate, pretrained weights, or training "
        "layers that are fixed now; and check that the labels are those of the videos."
    )
    few = chance_note("stage I", 1.0, torch.tensor([0, 1]))
    assert few is not None
    assert few.endswith(
        "So few cannot tell, even if all 2 were right: give more validation videos."
    )
    one = chance_note("stage I", 1.0, torch.zeros(50, dtype=torch.int64))
    assert one is not None
    assert one.endswith("They are all of one class: give validation videos of every class.")


@pytest.mark.parametrize("tells", [False, True])
def test_at_the_end_of_a_training(tells: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Features that are the label, or the same for all videos."""
    labels = torch.arange(60) % 3

    def load(_: int, rows: Tensor) -> tuple[Tensor, ...]:
        one_hot = torch.nn.functional.one_hot(labels[rows] * (not tells), 3).float()
        glance = one_hot[:, None].repeat(1, 2, 1)  # (B, T, G)
        return glance, torch.zeros(len(rows), 2, 2), labels[rows]

    torch.manual_seed(0)
    stage = OnFeatures(build_classifier(ClassifierConfig(3, 2, 3, hidden=8, dropout=0.0)))
    samples = TensorSamples(60, load, labels)
    settings = FitConfig(10, 10, {"classifier": 0.05}, optimizer="adamw", schedule="one_cycle")
    for known in (labels, None):  # where labels are not at hand, nothing is told
        both = samples, TensorSamples(60, load, known)
        kept = Training(stage, both, settings, [0], "stage X", lambda *_: None).run()
        assert kept.val_accuracy == (pytest.approx(1 / 3) if tells else 1.0)
        captured = capsys.readouterr()
        assert captured.out == ""
        noted = "focusgym: stage X: 33.3 % right on 60 validation videos" in captured.err
        assert noted == (tells and known is not None)
        assert ("focusgym:" in captured.err) == noted
