from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from focusgym.recognizer import (
    Batches,
    ClassifierConfig,
    FitConfig,
    GruClassifier,
    fit_classifier,
    sequence_loss,
)


def test_the_loss_is_the_mean_over_videos_and_steps() -> None:
    logits, labels = torch.randn(3, 4, 5), torch.tensor([1, 0, 4])
    expected = 0.0
    for b in range(3):
        for t in range(4):
            exponents = [math.exp(float(z)) for z in logits[b, t]]
            expected -= math.log(exponents[labels[b]] / sum(exponents))
    assert float(sequence_loss(logits, labels)) == pytest.approx(expected / 12, rel=1e-5)


def test_batches_visit_every_video_once_an_epoch_and_are_keyed_by_seed() -> None:
    def epochs(seed: int) -> list[list[int]]:
        batches = Batches(10, lambda epoch, rows: (rows,), seed)
        return [torch.cat([rows for (rows,) in batches.epoch(e, 4)]).tolist() for e in (0, 1)]

    first, second = epochs(0)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert epochs(0) == [first, second]
    assert epochs(1)[0] != first


def make_task(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The local vector shows the label at step 1 only."""
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(3, size=n))
    local = torch.zeros(n, 3, 3)
    local[torch.arange(n), 1, labels] = 3.0
    return torch.from_numpy(rng.normal(size=(n, 3, 2))).float(), local, labels


def test_f_c_learns_and_keeps_its_best_epoch() -> None:
    torch.manual_seed(0)
    glance, local, labels = make_task(200, 0)
    held_out = make_task(100, 1)
    classifier = GruClassifier(ClassifierConfig(2, 3, 3, hidden=16, dropout=0.0))
    batches = Batches(200, lambda epoch, rows: (glance[rows], local[rows], labels[rows]), 0)
    kept = fit_classifier(classifier, batches, FitConfig(20, 20, 1e-2), held_out, "test")
    with torch.no_grad():
        logits = classifier(*held_out[:2])
    wrong = sum(int(logits[b, t].argmax()) != held_out[2][b] for b in range(100) for t in range(3))
    assert 1 <= kept.epoch <= 20
    assert kept.val_accuracy == pytest.approx(1 - wrong / 300)
    # The label is unknown at step 0 and certain from step 1 on.
    assert (logits[:, 1:].argmax(-1) == held_out[2][:, None]).float().mean() > 0.99


def test_training_that_makes_things_worse_is_undone() -> None:
    torch.manual_seed(0)
    glance, local, _ = make_task(50, 0)
    classifier = GruClassifier(ClassifierConfig(2, 3, 3, hidden=8, dropout=0.0))
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    with torch.no_grad():
        held_out = (glance, local, classifier(glance, local)[:, -1].argmax(-1))
    wrong = (held_out[2] + 1) % 3
    batches = Batches(50, lambda epoch, rows: (glance[rows], local[rows], wrong[rows]), 0)
    kept = fit_classifier(classifier, batches, FitConfig(3, 10, 1e-2), held_out, "test")
    assert (kept.epoch, kept.val_accuracy) == (0, pytest.approx(kept.val_accuracy))
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_stage_refuses_numbers_that_cannot_work() -> None:
    with pytest.raises(ValueError, match=r"epochs >= 1, .* and lr > 0; got 0, 8, 0.1"):
        FitConfig(0, 8, 0.1)
