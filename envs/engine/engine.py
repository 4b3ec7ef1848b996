"""The engine: the arithmetic of B episodes at once, over a cache and a frozen classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...feature_cache import CacheError
from ...recognizer import confidence
from .source import FeatureSource

# Inputs of all options are looked at in blocks of this size: they stay in the processor's caches.
_BLOCK_BYTES = 2**21


@dataclass(frozen=True)
class Step:
    """What one decision gave.

    Attributes:
        logits: ``(B, C)`` after the decision.
        confidence: ``(B,)`` on the true label.
        chosen: ``(B,)`` confidence after looking at the chosen option, also where it was skipped.
        chosen_logits: ``(B, C)`` likewise.
        random: ``(B, k)`` confidences after the random options; None if there were none.
        skip: ``(B,)`` confidence after looking at nothing; None if it was not asked for.
    """

    logits: Tensor
    confidence: Tensor
    chosen: Tensor
    chosen_logits: Tensor
    random: Tensor | None
    skip: Tensor | None


class FocusEngine:
    """B episodes at once: decide where to look in each, get the predictions.

    All alternatives of a step share the part of f_C that depends on its state alone (for a GRU
    ``W_hh·h``). There is no loop over videos, and no ``no_grad``: f_C is frozen already.

    Attributes:
        source: Gives the inputs of f_C; it holds the cache and the classifier.
        cache: The source's.
        videos: ``(B,)`` rows being played.
        labels: ``(B,)`` int64, their first true class; with ``mean`` ``(B, C)`` bool, all of them.
        t: ``(B,)`` int64 index of the decision to be made next in each.
    """

    def __init__(self, source: FeatureSource, labels: str = "first") -> None:
        """Use a source.

        Args:
            source: Where f_C's inputs come from.
            labels: ``first`` or ``mean``: the confidence of a video with several labels.

        Raises:
            ValueError: If ``labels`` is neither.
        """
        if labels not in ("first", "mean"):
            raise ValueError(f"labels must be 'first' or 'mean'; got {labels!r}")
        self.source = source
        self.cache = source.cache
        self._truth = self.cache.labels if labels == "first" else self.cache.label_matrix
        self.videos: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.labels = self._truth[:0]
        self.t: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def start(self, videos: NDArray[np.int64], which: NDArray[np.bool_] | None = None) -> None:
        """Begin one episode of each video.

        Args:
            videos: ``(B,)`` rows of the cache.
            which: ``(B,)`` the episodes that begin; the others go on. None begins all.

        Raises:
            ValueError: If a row is not in the cache, or ``which`` is of another number of episodes
                than are being played.
            CacheError: If features of a video are not finite.
        """
        if len(videos) and not 0 <= videos.min() <= videos.max() < self.cache.n_videos:
            raise ValueError(
                f"videos must be rows of the cache in [0, {self.cache.n_videos}); got "
                f"{videos.min()} to {videos.max()}"
            )
        if which is not None and not len(which) == len(videos) == len(self.videos):
            raise ValueError(
                f"{len(self.videos)} episodes are being played; got {len(videos)} videos, and "
                f"which of {len(which)} begin"
            )
        self.source.prepare(videos)
        fresh = self.source.classifier.start(len(videos))
        self.videos = videos.copy() if which is None else np.where(which, videos, self.videos)
        videos = self.videos
        self.labels = self._truth[videos].to(self.cache.device)
        if which is None:
            self.t, self._state = np.zeros(len(videos), dtype=np.int64), fresh
        else:
            self.t = np.where(which, 0, self.t)
            begins = torch.from_numpy(which).to(fresh.device)
            self._state = torch.where(begins[:, None], fresh, self._state)
        self._recurrent: Tensor | None = None

    def step(
        self,
        options: NDArray[np.int64],
        random: NDArray[np.int64] | None = None,
        *,
        skip: bool = False,
        looks: NDArray[np.bool_] | None = None,
    ) -> Step:
        """Make one decision in every episode and go on to the next frame.

        Args:
            options: ``(B,)`` in ``[0, K]``; K looks at nothing.
            random: ``(B, k)`` options to compare with.
            skip: Whether to compare with looking at nothing.
            looks: ``(B,)`` whether f_L runs, b_t: where not, the episode goes on from skip, and the
                chosen option is only compared with. None follows the options.

        Returns:
            Predictions and confidences.

        Raises:
            ValueError: If there is not an option in ``[0, K]`` for each episode.
            RuntimeError: If no episode was begun, or one is over.
            CacheError: If the features of a frame are not finite.
        """
        columns = [options[:, None]] if random is None else [options[:, None], random]
        if skip or looks is not None:
            columns.append(np.full((len(options), 1), self.cache.n_options))
        states, logits, confidences = self._try(np.concatenate(columns, axis=1))
        if looks is None:
            self._go_on(states[:, 0])
            after, sure = logits[:, 0], confidences[:, 0]
        else:
            rows = torch.arange(len(options), device=states.device)
            taken = torch.where(torch.from_numpy(looks).to(states.device), 0, states.shape[1] - 1)
            self._go_on(states[rows, taken])
            after, sure = logits[rows, taken], confidences[rows, taken]
        k = 0 if random is None else random.shape[1]
        return Step(
            after,
            sure,
            confidences[:, 0],
            logits[:, 0],
            confidences[:, 1 : 1 + k] if k else None,
            confidences[:, -1] if skip or looks is not None else None,
        )

    def advance(self, options: NDArray[np.int64]) -> Tensor:
        """Make one decision in every episode, compare with nothing; returns logits ``(B, C)``."""
        return self.step(options).logits

    def counterfactuals(self) -> Tensor:
        """Return the confidences ``(B, K + 1)`` that each option and, last, skip would give now.

        Raises:
            RuntimeError: If no episode was begun, or one is over.
            CacheError: If the features of a frame are not finite.
        """
        self._check_running()
        block = max(1, _BLOCK_BYTES // self.source.row_bytes)
        step, recurrent = self._step(), self._recur()
        found = []
        for start in range(0, len(self.videos), block):
            rows = slice(start, start + block)
            inputs = self.source.gather_all(self.videos[rows], self.t[rows])
            f_c = self.source.classifier
            states = f_c.advance(self._state[rows], recurrent[rows], inputs, step[rows])
            found.append(confidence(f_c.logits(states, step[rows]), self.labels[rows]))
        confidences = torch.cat(found)
        self._check(confidences)
        return confidences

    def rollout(self, videos: NDArray[np.int64], options: NDArray[np.int64]) -> Tensor:
        """Play whole episodes with given options.

        Args:
            videos: ``(B,)`` rows.
            options: ``(B, D)`` in ``[0, K]``; K is skip.

        Returns:
            ``(B, D, C)`` logits after every decision.

        Raises:
            ValueError: If there are not D ≤ T options in ``[0, K]`` for each of the videos.
            CacheError: If features are not finite.
        """
        self._check_plan(videos, options)
        self.start(videos)
        return torch.stack([self.advance(chosen) for chosen in options.T], dim=1)

    def rollout_counterfactuals(
        self, videos: NDArray[np.int64], options: NDArray[np.int64]
    ) -> Tensor:
        """Play whole episodes, and try every alternative of every decision on the way.

        Args:
            videos: ``(B,)`` rows.
            options: ``(B, D)`` in ``[0, K]``, what is played.

        Returns:
            ``(B, D, K + 1)`` confidences that each option and, last, skip would have given at each
            decision, those before it being as played. `regret` compares with the best.

        Raises:
            ValueError: If there are not D ≤ T options in ``[0, K]`` for each of the videos.
            CacheError: If features are not finite.
        """
        self._check_plan(videos, options)
        self.start(videos)
        found = []
        for chosen in options.T:
            found.append(self.counterfactuals())
            self.advance(chosen)
        return torch.stack(found, dim=1)

    def oracle(self, videos: NDArray[np.int64], *, may_skip: bool = False) -> NDArray[np.int64]:
        """Return the options ``(B, T)`` that are best for the true label at each step: a bound.

        Greedy: it knows the label, tries everything, and does not look ahead.

        Args:
            videos: ``(B,)`` rows.
            may_skip: Whether looking at nothing is among the choices (option K).
        """
        self.start(videos)
        chosen: list[NDArray[np.int64]] = []
        for _ in range(self.cache.steps):
            confidences = self.counterfactuals()[:, : self.cache.n_options + may_skip]
            chosen.append(confidences.argmax(dim=1).cpu().numpy())
            self.advance(chosen[-1])
        return np.stack(chosen, axis=1)

    def _try(self, options: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Return states ``(B, M, S)``, logits and confidences after alternatives ``(B, M)``."""
        n_options = self.cache.n_options
        if len(options) != len(self.videos) or options.min() < 0 or options.max() > n_options:
            raise ValueError(
                f"options must be {len(self.videos)} rows in [0, {n_options}], {n_options} to "
                f"skip; got {len(options)} from {options.min()} to {options.max()}"
            )
        self._check_running()
        f_c, step = self.source.classifier, self._step()
        inputs = self.source.gather(self.videos, self.t, options)
        states = f_c.advance(self._state, self._recur(), inputs, step)
        logits = f_c.logits(states, step)
        confidences = confidence(logits, self.labels)
        self._check(confidences)
        return states, logits, confidences

    def _recur(self) -> Tensor:
        if self._recurrent is None:
            self._recurrent = self.source.classifier.recur(self._state, self._step())
        return self._recurrent

    def _step(self) -> Tensor:
        return torch.from_numpy(self.t).to(self.cache.device)

    def _go_on(self, state: Tensor) -> None:
        self._state, self._recurrent = state, None
        self.t = self.t + 1

    def _check_plan(self, videos: NDArray[np.int64], options: NDArray[np.int64]) -> None:
        given = (tuple(np.shape(videos)), tuple(np.shape(options)))
        arrays = [x for x in (videos, options) if isinstance(x, np.ndarray)]
        integers = len(arrays) == 2 and all(x.dtype.kind in "iu" for x in arrays)
        right = integers and len(given[1]) == 2 and given[0] == given[1][:1] and given[0] > (0,)
        if not right or not 1 <= given[1][1] <= self.cache.steps:
            raise ValueError(
                f"expected integer arrays: videos (B,), options (B, D) with D in 1 to "
                f"{self.cache.steps}; got shapes {given[0]} and {given[1]}"
            )

    def _check_running(self) -> None:
        if not len(self.t) or self.t.max() >= self.cache.steps:
            raise RuntimeError(
                f"expected running episodes, each at a step before {self.cache.steps}; got "
                f"{self.t.tolist()}: call start() first"
            )

    def _check(self, confidences: Tensor) -> None:
        if not math.isfinite(float(confidences.sum())):
            finite = confidences.isfinite().flatten(1).all(dim=1).cpu().numpy()
            row = int(np.flatnonzero(~finite)[0])
            raise CacheError(
                f"video {self.videos[row]}, frame {self.t[row]}: f_C gives no finite confidence: "
                "its weights hold NaN or infinite numbers; train it again"
            )
