"""Online recognition of clips: frames come one after the other, and each gives a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..encoders.encoder import Encoder
from ..encoders.shift import ShiftMemory
from .checks import check_finite, check_looks, check_pixels
from .look import autocast, autocast_dtype
from .recognition import Recognition

if TYPE_CHECKING:
    from .adafocus import AdaptiveRecognizer


class ClipStream:
    """Clips in the course of being recognized, frame by frame.

    Both encoders shift from the past alone, and keep of each frame what the next one needs. f_C
    classifies the means of the features so far, so that the prediction after the last frame of a
    clip is the recognizer's on the whole clip, within rounding. π does not run, for it sees a clip
    before it says where to look: the place is known beforehand, as it is of whole frames.

    Attributes:
        seen: Frames so far.

    Source: TSM (arXiv:1811.08383) section 4.2, online models.
    """

    def __init__(
        self, recognizer: AdaptiveRecognizer, batch: int = 1, options: Tensor | None = None
    ) -> None:
        """Begin B streams in step with each other.

        Args:
            recognizer: Of clips: videos of one segment, whose frames f_G and f_L both read.
            batch: B.
            options: ``(B,)`` int64 in ``[0, K)``, or centres ``(B, 2)``: where f_L runs. None takes
                the only option.

        Raises:
            ValueError: If there is no stream, the recognizer is another one, or options are wrong
                or missing.
        """
        frames = recognizer.frames
        if batch < 1:
            raise ValueError(f"expected at least one stream; got batch={batch}")
        shifts = recognizer.glance_encoder.shift, recognizer.local_encoder.shift
        if shifts != ("online", "online"):
            raise ValueError(
                f"expected encoders that shift from the past alone; got {shifts[0]} and "
                f"{shifts[1]}: train encoders whose names end in _tsm_online"
            )
        if frames is None or frames.steps > 1 or frames.glance_frames is not None:
            raise ValueError(
                f"expected a recognizer of clips, whose frames f_G and f_L both read; got {frames}"
                ": make one with steps=1, segment_frames=F and no glance_frames"
            )
        if options is None:
            if recognizer.places.n_options > 1 or recognizer.places.names_centers:
                raise ValueError(
                    f"{recognizer.places.name} has several places: give `options`, one for each "
                    "stream"
                )
            options = recognizer.places.first(batch)
        choice = check_looks(options, None, recognizer.places, (batch,))
        assert choice is not None
        self.seen = 0
        self._recognizer, self._batch = recognizer, batch
        self._options = choice[0].to(recognizer.device, copy=True)
        self._memories = {"glance": ShiftMemory(), "local": ShiftMemory()}
        self._sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def push(self, frames: Tensor) -> Recognition:
        """Recognize the next frame of every stream.

        Args:
            frames: ``(B, 3, S, S)`` uint8; for other sizes see `AdaptiveRecognizer.prepare`.

        Returns:
            The prediction so far, with T = 1; ``gmacs`` counts from the first frame, and f_C for
            each.

        Raises:
            ValueError: If the frames are not uint8 and of that shape.
            PredictionError: If a prediction is not finite; begin another stream.
        """
        recognizer = self._recognizer
        if len(frames) != self._batch:
            raise ValueError(
                f"expected a frame for each of {self._batch} streams; got {tuple(frames.shape)}: "
                "give (B, 3, S, S), or begin a stream of another batch"
            )
        check_pixels(frames[:, None], recognizer.places.frame_px)
        frames = frames.to(recognizer.device)
        f_g, f_l = recognizer.glance_encoder, recognizer.local_encoder
        self._add("glance", f_g, f_g.prepare(frames))
        cut = recognizer.places.crop(f_l.prepare(frames), self._options)
        self._add("local", f_l, cut)
        self.seen += 1
        f_c, step = recognizer.classifier, torch.zeros(self._batch, dtype=torch.int64)
        step, state = step.to(recognizer.device), f_c.start(self._batch)
        dtype = recognizer.feature_dtype  # rounded as those of whole clips
        glance, local = ((each / self.seen).to(dtype).float() for each in self._sums.values())
        inputs = f_c.project(glance, local)
        logits = f_c.logits(f_c.advance(state, f_c.recur(state, step), inputs, step), step)[:, None]
        check_finite(logits, recognizer.precision, dtype)
        looks = torch.ones(self._batch, 1, dtype=torch.bool, device=recognizer.device)
        cost = recognizer.cost
        encoders = (cost.glance_gmacs + cost.local_gmacs) / recognizer.segment_frames
        spent = self.seen * (encoders + cost.classifier_gmacs)
        gmacs = torch.full((self._batch, 1), spent, dtype=torch.float64, device=looks.device)
        options = self._options[:, None]
        boxes = recognizer.places.boxes_at(options)
        return Recognition(logits, options, boxes, looks, gmacs)

    def _add(self, name: str, encoder: Encoder, prepared: Tensor) -> None:
        """Add what an encoder makes of the next images ``(B, 3, side, side)``."""
        computes_in = autocast_dtype(self._recognizer.precision)
        with autocast(prepared.device, computes_in):
            maps = encoder.encode_next(prepared, self._memories[name])
        vectors = maps.float().mean(dim=(2, 3))
        self._sums[name] = vectors + self._sums[name] if name in self._sums else vectors
