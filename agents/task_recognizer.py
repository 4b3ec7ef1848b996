"""An agent of any environment plugged back: it acts on pixels, and encoders run where it looks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..envs import PixelSource
from ..envs.tasks.registry import config_of
from ..feature_cache import FeatureCache
from ..recognizer import ExitRule, read_classifier
from .looks import Looks
from .system_recognizer import SystemRecognizer
from .task_play import Predictor, play_rules


class TaskRecognizer(SystemRecognizer):
    """f_G, f_L, f_C and an agent of an environment, on videos whose frames are all given.

    The rules of the environment, and no others, say what an action means, which segment comes next
    and when a video ends.

    Attributes, beside those of `SystemRecognizer`:
        config: The keywords of the environment.
        exits: When a video stops before the agent ends it; None for never.
    """

    def __init__(
        self,
        model: Predictor,
        env_id: str,
        *,
        precision: str = "float32",
        exits: ExitRule | None = None,
        **config: Any,
    ) -> None:
        """Read encoders and classifier.

        Args:
            model: Its ``predict`` is asked step by step, for the most probable action; see
                `play_task`.
            env_id: Such as ``focusgym/Exit-v0``.
            precision: In which the encoders compute: ``float32``, ``bfloat16`` or ``float16``.
            exits: When a video stops before the agent ends it, see `play_rules`; None for never.
            **config: Keywords of the environment that the model was trained with.

        Raises:
            TypeError: If a keyword is unknown.
            ValueError: If the id or the precision is unknown, observations are of the kind
                ``index``, by which an agent reads a cache, or the exits are of another number of
                segments than the cache's videos.
            CacheError: If the cache cannot be opened, or its encoders were changed.
            BundleError: If a bundle cannot be read, or belongs to another cache.
        """
        asked = config_of(env_id, config)
        if asked.observation == "index":
            raise ValueError(
                "expected observations of the kind map, state or maps; got index, by which an "
                "agent reads features from the cache: train it with another one to use it on pixels"
            )
        cache = FeatureCache.open(asked.cache, asked.group, asked.device, asked.videos_root)
        if exits is not None and exits.steps != cache.steps:
            raise ValueError(
                f"expected exits of {cache.steps} segments, as the cache's videos; got "
                f"{exits.steps}: solve the rule on this cache"
            )
        classifier = read_classifier(asked.classifier, cache.fingerprint, cache.root)

        def plays(source: PixelSource) -> Looks:
            return play_rules(model, asked, source, np.arange(len(source.running)), exits=exits)

        super().__init__(cache, classifier, plays, precision=precision)
        self.config = asked
        self.exits = exits
