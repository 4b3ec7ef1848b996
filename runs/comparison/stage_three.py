"""Rows of stage III: f_C fine-tuned on a policy's patches, and its control on random ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...agents import read_policy
from ...feature_cache import FeatureCache
from ..configs.compare import CompareConfig
from ..configs.stages import TrainingConfig
from ..evaluation.trace import play, read_played
from ..evaluation.trained import find_trained, policy_folder
from ..executors.units import Executor, Unit
from ..folders.atomic import output_folder
from ..options.devices import device_of
from ..options.parse import settings_of
from ..training.policy_run import PLAYED
from ..training.quickstart_steps import make_finetuned
from .grid import PLUS, Job, reads_of
from .summary import Cell

# Shares of stage I's epochs and learning rate: 10 of 50 and 5e-3 of 0.05, as on ActivityNet.
_EPOCHS, _RATE = 1 / 5, 1 / 10
STAGE_THREE = "stage_three"
# Rows, by the bundles that `make_finetuned` writes; the names stand behind the design's.
_ROWS = {"adafocus": STAGE_THREE, "random": f"{STAGE_THREE}_control"}


def tuned_jobs(jobs: Sequence[Job], config: CompareConfig) -> list[Job]:
    """Return the cells whose f_C is fine-tuned: every seed of the first design, if asked."""
    if STAGE_THREE not in config.variants or not jobs:
        return []
    return [job for job in jobs if job.design == jobs[0].design and job.design != PLUS]


def tuned_rows(jobs: Sequence[Job]) -> list[str]:
    """Return the labels of the rows of these cells."""
    return [*dict.fromkeys(f"{job.design} {name}" for job in jobs for name in _ROWS.values())]


def fine_tune(jobs: Sequence[Job], config: CompareConfig, do: Executor) -> None:
    """Fine-tune what is not, several at a time, and play the test videos.

    Raises:
        FailedError: If something cannot be trained; the others are kept.
    """
    if not jobs:
        return
    todo = {
        f"{job.config.out / STAGE_THREE}": Unit(
            (job, config),
            job.config.out,
            reads_of(job.group.cache, config, job.group.classifier(job.config.seed)),
        )
        for job in jobs
        if not all(_played(job, name).is_file() for name in _ROWS.values())
    }
    do(_fine_tune, todo, "stage III", len(jobs) - len(todo))


def tuned_cells(jobs: Sequence[Job]) -> list[Cell]:
    """Return what the policies did with the fine-tuned f_C."""
    return [
        Cell(
            f"{job.design} {name}",
            job.group.name,
            job.group.places.side_px,
            job.config.seed,
            read_played(_played(job, name)),
        )
        for job in jobs
        for name in _ROWS.values()
    ]


def _played(job: Job, name: str) -> Path:
    return job.config.out / f"{name}_{PLAYED}"


def _fine_tune(job: Job, config: CompareConfig) -> None:
    how, run, device = config.classifier, job.config, device_of(config.device)
    assert run.classifier is not None  # each cell has one
    out = run.out / STAGE_THREE
    if not out.exists():
        training = TrainingConfig(
            epochs=max(1, round(how.fit_epochs * _EPOCHS)),
            batch_size=how.fit_batch_size,
            optimizer=how.fit_optimizer,
            lr_classifier=how.fit_lr * _RATE,
        )
        cache = FeatureCache.open(job.group.cache, job.group.name, device)
        policy = read_policy(policy_folder(run.out), cache.fingerprint, cache.root).to(device)
        settings = settings_of(training, ("classifier",))
        with output_folder(out) as partial:
            partial.rmdir()  # it is there for what follows to create
            make_finetuned(
                partial, cache, run.classifier, policy, settings, how.fit_skip_rate, run.seed
            )
    for bundle, name in _ROWS.items():
        trained = find_trained(run.out, classifier=out / bundle, device=device)
        played, _ = play(trained.engine, trained.agent, trained.cache.split("test"), trained.cost)
        played.write(_played(job, name))
