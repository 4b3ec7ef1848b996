"""The gradient of a cube's place through deep features: Eq. 5 and 6 of AdaFocusV3."""

from __future__ import annotations

import torch
from torch import Tensor

from ..accounting.compute import evaluating
from ..encoders.encoder import Encoder
from ..places.cubes import Cubes

# Large enough that the maps of all known encoders have several cells.
_PROBE_PX = 256


def cell_px(encoder: Encoder, side_px: int) -> int:
    """Return by how many pixels an input is wider whose map has one cell more per axis.

    Args:
        encoder: f_L; it is run on zeros.
        side_px: Side P of its usual input.

    Raises:
        ValueError: If its map does not grow by one cell with the pixels of one.
    """

    def cells(side: int) -> int:
        frames = torch.zeros(1, 1, 3, side, side, device=encoder.mean.device)
        return encoder.encode_frames(frames).shape[-1]

    with evaluating(encoder), torch.no_grad():
        cell = _PROBE_PX // cells(_PROBE_PX)
        grows = cells(side_px + cell) == cells(side_px) + 1
    if not grows:
        raise ValueError(
            f"f_L ({encoder.config.name}) gives no map with one cell more for an input that is "
            f"{cell} px wider than {side_px}: choose another encoder or side, or the gradient "
            "through pixels"
        )
    return cell


def between(maps: Tensor, place: Tensor, frames: int) -> Tensor:
    """Return maps that are interpolated at a place in larger ones.

    Args:
        maps: ``(M, F + 1, L, h + 1, w + 1)``; ``(M, F, L, h + 1, w + 1)`` where a cube cannot be
            moved in time.
        place: ``(M, 3)`` along (x, y, t), in cells and frames: at 0 the result is what the larger
            maps have without their last cell and frame, at 1 what they have without the first.
        frames: F.

    Returns:
        ``(M, F, L, h, w)``.

    Source: AdaFocusV3 (arXiv:2209.13465) Eq. 5: trilinear interpolation.
    """
    x, y, t = place.to(maps.dtype)[:, None, None, None, None].unbind(dim=-1)
    maps = torch.lerp(maps[..., :-1], maps[..., 1:], x)
    maps = torch.lerp(maps[..., :-1, :], maps[..., 1:, :], y)
    return maps if maps.shape[1] == frames else torch.lerp(maps[:, :-1], maps[:, 1:], t)


def deep_gradient(
    encoder: Encoder, cubes: Cubes, videos: Tensor, where: Tensor, cell: int
) -> Tensor:
    """Return zeros with the gradient that the places of cubes have on their local vectors.

    f_L reads a larger cube around each place, without gradients and in eval mode, and its map is
    interpolated where the cube is in the larger one: c − StopGradient(c), which is zero and has the
    gradient of c, is added to where that is.

    Args:
        encoder: f_L.
        cubes: Where it may be run.
        videos: ``(B, T, 3, S, S)`` uint8.
        where: ``(B, D, 3)`` centres, of which the gradient is asked.
        cell: Pixels of one cell of f_L's map, see `cell_px`.

    Returns:
        ``(B, D, L)`` zeros. Added to what f_L makes of the cubes themselves, they leave it as it
        is.

    Source: AdaFocusV3 (arXiv:2209.13465) Eq. 5–6. Ours: the paper goes on with what was
        interpolated; here the features are those of the cube itself, as at test time, and those of
        the larger cube give the gradient alone. At the frame's edges the larger cube is moved into
        the frame, so that the cube is not in its centre.
    """
    batch, n_cubes = where.shape[:2]
    with evaluating(encoder), torch.no_grad():
        larger, offset = cubes.crop_larger(videos, where, cell)
        # (B·D, F + 1, L, h + 1, w + 1)
        maps = encoder.encode_frames(encoder.prepare(larger.flatten(0, 1))).float()
    spans = torch.tensor([cubes.span_px / cell, cubes.span_px / cell, cubes.span_frames])
    place = offset + (where - where.detach()) * spans.to(where.device)
    pooled = between(maps, place.flatten(0, 1), cubes.frames).mean(dim=(1, 3, 4))
    of_cubes: Tensor = pooled.unflatten(0, (batch, n_cubes))
    return of_cubes - of_cubes.detach()
