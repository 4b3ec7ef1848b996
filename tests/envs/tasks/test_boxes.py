"""Boxes at any place: at the grid's centres the options themselves, between them their mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.interpolate import RegularGridInterpolator
from support import (
    GRID,
    Literal,
    T,
    add_frames,
    add_group,
    assert_same,
    engine_of,
    write_classifier,
)

from focusgym.envs import Confidences, FocusVectorEnv
from focusgym.feature_cache import FeatureCache

OFFSETS, SPAN, PATCH, K = (0, 10, 20), 20, 12, 9


def own(p: Confidences) -> torch.Tensor:
    """A user's rule, which asks for the option and the cost."""
    return p.chosen - 0.1 * p.options + p.gmacs.to(p.chosen) + p.step


DESIGNS: dict[str, Any] = {
    "random": "increment_over_random",
    "three random": {"name": "increment_over_random", "draws": 3},
    "all": {"name": "increment_over_random", "draws": None},
    "confidence": "confidence",
    "increments": "increments",
    "padding": "padding",
    "final": "final",
    "margin": "best_margin",
    "own": own,
}


@pytest.fixture(params=["gru", "average"])
def literal(tmp_path: Path, request: pytest.FixtureRequest) -> Literal:
    return Literal(tmp_path, seed=3, aggregation=request.param)


def make(files: dict[str, Any], task: str = "Boxes", **config: Any) -> Any:
    return gymnasium.make(f"focusgym/{task}-v0", **{**files, **config}).unwrapped


@pytest.mark.parametrize("design", DESIGNS)
def test_at_the_centres_of_the_grid(files: dict[str, str], design: str) -> None:
    """What focusgym/AdaFocus-v0 gives for that option, two epochs long."""
    n, rng = 3, np.random.default_rng(1)
    how = {**files, "seed": 5, "reward": DESIGNS[design], "autoreset_mode": "Disabled"}
    grid, boxes = (FocusVectorEnv(n, task=name, **how) for name in ("AdaFocus", "Boxes"))
    for _ in range(4):
        expected, _ = grid.reset()
        observations, _ = boxes.reset()
        for t in range(T):
            assert_same(observations, expected)
            options = rng.integers(K, size=n)
            centers = np.stack([options % GRID, options // GRID], axis=1) / (GRID - 1)
            expected, expected_rewards, *_, grid_info = grid.step(options)
            observations, rewards, over, cut, info = boxes.step(centers)
            np.testing.assert_allclose(rewards, expected_rewards, rtol=0, atol=1e-6)
            assert (over.tolist(), cut.tolist()) == ([t == T - 1] * n, [False] * n)
            for key in ("video_id", "label", "correct", "box_px"):
                np.testing.assert_array_equal(info[key], grid_info[key])
            for key in ("confidence", "gmacs"):
                np.testing.assert_allclose(info[key], grid_info[key], rtol=0, atol=1e-6)
        for env in range(n):
            record, other = (each.player.record(env) for each in (boxes, grid))
            np.testing.assert_array_equal(record.options, other.options)
            np.testing.assert_array_equal(record.boxes_px, other.boxes_px)
            assert record.attended.all()
            np.testing.assert_allclose(record.rewards, other.rewards, rtol=0, atol=1e-6)


def test_between_the_options(literal: Literal) -> None:
    """The mean of the four vectors around, by scipy, in the paper's equations."""
    env, rng = make(literal.files, reward="confidence", split=None), np.random.default_rng(2)
    local = literal._local  # (N, T, K, L)
    corners_px = np.array(OFFSETS, dtype=float)
    for video in (0, 7):
        env.reset(options={"video": video})
        mixed, centers = [], rng.random((T, 2)).astype(np.float32)
        for t, (x, y) in enumerate(centers * SPAN):
            values = local[video, t].reshape(GRID, GRID, -1)
            mixed.append(RegularGridInterpolator((corners_px, corners_px), values)((y, x)))
            literal._local = np.concatenate([local, np.zeros_like(local[:, :, :1])], axis=2)
            literal._local[video, : t + 1, K] = mixed
            _, reward, _, _, info = env.step(centers[t])
            expected = literal.confidence(video, [(K, 1)] * (t + 1))
            assert info["confidence"] == pytest.approx(expected, abs=1e-5)
            assert reward == pytest.approx(expected, abs=1e-5)
            left, top = np.rint([x, y]).astype(int)
            assert info["box_px"].tolist() == [left, top, left + PATCH, top + PATCH]
            away = [(abs(x - a), abs(y - b)) for b in OFFSETS for a in OFFSETS]
            nearest = min(range(K), key=lambda k: away[k][0] ** 2 + away[k][1] ** 2)
            assert env.record().options[-1] == nearest
        literal._local = local


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_with_respect_to_the_centre(literal: Literal, dtype: torch.dtype) -> None:
    """Of the confidence in the third segment, against differences within a cell."""
    engine = engine_of(literal)
    videos, step = np.array([1, 6]), 1e-2
    engine.start(videos)
    for t in range(2):
        options = np.array([[2], [7]])
        engine.commit(engine.try_options(np.full(2, t), options))
    segments = np.array([2, 2])
    places = [[[0.3, 0.8], [0.7, 0.1]], [[0.2, 0.2], [0.9, 0.6]]]
    centers = torch.tensor(places, dtype=dtype, requires_grad=True)
    tried = engine.try_boxes(segments, centers)
    assert tried.confidences.shape == (2, 2)
    (gradient,) = torch.autograd.grad(tried.confidences.sum(), centers)
    for axis in range(2):
        change = torch.zeros(2, dtype=dtype)
        change[axis] = step
        up, down = (
            engine.try_boxes(segments, (centers + sign * change).detach()).confidences
            for sign in (1, -1)
        )
        expected = ((up - down) / (2 * step)).to(dtype)
        torch.testing.assert_close(gradient[..., axis], expected, rtol=1e-2, atol=1e-3)
    assert gradient.abs().min() > 1e-4


def test_options_that_are_no_grid(files: dict[str, str], tmp_path: Path) -> None:
    cache = FeatureCache.open(files["cache"])
    frames, other = add_frames(cache)[0], add_group(cache)
    for names in ([frames], [frames, "p12_3x3"], ["p12_3x3", other]):
        opened = FeatureCache.open(cache.root, names)
        f_c = write_classifier(opened, tmp_path / "-".join(names))
        with pytest.raises(ValueError, match=f"on one grid of patches; .* {', '.join(names)}: na"):
            make({"cache": files["cache"], "classifier": f_c, "group": names})


def test_what_is_refused(files: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a box may be anywhere: leave options_allowed out"):
        make(files, options_allowed=[0, 4])
    make(files, options_allowed=list(range(K)))
    with pytest.raises(TypeError, match="unexpected keyword argument 'penalty'"):
        make(files, penalty={"per_px2": 1e-6})
    env = make(files)
    assert env.action_space == spaces.Box(0.0, 1.0, (2,), np.float32)
    env.reset(seed=1)
    with pytest.raises(RuntimeError, match="have no masks: use an algorithm for continuous"):
        env.action_masks()
    for action, message in (
        ([0.5, 1.01], r"centres of boxes must be in \[0, 1\]; got .*1.01.*: clip them first"),
        ([-0.01, 0.5], r"must be in \[0, 1\]; got"),
        ([np.nan, 0.5], r"expected finite centres .*; got \[nan\]"),
        ([0.5], r"expected one action of Box\(0.0, 1.0, \(2,\), float32\); got shape \(1,\)"),
        ([0.5, 0.5, 0.5], r"got shape \(3,\)"),
        (4, r"got shape \(\)"),
        ([True, False], r"expected centres \(x, y\) of boxes of shape \(1, 2\); got bool of shape"),
        (["a", "b"], r"\(1, 2\); got <U1 of shape \(1, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(np.array(action))
    several = FocusVectorEnv(3, task="Boxes", **files)
    several.reset()
    with pytest.raises(ValueError, match=r"boxes of shape \(3, 2\); got float64 of shape \(2, 2\)"):
        several.step(np.zeros((2, 2)))
    _, _, _, _, info = env.step(np.array([0, 1]))  # a refused action leaves the episode as it was
    assert info["box_px"].tolist() == [0, 20, 12, 32]
    assert env.record().options.tolist() == [6]


def test_what_the_engine_refuses(literal: Literal) -> None:
    engine, one = engine_of(literal), np.zeros(1, dtype=int)
    with pytest.raises(
        ValueError, match=r"must be \(B, M, 2\) of B = 0 episodes, M at least 1; got \(1, 1, 2\)"
    ):
        engine.try_boxes(one, torch.zeros(1, 1, 2))
    engine.start(np.array([3]))
    with pytest.raises(
        ValueError, match=r"must be \(B, M, 2\) of B = 1 episodes, M at least 1; got \(1, 2\)"
    ):
        engine.try_boxes(one, torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"centres of boxes must be in \[0, 1\]"):
        engine.try_boxes(one, torch.full((1, 1, 2), 1.5))
    for t in range(T):
        engine.commit(engine.try_boxes(np.array([t]), torch.rand(1, 1, 2)))
    with pytest.raises(RuntimeError, match="expected running episodes, each fed fewer than 4"):
        engine.try_boxes(one, torch.zeros(1, 1, 2))
