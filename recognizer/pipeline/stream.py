"""Online recognition: segments come one after the other, and every one gives a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..policies.base import PolicyState
from .checks import check_given
from .recognition import Recognition

if TYPE_CHECKING:
    from .adafocus import AdaptiveRecognizer


class RecognizerStream:
    """Videos in the course of being recognized; `AdaptiveRecognizer.stream` begins one.

    Every frame is seen by f_G and π; f_L runs on the frames that π′ does not skip, and on nothing
    else. Predictions are those of the recognizer on the frames so far, within rounding.

    Attributes:
        seen: Frames so far.

    Source: AdaFocus (arXiv:2105.03245) section 3.1: a prediction after each frame.
    """

    def __init__(self, recognizer: AdaptiveRecognizer, batch: int = 1) -> None:
        """Begin B streams in step with each other.

        Raises:
            ValueError: If there is no stream.
        """
        if batch < 1:
            raise ValueError(f"expected at least one stream; got batch={batch}")
        self.seen = 0
        self._recognizer = recognizer
        self._batch = batch
        self.running = torch.ones(batch, dtype=torch.bool, device=recognizer.device)
        # Of the streams that are running, in their order.
        self._policy_state: PolicyState | None = None
        self._asks = True
        self._state = recognizer.classifier.start(batch)
        # Of all streams.
        classes = recognizer.classifier.config.n_classes
        self._logits = torch.zeros(batch, classes, device=recognizer.device)
        self._spent = torch.zeros(batch, dtype=torch.float64, device=recognizer.device)

    @torch.no_grad()
    def push(
        self, frame: Tensor, options: Tensor | None = None, attended: Tensor | None = None
    ) -> Recognition:
        """Recognize the next segment, often one frame, of every stream that has not exited.

        Args:
            frame: ``(B, 3, S, S)`` uint8, or ``(B, F, 3, S, S)`` where a segment has several
                frames; without B if that is 1. For other sizes see `AdaptiveRecognizer.prepare`.
            options: ``(B,)`` int64 in ``[0, K)`` instead of the policy's; for all frames of a
                stream, or for none.
            attended: ``(B,)`` bool, whether given options are looked at: elsewhere f_L does not
                run. None: everywhere.

        Returns:
            The prediction so far and what this frame added, with T = 1; ``gmacs`` counts from the
            first frame. Joined along the frames (`Recognition.join`), what all calls returned is
            what the recognizer returns for the whole videos.

        Raises:
            ValueError: If the frames are not uint8 and of that shape, or the options are wrong or
                missing, or given for some frames only; the stream is then as it was.
            PredictionError: If a prediction is not finite; begin another stream.
        """
        recognizer = self._recognizer
        several = recognizer.segment_frames > 1
        ndim = 5 if several else 4
        frames = frame[None] if frame.ndim == ndim - 1 and self._batch == 1 else frame
        if frames.ndim != ndim or len(frames) != self._batch:
            what, shape = ("segment", "(B, F, 3, S, S)") if several else ("frame", "(B, 3, S, S)")
            raise ValueError(
                f"expected a {what} for each of {self._batch} streams; got {tuple(frame.shape)}: "
                f"give {shape}, or begin a stream of another batch"
            )
        given = check_given(options, attended, recognizer.places, (self._batch,))
        fed, logits, spent = self.running.clone(), self._logits.clone(), self._spent.clone()
        chosen = recognizer.places.empty(self._batch).to(recognizer.device)
        looks = torch.zeros_like(fed)
        if fed.any():
            logits[fed], chosen[fed], looks[fed], costs = self._go_on(frames, given)
            spent[fed] += costs
        self.seen += 1
        self._logits, self._spent = logits, spent
        columns = (values[:, None] for values in (logits, chosen, looks, spent, fed))
        return recognizer.result(*columns)

    def push_all(
        self, frames: Tensor, options: Tensor | None = None, attended: Tensor | None = None
    ) -> Recognition:
        """Recognize the next T segments of every stream, one after the other.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8, or ``(B, T, F, 3, S, S)``, see `push`.
            options: ``(B, T)`` int64, see `push`.
            attended: ``(B, T)`` bool, see `push`.

        Returns:
            What `push` returned for each segment, joined.
        """
        parts = [
            self.push(
                frames[:, t],
                None if options is None else options[:, t],
                None if attended is None else attended[:, t],
            )
            for t in range(frames.shape[1])
        ]
        return Recognition.join(parts, dim=1)

    def _go_on(
        self, frames: Tensor, given: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take a frame of the running streams; return logits, options, looks and costs of it."""
        recognizer, f_c = self._recognizer, self._recognizer.classifier
        every = bool(self.running.all())
        rows = self.running.nonzero().squeeze(1)
        frames = frames if every else frames[rows.to(frames.device)]
        options, attended = given or (None, None)
        if options is not None and attended is not None:
            options, attended = (x[rows.to(x.device), None] for x in (options, attended))
        glance, local, chosen, looks, costs, policy_state = recognizer.observe(
            frames[:, None], options, attended, self._policy_state
        )
        if self.seen and recognizer.policy and (given is None) != self._asks:
            raise ValueError(
                "a stream has either the policy's options or given ones, for the policy remembers "
                "the frames before: give options for all frames, or for none"
            )
        step = torch.full((len(rows),), self.seen, device=recognizer.device)
        inputs = f_c.project(glance[:, 0], local[:, 0])
        state = f_c.advance(self._state, f_c.recur(self._state, step), inputs, step)
        logits = f_c.logits(state, step)
        self._asks = given is None
        if recognizer.exits is not None:
            goes_on = ~recognizer.exits.stops(logits, self.seen)
            self.running = self.running.index_put((rows,), goes_on)
            state = state[goes_on]
            policy_state = None if policy_state is None else policy_state.of(goes_on)
        self._state, self._policy_state = state, policy_state
        return logits, chosen[:, 0], looks[:, 0], costs[:, 0]
