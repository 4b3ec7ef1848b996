"""AdaFocus and AdaFocus+: where to look in every frame of a video, and whether."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..config import EnvConfig
from ..engine.engine import FocusEngine, Tried
from ..episodes.order import Episodes
from ..rewards.functions import skip_gain
from .actions import ActionSet, Choice, action_set
from .prices import Prices
from .task import Decision, Look, Task
from .timelines import Timeline


class AdaFocusTask(Task[EnvConfig, Choice]):
    """Where to look in every frame of a video; in AdaFocus+ also whether to look at all.

    ``focusgym/AdaFocus-v0`` (`EnvConfig`) and ``focusgym/AdaFocusPlus-v0`` (`PlusConfig`). The
    segments come in order, and f_C is fed all of them.

    ## Action space
    ``Discrete(K)``: option ``n*row + col``, a patch of the cache's n×n grid. AdaFocus+:
    ``MultiDiscrete([K, 2])``: where; and whether to look (1) or to skip (0). With
    ``action_set="flat"`` ``Discrete(K + 1)``: where, or K to skip.

    ## Reward
    By default the confidence on the true label after looking, less that after looking at a random
    patch instead, everything before being the same (Eq. 7); others by name, or a function of your
    own, see `make_design`.

    In AdaFocus+ r + r′: the reward design's for where (π), and Eq. 10's for whether (π′); ``info``
    has them as ``reward_location`` and ``reward_skip``, and ``attended``: whether f_L ran. f_C's
    state goes on with what was done. Where a frame is skipped, r is that of what looking would have
    given; in the flat set, where no location was chosen, that of looking at nothing. The paper
    leaves these open (our choices).

    ## Budget
    With ``budget_gmacs`` no episode costs more: a look that would leave too little for seeing the
    frames that remain is skipped instead, and ``action_masks()`` says so beforehand. Episodes do
    not end early.

    Source: AdaFocus (arXiv:2105.03245) section 3.3, Eq. 7 to 10.
    """

    compares: ClassVar[bool] = True
    in_one_pass: ClassVar[bool] = True

    def __init__(
        self,
        config: EnvConfig,
        engine: FocusEngine,
        prices: Prices,
        allowed: NDArray[np.bool_],
        n_envs: int,
    ) -> None:
        """Set up N episodes; see `Task`."""
        super().__init__(config, engine, prices, allowed, n_envs)
        self.actions: ActionSet = action_set(config.action_kind, allowed)
        self._allowed = np.flatnonzero(allowed)

    @property
    def space(self) -> spaces.Space[Any]:
        """Where; in AdaFocus+ also whether."""
        return self.actions.space

    def make_timeline(self) -> Timeline:
        """Return the segments in order."""
        return Timeline.in_order(self.engine.cache.steps)

    def masks(self) -> NDArray[np.bool_]:
        """Return which actions are possible, ``(N, number of actions)``; see `ActionSet`."""
        return self.actions.masks(self.prices.affordable(self.gmacs, self.t))

    def read(self, actions: ArrayLike) -> Choice:
        """Return where to look and whether; see `ActionSet.choose`."""
        return self.actions.choose(actions, len(self.t))

    def decide(self, choice: Choice, episodes: Episodes) -> Decision:
        """Look, or not, in the next frame of every episode."""
        if self.prices.budget_gmacs < np.inf:
            choice = self.actions.without(choice, self.prices.affordable(self.gmacs, self.t))
        segments, draws = self.upcoming(), self.design.draws
        previous = self.engine.confidence
        self.pay(self.prices.of_segment(choice.options, choice.looks))
        every = None
        if draws is None:
            every = self.engine.counterfactuals(segments).options[:, self._allowed]
        drawn = episodes.draws(self.t) if draws else None
        tried = self._try(segments, choice, drawn)
        n_alternatives = tried.confidences.shape[1]
        if self.actions.can_skip and self._tries_unseen:
            self.engine.commit(tried, np.where(choice.looks, 0, n_alternatives - 1))
        else:
            self.engine.commit(tried)
        self.seen[np.arange(len(segments)), segments] = True
        self.move_on()
        last = self.timeline.is_over(self.place, self.t)
        chosen, compares = tried.confidences[:, 0].clone(), self._tries_unseen
        skip = tried.confidences[:, -1] if compares else None
        info: dict[str, Any] = {}
        gain = None
        if self.actions.can_skip and skip is not None:
            looks = torch.from_numpy(choice.looks).to(chosen.device)
            penalties = torch.from_numpy(self.prices.penalties(choice.options))  # where f_L runs
            gain = skip_gain(chosen, skip, looks, penalties.to(chosen.device, chosen.dtype))
        rewards = self.reward(
            chosen=chosen,
            previous=previous,
            logits=tried.logits[:, 0],
            options=choice.options,
            named=choice.named,
            last=last,
            random=every if drawn is None else tried.confidences[:, 1 : 1 + drawn.shape[1]],
            skip=skip,
        )
        if gain is not None:
            info = {"attended": choice.looks, "reward_skip": gain, "reward_location": rewards}
            rewards = rewards + gain
        fed = np.ones(len(segments), dtype=bool)
        taken = (segments, choice.options, choice.named, choice.looks, fed)
        look = Look(*taken, self.engine.logits, self.engine.confidence, self.gmacs)
        return Decision((look,), rewards, last, info)

    @property
    def _tries_unseen(self) -> bool:
        return self.rewarded and (self.actions.can_skip or self.design.compares_skip)

    def _try(
        self, segments: NDArray[np.int64], choice: Choice, drawn: NDArray[np.int64] | None
    ) -> Tried:
        """Try the chosen option, random ones and, last and if it is needed, no look at all."""
        columns = [choice.options[:, None], *([] if drawn is None else [drawn])]
        if self._tries_unseen:
            columns.append(columns[0])  # any option: it is not looked at
        options = np.concatenate(columns, axis=1)  # (N, M)
        if not self._tries_unseen:  # a skip is then not compared with a look
            looks = None if choice.looks.all() else choice.looks[:, None]
            return self.engine.try_options(segments, options, looks)
        attended = np.ones(options.shape, dtype=bool)
        attended[:, 0], attended[:, -1] = choice.named, False
        return self.engine.try_options(segments, options, attended)
