"""An agent of any environment plugged back: it acts on pixels, and encoders run where it looks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from ..envs import FeatureSource, FocusEngine, PixelSource
from ..envs.config import make_config
from ..envs.tasks import registry
from ..envs.tasks.make import make_task
from ..feature_cache import FeatureCache
from ..recognizer import ExitRule, read_classifier
from ..recognizer.registry import place_of
from .looks import Looks
from .saved_policy import write_sb3_policy
from .system_files import PlayedIn, plain
from .system_recognizer import SystemRecognizer
from .task_play import Predictor, play_rules

# Keywords of an environment that only its training, or its files, need.
_LEFT_OUT = (
    *("cache", "classifier", "group", "device", "videos_root", "projection_bytes"),
    *("split", "videos", "order", "seed", "reward"),
)


class TaskRecognizer(SystemRecognizer):
    """f_G, f_L, f_C and an agent of an environment, on videos whose frames are all given.

    The rules of the environment, and no others, say what an action means, which segment comes next
    and when a video ends.

    Attributes, beside those of `SystemRecognizer`:
        config: The keywords of the environment.
    """

    def __init__(
        self,
        model: Predictor,
        env_id: str,
        *,
        precision: str = "float32",
        exits: ExitRule | None = None,
        kept: Path | None = None,
        **config: Any,
    ) -> None:
        """Read encoders and classifier.

        Args:
            model: Its ``predict`` is asked step by step, for the most probable action; see
                `play_task`.
            env_id: Such as ``focusgym/Exit-v0``.
            precision: In which the encoders compute: ``float32``, ``bfloat16`` or ``float16``.
            exits: When a video stops before the agent ends it, see `play_rules`; None for never.
            kept: Folder that the model was read from, which `save` copies; None if it is one of
                Stable-Baselines3.
            **config: Keywords of the environment that the model was trained with.

        Raises:
            TypeError: If a keyword is unknown.
            ValueError: If the id or the precision is unknown, keywords do not fit the cache,
                observations are of the kind ``index``, by which an agent reads a cache, or the
                exits are of another number of segments than the cache's videos.
            CacheError: If the cache cannot be opened, or its encoders were changed.
            BundleError: If a bundle cannot be read, or belongs to another cache.
        """
        task, usual = registry.task_of(env_id)
        config = {**usual, **config}
        env_config = make_config(registry.config_class(task), config)
        if env_config.observation == "index":
            raise ValueError(
                "expected observations of the kind map, state or maps; got index, by which an "
                "agent reads features from the cache: train it with another one to use it on pixels"
            )
        cache = FeatureCache.open(
            env_config.cache, env_config.group, env_config.device, env_config.videos_root
        )
        classifier = read_classifier(env_config.classifier, cache.fingerprint, cache.root)
        super().__init__(cache, classifier, precision=precision)
        source = FeatureSource(cache, classifier)
        rules = make_task(env_config, FocusEngine(source), source.frame_cost, 1, rewarded=False)
        self._timeline = rules.timeline
        self.config = env_config
        self.exits = exits
        self._model, self._kept = model, kept
        named = {name: value for name, value in config.items() if name not in _LEFT_OUT}
        self._environment = task, named

    @property
    def can_stop(self) -> bool:
        """Whether there are several decisions: a video stops after one of them."""
        return self._timeline.n_decisions > 1

    def play(self, source: PixelSource) -> Looks:
        """Let the agent decide in all videos of a source once, by the rules of its environment."""
        videos = np.arange(len(source.running))
        return play_rules(self._model, self.config, source, videos, exits=self.exits)

    def _save_decider(self, folder: Path) -> PlayedIn:
        task, keywords = self._environment
        if task not in registry.TASKS:
            task = place_of("a task", type(self.config))
        plain_keywords = {name: plain(name, value) for name, value in keywords.items()}
        entry = PlayedIn(registry.env_id(task), plain_keywords, self.exits)
        if self._kept is not None:
            shutil.copytree(self._kept, folder)
            return entry
        if not isinstance(self._model, BaseAlgorithm):
            raise ValueError(
                "expected a model of Stable-Baselines3, whose policy is built again from its "
                f"keywords; got {type(self._model).__name__}: give the model itself"
            )
        write_sb3_policy(folder, self._model, self.cache.fingerprint)
        return entry
