"""Runs of systems, opened again: played on a cache, and plugged back into the video files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor
from tqdm import tqdm

from ...agents import (
    DirectRecognizer,
    DirectSystem,
    System,
    SystemRecognizer,
    TaskRecognizer,
    TaskTrace,
    find_system,
    trace_task,
)
from ...agents.systems.algorithms import find_algorithm
from ...agents.systems.direct_system import Reader
from ...envs import EnvConfig, FeatureSource, make_sb3, open_source
from ...envs.tasks.registry import config_of
from ...feature_cache import read_many
from ...recognizer import FocusgymError, in_words
from ...recognizer.files.documents import read_json
from ...recognizer.files.typed import typed_value
from ...recognizer.registry import NotImported
from ..folders.atomic import OutputError
from ..folders.run_folder import RESULTS, is_run, stored_settings, verb_of
from ..options.parse import UsageError
from ..options.presets import CONFIG
from ..options.systems import groups_of_system
from .models import load_model
from .outcome import Outcome
from .plug_back import BATCH, parity
from .systems import of_fed, outcome_of, system_results
from .trained import TRAINED

MODEL = "model.zip"
RECOGNIZER = "recognizer"  # folder of its recognizer, for any video


@dataclass(frozen=True, eq=False)
class SystemRun(ABC):
    """A finished run of ``focusgym train --system``.

    Attributes:
        name: Name of the run's row.
        source: Its cache and f_C.
        system: The recipe.
    """

    name: str
    source: FeatureSource
    system: System

    def rows(self, split: str, *, pixels: bool) -> list[dict[str, Any]]:
        """Return the rows of results for a split.

        One on the cache, and a second on the video files if these are read and the cache is only
        approximate.

        Args:
            split: Split of the cache whose videos are played.
            pixels: Whether the video files are read too, and the predictions compared; not of a
                system of random places, which looks elsewhere on them.

        Raises:
            VideoError: If a video is missing, was replaced, or cannot be read.
        """
        cache = self.source.cache
        videos = cache.split(split)
        trace = self.watch(videos)
        pixels = pixels and not self.system.random_places
        row: dict[str, Any] = system_results(self.name, trace, cache)["test"]
        if pixels:
            logits = torch.cat(list(self._on_pixels(videos)))
            row["parity"] = parity(logits, trace.logits, cache.labels[videos])
        if not pixels or not self.system.approximate:
            return [row]
        name = f"{self.name} on pixels"
        return [row, system_results(name, replace(trace, logits=logits), cache)["test"]]

    def outcome(self, videos: NDArray[np.int64]) -> Outcome:
        """Return what comes of different rows of the cache ``(B,)``, look by look; see `of_fed`."""
        return outcome_of(of_fed(self.watch(videos)), self.source.cache)

    @abstractmethod
    def watch(self, videos: NDArray[np.int64]) -> TaskTrace:
        """Return what it does in different rows of the cache ``(B,)``."""

    @abstractmethod
    def recognizer(self, precision: str = "float32") -> SystemRecognizer:
        """Return what recognizes any video.

        Args:
            precision: In which the encoders compute: ``float32``, ``bfloat16`` or ``float16``.

        Raises:
            ValueError: If the precision is unknown.
            BundleError, CacheError: If an encoder cannot be read, or was changed.
        """

    def on_frames(self) -> Callable[[Tensor], Tensor]:
        """Return what gives the logits ``(B, T, C)`` of videos, encoders running where it looks.

        It takes frames ``(B, T, 3, S, S)`` uint8, or with F behind T; `FeatureCache.frames` says
        how they are prepared.
        """
        recognizer = self.recognizer()
        return lambda frames: recognizer.look(frames).logits

    def _on_pixels(self, videos: NDArray[np.int64]) -> Iterator[Tensor]:
        """Yield logits ``(B, T, C)`` of the video files, batch by batch."""
        cache, recognize = self.source.cache, self.on_frames()
        clips = cache.clips(videos)
        decoded = read_many(clips, cache.frames)
        with tqdm(total=len(clips), desc=f"{self.name} on pixels", unit="video") as bar:
            while batch := [frames for frames, _ in islice(decoded, BATCH)]:
                yield recognize(torch.stack(batch))
                bar.update(len(batch))


@dataclass(frozen=True, eq=False)
class DirectRun(SystemRun):
    """A run of a system that is played without an environment.

    Attributes:
        known_as: The name by which `find_system` finds the system.
        setting: Setting of the system.
        seed: Seed of the training of the system.
        kept: Folder of what it has learned.
    """

    system: DirectSystem
    known_as: str
    setting: float
    seed: int
    kept: Path

    @cached_property
    def reader(self) -> Reader:
        """What reads videos."""
        return self.system.reader(self.source, self.setting, self.seed, self.kept)

    def watch(self, videos: NDArray[np.int64]) -> TaskTrace:
        """Return what it reads in different rows of the cache ``(B,)``."""
        return self.reader(self.source, videos)

    def recognizer(self, precision: str = "float32") -> DirectRecognizer:
        """Return what recognizes any video; see `SystemRun`."""
        how = (self.known_as, self.source, self.setting, self.seed, self.kept)
        return DirectRecognizer(self.system, *how, precision=precision, reader=self.reader)


@dataclass(frozen=True, eq=False)
class TaskRun(SystemRun):
    """A run of a system that decides in an environment.

    Attributes:
        model: The policy that decides.
        env_id: The environment's id.
        keywords: Those of the environment, files included.
    """

    model: BaseAlgorithm
    env_id: str
    keywords: Mapping[str, Any]

    def watch(self, videos: NDArray[np.int64]) -> TaskTrace:
        """Return what it decides in different rows of the cache ``(B,)``."""
        return trace_task(self.model, self.env_id, rows=videos, **self.keywords)

    def recognizer(self, precision: str = "float32") -> TaskRecognizer:
        """Return what recognizes any video; see `SystemRun`."""
        return TaskRecognizer(self.model, self.env_id, **self.keywords, precision=precision)


def is_system_run(path: Path) -> bool:
    """Say whether a folder is a run of a system, finished or not.

    A run of another verb does not count.
    """
    if not is_run(path) or verb_of(path) != "train":
        return False
    return stored_settings(path, "train").get("system") is not None


def find_system_run(path: Path, videos_root: Path | None = None, device: str = "cpu") -> SystemRun:
    """Open a run of a system, and what it was trained on.

    Args:
        path: The run's folder. Its model file can run code when it is opened.
        videos_root: Where the folder of the cache's videos is now; see `FeatureCache.open`.
        device: Where it is played.

    Raises:
        UsageError: If the run is not finished, or its model cannot be opened, or plays something
            else than the run's environment; or if the run names something in a module of
            somebody's own that was not imported before.
        OutputError: If a file of the run is damaged.
        CacheError, BundleError: If cache or classifier cannot be opened.
    """
    options = stored_settings(path, "train")
    if not (path / RESULTS).is_file():
        raise UsageError(
            f"{path} is a run that is not finished: `focusgym train {path} --resume` goes on"
        )
    try:
        system = find_system(options["system"], trusted=False)
        files = {name: options[name] for name in ("cache", "classifier")}
    except ValueError as error:
        raise UsageError(f"{path / CONFIG}: {error}") from error
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{path / CONFIG} does not say what was trained ({in_words(error)})"
        ) from error
    try:
        results = read_json(path / RESULTS)
        groups, seed = tuple(options["group"]), options["seed"]
        setting, environment = results.get("setting"), results.get("environment")
        if isinstance(system, DirectSystem):
            setting = typed_value(float, setting, "setting")
        elif environment is None:
            raise ValueError("there is no environment in it")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    groups = groups_of_system(system, Path(files["cache"]), groups)
    files |= {"group": groups, "device": device, "videos_root": videos_root}
    source = open_source(EnvConfig(**files))
    if isinstance(system, DirectSystem):
        return _direct_run(path, source, system, options["system"], setting, seed)
    return _task_run(path, source, system, environment, files)


def _direct_run(
    path: Path,
    source: FeatureSource,
    system: DirectSystem,
    known_as: str,
    setting: float,
    seed: int,
) -> DirectRun:
    # What is gone would be trained again, with other settings perhaps.
    kept = path / TRAINED
    if system.keeps and not (kept / "bundle.json").is_file():
        raise OutputError(
            f"{kept}, what {system.name} has learned, is gone: put it back, or train the system "
            "again"
        )
    run = DirectRun(path.resolve().name, source, system, known_as, setting, seed, kept)
    try:
        _ = run.reader
    except FocusgymError:
        raise
    except ValueError as error:  # an invalid setting
        raise _damaged(path, error) from error
    return run


def _task_run(
    path: Path,
    source: FeatureSource,
    system: System,
    environment: Mapping[str, Any],
    files: Mapping[str, Any],
) -> TaskRun:
    try:
        # No reward is told, so none that the file names is sought.
        keywords = {**environment["keywords"], **files, "reward": "confidence"}
        env_id, algorithm_name = environment["id"], environment["algorithm"]
        # No others, such as how many environments there are.
        config_of(env_id, keywords, trusted=False)
        env = make_sb3(env_id, **keywords)
    except FocusgymError:
        raise
    except NotImported as error:
        raise UsageError(f"{path / RESULTS}: environment: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    try:
        algorithm = find_algorithm(algorithm_name, trusted=False)
    except ValueError as error:
        raise UsageError(f"{path / RESULTS}: environment: {error}") from error
    device = str(files["device"])
    model = load_model(path / MODEL, algorithm, device, "put it back, or train the system again")
    for of_model, of_env in (
        (model.observation_space, env.observation_space),
        (model.action_space, env.action_space),
    ):
        if of_model != of_env:
            raise UsageError(
                f"{path / MODEL} does not play {env_id}, which {path / RESULTS} names: expected "
                f"{of_env}; got {of_model}: put both files back, or train the system again"
            )
    return TaskRun(path.resolve().name, source, system, model, env_id, keywords)


def _damaged(run: Path, error: Exception) -> OutputError:
    return OutputError(
        f"{run / RESULTS} does not say what the system reads ({in_words(error)}): it was damaged, "
        "or written by another version; put it back, or train the system again"
    )
