"""One decision for a whole video, against f_C on whole sequences of the cached features."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from support import GRID, C, add_frames, write_cache, write_classifier

from focusgym.envs import FeatureSource, FocusEngine
from focusgym.envs.engine.clips import try_clips
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import read_classifier

K = GRID**2
VIDEO = 5


class Clips:
    """A cache and an f_C, and what videos of it come to by hand."""

    def __init__(self, folder: Path, steps: int, **config: Any) -> None:
        self.cache = write_cache(folder / "cache", steps=steps, seed=3)
        path = write_classifier(self.cache, folder / "f_c", **config)
        self.classifier = read_classifier(path)
        self.files = {"cache": str(self.cache.root), "classifier": str(path)}

    @torch.no_grad()
    def logits(self, video: int, option: int) -> torch.Tensor:
        """Return f_C's ``(T, C)`` of a video looked at with one option; −1 for no look."""
        steps = np.arange(self.cache.steps)
        glance = self.cache.glance_vectors(np.array([video]))[0]
        options = np.full(len(steps), max(option, 0))
        local = self.cache.local_vectors(video, steps, options) * (option >= 0)
        return self.classifier(glance[None], local[None])[0]

    def confidences(self, video: int, *options: int) -> np.ndarray:
        """Return the probabilities of the true label at the end, one for each option."""
        label = int(self.cache.labels[video])
        return np.array([float(self.logits(video, k)[-1].softmax(-1)[label]) for k in options])

    def make(self, **config: Any) -> Any:
        keywords = {"split": None, **self.files, **config}
        return gymnasium.make("focusgym/Clip-v0", **keywords).unwrapped


@pytest.fixture(params=[(1, "average_logits"), (3, "average_logits"), (3, "gru")])
def clips(tmp_path: Path, request: pytest.FixtureRequest) -> Clips:
    steps, aggregation = request.param
    return Clips(tmp_path, steps, aggregation=aggregation)


@pytest.fixture
def one(tmp_path: Path) -> Clips:
    """Videos of one segment."""
    return Clips(tmp_path, 1, aggregation="average_logits")


def test_every_alternative(clips: Clips) -> None:
    """All options, and none, of several videos; nothing goes on, and it can be asked again."""
    engine = FocusEngine(FeatureSource(clips.cache, clips.classifier))
    videos = np.array([7, 2, VIDEO])
    engine.start(videos)
    options = np.tile([*range(K), -1], (3, 1))
    options[1] = options[1, ::-1]
    for _ in range(2):
        tried = try_clips(engine, np.maximum(options, 0), options >= 0)
        assert tried.logits.shape == (3, K + 1, C)
        for row, video in enumerate(videos):
            expected = torch.stack([clips.logits(video, k)[-1] for k in options[row]])
            torch.testing.assert_close(tried.logits[row], expected, rtol=0, atol=1e-5)
            sure = clips.confidences(video, *options[row])
            np.testing.assert_allclose(tried.confidences[row], sure, atol=1e-5)
        assert engine.step.tolist() == [0] * 3


@pytest.mark.parametrize("option", [0, 4, 8])
def test_an_episode_is_one_decision(clips: Clips, option: int) -> None:
    env, steps = clips.make(reward="confidence", policy_gmacs=0.5), clips.cache.steps
    seen, _ = env.reset(options={"video": VIDEO})
    maps = clips.cache.glance_maps(np.array([VIDEO]))[0]
    np.testing.assert_array_equal(seen["maps"], maps)
    assert not seen["seen"].any()
    seen, reward, over, cut, info = env.step(option)
    assert (over, cut) == (True, False)
    (p,) = clips.confidences(VIDEO, option)
    assert reward == pytest.approx(p, abs=1e-5)
    assert info["confidence"] == pytest.approx(p, abs=1e-5)
    logits = clips.logits(VIDEO, option)
    assert info["correct"] == (int(logits[-1].argmax()) == int(clips.cache.labels[VIDEO]))
    cost = env.player.prices.cost
    assert (cost.glance_gmacs, cost.local_gmacs, cost.policy_gmacs) == (0.3, 1.5, 0.5)
    each = 0.3 + 1.5 + cost.classifier_gmacs
    assert info["gmacs"] == pytest.approx(0.5 + steps * each)
    assert seen["seen"].all()
    record = env.record()
    assert record.segments.tolist() == [*range(steps)]
    assert record.options.tolist() == [option] * steps
    assert record.attended.tolist() == record.fed.tolist() == [True] * steps
    label = int(clips.cache.labels[VIDEO])
    after = logits.softmax(-1)[:, label]
    np.testing.assert_allclose(record.confidences, after, atol=1e-5)
    # f_G and the policy come first: the whole video is glanced at before anything is chosen.
    look = 1.5 + cost.classifier_gmacs
    expected = 0.5 + steps * 0.3 + look * np.arange(1, steps + 1)
    np.testing.assert_allclose(record.gmacs, expected)
    assert record.rewards.tolist() == pytest.approx([0.0] * (steps - 1) + [reward])


def test_rewards(clips: Clips) -> None:
    """The designs, from confidences by hand; nothing was seen before."""
    p = clips.confidences(VIDEO, *range(K), -1)

    def reward(design: Any, **config: Any) -> float:
        env = clips.make(reward=design, **config)
        env.reset(options={"video": VIDEO})
        return float(env.step(2)[1])

    every = {"name": "increment_over_random", "draws": None}
    assert reward(every) == pytest.approx(p[2] - p[:K].mean(), abs=1e-5)
    allowed = (1, 2, 7)
    assert reward(every, options_allowed=allowed) == pytest.approx(
        p[2] - p[[*allowed]].mean(), abs=1e-5
    )
    assert reward("padding") == pytest.approx(p[2] - p[-1], abs=1e-5)
    assert reward("increments") == pytest.approx(p[2], abs=1e-5)
    right = int(clips.logits(VIDEO, 2)[-1].argmax()) == int(clips.cache.labels[VIDEO])
    assert reward("final") == float(right)


@pytest.mark.parametrize("draws", [1, 3])
def test_what_was_drawn_is_compared_with(clips: Clips, draws: int) -> None:
    """Uniform over the options, and another in each episode."""
    env = clips.make(reward={"name": "increment_over_random", "draws": draws})
    p, drawn = clips.confidences(VIDEO, *range(K)), []
    for _ in range(12):
        env.reset(options={"video": VIDEO})
        options = env.player.episodes.draws(np.array([0]))[0]
        assert options.shape == (draws,)
        drawn.append(tuple(options.tolist()))
        assert env.step(6)[1] == pytest.approx(p[6] - p[options].mean(), abs=1e-5)
    assert len(set(drawn)) > 3


def test_a_design_of_your_own_compares_with_both(clips: Clips) -> None:
    came = SimpleNamespace()

    def design(p: Any) -> torch.Tensor:
        came.p = p
        chosen: torch.Tensor = p.chosen
        return chosen

    design.draws, design.compares_skip = None, True  # type: ignore[attr-defined]
    env = clips.make(reward=design)
    env.reset(options={"video": VIDEO})
    env.step(4)
    p = clips.confidences(VIDEO, *range(K), -1)
    np.testing.assert_allclose(came.p.random[0], p[:K], atol=1e-5)
    np.testing.assert_allclose(came.p.skip, p[K:], atol=1e-5)
    assert (came.p.options.tolist(), came.p.step.tolist(), came.p.last.tolist()) == ([4], [0], [1])


def test_centres_take_the_nearest_option(one: Clips) -> None:
    """Patches of 12 px begin at 0, 10 and 20 px of 32; x counts columns, y rows."""
    env = one.make(actions="centers", reward="confidence")
    assert env.action_space == gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)
    rng = np.random.default_rng(0)
    centers = [*rng.uniform(size=(12, 2)), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    for x, y in centers:
        env.reset(options={"video": VIDEO})
        away = [
            (10 * (k % GRID) - 20 * x) ** 2 + (10 * (k // GRID) - 20 * y) ** 2 for k in range(K)
        ]
        _, reward, over, _, _ = env.step(np.array([x, y], dtype=np.float32))
        assert over
        assert env.record().options.tolist() == [int(np.argmin(away))]
        assert reward == pytest.approx(one.confidences(VIDEO, int(np.argmin(away)))[0], abs=1e-5)


def test_masks_and_what_is_not_allowed(one: Clips) -> None:
    env = one.make(options_allowed=(1, 4))
    assert env.action_space == gymnasium.spaces.Discrete(K)
    env.reset(seed=0)
    assert np.flatnonzero(env.action_masks()).tolist() == [1, 4]
    with pytest.raises(ValueError, match=r"expected options among options_allowed \[1, 4\]; got"):
        env.step(0)
    for _ in range(8):  # also those that are compared with
        env.reset()
        assert set(env.player.episodes.draws(np.array([0])).flatten().tolist()) <= {1, 4}
        env.step(4)


def test_what_is_refused(one: Clips) -> None:
    for config, message in (
        ({"actions": "boxes"}, "actions must be 'options' or 'centers'; got 'boxes'"),
        ({"observation": "pixels"}, "observation must be 'maps' or 'state' or .*; got 'pixels'"),
        (
            {"actions": "centers", "options_allowed": (1,)},
            "centre may be anywhere: leave options_allowed out, or take actions='options'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            one.make(**config)
    env = one.make(actions="centers")
    env.reset()
    with pytest.raises(RuntimeError, match="have no masks: use an algorithm for continuous"):
        env.action_masks()
    for wrong, message in (
        (np.array([0.5, 1.5]), r"centres of boxes must be in \[0, 1\]; got .*: clip them"),
        (np.array([0.5]), r"expected one action of Box\(.*\); got shape \(1,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(wrong)
    assert env.step(np.array([0.5, 0.5]))[2], "a refused action leaves the episode as it was"
    group = add_frames(one.cache, (16,))
    path = write_classifier(FeatureCache.open(one.cache.root, group), one.cache.root / "f_c")
    with pytest.raises(ValueError, match="one grid of patches; got .* full16: name one of patches"):
        one.make(actions="centers", group=group, classifier=str(path))
