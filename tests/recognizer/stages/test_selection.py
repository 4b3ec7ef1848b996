"""Which epoch is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from stage_trainings import (
    FEATURES,
    N_TRAIN,
    N_VAL,
    C,
    assert_equal,
    feature_samples,
    make_features,
    make_on_features,
    train,
    weights_of,
)
from torch import Tensor, nn

from focusgym.recognizer import FitConfig, Fitted, Stage, TensorSamples, fit


class Scripted(Stage):
    """Says on validation samples what it was told to, one answer for each time it is asked.

    Its only weight counts the epochs.
    """

    def __init__(self, answers: Sequence[Tensor]) -> None:
        super().__init__()
        self.part = nn.ParameterList([torch.zeros(1)])
        self._answers = iter(answers)

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"classifier": self.part}

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return next(self._answers)
        up = self.part[0].expand(len(x), 1)
        return torch.stack([up, -up], dim=2)  # (B, 1, 2): a step makes label 0 more likely


def keep(answers: Sequence[Tensor], labels: Tensor) -> tuple[Fitted, int]:
    """Train a scripted stage; return what was kept, and of which epoch its weight is."""
    stage: Any = Scripted(answers)
    train_samples = TensorSamples(1, lambda epoch, rows: (rows, torch.zeros(1, dtype=torch.int64)))
    held_out = TensorSamples(len(labels), lambda epoch, rows: (rows, labels[rows]))
    config = FitConfig(
        len(answers) - 1, len(labels), {"classifier": 1.0}, momentum=0, nesterov=False
    )
    weights: list[float] = []

    def note(module: Any, inputs: object) -> None:
        if not module.training:
            weights.append(module.part[0].detach().item())

    stage.register_forward_pre_hook(note)
    kept = fit(stage, train_samples, held_out, config, name="test", seed=[0])
    assert weights == sorted(set(weights)), "every epoch has weights of its own"
    return kept, weights.index(stage.part[0].detach().item())


def logits_of(right: Sequence[Sequence[bool]], surely: float, n_classes: int = 2) -> Tensor:
    """Return logits of which those marked are right for label 0, and how sure they are."""
    logits = torch.zeros(len(right), len(right[0]), n_classes)
    for row, steps in enumerate(right):
        for t, is_right in enumerate(steps):
            logits[row, t, 0 if is_right else 1] = surely
    return logits


ONE, TWO, THREE = ([[i < n] for i in range(4)] for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("script", "best"),
    [
        ([(ONE, 1), (TWO, 1), (THREE, 1), (TWO, 1)], 2),  # the later one is worse
        ([(THREE, 1), (TWO, 1), (ONE, 1)], 0),  # the state before training competes
        ([(ONE, 1), (TWO, 1), (TWO, 1)], 1),  # of equals the first
        ([(ONE, 1), (THREE, 3), (THREE, 1), (THREE, 2)], 2),  # accuracy, then loss
        ([(ONE, 0.1), (TWO, 5), (ONE, 0.1)], 1),  # accuracy before loss
        ([(THREE, 2), (THREE, 1)], 1),
    ],
)
def test_the_best_is_kept(script: list[tuple[list[list[bool]], float]], best: int) -> None:
    """Three right, one wrong, more surely: a higher loss; by hand from the softmax of two."""
    kept, epoch = keep([logits_of(*each) for each in script], torch.zeros(4, dtype=torch.int64))
    right, surely = script[best]
    n_right = sum(row[0] for row in right)
    loss = [math.log(1 + math.exp(-surely if row[0] else surely)) for row in right]
    assert (kept.epoch, epoch) == (best, best)
    assert kept.val_accuracy == n_right / 4
    assert kept.val_loss == pytest.approx(sum(loss) / 4, rel=1e-6)


def test_equal_accuracies_are_equal() -> None:
    """As many predictions right, of other samples and steps: the lower loss is kept.

    Summed as thirds, in float64, 9 of 21 have several values.
    """
    rng = np.random.default_rng(0)
    orders = [rng.permutation(21).reshape(7, 3) < 9 for _ in range(20)]
    sums = [float(torch.from_numpy(right).double().mean(1).sum()) for right in orders]
    assert len(set(sums)) > 1
    falling = sorted(range(20), key=lambda i: -sums[i])
    script = [logits_of(orders[i].tolist(), 1 - 0.01 * place) for place, i in enumerate(falling)]
    kept, epoch = keep(script, torch.zeros(7, dtype=torch.int64))
    assert (kept.epoch, epoch, kept.val_accuracy) == (19, 19, 9 / 21)


def test_one_of_several_labels_is_right() -> None:
    """Of (video, step): class 0 is never a label; videos 1 and 2 have two each."""
    labels = torch.tensor([[0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=torch.bool)
    logits = torch.zeros(3, 2, 4)
    for video, step, top in [(0, 0, 1), (0, 1, 2), (1, 0, 2), (1, 1, 1), (2, 0, 0), (2, 1, 3)]:
        logits[video, step, top] = 1.0
    kept, _ = keep([logits, torch.zeros(3, 2, 4)], labels)
    assert (kept.epoch, kept.val_accuracy) == (0, 4 / 6)
    # −Σ target·log softmax, target 1 or ½: of the top class it is z − 1, of the others z.
    z = math.log(math.e + 3)
    losses = [(z - 1) + z, (z - 0.5) + (z - 0.5), z + (z - 0.5)]
    assert kept.val_loss == pytest.approx(sum(losses) / 6, rel=1e-6)


def test_training_that_makes_things_worse_is_undone() -> None:
    stage = make_on_features()
    glance, local, _ = make_features(N_TRAIN)
    with torch.no_grad():
        says_now = stage(glance, local)[:, -1].argmax(-1)

    def samples(labels: Tensor) -> TensorSamples:
        return TensorSamples(N_TRAIN, lambda epoch, rows: (glance[rows], local[rows], labels[rows]))

    before = weights_of(stage)
    kept = fit(
        stage, samples((says_now + 1) % C), samples(says_now), FEATURES, name="test", seed=[0]
    )
    assert kept.epoch == 0
    assert_equal(weights_of(stage), before)


def test_a_longer_training_is_not_worse() -> None:
    """What is returned is what the weights give: accuracy and loss again, from the stage alone."""
    stage, untrained = make_on_features(), make_on_features()
    kept = train(stage, FitConfig(12, 5, {"classifier": 0.1}))
    glance, local, labels = feature_samples(N_VAL).load(0, torch.arange(N_VAL))
    with torch.no_grad():
        p, before = (each(glance, local).softmax(-1) for each in (stage, untrained))
    true = torch.stack([p[i, :, labels[i]] for i in range(N_VAL)])
    assert kept.val_accuracy == pytest.approx((p.argmax(-1) == labels[:, None]).double().mean())
    assert kept.val_loss == pytest.approx(float(-true.log().mean()), rel=1e-5)
    assert kept.val_accuracy >= (before.argmax(-1) == labels[:, None]).double().mean()
