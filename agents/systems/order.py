"""The orders in which f_C may be fed the segments of a video in training."""

from __future__ import annotations

from typing import Literal

Order = Literal["video", "coarse_to_fine", "shuffled", "gaps"]
