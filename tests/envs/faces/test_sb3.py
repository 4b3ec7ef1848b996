"""The Stable-Baselines3 face: against its own vectorization, and with its tools."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)
from support import GRID, C, G, L, T, assert_same

from focusgym.envs import FocusEnv, FocusVecEnv, make_sb3

K = GRID**2
FRAME_GMACS = 0.3 + (3 * 7 * (G + L + 7) + 7 * C) / 1e9  # f_G of `write_cache`; f_C: GRU, linear
PlusEnv = partial(FocusEnv, task="AdaFocusPlus")
KINDS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "where": ("focusgym/AdaFocus-v0", FocusEnv, {}),
    "pairs": ("focusgym/AdaFocusPlus-v0", PlusEnv, {"action_set": "pairs"}),
    "flat": ("focusgym/AdaFocusPlus-v0", PlusEnv, {"action_set": "flat"}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def both(kind: str, n: int, **config: Any) -> tuple[FocusVecEnv, DummyVecEnv]:
    """Return our batch of N, and Stable-Baselines3's of N single environments."""
    env_id, single, of_kind = KINDS[kind]
    config = {**config, **of_kind}
    makers = [
        lambda i=i: Monitor(single(first_episode=i, episode_stride=n, **config))  # type: ignore[misc]
        for i in range(n)
    ]
    return make_sb3(env_id, n, **config), DummyVecEnv(makers)


def sample(env: Any, rng: np.random.Generator) -> np.ndarray:
    n, space = env.num_envs, env.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return rng.integers(space.n, size=n)
    return rng.integers(space.nvec, size=(n, 2))


@every_kind
@pytest.mark.parametrize("n", [1, 3, 16])
@pytest.mark.parametrize("observation", ["map", "index"])
def test_a_batch_is_stable_baselines3_s_batch_of_single_environments(
    files: dict[str, str], kind: str, n: int, observation: str
) -> None:
    reward = {"name": "increment_over_random", "draws": 2}
    ours, theirs = both(kind, n, observation=observation, reward=reward, seed=4, **files)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    rng = np.random.default_rng(0)
    for _ in range(2):  # the second reset is in the middle of an episode
        assert_same(ours.reset(), theirs.reset(), "reset")
        assert_same(ours.reset_infos, theirs.reset_infos)
        for step in range(2 * T + 1):
            actions = sample(ours, rng)
            (*returned, infos), (*expected, their_infos) = ours.step(actions), theirs.step(actions)
            assert_same(returned, expected, "step")
            assert returned[1].dtype == expected[1].dtype == np.float32
            assert returned[2].tolist() == [step % T == T - 1] * n
            for info, theirs_info in zip(infos, their_infos, strict=True):
                monitored = theirs_info.pop("episode", None)
                if monitored is not None:
                    episode = info.pop("episode")
                    assert episode["r"] == pytest.approx(monitored["r"], abs=1e-5)
                    assert episode["l"] == monitored["l"] == T
                    assert episode["gmacs"] == theirs_info["gmacs"]
                    assert episode["correct"] is theirs_info["correct"]
                else:  # where no episode ends, we leave out that none was cut
                    assert theirs_info.pop("TimeLimit.truncated") is False
                assert_same(info, theirs_info)
            assert_same(ours.reset_infos, theirs.reset_infos)


def test_what_was_returned_stays_as_it_is(files: dict[str, str]) -> None:
    for observation in ("map", "index"):
        env = both("pairs", 3, observation=observation, **files)[0]
        kept: list[Any] = [env.reset(), env.reset_infos]
        as_they_were = copy.deepcopy(kept)
        rng = np.random.default_rng(0)
        for _ in range(2 * T):
            kept += [env.step(sample(env, rng)), env.reset_infos]
            as_they_were += copy.deepcopy(kept[-2:])
        assert_same(kept, as_they_were)


def test_a_seed_begins_the_order_of_all_environments_anew(files: dict[str, str]) -> None:
    env, _ = both("where", 3, **files)

    def play() -> list[Any]:
        env.reset()
        videos = [info["video_id"] for info in env.reset_infos]
        return [*videos, *(env.step(np.full(3, 2))[1].tolist() for _ in range(2 * T))]

    env.seed(3)
    first = play()
    assert play() != first, "a seed is used once"
    env.seed(3)
    assert play() == first
    env.seed(4)
    assert play() != first
    single = FocusEnv(**files)
    assert single.reset(seed=3)[1]["video_id"] == first[0]
    fresh, _ = both("where", 3, seed=3, **files)
    fresh.reset()
    assert [info["video_id"] for info in fresh.reset_infos] == first[:3], "as a keyword"


def test_an_epoch_visits_every_video_once(files: dict[str, str]) -> None:
    env, _ = both("where", 4, split="val", **files)
    env.reset()
    videos = [[info["video_id"] for info in env.reset_infos]]
    for _ in range(T):
        env.step(np.zeros(4, dtype=int))
    videos += [[info["video_id"] for info in env.reset_infos]]
    assert all(sorted(pair) == [6, 7] for row in videos for pair in (row[:2], row[2:]))


def test_chosen_videos_are_played_once_out_of_turn(files: dict[str, str]) -> None:
    ours, theirs = both("where", 3, **files)
    untouched, _ = both("where", 3, **files)
    actions = np.array([4, 5, 6])
    untouched.reset()
    for options in ({"video": 8}, [{"video": 8}, {}, {"video": 1}], [{}, {"video": None}, {}]):
        rewards = []
        for env in (ours, theirs):
            env.set_options(options)
            env.reset()
            rewards.append([env.step(actions)[1].tolist() for _ in range(T)])
        assert rewards[0] == pytest.approx(np.array(rewards[1]), abs=1e-5)
        assert_same(ours.reset_infos, theirs.reset_infos)
    ours.seed(3)
    ours.set_options({"video": 8})
    ours.reset()
    first = [ours.step(actions)[1].tolist() for _ in range(T)]
    ours.seed(3)
    ours.set_options({"video": 8})
    ours.reset()
    assert [ours.step(actions)[1].tolist() for _ in range(T)] == first
    fresh, _ = both("where", 1, **files)
    fresh.set_options({"video": 5})
    fresh.reset()
    assert fresh.reset_infos[0]["video_id"] == 5
    untouched_first, _ = both("where", 1, **files)
    untouched_first.reset()
    fresh.reset()
    assert fresh.reset_infos == untouched_first.reset_infos, "as if it had not been"


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        ("where", {}, [True] * K),
        ("pairs", {}, [True] * (K + 2)),
        ("flat", {}, [True] * (K + 1)),
        ("where", {"options_allowed": [0, 8]}, [k in (0, 8) for k in range(K)]),
        ("pairs", {"options_allowed": [0, 8]}, [k in (0, 8, K, K + 1) for k in range(K + 2)]),
        ("flat", {"options_allowed": [0, 8]}, [k in (0, 8, K) for k in range(K + 1)]),
        # Money for frames, and for less than a look.
        ("pairs", {"budget_gmacs": T * FRAME_GMACS + 1.4}, [True] * (K + 1) + [False]),
        ("flat", {"budget_gmacs": T * FRAME_GMACS + 1.4}, [False] * K + [True]),
    ],
)
def test_action_masks_reach_sb3_contrib_through_every_face(
    files: dict[str, str], kind: str, config: dict[str, Any], expected: list[bool]
) -> None:
    env_id, single, of_kind = KINDS[kind]
    config = {**files, **of_kind, **config}
    alone = [single(**config), gymnasium.make(env_id, **config), Monitor(single(**config))]
    batches = [make_sb3(env_id, 3, **config), VecCheckNan(make_sb3(env_id, 3, **config))]
    batches.append(DummyVecEnv([lambda: Monitor(single(**config))] * 3))
    for env in (*alone, *batches):
        env.reset()
        assert is_masking_supported(env)
        masks = get_action_masks(env)
        assert masks.dtype == np.bool_
        assert masks.tolist() == (expected if env in alone else [expected] * 3)
    vector = gymnasium.make_vec(env_id, 3, **config)
    vector.reset()
    assert vector.action_masks().tolist() == [expected] * 3
    assert batches[0].env_method("action_masks", indices=[2])[0].tolist() == expected


def test_a_mask_closes_when_the_budget_is_spent(files: dict[str, str]) -> None:
    """Two looks are paid for: each environment is told when its own are used up."""
    budget = {"budget_gmacs": T * FRAME_GMACS + 2 * 1.5}
    env = make_sb3("focusgym/AdaFocusPlus-v0", 2, **budget, **files)
    env.reset()
    open_after = []
    for looks in ([1, 0], [1, 1], [1, 1], [0, 1]):
        open_after.append(get_action_masks(env)[:, -1].tolist())
        infos = env.step(np.array([[3, looks[0]], [3, looks[1]]]))[3]
        attended = [info["attended"] for info in infos]
        assert attended == [bool(b) and was for b, was in zip(looks, open_after[-1], strict=True)]
    assert open_after == [[True, True], [True, True], [False, True], [False, False]]
    assert get_action_masks(env)[:, -1].all(), "the next episodes have begun"


@every_kind
def test_monitors_and_evaluation_find_our_returns(files: dict[str, str], kind: str) -> None:
    ours, theirs = both(kind, 3, order="listed", **files)
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        monitored = VecMonitor(ours, info_keywords=("gmacs", "correct"))
    env = VecCheckNan(monitored, raise_exception=True)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(2 * T):
        _, _, dones, infos = env.step(sample(env, rng))
        for done, info in zip(dones, infos, strict=True):
            assert ("episode" in info) == done
            if done:
                assert info["episode"]["r"] == pytest.approx(info["episode_return"], abs=1e-5)
                assert info["episode"]["l"] == info["episode_length"] == T
                assert info["episode"]["gmacs"] == info["gmacs"]
    model = PPO("MlpPolicy", ours, seed=0, policy_kwargs={"net_arch": [4]}, device="cpu")
    returns = []
    for each in (both(kind, 3, order="listed", **files)[0], theirs):
        returns.append(evaluate_policy(model, each, 6, return_episode_rewards=True))
        assert returns[-1][1] == [T] * 6
    assert returns[0][0] == pytest.approx(returns[1][0], abs=1e-5)


def test_stable_baselines3_s_own_ways_of_making_and_wrapping_work(files: dict[str, str]) -> None:
    keywords = {"env_kwargs": files, "seed": 1}
    env = make_vec_env("focusgym/AdaFocus-v0", 2, **keywords)
    assert env.reset().shape == (2, 45)
    ours = make_sb3("focusgym/AdaFocus-v0", 2, **files)
    stacked = VecFrameStack(VecNormalize(ours), 2)
    assert stacked.reset().shape == (2, 90)
    for _ in range(2 * T):
        observations, rewards, _, _ = stacked.step(np.array([1, 2]))
        assert np.isfinite(observations).all()
        assert np.isfinite(rewards).all()


def test_what_stable_baselines_asks_of_a_batch(files: dict[str, str]) -> None:
    batch = make_sb3("focusgym/AdaFocus-v0", 3, **files)
    assert batch.get_attr("num_envs") == [3, 3, 3]
    assert batch.get_attr("render_mode", indices=[1]) == [None]
    assert batch.has_attr("action_masks")
    assert not batch.has_attr("no_such_thing")
    assert batch.env_is_wrapped(gymnasium.Wrapper) == [False] * 3
    assert batch.env_is_wrapped(gymnasium.Wrapper, indices=0) == [False]
    assert batch.unwrapped is batch
    batch.close()
