"""What ``focusgym quickstart`` has measured, read again for its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...feature_cache import FeatureCache
from ...recognizer import in_words
from ...recognizer.files.declared import map_array
from ...recognizer.files.documents import read_json
from ...recognizer.files.typed import typed
from ..folders.atomic import OutputError
from .report import MEANINGS


@dataclass(frozen=True)
class Parity:
    """How near predictions on pixels come to those on the cache; see `parity`."""

    prediction_agreement: float
    max_abs_confidence_difference: float


@dataclass(frozen=True)
class Row:
    """What a report tells of a policy; see `row_of`."""

    name: str
    accuracy_by_step: tuple[float, ...]
    kept_share: float
    gmacs_per_video: float

    def __post_init__(self) -> None:
        """Check the name and the numbers."""
        if self.name not in MEANINGS:
            raise ValueError(f"expected one of {', '.join(MEANINGS)}; got {self.name!r:.80}")
        shares = (*self.accuracy_by_step, self.kept_share)
        if not all(0 <= each <= 1 for each in shares) or self.gmacs_per_video < 0:
            raise ValueError(f"expected shares in [0, 1] and a cost; got {self!r:.200}")


@dataclass(frozen=True)
class Measured:
    """What a report tells of all policies; see `compare_policies`."""

    n_videos: int
    steps: int
    policies: list[dict[str, Any]]
    parity: Parity


def read_measured(folder: Path, cache: FeatureCache) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Read the figures, and the options ``(B, T)`` of the learned policy in the test videos.

    Args:
        folder: Of ``results.json`` and ``options.npy``.
        cache: The cache that was measured.

    Raises:
        OutputError: If a file is damaged, or tells of something else than the cache.
    """
    shape = (len(cache.split("test")), cache.steps)
    try:
        results: dict[str, Any] = read_json(folder / "results.json")
        measured = typed(Measured, results, others=True)
        rows = [typed(Row, each, "policies", others=True) for each in measured.policies]
        lengths = {len(each.accuracy_by_step) for each in rows}
        if (measured.n_videos, measured.steps) != shape or lengths != {measured.steps}:
            raise ValueError(
                f"expected policies in {shape[0]} videos of {shape[1]} steps; got "
                f"{measured.n_videos} of {measured.steps}, with accuracies after "
                f"{sorted(lengths)} of them"
            )
        options = np.array(map_array(folder / "options.npy"))
        if options.dtype != np.int64 or options.shape != shape:
            raise ValueError(
                f"options.npy: expected int64 of shape {shape}; got {options.dtype} of "
                f"{options.shape}"
            )
        if ((options < 0) | (options >= cache.n_options)).any():
            raise ValueError(f"options.npy: expected options in [0, {cache.n_options})")
        return results, options
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{folder} does not say what was measured ({in_words(error)}): remove it, and "
            "`focusgym quickstart` measures it again"
        ) from error
