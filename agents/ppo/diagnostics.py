"""What tells whether a policy still decides anything: use of options, gains against their price."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
from numpy.typing import NDArray

# A sign has to last this many rollouts before it is told, once.
PATIENCE = 10
EXTREME = 0.99


class CollapseWarning(UserWarning):
    """A policy always does the same, or the price of a look changes nothing."""


def option_use(options: NDArray[np.int64], n_options: int) -> dict[str, float]:
    """Return how evenly options were chosen.

    Args:
        options: ``(B, T)`` in ``[0, K)``.
        n_options: K.

    Returns:
        ``used``: options that were chosen at all; ``largest_share``: of the most frequent one;
        ``effective``: exp of the entropy of the shares, 1 to K.
    """
    shares = np.bincount(options.ravel(), minlength=n_options) / options.size
    chosen = shares[shares > 0]
    return {
        "used": float(len(chosen)),
        "largest_share": float(shares.max()),
        "effective": float(np.exp(-(chosen * np.log(chosen)).sum())),
    }


def keep_use(
    keep_probability: NDArray[np.floating],
    attended: NDArray[np.bool_],
    gains: NDArray[np.floating],
    penalty: float,
) -> dict[str, float]:
    """Return how many frames are kept, and what looking gained beside its price.

    Args:
        keep_probability: ``(B, T)`` p^B.
        attended: ``(B, T)`` whether f_L ran.
        gains: ``(B, T)`` confidence gained by looking, where it did.
        penalty: λP².

    Returns:
        ``probability``: mean p^B; ``share``: of frames looked at; ``penalty``; ``gain_mean`` and
        ``gain_median``; ``gains_below_penalty``: share of looks that gained less than their price.
        Gains are NaN where nothing was looked at.
    """
    known = gains[attended] if attended.any() else np.array([np.nan])
    return {
        "probability": float(keep_probability.mean()),
        "share": float(attended.mean()),
        "penalty": penalty,
        "gain_mean": float(known.mean()),
        "gain_median": float(np.median(known)),
        "gains_below_penalty": float((known < penalty).mean()) if attended.any() else np.nan,
    }


class Watch:
    """Warns once of each sign that has lasted."""

    def __init__(self, n_allowed: int) -> None:
        """Begin with no signs; of a single option there is no other use."""
        self._n_allowed = n_allowed
        self._lasted: Counter[str] = Counter()

    def look(self, options: dict[str, float], keep: dict[str, float] | None) -> None:
        """Take the figures of a rollout, and warn of what has lasted.

        Args:
            options: Figures of the rollout's options, from `option_use`.
            keep: Of `keep_use`, where π′ has joined.
        """
        self._warn(
            "one option",
            self._n_allowed > 1 and options["largest_share"] > EXTREME,
            f"π has chosen one option in more than {EXTREME:.0%} of all decisions: raise ent_coef "
            "or lower learning_rate, and look whether rewards differ between options at all",
        )
        if keep is None:
            return
        share, below, price = keep["share"], keep["gains_below_penalty"], keep["penalty"]
        self._warn(
            "all or none",
            not 1 - EXTREME <= share <= EXTREME,
            f"π′ keeps {share:.1%} of the frames: change the penalty ({price:.3g} now), or give "
            "target_gmacs",
        )
        self._warn(
            "no binding",
            not np.isnan(below) and not 1 - EXTREME <= below <= EXTREME,
            f"the penalty of a look, {price:.3g}, cannot bind: {below:.1%} of the looks gain less "
            f"(mean gain {keep['gain_mean']:.3g}); choose it among the gains, or give target_gmacs",
        )

    def _warn(self, sign: str, shows: bool, message: str) -> None:
        self._lasted[sign] = self._lasted[sign] + 1 if shows else min(self._lasted[sign], 0)
        if self._lasted[sign] == PATIENCE:
            warnings.warn(f"for {PATIENCE} rollouts {message}", CollapseWarning, stacklevel=4)
            self._lasted[sign] = -(10**9)  # once
