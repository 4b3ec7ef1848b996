"""Online recognition with an AF network: a prediction after each frame of a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..afnet.network import AFNetOutput
from .checks import check_finite, check_pixels
from .look import autocast, autocast_dtype
from .recognition import Recognition

if TYPE_CHECKING:
    from .afnet import AFNetRecognizer


class AFNetStream:
    """Videos in the course of being recognized; `AFNetRecognizer.stream` begins one.

    What a gate decides of a frame depends on the frames up to it and on the gate's weights for this
    place in the video alone, so that it is decided at once, and a focal branch that does not keep
    the frame does not run. The prediction is the mean of the frames' so far; after the last of the
    T frames it is the recognizer's on the whole video, within rounding.

    Attributes:
        seen: Frames so far.

    Source: ours; the shift from the past alone is that of TSM (arXiv:1811.08383) section 4.2.
    """

    def __init__(self, recognizer: AFNetRecognizer, batch: int = 1) -> None:
        """Begin B streams in step with each other.

        Raises:
            ValueError: If there is no stream, or the network shifts both ways.
        """
        if batch < 1:
            raise ValueError(f"expected at least one stream; got batch={batch}")
        self._recognizer, self._batch = recognizer, batch
        self._memory = recognizer.network.start()
        self._frames: list[AFNetOutput] = []

    @property
    def seen(self) -> int:
        """Frames so far."""
        return len(self._frames)

    @property
    def so_far(self) -> AFNetOutput:
        """The prediction so far, and what the gates kept of each frame, with T = `seen`.

        Raises:
            ValueError: If there was no frame yet.
        """
        if not self._frames:
            raise ValueError("expected at least one frame before; got none: push one first")
        _, *parts = zip(*self._frames, strict=True)
        of_gates = [torch.cat(part, dim=1) for part in parts]
        logits = torch.stack([each.logits for each in self._frames]).mean(dim=0)
        return AFNetOutput(logits, *of_gates)

    @torch.no_grad()
    def push(self, frames: Tensor) -> Recognition:
        """Recognize the next frame of every stream.

        Args:
            frames: ``(B, 3, S, S)`` uint8, without B if that is 1; for other sizes see
                `AFNetRecognizer.prepare`.

        Returns:
            The prediction so far, with T = 1, without a place; ``gmacs`` counts from the first
            frame. What the gates kept is in `so_far`.

        Raises:
            ValueError: If the frames are not uint8 and of that shape, or the videos have ended
                after T frames; the stream is then as it was.
            PredictionError: If a prediction is not finite; begin another stream.
        """
        recognizer, device = self._recognizer, self._recognizer.device
        steps = recognizer.frames.steps
        batched = frames[None] if frames.ndim == 3 and self._batch == 1 else frames
        if batched.ndim != 4 or len(batched) != self._batch:
            raise ValueError(
                f"expected a frame for each of {self._batch} streams; got {tuple(frames.shape)}: "
                "give (B, 3, S, S), or begin a stream of another batch"
            )
        check_pixels(batched[:, None], recognizer.frames.frame_px)
        with autocast(device, autocast_dtype(recognizer.precision)):
            output = recognizer.network.next_frame(batched.to(device), self.seen, self._memory)
        logits, by_frame = output.logits.float(), output.by_frame.float()
        self._frames.append(output._replace(logits=logits, by_frame=by_frame))
        so_far = self.so_far
        logits = so_far.logits[:, None]
        check_finite(logits, recognizer.precision, torch.float32)
        segments = torch.full((self._batch, 1), self.seen - 1, device=device)
        return Recognition(
            logits,
            options=torch.full_like(segments, -1),
            boxes_px=segments.new_zeros(self._batch, 1, 4),
            attended=torch.zeros_like(segments, dtype=torch.bool),
            gmacs=recognizer.cost.of_frames(so_far.ran, steps).sum(dim=1, keepdim=True),
            segments=segments,
        )
