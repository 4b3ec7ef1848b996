"""What may be compared with the thresholds of exits; imports nothing heavy."""

from __future__ import annotations

from typing import Literal, get_args

Measure = Literal["confidence", "entropy", "margin"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
