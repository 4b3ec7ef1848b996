"""A model of Stable-Baselines3, and what it was trained on: read from the file of its `save`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from ...agents import GlanceGruExtractor, ModelAgent
from ...agents.systems.algorithms import find_algorithm
from ...envs.tasks.actions import action_sets
from ...feature_cache import FeatureCache
from ...recognizer import FocusgymError, count_gmacs
from ..options.parse import UsageError
from .trained import Decider, named_or

SUFFIX = ".zip"


@dataclass(frozen=True, eq=False)
class TrainedModel(Decider):
    """A model of Stable-Baselines3 or of a library like it; its name is that of its file.

    Attributes:
        model: What its algorithm loaded.
    """

    model: BaseAlgorithm

    @property
    def agent(self) -> ModelAgent:
        """The model as an agent."""
        return ModelAgent(self.model, self.name)

    def _policy_gmacs(self) -> float:
        """Return the GMACs of a decision: those of a whole episode, by the number of its steps."""
        row = np.zeros(1, dtype=np.int64)
        # oneDNN's LSTM is one operation, which torch's counter does not know.
        onednn: Any = torch.backends.mkldnn
        enabled, onednn.enabled = onednn.enabled, False
        try:
            episode = count_gmacs(lambda: self.agent.plan(self.engine, row))
        finally:
            onednn.enabled = enabled
        return episode / self.cache.steps


def find_model(
    path: Path,
    algorithm: str | None,
    group: str | None = None,
    cache: Path | None = None,
    classifier: Path | None = None,
    videos_root: Path | None = None,
    device: str = "cpu",
) -> TrainedModel:
    """Open a model that was saved by its ``save``, and what it was trained on.

    The file holds pickles: it can run code when it is opened.

    Args:
        path: The zip file.
        algorithm: What saved it; see `find_algorithm`.
        group: Name of the cache's option group; needed where it holds several.
        cache: The feature cache; None for the folder ``cache`` beside the file.
        classifier: The bundle of f_C; None for ``classifier`` beside the file.
        videos_root: Where the folder of the cache's videos is now; see `FeatureCache.open`.
        device: Where it is played.

    Raises:
        UsageError: If the file is no model of the algorithm, or it was trained on another cache.
        CacheError: If the cache cannot be opened.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not there: give a file that a model was saved to")
    if algorithm is None:
        raise UsageError(
            f"{path} does not say which algorithm saved it: give --algorithm, such as PPO, "
            "RecurrentPPO, or module:attribute of your own"
        )
    try:
        load = find_algorithm(algorithm)  # refused before the cache is opened
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    usual = {name: path.parent / name for name in ("cache", "classifier")}
    folders = named_or(usual, path, cache, classifier)
    features = FeatureCache.open(folders["cache"], group, device, videos_root)
    advice = "give the --algorithm that it was saved by, and install what its policy is made of"
    model = load_model(path, load, device, advice)
    _check_spaces(path, model, features)
    return TrainedModel(path.stem, features, folders["classifier"], model)


def load_model(
    path: Path, algorithm: type[BaseAlgorithm], device: str, advice: str
) -> BaseAlgorithm:
    """Open the file of a model's ``save``, which can run code.

    Args:
        path: The zip file.
        algorithm: Name of the algorithm that saved it.
        device: Where it is played.
        advice: What to do if it cannot be opened.

    Raises:
        UsageError: If the file is no model of it.
    """
    try:
        return algorithm.load(path, device=device)
    except FocusgymError:
        raise
    except Exception as error:  # unpickling does anything
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(
            f"{path} cannot be opened as a model of {algorithm.__name__} ({message:.300}): {advice}"
        ) from error


def _check_spaces(path: Path, model: BaseAlgorithm, cache: FeatureCache) -> None:
    """Check that a model plays on a cache."""
    seen, acts, k = model.observation_space, model.action_space, cache.n_options
    maps = (int(np.prod(cache.map_shape)),)
    sees = set(seen) == {"video", "t"} if isinstance(seen, spaces.Dict) else seen.shape == maps
    known = [each.space for each in action_sets(k)]
    if not sees or acts not in known:
        raise UsageError(
            f"{path} sees {seen} and acts in {acts}; on {cache.root} ({cache.group.name}) expected "
            f"glance maps {maps}, or video and t, and {known[0]}, {known[1]} or {known[2]}: give "
            "the --cache and --group that it was trained on"
        )
    for part in model.policy.modules():
        if isinstance(part, GlanceGruExtractor) and part.cache.fingerprint != cache.fingerprint:
            raise UsageError(
                f"{path} was trained on cache {part.cache.fingerprint} ({part.cache.root}), but "
                f"{cache.root} is cache {cache.fingerprint}: give the --cache and --group that it "
                "was trained on"
            )
