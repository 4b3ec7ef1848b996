"""A row of the table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def row(values: Sequence[float], unit: str, how: str) -> dict[str, float | str]:
    """Return a row from repetitions: their median, smallest and largest."""
    return {
        "value": median(values),
        "low": min(values),
        "high": max(values),
        "unit": unit,
        "how": f"{how}; median of {len(values)}",
    }
