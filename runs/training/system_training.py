"""The trainings of systems: in an environment, or directly on a cache."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import isnan
from typing import Any

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from ...agents import (
    DirectSystem,
    LearnedSystem,
    System,
    SystemModel,
    TaskTrace,
    make_system,
    trace_task,
    train_system,
)
from ...agents.checkpoints.on_policy import check_kept
from ...agents.systems.training import table_of
from ...envs import FeatureSource
from ...recognizer import BundleError, Policy
from ...recognizer.files.atomic import whole_file
from ..configs.train import TrainConfig
from ..evaluation.plug_back import recognizer_of
from ..evaluation.system_runs import MODEL, RECOGNIZER
from ..evaluation.trained import TRAINED
from ..folders.atomic import output_folder
from ..options.devices import device_of
from ..options.parse import UsageError, usage
from ..options.systems import keywords_of, setting_of
from .policy_run import CHECKPOINT, learning_curve, new_logs


@dataclass(frozen=True, eq=False)
class SystemTraining(ABC):
    """What trains a system into the folder of its run.

    Attributes:
        system: The recipe.
        config: Options of the verb ``train``.
        source: Cache and f_C.
    """

    system: System
    config: TrainConfig
    source: FeatureSource

    @abstractmethod
    def run(self, checkpoint_s: float) -> TaskTrace:
        """Train what learns, going on where it was interrupted, and play the test videos.

        Args:
            checkpoint_s: Least time between two checkpoints, seconds.
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what ``results.json`` holds of the training, JSON-able."""


@dataclass(frozen=True, eq=False)
class TaskTraining(SystemTraining):
    """The training of a model that decides in an environment.

    Attributes:
        system_model: The model, and the environments that it is trained in.
    """

    system_model: SystemModel

    def run(self, checkpoint_s: float) -> TaskTrace:
        """Train the model, write it, and play the test videos."""
        trained, out = self.system_model, self.config.out
        train_system(trained, out / CHECKPOINT, checkpoint_s, new_logs(out))
        with whole_file(out / MODEL) as beside, beside.open("wb") as file:
            trained.model.save(file)
        return trace_task(trained.model, trained.env_id, split="test", **trained.keywords)

    def facts(self) -> dict[str, Any]:
        """Return the mean returns, the environment, and the algorithm that loads the model."""
        returns = learning_curve(self.config.out)["mean_return"].tolist()
        mean_returns = [None if isnan(each) else each for each in returns]
        return {"mean_returns": mean_returns, "environment": environment_of(self.system_model)}


@dataclass(frozen=True, eq=False)
class DirectTraining(SystemTraining):
    """The training, if there is any, of a system that is played without an environment."""

    system: DirectSystem

    def run(self, checkpoint_s: float) -> TaskTrace:
        """Train what learns, write a recognizer where there is one, and play the test videos."""
        system, config, source = self.system, self.config, self.source
        setting, kept = setting_of(system, config.method), config.out / TRAINED
        read = system.reader(source, setting, config.seed, kept)
        adaptive = system.adaptive(source.cache.steps, setting, kept)
        if adaptive is not None:
            self._write_recognizer(adaptive.policy)
        return read(source, source.cache.split("test"))

    def facts(self) -> dict[str, Any]:
        """Return an empty dict: the setting is enough."""
        return {}

    def _write_recognizer(self, policy: Policy | None) -> None:
        """Write the recognizer that does what the system does, for any video."""
        cache = self.source.cache
        try:
            encoders = cache.encoders()
        except BundleError as error:  # the run needs none
            print(f"focusgym: no recognizer is written: {error}", file=sys.stderr)
            return
        recognizer = recognizer_of(cache, encoders, self.source.classifier, policy)
        with output_folder(self.config.out / RECOGNIZER, replace=True) as folder:
            recognizer.save(folder, cache.fingerprint)


def training_of(system: System, config: TrainConfig, source: FeatureSource) -> SystemTraining:
    """Return the training of a system; nothing is written.

    Raises:
        UsageError: If a setting means nothing, or settings do not go together.
    """
    cache = source.cache
    if isinstance(system, DirectSystem):
        with usage():
            system.check_setting(cache.steps, setting_of(system, config.method))
        return DirectTraining(system, config, source)
    if not isinstance(system, LearnedSystem):
        raise UsageError(
            f"{system.name} is neither a DirectSystem nor a LearnedSystem, which say how it is "
            "played: derive its class from one of them"
        )
    keywords = keywords_of(system, config.method, table_of(source))
    files = {
        "cache": config.cache,
        "classifier": config.classifier,
        "group": tuple(each.group.name for each in cache.opened),
    }
    with usage():
        system_model = make_system(
            system, files, keywords, cache.steps, config.seed, device_of(config.device)
        )
    if isinstance(system_model.model, OnPolicyAlgorithm):
        check_kept(system_model.model)
    return TaskTraining(system, config, source, system_model)


def environment_of(system_model: SystemModel) -> dict[str, Any]:
    """Return the id and keywords of the environment, and the algorithm that loads the model.

    Without files; JSON-able.
    """
    files = ("cache", "classifier", "group", "device")
    keywords = {name: value for name, value in system_model.keywords.items() if name not in files}
    return {
        "id": system_model.env_id,
        "algorithm": system_model.learner.algorithm,
        "keywords": keywords,
    }
