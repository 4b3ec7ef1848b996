"""The vector face against Gymnasium's own vector environments over single ones."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import (
    ClipReward,
    DictInfoToList,
    FlattenObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
)
from support import GRID, T, assert_same

from focusgym.envs import (
    Episodes,
    FocusEnv,
    FocusVectorEnv,
)
from focusgym.envs.tasks.registry import TASKS

K = GRID**2
PlusEnv = partial(FocusEnv, task="AdaFocusPlus")
PlusVectorEnv = partial(FocusVectorEnv, task="AdaFocusPlus")
BUDGET = {"budget_gmacs": T * 0.31 + 2 * 1.5}  # two looks of four
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "where": (FocusVectorEnv, FocusEnv, {}),
    "pairs": (PlusVectorEnv, PlusEnv, {"action_set": "pairs", **BUDGET}),
    "flat": (PlusVectorEnv, PlusEnv, {"action_set": "flat", **BUDGET}),
}
REWARDS: dict[str, Any] = {
    "one draw": "increment_over_random",
    "exact": {"name": "increment_over_random", "draws": None},
    "increments": "increments",
}
OTHERS = {
    name: (partial(FocusVectorEnv, task=name), partial(FocusEnv, task=name), {})
    for name in TASKS
    if not name.startswith("AdaFocus")
}
every_kind = pytest.mark.parametrize("kind", KINDS)
# Kinds, numbers of environments, fewer and more than the videos, and rewards: any two of them meet.
CASES = [
    (kind, (1, 3, 13)[(i + j) % 3], ("map", "index")[(i + j) % 2], reward)
    for i, kind in enumerate(KINDS)
    for j, reward in enumerate(REWARDS)
]


def both(kind: str, n: int, mode: str, **config: Any) -> tuple[VectorEnv, SyncVectorEnv]:
    """Return our batch of N and Gymnasium's of N single environments."""
    ours, single, of_kind = KINDS[kind]
    config = {**config, **of_kind}
    makers = [
        lambda i=i: single(first_episode=i, episode_stride=n, **config)  # type: ignore[misc]
        for i in range(n)
    ]
    theirs = SyncVectorEnv(makers, autoreset_mode=mode)
    return ours(n, autoreset_mode=mode, **config), theirs


def assert_same_step(ours: VectorEnv, theirs: VectorEnv, actions: Any) -> np.ndarray:
    """Step both, compare everything; returns which episodes are over."""
    returned, expected = ours.step(actions), theirs.step(actions)
    assert_same(returned, expected, "step")
    assert returned[0] in ours.observation_space
    assert returned[1].dtype == np.float64
    return returned[2]


def assert_same_reset(ours: VectorEnv, theirs: VectorEnv, mask: Any = None) -> None:
    """Reset both, all or some, as a user does: with dicts of their own."""
    options = [None if mask is None else {"reset_mask": mask.copy()} for _ in range(2)]
    returned, expected = ours.reset(options=options[0]), theirs.reset(options=options[1])
    assert_same(returned, expected, "reset")
    assert returned[0] in ours.observation_space


@pytest.mark.parametrize(("kind", "n", "observation", "reward"), CASES)
def test_a_batch_is_gymnasium_s_batch_of_single_environments(
    files: dict[str, str], kind: str, n: int, observation: str, reward: str
) -> None:
    """Observations, rewards, ends and infos, with their masks, through several autoresets."""
    config = {**files, "observation": observation, "reward": REWARDS[reward], "seed": 9}
    ours, theirs = both(kind, n, "SameStep", **config)
    assert ours.metadata == theirs.metadata
    for space in ("observation_space", "action_space"):
        assert getattr(ours, space) == getattr(theirs, space)
        assert getattr(ours, f"single_{space}") == getattr(theirs, f"single_{space}")
    ours.action_space.seed(0)
    assert_same_reset(ours, theirs)
    for step in range(3 * T + 1):
        done = assert_same_step(ours, theirs, ours.action_space.sample())
        assert done.tolist() == [step % T == T - 1] * n


@pytest.mark.parametrize("name", OTHERS)
def test_so_is_that_of_every_other_id(
    files: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where videos end at different times too, and begin again by themselves."""
    monkeypatch.setitem(KINDS, name, OTHERS[name])
    ours, theirs = both(name, 3, "SameStep", seed=9, **files)
    for space in ("observation_space", "action_space"):
        assert getattr(ours, space) == getattr(theirs, space)
    ours.action_space.seed(0)
    assert_same_reset(ours, theirs)
    ended = np.zeros(3, dtype=int)
    for _ in range(3 * T):
        ended += assert_same_step(ours, theirs, ours.action_space.sample())
    assert (ended >= 2).all()


@every_kind
@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
@pytest.mark.parametrize("observation", ["map", "index"])
def test_some_are_reset_in_the_middle_of_their_episodes(
    files: dict[str, str], kind: str, mode: str, observation: str
) -> None:
    """Then they end at different times: final infos and masks are of some only."""
    ours, theirs = both(kind, 3, mode, observation=observation, **files)
    ours.action_space.seed(1)
    assert_same_reset(ours, theirs)
    ends = []
    for step in range(4 * T):
        if step in (1, 7):
            assert_same_reset(ours, theirs, np.array([step == 1, False, True]))
        done = assert_same_step(ours, theirs, ours.action_space.sample())
        ends.append(int(done.sum()))
        if mode == "Disabled" and done.any():
            assert_same_reset(ours, theirs, None if done.all() else done)
    assert {1, 2} <= set(ends)


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_chosen_videos_and_seeds_reach_every_environment(files: dict[str, str], mode: str) -> None:
    ours, theirs = both("where", 3, mode, **files)
    for options in ({"video": 8}, {}, {"video": 0}):
        assert_same(ours.reset(options=options), theirs.reset(options=options))
        for _ in range(T):
            assert_same_step(ours, theirs, np.array([1, 2, 3]))
    singles = theirs.envs
    for seed in (5, 6):
        observations, infos = ours.reset(seed=seed, options={"video": [7, None, 9]})
        rows = [
            env.reset(seed=seed, options={"video": row})
            for env, row in zip(singles, (7, None, 9), strict=True)
        ]
        assert_same(list(observations), [row[0] for row in rows])
        assert infos["video_id"].tolist() == [row[1]["video_id"] for row in rows]
        rewards = [env.step(i)[1] for i, env in enumerate(singles)]
        assert_same(ours.step(np.array([0, 1, 2]))[1].tolist(), rewards)
    mask = np.array([True, False, True])
    before = infos["video_id"][1]
    _, infos = ours.reset(options={"video": 4, "reset_mask": mask})
    assert infos["video_id"].tolist() == [4, 0, 4]
    assert infos["_video_id"].tolist() == mask.tolist()
    assert ours.step(np.zeros(3, dtype=int))[4]["video_id"].tolist() == [4, before, 4]


def test_draws_are_those_of_the_episodes(files: dict[str, str]) -> None:
    """They show where random patches are chosen: the reward is zero there, and nowhere else."""
    env = FocusVectorEnv(64, **files, seed=2)
    episodes = Episodes(np.arange(6), 1, T, np.arange(K), np.arange(64), 64, 2)
    env.reset()
    for step in range(2 * T):
        if step % T == 0:
            episodes.advance(np.ones(64, dtype=bool))
        random = episodes.draws(np.full(64, step % T))[:, 0]
        assert (env.player.episodes.draws(env.player.t)[:, 0] == random).all()
        other = np.arange(64) % 2
        rewards = env.step((random + other) % K)[1]
        assert ((np.abs(rewards) < 1e-6) == (other == 0)).all()


def test_an_epoch_visits_every_video_once_whatever_n_is(files: dict[str, str]) -> None:
    orders = {}
    for n in (1, 2, 4, 5, 8):
        env = FocusVectorEnv(n, **files, videos=[5, 3, 0, 2], split="train", reward="confidence")
        played = [env.reset(seed=1)[1]["video_id"]]
        while n * len(played) < 12:
            for _ in range(T):
                infos = env.step(np.zeros(n, dtype=int))[4]
            played.append(infos["video_id"])
        orders[n] = np.concatenate(played)[:12].tolist()
    assert len({tuple(order) for order in orders.values()}) == 1
    for epoch in range(3):
        assert sorted(orders[1][4 * epoch : 4 * epoch + 4]) == [0, 2, 3, 5]


SAME_STEP = pytest.param(
    "SameStep",
    marks=pytest.mark.skipif(
        tuple(map(int, gymnasium.__version__.split(".")[:2])) < (1, 4),
        reason="Gymnasium's statistics before 1.4 leave out the first step of such episodes",
    ),
)


@every_kind
@pytest.mark.parametrize("mode", [SAME_STEP, "Disabled"])
def test_gymnasium_s_statistics_are_ours(files: dict[str, str], kind: str, mode: str) -> None:
    env = RecordEpisodeStatistics(both(kind, 3, mode, **files)[0])
    env.action_space.seed(0)
    env.reset()
    n_ends = 0
    for step in range(3 * T):
        if step == 2:
            env.reset(options={"reset_mask": np.array([False, True, False])})
        _, _, done, _, infos = env.step(env.action_space.sample())
        if done.any():
            n_ends += int(done.sum())
            ended = infos["final_info"] if mode == "SameStep" else infos
            np.testing.assert_allclose(ended["episode_return"], infos["episode"]["r"], atol=1e-6)
            assert ended["episode_length"].tolist() == infos["episode"]["l"].tolist()
            assert ended["_episode_return"].tolist() == infos["_episode"].tolist() == done.tolist()
            if mode == "Disabled":
                env.reset(options={"reset_mask": done})
    assert n_ends == 8


def test_infos_as_lists_are_those_of_the_single_environments(files: dict[str, str]) -> None:
    ours, theirs = both("pairs", 3, "SameStep", **files)
    as_lists, infos = DictInfoToList(ours), theirs.reset()[1]
    assert as_lists.reset()[1] == DictInfoToList(theirs)._convert_info_to_list(infos)
    as_lists.reset(options={"reset_mask": np.array([True, False, False])})
    for step in range(1, 3 * T):
        rows = as_lists.step(np.array([[3, 1], [4, 0], [8, 1]]))[4]
        for i, row in enumerate(rows):
            ended = row.get("final_info", row)
            assert ("final_info" in row) == ("final_obs" in row) == (step % T == 0)
            assert ("episode_return" in ended) == (step % T == 0)
            assert ended["gmacs"] > 0
            assert row["video_id"] in range(6), i


@pytest.mark.parametrize("observation", ["map", "index"])
def test_gymnasium_s_vector_wrappers_take_a_batch(files: dict[str, str], observation: str) -> None:
    """Those that change observations want to be told of resets: they refuse SAME_STEP."""
    env = both("where", 3, "SameStep", observation=observation, **files)[0]
    other = both("where", 3, "Disabled", observation=observation, **files)[0]
    for wrapped in (ClipReward(NormalizeReward(env), -1, 1), FlattenObservation(other)):
        wrapped.reset()
        for _ in range(2):
            for _ in range(T):
                observations, rewards, done, _, _ = wrapped.step(np.array([0, 4, 8]))
                assert observations in wrapped.observation_space
                assert np.isfinite(rewards).all()
            assert done.all()
            if isinstance(wrapped, FlattenObservation):
                wrapped.reset()


def test_what_was_returned_stays_as_it_is(files: dict[str, str]) -> None:
    """Users keep observations and infos; later steps must not change them."""
    for mode in ("SameStep", "Disabled"):
        for observation in ("map", "index"):
            env = both("pairs", 3, mode, observation=observation, **files)[0]
            env.action_space.seed(0)
            kept = [env.reset()]
            kept_copies = copy.deepcopy(kept)
            for _ in range(2 * T):
                kept.append(env.step(env.action_space.sample()))
                kept_copies.append(copy.deepcopy(kept[-1]))
                if mode == "Disabled" and kept[-1][2].all():
                    kept.append(env.reset())
                    kept_copies.append(copy.deepcopy(kept[-1]))
            assert_same(kept, kept_copies)


@pytest.mark.parametrize("mode", [None, "vector_entry_point", "sync", "async"])
@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_every_way_of_make_vec(files: dict[str, str], mode: str | None) -> None:
    # Forked, since a spawned process imports torch anew.
    context = {"vector_kwargs": {"context": "fork"}} if mode == "async" else {}
    config = {**files, "videos": [3], "split": None}
    env = gymnasium.make_vec("focusgym/AdaFocus-v0", 2, mode, **context, **config)
    observations, infos = env.reset(seed=3)
    assert observations.shape == (2, 45)
    assert infos["video_id"].tolist() == [3, 3]
    rewards = np.array([env.step(np.array([1, 2]))[1] for _ in range(T)])
    env.close()
    for i in range(2):
        if mode in ("sync", "async"):
            single, seed = FocusEnv(**config), 3 + i  # Gymnasium's own: a seed each
        else:
            single, seed = FocusEnv(first_episode=i, episode_stride=2, **config), 3
        single.reset(seed=seed)
        expected = [single.step(i + 1)[1] for _ in range(T)]
        assert rewards[:, i] == pytest.approx(expected, abs=1e-5)


@every_kind
@pytest.mark.parametrize("mode", [None, "sync"])
def test_a_vector_spec_goes_through_json(files: dict[str, str], kind: str, mode: Any) -> None:
    env_id = "focusgym/AdaFocus-v0" if kind == "where" else "focusgym/AdaFocusPlus-v0"
    more: dict[str, Any] = {
        "reward": {"name": "support:Scaled", "factor": 2.0},
        "videos": [4, 2, 5],
        "options_allowed": [0, 5],
        **({} if kind == "where" else {"penalty": {"per_gmac": 0.1}}),
        **({"autoreset_mode": "Disabled"} if mode is None else {}),
    }
    env = gymnasium.make_vec(env_id, 3, mode, **files, **more, **KINDS[kind][2])
    again = gymnasium.make_vec(EnvSpec.from_json(env.spec.to_json()))
    assert type(again) is type(env)
    assert again.num_envs == 3
    assert again.spec.kwargs == env.spec.kwargs
    assert again.observation_space == env.observation_space
    assert again.action_space == env.action_space
    expected = AutoresetMode.DISABLED if mode is None else AutoresetMode.NEXT_STEP
    assert again.metadata["autoreset_mode"] == expected
    assert_same(again.reset(), env.reset())
    actions = np.array([[5, 1], [0, 0], [5, 1]]) if kind == "pairs" else np.array([5, 0, 5])
    assert_same(again.step(actions), env.step(actions))
