"""The adaptive recognizer: glance, choose, crop, look, classify, on pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..accounting.compute import FrameCost, encoder_gmacs, frame_cost
from ..classifiers.base import Classifier
from ..classifiers.registry import build_classifier
from ..encoders.config import FrameConfig
from ..encoders.encoder import Encoder
from ..exits import ExitRule
from ..files.bundle import BundleError
from ..places.places import Places
from ..policies.base import Policy, PolicyState
from ..policies.registry import build_policy
from .checks import (
    check_clips,
    check_finite,
    check_looks,
    check_maps,
    check_named,
    check_pixels,
    check_policy,
)
from .clip_stream import ClipStream
from .look import autocast_dtype, glance_at, glanced_and_looked, look_at
from .reading import read_recognizer
from .recognition import Recognition, RecognizerConfig
from .recognizer import Recognizer
from .stream import RecognizerStream

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class AdaptiveRecognizer(Recognizer):
    """f_G, π, f_L and f_C assembled, for videos whose frames are all given, and for streams.

    f_G runs over all frames, then π chooses all patches, then f_L runs on the chosen ones only: the
    local vector of a skipped frame is zero, and nothing is computed for it. Features are rounded to
    the storage dtype of the cache on which π and f_C were trained, so that both see what they were
    trained on.

    Attributes, beside those of `Recognizer`:
        policy: π, and π′ where frames may be skipped; None where options have to be given, or there
            is one alone.
        places: Where the K options are.
        feature_dtype: Storage dtype of the cache on which f_C and π were trained.

    Source: AdaFocus (arXiv:2105.03245) Figures 2 and 4, sections 3.3 and 3.4.
    """

    policy: Policy | None
    places: Places

    def __init__(
        self,
        glance_encoder: Encoder,
        local_encoder: Encoder,
        classifier: Classifier,
        places: Places,
        policy: Policy | None = None,
        feature_dtype: torch.dtype = torch.float16,
        *,
        frames: FrameConfig | None = None,
        classes: Sequence[str] = (),
        precision: str = "float32",
        exits: ExitRule | None = None,
    ) -> None:
        """Assemble the recognizer, in eval mode.

        Args:
            glance_encoder: f_G.
            local_encoder: f_L.
            classifier: f_C.
            places: Where the K options are.
            policy: π, and π′ where frames may be skipped; without one, options have to be given.
            feature_dtype: Storage dtype of the cache on which f_C and π were trained.
            frames: Which frames it is made for, and how they are prepared; without, segments are
                of one frame.
            classes: Names of the C classes.
            precision: ``float32``; or ``bfloat16`` or ``float16``, in which the encoders then
                compute where torch's autocast does. π and f_C always compute in float32.
            exits: When a video stops: no frame after its exit costs anything.

        Raises:
            ValueError: If the policy chooses among other options than there are, or names centres
                where places have indices or the other way round, frames have another side or number
                than the exits, names are not as many as classes, the classifier is for other
                encoders, an encoder shifts along frames and reads one, or the precision is
                unknown.
        """
        super().__init__(
            glance_encoder,
            local_encoder,
            classifier,
            frames=frames,
            classes=classes,
            precision=precision,
            exits=exits,
        )
        if policy is not None:
            check_policy(policy, places)
        if frames is not None and frames.frame_px != places.frame_px:
            raise ValueError(
                f"{places.name} is for frames of {places.frame_px} px, the frames have "
                f"{frames.frame_px} px: give both the same side"
            )
        if frames is not None:
            check_clips("f_G", glance_encoder, len(frames.glanced))
            check_clips("f_L", local_encoder, frames.segment_frames)
        self.policy = policy
        self.places = places
        self.feature_dtype = feature_dtype
        self._cost: FrameCost | None = None
        self.eval()

    @classmethod
    def from_bundle(
        cls,
        path: str | os.PathLike[str],
        device: str | torch.device = "cpu",
        precision: str = "float32",
        *,
        fuse: bool = True,
    ) -> Self:
        """Read a recognizer from a bundle; nothing in it is executed.

        Args:
            path: The folder that `save` wrote.
            device: Where it runs.
            precision: In which the encoders compute; see the constructor.
            fuse: Fuse the encoders, for inference; not if it is to be trained or saved again.

        Raises:
            BundleError: If the folder is not a readable recognizer bundle, or that of another kind.
            ValueError: If the precision is unknown.
        """
        recognizer = read_recognizer(path, device, precision, fuse=fuse)
        if not isinstance(recognizer, cls):
            raise BundleError(
                f"{os.fspath(path)} holds a recognizer of the kind {type(recognizer).__name__}, "
                f"expected {cls.__name__}: give another path, or call `read_recognizer`"
            )
        return recognizer

    @classmethod
    def assemble(cls, content: Mapping[str, Any]) -> Self:
        """Build a recognizer with random weights from a bundle's config."""
        config = RecognizerConfig.of(content)
        return cls(
            Encoder(config.glance, trusted=False),
            Encoder(config.local, trusted=False),
            build_classifier(config.classifier, trusted=False),
            config.places,
            None if config.policy is None else build_policy(config.policy, trusted=False),
            getattr(torch, config.feature_dtype),
            frames=config.frames,
            classes=config.classes,
            exits=config.exits,
        )

    def describe(self) -> RecognizerConfig:
        """Return what it is built from; see `Recognizer.describe`."""
        if self.frames is None:
            raise ValueError(
                "this recognizer does not know how its frames are prepared: assemble it with "
                "`frames`, so that it can be used on any video"
            )
        return RecognizerConfig(
            glance=self.glance_encoder.config,
            local=self.local_encoder.config,
            classifier=self.classifier.config,
            policy=None if self.policy is None else self.policy.config,
            places=self.places,
            frames=self.frames,
            classes=self.classes,
            feature_dtype=str(self.feature_dtype).removeprefix("torch."),
            exits=self.exits,
        )

    @property
    def must_be_told(self) -> bool:
        """Whether options have to be given: there are several, and no policy that chooses."""
        return self.policy is None and not self._only_option

    @property
    def obstacle(self) -> str | None:
        """That it has to be told where to look, if it has."""
        if not self.must_be_told:
            return None
        return (
            "has no policy, so it has to be told where to look: give a recognizer with one, or "
            "pass `options` to AdaptiveRecognizer in Python"
        )

    @property
    def _only_option(self) -> bool:
        """Whether there is nothing to choose: a whole frame, and no policy."""
        one = self.places.n_options == 1 and not self.places.names_centers
        return self.policy is None and one

    @property
    def cost(self) -> FrameCost:
        """Multiply-adds of each network on one segment, counted once on the real modules."""
        if self._cost is None:
            networks = self.glance_encoder, self.local_encoder, self.classifier, self.policy
            self._cost = frame_cost(*networks, self.places, self.frames)
        return self._cost

    def full_frames_gmacs(self) -> float:
        """Return the GMACs of a video with f_G and f_L on all frames S×S, and f_C; no policy.

        Source: AdaFocus (arXiv:2105.03245) Table 3: the baseline TSM+, here without TSM.
        """
        local = encoder_gmacs(self.local_encoder, self.places.frame_px, self.segment_frames)
        of_segment = self.cost.glance_gmacs + local + self.cost.classifier_gmacs
        return max(1, self.predictions) * of_segment

    @torch.no_grad()
    def forward(
        self,
        frames: Tensor,
        options: Tensor | NDArray[Any] | None = None,
        attended: Tensor | NDArray[np.bool_] | None = None,
    ) -> Recognition:
        """Recognize videos whose frames are all given.

        With `exits` the frames are taken in turn, together those between which no video can stop,
        and the batch shrinks as videos stop.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8, or ``(B, T, F, 3, S, S)`` where a segment has several
                frames; for other sizes see `prepare`.
            options: Places instead of the policy's, ``(B, T)`` int64 in ``[0, K)``; of `Boxes`
                ``(B, T, 2)`` float32, centres in [0, 1]. None asks the policy, without sampling: π
                where to look, π′ whether; or takes the only option, if there is no policy.
            attended: ``(B, T)`` bool, whether given options are looked at: elsewhere f_L does not
                run, and the option counts for nothing. None: everywhere.

        Returns:
            Predictions after every frame, where it looked, and what that cost.

        Raises:
            ValueError: If the frames are not uint8 and S×S, if there is neither a policy nor a
                choice of options, or if they are not one in ``[0, K)`` for every frame.
            PredictionError: If a prediction is not finite.

        Source: AdaFocus (arXiv:2105.03245) section 3.4; Eq. 9: the local vector of a skipped frame
            is zero.
        """
        if self.exits is not None:
            check_pixels(frames, self.places.frame_px, self.read_frames)  # B is read off it
            return self.stream(len(frames)).push_all(frames, options, attended)
        glance, local, chosen, looks, costs, _ = self.observe(frames, options, attended, None)
        return self.result(self.classifier(glance, local), chosen, looks, costs)

    def stream(self, batch: int = 1) -> RecognizerStream:
        """Begin to recognize videos whose frames come one after the other.

        Args:
            batch: B, streams in step with each other.
        """
        return RecognizerStream(self, batch)

    def clip_stream(self, batch: int = 1, options: Tensor | None = None) -> ClipStream:
        """Begin to recognize clips whose frames come one after the other.

        Args:
            batch: B, streams in step with each other.
            options: Where f_L runs; see `ClipStream`, as for what is refused.
        """
        return ClipStream(self, batch, options)

    @torch.no_grad()
    def observe(
        self,
        frames: Tensor,
        options: Tensor | NDArray[Any] | None,
        attended: Tensor | NDArray[np.bool_] | None,
        state: PolicyState | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, PolicyState | None]:
        """Do everything but classify: glance, choose, crop, look.

        Args:
            frames: As of `forward`: those of all segments, or of the next ones of a stream.
            options: See `forward`.
            attended: See `forward`.
            state: Of the policy, after the frames before; None at the start.

        Returns:
            Glance vectors ``(B, T, G)``, local vectors ``(B, T, L)``, places ``(B, T)`` or, of
            `Boxes`, ``(B, T, 2)``, whether they were attended ``(B, T)``, what each segment cost
            ``(B, T)`` float64 in GMACs, and the policy's state after these segments.
        """
        check_pixels(frames, self.places.frame_px, self.read_frames)
        batch, steps = frames.shape[:2]
        if options is None and self._only_option:
            options = self.places.first(batch, steps)
        choice = check_looks(options, attended, self.places, (batch, steps))
        glanced, looked = glanced_and_looked(frames.to(self.device), self.frames)
        computes_in = autocast_dtype(self.precision)
        maps, glance = glance_at(self.glance_encoder, glanced, self.feature_dtype, computes_in)
        if choice is not None:
            # Copies: the caller may go on to use theirs.
            chosen, looks = (each.to(self.device, copy=True) for each in choice)
        elif self.policy is None:
            raise ValueError("this recognizer has no policy: give it one, or give `options`")
        else:
            seen = maps.float().unflatten(0, (batch, steps))
            check_maps(seen, self.policy.config)
            chosen, looks, state = self.policy.advance(seen, state)
            check_named(chosen)
        local = self._look(looked, chosen.flatten(0, 1), looks.flatten())
        costs = self.cost.of_frames(looks, policy=choice is None)
        glance, local = (part.float().unflatten(0, (batch, steps)) for part in (glance, local))
        return glance, local, chosen, looks, costs, state

    def result(
        self,
        logits: Tensor,
        options: Tensor,
        attended: Tensor,
        costs: Tensor,
        fed: Tensor | None = None,
    ) -> Recognition:
        """Return what was recognized, from the logits and what `observe` returned.

        Args:
            logits: ``(B, T, C)``.
            options: ``(B, T, W)``, as the places name them.
            attended: ``(B, T)`` bool.
            costs: ``(B, T)`` of each frame.
            fed: ``(B, T)``, whether the frame was taken; None if all were. Where it was not, no
                option is told.

        Raises:
            PredictionError: If a logit is not finite.
        """
        check_finite(logits, self.precision, self.feature_dtype)
        boxes = self.places.boxes_at(options).masked_fill(~attended[..., None], 0)
        fed = torch.ones_like(attended) if fed is None else fed
        taken = fed[..., None] if self.places.names_centers else fed
        shown = options.masked_fill(~taken, -1)
        return Recognition(logits, shown, boxes, attended, costs.cumsum(dim=1), fed)

    def _look(self, frames: Tensor, options: Tensor, attended: Tensor) -> Tensor:
        """Return local vectors ``(M, L)``: f_L's of segments that are attended, zero elsewhere."""
        rows = attended.nonzero().squeeze(1)
        width = self.classifier.config.local_channels
        local = torch.zeros(len(frames), width, dtype=self.feature_dtype, device=frames.device)
        if len(rows):
            local[rows] = look_at(
                self.local_encoder,
                self.places,
                frames[rows],
                options[rows],
                self.feature_dtype,
                autocast_dtype(self.precision),
            )
        return local
