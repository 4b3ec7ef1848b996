"""What the engine refuses, and says."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from support import GRID, Literal, N, T, advance, engine_of

from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import CacheError, FeatureCache
from focusgym.recognizer import AverageClassifier

K = GRID**2


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("projection_bytes", [2**31, 0])
@pytest.mark.parametrize("array", ["glance_vectors", "local_vectors_p12_3x3"])
def test_features_that_are_not_numbers_name_the_video_and_the_frame(
    literal: Literal, array: str, projection_bytes: int, value: float
) -> None:
    """With a table as soon as the video is played, else where the option is tried."""
    stored = np.lib.format.open_memmap(literal.cache.root / f"{array}.npy", "r+")
    stored[(6, 2, 8, 1)[: stored.ndim - 1]] = value
    stored.flush()
    cache = FeatureCache.open(literal.cache.root)
    engine = FocusEngine(FeatureSource(cache, literal.classifier, projection_bytes))
    message = (
        r"video 6 \(6.mp4\), segment 2: the features, or f_C's weights, hold NaN or infinite "
        "numbers: run `focusgym cache verify`, then build the cache or train the classifier again"
    )
    engine.start(np.array([1, 5]))
    if projection_bytes:
        with pytest.raises(CacheError, match=message):
            engine.start(np.array([1, 6]))
        return
    ways = {
        "chosen": lambda: engine.try_options(engine.step, np.array([[0], [8]])),
        "random": lambda: engine.try_options(engine.step, np.array([[0, 0], [0, 8]])),
        "all": lambda: engine.counterfactuals(engine.step),
    }
    for try_it in ways.values():
        engine.start(np.array([1, 6]))
        advance(engine, np.array([3, 3]))
        advance(engine, np.array([3, 3]))
        with pytest.raises(CacheError, match=message):
            try_it()
    if array != "glance_vectors":
        logits = advance(engine, np.array([0, -1]), np.array([True, False]))
        assert logits.isfinite().all(), "skipping reads nothing"


def test_a_broken_classifier_is_told(literal: Literal) -> None:
    broken = copy.deepcopy(literal.classifier)
    with torch.no_grad():
        broken.head.bias[0] = np.nan
    engine = FocusEngine(FeatureSource(literal.cache, broken))
    # Averaging has no state: its only weights are those that the features go through.
    average = isinstance(broken, AverageClassifier)
    message = "or f_C's weights, hold NaN" if average else "f_C gives no finite confidence: its wei"
    with pytest.raises(CacheError, match=message):
        engine.rollout(np.array([3]), np.zeros((1, 1), dtype=int))


def test_wrong_indices_are_refused(literal: Literal) -> None:
    engine = engine_of(literal)
    with pytest.raises(ValueError, match="labels must be 'first' or 'mean'; got 'frist'"):
        FocusEngine(engine.source, "frist")
    with pytest.raises(RuntimeError, match=r"expected running episodes.*got \[\]: call start"):
        engine.counterfactuals(engine.step)
    for row in (-1, N):
        with pytest.raises(ValueError, match=rf"rows of the cache in \[0, {N}\); got (-1|1) to"):
            engine.start(np.array([row, 1]))
    with pytest.raises(
        ValueError, match="0 episodes are being played; got 2 videos, and which of 2"
    ):
        engine.start(np.array([0, 1]), np.array([True, False]))
    engine.start(np.array([0, 1]))
    now = np.zeros(2, dtype=int)
    for option in (-1, K):
        with pytest.raises(ValueError, match=rf"must be 2 rows in \[0, {K}\); got 2 from "):
            engine.try_options(now, np.array([[0], [option]]))
    with pytest.raises(ValueError, match="got 3 from 0 to 0"):
        engine.try_options(now, np.zeros((3, 1), dtype=int))
    with pytest.raises(ValueError, match=r"B = 2 episodes, M at least 1; got \(2, 0\)"):
        engine.try_options(now, np.zeros((2, 0), dtype=int))
    for option, attended in ((K, True), (-1, True), (K, False), (-1, False)):
        message = rf"must be in \[0, {K}\), any of them where nothing .*; got {option} to"
        with pytest.raises(ValueError, match=message):
            engine.rollout(np.array([2]), np.full((1, T), option), np.full((1, T), attended))
    with pytest.raises(ValueError, match=r"bool attended of the same shape; .* int64 \(1, 4\)"):
        engine.rollout(np.array([2]), np.zeros((1, T), int), np.zeros((1, T), int))
    engine.rollout(np.array([2]), np.zeros((1, T), dtype=int))
    now = np.zeros(1, dtype=int)
    for over in (engine.counterfactuals, lambda now: engine.try_options(now, now[:, None])):
        with pytest.raises(RuntimeError, match=rf"fed fewer than {T} segments; got \[{T}\]: call"):
            over(now)


def test_a_running_episode_keeps_its_video(literal: Literal) -> None:
    engine = engine_of(literal)
    engine.start(np.array([0, 4]))
    engine.start(np.array([7, 5]), np.array([False, True]))
    assert engine.videos.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("videos", "options"),
    [
        ([0, 1], [[0], [0]]),
        (np.array([0, 1]), np.zeros(2, dtype=int)),
        (np.array([0, 1]), np.zeros((3, 2), dtype=int)),
        (np.array([0, 1]), np.zeros((2, T + 1), dtype=int)),
        (np.array([0, 1]), np.zeros((2, T))),
        (np.zeros(0, dtype=int), np.zeros((0, T), dtype=int)),
        (torch.zeros(1), torch.zeros(1, T)),
    ],
)
def test_wrong_plans_are_refused(literal: Literal, videos: Any, options: Any) -> None:
    engine = engine_of(literal)
    for play in (engine.rollout, engine.rollout_counterfactuals):
        with pytest.raises(ValueError, match=rf"\(B, D\) with D in 1 to {T}; got shapes \("):
            play(videos, options)
