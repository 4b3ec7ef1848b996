"""The supervised stages: encoders on full frames, stage I on pixels, f_C on features.

Each takes batches of tensors from its caller and knows nothing of files. Training here takes
minutes on a laptop: AdamW with a one-cycle schedule, where the paper has SGD with a cosine one
(appendix B.1).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from .classifier import Classifier
from .encoders import Encoder
from .geometry import PatchGrid


@dataclass(frozen=True)
class FitConfig:
    """How a stage is trained.

    Attributes:
        epochs: Passes over the training videos.
        batch_size: Videos per step.
        lr: Highest learning rate; it rises for 30 % of the steps, then falls to zero.
        weight_decay: AdamW's.

    Raises:
        ValueError: If a number is not positive.
    """

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.epochs < 1 or self.batch_size < 1 or self.lr <= 0:
            raise ValueError(
                "a stage needs epochs >= 1, batch_size >= 1 and lr > 0; got "
                f"{self.epochs}, {self.batch_size}, {self.lr}"
            )


@dataclass(frozen=True)
class Batches:
    """Shuffled batches of training videos, other ones in every epoch.

    Attributes:
        n_videos: Training videos.
        load: Gives the tensors of a batch, from the epoch's index and rows ``(B,)`` in
            ``[0, n_videos)``.
        seed: The order is keyed by (seed, epoch).
    """

    n_videos: int
    load: Callable[[int, Tensor], tuple[Tensor, ...]]
    seed: int

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield the batches of one epoch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.n_videos)
        for rows in torch.from_numpy(order).split(batch_size):
            yield self.load(epoch, rows)


@dataclass(frozen=True)
class Kept:
    """What `fit_classifier` kept.

    Attributes:
        epoch: The epoch, from 1; 0 is the state before training.
        val_accuracy: Its accuracy on the validation videos, averaged over the steps, in [0, 1].
    """

    epoch: int
    val_accuracy: float


def sequence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy averaged over videos and steps.

    Args:
        logits: ``(B, T, C)``.
        labels: ``(B,)`` int64.

    Source: AdaFocus (arXiv:2105.03245) Eq. 5.
    """
    return functional.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(logits.shape[1]))


def fit_encoder(encoder: Encoder, n_classes: int, batches: Batches, config: FitConfig) -> None:
    """Initialize an encoder by classifying videos from their full frames, in place.

    A linear head on the pooled map classifies every frame; the logits of a video's frames are
    averaged. The head is thrown away.

    Args:
        encoder: f_G or f_L.
        n_classes: C.
        batches: Gives frames ``(B, T, 3, S, S)`` uint8 and labels ``(B,)``.
        config: How.

    Source: AdaFocus (arXiv:2105.03245) appendix B.1 (initialization "using full inputs").
    """
    head = nn.Linear(encoder.channels, n_classes)

    def loss(frames: Tensor, labels: Tensor) -> Tensor:
        pooled = encoder(frames.flatten(0, 1)).mean(dim=(2, 3))
        logits = head(pooled).unflatten(0, frames.shape[:2]).mean(dim=1)
        return functional.cross_entropy(logits, labels)

    _fit([encoder, head], loss, batches, config, f"full frames: {encoder.config.name}")


def fit_local(
    local_encoder: Encoder,
    classifier: Classifier,
    grid: PatchGrid,
    batches: Batches,
    config: FitConfig,
) -> None:
    """Stage I on pixels: train f_L and f_C on given patches, f_G fixed, in place.

    Args:
        local_encoder: f_L.
        classifier: f_C.
        grid: Where the K options are.
        batches: Gives frames ``(B, T, 3, S, S)`` uint8, glance vectors ``(B, T, G)`` of the fixed
            f_G, options ``(B, T)`` and labels ``(B,)``.
        config: How.

    Source: AdaFocus (arXiv:2105.03245) Eq. 5 and appendix B.1. The paper crops at any pixel; here
        a random patch is one of the grid's options.
    """

    def loss(frames: Tensor, glance: Tensor, options: Tensor, labels: Tensor) -> Tensor:
        patches = grid.crop(frames.flatten(0, 1), options.flatten())
        local = local_encoder(patches).mean(dim=(2, 3)).unflatten(0, options.shape)
        return sequence_loss(classifier(glance, local), labels)

    _fit([local_encoder, classifier], loss, batches, config, "stage I: f_L and f_C")


def fit_classifier(
    classifier: Classifier,
    batches: Batches,
    config: FitConfig,
    validation: tuple[Tensor, Tensor, Tensor],
    name: str,
) -> Kept:
    """Train f_C on features in place, and keep the epoch that is best on validation videos.

    Best is the highest accuracy averaged over the steps, then the lowest loss. The state before
    training competes too.

    Args:
        classifier: f_C.
        batches: Gives glance vectors ``(B, T, G)``, local vectors ``(B, T, L)``, labels ``(B,)``.
        config: How.
        validation: The same tensors, of all validation videos.
        name: What the progress bar says.

    Returns:
        Which epoch was kept.

    Source: AdaFocus (arXiv:2105.03245) Eq. 5: stage I with random patches, stage III with π's.
    """
    glance, local, labels = validation

    @torch.no_grad()
    def validate() -> tuple[float, float]:
        classifier.eval()
        logits = classifier(glance, local)
        accuracy = (logits.argmax(dim=-1) == labels[:, None]).to(torch.float64).mean()
        return float(accuracy), -float(sequence_loss(logits, labels))

    best = validate()
    kept_epoch, kept = 0, copy.deepcopy(classifier.state_dict())

    def after_epoch(epoch: int) -> None:
        nonlocal best, kept_epoch, kept
        score = validate()
        if score > best:
            best, kept_epoch = score, epoch + 1
            kept = copy.deepcopy(classifier.state_dict())

    def loss(seen: Tensor, looked: Tensor, true: Tensor) -> Tensor:
        return sequence_loss(classifier(seen, looked), true)

    _fit([classifier], loss, batches, config, name, after_epoch)
    classifier.load_state_dict(kept)
    return Kept(kept_epoch, best[0])


def _fit(
    modules: list[nn.Module],
    loss_of: Callable[..., Tensor],
    batches: Batches,
    config: FitConfig,
    name: str,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> None:
    parameters = [p for module in modules for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, config.lr, weight_decay=config.weight_decay)
    steps = config.epochs * math.ceil(batches.n_videos / config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, steps)
    progress = tqdm(range(config.epochs), name, unit="epoch")
    for epoch in progress:
        for module in modules:
            module.train()
        losses = []
        for batch in batches.epoch(epoch, config.batch_size):
            loss = loss_of(*batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        progress.set_postfix(loss=f"{torch.stack(losses).mean():.3f}")
        after_epoch(epoch)
    for module in modules:
        module.eval()
