"""Tasks in which each decision feeds f_C one segment or none, and is rewarded less its price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import EnvConfig, check_integer, check_number
from ..rewards.designs import Reward
from .task import ChoiceT, Decision, Look, Task


@dataclass(frozen=True)
class PricedConfig(EnvConfig):
    """Keywords that tasks with a price have in common: those of `EnvConfig`, and one more.

    Attributes:
        price_per_gmac: What is taken off the reward for each GMAC that a decision spends.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    task: ClassVar[str] = ""  # a subclass names it

    reward: Reward = "increments"
    price_per_gmac: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check_number("price_per_gmac", self.price_per_gmac)


@dataclass(frozen=True)
class OneOptionConfig(PricedConfig):
    """Keywords of tasks about segments alone: f_L runs on one option of each that is taken.

    Attributes:
        option: That option, in ``[0, K)``.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    observations: ClassVar[tuple[str, ...]] = ("state",)

    observation: str = "state"
    option: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check_integer("option", self.option, 0)


PricedT = TypeVar("PricedT", bound=PricedConfig)


class PricedTask(Task[PricedT, ChoiceT]):
    """A task in which a decision feeds f_C one segment or none."""

    def take(
        self,
        segments: NDArray[np.int64],
        options: NDArray[np.int64],
        fed: NDArray[np.bool_],
        *,
        attended: NDArray[np.bool_] | None = None,
        stops: NDArray[np.bool_] | None = None,
        place: NDArray[np.int64] | None = None,
        info: Mapping[str, NDArray[Any]],
    ) -> Decision:
        """Run f_L and f_C on the segments that are fed; pay, go on, and reward.

        Args:
            segments: ``(N,)`` that the decision is about.
            options: ``(N,)`` that f_L runs on; any in ``[0, K)`` where it does not.
            fed: ``(N,)`` bool, whether the segment is taken.
            attended: ``(N,)`` bool, whether f_L runs; of what is fed alone. None: wherever it is.
            stops: ``(N,)`` bool, whether the episode ends here. It also does at the end of the
                timeline. None: nowhere.
            place: ``(N,)`` where in the order each episode stands then; None: at the next place.
            info: More columns of the info, ``(N,)`` each.
        """
        engine, prices = self.engine, self.prices
        attended = fed if attended is None else attended
        looks_gmacs = prices.of_looks(options, attended, fed)
        spent = self.glance_gmacs(fed) + prices.cost.policy_gmacs + looks_gmacs
        self.pay(spent)
        previous = engine.confidence
        looks = None if attended is fed else attended[:, None]
        engine.commit(engine.try_options(segments, options[:, None], looks, fed))
        self.move_on(place)
        self.seen[np.arange(len(segments)), segments] |= fed
        over = self.timeline.is_over(self.place, self.t)
        over = over if stops is None else over | stops
        rewards = self.reward_less_price(previous, options, attended, over, spent)
        taken = (segments, options, attended, attended, fed)
        look = Look(*taken, engine.logits, engine.confidence, self.gmacs)
        return Decision((look,), rewards, over, info)

    def reward_less_price(
        self,
        previous: Tensor,
        options: NDArray[np.int64],
        attended: NDArray[np.bool_],
        over: NDArray[np.bool_],
        spent_gmacs: NDArray[np.float64],
    ) -> Tensor:
        """Return the design's rewards ``(N,)`` of a decision, less the price of what it spent.

        Args:
            previous: ``(N,)`` confidences before the decision.
            options: ``(N,)`` that were looked at; any where none was.
            attended: ``(N,)`` whether one was.
            over: ``(N,)`` whether the episode ends with it.
            spent_gmacs: ``(N,)`` what it cost.
        """
        rewards = self.reward(
            chosen=self.engine.confidence.clone(),
            previous=previous,
            logits=self.engine.logits,
            options=options,
            named=attended,
            last=over,
        )
        if self.config.price_per_gmac:
            price = torch.from_numpy(self.config.price_per_gmac * spent_gmacs)
            rewards = rewards - price.to(rewards.device, rewards.dtype)
        return rewards


def check_option(option: int, allowed: NDArray[np.bool_]) -> None:
    """Check the option that a task uses in every segment.

    Args:
        option: From the keywords.
        allowed: ``(K,)`` which options may be chosen.

    Raises:
        ValueError: If it is not among them.
    """
    if option >= len(allowed) or not allowed[option]:
        raise ValueError(
            f"option must be among {np.flatnonzero(allowed).tolist()}, the options of this cache "
            f"that are allowed; got {option}"
        )
