"""What FocusPPO refuses, and how it says so."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from focus_models import IDS, KINDS, N_ENVS, ROLLOUT, SIZES, Files, flat, make_env, make_model
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize
from support import GRID, C, G, L, Literal, T

from focusgym.agents import PRESETS, FocusPPO, GruPolicy, PlusTraining, PPOConfig
from focusgym.envs import make_sb3
from focusgym.feature_cache import CacheError
from focusgym.recognizer import PolicyConfig

FRAME_GMACS = 0.3 + (3 * 7 * (G + L + 7) + 7 * C) / 1e9  # f_G of `write_cache`; f_C: GRU, linear


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"


@pytest.fixture
def other(tmp_path: Path) -> Files:
    """Another cache of the same sizes."""
    return Literal(tmp_path / "other", seed=1).files


def singles(files: list[Files], kind: str = "pi", **config: Any) -> list[Any]:
    """Return what makes an environment on each of the caches."""
    return [
        lambda i=i, of_one=of_one: gymnasium.make(
            f"focusgym.envs:{IDS[kind]}", first_episode=i, episode_stride=len(files),
            **{"observation": "index", **KINDS[kind], **of_one, **config},
        )
        for i, of_one in enumerate(files)
    ]  # fmt: skip


def test_environments_of_others_are_refused() -> None:
    env = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")])
    message = (
        "expected environments of focusgym, such as make_sb3('focusgym/AdaFocus-v0', 64, "
        f"observation='index', ...); got {env}"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        FocusPPO("GruPolicy", env)


@pytest.mark.parametrize(
    ("observation", "wrap"), [("map", False), ("index", True)], ids=["map", "normalized"]
)
def test_observations_that_are_not_as_they_come_are_refused(
    files: Files, observation: str, wrap: bool
) -> None:
    env: VecEnv = make_env("pi", files, observation=observation)
    if wrap:
        env = VecNormalize(env, norm_obs=False)
    message = (
        "FocusPPO reads glance maps itself: make the environments with observation='index' and "
        f"without VecNormalize; got observation={observation!r}, VecNormalize: {wrap}"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        make_model("pi", files, env)
    model = make_model("pi", files)
    if wrap:
        with pytest.raises(ValueError, match=exactly(message)):
            model.set_env(env)


def test_the_flat_action_set_is_refused(files: Files) -> None:
    message = (
        "GruPolicy acts in Discrete(9) or MultiDiscrete([9 2]); got Discrete(10): use an algorithm "
        "of Stable-Baselines3 with GlanceGruExtractor for the flat action set"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        make_model("both", files, make_env("both", files, action_set="flat"))


def test_environments_on_several_caches_are_refused(files: Files, other: Files) -> None:
    env = DummyVecEnv(singles([files, other]))
    one, two = (p.cache.fingerprint for p in env.get_attr("player"))
    message = (
        "expected environments on one cache with the same options_allowed; got "
        f"{one} with None, and {two} with None"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        make_model("pi", files, env)
    env = DummyVecEnv([*singles([files, files])[:1], *singles([files], options_allowed=[3, 1])])
    message = f"got {one} with None, and {one} with [1, 3]"
    with pytest.raises(ValueError, match=f"{re.escape(message)}$"):
        make_model("pi", files, env)


def test_environments_of_another_task_are_refused(files: Files) -> None:
    env = make_sb3("focusgym/Resolution-v0", 2, observation="index", **files)
    message = "for frames that come in order.*; got a ResolutionTask: train it with PPO of"
    with pytest.raises(ValueError, match=message):
        make_model("pi", files, env)


@pytest.mark.usefixtures("one_thread")
def test_environments_of_other_processes_are_refused(files: Files) -> None:
    """A price that is changed here would not be changed there."""
    env = SubprocVecEnv(singles([files, files], "both"), start_method="fork")
    message = (
        f"expected environments in this process, where their price can be changed; got {env}: "
        "use make_sb3, which is faster than processes, or DummyVecEnv"
    )
    try:
        with pytest.raises(ValueError, match=exactly(message)):
            make_model("both", files, env, target_gmacs=4.0)
    finally:
        env.close()


@pytest.mark.parametrize("size", [0, 1, T - 1, T + 1, -T])
def test_minibatches_of_parts_of_episodes_are_refused(files: Files, size: int) -> None:
    message = (
        "batch_size must be a multiple of the 4 decisions of an episode, so that minibatches hold "
        f"whole episodes; got {size}"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        make_model("pi", files, batch_size=size, normalize_advantage=False)


@pytest.mark.parametrize(("gae_lambda", "advantages"), [(1.0, True), (0.95, False), (0.95, True)])
def test_returns_are_normalised_alone(files: Files, gae_lambda: float, advantages: bool) -> None:
    message = (
        "normalize_returns wants gae_lambda=1 and normalize_advantage=False: advantages are then "
        f"normalised returns less values, nothing else; got {gae_lambda} and {advantages}"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        make_model(
            "pi", files, normalize_returns=True, gae_lambda=gae_lambda,
            normalize_advantage=advantages,
        )  # fmt: skip


@pytest.mark.parametrize("share", [-0.1, 1.0, 2, math.nan])
def test_pi_prime_has_to_join(files: Files, share: float) -> None:
    message = f"keep_from must be a share of the training in [0, 1); got {share}"
    with pytest.raises(ValueError, match=exactly(message)):
        make_model("both", files, keep_from=share)


@pytest.mark.parametrize("target", [0.0, T * FRAME_GMACS, T * (FRAME_GMACS + 1.5), 1e9, math.nan])
def test_a_target_that_no_share_of_looks_costs_is_refused(files: Files, target: float) -> None:
    message = (
        f"target_gmacs must be between {T * FRAME_GMACS:.6g} (no look) and "
        f"{T * (FRAME_GMACS + 1.5):.6g} (all frames looked at) per episode; got {target}"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        make_model("both", files, target_gmacs=target)


def test_a_target_wants_environments_that_skip(files: Files) -> None:
    message = "target_gmacs wants frames that can be skipped: make focusgym/AdaFocusPlus-v0"
    with pytest.raises(ValueError, match=exactly(message)):
        make_model("pi", files, target_gmacs=3.0)


def test_another_cache_is_refused_and_the_model_keeps_its_own(
    files: Files, other: Files, tmp_path: Path
) -> None:
    model, plain = make_model("pi", files), make_model("pi", files)
    for each in (model, plain):
        each.learn(ROLLOUT)
    env = make_env("pi", other)
    message = (
        f"trained on the cache {files['cache']} (fingerprint {model.cache_fingerprint[:12]}…), but "
        f"{other['cache']} is another (fingerprint {env.player.cache.fingerprint[:12]}…): use the "
        "cache it was trained on, or train anew"
    )
    with pytest.raises(CacheError, match=exactly(message)):
        model.set_env(env)
    with pytest.raises(ValueError, match="the policy acts with options_allowed=None"):
        model.set_env(make_env("pi", files, options_allowed=[1]))
    for each in (model, plain):
        each.learn(ROLLOUT, reset_num_timesteps=False)
    assert torch.equal(flat(model.policy), flat(plain.policy)), "as if nothing had been asked"
    model.save(tmp_path / "model")
    with pytest.raises(CacheError, match=exactly(message)):
        FocusPPO.load(tmp_path / "model", env=env, device="cpu")


def test_other_options_are_refused(files: Files, tmp_path: Path) -> None:
    model = make_model("both", files, config={"options_allowed": [8, 2]})
    env = make_env("both", files, options_allowed=[1, 2])
    message = (
        "the policy acts with options_allowed=[2, 8], the environments with [1, 2]: save the model "
        "and load it with these environments instead"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        model.set_env(env)
    model.set_env(make_env("both", files, options_allowed=(2, 8)))
    model.save(tmp_path / "model")
    again = FocusPPO.load(tmp_path / "model", env=env, device="cpu")
    again.learn(ROLLOUT)
    played = again.rollout_buffer.tracks["location"].actions
    assert set(played.unique().tolist()) <= {1, 2}


class Meddler(BaseCallback):
    """Does something to the environments at a step of the second rollout."""

    def __init__(self, what: Any, at: int) -> None:
        super().__init__()
        self._what, self._at = what, at

    def _on_step(self) -> bool:
        if self.n_calls == T + self._at:
            self._what(self.training_env)
        return True


def step(env: VecEnv) -> None:
    env.step(np.zeros(N_ENVS, dtype=np.int64))


def reset(env: VecEnv) -> None:
    env.reset()


def test_steps_of_others_are_noticed_where_there_is_one_video(files: Files) -> None:
    message = (
        "expected all episodes to end after 4 decisions; at decision 3 5 of 5 had ended: nothing "
        "else may step the environments"
    )
    model = make_model("pi", files, config={"videos": [2]})
    with pytest.raises(RuntimeError, match=exactly(message)):
        model.learn(3 * ROLLOUT, callback=Meddler(step, 2))


def test_environments_that_others_step_are_noticed(files: Files) -> None:
    message = (
        "expected all episodes to end after 4 decisions; at decision 3 5 of 5 had ended, and other "
        "videos are played: nothing else may step the environments"
    )
    with pytest.raises(RuntimeError, match=exactly(message)):
        make_model("pi", files).learn(3 * ROLLOUT, callback=Meddler(step, 2))
    message = (
        "expected all episodes to end after 4 decisions; at decision 3 0 of 5 had ended, and other "
        "videos are played: nothing else may step the environments"
    )
    with pytest.raises(RuntimeError, match=exactly(message)):
        make_model("pi", files).learn(3 * ROLLOUT, callback=Meddler(reset, 2))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"epochs": 0, "n_envs": 4, "minibatch": 2},
            "epochs must be at least 1 and minibatch must divide n_envs; got epochs=0, "
            "minibatch=2, n_envs=4",
        ),
        (
            {"epochs": 1, "n_envs": 10, "minibatch": 3},
            "epochs must be at least 1 and minibatch must divide n_envs; got epochs=1, "
            "minibatch=3, n_envs=10",
        ),
        (
            {"epochs": 1, "minibatch": 0},
            "epochs must be at least 1 and minibatch must divide n_envs; got epochs=1, "
            "minibatch=0, n_envs=256",
        ),
        (
            {"epochs": 1, "normalize": "rewards"},
            "normalize must be 'advantages' or 'returns'; got 'rewards'",
        ),
    ],
)
def test_wrong_settings(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        PPOConfig(**keywords)


@pytest.mark.parametrize(("ratio", "target"), [(0.5, 3.0), (None, None)])
def test_either_a_ratio_or_a_target(ratio: float | None, target: float | None) -> None:
    message = (
        f"expected either keep_ratio or target_gmacs, the other None; got {ratio} and {target}"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        PlusTraining(keep_ratio=ratio, target_gmacs=target)


@pytest.mark.parametrize("wrong", [0.0, 1.1, 50])
def test_a_share_to_keep_is_told_wrong_before_anything_is_trained(wrong: float) -> None:
    message = f"keep_ratio must be in (0, 1], the share of frames to look at; got {wrong}"
    with pytest.raises(ValueError, match=exactly(message)):
        PlusTraining(keep_ratio=wrong)


def test_it_wants_environments_to_begin_with() -> None:
    with pytest.raises(ValueError, match="expected environments, best make_sb3's; got None"):
        FocusPPO("GruPolicy", None)


def test_environments_that_play_alike_are_refused(files: Files) -> None:
    make = partial(gymnasium.make, IDS["pi"], observation="index", **files)
    message = (
        "expected environments that play different episodes; got 3 of which 1 differ: use "
        "make_sb3, or give environment i of N first_episode=i and episode_stride=N"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        FocusPPO("GruPolicy", DummyVecEnv([make] * 3), policy_kwargs=SIZES)


@pytest.mark.parametrize(("epochs", "rate"), [(0, 0.1), (1, 0.0), (1, math.nan), (1, math.inf)])
def test_settings_that_would_train_nothing_are_refused(
    files: Files, epochs: int, rate: float
) -> None:
    message = (
        f"n_epochs must be at least 1 and penalty_rate a positive number; got {epochs} and {rate}"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        make_model("pi", files, n_epochs=epochs, penalty_rate=rate)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"options_allowed": []}, "at least one; got []"),
        ({"options_allowed": [0, 9]}, "at least one; got [0, 9]"),
        ({"options_allowed": (-1,)}, "at least one; got [-1]"),
        ({"threshold": 1.1}, "threshold must be in [0, 1], or None; got 1.1"),
        ({"threshold": -0.1}, "threshold must be in [0, 1], or None; got -0.1"),
        ({"threshold": math.nan}, "threshold must be in [0, 1], or None; got nan"),
    ],
)  # fmt: skip
def test_wrong_policies(keywords: dict[str, Any], message: str) -> None:
    if "options_allowed" in keywords:
        message = f"options_allowed must be options in [0, 9), {message}"
    with pytest.raises(ValueError, match=exactly(message)):
        PolicyConfig(3, 3, 5, GRID**2, **keywords)


def test_the_paper_s_numbers() -> None:
    """Facts A1, and appendix B.1."""
    keywords = PRESETS["paper_plus"].keywords(16)
    expected = {
        "learning_rate": 3e-4, "batch_size": None, "n_epochs": 1, "gamma": 0.7, "gae_lambda": 1.0,
        "clip_range": 0.2, "normalize_advantage": False, "normalize_returns": True,
        "ent_coef": 0.01, "vf_coef": 0.5, "max_grad_norm": math.inf, "keep_from": 0.8,
        "target_gmacs": None, "penalty_rate": 0.02,
        "policy_kwargs": {"conv_channels": 64, "hidden": 1024},
    }  # fmt: skip
    assert keywords == expected
    assert (PRESETS["paper"].epochs, PRESETS["paper"].n_envs) == (50, 64)
    assert PRESETS["paper"].reward == "increment_over_random"
    assert PRESETS["paper"].plus is None
    assert PRESETS["paper_plus"].plus.keep_ratio == 0.5
    assert PRESETS["ppo_plus"].keywords(16)["batch_size"] == 64 * 16


def test_a_policy_wants_index_observations(files: Files) -> None:
    """An observation space of another kind is refused by the extractor, whoever asks."""
    space = make_env("pi", files, observation="map").observation_space
    cache = make_env("pi", files).player.cache
    with pytest.raises(
        ValueError, match=r"^expected observations of video and t; got Box.*index'$"
    ):
        GruPolicy(space, gymnasium.spaces.Discrete(9), lambda _: 1e-3, cache=cache)
