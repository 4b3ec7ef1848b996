"""Budgets at inference: what a run predicted of its validation videos, and exits solved on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from ...agents import solve_exits
from ...agents.exits.outcome import check_costs
from ...recognizer import ExitRule, Recognition, Samples, VideoRecognizer
from ...recognizer.files.atomic import write_whole
from ...recognizer.files.declared import read_tensors
from ..options.parse import UsageError

# In the folder of a recognizer.
VALIDATION_FILE = "validation.safetensors"
_BATCH = 32


@torch.no_grad()
def write_predictions(
    folder: Path, recognize: Callable[[Tensor, Tensor], Recognition], validation: Samples
) -> None:
    """Write what a recognizer predicts of its validation videos, on which exits can be solved.

    Args:
        folder: Folder of the recognizer.
        recognize: The recognizer, without exits: of frames and draws, which it may pass over.
        validation: Frames, draws and labels.
    """
    columns: list[tuple[Tensor, ...]] = []
    rows = torch.arange(validation.n).split(_BATCH)
    loaded = validation.batches(0, rows)
    for frames, draws, labels in tqdm(loaded, "validation videos", len(rows), unit="batch"):
        recognition = recognize(frames, draws)
        columns.append((recognition.logits.cpu(), recognition.gmacs.cpu(), labels))
    names = ("logits", "gmacs", "labels")
    tensors = (torch.cat(column).contiguous() for column in zip(*columns, strict=True))
    write_whole(folder / VALIDATION_FILE, save(dict(zip(names, tensors, strict=True))))


def exits_within(folder: Path, recognizer: VideoRecognizer, budget_gmacs: float) -> ExitRule:
    """Return exits by entropy for which videos cost a budget on average.

    Args:
        folder: Folder of the recognizer.
        recognizer: That of the folder.
        budget_gmacs: Largest mean cost of a validation video.

    Raises:
        UsageError: If there are no predictions to solve them on, they are damaged or another
            recognizer's, or the budget does not pay for the first prediction.

    Source: AdaFocusV3 (arXiv:2209.13465) Eq. 7; one threshold for all predictions is ours.
    """
    path = folder / VALIDATION_FILE
    if not path.is_file():
        raise UsageError(
            f"--gmacs: {folder} has no {VALIDATION_FILE}, the predictions that exits are solved "
            "on: give a run of 'focusgym fit cubes' or 'focusgym fit end-to-end', or leave it out"
        )
    try:
        content = read_tensors(path)
        logits, costs, labels = (content[name] for name in ("logits", "gmacs", "labels"))
        expected = (recognizer.predictions, recognizer.n_classes)
        n = len(labels)
        if tuple(logits.shape) != (n, *expected) or tuple(costs.shape) != (n, expected[0]):
            raise RuntimeError(
                f"expected {expected[0]} predictions of {expected[1]} classes and a cost for each "
                f"of {n} videos; got {tuple(logits.shape)} and {tuple(costs.shape)}"
            )
        check_costs(logits, costs)
        _check_labels(labels, n, expected[1])
    except (OSError, SafetensorError, LookupError, RuntimeError, ValueError, TypeError) as error:
        raise UsageError(
            f"--gmacs: {path} is damaged: copy it again, or train the run anew ({error})"
        ) from error
    try:
        return solve_exits(logits, labels, costs, budget_gmacs, "entropy")
    except ValueError as error:  # the budget
        raise UsageError(f"--gmacs: {error}") from error


def _check_labels(labels: Tensor, n_videos: int, n_classes: int) -> None:
    if labels.dtype == torch.bool and labels.shape == (n_videos, n_classes):
        return
    if labels.dtype != torch.int64 or labels.shape != (n_videos,):
        raise ValueError(f"labels are {labels.dtype} of shape {tuple(labels.shape)}")
    if not ((labels >= 0) & (labels < n_classes)).all():
        raise ValueError(f"labels are beyond the {n_classes} classes")
