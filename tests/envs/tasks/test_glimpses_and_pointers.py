"""Glimpses and pointers: places named as numbers, and moves; costs and predictions by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from support import Literal, T, write_classifier

from focusgym.envs import FocusVectorEnv


@pytest.fixture
def literal(tmp_path: Path) -> Literal:
    return Literal(tmp_path, seed=7)


def make(literal: Literal, name: str, **config: Any) -> Any:
    return gymnasium.make(f"focusgym/{name}-v0", split=None, **literal.files, **config).unwrapped


def sure(literal: Literal, video: int, segments: list[int], option: int = 0) -> np.ndarray:
    """The confidence after each of some segments, of the classifier on the whole sequence."""
    cache = literal.cache
    glance = cache.glance_vectors(np.array([video]))[0, segments]
    local = cache.local_vectors(video, np.array(segments), np.full(len(segments), option))
    with torch.no_grad():
        p = literal.classifier(glance[None], local[None])[0].softmax(dim=-1)
    return p[:, int(cache.labels[video])].numpy()


def test_glimpses_by_hand(literal: Literal) -> None:
    """f_G runs on what is taken alone, as f_C takes its vectors; a stop comes after a glimpse."""
    env = make(literal, "Glimpses", option=2, price_per_gmac=0.1)
    seen, _ = env.reset(options={"video": 5})
    assert not np.abs(seen["glances"]).any(), "nothing is seen before the first glimpse"
    p = sure(literal, 5, [3, 0], 2)
    cost = env.player.prices.cost
    each = cost.glance_gmacs + cost.local_gmacs + cost.classifier_gmacs
    _, reward, over, _, info = env.step([0.9, 0.5])  # too early for a stop
    assert not over
    assert info["gmacs"] == pytest.approx(each)
    assert reward == pytest.approx(p[0] - 0.1 * each, abs=1e-5)
    _, reward, over, _, info = env.step([0.51, -0.5])  # the same segment again
    assert (over, reward) == (False, pytest.approx(0.0, abs=1e-6))
    seen, reward, _, _, info = env.step([-7.0, -0.5])  # clipped
    assert reward == pytest.approx(p[1] - p[0] - 0.1 * each, abs=1e-5)
    assert info["gmacs"] == pytest.approx(2 * each)
    shown = np.abs(seen["glances"]).sum(axis=1).astype(bool)
    assert shown.tolist() == [True, False, False, True]
    _, _, over, _, info = env.step([0.0, 0.1])
    assert (over, bool(info["stopped"])) == (True, True)
    assert env.record().segments[:3].tolist() == [3, 3, 0]


@pytest.mark.parametrize(
    ("place", "segment"), [(-1, 0), (-0.51, 0), (-0.49, 1), (0, 2), (0.99, 3), (1, 3)]
)
def test_places_are_segments(literal: Literal, place: float, segment: int) -> None:
    env = make(literal, "Glimpses", n_decisions=1)
    env.reset()
    assert env.step([place, 1.0])[2], "as many decisions were made"
    assert env.record().segments.tolist() == [segment]


def test_pointers_by_hand(literal: Literal) -> None:
    """They begin at 1 and 3; what is read counts once, and where nothing is read it ends."""
    env = make(literal, "Pointers", price_per_gmac=0.1)
    seen, _ = env.reset(options={"video": 5})
    assert seen["now"].tolist() == [0, 1, 0, 1]
    assert env.action_masks().tolist() == [False, True, False] * 2
    p = sure(literal, 5, [1, 3, 0, 2])
    cost = env.player.prices.cost
    each = cost.glance_gmacs + cost.local_gmacs + cost.classifier_gmacs
    _, reward, over, _, info = env.step([2, 0])  # whatever is said, the first decision reads
    assert reward == pytest.approx(p[1] - 0.2 * each, abs=1e-5)
    assert (info["gmacs"], info["n_read"]) == (pytest.approx(2 * each), 2)
    assert env.action_masks().tolist() == [True, True, True, True, True, False]
    seen, reward, over, _, info = env.step([0, 1])
    assert reward == pytest.approx(p[2] - p[1] - 0.1 * each, abs=1e-5)
    assert (info["gmacs"], info["n_read"]) == (pytest.approx(3 * each), 1)
    assert seen["now"].tolist() == [1, 0, 0, 1]
    assert not over
    _, reward, over, _, info = env.step([0, 2])  # out of the video on both sides: they stay
    assert (over, reward) == (True, pytest.approx(0.0, abs=1e-6))
    record = env.record()
    assert record.segments.tolist() == [1, 3, 0, 0]
    assert record.fed.tolist() == [True, True, True, False]
    assert record.confidences.tolist() == pytest.approx([*p[:3], p[2]], abs=1e-5)
    assert record.gmacs.tolist() == pytest.approx([each, 2 * each, 3 * each, 3 * each])


def test_pointers_that_meet_and_read_everything(literal: Literal) -> None:
    env = make(literal, "Pointers", n_pointers=3, stride=2)
    env.reset(options={"video": 2})
    assert env.step([1, 1, 1])[4]["n_read"] == 3
    assert env.record().segments.tolist() == [0, 2, 3]
    _, _, over, _, info = env.step([1, 1, 0])  # from 3 to 1
    assert (over, info["n_read"]) == (True, 1), "all segments were read"
    env.reset(options={"video": 2})
    env.step([1, 1, 1])
    assert env.step([2, 0, 1])[2], "they change places, and nothing is read"


def test_pointers_of_a_batch_read_different_numbers(literal: Literal) -> None:
    """What one episode reads is not mixed up with what another one does."""
    env = FocusVectorEnv(3, task="Pointers", autoreset_mode="Disabled", split=None, **literal.files)
    env.reset()
    env.step(np.ones((3, 2), dtype=int))
    _, _, over, _, info = env.step(np.array([[0, 0], [0, 1], [1, 1]]))
    assert info["n_read"].tolist() == [2, 1, 0]
    assert over.tolist() == [True, False, True]
    videos = info["video_id"].tolist()
    for video, segments, confidence in zip(
        videos, ([1, 3, 0, 2], [1, 3, 0], [1, 3]), info["confidence"], strict=True
    ):
        assert confidence == pytest.approx(sure(literal, video, segments)[-1], abs=1e-5)


@pytest.mark.parametrize("name", ["Glimpses", "Pointers"])
def test_f_g_does_not_run_for_an_f_c_of_looks(literal: Literal, name: str, tmp_path: Path) -> None:
    path = write_classifier(literal.cache, tmp_path / "of_looks", reuse_glance=False)
    files = {"cache": literal.files["cache"], "classifier": path}
    env: Any = gymnasium.make(f"focusgym/{name}-v0", **files).unwrapped
    env.reset()
    action = [0.0, 0.0] if name == "Glimpses" else [1, 1]
    seen, _, _, _, info = env.step(action)
    cost, n = env.player.prices.cost, 1 if name == "Glimpses" else 2
    assert info["gmacs"] == pytest.approx(n * (cost.local_gmacs + cost.classifier_gmacs))
    assert not np.abs(seen["glances"]).any()


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("Glimpses", {"n_decisions": 0}, "n_decisions must be an integer of at least 1"),
        ("Glimpses", {"n_decisions": T + 1}, rf"n_decisions must be in 1..{T}"),
        ("Pointers", {"n_pointers": T + 1}, rf"n_pointers must be in 1..{T}"),
        ("Pointers", {"stride": 0}, "stride must be an integer of at least 1"),
    ],
)
def test_what_is_refused(literal: Literal, name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(literal, name, **config)


def test_wrong_numbers_are_refused(literal: Literal) -> None:
    env = make(literal, "Glimpses")
    env.reset()
    with pytest.raises(ValueError, match="expected finite numbers"):
        env.step([np.nan, 0.0])
    with pytest.raises(ValueError, match=r"expected numbers of shape \(1, 2\); got float64 of"):
        env.player.step(np.zeros((1, 3)))
