"""Opening two policies: those of a cache, or runs that were trained end to end."""

from __future__ import annotations

from ..configs.replay import ReplayConfig
from ..evaluation.pixel_runs import is_pixel_run
from ..options.parse import UsageError
from .cached_pair import CachedPair
from .contract import Pair
from .pixel_pair import PixelPair


def open_pair(config: ReplayConfig) -> Pair:
    """Open the policies that ``replay`` is to show; see there for what is raised."""
    paths = [path for path in (config.policy, config.second) if path is not None]
    on_pixels = [path for path in paths if is_pixel_run(path)]
    if not on_pixels:
        return CachedPair.find(config)
    others = [path for path in paths if path not in on_pixels]
    if others:
        raise UsageError(
            f"{on_pixels[0]} was trained end to end, and is played on the video files; {others[0]} "
            "is no such run: expected two of one kind; give --policy and --second two runs of "
            "'focusgym fit end-to-end', or two policies of one cache"
        )
    return PixelPair.find(config)
