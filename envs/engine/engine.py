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
from .plan import Plan, check_plan
from .source import Source

# Inputs of all options are looked at in blocks of this size: they stay in the processor's caches.
_BLOCK_BYTES = 2**21


@dataclass(frozen=True)
class Tried:
    """What each of M alternatives would give in every episode, everything before being the same.

    Attributes:
        states: ``(B, M, S)`` of f_C.
        logits: ``(B, M, C)``.
        confidences: ``(B, M)`` on the true label.
        fed: ``(B,)`` bool, the episodes in which f_C goes on at all; None for all.
    """

    states: Tensor
    logits: Tensor
    confidences: Tensor
    fed: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Counterfactuals:
    """Confidences that every alternative would give, everything before being the same.

    Attributes:
        options: ``(B, K)`` of looking at each option; of whole episodes ``(B, D, K)``.
        skip: ``(B,)`` of feeding the segment without a look; of whole episodes ``(B, D)``.
    """

    options: Tensor
    skip: Tensor


class FocusEngine:
    """B episodes at once: what would options of some segments give, and which of them is taken.

    It is told segments and options, and knows no order. All alternatives of a decision share the
    part of f_C that depends on its state alone (for a GRU ``W_hh·h``). There is no loop over
    videos, and no ``no_grad``: f_C is frozen already.

    Attributes:
        source: Gives the inputs of f_C; it holds the cache and the classifier.
        cache: The source's.
        videos: ``(B,)`` rows of the source being played.
        labels: ``(B,)`` int64, their first true class; with ``mean`` ``(B, C)`` bool, all of them.
        step: ``(B,)`` int64, how many segments f_C was fed in each.
        logits: ``(B, C)`` after what was fed so far; zeros before anything was.
        confidence: ``(B,)`` on the true label likewise; 0 before anything was fed.
    """

    def __init__(self, source: Source, labels: str = "first") -> None:
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
        self._truth = source.labels if labels == "first" else source.label_matrix
        self.videos: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.labels = self._truth[:0]
        self.step: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def start(self, videos: NDArray[np.int64], which: NDArray[np.bool_] | None = None) -> None:
        """Begin one episode of each video.

        Args:
            videos: ``(B,)`` rows of the source.
            which: ``(B,)`` the episodes that begin; the others go on. None begins all.

        Raises:
            ValueError: If a row is not in the cache, or ``which`` is of another number of episodes
                than are being played.
            CacheError: If features of a video are not finite.
        """
        n_videos = len(self._truth)
        if len(videos) and not 0 <= videos.min() <= videos.max() < n_videos:
            raise ValueError(
                f"videos must be rows of the cache in [0, {n_videos}); got "
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
        logits = fresh.new_zeros(len(videos), self.cache.n_classes)
        sure = fresh.new_zeros(len(videos))
        if which is None:
            self.step, self._state = np.zeros(len(videos), dtype=np.int64), fresh
            self.logits, self.confidence = logits, sure
        else:
            self.step = np.where(which, 0, self.step)
            begins = torch.from_numpy(which).to(fresh.device)
            self._state = torch.where(begins[:, None], fresh, self._state)
            self.logits = torch.where(begins[:, None], logits, self.logits)
            self.confidence = torch.where(begins, sure, self.confidence)
        self._recurrent: Tensor | None = None

    def restart(self) -> None:
        """Begin the same videos again in all episodes."""
        self.start(self.videos)

    @property
    def state(self) -> Tensor:
        """``(B, S)``, of f_C after what was fed so far."""
        return self._state

    def try_options(
        self,
        segments: NDArray[np.int64],
        options: NDArray[np.int64],
        attended: NDArray[np.bool_] | None = None,
        fed: NDArray[np.bool_] | None = None,
    ) -> Tried:
        """Return what alternatives would give now; nothing goes on.

        Args:
            segments: ``(B,)`` that the decision is about, in ``[0, T)``.
            options: ``(B, M)`` in ``[0, K)``.
            attended: ``(B, M)`` whether f_L runs; where not, its vector is zero (Eq. 9), whatever
                the option. None: everywhere.
            fed: ``(B,)`` whether f_C goes on at all, whatever is committed: where not, its state
                and the prediction stay as they were, and what is returned means nothing. None:
                everywhere.

        Raises:
            ValueError: If there are not M options in ``[0, K)`` for each episode, one at least.
            RuntimeError: If no episode was begun, or f_C was fed T segments in one that is fed.
            CacheError: If the features of a segment are not finite.
        """
        n_options = self.cache.n_options
        if options.ndim != 2 or not options.shape[1]:
            raise ValueError(
                f"options must be (B, M) of B = {len(self.videos)} episodes, M at least 1; got "
                f"{options.shape}"
            )
        if len(options) != len(self.videos) or options.min() < 0 or options.max() >= n_options:
            raise ValueError(
                f"options must be {len(self.videos)} rows in [0, {n_options}); got {len(options)} "
                f"from {options.min()} to {options.max()}"
            )
        self._check_running(fed)
        inputs = self.source.gather(self.videos, segments, options, attended, fed)
        return self._tried(inputs, segments, fed)

    def try_boxes(self, segments: NDArray[np.int64], centers: Tensor) -> Tried:
        """Return what boxes at any place would give now, as `try_options`; nothing goes on.

        Gradients flow to the centres where the source's features are interpolated.

        Args:
            segments: ``(B,)`` that the decision is about.
            centers: ``(B, M, 2)`` float (x, y) in [0, 1]; see `Boxes`.

        Raises:
            ValueError: If there are no boxes between the options of the source.
            RuntimeError, CacheError: As `try_options`.
        """
        if centers.ndim != 3 or len(centers) != len(self.videos) or not centers.shape[1]:
            raise ValueError(
                f"centres must be (B, M, 2) of B = {len(self.videos)} episodes, M at least 1; got "
                f"{tuple(centers.shape)}"
            )
        self._check_running()
        inputs = self.source.gather_boxes(self.videos, segments, centers)
        return self._tried(inputs, segments, None)

    def _tried(
        self, inputs: Tensor, segments: NDArray[np.int64], fed: NDArray[np.bool_] | None
    ) -> Tried:
        f_c, step = self.source.classifier, self._steps()
        states = f_c.advance(self._state, self._recur(step), inputs, step)
        logits = f_c.logits(states, step)
        confidences = confidence(logits, self.labels)
        self._check(confidences, segments)
        return Tried(states, logits, confidences, fed)

    def commit(self, tried: Tried, taken: NDArray[np.int64] | None = None) -> None:
        """Go on with one of the alternatives in every episode that is fed.

        Args:
            tried: From `try_options`, called since the last commit.
            taken: ``(B,)`` which alternative; None: the first.
        """
        fed = tried.fed
        if taken is None:
            state, logits, sure = (
                each[:, 0] for each in (tried.states, tried.logits, tried.confidences)
            )
        else:
            rows = torch.arange(len(taken), device=tried.states.device)
            columns = torch.from_numpy(taken).to(tried.states.device)
            state, logits, sure = (
                each[rows, columns] for each in (tried.states, tried.logits, tried.confidences)
            )
        if fed is not None:
            goes_on = torch.from_numpy(fed).to(state.device)
            state = torch.where(goes_on[:, None], state, self._state)
            logits = torch.where(goes_on[:, None], logits, self.logits)
            sure = torch.where(goes_on, sure, self.confidence)
        self._state, self.logits, self.confidence = state, logits, sure
        self._recurrent = None
        self.step = self.step + (1 if fed is None else fed.astype(np.int64))

    def counterfactuals(self, segments: NDArray[np.int64]) -> Counterfactuals:
        """Return what each option of a segment of each episode would give now, and no look.

        Args:
            segments: ``(B,)``.

        Raises:
            RuntimeError: If no episode was begun, or one is over.
            CacheError: If the features of a frame are not finite.
        """
        self._check_running()
        block = max(1, _BLOCK_BYTES // self.source.row_bytes)
        step = self._steps()
        recurrent = self._recur(step)
        by_block = []
        for start in range(0, len(self.videos), block):
            rows = slice(start, start + block)
            inputs = self.source.gather_all(self.videos[rows], segments[rows])
            f_c = self.source.classifier
            states = f_c.advance(self._state[rows], recurrent[rows], inputs, step[rows])
            by_block.append(confidence(f_c.logits(states, step[rows]), self.labels[rows]))
        confidences = torch.cat(by_block)
        self._check(confidences, segments)
        return Counterfactuals(confidences[:, :-1], confidences[:, -1])

    def rollout(
        self,
        videos: NDArray[np.int64],
        options: NDArray[np.int64],
        attended: NDArray[np.bool_] | None = None,
    ) -> Tensor:
        """Play whole episodes with given options, the segments in order.

        Args:
            videos: ``(B,)`` rows.
            options: ``(B, D)`` in ``[0, K)``; any of them where nothing is attended.
            attended: ``(B, D)`` whether f_L runs; elsewhere f_C is fed the segment without a look.
                None: everywhere.

        Returns:
            ``(B, D, C)`` logits after every decision.

        Raises:
            ValueError: If there are not D ≤ T options in ``[0, K)`` for each of the videos.
            CacheError: If features are not finite.
        """
        plan = self._begin(videos, options, attended)
        return torch.stack([self._play(t, plan) for t in range(plan.options.shape[1])], dim=1)

    def rollout_counterfactuals(
        self,
        videos: NDArray[np.int64],
        options: NDArray[np.int64],
        attended: NDArray[np.bool_] | None = None,
    ) -> Counterfactuals:
        """Play whole episodes, and try every alternative of every decision on the way.

        Args:
            videos: ``(B,)`` rows.
            options: ``(B, D)``, what is played; see `rollout`.
            attended: ``(B, D)``, see `rollout`.

        Returns:
            What each option, and skip, would have given at each decision, those before it being
            as played. `regret` compares with the best.

        Raises:
            ValueError: If there are not D ≤ T options in ``[0, K)`` for each of the videos.
            CacheError: If features are not finite.
        """
        plan = self._begin(videos, options, attended)
        counterfactuals = []
        for t in range(plan.options.shape[1]):
            counterfactuals.append(self.counterfactuals(np.full(len(videos), t)))
            self._play(t, plan)
        return Counterfactuals(
            torch.stack([each.options for each in counterfactuals], dim=1),
            torch.stack([each.skip for each in counterfactuals], dim=1),
        )

    def oracle(self, videos: NDArray[np.int64], *, may_skip: bool = False) -> Plan:
        """Return what is best for the true label at each step: a bound.

        Greedy: it knows the label, tries everything, and does not look ahead.

        Args:
            videos: ``(B,)`` rows.
            may_skip: Whether looking at nothing is among the choices; where it is the best one, no
                option is named.
        """
        self.start(videos)
        options = np.zeros((len(videos), self.cache.steps), dtype=np.int64)
        attended = np.ones(options.shape, dtype=np.bool_)
        for t in range(self.cache.steps):
            tried = self.counterfactuals(np.full(len(videos), t))
            best, at = tried.options.max(dim=1)
            options[:, t] = at.cpu().numpy()
            if may_skip:
                attended[:, t] = (best >= tried.skip).cpu().numpy()
            self._play(t, Plan(options, attended))
        return Plan(options, attended, attended.copy())

    def _begin(
        self,
        videos: NDArray[np.int64],
        options: NDArray[np.int64],
        attended: NDArray[np.bool_] | None,
    ) -> Plan:
        """Begin episodes of videos, and return what is played in them."""
        shapes = (tuple(np.shape(videos)), tuple(np.shape(options)))
        arrays = [x for x in (videos, options) if isinstance(x, np.ndarray)]
        integers = len(arrays) == 2 and all(x.dtype.kind in "iu" for x in arrays)
        right = integers and len(shapes[1]) == 2 and shapes[0] == shapes[1][:1] and shapes[0] > (0,)
        if not right or not 1 <= shapes[1][1] <= self.cache.steps:
            raise ValueError(
                f"expected integer arrays: videos (B,), options (B, D) with D in 1 to "
                f"{self.cache.steps}; got shapes {shapes[0]} and {shapes[1]}"
            )
        looks = np.ones(options.shape, dtype=np.bool_) if attended is None else attended
        check_plan(options, looks, self.cache.n_options)
        self.start(videos)
        return Plan(options, looks)

    def _play(self, t: int, plan: Plan) -> Tensor:
        """Feed segment ``t`` as planned; return the logits ``(B, C)``."""
        segments = np.full(len(plan.options), t)
        options, attended = plan.options[:, t, None], plan.attended[:, t, None]
        self.commit(self.try_options(segments, options, attended))
        return self.logits

    def _recur(self, step: Tensor) -> Tensor:
        if self._recurrent is None:
            self._recurrent = self.source.classifier.recur(self._state, step)
        return self._recurrent

    def _steps(self) -> Tensor:
        """Return how many segments were fed; T − 1 where all were, which are fed no more."""
        return torch.from_numpy(np.minimum(self.step, self.cache.steps - 1)).to(self.cache.device)

    def _check_running(self, fed: NDArray[np.bool_] | None = None) -> None:
        running = self.step if fed is None else self.step * fed
        if not len(running) or running.max() >= self.cache.steps:
            raise RuntimeError(
                f"expected running episodes, each fed fewer than {self.cache.steps} segments; got "
                f"{self.step.tolist()}: call start() first"
            )

    def _check(self, confidences: Tensor, segments: NDArray[np.int64]) -> None:
        if not math.isfinite(float(confidences.detach().sum())):
            finite = confidences.isfinite().flatten(1).all(dim=1).cpu().numpy()
            row = int(np.flatnonzero(~finite)[0])
            raise CacheError(
                f"video {self.videos[row]}, segment {segments[row]}: f_C gives no finite "
                "confidence: its weights hold NaN or infinite numbers; train it again"
            )
