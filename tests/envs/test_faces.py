"""The Gymnasium and the Stable-Baselines3 face: conventions, order of episodes, agreement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from support import G, T, write_cache

from focusgym.envs import AdaFocusEnv, AdaFocusVecEnv, EnvConfig, Episodes
from focusgym.feature_cache import BundleError, CacheError, FeatureCache

ID = "focusgym.envs:focusgym/AdaFocus-v0"


def episodes_of(n_videos: int, n_envs: int, seed: int) -> Episodes:
    rows = np.arange(100, 100 + n_videos)
    return Episodes(rows, 2, 3, 49, np.arange(n_envs), n_envs, seed)


@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 5))
def test_an_epoch_visits_every_video_once_whatever_n_is(
    n_videos: int, n_envs: int, seed: int
) -> None:
    batch, single = episodes_of(n_videos, n_envs, seed), episodes_of(n_videos, 1, seed)
    played, draws = [], []
    for _ in range(3 * n_videos):
        batch.advance()
        played += batch.videos.tolist()
        draws += [batch.draws(1)[i].tolist() for i in range(n_envs)]
    for epoch in range(3):
        of_epoch = played[epoch * n_videos : (epoch + 1) * n_videos]
        assert sorted(of_epoch) == list(range(100, 100 + n_videos))
    for g in range(3 * n_videos):
        single.advance()
        assert single.videos[0] == played[g]
        assert single.draws(1)[0].tolist() == draws[g]


def test_draws_are_uniform_and_differ_between_steps_and_episodes() -> None:
    episodes = episodes_of(50, 2000, 0)
    episodes.advance()
    counts = np.bincount(
        np.concatenate([episodes.draws(t).ravel() for t in range(3)]), minlength=49
    )
    expected = 2000 * 2 * 3 / 49
    assert ((counts - expected) ** 2 / expected).sum() < 85  # χ², 48 degrees, p ≈ 0.001
    assert not np.array_equal(episodes.draws(0), episodes.draws(1))


@pytest.mark.parametrize("observation", ["map", "index"])
def test_the_environment_passes_both_checkers(
    cache: FeatureCache, classifier_path: Path, observation: str
) -> None:
    env = gymnasium.make(
        ID, cache=str(cache.root), classifier=str(classifier_path), observation=observation
    )
    check_env(env.unwrapped, skip_render_check=True)
    check_env_sb3(env.unwrapped)
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.observation_space == env.unwrapped.observation_space


def test_an_episode(cache: FeatureCache, classifier_path: Path) -> None:
    env = AdaFocusEnv(cache.root, classifier_path, split="test", random_draws=None)
    observation, info = env.reset(seed=5)
    video = info["video_id"]
    assert video in cache.split("test")
    for t in range(T):
        expected = np.load(cache.root / "glance_maps.npy")[video, t].astype(np.float32)
        assert observation.shape == (3 * 3 * G,)
        assert np.array_equal(observation, expected.ravel())
        observation, reward, terminated, truncated, info = env.step(np.int64(4))
        assert (terminated, truncated) == (t == T - 1, False)
        assert 0 <= info["confidence"] <= 1
        assert -1 <= reward <= 1
        assert info["box_px"] == (10, 10, 22, 22)
    assert np.array_equal(observation, expected.ravel()), "the last observation is repeated"


def row(rows: Any, i: int) -> Any:
    return {key: values[i] for key, values in rows.items()} if isinstance(rows, dict) else rows[i]


def assert_same(observation: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert observation.keys() == expected.keys()
        assert all(np.array_equal(observation[key], expected[key]) for key in expected)
    else:
        assert np.array_equal(observation, expected)


@pytest.mark.parametrize("n_envs", [1, 3, 64])
@pytest.mark.parametrize("observation", ["map", "index"])
def test_environment_i_of_n_is_a_single_environment(
    cache: FeatureCache, classifier_path: Path, n_envs: int, observation: str
) -> None:
    config = EnvConfig(cache.root, classifier_path, observation=observation, seed=9)
    batch = AdaFocusVecEnv(config, n_envs)
    chosen = range(n_envs) if n_envs < 10 else (0, 31, 63)
    singles = {
        i: AdaFocusEnv(
            cache.root,
            classifier_path,
            observation=observation,
            seed=9,
            first_episode=i,
            episode_stride=n_envs,
        )
        for i in chosen
    }

    rng = np.random.default_rng(0)
    rows = batch.reset()
    for i, env in singles.items():
        assert_same(row(rows, i), env.reset()[0])
    returns = np.zeros(n_envs)
    for step in range(3 * T):
        actions = rng.integers(9, size=n_envs)
        rows, rewards, dones, infos = batch.step(actions)
        returns += rewards
        for i, env in singles.items():
            observed, reward, terminated, _, info = env.step(actions[i])
            assert rewards[i] == pytest.approx(reward, abs=1e-5)
            assert dones[i] == terminated == (step % T == T - 1)
            if terminated:
                assert_same(infos[i]["terminal_observation"], observed)
                assert infos[i]["episode"]["r"] == pytest.approx(returns[i], abs=1e-4)
                assert infos[i]["episode"]["l"] == T
                assert infos[i]["correct"] == info["correct"]
                observed, _ = env.reset()
            assert_same(row(rows, i), observed)
        returns[dones] = 0


def test_a_seed_fixes_everything(cache: FeatureCache, classifier_path: Path) -> None:
    def play(seed: int) -> list[float]:
        env = AdaFocusEnv(cache.root, classifier_path)
        _, info = env.reset(seed=seed)
        values: list[float] = [info["video_id"]]
        for _ in range(T):
            values.append(env.step(np.int64(2))[1])
        return values

    assert play(3) == play(3)
    assert play(3) != play(4)
    batch = AdaFocusVecEnv(EnvConfig(cache.root, classifier_path), 3)
    batch.seed(3)
    batch.reset()
    first = batch.player.episodes.videos.copy()
    batch.seed(3)
    batch.reset()
    assert np.array_equal(batch.player.episodes.videos, first)
    assert first[0] == play(3)[0]


def test_what_stable_baselines_asks_of_a_batch(cache: FeatureCache, classifier_path: Path) -> None:
    batch = AdaFocusVecEnv(EnvConfig(cache.root, classifier_path), 3)
    assert batch.get_attr("num_envs") == [3, 3, 3]
    assert batch.env_method("get_images", indices=[0, 1]) == [[None] * 3] * 2
    assert batch.env_is_wrapped(gymnasium.Wrapper) == [False] * 3
    with pytest.raises(AttributeError, match="cannot set 'x': the environments of a batch share"):
        batch.set_attr("x", 1)
    with pytest.raises(ValueError, match="n_envs must be at least 1; got 0"):
        AdaFocusVecEnv(EnvConfig(cache.root, classifier_path), 0)


def test_wrong_use_says_what_to_do(
    cache: FeatureCache, classifier_path: Path, tmp_path: Path
) -> None:
    env = AdaFocusEnv(cache.root, classifier_path)
    with pytest.raises(RuntimeError, match=r"no episode is running: call reset\(\) before step"):
        env.step(np.int64(0))
    env.reset()
    with pytest.raises(ValueError, match=r"1 integer action\(s\) in \[0, 9\); got values from 9"):
        env.step(np.int64(9))
    with pytest.raises(ValueError, match=r"got float64 of shape \(1,\)"):
        env.step(0.5)  # type: ignore[arg-type]
    for _ in range(T):
        env.step(np.int64(0))
    with pytest.raises(RuntimeError, match="no episode is running"):
        env.step(np.int64(0))
    with pytest.raises(ValueError, match="observation must be 'map' or 'index'; got 'pixels'"):
        AdaFocusEnv(cache.root, classifier_path, observation="pixels")
    with pytest.raises(ValueError, match="random_draws must be at least 1, or None .*; got 0"):
        AdaFocusEnv(cache.root, classifier_path, random_draws=0)
    with pytest.raises(ValueError, match="episode_stride at least 1; got 0 and 0"):
        AdaFocusEnv(cache.root, classifier_path, episode_stride=0)
    with pytest.raises(CacheError, match="split 'dev' has no videos"):
        AdaFocusEnv(cache.root, classifier_path, split="dev")
    with pytest.raises(CacheError, match="is not a complete feature cache"):
        AdaFocusEnv(tmp_path / "nowhere", classifier_path)
    other = write_cache(tmp_path / "other", seed=1)
    with pytest.raises(BundleError, match="was trained on cache .*: open the cache it was trained"):
        AdaFocusEnv(other.root, classifier_path)
