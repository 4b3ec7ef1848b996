"""Cubes: what they hold and cut out, against slices and brute force."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from focusgym.recognizer import Cubes

S, P, T, B, D = 20, 8, 6, 2, 3


def videos(dtype: torch.dtype = torch.uint8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (B, T, 3, S, S), generator=generator).to(dtype)


def centers(seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(B, D, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("frames", [1, 2, T])
def test_a_cube_is_the_nearest_slice(frames: int) -> None:
    cubes, where, pixels = Cubes(S, P, T, frames), centers(), videos()
    crops = cubes.crop(pixels, where, cubes.frames_at(where))
    for b, d in product(range(B), range(D)):
        x, y, t = where[b, d].tolist()
        left, top, first = round(x * (S - P)), round(y * (S - P)), round(t * (T - frames))
        expected = pixels[b, first : first + frames, :, top : top + P, left : left + P]
        assert torch.equal(crops[b, d], expected)
        assert cubes.boxes_at(where)[b, d].tolist() == [left, top, left + P, top + P]


def test_frames_of_earlier_cubes_are_taken_from_what_is_left() -> None:
    cubes = Cubes(S, P, T)
    where = torch.tensor([[[0.0, 0, 0.4], [0, 0, 0.4], [0, 0, 0.4], [0, 0, 1.0], [0, 0, 1.0]]])
    assert cubes.frames_at(where)[0, :, 0].tolist() == [2, 2, 2, 5, 5]
    # Of frames 1 and 3, which are as near to 2, the first.
    assert cubes.frames_at(where, distinct=True)[0, :, 0].tolist() == [2, 1, 3, 5, 4]


def test_cubes_of_several_frames_close_up_what_others_left() -> None:
    cubes = Cubes(S, P, T, 2)
    where = torch.tensor([[[0.0, 0, 0.5], [0, 0, 0.5], [0, 0, 0.5]]])  # around frames 2 and 3
    assert cubes.frames_at(where, distinct=True)[0].tolist() == [[2, 3], [1, 4], [0, 5]]


def test_distinct_cubes_share_no_frame_whatever_is_named() -> None:
    for frames, n in ((1, T), (2, 3), (3, 2)):
        where = torch.rand(50, n, 3, generator=torch.Generator().manual_seed(1))
        frame_indices = Cubes(S, P, T, frames).frames_at(where, distinct=True).flatten(1)
        assert (frame_indices.sort(dim=1).values == torch.arange(T)).all()


def test_where_cubes_have_more_frames_than_the_video_nothing_is_removed() -> None:
    cubes, where = Cubes(S, P, T, 4), centers()
    assert torch.equal(cubes.frames_at(where, distinct=True), cubes.frames_at(where))


def test_a_larger_cube_holds_the_cube_where_it_says() -> None:
    cubes, more = Cubes(S, P, T, 2), 4
    where = torch.tensor([[[0.5, 0.0, 0.3], [1.0, 0.25, 1.0]]])
    pixels = videos()[:1]
    larger, place = cubes.crop_larger(pixels, where, more)
    # In the middle along x, at the upper edge along y, at frame 1.2 of those from frame 1 on.
    torch.testing.assert_close(place[0, 0], torch.tensor([0.5, 0.0, 0.2]))
    torch.testing.assert_close(
        place[0, 1], torch.tensor([1.0, 0.25, 1.0]).mul(torch.tensor([1, 2, 1]))
    )
    assert torch.equal(larger[0, 0], pixels[0, 1:4, :, 0:12, 4:16])
    assert torch.equal(larger[0, 1], pixels[0, 3:6, :, 1:13, 8:20])
    at_whole = cubes.crop(pixels, where, cubes.frames_at(where))
    assert torch.equal(larger[0, 0, 0:2, :, 0:P, 2 : 2 + P], at_whole[0, 0])


@pytest.mark.parametrize("frames", [1, 2, T])
def test_between_pixels_it_is_grid_samples_trilinear_interpolation(frames: int) -> None:
    cubes, pixels = Cubes(S, P, T, frames), videos(torch.float64)
    where = centers(dtype=torch.float64)
    crops = cubes.crop_between(pixels, where)
    axis = torch.arange(P, dtype=torch.float64)
    for b, d in product(range(B), range(D)):
        x, y, t = (where[b, d] * torch.tensor([S - P, S - P, T - frames])).tolist()
        times = t + torch.arange(frames, dtype=torch.float64)
        z, rows, columns = torch.meshgrid(times, y + axis, x + axis, indexing="ij")
        grid = torch.stack([2 * columns / (S - 1), 2 * rows / (S - 1), 2 * z / (T - 1)], dim=-1) - 1
        volume = pixels[b].transpose(0, 1)[None]  # (1, 3, T, S, S)
        expected = functional.grid_sample(volume, grid[None], align_corners=True)
        torch.testing.assert_close(crops[b, d], expected[0].transpose(0, 1))


def test_the_gradient_between_pixels_is_that_of_finite_differences() -> None:
    cubes, pixels = Cubes(S, P, T, 2), videos(torch.float64) / 255
    where = (0.2 + 0.5 * centers(3, torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda at: cubes.crop_between(pixels, at), (where,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cubes(8, 9, 4), r"side of a cube must be in 1\.\.8 .*; got 9: choose a smaller"),
        (lambda: Cubes(8, 4, 4, 5), r"cube must have 1\.\.4 frames .*; got 5: choose a shorter"),
        (lambda: Cubes(S, P, T).check_videos(videos()[:, 1:]), r"must be \(B, 6, 3, 20, 20\)"),
        (lambda: Cubes(S, P, T).check(centers() + 1), r"cubes must be in \[0, 1\]"),
        (lambda: Cubes(S, P, T).check(centers()[..., :2]), r"must be floating \(\.\.\., 3\)"),
        (lambda: Cubes(S, P, T).crop_larger(videos(), centers(), 13), "8 px and 13 px around it"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
