"""Where to look without looking: random, central and normally distributed places."""

from __future__ import annotations

import torch
from torch import Tensor

from .kinds import FIXED_KINDS, FixedKind
from .places import Places


def fixed_places(kind: FixedKind, places: Places, draws: Tensor) -> Tensor:
    """Return places that depend on nothing that is seen.

    Args:
        kind: ``random``, uniform; ``central``; or ``gaussian``: nearest to a normal draw around the
            frame's centre, σ = S/4 per axis.
        places: The places to choose among.
        draws: ``(..., 2)`` uniform in [0, 1).

    Returns:
        ``(..., W)``, as the places name them.

    Raises:
        ValueError: If the kind is unknown.

    Source: AdaFocus (arXiv:2105.03245) Table 5, which leaves σ open, and AdaFocusV2
        (arXiv:2112.14238) Table 7, "a standard gaussian distribution" without its unit; σ is ours.
    """
    if kind == "random":
        return places.drawn(draws)
    if kind not in FIXED_KINDS:
        raise ValueError(f"kind must be one of {', '.join(FIXED_KINDS)}; got {kind!r}")
    side = places.frame_px
    centers = torch.full_like(draws, side / 2)
    if kind == "gaussian":
        # A draw of 0 would be −∞, and is the edge of the frame all the same.
        centers = centers + side / 4 * torch.special.ndtri(draws)
    return torch.from_numpy(places.nearest(centers.cpu().numpy())).to(draws.device)
