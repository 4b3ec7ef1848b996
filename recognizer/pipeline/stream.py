"""Online recognition: segments come one after the other, and every one gives a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..policies.base import PolicyState
from .checks import check_looks, check_pixels
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
        several = recognizer.read_frames > 1
        ndim = 5 if several else 4
        frames = frame[None] if frame.ndim == ndim - 1 and self._batch == 1 else frame
        if frames.ndim != ndim or len(frames) != self._batch:
            what, shape = ("segment", "(B, F, 3, S, S)") if several else ("frame", "(B, 3, S, S)")
            raise ValueError(
                f"expected a {what} for each of {self._batch} streams; got {tuple(frame.shape)}: "
                f"give {shape}, or begin a stream of another batch"
            )
        choice = check_looks(options, attended, recognizer.places, (self._batch,))
        return self._take(frames[:, None], choice and (choice[0][:, None], choice[1][:, None]))

    def push_all(
        self,
        frames: Tensor,
        options: Tensor | NDArray[Any] | None = None,
        attended: Tensor | NDArray[np.bool_] | None = None,
    ) -> Recognition:
        """Recognize the next T segments of every stream, which are all given.

        Segments after which no stream can stop are read together with the one that follows: the
        encoders read their weights once for all of them, and nothing is computed that one after the
        other would not compute.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8, or ``(B, T, F, 3, S, S)``, see `push`.
            options: ``(B, T)`` int64, see `push`.
            attended: ``(B, T)`` bool, see `push`.

        Returns:
            What `push` returns for each segment, joined.

        Raises:
            ValueError: See `push`; segments before a refused one may have been taken.
            PredictionError: See `push`.
        """
        recognizer = self._recognizer
        check_pixels(frames, recognizer.places.frame_px, recognizer.read_frames)
        n_streams, n_segments = frames.shape[:2]
        if n_streams != self._batch:
            raise ValueError(
                f"expected segments of each of {self._batch} streams; got {tuple(frames.shape)}: "
                "begin a stream of another batch"
            )
        choice = check_looks(options, attended, recognizer.places, (n_streams, n_segments))
        parts, first = [], 0
        while first < n_segments:
            rest = n_segments - first
            rule = recognizer.exits if self.running.any() else None
            n = rest if rule is None else min(rest, rule.until_exit(self.seen))
            now = slice(first, first + n)
            parts.append(
                self._take(frames[:, now], choice and (choice[0][:, now], choice[1][:, now]))
            )
            first += n
        return Recognition.join(parts, dim=1)

    def _take(self, frames: Tensor, choice: tuple[Tensor, Tensor] | None) -> Recognition:
        """Take the next n segments ``(B, n, ...)``; after the last of them a stream may stop."""
        recognizer, n = self._recognizer, frames.shape[1]
        fed = self.running[:, None].repeat(1, n)
        logits = self._logits[:, None].repeat(1, n, 1)
        costs = torch.zeros_like(fed, dtype=torch.float64)
        chosen = recognizer.places.first(self._batch, n).to(recognizer.device)
        looks = torch.zeros_like(fed)
        rows = self.running.nonzero().squeeze(1)
        if len(rows):
            logits[rows], chosen[rows], looks[rows], costs[rows] = self._go_on(frames, choice, rows)
        costs[:, 0] += self._spent
        self.seen += n
        taken = recognizer.result(logits, chosen, looks, costs, fed)
        self._logits, self._spent = logits[:, -1], taken.gmacs[:, -1]
        return taken

    def _go_on(
        self, frames: Tensor, choice: tuple[Tensor, Tensor] | None, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take segments of the running streams ``rows``; return logits, options, looks, costs."""
        recognizer, f_c = self._recognizer, self._recognizer.classifier
        if len(rows) < self._batch:
            frames = frames[rows.to(frames.device)]
        options, attended = choice or (None, None)
        if options is not None and attended is not None:
            options, attended = (x[rows.to(x.device)] for x in (options, attended))
        glance, local, chosen, looks, costs, policy_state = recognizer.observe(
            frames, options, attended, self._policy_state
        )
        if self.seen and recognizer.policy and (choice is None) != self._asks:
            raise ValueError(
                "a stream has either the policy's options or given ones, for the policy remembers "
                "the frames before: give options for all frames, or for none"
            )
        inputs, state, predictions = f_c.project(glance, local), self._state, []
        for t in range(frames.shape[1]):
            step = torch.full((len(rows),), self.seen + t, device=recognizer.device)
            state = f_c.advance(state, f_c.recur(state, step), inputs[:, t], step)
            predictions.append(f_c.logits(state, step))
        self._asks = choice is None
        if recognizer.exits is not None:
            last = self.seen + len(predictions) - 1
            goes_on = ~recognizer.exits.stops(predictions[-1], last)
            self.running = self.running.index_put((rows,), goes_on)
            state = state[goes_on]
            policy_state = None if policy_state is None else policy_state.of(goes_on)
        self._state, self._policy_state = state, policy_state
        return torch.stack(predictions, dim=1), chosen, looks, costs
