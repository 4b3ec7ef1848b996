"""Agents step by step in environments, against the same agents' plans on the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from support import G

from focusgym.agents import (
    CentralAgent,
    GaussianAgent,
    LearnedAgent,
    OracleAgent,
    RandomAgent,
    StepwiseAgent,
    UniformFramesAgent,
    play_task,
)
from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import GruClassifier, PolicyConfig, PolicyNetwork, confidence


def learned() -> LearnedAgent:
    torch.manual_seed(0)
    return LearnedAgent(PolicyNetwork(PolicyConfig(3, 3, G, 9, 2, 6, threshold=0.5)).eval())


AGENTS: dict[str, Any] = {
    "random": RandomAgent(3),
    "central": CentralAgent(),
    "gaussian": GaussianAgent(3),
    "oracle": OracleAgent(),
    "uniform": UniformFramesAgent(2, RandomAgent(3)),
    "learned": learned(),
}


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("action_set", [None, "pairs", "flat"])
def test_what_is_played_is_what_is_planned(
    cache: FeatureCache,
    classifier: GruClassifier,
    classifier_path: Path,
    name: str,
    action_set: str | None,
) -> None:
    """The confidence at the end, and whether it is right, from whole rollouts."""
    engine, agent = FocusEngine(FeatureSource(cache, classifier)), AGENTS[name]
    videos = cache.split("train")
    files = {"cache": str(cache.root), "classifier": str(classifier_path), "observation": "index"}
    env_id = "focusgym/AdaFocus-v0"
    if action_set is not None:
        env_id, files = "focusgym/AdaFocusPlus-v0", {**files, "action_set": action_set}
    space = gymnasium.make(env_id, **files).action_space
    plan = agent.plan(engine, videos)
    if not plan.attended.all() and action_set is None:
        with pytest.raises(ValueError, match=r"does not look everywhere, which .* Discrete\(9\)"):
            StepwiseAgent(agent, engine, videos, space)
        return
    played = play_task(StepwiseAgent(agent, engine, videos, space), env_id, split="train", **files)
    logits = engine.rollout(videos, plan.options, plan.attended)[:, -1]
    labels = cache.labels[videos]
    np.testing.assert_allclose(played["confidence"], confidence(logits, labels), atol=1e-6)
    assert played["correct"].tolist() == (logits.argmax(-1) == labels).tolist()
    costs = played["gmacs"].to_numpy()
    looks = plan.attended.sum(axis=1)
    np.testing.assert_allclose(costs - costs[0], (looks - looks[0]) * cache.local_gmacs, atol=1e-9)


def test_an_allowed_option_is_named_where_it_does_not_look(
    cache: FeatureCache, classifier: GruClassifier, classifier_path: Path
) -> None:
    engine = FocusEngine(FeatureSource(cache, classifier))
    files = {"cache": str(cache.root), "classifier": str(classifier_path), "observation": "index"}
    keywords = files | {"options_allowed": [4, 5]}
    env_id, videos = "focusgym/AdaFocusPlus-v0", cache.split("train")
    space = gymnasium.make(env_id, **keywords).action_space
    agent = StepwiseAgent(UniformFramesAgent(2, CentralAgent()), engine, videos, space)
    played = play_task(agent, env_id, split="train", **keywords)
    assert played["decisions"].tolist() == [cache.steps] * len(videos)


def test_videos_that_were_not_planned_are_refused(
    cache: FeatureCache, classifier: GruClassifier
) -> None:
    engine = FocusEngine(FeatureSource(cache, classifier))
    agent = StepwiseAgent(CentralAgent(), engine, np.array([4, 2]), gymnasium.spaces.Discrete(9))
    observation = {"video": np.array([[2], [7], [4]]), "t": np.zeros((3, 1), dtype=int)}
    with pytest.raises(ValueError, match=r"videos that were planned; got \[7\]: give all that are"):
        agent.predict(observation)
