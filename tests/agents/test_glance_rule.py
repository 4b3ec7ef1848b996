"""The arithmetic of the linear rule on the glance, beside pixels that are counted and a peer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from focusgym.agents.glance_rule import (
    cell_shares,
    chosen_options,
    fitted_rule,
    glance_at,
    moments_of,
)
from focusgym.recognizer import PatchGrid

M, K, G = 40, 9, 5


@pytest.mark.parametrize(("side", "height", "width"), [(24, 3, 4), (24, 1, 1), (24, 24, 6)])
def test_cells_by_counting_pixels(side: int, height: int, width: int) -> None:
    """A map whose cells are painted over their pixels, and the pixels of a patch averaged."""
    grid = PatchGrid(side, 10, 3)
    maps = np.random.default_rng(0).normal(size=(2, height, width, G))
    frames = maps.repeat(side // height, axis=1).repeat(side // width, axis=2)
    shares = cell_shares(grid.boxes_px, side, height, width)
    assert shares.shape == (K, height, width)
    glances = glance_at(torch.from_numpy(maps), torch.from_numpy(shares)).numpy()
    for option, (left, top, right, bottom) in enumerate(grid.boxes_px):
        patch = frames[:, top:bottom, left:right]
        np.testing.assert_allclose(glances[:, option], patch.mean(axis=(1, 2)), atol=1e-12)


def _frames(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    glance = rng.normal(size=(M, K, G)) * [1, 10, 0.1, 1, 1] + rng.normal(size=(K, G))
    glance[..., 4] = 3.0  # a dead channel
    gains = glance @ [0.3, -0.02, 2.0, 0.0, 1.0] + rng.normal(size=(M, K)) + rng.normal(size=K)
    gains += 5 * rng.normal(size=(M, 1))  # what all options of a frame have in common
    return torch.from_numpy(glance), torch.from_numpy(gains)


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_the_rule_is_that_of_scikit_learn(strength: float) -> None:
    """Its ridge on all rows, scaled so that one penalty is ours, and biases nearly free."""
    glance, gains = _frames()
    rule = fitted_rule(moments_of(glance, gains), strength)
    x = (glance - glance.mean(1, keepdim=True)).numpy()
    y = (gains - gains.mean(1, keepdim=True)).numpy()
    scale = np.sqrt(((x - x.mean(axis=0)) ** 2).sum(axis=(0, 1)))
    scale[4] = 1.0
    options = 1e4 * np.tile(np.eye(K), (M, 1))
    rows = np.hstack([x.reshape(-1, G) / scale, options])
    peer = Ridge(alpha=strength, fit_intercept=False, solver="svd").fit(rows, y.ravel())
    np.testing.assert_allclose(rule.weights, peer.coef_[:G] / scale, atol=1e-5)
    biases = 1e4 * peer.coef_[G:]
    np.testing.assert_allclose(rule.biases, biases - biases.mean(), atol=1e-5)
    assert rule.weights[4] == 0
    chosen = chosen_options(glance, rule.weights[None], rule.biases[None])
    scores = (x @ (peer.coef_[:G] / scale)) + biases
    assert np.array_equal(chosen[:, 0].numpy(), scores.argmax(axis=1))


def test_the_strongest_penalty_is_the_best_fixed_box() -> None:
    glance, gains = _frames()
    rule = fitted_rule(moments_of(glance, gains), math.inf)
    assert not rule.weights.any()
    assert int(rule.biases.argmax()) == int(gains.mean(dim=0).argmax())
    nearly = fitted_rule(moments_of(glance, gains), 1e12)
    np.testing.assert_allclose(rule.biases, nearly.biases, atol=1e-9)


def test_moments_of_parts_add_up() -> None:
    glance, gains = _frames()
    at_once = moments_of(glance, gains)
    parts = moments_of(glance[:7], gains[:7]) + moments_of(glance[7:], gains[7:])
    assert at_once.n_frames == parts.n_frames == M
    for name in ("gram", "glance", "products", "gains"):
        np.testing.assert_allclose(getattr(at_once, name), getattr(parts, name), atol=1e-9)
