"""Models of Stable-Baselines3 play through the engine as they do in the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, PPO
from support import T

from focusgym.agents import (
    FocusPPO,
    GlanceGruExtractor,
    ModelAgent,
    policy_plan,
    read_policy,
    write_policy,
)
from focusgym.envs import FeatureSource, FocusEngine, Plan, make_sb3
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import GruClassifier

VIDEOS = np.array([0, 3, 1, 2])


def played(model: Any, files: dict[str, Any], env_id: str, **config: Any) -> Plan:
    """Step an environment through VIDEOS by predict alone; what it did."""
    env = make_sb3(env_id, len(VIDEOS), videos=VIDEOS.tolist(), order="listed", **files, **config)
    observations, state, chosen, attended, named = env.reset(), None, [], [], []
    for t in range(T):
        starts = np.full(len(VIDEOS), t == 0)
        actions, state = model.predict(observations, state, starts, deterministic=True)
        observations, _, _, infos = env.step(actions)
        options = actions[:, 0] if actions.ndim == 2 else actions
        looks = np.array([info.get("attended", True) for info in infos])
        attended.append(looks)
        named.append(looks | (actions.ndim == 2))
        chosen.append(np.where(named[-1], options, 0))
    assert [info["video_id"] for info in infos] == VIDEOS.tolist()
    return Plan(*(np.stack(each, axis=1) for each in (chosen, attended, named)))


def assert_same_plan(planned: Plan, expected: Plan) -> None:
    assert np.array_equal(planned.attended, expected.attended)
    everywhere = np.ones_like(planned.attended)
    named = [everywhere if plan.named is None else plan.named for plan in (planned, expected)]
    assert np.array_equal(*named)
    assert np.array_equal(planned.options[named[0]], expected.options[named[0]])


@pytest.mark.parametrize(
    ("algorithm", "env_id", "config"),
    [
        (PPO, "focusgym/AdaFocus-v0", {}),
        (RecurrentPPO, "focusgym/AdaFocus-v0", {}),
        (A2C, "focusgym/AdaFocusPlus-v0", {"action_set": "flat"}),
        (PPO, "focusgym/AdaFocusPlus-v0", {"observation": "index"}),
    ],
)
def test_a_model_plays_as_it_does_in_the_environment(
    cache: FeatureCache,
    classifier: GruClassifier,
    classifier_path: Path,
    algorithm: Any,
    env_id: str,
    config: dict[str, Any],
) -> None:
    files = {"cache": cache.root, "classifier": classifier_path}
    policy, kwargs = "MlpPolicy", {}
    if algorithm is RecurrentPPO:
        policy = "MlpLstmPolicy"
    if config.get("observation") == "index":
        extractor = {"cache": cache, "conv_channels": 2, "hidden": 8}
        kwargs = {
            "features_extractor_class": GlanceGruExtractor,
            "features_extractor_kwargs": extractor,
        }
        policy = "MultiInputPolicy"
    env = make_sb3(env_id, 2, **files, **config)
    batch = {} if algorithm is A2C else {"batch_size": 4 * T}
    model = algorithm(policy, env, n_steps=2 * T, seed=0, policy_kwargs=kwargs, **batch)
    model.learn(12 * T)
    plan = ModelAgent(model, "it").plan(FocusEngine(FeatureSource(cache, classifier)), VIDEOS)
    assert_same_plan(plan, played(model, files, env_id, **config))


def test_focus_ppo_as_a_model_is_its_network_and_its_bundle(
    cache: FeatureCache, classifier: GruClassifier, classifier_path: Path, tmp_path: Path
) -> None:
    files = {"cache": cache.root, "classifier": classifier_path}
    env = make_sb3("focusgym/AdaFocusPlus-v0", 2, observation="index", **files)
    model = FocusPPO("GruPolicy", env, policy_kwargs={"conv_channels": 2, "hidden": 8}, seed=0)
    engine = FocusEngine(FeatureSource(cache, classifier))
    plan = ModelAgent(model, "it").plan(engine, VIDEOS)
    assert_same_plan(plan, policy_plan(model.network(), cache, VIDEOS))
    write_policy(tmp_path / "policy", model.network(), cache, {"gain": 0.5})
    again = read_policy(tmp_path / "policy", cache.fingerprint)
    assert again.config == model.network().config
    assert_same_plan(plan, policy_plan(again, cache, VIDEOS))
