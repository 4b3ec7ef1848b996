"""What a look costs in the reward of π′: as in its training, where its bundle says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...agents import read_penalty
from ...envs import PlusConfig

_USUAL = PlusConfig("", "").penalty


@dataclass(frozen=True)
class Price:
    """What Eq. 10 takes off the reward for a look.

    Attributes:
        penalty: Per pixel of the patch or per GMAC of f_L, as the environment takes it; None is its
            default, for a policy bundle that does not say what it was trained with.
    """

    penalty: Mapping[str, float] | None = None

    @classmethod
    def of_bundle(cls, bundle: Path) -> Price:
        """Return the price in a policy bundle.

        Raises:
            BundleError: If it is no readable policy bundle.
        """
        return cls(read_penalty(bundle))

    def keyword(self) -> dict[str, Any]:
        """Return it as the environment's keyword, if it is not the default."""
        return {} if self.penalty is None else {"penalty": self.penalty}

    def __str__(self) -> str:
        """Say how much it is, and where it is from."""
        ((unit, price),) = (self.penalty or _USUAL).items()
        what = "pixel of the patch (λ)" if unit == "per_px2" else "GMAC of f_L"
        whence = "as in its training" if self.penalty else "the default; its bundle has none"
        return f"{price:.3g} per {what}, {whence}"
