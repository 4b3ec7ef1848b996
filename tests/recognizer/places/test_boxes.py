"""Boxes at any place: what is cut out and its gradient, against torch's own sampling."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from focusgym.recognizer import Boxes, PatchGrid, WholeFrame, read_places

S, P = 21, 8


def sampled(frames: Tensor, centers: Tensor, side_px: int) -> Tensor:
    """Cut boxes out by torch's ``affine_grid`` and ``grid_sample``, as the released code does.

    θ scales by P/S, and shifts by −1 + (x1 + x2)/S, where the box goes from x1 to x2.
    """
    side = frames.shape[-1]
    begin = centers * (side - side_px)
    shift = -1 + (2 * begin + side_px) / side
    zero, scale = torch.zeros_like(shift[:, 0]), torch.full_like(shift[:, 0], side_px / side)
    rows = [
        torch.stack(row, -1) for row in ((scale, zero, shift[:, 0]), (zero, scale, shift[:, 1]))
    ]
    shape = [len(frames), frames.shape[1], side_px, side_px]
    grid = functional.affine_grid(torch.stack(rows, 1), shape, align_corners=False)
    crops: Tensor = functional.grid_sample(frames, grid, "bilinear", "border", align_corners=False)
    return crops


def make(n: int, side: int = S, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed)).to(dtype)


def some_centers(n: int) -> Tensor:
    """Return centres ``(n, 2)`` float64 at random, and in all corners and edges."""
    ends = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    rng = torch.Generator().manual_seed(1)
    return torch.cat([torch.cartesian_prod(ends, ends), torch.rand(n, 2, generator=rng).double()])


@pytest.mark.parametrize(("side", "patch"), [(S, P), (21, 1), (21, 20), (32, 7), (16, 16)])
def test_crops_are_those_of_grid_sample(side: int, patch: int) -> None:
    centers = some_centers(20)
    frames = make(len(centers), side)
    crops = Boxes(side, patch).crop(frames, centers)
    assert crops.shape == (len(centers), 3, patch, patch)
    torch.testing.assert_close(crops, sampled(frames, centers, patch), rtol=0, atol=1e-12)
    # As in use: float32, frames with their channels last, whose values are a few units.
    frames = frames.float().contiguous(memory_format=torch.channels_last)
    crops = Boxes(side, patch).crop(frames, centers.float())
    assert crops.dtype == torch.float32
    torch.testing.assert_close(crops, sampled(frames, centers.float(), patch), rtol=0, atol=2e-4)


def test_whole_pixels_are_the_crops_of_a_grid() -> None:
    """The centres of a grid's patches name the same pixels, exactly."""
    grid, boxes = PatchGrid(25, 9, 5), Boxes(25, 9)  # offsets 0, 4, 8, 12, 16: quarters of 16
    options = torch.arange(25)
    frames = make(25, 25, dtype=torch.float32)
    where = torch.from_numpy(boxes.nearest((grid.boxes_px[:, :2] + grid.boxes_px[:, 2:]) / 2))
    assert torch.equal(where, torch.from_numpy(grid.boxes_px[:, :2] / np.float32(16)))
    assert torch.equal(boxes.crop(frames, where), grid.crop(frames, options))
    assert torch.equal(boxes.boxes_at(where), torch.from_numpy(grid.boxes_px).float())


def test_boxes_at_whole_pixels_are_slices() -> None:
    """At the corner that the one between pixels has, rounded down."""
    boxes, centers = Boxes(S, P, whole_pixels=True), some_centers(20)
    frames = make(len(centers)).requires_grad_()
    centers.requires_grad_()
    crops = boxes.crop(frames, centers)
    for crop, frame, (x, y), box in zip(
        crops, frames, (centers * (S - P)).tolist(), boxes.boxes_at(centers).tolist(), strict=True
    ):
        left, top = int(x), int(y)
        assert torch.equal(crop, frame[:, top : top + P, left : left + P])
        assert box == [left, top, left + P, top + P]
    (gradient,) = torch.autograd.grad(crops.sum(), centers)
    assert not gradient.any()
    assert read_places(asdict(boxes)) == boxes


def test_gradient_of_the_centre() -> None:
    """Against finite differences, and against that of ``grid_sample``; so for the frames."""
    rng = torch.Generator().manual_seed(2)
    # Nowhere near whole pixels, where the interpolation has a kink.
    corner = (
        torch.randint(S - P, (6, 2), generator=rng) + 0.1 + 0.8 * torch.rand(6, 2, generator=rng)
    )
    centers = (corner.double() / (S - P)).requires_grad_()
    frames = make(6).requires_grad_()
    weights = make(6, P, seed=3)
    boxes = Boxes(S, P)
    gradients = torch.autograd.grad(
        (boxes.crop(frames, centers) * weights).sum(), [centers, frames]
    )
    torch_own = torch.autograd.grad(
        (sampled(frames, centers, P) * weights).sum(), [centers, frames]
    )
    for one, other in zip(gradients, torch_own, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    step = 1e-6
    with torch.no_grad():
        for axis in (0, 1):
            moved = torch.zeros(2, dtype=torch.float64)
            moved[axis] = step
            ahead, behind = (
                (boxes.crop(frames, centers + sign * moved) * weights).sum((1, 2, 3))
                for sign in (1, -1)
            )
            difference = (ahead - behind) / (2 * step)
            torch.testing.assert_close(gradients[0][:, axis], difference, rtol=1e-6, atol=1e-6)
    assert float(gradients[0].abs().min()) > 1e-3


def test_at_the_edges_the_gradient_is_that_from_inside() -> None:
    centers = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    frames, weights, boxes = make(1), make(1, P, seed=3), Boxes(S, P)
    (gradient,) = torch.autograd.grad((boxes.crop(frames, centers) * weights).sum(), centers)
    step = 1e-6
    for axis, inwards in ((0, step), (1, -step)):
        moved = centers.detach().clone()
        moved[0, axis] += inwards
        change = ((boxes.crop(frames, moved) - boxes.crop(frames, centers)) * weights).sum()
        assert float(gradient[0, axis]) == pytest.approx(float(change.detach()) / inwards, rel=1e-5)


def test_a_box_of_the_frames_size_is_the_frame() -> None:
    boxes = Boxes(S, S)
    frames, centers = make(2), torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    crops = boxes.crop(frames, centers)
    assert torch.equal(crops, frames)
    (gradient,) = torch.autograd.grad(crops.sum(), centers)
    assert gradient.tolist() == [[0, 0]] * 2, "it is there, for processes that train together"
    assert boxes.boxes_px.tolist() == [[0, 0, S, S]]
    assert boxes.boxes_at(torch.rand(3, 2)).tolist() == [[0, 0, S, S]] * 3
    assert boxes.nearest(np.array([[3.0, 50.0]])).shape == (1, 2)


def test_no_frames_give_no_crops() -> None:
    for side in (P, S):
        crops = Boxes(S, side).crop(torch.zeros(0, 3, S, S), torch.zeros(0, 2))
        assert crops.shape == (0, 3, side, side)


def test_the_one_option_is_in_the_centre() -> None:
    boxes, frames = Boxes(20, 8), make(2, 20)
    assert (boxes.name, boxes.n_options, boxes.kind) == ("boxes8", 1, "boxes")
    assert boxes.boxes_px.tolist() == [[6, 6, 14, 14]]
    assert torch.equal(boxes.crop_all(frames)[:, 0], frames[:, :, 6:14, 6:14])


def test_nearest_is_the_brute_force_minimum() -> None:
    boxes = Boxes(S, P)
    rng = np.random.default_rng(0)
    points = rng.uniform(-15, S + 15, (40, 2))
    nearest_boxes = boxes.boxes_at(torch.from_numpy(boxes.nearest(points))).numpy()
    centers = (nearest_boxes[:, :2] + nearest_boxes[:, 2:]) / 2
    fine = np.linspace(0, S - P, 2601) + P / 2  # steps of 0.005 px
    for point, center in zip(points, centers, strict=True):
        best = [fine[np.abs(fine - at).argmin()] for at in point]
        assert center == pytest.approx(best, abs=0.003)
    assert boxes.nearest(np.array([-np.inf, S / 2])).tolist() == [0, 0.5]


def test_boxes_draws_and_first_places() -> None:
    boxes = Boxes(20, 8)
    where = torch.tensor([[[0.0, 0.25], [1.0, 0.5]]])
    boxes_px = boxes.boxes_at(where)
    assert boxes_px.dtype == torch.float32
    assert boxes_px.tolist() == [[[0, 3, 8, 11], [12, 6, 20, 14]]]
    draws = torch.rand(4, 5, 2, dtype=torch.float64)
    assert torch.equal(boxes.drawn(draws), draws.float())
    assert boxes.first(2, 3).tolist() == [[[0.0, 0.0]] * 3] * 2
    assert boxes.boxes_at(boxes.first()).tolist() == [0, 0, 8, 8]
    grid = PatchGrid(20, 8, 3)
    drawn = grid.drawn(draws)
    assert drawn.tolist() == [[int(9 * float(u)) for u in row] for row in draws[..., 0]]
    assert grid.first(2, 3).tolist() == [[0] * 3] * 2
    assert grid.boxes_at(grid.first()).tolist() == [0, 0, 8, 8]
    grid.check(grid.first())
    assert torch.equal(grid.boxes_at(drawn), torch.from_numpy(grid.boxes_px)[drawn])


def test_what_places_are() -> None:
    grid, frame, boxes = PatchGrid(20, 8, 3), WholeFrame(20, 10), Boxes(20, 8)
    assert [places.grid for places in (grid, frame, boxes)] == [grid, None, None]
    assert [places.is_whole for places in (grid, frame, boxes)] == [False, True, False]
    assert [places.plural for places in (grid, frame, boxes)] == [
        "patches",
        "whole frames",
        "boxes",
    ]
    frames = torch.zeros(1, 3, 20, 20, dtype=torch.uint8)
    for places in (grid, frame, boxes):
        crop = partial(places.crop, frames, places.first(1))
        if places.crops_integers:
            assert crop().dtype == torch.uint8
        else:
            with pytest.raises(ValueError, match="floating dtype"):
                crop()


def test_descriptions_come_back() -> None:
    boxes = Boxes(64, 28)
    described = asdict(boxes)
    assert described == {
        "frame_px": 64,
        "side_px": 28,
        "whole_pixels": False,
        "kind": "boxes",
    }
    assert read_places({"kind": "boxes", "frame_px": 64, "side_px": 28}) == boxes, "as before"
    assert read_places(described) == boxes
    with pytest.raises(ValueError, match="places.speed is unknown"):
        read_places({**described, "speed": 1})


def test_what_is_refused() -> None:
    for side in (0, 33):
        with pytest.raises(
            ValueError, match=rf"side of a box must be in 1..32 .* got {side}: choo"
        ):
            Boxes(32, side)
    boxes, center = Boxes(S, P), torch.full((1, 2), 0.5)
    with pytest.raises(ValueError, match=r"must be \(M, 3, 21, 21\); got \(1, 3, 8, 21\)"):
        boxes.crop(torch.zeros(1, 3, P, S), center)
    with pytest.raises(ValueError, match="of a floating dtype.*; got torch.uint8: call `Encoder"):
        boxes.crop(torch.zeros(1, 3, S, S, dtype=torch.uint8), center)
    frames = make(1)
    for wrong, message in (
        (torch.zeros(1, dtype=torch.int64), r"must be floating \(..., 2\).*got torch.int64 \(1,\)"),
        (torch.zeros(1, 3), r"got torch.float32 \(1, 3\)"),
        (torch.zeros(1, 2, dtype=torch.int64), r"got torch.int64 \(1, 2\)"),
        (torch.tensor([[0.5, 1.01]]), r"must be in \[0, 1\].*; got 0.5 to 1.01"),
        (torch.tensor([[-0.01, 0.5]]), "got -0.01 to 0.5"),
        (torch.tensor([[float("nan"), 0.5]]), "got nan to nan"),
    ):
        with pytest.raises(ValueError, match=message):
            boxes.crop(frames, wrong)
    with pytest.raises(ValueError, match="a centre for each of 2 frames; got 1"):
        boxes.crop(make(2), center)
