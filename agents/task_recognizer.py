"""An agent of any environment plugged back: it acts on pixels, and encoders run where it looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..envs import PixelSource, pixel_sources
from ..envs.tasks.registry import config_of
from ..feature_cache import Clip, FeatureCache
from ..recognizer import ExitRule, autocast_dtype, read_classifier
from .looks import Looks
from .task_play import Predictor, play_rules


@dataclass(frozen=True, eq=False)
class TaskRecognition(Looks):
    """What an agent looked at, concluded and spent, in each of B videos.

    Attributes:
        encoder_gmacs: ``(B,)`` float64, what f_G and f_L have really computed.
    """

    encoder_gmacs: NDArray[np.float64]

    @property
    def predicted(self) -> Tensor:
        """``(B,)`` int64, the class with the largest logit at the end of each video."""
        return self.logits[:, -1].argmax(dim=1)


class TaskRecognizer:
    """f_G, f_L, f_C and an agent of an environment, on videos whose frames are all given.

    The rules of the environment, and no others, say what an action means, which segment comes next
    and when a video ends. Encoders run when their features are asked for: what the agent did not
    look at, and all that comes after its stop, is not computed.

    Attributes:
        config: The keywords of the environment.
        cache: On which f_C and the agent were trained; it says how frames are read, and holds the
            encoders.
        classifier: f_C.
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
            model: Its ``predict`` is asked step by step; see `play_task`.
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
        self.config = asked
        self.cache = FeatureCache.open(asked.cache, asked.group, asked.device, asked.videos_root)
        if exits is not None and exits.steps != self.cache.steps:
            raise ValueError(
                f"expected exits of {self.cache.steps} segments, as the cache's videos; got "
                f"{exits.steps}: solve the rule on this cache"
            )
        self.exits = exits
        self.classifier = read_classifier(asked.classifier, self.cache.fingerprint, self.cache.root)
        self._encoders = self.cache.fused_encoders()
        self._computes_in = autocast_dtype(precision)
        self._model = model

    def __call__(self, frames: Tensor, *, deterministic: bool = True) -> TaskRecognition:
        """Recognize videos.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8, or ``(B, T, F, 3, S, S)`` where a segment has several
                frames; `FeatureCache.frames` says how they are prepared.
            deterministic: Whether the agent takes its most probable action, or draws one.

        Returns:
            Predictions, where the agent looked, and what that cost.

        Raises:
            ValueError: If the frames are of another shape or dtype.
            CacheError: If features are not finite.
        """
        how = (self.cache, self.classifier, self._encoders)
        return self._play(PixelSource(*how, frames, self._computes_in), deterministic)

    def recognize(self, clips: Sequence[Clip], batch_size: int = 16) -> Iterator[TaskRecognition]:
        """Recognize video files, decoded on all cores ahead of the networks.

        Args:
            clips: Such as ``Clip(path)``, or `FeatureCache.clips` of cached videos.
            batch_size: Videos that are recognized at once.

        Yields:
            What was recognized in each batch, in order.

        Raises:
            VideoError: If a file is gone or cannot be read.
            CacheError: If features are not finite.
        """
        how = (self.cache, self.classifier, self._encoders)
        for source in pixel_sources(*how, clips, batch_size, self._computes_in):
            yield self._play(source, deterministic=True)

    def _play(self, source: PixelSource, deterministic: bool) -> TaskRecognition:
        videos = np.arange(len(source.running))
        how: Any = {"deterministic": deterministic, "exits": self.exits}
        looks = play_rules(self._model, self.config, source, videos, **how)
        return TaskRecognition(**vars(looks), encoder_gmacs=source.encoder_gmacs)
