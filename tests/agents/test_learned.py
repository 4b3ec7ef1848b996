"""The learned policy as an agent, with and without π′."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support import G, T, assert_choices

from focusgym.agents import (
    LearnedAgent,
    keep_threshold,
    policy_plan,
    read_policy,
    with_threshold,
)
from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import GruClassifier, PolicyConfig, PolicyNetwork, write_bundle

VIDEOS = np.array([7, 2, 0, 9, 4])


def make_policy(threshold: float | None = None, allowed: list[int] | None = None) -> PolicyNetwork:
    torch.manual_seed(1)
    return PolicyNetwork(
        PolicyConfig(3, 3, G, 9, 2, 6, options_allowed=allowed, threshold=threshold)
    ).eval()


@pytest.fixture
def engine(cache: FeatureCache, classifier: GruClassifier) -> FocusEngine:
    return FocusEngine(FeatureSource(cache, classifier))


def test_the_learned_agent_takes_the_most_probable_patch(engine: FocusEngine) -> None:
    policy = make_policy()
    many = np.tile(VIDEOS, 40)  # more than one chunk
    agent = LearnedAgent(policy)
    plan = agent.plan(engine, many)
    assert plan.options.shape == plan.attended.shape == (200, T)
    for b, video in enumerate(many):
        maps = engine.cache.glance_maps(np.array([video]))
        assert_choices(policy, maps, plan.options[b : b + 1], plan.attended[b : b + 1])
    assert (agent.name, agent.runs_policy, agent.tries_all) == ("adafocus", True, False)


def test_pi_prime_skips_below_its_threshold(engine: FocusEngine) -> None:
    """Each frame on its own: p^B from a pass over the frames so far, compared with ρ."""
    network = make_policy(threshold=0.5)
    maps = engine.cache.glance_maps(VIDEOS)
    with torch.no_grad():
        keep = network.keep(maps)
    ordered = keep.flatten().sort().values
    policy = make_policy(threshold=float(ordered[12] + ordered[13]) / 2)  # 7 of 20 are kept
    policy.load_state_dict(network.state_dict())
    agent = LearnedAgent(policy)
    plan = agent.plan(engine, VIDEOS)
    for b in range(len(VIDEOS)):
        for t in range(T):
            so_far = maps[b : b + 1, : t + 1]
            chosen = (each[b : b + 1, : t + 1] for each in (plan.options, plan.attended))
            assert_choices(policy, so_far, *chosen)
    assert (~plan.attended).sum() == 13
    assert agent.name == "adafocus_plus"


def test_no_videos_give_no_options(cache: FeatureCache) -> None:
    plan = policy_plan(make_policy(0.5), cache, np.array([], dtype=np.int64))
    assert plan.options.shape == plan.attended.shape == (0, T)


def test_a_bundle_keeps_the_threshold_and_the_options_allowed(
    tmp_path: Path, cache: FeatureCache
) -> None:
    policy = make_policy(threshold=0.5, allowed=[1, 3, 8])
    policy = with_threshold(policy, keep_threshold(policy, cache, VIDEOS, 0.5))
    write_bundle(tmp_path / "pi", "policy", policy.config, policy, cache.fingerprint)
    again = read_policy(tmp_path / "pi", cache.fingerprint)
    assert again.config.threshold == policy.config.threshold
    plan, other = (policy_plan(each, cache, VIDEOS) for each in (policy, again))
    assert np.array_equal(plan.options, other.options)
    assert np.array_equal(plan.attended, other.attended)
    assert set(np.unique(plan.options)) <= {1, 3, 8}
    assert plan.kept_share == 0.5
