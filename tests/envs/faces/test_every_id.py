"""What holds for every environment id: the spaces, the specs, seeds, batches, records."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3

from focusgym.envs import FocusVectorEnv, make_sb3, read_record
from focusgym.envs.tasks.registry import TASKS, config_class, env_id

OBSERVED = [(name, seen) for name in TASKS for seen in config_class(name).observations]
every_id = pytest.mark.parametrize("name", TASKS)
every_observation = pytest.mark.parametrize(("name", "observation"), OBSERVED)


@pytest.fixture
def files(cache: Any, classifier_path: Path) -> dict[str, str]:
    return {"cache": str(cache.root), "classifier": str(classifier_path)}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(np.array_equal(one, other))


def episode(env: Any, seed: int | None = None, **reset: Any) -> list[Any]:
    """Play an episode with actions drawn by the space; return all that came."""
    env.action_space.seed(3)
    came: list[Any] = [env.reset(seed=seed, **reset)]
    over = False
    while not over:
        came.append(env.step(env.action_space.sample()))
        over = came[-1][2] or came[-1][3]
    return came


def test_all_that_are_registered_are_tasks() -> None:
    ids = {key for key in gymnasium.registry if key.startswith("focusgym/")}
    assert ids == {env_id(name) for name in TASKS}


@every_id
def test_each_has_rules_of_its_own(files: dict[str, str], name: str) -> None:
    """AdaFocus+ has those of AdaFocus, with another set of actions."""
    env = gymnasium.make(env_id(name), **files).unwrapped
    assert type(env.player.task).__name__ == f"{name.removesuffix('Plus')}Task"


@every_observation
def test_the_checkers_find_nothing(files: dict[str, str], name: str, observation: str) -> None:
    env = gymnasium.make(env_id(name), observation=observation, **files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Box bounds of f_C's state are infinite
        check_env(env.unwrapped, skip_render_check=True)
        check_sb3(env)


@every_id
def test_a_spec_goes_through_json(files: dict[str, str], name: str) -> None:
    env = gymnasium.make(env_id(name), seed=2, **files)
    assert env.spec is not None
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert same(episode(env, seed=5), episode(again, seed=5))


@every_observation
def test_observations_are_of_the_space(files: dict[str, str], name: str, observation: str) -> None:
    env = gymnasium.make(env_id(name), observation=observation, **files)
    for _ in range(3):
        for came in episode(env):
            assert came[0] in env.observation_space


@every_id
def test_the_state_says_what_was_fed(files: dict[str, str], name: str) -> None:
    """After every decision, as the record has it; glances are shown of what was paid for."""
    env = gymnasium.make(env_id(name), observation="state", **files).unwrapped
    env.action_space.seed(2)
    seen, over = env.reset(seed=3)[0], False
    assert not seen["seen"].any()
    while not over:
        seen, _, over, _, info = env.step(env.action_space.sample())
        record = env.record()
        fed = np.unique(record.segments[record.fed])
        assert np.flatnonzero(seen["seen"]).tolist() == fed.tolist()
        shown = np.flatnonzero(np.abs(seen["glances"]).sum(axis=1))
        assert {*fed.tolist()} <= {*shown.tolist()}
        cost = env.player.prices.cost
        looks = record.attended.sum() * cost.local_gmacs + record.fed.sum() * cost.classifier_gmacs
        glances = round((info["gmacs"] - looks) / cost.glance_gmacs)
        # Where a decision is about the segment that is shown, it is paid for with the decision.
        ahead = int(env.player.task.timeline.glances == "next")
        assert 0 <= len(shown) - glances <= ahead


@every_id
def test_a_batch_plays_what_single_environments_play(files: dict[str, str], name: str) -> None:
    """Three in a batch, each beside one alone: the same numbers within rounding."""
    batch = FocusVectorEnv(3, task=name, autoreset_mode="Disabled", seed=4, **files)
    alone = [
        gymnasium.make(env_id(name), seed=4, first_episode=i, episode_stride=3, **files)
        for i in range(3)
    ]
    batch.action_space.seed(1)
    for _ in range(2):
        seen, _ = batch.reset()
        firsts = [env.reset()[0] for env in alone]
        going = np.ones(3, dtype=bool)
        while going.all():  # until the first of them ends
            actions = batch.action_space.sample()
            seen, rewards, terminated, truncated, infos = batch.step(actions)
            for i, env in enumerate(alone):
                one, reward, over, cut, info = env.step(actions[i])
                assert (over, cut) == (bool(terminated[i]), bool(truncated[i]))
                assert reward == pytest.approx(float(rewards[i]), abs=1e-6)
                for key in ("video_id", "label", "confidence", "correct", "gmacs"):
                    assert info[key] == pytest.approx(infos[key][i], abs=1e-6), key
                for key, part in one.items() if isinstance(one, dict) else [(None, one)]:
                    row = seen[key][i] if key else seen[i]
                    np.testing.assert_allclose(part, row, rtol=0, atol=1e-5)
            going = ~(terminated | truncated)
        assert len(firsts) == 3


@every_id
def test_stable_baselines3_gets_whole_episodes(files: dict[str, str], name: str) -> None:
    """The returns of its infos are the sums of the rewards, and every video is played once."""
    env = make_sb3(env_id(name), 2, **files)
    n_videos = len(env.player.cache.split("train"))
    env.action_space.seed(0)
    env.reset()
    sums, ended, videos = np.zeros(2), 0, [info["video_id"] for info in env.reset_infos]
    while ended < 2 * n_videos:
        _, rewards, done, infos = env.step(np.array([env.action_space.sample() for _ in range(2)]))
        sums += rewards
        for i in np.flatnonzero(done):
            assert infos[i]["episode"]["r"] == pytest.approx(sums[i], abs=1e-5)
            assert infos[i]["episode"]["gmacs"] > 0
            sums[i] = 0.0
            ended += 1
            videos.append(env.reset_infos[i]["video_id"])
    assert set(videos) == set(env.player.cache.split("train").tolist())


@every_id
def test_a_record_comes_back(files: dict[str, str], name: str, tmp_path: Path) -> None:
    env = gymnasium.make(env_id(name), **files)
    came = episode(env, seed=1)
    record = env.unwrapped.record()
    record.write(tmp_path / "episode.json")
    again = read_record(tmp_path / "episode.json")
    for column in ("segments", "options", "attended", "fed", "confidences", "rewards", "gmacs"):
        assert np.array_equal(getattr(again, column), getattr(record, column)), column
    assert record.confidences[-1] == came[-1][4]["confidence"]
    assert record.gmacs[-1] == came[-1][4]["gmacs"]
    assert record.rewards.sum() == pytest.approx(sum(step[1] for step in came[1:]), abs=1e-6)


@every_id
def test_what_is_refused(files: dict[str, str], name: str) -> None:
    make = gymnasium.make
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour': expected cache"):
        make(env_id(name), colour="red", **files)
    with pytest.raises(ValueError, match="observation must be .*; got 'pixels'"):
        make(env_id(name), observation="pixels", **files)
    with pytest.raises(ValueError, match="reward must be one of .*; got 'best'"):
        make(env_id(name), reward="best", **files)
    env = make(env_id(name), disable_env_checker=True, **files).unwrapped
    with pytest.raises(RuntimeError, match=r"call reset\(\) before step"):
        env.step(env.action_space.sample())
    env.reset()
    wrong = np.full(np.shape(env.action_space.sample()), 99)
    if not isinstance(env.action_space, gymnasium.spaces.Box):
        with pytest.raises(ValueError, match=r"expected integer actions of shape .*; got \[99"):
            env.step(wrong)
    env.step(env.action_space.sample())  # a refused action leaves the episode as it was
