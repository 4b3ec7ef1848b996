"""Places that depend on nothing that is seen, for grids and for boxes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from focusgym.recognizer import Boxes, PatchGrid, fixed_places

GRID, BOXES = PatchGrid(64, 28, 7), Boxes(64, 28)


def uniform(n: int) -> Tensor:
    """Return ``(n², 2)``: the middles of n² equal parts of the unit square."""
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.cartesian_prod(middles, middles)


def test_central() -> None:
    draws = torch.rand(3, 4, 2, dtype=torch.float64)
    assert fixed_places("central", GRID, draws).tolist() == [[24] * 4] * 3
    assert fixed_places("central", BOXES, draws).tolist() == [[[0.5, 0.5]] * 4] * 3


def test_random_is_uniform_over_all_places() -> None:
    draws = uniform(98)
    options = fixed_places("random", GRID, draws)
    assert options.dtype == torch.int64
    assert options.bincount(minlength=49).tolist() == [196] * 49
    centers = fixed_places("random", BOXES, draws)
    assert centers.dtype == torch.float32
    boxes = BOXES.boxes_at(centers)
    assert float(boxes.min()) == pytest.approx(0, abs=0.2)
    assert float(boxes.max()) == pytest.approx(64, abs=0.2)
    for axis in (0, 1):  # of a uniform number in [0, 36]: mean 18, variance 36²/12
        assert float(boxes[:, axis].mean()) == pytest.approx(18, abs=1e-3)
        assert float(boxes[:, axis].var()) == pytest.approx(36**2 / 12, rel=1e-3)


def cumulative(z: float) -> float:
    return (1 + math.erf(z / math.sqrt(2))) / 2


def test_gaussian_boxes_are_normal_around_the_centre_up_to_the_edges() -> None:
    """Centres are normal with σ = 16 px around 32 px; those below 14 and above 50 are put there."""
    boxes = BOXES.boxes_at(fixed_places("gaussian", BOXES, uniform(400)))
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    for axis in (0, 1):
        x = centers[:, axis]
        assert float(x.mean()) == pytest.approx(32, abs=1e-3)
        assert (float(x.min()), float(x.max())) == (14, 50)
        outside = cumulative(-18 / 16)
        for edge in (14, 50):
            assert float((x == edge).double().mean()) == pytest.approx(outside, abs=2 / 400)
        for at in (20.0, 28.0, 40.0):
            share = float((x < at).double().mean())
            assert share == pytest.approx(cumulative((at - 32) / 16), abs=2 / 400)
    ends = torch.tensor([[0.0, 0.5]], dtype=torch.float64)  # a draw of 0 is −∞
    assert fixed_places("gaussian", BOXES, ends).tolist() == [[0, 0.5]]


def test_gaussian_options_are_nearest_to_the_same_points() -> None:
    draws = uniform(60)
    options = fixed_places("gaussian", GRID, draws)
    points = 32 + 16 * math.sqrt(2) * torch.erfinv(2 * draws - 1)
    boxes = torch.from_numpy(GRID.boxes_px).double()
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    distances = torch.cdist(points, centers)
    chosen_distances = distances.gather(1, options[:, None])[:, 0]
    torch.testing.assert_close(chosen_distances, distances.amin(dim=1), rtol=0, atol=1e-9)
    counts = options.bincount(minlength=49).view(7, 7)
    assert torch.equal(counts, counts.T)
    ends = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    assert fixed_places("gaussian", GRID, ends).tolist() == [0]


def test_other_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="one of random, central, gaussian; got 'best'"):
        fixed_places("best", GRID, uniform(2))  # type: ignore[arg-type]
