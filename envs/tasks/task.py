"""A task: what makes one environment id differ from another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..config import EnvConfig
from ..engine.engine import FocusEngine
from ..episodes.order import Episodes
from ..rewards.checks import check_design, check_rewards
from ..rewards.designs import Confidences, make_design, reward_name
from ..rewards.functions import margin
from .prices import Prices
from .timelines import Timeline


@dataclass(frozen=True)
class Look:
    """What became of one segment in each of N episodes.

    Attributes:
        segments: ``(N,)`` int64; −1 where an episode has fewer looks in this decision than another.
        options: ``(N,)`` int64 in ``[0, K)``, the option that was named; any where none was.
        named: ``(N,)`` bool, whether one was.
        attended: ``(N,)`` bool, whether f_L ran.
        fed: ``(N,)`` bool, whether f_C went on.
        logits: ``(N, C)`` after it.
        confidence: ``(N,)`` on the true label, after it.
        gmacs: ``(N,)`` float64, what the episode has cost after it.
        boxes_px: ``(N, 4)`` float32, where f_L ran, (left, top, right, bottom), also between
            pixels; None where it is the option's box.
    """

    segments: NDArray[np.int64]
    options: NDArray[np.int64]
    named: NDArray[np.bool_]
    attended: NDArray[np.bool_]
    fed: NDArray[np.bool_]
    logits: Tensor
    confidence: Tensor
    gmacs: NDArray[np.float64]
    boxes_px: NDArray[np.float32] | None = None

    def boxes_of(self, options_px: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where f_L ran, ``(N, 4)``, in whole pixels; zeros where no option was named.

        Args:
            options_px: ``(K, 4)``, the boxes of the options.
        """
        if self.boxes_px is not None:
            return self.boxes_px.round().astype(np.int64)
        boxes_px: NDArray[np.int64] = np.where(self.named[:, None], options_px[self.options], 0)
        return boxes_px


@dataclass(frozen=True)
class Decision:
    """What one decision gave in each of N episodes.

    Attributes:
        looks: The segments that it was about: one, or those of a subset in the order in which f_C
            was fed. Each episode has one at least; what the last one has of logits, confidence and
            cost is how the episode stands.
        rewards: ``(N,)``.
        over: ``(N,)`` bool, whether the episode ends with it.
        info: More columns of the info, ``(N,)`` each, by name.
    """

    looks: tuple[Look, ...]
    rewards: Tensor
    over: NDArray[np.bool_]
    info: Mapping[str, NDArray[Any] | Tensor] = field(default_factory=dict)


ConfigT = TypeVar("ConfigT", bound=EnvConfig)
ChoiceT = TypeVar("ChoiceT")


class Task(ABC, Generic[ConfigT, ChoiceT]):
    """The rules of N episodes that one engine plays: order, end, actions, prices, reward.

    A subclass says what an action means. Its keywords are a subclass of `EnvConfig`, whose ``task``
    names it, and an environment id stands for these: `registry.TASKS`, or `register_task`.

    Attributes:
        config: The keywords.
        engine: Plays.
        prices: What segments and options cost.
        allowed: ``(K,)`` bool, the options that may be chosen.
        design: The reward design.
        timeline: Which segment comes next, and when an episode ends.
        space: The actions of one environment.
        t: ``(N,)`` int64, decisions so far.
        place: ``(N,)`` int64, where in the order of the timeline each episode stands.
        gmacs: ``(N,)`` float64, cost of the episodes so far.
        seen: ``(N, T)`` bool, the segments that f_C was fed.
        passed: ``(N, T)`` bool, those that decisions with skips were about.
        rewarded: Whether rewards are asked for; if not, no alternative need be tried for them.
    """

    compares: ClassVar[bool] = False  # whether designs may compare with other options
    # Whether a decision in each segment, in order, sees glance maps alone: whole episodes may then
    # be sampled and trained in one pass.
    in_one_pass: ClassVar[bool] = False

    def __init__(
        self,
        config: ConfigT,
        engine: FocusEngine,
        prices: Prices,
        allowed: NDArray[np.bool_],
        n_envs: int,
    ) -> None:
        """Set up N episodes, of which none has begun.

        Raises:
            ValueError: If the keywords do not fit the cache, or the reward cannot be used here.
        """
        self.config = config
        self.design = make_design(config.reward)
        check_design(
            self.design,
            config.reward,
            n_envs,
            engine.cache.n_classes,
            several_labels=config.labels == "mean",
            device=engine.cache.device,
        )
        if not self.compares and (self.design.draws != 0 or self.design.compares_skip):
            raise ValueError(
                f"reward {reward_name(config.reward)} compares with other options of the same "
                "segment, which this environment does not try: choose one that compares with "
                "nothing, such as 'increments' or 'confidence'"
            )
        self._tracks_margin = bool(getattr(self.design, "compares_margin", False))
        self._best_margin = torch.zeros(n_envs, device=engine.cache.device)
        self.engine = engine
        self.prices = prices
        self.allowed = allowed
        self.timeline = self.make_timeline()
        self.t = np.zeros(n_envs, dtype=np.int64)
        self.place = np.full(n_envs, self.timeline.begins, dtype=np.int64)
        self.gmacs = np.zeros(n_envs)
        self.seen = np.zeros((n_envs, engine.cache.steps), dtype=bool)
        self.passed = np.zeros_like(self.seen)
        self.rewarded = True

    @property
    @abstractmethod
    def space(self) -> spaces.Space[Any]:
        """The actions of one environment."""

    @abstractmethod
    def make_timeline(self) -> Timeline:
        """Return which segment comes next, and when an episode ends.

        Raises:
            ValueError: If the keywords do not fit the cache or the reward design.
        """

    @abstractmethod
    def read(self, actions: ArrayLike) -> ChoiceT:
        """Return what N actions mean; nothing goes on.

        Args:
            actions: N actions of the space.

        Raises:
            ValueError: If they are not N actions of the space. Numbers outside a ``Box`` may
                be refused, clipped or taken as they are; an action that is not possible now may be
                refused or read as another.
        """

    @abstractmethod
    def decide(self, choice: ChoiceT, episodes: Episodes) -> Decision:
        """Make one decision in every episode.

        Args:
            choice: From `read`.
            episodes: The videos being played, and the random options of each decision.

        Raises:
            ValueError: If the reward design gives no reward.
            CacheError: If features are not finite.
        """

    def masks(self) -> NDArray[np.bool_]:
        """Return which actions are possible now, ``(N, number of actions)``.

        Raises:
            RuntimeError: If the actions are numbers, of which any are possible.
            NotImplementedError: If the task does not say it.
        """
        if not isinstance(self.space, spaces.Box):
            raise NotImplementedError(
                f"{type(self).__name__} does not say which actions are possible: define `masks`"
            )
        raise RuntimeError(
            f"actions of {self.space} have no masks: use an algorithm for continuous actions, such "
            "as PPO or SAC"
        )

    def begin(self, which: NDArray[np.bool_]) -> None:
        """Begin anew in the episodes ``which``, ``(N,)``; the engine has begun them."""
        self.t = np.where(which, 0, self.t)
        self.place = np.where(which, self.timeline.begins, self.place)
        self.gmacs = np.where(which, 0.0, self.gmacs)
        self.seen = self.seen & ~which[:, None]
        self.passed = self.passed & ~which[:, None]
        begins = torch.from_numpy(which).to(self._best_margin.device)
        self._best_margin = self._best_margin.masked_fill(begins, 0.0)

    def upcoming(self) -> NDArray[np.int64]:
        """Return the segments ``(N,)`` that the next decision is about, or that were taken last."""
        return self.timeline.segment(self.place)

    def pointed(self) -> NDArray[np.bool_]:
        """Return the segments that observations call ``now``, ``(N, T)``: the upcoming one."""
        is_upcoming: NDArray[np.bool_] = self.upcoming()[:, None] == np.arange(
            self.engine.cache.steps
        )
        return is_upcoming

    def glanced(self) -> NDArray[np.bool_]:
        """Return the segments that f_G has run on, ``(N, T)``, as the timeline says."""
        glances = self.timeline.glances
        if glances == "all":
            return np.ones_like(self.seen)
        if glances == "needed":
            return self.seen & self._reuses_glance
        glanced = self.seen | self.passed
        if glances == "next":
            glanced[np.arange(len(glanced)), self.upcoming()] = True
        return glanced

    def glance_gmacs(self, fed: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return what f_G spends for the next decision, ``(N,)``, as the timeline says.

        Args:
            fed: ``(N,)`` whether f_C is fed the segment that it is about.
        """
        glances = self.timeline.glances
        n_segments = fed.astype(np.int64)
        if glances == "next":
            n_segments = np.ones_like(n_segments)
        elif glances == "all":
            n_segments = np.where(self.t == 0, self.engine.cache.steps, 0)
        elif not self._reuses_glance:
            # One that f_C does not take is for the agent, which sees it before another decision.
            goes_on = (glances == "taken") & (self.t + 1 < self.timeline.n_decisions)
            n_segments = n_segments * goes_on
        return np.asarray(n_segments * self.prices.cost.glance_gmacs, dtype=np.float64)

    @property
    def _reuses_glance(self) -> bool:
        return self.engine.source.classifier.config.reuse_glance

    def can_stop(self) -> NDArray[np.bool_]:
        """Return which episodes a decision may end, ``(N,)``: those that have a prediction."""
        return np.asarray(self.seen.any(axis=1) & self.timeline.may_stop)

    def move_on(self, place: NDArray[np.int64] | None = None) -> None:
        """Count a decision, and stand at the next place of the order.

        Args:
            place: ``(N,)`` another one, where decisions skip or name segments.
        """
        if self.timeline.skips:
            self.passed[np.arange(len(self.t)), self.upcoming()] = True
        self.t = self.t + 1
        self.place = self.place + 1 if place is None else place

    def reward(
        self,
        *,
        chosen: Tensor,
        previous: Tensor,
        logits: Tensor,
        options: NDArray[np.int64],
        named: NDArray[np.bool_],
        last: NDArray[np.bool_],
        random: Tensor | None = None,
        skip: Tensor | None = None,
    ) -> Tensor:
        """Return the design's rewards ``(N,)`` of a decision that was paid for and counted.

        Args:
            chosen: ``(N,)`` confidence after it.
            previous: ``(N,)`` confidence before it.
            logits: ``(N, C)`` after it.
            options: ``(N,)`` that were named; any in ``[0, K)`` where none was.
            named: ``(N,)`` whether one was.
            last: ``(N,)`` whether the episode ends with it.
            random: ``(N, k)`` confidences after what the design compares with.
            skip: ``(N,)`` confidence after feeding the segment without a look.

        Raises:
            ValueError: If the design does not return one finite number per episode.
        """
        device = chosen.device
        rewards = self.design(
            Confidences(
                chosen=chosen,
                previous=previous.clone(),  # records hold the engine's own
                gmacs=torch.from_numpy(self.gmacs.copy()),
                logits=logits.clone(),
                labels=self.engine.labels.clone(),
                options=torch.from_numpy(options.copy()).to(device),
                named=torch.from_numpy(named.copy()).to(device),
                step=torch.from_numpy(self.t - 1).to(device),
                last=torch.from_numpy(last.copy()).to(device),
                random=random,
                skip=skip,
                best_margin=self._best_margin.clone() if self._tracks_margin else None,
            )
        )
        check_rewards(rewards, self.config.reward, len(self.t))
        if self._tracks_margin:
            self._best_margin = self._best_margin.maximum(
                margin(self.engine.logits, self.engine.labels)
            )
        return rewards

    def pay(self, gmacs: NDArray[np.float64]) -> None:
        """Add to what the episodes have cost, ``(N,)``."""
        self.gmacs = self.gmacs + gmacs
