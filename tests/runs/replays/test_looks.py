"""Averages of where a policy looks, against loops over every look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from focusgym.recognizer import PatchGrid
from focusgym.runs.replays.looks import (
    coverage,
    entropy_bits,
    heat,
    path_px,
    random_box_path_px,
    random_path_px,
    used_bits_by_step,
)

GRID = PatchGrid(64, 20, 3)
K = 9


@pytest.fixture
def options() -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(K, size=(40, 5))


@pytest.fixture
def attended() -> NDArray[np.bool_]:
    """Some frames are skipped, all of one video, and all but one of another."""
    mask = np.random.default_rng(1).random((40, 5)) < 0.6
    mask[3] = False
    mask[4] = [False, False, True, False, False]
    return mask


def test_heat_counts_looks(options: NDArray[np.int64], attended: NDArray[np.bool_]) -> None:
    looks = [
        int(k)
        for video, seen in zip(options, attended, strict=True)
        for k, saw in zip(video, seen, strict=True)
        if saw
    ]
    expected = [looks.count(k) / len(looks) for k in range(K)]
    assert heat(options, attended, K).tolist() == pytest.approx(expected)
    assert heat(options, np.zeros_like(attended), K).tolist() == [0.0] * K


def test_a_path_goes_from_look_to_look_of_a_video(
    options: NDArray[np.int64], attended: NDArray[np.bool_]
) -> None:
    moves = []
    for video, seen in zip(options.tolist(), attended.tolist(), strict=True):
        before = None
        for k, saw in zip(video, seen, strict=True):
            if saw:
                left, top, right, bottom = GRID.boxes_px[k].tolist()
                centre = ((left + right) / 2, (top + bottom) / 2)
                if before is not None:
                    moves.append(math.dist(before, centre))
                before = centre
    assert path_px(GRID.boxes_px[options], attended) == pytest.approx(sum(moves) / len(moves))
    one_look_each = np.eye(5, dtype=bool)[np.arange(40) % 5]
    assert path_px(GRID.boxes_px[options], one_look_each) is None
    still = np.full_like(options, 4)
    assert path_px(GRID.boxes_px[still], np.ones_like(attended)) == 0.0


def test_the_path_of_random_looking_is_what_many_draws_give() -> None:
    drawn = np.random.default_rng(2).integers(K, size=(20_000, 6))
    mean_path_px = path_px(GRID.boxes_px[drawn], np.ones(drawn.shape, dtype=bool))
    assert random_path_px(GRID.boxes_px) == pytest.approx(mean_path_px, rel=0.01)
    # Two by two boxes: a quarter of the pairs stays, a half moves by 24 px, a quarter aslant.
    four = PatchGrid(32, 8, 2).boxes_px
    assert random_path_px(four) == pytest.approx(0.5 * 24 + 0.25 * 24 * math.sqrt(2))


def test_entropies_in_bits(options: NDArray[np.int64], attended: NDArray[np.bool_]) -> None:
    known = np.array([[0.5, 0.25, 0.25, 0.0], [0.25] * 4, [1.0, 0.0, 0.0, 0.0]])
    assert entropy_bits(known).tolist() == [1.5, 2.0, 0.0]
    expected = []
    for t in range(5):
        used = options[:, t][attended[:, t]].tolist()
        shares = [used.count(k) / len(used) for k in set(used)]
        expected.append(-sum(p * math.log2(p) for p in shares))
    assert used_bits_by_step(options, attended, K).tolist() == pytest.approx(expected)


@pytest.fixture
def boxes_px() -> NDArray[np.float64]:
    """Boxes between pixels in a frame of 50 px, one of them at both far edges."""
    corner = np.random.default_rng(3).uniform(0, 50 - 17, size=(40, 5, 2))
    corner[0, 0] = 50 - 17
    return np.concatenate([corner, corner + 17], axis=-1)


def test_coverage_is_that_of_tiny_points(
    boxes_px: NDArray[np.float64], attended: NDArray[np.bool_]
) -> None:
    """Against 40 times 40 points in each cell, which are in a box or not."""
    n, per_side = 4, 40
    points = (np.arange(n * per_side) + 0.5) * 50 / (n * per_side)
    inside = [
        ((points >= top) & (points < bottom))[:, None] & ((points >= left) & (points < right))
        for left, top, right, bottom in boxes_px[attended]
    ]
    expected = np.mean(inside, axis=0).reshape(n, per_side, n, per_side).mean(axis=(1, 3))
    covered = coverage(boxes_px, attended, 50, n)
    np.testing.assert_allclose(covered, expected, atol=0.01)
    assert covered.mean() == pytest.approx(17**2 / 50**2), "all of every box is somewhere"
    assert not coverage(boxes_px, np.zeros_like(attended), 50, n).any()


def test_the_path_of_boxes_put_at_random_is_what_many_draws_give() -> None:
    corner = np.random.default_rng(4).uniform(0, 36, size=(20_000, 6, 2))
    drawn = np.concatenate([corner, corner + 28], axis=-1)
    mean_path_px = path_px(drawn, np.ones(drawn.shape[:2], dtype=bool))
    assert random_box_path_px(36) == pytest.approx(mean_path_px, rel=0.01)
