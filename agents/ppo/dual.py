"""Training to a budget: the price of a look that makes the mean cost meet a target."""

from __future__ import annotations

from dataclasses import dataclass

from ...envs.core import Player


@dataclass(frozen=True)
class DualAscent:
    """Moves the penalty λ by how much is looked above the share that a target allows.

    The price brings π′'s keep probabilities to where the target is decided; actions are drawn from
    them in the training only. What is spent at test time is up to the threshold ρ, which
    `keep_threshold` solves for the same share.

    ``λ ← max(0, λ + rate·remaining·(mean p^B - share))``: ascent on the dual of "most reward, with
    a mean cost of at most the target". ``remaining``, the share of the training that is left, lets
    λ come to rest: π′ follows it with a delay.

    Attributes:
        share: Of frames that may be looked at.
        rate: Change of λ per rollout at the start for all frames too many, in units of confidence.
    """

    share: float
    rate: float

    @classmethod
    def to_target(cls, target_gmacs: float, player: Player, rate: float) -> DualAscent:
        """Return the ascent to a cost.

        Args:
            target_gmacs: What an episode is to cost in the mean, GMACs.
            player: Of environments where frames can be skipped.
            rate: See above.

        Raises:
            ValueError: If they cannot, or no share of looks costs that much.
        """
        if player.config.look_price is None:
            raise ValueError(
                "target_gmacs wants frames that can be skipped: make focusgym/AdaFocusPlus-v0"
            )
        prices = player.prices
        least = prices.steps * prices.frame_gmacs
        most = least + prices.steps * prices.cost.local_gmacs
        if not least < target_gmacs < most:
            raise ValueError(
                f"target_gmacs must be between {least:.6g} (no look) and {most:.6g} (all frames "
                f"looked at) per episode; got {target_gmacs}"
            )
        return cls((target_gmacs - least) / (most - least), rate)

    def step(self, penalty: float, keep_probability: float, remaining: float) -> float:
        """Return the penalty for the next rollout.

        Args:
            penalty: λ of the last rollout, times P².
            keep_probability: Mean p^B of the last rollout.
            remaining: Share of the training that is left, in [0, 1].
        """
        return max(0.0, penalty + self.rate * remaining * (keep_probability - self.share))
