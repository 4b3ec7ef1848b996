"""Dynamic-STE on a cache: a student sees every segment, a teacher a few of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ...envs import FeatureSource
from ..reading import read_segments
from .direct_system import FixedSystem, Reader
from .system import ClassifierKind


@dataclass(frozen=True)
class ScheduledSystem(FixedSystem):
    """f_G sees all segments, and f_L a part of them, spread uniformly; f_C is fed every segment.

    Where f_L does not run, f_C is fed a zero local vector beside the glance vector. The setting is
    the share of the segments that f_L sees.

    Source: Dynamic-STE (ICCV 2021): a light student on many frames and a heavy teacher on few.
    """

    def reader(
        self, source: FeatureSource, setting: float, seed: int, kept: Path | None = None
    ) -> Reader:
        """Return what feeds f_C every segment of every video."""
        every = range(source.cache.steps)
        looks = np.isin(every, self.segments(source.cache.steps, setting))
        return partial(read_segments, segments=every, looks=looks.tolist())


DYNAMIC_STE = ScheduledSystem(
    "dynamic_ste",
    "nothing: f_G in every segment, f_L in a part of them, spread uniformly",
    "Dynamic-STE (ICCV 2021), as in AdaFocusV2 (arXiv:2112.14238)",
    ClassifierKind("gru", reuse_glance=True, skip_rate=0.5),
    settings=(0.8, 0.6, 0.4, 0.2),
)
