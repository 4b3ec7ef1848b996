"""Any system plugged back: it decides on pixels, and encoders run where it looks."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import PixelSource, pixel_sources
from ..envs.engine.source import cached_cost
from ..envs.records.record import shown_options
from ..feature_cache import CacheError, Clip, FeatureCache, write_bare_cache
from ..recognizer import (
    BundleError,
    Classifier,
    FrameCost,
    PredictionError,
    Recognition,
    VideoRecognizer,
    autocast_dtype,
    encoder_gmacs,
)
from ..recognizer.files.atomic import whole_folder
from ..recognizer.files.bundle import write_bundle
from ..recognizer.files.disks import refusal
from ..recognizer.pipeline.checks import check_finite
from .looks import Looks
from .system_files import CACHE, CLASSIFIER, POLICY, PlayedAlone, PlayedIn, write_description

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


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
    """f_G, f_L, f_C and a system that decides, on videos whose frames are all given.

    Encoders run when their features are asked for: what the system does not look at, and all that
    comes after its stop, is not computed. Networks stay on the device of the cache.

    Attributes, beside those of `VideoRecognizer`:
        cache: On which f_C and the system were trained; it says how frames are read, and holds the
            encoders. None of its features is read.
        classifier: f_C.
    """

    has_boxes: ClassVar[bool] = True
    in_turn: ClassVar[bool] = False

    def __init__(self, cache: FeatureCache, classifier: Classifier, *, precision: str) -> None:
        """Read the encoders.

        Args:
            cache: On which f_C and the system were trained; opened where networks are to compute.
            classifier: f_C.
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
        self._cost: FrameCost | None = None

    @abstractmethod
    def play(self, source: PixelSource) -> Looks:
        """Decide in all videos of a source once."""

    @abstractmethod
    def _save_decider(self, folder: Path) -> PlayedIn | PlayedAlone:
        """Write what decides as a bundle, if it has learned anything; return what else it is."""

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

    def full_frames_gmacs(self) -> float:
        """Return the GMACs of a video whose every segment is read as a whole and fed to f_C.

        By the dearest encoder, at the side that it reads whole frames at where these are options,
        and else S×S; and by f_G where f_C takes its vectors.
        """
        frames = self.cache.frames
        local_gmacs = [
            each.group.gmacs
            if each.group.places.is_whole
            else encoder_gmacs(
                self._encoders[each.group.encoder], frames.frame_px, frames.segment_frames
            )
            for each in self.cache.opened
        ]
        glance = self.cost.glance_gmacs if self.classifier.config.reuse_glance else 0.0
        return frames.steps * (glance + max(local_gmacs) + self.cost.classifier_gmacs)

    def step_facts(self, recognition: Recognition, step: int) -> dict[str, Any]:
        """Return which segment a step was about, whether f_C was fed, and which option was read.

        Args:
            recognition: The recognition of one video.
            step: Which of its T steps.
        """
        segment, option = (
            int(each[0, step]) for each in (recognition.segments, recognition.options)
        )
        looked = bool(recognition.attended[0, step])
        return {
            "segment": segment if segment >= 0 else None,
            "fed": bool(recognition.fed[0, step]),
            "option": self._option_name(option) if looked else None,
        }

    def _option_name(self, option: int) -> str:
        """Return the name of an option's group, with the number of its place where it has more."""
        (of,) = (
            each
            for each in self.cache.opened
            if each.first <= option < each.first + each.group.places.n_options
        )
        several = of.group.places.n_options > 1
        return f"{of.group.name} {option - of.first}" if several else of.group.name

    def fused(self) -> Self:
        """Return itself: its encoders are fused."""
        return self

    def describe(self) -> Any:
        """Refuse: what decides in an environment is more than a dataclass and weights.

        Raises:
            ValueError: Always; see `save`.
        """
        raise ValueError(f"a system is not written as one bundle: {_IN_A_FOLDER}")

    @classmethod
    def assemble(cls, content: Mapping[str, Any]) -> Self:
        """Refuse, as `describe` does.

        Raises:
            ValueError: Always; see `save`.
        """
        raise ValueError(f"a system is not read from one bundle: {_IN_A_FOLDER}")

    def save(
        self,
        path: str | os.PathLike[str],
        cache_fingerprint: str | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Write all that recognizes any video as a system does, without the features of its cache.

        The folder holds the encoders, f_C, what decides, and what the cache says of frames, options
        and classes; `read_system_recognizer` reads it wherever it is. All files are safe:
        safetensors, ``.npy`` and JSON.

        Args:
            path: A new folder, or an empty one. It appears when it is complete.
            cache_fingerprint: Not used: the fingerprint is that of the cache.
            metrics: Numbers that were measured on it, kept with f_C.

        Raises:
            ValueError: If the folder is not empty, or what decides cannot be kept as a safe file.
            BundleError, CacheError: If an encoder cannot be read, or was changed; BundleError also
                if the folder cannot be written.
        """
        root, cache, f_c = Path(path).resolve(), self.cache, self.classifier
        if root.exists() and not (root.is_dir() and not any(root.iterdir())):
            raise ValueError(f"{root} is not empty: give the name of a new folder")
        with whole_folder(root, lambda e: BundleError(refusal(root, e)), replace=True) as folder:
            decides = self._save_decider(folder / POLICY)  # first, for it may refuse
            (folder / CACHE).mkdir()
            write_bare_cache(cache, folder / CACHE)
            of_f_c = (f_c.config, f_c, cache.fingerprint, metrics)
            write_bundle(folder / CLASSIFIER, "classifier", *of_f_c)
            write_description(folder, decides, tuple(each.group.name for each in cache.opened))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Change nothing: the encoders belong to the cache, and would not be changed with f_C.

        Raises:
            ValueError: If something would change.
        """
        like = torch.empty(0, device=self.device)
        changed = fn(like)
        if (changed.device, changed.dtype) != (like.device, like.dtype):
            raise ValueError(
                f"the networks of a system stay in {like.dtype} on {like.device}, where its cache "
                f"was opened; asked for {changed.dtype} on {changed.device}: open it again with "
                "another device or precision"
            )
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
            recognition = self.look(frames)
        except CacheError as error:
            raise PredictionError(str(error)) from error
        check_finite(recognition.logits, self.precision, self.cache.dtype)
        return recognition_of(recognition, self.cache.boxes_px)

    def _seen(self, source: PixelSource) -> SystemRecognition:
        looks = self.play(source)
        columns = {each.name: getattr(looks, each.name) for each in fields(Looks)}
        return SystemRecognition(**columns, encoder_gmacs=source.encoder_gmacs)


_IN_A_FOLDER = "`save` and read_system_recognizer (focusgym.agents) do, in a folder of several"


def recognition_of(looks: Looks, options_px: NDArray[np.int64]) -> Recognition:
    """Return looks as recognizers tell of them.

    Args:
        looks: The looks of B videos.
        options_px: ``(K, 4)``, the boxes of the options in the prepared frame, pixels.
    """
    boxes = options_px[looks.options] if looks.boxes_px is None else looks.boxes_px
    return Recognition(
        looks.logits,
        options=torch.from_numpy(shown_options(looks.options, looks.named)),
        boxes_px=torch.from_numpy(boxes * looks.attended[..., None]),
        attended=torch.from_numpy(looks.attended),
        gmacs=torch.from_numpy(looks.gmacs),
        fed=torch.from_numpy(looks.fed),
        segments=torch.from_numpy(looks.segments),
    )
