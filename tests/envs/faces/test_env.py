"""The Gymnasium face: checkers, specs, an episode, what is played, and Gymnasium's own wrappers.

Warnings are errors here (see setup.cfg), those of Gymnasium's logger too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from stable_baselines3.common.monitor import Monitor
from support import GRID, C, G, L, T, assert_same

from focusgym.envs import FocusEnv
from focusgym.feature_cache import FeatureCache

K = GRID**2
FRAME_GMACS = 0.3 + (3 * 7 * (G + L + 7) + 7 * C) / 1e9  # f_G of `write_cache`; f_C: GRU, linear
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "where": ("focusgym/AdaFocus-v0", {}),
    "pairs": ("focusgym/AdaFocusPlus-v0", {"action_set": "pairs"}),
    "flat": ("focusgym/AdaFocusPlus-v0", {"action_set": "flat"}),
}


def make(kind: str, files: dict[str, str], **keywords: Any) -> gymnasium.Env:
    env_id, of_kind = KINDS[kind]
    return gymnasium.make(env_id, **files, **of_kind, **keywords)


def videos_played(env: gymnasium.Env, times: int, seed: int | None = None) -> list[int]:
    first = env.reset(seed=seed)[1]["video_id"]
    return [first, *(env.reset()[1]["video_id"] for _ in range(times - 1))]


def rewards_of(env: gymnasium.Env, action: Any = 2) -> list[float]:
    return [float(env.step(action)[1]) for _ in range(T)]


@pytest.mark.parametrize("observation", ["map", "index"])
@pytest.mark.parametrize("kind", KINDS)
def test_both_checkers_find_nothing_to_say(
    files: dict[str, str], real: dict[str, str], kind: str, observation: str
) -> None:
    assert gymnasium.logger.min_level <= gymnasium.logger.WARN
    on_no_videos = make(kind, files, observation=observation).unwrapped
    check_env(on_no_videos, skip_render_check=True)
    check_env_sb3(on_no_videos)
    on_videos = make(kind, real, observation=observation, render_mode="rgb_array").unwrapped
    check_env(on_videos)
    check_env_sb3(on_videos, skip_render_check=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("observation", ["map", "index"])
def test_a_spec_goes_through_json_and_makes_the_same_environment(
    files: dict[str, str], kind: str, observation: str
) -> None:
    more: dict[str, Any] = {
        "reward": {"name": "support:Scaled", "factor": 3.0},
        "observation": observation,
        "split": None,
        "videos": [9, 2, 4],
        "order": "listed",
        "options_allowed": [1, 4, 8],
        "first_episode": 1,
        "episode_stride": 2,
    }
    if kind != "where":
        more |= {"penalty": {"per_gmac": 0.5}, "budget_gmacs": T * FRAME_GMACS + 2 * 1.6}
    env = make(kind, files, **more)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec.kwargs == env.spec.kwargs
    assert again.observation_space == env.observation_space
    assert again.action_space == env.action_space
    assert_same(again.reset(), env.reset())
    for option in (1, 8, 1, 4):
        action = np.array([option, 1]) if kind == "pairs" else option
        if kind == "flat" and not env.unwrapped.action_masks()[option]:
            action = K
        step = env.step(action)
        assert_same(again.step(action), step)
        gain = step[4].get("reward_skip", 0.0)
        if step[4].get("attended", True):
            assert step[1] - gain == pytest.approx(3 * step[4]["confidence"], abs=1e-6)
    assert step[4]["video_id"] == 2, "the first of 1, 3, ... of the list"


@pytest.mark.parametrize("observation", ["map", "index"])
def test_an_episode(cache: FeatureCache, files: dict[str, str], observation: str) -> None:
    env = make("where", files, split="test", observation=observation)
    seen, info = env.reset(seed=5)
    video, total = info["video_id"], 0.0
    assert video in (8, 9)
    assert info == {"video_id": video, "label": int(cache.videos["label"][video])}
    maps = np.load(cache.root / "glance_maps.npy")[video].astype(np.float32)
    corner = {0: 0, 1: 10, 2: 20}  # of 12 px patches on 32 px frames
    for t in range(T):
        if observation == "map":
            assert (seen.dtype, seen.tolist()) == (np.float32, maps[t].ravel().tolist())
        else:
            assert_same(seen, {"video": np.array([video]), "t": np.array([t])})
        seen_before, action = seen, (2 * t + 1) % K
        seen, reward, terminated, truncated, info = env.step(action)
        assert type(reward) is float
        total += reward
        assert (terminated, truncated) == (t == T - 1, False)
        assert 0 <= info["confidence"] <= 1
        assert type(info["correct"]) is bool
        assert info["gmacs"] == pytest.approx((t + 1) * (FRAME_GMACS + 1.5), rel=1e-9)
        left, top = corner[action % 3], corner[action // 3]
        assert info["box_px"].tolist() == [left, top, left + 12, top + 12]
        assert ("episode_return" in info) == ("episode_length" in info) == terminated
    assert_same(seen, seen_before, "the last observation is repeated")
    assert info["episode_return"] == pytest.approx(total, abs=1e-6)
    assert info["episode_length"] == T


def test_the_reward_of_both_decisions_is_the_sum_of_its_parts(files: dict[str, str]) -> None:
    pairs, flat = make("pairs", files), make("flat", files)
    pairs.reset(seed=0)
    flat.reset(seed=0)
    gmacs = 0.0
    for option, looks in ((3, 1), (3, 0), (8, 0), (1, 1)):
        one = pairs.step(np.array([option, looks]))
        other = flat.step(option if looks else K)
        gmacs += FRAME_GMACS + 1.5 * looks
        for _, reward, _, _, info in (one, other):
            parts = info["reward_location"] + info["reward_skip"]
            assert reward == pytest.approx(parts, abs=1e-6)
            assert info["attended"] is bool(looks)
            assert info["gmacs"] == pytest.approx(gmacs, rel=1e-9)
            assert looks or info["reward_skip"] == 0
        assert one[4]["box_px"].any()
        assert other[4]["box_px"].any() == bool(looks), "no box where no location was chosen"
        assert one[4]["confidence"] == pytest.approx(other[4]["confidence"], abs=1e-6)


def test_increments_add_up_to_the_confidence_in_every_episode(files: dict[str, str]) -> None:
    env = make("where", files, reward="increments")
    for _ in range(3):
        env.reset()
        env.step(1)
        env.reset()  # in the middle: nothing of that episode is subtracted
        total = 0.0
        for option in range(T):
            _, reward, _, _, info = env.step(option)
            total += reward
            assert total == pytest.approx(info["confidence"], abs=1e-6)


def test_a_seed_fixes_everything(files: dict[str, str]) -> None:
    def play(env: gymnasium.Env, seed: int | None) -> list[float]:
        return [env.reset(seed=seed)[1]["video_id"], *rewards_of(env)]

    env = FocusEnv(**files)
    third = play(env, 3)
    assert play(env, 4) != third
    assert play(env, 3) == third
    assert play(FocusEnv(**files, seed=3), None) == third, "as a keyword"
    assert play(env, None) != third, "without a seed the order goes on"
    assert videos_played(env, 6, 3) != videos_played(env, 6, 4)


def test_a_split_all_of_them_or_a_list_is_played(files: dict[str, str]) -> None:
    def of(n: int, **keywords: Any) -> list[int]:
        return videos_played(FocusEnv(**files, **keywords), n)

    assert sorted(of(6)) == [0, 1, 2, 3, 4, 5]
    assert sorted(of(2, split="val")) == [6, 7]
    assert sorted(of(10, split=None)) == list(range(10))
    assert sorted(of(3, videos=[5, 0, 3])) == [0, 3, 5]
    assert of(7, videos=[5, 0, 3], order="listed") == [5, 0, 3, 5, 0, 3, 5]
    assert of(4, split=None, videos=(9, 1), order="listed") == [9, 1, 9, 1]
    assert of(6, order="listed") == [0, 1, 2, 3, 4, 5]
    assert of(12)[:6] != of(12)[6:], "shuffled anew in every epoch"


def test_videos_that_could_not_be_read_are_not_played(
    cache: FeatureCache, files: dict[str, str]
) -> None:
    table = pd.read_csv(cache.root / "videos.csv")
    table.loc[[1, 9], "split"] = "skipped"
    table.to_csv(cache.root / "videos.csv", index=False)
    assert sorted(videos_played(FocusEnv(**files), 5)) == [0, 2, 3, 4, 5]
    everything = FocusEnv(**files, split=None)
    assert sorted(videos_played(everything, 8)) == [0, 2, 3, 4, 5, 6, 7, 8]
    with pytest.raises(ValueError, match=r"that could be read when it was built; got 9"):
        everything.reset(options={"video": 9})


def test_a_chosen_video_is_played_out_of_turn_the_same_way_after_each_seed(
    files: dict[str, str],
) -> None:
    reward = {"name": "increment_over_random", "draws": 2}
    order = videos_played(FocusEnv(**files, reward=reward), 6, 1)
    env = FocusEnv(**files, reward=reward)
    assert videos_played(env, 2, 1) == order[:2]
    played = []
    for row in (8, 0, 8):  # 8 is not even in the split
        assert env.reset(options={"video": row})[1]["video_id"] == row
        played.append(rewards_of(env))
    assert played[0] != played[2], "again draws other options"
    assert videos_played(env, 4) == order[2:], "as if there had been no chosen video"
    env.reset(seed=1, options={"video": 8})
    again = rewards_of(env)
    assert videos_played(env, 6) == order
    env.reset(seed=1, options={"video": 8})
    assert rewards_of(env) == again
    env.reset(seed=2, options={"video": 8})
    assert rewards_of(env) != again, "another seed draws other options"
    assert env.reset(options={"video": None})[1]["video_id"] in range(6)


def test_a_reset_in_the_middle_of_an_episode_begins_the_next(files: dict[str, str]) -> None:
    order = videos_played(FocusEnv(**files), 3)
    env, fresh = FocusEnv(**files), FocusEnv(**files)
    env.reset()
    env.step(1)
    env.step(1)
    assert env.reset()[1]["video_id"] == order[1]
    videos_played(fresh, 2)
    assert rewards_of(env) == rewards_of(fresh), "nothing is left of the episode before"


def test_the_kinds_of_action_that_agents_give(files: dict[str, str]) -> None:
    """Python's int, NumPy's, and arrays without dimensions, as Stable-Baselines3 predicts them."""
    rewards = []
    for action in (5, np.int64(5), np.uint8(5), np.array(5), np.array(5, dtype=np.int32)):
        env = FocusEnv(**files)
        env.reset(seed=0)
        rewards.append(env.step(action)[1])
    env = FocusEnv(task="AdaFocusPlus", **files)
    for action in ([5, 1], (5, 1), np.array([5, 1])):
        env.reset(seed=0)
        rewards.append(env.step(action)[4]["reward_location"])
    assert rewards == pytest.approx([rewards[0]] * 8, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_wrappers_find_the_return_and_the_length_that_we_say(
    files: dict[str, str], tmp_path: Path, kind: str
) -> None:
    env = Monitor(
        RecordEpisodeStatistics(make(kind, files), stats_key="gymnasium's"),
        str(tmp_path / "log"),
        info_keywords=("video_id", "gmacs", "correct"),
    )
    env.action_space.seed(0)
    rows = []
    for _ in range(3):
        env.reset()
        for _ in range(T):
            info = env.step(env.action_space.sample())[4]
        for of_wrapper in (info["gymnasium's"], info["episode"]):
            assert of_wrapper["r"] == pytest.approx(info["episode_return"], abs=1e-5)
            assert of_wrapper["l"] == info["episode_length"] == T
        rows.append([info["video_id"], info["gmacs"], info["correct"]])
    env.close()
    written = pd.read_csv(tmp_path / "log.monitor.csv", skiprows=1)
    assert written[["video_id", "gmacs", "correct"]].to_numpy().tolist() == rows


def test_a_time_limit_truncates_as_gymnasium_says(files: dict[str, str]) -> None:
    env = gymnasium.make("focusgym/AdaFocus-v0", max_episode_steps=2, **files)
    env.reset(seed=0)
    assert env.step(0)[2:4] == (False, False)
    assert env.step(0)[2:4] == (False, True)
    env.reset()
    assert env.unwrapped.record().n_decisions == 0
