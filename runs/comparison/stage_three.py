"""Rows of stage III: f_C fine-tuned on a policy's patches, and its control on random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..configs.compare import CompareConfig
from ..configs.fit import FitClassifierConfig, HeadConfig, TrainingConfig
from ..evaluation.trace import play, read_played
from ..evaluation.trained import find_trained
from ..options.devices import device_of
from ..training.policy_run import PLAYED
from ..training.processes import in_processes
from ..training.stage_run import fit_classifier
from .grid import PLUS, Job
from .summary import Cell

# Shares of stage I's epochs and learning rate: 10 of 50 and 5e-3 of 0.05, as on ActivityNet.
_EPOCHS, _RATE = 1 / 5, 1 / 10
STAGE_THREE = "stage_three"
_CONTROL = "stage_three_control"


@dataclass(frozen=True)
class FineTuning:
    """An f_C that is fine-tuned for a policy, which is then played with it.

    Attributes:
        job: The cell of the policy.
        name: Of the row, behind the design's.
    """

    job: Job
    name: str

    @property
    def out(self) -> Path:
        """Folder of the bundle, inside the policy's run, and of what was done with it."""
        return self.job.config.out / self.name

    @property
    def label(self) -> str:
        """Of the row."""
        return f"{self.job.design} {self.name}"


def fine_tunings(jobs: Sequence[Job], config: CompareConfig) -> list[FineTuning]:
    """Return what there is to fine-tune: for every seed of the first design, and its control."""
    if STAGE_THREE not in config.variants or not jobs:
        return []
    first = [job for job in jobs if job.design == jobs[0].design and job.design != PLUS]
    return [FineTuning(job, name) for job in first for name in (STAGE_THREE, _CONTROL)]


def run_fine_tunings(tunings: Sequence[FineTuning], config: CompareConfig) -> None:
    """Fine-tune what is not, several at a time, and play the test videos.

    Raises:
        FailedError: If something cannot be trained; the others are kept.
    """
    if not tunings:
        return
    todo = {f"{each.out}": (each, config) for each in tunings if not _played(each).is_file()}
    in_processes(_fine_tune, todo, config.jobs, "stage III", len(tunings) - len(todo))


def tuned_cells(tunings: Sequence[FineTuning]) -> list[Cell]:
    """Return what the policies did with the fine-tuned f_C."""
    return [
        Cell(
            each.label,
            each.job.group.name,
            each.job.group.places.side_px,
            each.job.config.seed,
            read_played(_played(each)),
        )
        for each in tunings
    ]


def _played(tuning: FineTuning) -> Path:
    return tuning.out.with_name(f"{tuning.name}_{PLAYED}")


def _fine_tune(tuning: FineTuning, config: CompareConfig) -> None:
    how, run, group = config.classifier, tuning.job.config, tuning.job.group
    if not tuning.out.exists():
        training = TrainingConfig(
            epochs=max(1, round(how.fit_epochs * _EPOCHS)),
            batch_size=how.fit_batch_size,
            optimizer=how.fit_optimizer,
            lr_classifier=how.fit_lr * _RATE,
            seed=run.seed,
        )
        fit_classifier(
            FitClassifierConfig(
                tuning.out,
                group.cache,
                training,
                HeadConfig(),
                (group.name,),
                run.classifier,
                run.out if tuning.name == STAGE_THREE else None,
                skip_rate=how.fit_skip_rate,
            ),
            torch.device(device_of(config.device)),
        )
    trained = find_trained(run.out, classifier=tuning.out, device=device_of(config.device))
    videos = trained.cache.split("test")
    played, _ = play(trained.engine, trained.agent, videos, trained.cost)
    played.write(_played(tuning))
