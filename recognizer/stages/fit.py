"""The loop that trains a stage."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..classifiers.base import KeyedDropout
from ..devices import staged
from ..errors import FocusgymError
from .config import FitConfig
from .processes import are_same, data_parallel, rank_and_world, share_buffers, share_of, total
from .progress import Progress, StageCheckpoint
from .samples import Samples, shuffled
from .stage import Stage, are_correct, keep_fixed
from .steps import Stepper


class FitError(FocusgymError):
    """A stage cannot be trained on; the message says why and what to do."""


@dataclass(frozen=True)
class Fitted:
    """What a stage has become.

    Attributes:
        epoch: The epoch whose weights were kept, from 1; 0 is the state before training.
        val_accuracy: Its accuracy on the validation samples, averaged over the steps, in [0, 1].
        val_loss: Mean loss on the validation samples at that epoch.
    """

    epoch: int
    val_accuracy: float
    val_loss: float


def fit(
    stage: Stage,
    train: Samples,
    validation: Samples,
    config: FitConfig,
    *,
    name: str,
    seed: Sequence[int],
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_s: float = 60.0,
    identity: str = "",
) -> Fitted:
    """Train networks of a stage in place, and keep the epoch that is best on validation samples.

    Best is the highest accuracy averaged over the steps, then the lowest loss, of the epochs that
    the stage lets compete; the state before training does too, unless it says otherwise. Order and
    dropout are keyed by seed, epoch and sample.

    In a process group (see `process_group`) every process trains on its part of each batch, through
    torch's DistributedDataParallel, and all end with the same weights: those of one process, within
    rounding, if BatchNorms are frozen. Else each process normalises its own part, and the first
    one's statistics are kept.

    Args:
        stage: The stage, on the device where it is trained.
        train: The training samples.
        validation: Samples to select on: of another split than is reported.
        config: Epochs, batches, learning rates and the like.
        name: What the progress bar says.
        seed: One or more numbers.
        checkpoint: A file that is written as the training goes on. If it is there, the training
            goes on from it, as if it had not been interrupted: bit for bit on the same machine with
            the same number of threads.
        checkpoint_s: Seconds between two checkpoints; one is written after every epoch too.
        identity: Of what is trained on what, for the checkpoint, such as a fingerprint.

    Returns:
        Which epoch was kept, and how good it is.

    Raises:
        ValueError: If ``config.lr`` names a network that the stage does not have.
        FitError: If there are no samples, or the loss is not finite.
        CheckpointError: If the checkpoint is damaged, of another training, or cannot be written.
    """
    unknown = sorted(set(config.lr) - set(stage.networks))
    if unknown:
        raise ValueError(
            f"lr names {', '.join(unknown)}, this stage has {', '.join(stage.networks)}: name "
            "those that are to be trained"
        )
    if not train.n or not validation.n:
        raise FitError(
            f"{name}: there are {train.n} training and {validation.n} validation samples: give "
            "splits that have videos"
        )
    rank, world = rank_and_world()
    device = next(stage.parameters()).device
    if config.lr_factor != 1 and rank == 0:
        rates = ", ".join(f"{network} {rate:g}" for network, rate in config.scaled_lr.items())
        tqdm.write(
            f"{name}: batches of {config.batch_size} instead of {config.lr_batch_size}: learning "
            f"rates times {config.lr_factor:g}: {rates}"
        )
    with _only(stage, config):
        parts = {part: network for part, network in stage.networks.items() if part in config.lr}
        n_batches = math.ceil(train.n / config.batch_size)
        stepper = Stepper(nn.ModuleDict(parts), config, config.epochs * n_batches)
        progress = Progress(stepper, config.epochs, n_batches)
        samples = [train.n, validation.n]
        what = {"config": asdict(config), "seed": [*seed], "samples": samples, "of": identity}
        saved = StageCheckpoint(checkpoint, checkpoint_s, progress, what)
        model = data_parallel(stage, device)  # from here on all have the first one's weights
        resumed = saved.load()
        if not are_same((resumed, progress.epoch, progress.step)):
            raise FitError(
                f"{name}: not all processes found the same checkpoint {checkpoint}: let all "
                "machines see one folder"
            )
        if not resumed:
            score = validate(stage, validation, config, device)
            progress.consider(0, _ranked(stage, 0, config, score))
        epochs = range(progress.epoch, config.epochs)
        quiet: dict[str, Any] = {"disable": True} if rank else {}
        bar = tqdm(epochs, name, config.epochs, initial=progress.epoch, unit="epoch", **quiet)
        for epoch in bar:
            stage.begin_epoch(epoch, config.epochs)
            _train_mode(stage, config)
            batches = shuffled(train.n, config.batch_size, [*seed, epoch])[progress.step :]
            shares = [share_of(rows, rank, world) for rows in batches]
            losses = []
            loaded = staged(train.batches(epoch, [rows for rows, _ in shares]), device)
            for all_rows, (rows, weight), batch in zip(batches, shares, loaded, strict=True):
                *inputs, labels = batch
                stage.counts = weight > 0
                with stepper.autocast(), _keyed_dropout(stage, [*seed, epoch], rows):
                    each = losses_of(stage, model(*inputs), labels)
                loss = each.sum() * (weight / len(all_rows))
                stepper.step(loss * world)  # what is averaged over the processes is to be summed
                losses.append(loss.detach())
                progress.step += 1
                if rank == 0 and progress.step < n_batches:  # a whole epoch is saved below
                    saved.save_if_due()
            mean = float(total(torch.stack(losses).double().mean()))
            if not math.isfinite(mean):
                raise FitError(
                    f"{name}: the loss of epoch {epoch + 1} is {mean}: lower the learning rates, "
                    "or compute in float32; checkpoints of the epochs before stay as they are"
                )
            progress.epoch, progress.step = epoch + 1, 0
            share_buffers(stage)
            score = validate(stage, validation, config, device)
            progress.consider(epoch + 1, _ranked(stage, epoch + 1, config, score))
            bar.set_postfix(loss=f"{mean:.3f}", val=f"{100 * score[0]:.1f} %")
            if rank == 0:
                saved.save()
        progress.restore_best()
    return Fitted(progress.best_epoch, progress.best_score[0], -progress.best_score[1])


@torch.no_grad()
def validate(
    stage: Stage, samples: Samples, config: FitConfig, device: torch.device
) -> tuple[float, float]:
    """Return accuracy and negative loss of a stage, averaged over samples and steps."""
    stage.eval()
    rank, world = rank_and_world()
    rows = torch.arange(rank, samples.n, world).split(config.batch_size)
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    for batch in staged(samples.batches(0, [some for some in rows if len(some)]), device):
        *inputs, labels = batch
        outputs = stage(*inputs)
        correct = are_correct(stage.logits(outputs).float(), labels)
        sums[0] += correct.sum()  # counts are exact: the loss decides where they are equal
        sums[1] += correct.numel()
        sums[2] -= losses_of(stage, outputs, labels).double().sum()
    n_correct, n_predictions, minus_loss = total(sums).tolist()
    return n_correct / n_predictions, minus_loss / samples.n


def losses_of(stage: Stage, outputs: Any, labels: Tensor) -> Tensor:
    """Return the losses ``(B,)`` of a stage, which may be a user's own.

    Raises:
        FitError: If they are of another shape.
    """
    losses = stage.losses(outputs, labels)
    if losses.shape != labels.shape[:1]:
        raise FitError(
            f"{type(stage).__name__}.losses: expected ({len(labels)},), a loss for each sample; "
            f"got {tuple(losses.shape)}: give reduction='none', and average over steps"
        )
    return losses


def _ranked(
    stage: Stage, epoch: int, config: FitConfig, score: tuple[float, float]
) -> tuple[float, float]:
    """Return a score, behind all others if the epoch's weights may not be kept."""
    accuracy, minus_loss = score
    return accuracy if stage.may_be_kept(epoch, config.epochs) else accuracy - 2, minus_loss


@contextmanager
def _only(stage: Stage, config: FitConfig) -> Iterator[None]:
    """Let gradients flow to the networks that are trained, and no others; eval mode at the end."""
    before = {p: p.requires_grad for p in stage.parameters()}
    for name, network in stage.networks.items():
        network.requires_grad_(name in config.lr)
    try:
        yield
    finally:
        stage.eval()
        for parameter, required in before.items():
            parameter.requires_grad_(required)


def _train_mode(stage: Stage, config: FitConfig) -> None:
    stage.train()
    for name, network in stage.networks.items():
        if name not in config.lr:
            keep_fixed(network)
        elif config.freeze_batch_norm:
            for module in network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()


@contextmanager
def _keyed_dropout(stage: Stage, key: Sequence[int], rows: Tensor) -> Iterator[None]:
    """Key the masks of a batch by seed, epoch and sample."""
    dropouts = [module for module in stage.modules() if isinstance(module, KeyedDropout)]
    for index, dropout in enumerate(dropouts):
        dropout.keys = [[*key, index, row] for row in rows.tolist()]
    try:
        yield
    finally:
        for dropout in dropouts:
            dropout.keys = None
