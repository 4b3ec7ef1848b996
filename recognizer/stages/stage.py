"""What a stage is: networks that are trained, what they give for a batch, and its losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Stage(nn.Module, ABC):
    """A module from batches to outputs, whose losses are its own business.

    Outputs are logits ``(B, T, C)`` unless a stage says otherwise: one with auxiliary heads returns
    what these give too, and overrides `losses` and `logits`.

    Attributes:
        counts: Whether the samples of the batch count. Of several processes one may have none left:
            it takes one of the others' along, whose losses are multiplied by 0.
    """

    counts: bool = True

    @property
    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """What may be trained, by name."""

    def begin_epoch(self, epoch: int, n_epochs: int) -> None:  # most have none
        """Set what depends on the epoch; called before each one, after an interruption too.

        Args:
            epoch: From 0.
            n_epochs: How many epochs the training has.
        """

    def may_be_kept(self, epoch: int, n_epochs: int) -> bool:
        """Return whether the weights after an epoch are among those of which the best are kept.

        Those of the last epoch have to be.

        Args:
            epoch: From 1; 0 is the state before training.
            n_epochs: How many epochs the training has.
        """
        return True

    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        """Return the loss ``(B,)`` of each sample, to be minimised.

        Args:
            outputs: What the stage gave for a batch.
            labels: ``(B,)`` int64; or ``(B, C)`` bool, for samples with several.
        """
        return sequence_losses(self.logits(outputs), labels)

    def logits(self, outputs: Any) -> Tensor:
        """Return the logits ``(B, T, C)`` that a validation measures."""
        logits: Tensor = outputs
        return logits


def keep_fixed(network: nn.Module) -> None:
    """Put a network that is not trained into eval mode, so that gradients may pass through it."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.RNNBase):
            module.train()  # CUDA has no gradient through one in eval mode; it has no dropout


def sequence_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each sample, averaged over its steps.

    Args:
        logits: ``(B, T, C)``.
        labels: ``(B,)`` int64; or ``(B, C)`` bool, whose labels share the target equally.

    Returns:
        ``(B,)`` float32.

    Source: AdaFocus (arXiv:2105.03245) Eq. 5. For several labels the released code takes one.
    """
    logits = logits.float()
    batch, steps = logits.shape[:2]
    if labels.dtype == torch.bool:
        target = (labels / labels.sum(dim=1, keepdim=True)).repeat_interleave(steps, dim=0)
    else:
        target = labels.repeat_interleave(steps)
    losses = functional.cross_entropy(logits.flatten(0, 1), target, reduction="none")
    return losses.view(batch, steps).mean(dim=1)


def are_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``(B, T)`` bool: whether the top class is the label, or one of the labels."""
    top = logits.argmax(dim=-1)
    return labels.gather(1, top) if labels.dtype == torch.bool else top == labels[:, None]
