from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from focusgym.recognizer import PatchGrid

# The offsets of the released code for S = 224 and a 7×7 grid, pixels.
PUBLISHED = {
    96: (0, 21, 42, 64, 85, 106, 128),
    128: (0, 16, 32, 48, 64, 80, 96),
    144: (0, 13, 26, 40, 53, 66, 80),
    160: (0, 10, 21, 32, 42, 53, 64),
    176: (0, 8, 16, 24, 32, 40, 48),
    192: (0, 5, 10, 16, 21, 26, 32),
}


@pytest.mark.parametrize(("patch_px", "offsets"), PUBLISHED.items())
def test_the_49_offsets(patch_px: int, offsets: tuple[int, ...]) -> None:
    grid = PatchGrid(224, patch_px)
    assert grid.offsets_px == offsets
    assert grid.n_options == 49
    boxes = grid.boxes_px
    for row in range(7):
        for column in range(7):
            left, top, right, bottom = boxes[7 * row + column]
            assert (left, top) == (offsets[column], offsets[row])
            assert (right - left, bottom - top) == (patch_px, patch_px)


@given(st.integers(2, 10), st.integers(10, 300), st.data())
def test_offsets_are_the_floor_of_the_fraction(n: int, frame_px: int, data: st.DataObject) -> None:
    patch_px = data.draw(st.integers(1, frame_px - n + 1))
    grid = PatchGrid(frame_px, patch_px, n)
    exact = [math.floor(Fraction(i, n - 1) * (frame_px - patch_px)) for i in range(n)]
    assert list(grid.offsets_px) == exact
    assert grid.offsets_px[0] == 0
    assert grid.offsets_px[-1] == frame_px - patch_px


@given(st.floats(-50, 150), st.floats(-50, 150))
def test_nearest_is_the_brute_force_minimum(x: float, y: float) -> None:
    grid = PatchGrid(96, 32)
    boxes = grid.boxes_px
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    distances = ((centers - [x, y]) ** 2).sum(axis=1)
    chosen = int(grid.nearest(np.array([x, y])))
    assert distances[chosen] == pytest.approx(distances.min(), abs=1e-9)


def test_crops_are_slices() -> None:
    grid = PatchGrid(20, 7, 4)
    frames = torch.randint(0, 256, (5, 3, 20, 20), dtype=torch.uint8)
    options = torch.tensor([0, 3, 6, 12, 15])
    crops, everything = grid.crop(frames, options), grid.crop_all(frames)
    for i, option in enumerate(options.tolist()):
        left, top, right, bottom = grid.boxes_px[option]
        assert torch.equal(crops[i], frames[i, :, top:bottom, left:right])
    for option in range(16):
        left, top, right, bottom = grid.boxes_px[option]
        assert torch.equal(everything[:, option], frames[:, :, top:bottom, left:right])


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"patch_px must be in 1\.\.64 .*; got 65"):
        PatchGrid(64, 65)
    with pytest.raises(ValueError, match="needs n >= 2 options per axis; got n=1"):
        PatchGrid(64, 32, 1)
    grid = PatchGrid(64, 32)
    with pytest.raises(ValueError, match=r"frames must be \(M, 3, 64, 64\); got \(1, 3, 32, 64\)"):
        grid.crop_all(torch.zeros(1, 3, 32, 64))
    with pytest.raises(ValueError, match=r"options must be in \[0, 49\); got values from 3 to 49"):
        grid.crop(torch.zeros(2, 3, 64, 64), torch.tensor([3, 49]))


@given(st.integers(2, 14), st.integers(1, 12), st.data())
def test_no_two_boxes_are_equal(n: int, frame_px: int, data: st.DataObject) -> None:
    """A grid is refused exactly where its boxes, by the formula, are not all different."""
    patch_px = data.draw(st.integers(1, frame_px))
    offsets = {math.floor(Fraction(i, n - 1) * (frame_px - patch_px)) for i in range(n)}
    if len(offsets) < n:
        with pytest.raises(ValueError, match="of which some would be equal: choose"):
            PatchGrid(frame_px, patch_px, n)
    else:
        assert len({*map(tuple, PatchGrid(frame_px, patch_px, n).boxes_px.tolist())}) == n * n


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        (
            (64, 64, 7),
            "a patch of 64 px has 1 different place per axis in a frame of 64 px; got n=7 options "
            "per axis, of which some would be equal: choose a patch of at most 58 px",
        ),
        (
            (224, 128, 100),
            "a patch of 128 px has 97 different places per axis in a frame of 224 px; got n=100 "
            "options per axis, of which some would be equal: choose at most 97 options per axis or "
            "a patch of at most 125 px",
        ),
        ((224, 128, 300), "would be equal: choose at most 97 options per axis"),
        ((32, 32, 40), "would be equal: choose a smaller patch and fewer options"),
    ],
)
def test_equal_boxes_are_refused(sizes: tuple[int, int, int], why: str) -> None:
    with pytest.raises(ValueError, match=f"{why}$"):
        PatchGrid(*sizes)
    PatchGrid(224, 128, 97)
    PatchGrid(224, 125, 100)
    PatchGrid(64, 58)


@pytest.mark.parametrize("grid", [PatchGrid(224, 96), PatchGrid(32, 12, 3), PatchGrid(9, 8, 2)])
def test_what_counts_around_a_box(grid: PatchGrid) -> None:
    """Against scipy's interpolation on the grid of offsets, which are not all equally far apart."""
    rng, n = np.random.default_rng(0), grid.n
    values = rng.normal(size=(n, n, 2))  # (row, column, width)
    ends = np.array([0.0, 1.0, 0.5])
    corners = np.stack(np.meshgrid(ends, ends), axis=-1).reshape(-1, 2)
    centers = np.concatenate([rng.random((200, 2)), corners])
    offsets = np.array(grid.offsets_px, dtype=float)
    at_px = centers * (grid.frame_px - grid.patch_px)
    expected = RegularGridInterpolator((offsets, offsets), values)(at_px[:, ::-1])
    options, weights = grid.around(torch.from_numpy(centers))
    assert (options.shape, weights.shape) == ((209, 4), (209, 4))
    interpolated = (values.reshape(-1, 2)[options.numpy()] * weights.numpy()[..., None]).sum(axis=1)
    np.testing.assert_allclose(interpolated, expected, rtol=0, atol=1e-12)
    assert ((weights >= 0) & (weights <= 1 + 1e-12)).all()
    np.testing.assert_allclose(weights.sum(dim=1), 1, rtol=0, atol=1e-12)
    single, shares = grid.around(torch.from_numpy(centers).float().view(11, 19, 2))
    assert (single.shape, shares.dtype) == ((11, 19, 4), torch.float32)
    assert (grid.around(torch.rand(3, 2).half())[1]).dtype == torch.float32
    np.testing.assert_allclose(shares.sum(dim=-1), 1, rtol=0, atol=1e-6)


def test_where_a_box_is_an_option_that_alone_counts() -> None:
    grid = PatchGrid(224, 96)
    corners = torch.from_numpy(grid.boxes_px[:, :2]).double()
    options, weights = grid.around(corners / 128)
    counts = torch.zeros(49, 49, dtype=torch.float64).scatter_add_(1, options, weights)
    torch.testing.assert_close(counts, torch.eye(49, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_gradient_of_what_counts_around_a_box() -> None:
    """Against finite differences, inside the cells."""
    grid = PatchGrid(32, 12, 3)
    centers = torch.tensor([[0.1, 0.2], [0.7, 0.3], [0.9, 0.95]], dtype=torch.float64)
    leaf_centers = centers.requires_grad_()
    assert torch.autograd.gradcheck(lambda where: grid.around(where)[1], (leaf_centers,))


def test_centers_outside_the_frame() -> None:
    grid = PatchGrid(32, 12, 3)
    for wrong, message in (
        (torch.tensor([0.5, 1.1]), r"must be in \[0, 1\], from where one .*; got 0.5 to 1.1"),
        (torch.tensor([0.5, torch.nan]), r"must be in \[0, 1\], .*; got nan to nan"),
        (torch.tensor([0, 1]), r"must be floating \(\.\.\., 2\), x and y; got torch.int64 \(2,\)"),
        (torch.zeros(4, 3), r"must be floating \(\.\.\., 2\), x and y; got torch.float32 \(4, 3\)"),
    ):
        with pytest.raises(ValueError, match=f"centres of boxes {message}"):
            grid.around(wrong)
