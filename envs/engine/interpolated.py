"""Features of boxes between the options of a grid, interpolated from those that are stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...feature_cache import FeatureCache
from ...recognizer import PatchGrid


def grid_of(cache: FeatureCache) -> PatchGrid:
    """Return the grid of patches that the options of a cache are, between which boxes lie.

    Raises:
        ValueError: If the options are others.
    """
    grid = cache.opened[0].group.places.grid
    if len(cache.opened) > 1 or grid is None:
        raise ValueError(
            "boxes are interpolated on one grid of patches; got the option group(s) "
            f"{', '.join(each.group.name for each in cache.opened)}: name one of patches in `group`"
        )
    return grid


def nearest_options(grid: PatchGrid, centers: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the options ``(...)`` of a grid that are nearest to boxes.

    Args:
        grid: The options.
        centers: ``(..., 2)`` (x, y) in [0, 1]; see `Boxes`.
    """
    corners_px = centers * (grid.frame_px - grid.patch_px)
    return grid.nearest(corners_px + grid.patch_px / 2)


def interpolated(
    cache: FeatureCache,
    videos: NDArray[np.int64],
    segments: NDArray[np.int64],
    centers: Tensor,
) -> Tensor:
    """Return local vectors of boxes at any place: approximate, and differentiable.

    Those of the four options around a box are weighed as bilinear interpolation weighs pixels; see
    `PatchGrid.around`. What f_L would give on the box itself is another vector, and every figure
    that matters is measured on pixels too.

    Args:
        cache: With one option group, of a grid of patches.
        videos: Rows; they broadcast with ``segments`` to ``(...)``.
        segments: The segment of each row, in ``[0, T)``.
        centers: ``(..., 2)`` floating (x, y) in [0, 1]; see `Boxes`.

    Returns:
        ``(..., L)`` float32, on the device of the cache.

    Raises:
        ValueError: If the options are not those of one grid, or a centre is not in [0, 1].
    """
    options, weights = grid_of(cache).around(centers.to(cache.device))  # (..., 4)
    corners = cache.local_vectors(videos[..., None], segments[..., None], options.cpu().numpy())
    local: Tensor = (weights[..., None].to(corners.dtype) * corners).sum(dim=-2)
    return local
