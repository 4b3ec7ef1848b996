"""What several seeds came to, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from focusgym.recognizer import Purpose, generator
from focusgym.runs.comparison.statistics import bootstrap_videos, interval, t_interval


def in_percent(seeds: list[NDArray[np.float64]]) -> str:
    """Return a mean in percent, its interval over videos, and the smallest and largest seed."""
    rng = generator(Purpose.RESAMPLING, 0)
    low, high = interval(bootstrap_videos(seeds, [1 / len(seeds)] * len(seeds), rng, 2000))
    means = [float(each.mean()) for each in seeds]
    text = f"{100 * np.mean(means):+6.1f} [{100 * low:.1f}, {100 * high:.1f}] "
    text += f"({100 * min(means):.1f} to {100 * max(means):.1f})"
    if len(seeds) > 1:
        ends = t_interval([np.array(means)], [range(len(means))])
        text += f", over seeds [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
    return text
