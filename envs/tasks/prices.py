"""What frames and looks cost, and what a budget has room for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...recognizer import FrameCost
from ..config import EnvConfig

# Sums of costs are rounded: a budget of exactly n looks has room for n.
SLACK = 1 + 1e-9


@dataclass(frozen=True)
class Prices:
    """Costs of an episode of T segments.

    Attributes:
        cost: GMACs of each network on one segment; ``policy_gmacs`` is the agent's own.
        option_gmacs: ``(K,)`` of f_L on each option.
        steps: T.
        budget_gmacs: Most GMACs of an episode; infinite for no limit.
        penalty: What Eq. 10 takes off the reward for a look on the dearest option.
        weights: ``(K,)``, that of each option as a share of the dearest's; None for all alike.

    Raises:
        ValueError: If the budget does not even pay for an episode without looks.
    """

    cost: FrameCost
    option_gmacs: NDArray[np.float64]
    steps: int
    budget_gmacs: float = np.inf
    penalty: float = 0.0
    weights: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Check the budget."""
        least = self.steps * self.frame_gmacs
        if self.budget_gmacs * SLACK < least:
            digits = 5 - math.floor(math.log10(least))
            shown = math.ceil(least * 10**digits) / 10**digits  # up, so that it would do
            raise ValueError(
                f"budget_gmacs must be at least {shown:.6g}, what f_G, f_C and the agent need for "
                f"{self.steps} frames without a look; got {self.budget_gmacs}"
            )

    @classmethod
    def of(
        cls,
        config: EnvConfig,
        cost: FrameCost,
        option_gmacs: NDArray[np.float64],
        steps: int,
        sides_px: NDArray[np.int64],
    ) -> Prices:
        """Return the prices of an environment.

        Args:
            config: Its keywords.
            cost: GMACs of f_G, f_L and f_C on one segment.
            option_gmacs: ``(K,)`` of f_L on each option.
            steps: T.
            sides_px: ``(K,)``, P of each option.
        """
        cost = replace(cost, policy_gmacs=config.policy_gmacs)
        if config.look_price is None:
            return cls(cost, option_gmacs, steps, config.most_gmacs)
        ((unit, price),) = config.look_price.items()
        units = option_gmacs if unit == "per_gmac" else sides_px.astype(np.float64) ** 2
        dearest = float(units.max())
        return cls(cost, option_gmacs, steps, config.most_gmacs, price * dearest, units / dearest)

    @cached_property
    def frame_gmacs(self) -> float:
        """GMACs of a frame that is seen but not looked at: f_G, f_C and the agent."""
        return self.cost.glance_gmacs + self.cost.classifier_gmacs + self.cost.policy_gmacs

    def of_segment(
        self, options: NDArray[np.int64], attended: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return the GMACs ``(N,)`` of a segment that is glanced at, decided about and fed.

        Args:
            options: ``(N,)``, any where ``attended`` is False.
            attended: ``(N,)`` whether f_L runs.
        """
        return self.frame_gmacs + np.where(attended, self.option_gmacs[options], 0.0)

    def of_looks(
        self, options: NDArray[np.int64], attended: NDArray[np.bool_], fed: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return the GMACs ``(N,)`` of f_L and f_C alone, on segments that are fed or not."""
        looks = np.where(attended, self.option_gmacs[options], 0.0)
        total: NDArray[np.float64] = looks + fed * self.cost.classifier_gmacs
        return total

    def penalties(self, options: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what Eq. 10 takes off the reward for looks on options, ``(N,)`` in ``[0, K)``."""
        weights = np.ones(len(self.option_gmacs)) if self.weights is None else self.weights
        return np.asarray(self.penalty * weights[options], dtype=np.float64)

    def affordable(
        self, spent_gmacs: NDArray[np.float64], t: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return which looks at step t leave enough for seeing all frames that remain, ``(N, K)``.

        Args:
            spent_gmacs: ``(N,)`` so far.
            t: ``(N,)`` step of the decision.
        """
        least = spent_gmacs + (self.steps - t) * self.frame_gmacs
        room: NDArray[np.bool_] = (
            least[:, None] + self.option_gmacs <= self.budget_gmacs * SLACK  # (N, K)
        )
        return room
