"""What a look costs in the reward of π′: as in its training, where that is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ...envs import PlusConfig
from ..run_folder import stored_settings

_USUAL = PlusConfig("", "").penalty


@dataclass(frozen=True)
class Price:
    """What Eq. 10 takes off the reward for a look.

    Attributes:
        penalty: Per pixel of the patch or per GMAC of f_L, as the environment takes it; None is its
            default.
        whence: Where it is from, in words.
    """

    penalty: Mapping[str, float] | None = None
    whence: str = "the default, for a policy bundle does not say what it was trained with"

    @classmethod
    def of_run(cls, run: Path, patch_px: int) -> Price:
        """Return the price that a run of ``focusgym train`` was trained with.

        Where the training adapted it to a target, it is the last one of its logs.

        Args:
            run: Folder of the run.
            patch_px: P.

        Raises:
            OutputError: If it is no such run.
        """
        said = stored_settings(run, "train")
        if said.get("target-gmacs") is None:
            names = {"per_px2": "penalty-per-px2", "per_gmac": "penalty-per-gmac"}
            given = {key: said[name] for key, name in names.items() if said.get(name) is not None}
            return cls(given or None, "as in its training")
        logged = _last_logged(run)
        if logged is None:
            return cls(whence="the default, for the logs of its training are gone")
        return cls({"per_px2": logged / patch_px**2}, "to which its training came in the end")

    def keyword(self) -> dict[str, Any]:
        """Return it as the environment's keyword, if it is not the default."""
        return {} if self.penalty is None else {"penalty": self.penalty}

    def __str__(self) -> str:
        """Say how much it is, and where it is from."""
        ((unit, price),) = (self.penalty or _USUAL).items()
        what = "pixel of the patch" if unit == "per_px2" else "GMAC of f_L"
        return f"{price:.3g} per {what} ({self.whence})"


def _last_logged(run: Path) -> float | None:
    """Return what the last rollout of a run took off for a look."""
    logs = sorted((run / "logs").glob("*/progress.csv"), key=lambda path: int(path.parent.name))
    for log in reversed([log for log in logs if log.stat().st_size]):
        table = pd.read_csv(log)
        prices = table["keep/penalty"].dropna().tolist() if "keep/penalty" in table else []
        if prices:
            return float(prices[-1])
    return None
