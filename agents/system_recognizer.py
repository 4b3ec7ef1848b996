"""Any system plugged back: it decides on pixels, and encoders run where it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import PixelSource, pixel_sources
from ..envs.engine.source import cached_cost
from ..feature_cache import CacheError, Clip, FeatureCache
from ..recognizer import (
    Classifier,
    FrameCost,
    PredictionError,
    Recognition,
    VideoRecognizer,
    autocast_dtype,
)
from ..recognizer.pipeline.checks import check_finite
from .looks import Looks
from .systems.system import Reader

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

Plays = Callable[[PixelSource], Looks]


@dataclass(frozen=True, eq=False)
class SystemRecognition(Looks):
    """What a system looked at, concluded and spent, in each of B videos.

    Attributes:
        encoder_gmacs: ``(B,)`` float64, what f_G and f_L have really computed.
    """

    encoder_gmacs: NDArray[np.float64]

    @property
    def predicted(self) -> Tensor:
        """``(B,)`` int64, the class with the largest logit at the end of each video."""
        return self.logits[:, -1].argmax(dim=1)


class SystemRecognizer(VideoRecognizer):
    """f_G, f_L, f_C and what decides, on videos whose frames are all given.

    Encoders run when their features are asked for: what the system does not look at, and all that
    comes after its stop, is not computed. Networks stay on the device of the cache.

    Attributes, beside those of `VideoRecognizer`:
        cache: On which f_C and the system were trained; it says how frames are read, and holds the
            encoders. None of its features is read.
        classifier: f_C.
    """

    def __init__(
        self,
        cache: FeatureCache,
        classifier: Classifier,
        plays: Plays,
        *,
        precision: str = "float32",
    ) -> None:
        """Read the encoders.

        Args:
            cache: On which f_C and the system were trained; opened where networks are to compute.
            classifier: f_C.
            plays: Plays all videos of a source of pixels once.
            precision: In which the encoders compute: ``float32``, ``bfloat16`` or ``float16``.

        Raises:
            ValueError: If the precision is unknown.
            BundleError, CacheError: If an encoder cannot be read, or was changed.
        """
        how: dict[str, Any] = {"frames": cache.frames, "classes": cache.classes}
        super().__init__(cache.n_classes, **how, precision=precision)
        self.cache = cache
        self.classifier = classifier.to(cache.device).eval()
        self._encoders = cache.fused_encoders()
        self._plays = plays
        self._cost: FrameCost | None = None

    @classmethod
    def reading(
        cls, cache: FeatureCache, classifier: Classifier, reader: Reader, *, precision: str
    ) -> SystemRecognizer:
        """Return that of a system without an environment; see `DirectSystem.reader`."""
        return SystemRecognizer(
            cache,
            classifier,
            lambda source: reader(source, np.arange(len(source.running))),
            precision=precision,
        )

    @property
    def device(self) -> torch.device:
        """Where the cache was opened."""
        return self.cache.device

    @property
    def cost(self) -> FrameCost:
        """GMACs of f_G, the dearest option and f_C on one segment; a system's own are not known."""
        if self._cost is None:
            self._cost = cached_cost(self.cache, self.classifier)
        return self._cost

    def fused(self) -> Self:
        """Return itself: its encoders are fused."""
        return self

    def look(self, frames: Tensor) -> SystemRecognition:
        """Recognize videos, and tell of every look.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8, or ``(B, T, F, 3, S, S)`` where a segment has several
                frames; for other sizes see `prepare`.

        Raises:
            ValueError: If the frames are of another shape or dtype.
            CacheError: If features are not finite.
        """
        how = (self.cache, self.classifier, self._encoders)
        return self._seen(PixelSource(*how, frames, autocast_dtype(self.precision)))

    def recognize(self, clips: Sequence[Clip], batch_size: int = 16) -> Iterator[SystemRecognition]:
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
        for source in pixel_sources(*how, clips, batch_size, autocast_dtype(self.precision)):
            yield self._seen(source)

    def forward(self, frames: Tensor) -> Recognition:
        """Recognize videos; `look` also tells what the encoders have computed.

        A column is one segment that the system decided on, in the order in which it did; options
        are those of all opened groups.

        Args:
            frames: As of `look`.

        Raises:
            ValueError: If the frames are of another shape or dtype.
            PredictionError: If features or predictions are not finite.
        """
        try:
            found = self.look(frames)
        except CacheError as error:
            raise PredictionError(str(error)) from error
        check_finite(found.logits, self.precision, self.cache.dtype)
        return recognition_of(found, self.cache.boxes_px)

    def describe(self) -> Any:
        """Refuse: a system is no network that a dataclass describes."""
        raise ValueError(
            "a system is not described by one dataclass: keep its run, or write it with "
            "`focusgym recognize --save`"
        )

    def _seen(self, source: PixelSource) -> SystemRecognition:
        looks = self._plays(source)
        columns = {each.name: getattr(looks, each.name) for each in fields(Looks)}
        return SystemRecognition(**columns, encoder_gmacs=source.encoder_gmacs)


def recognition_of(looks: Looks, options_px: NDArray[np.int64]) -> Recognition:
    """Return looks as recognizers tell of them.

    Args:
        looks: Of B videos.
        options_px: ``(K, 4)``, the boxes of the options in the prepared frame, pixels.
    """
    boxes = options_px[looks.options] if looks.boxes_px is None else looks.boxes_px
    return Recognition(
        looks.logits,
        options=torch.from_numpy(looks.options),
        boxes_px=torch.from_numpy(boxes * looks.attended[..., None]),
        attended=torch.from_numpy(looks.attended),
        gmacs=torch.from_numpy(looks.gmacs),
        fed=torch.from_numpy(looks.fed),
        segments=torch.from_numpy(looks.segments),
    )
