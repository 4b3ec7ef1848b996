"""The actor and critic that name one place for a whole video, in Stable-Baselines3's PPO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from support import GRID, SIDE, C, G, L, write_cache
from torch import nn

from focusgym.agents import play_task
from focusgym.agents.clip_actor import ClipActorCritic
from focusgym.envs import make_sb3
from focusgym.recognizer import ClassifierConfig, build_classifier, write_bundle

K, STEPS = GRID**2, 2
CLIP = "focusgym/Clip-v0"
CORNERS = (0, 2, 6, 8)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """A cache in which the label is seen in one corner of a video, which the maps tell."""
    cache = write_cache(tmp_path / "cache", n=80, steps=STEPS)
    rng, n, labels = np.random.default_rng(0), cache.n_videos, cache.labels.numpy()
    at = np.array(CORNERS)[rng.integers(4, size=n)]
    maps = rng.normal(scale=0.1, size=(n, STEPS, K, G))
    local = np.zeros((n, STEPS, K, L))
    maps[np.arange(n), :, at, 0] += 3
    local[np.arange(n), :, at, labels] = 3
    maps = maps.reshape(n, STEPS, SIDE, SIDE, G)
    np.save(cache.root / "glance_maps.npy", maps.astype(np.float16))
    np.save(cache.root / "local_vectors_p12_3x3.npy", local.astype(np.float16))
    f_c = build_classifier(ClassifierConfig(G, L, C, aggregation="average", reuse_glance=False))
    f_c.load_state_dict({"head.weight": torch.eye(C, L), "head.bias": torch.zeros(C)})
    write_bundle(tmp_path / "f_c", "classifier", f_c.config, f_c, cache.fingerprint)
    return {"cache": cache.root, "classifier": tmp_path / "f_c"}


def make(files: dict[str, Any], n_envs: int = 4, **how: Any) -> PPO:
    env = make_sb3(CLIP, n_envs, **files)
    sizes = {"features_extractor_kwargs": {"conv_channels": 4, "hidden": 16}}
    return PPO(ClipActorCritic, env, seed=0, policy_kwargs=sizes, **how)


@torch.no_grad()
def test_features_are_the_layers_in_turn(files: dict[str, Any]) -> None:
    """A convolution of maps with their channels first, a linear layer, a mean over segments."""
    model = make(files)
    env: Any = model.env
    observation = env.reset()
    policy: Any = model.policy
    extractor = policy.features_extractor
    features = policy.extract_features(policy.obs_to_tensor(observation)[0])
    maps = torch.from_numpy(observation["maps"]).flatten(0, 1).permute(0, 3, 1, 2)
    conv = nn.Conv2d(G, 4, 1, bias=False)
    conv.weight.copy_(extractor.conv.weight[:, :, None, None])
    cells = conv(maps).relu().permute(0, 2, 3, 1).flatten(1)
    linear = extractor.linear
    units = (cells @ linear.weight.t() + linear.bias).clamp(min=0)
    torch.testing.assert_close(features, units.unflatten(0, (4, STEPS)).mean(1))
    actions = policy.get_distribution(policy.obs_to_tensor(observation)[0]).distribution
    logits = features @ policy.action_net.weight.t() + policy.action_net.bias
    torch.testing.assert_close(actions.probs, logits.softmax(-1))


def test_noise_on_centres_is_not_learned(files: dict[str, Any]) -> None:
    """A Gaussian of 0.25 around a sigmoid, before and after steps that move the mean."""
    model = make({**files, "actions": "centers"}, n_steps=4, batch_size=16)
    policy: Any = model.policy
    env: Any = model.env
    seen = policy.obs_to_tensor(env.reset())[0]
    means = []
    for _ in range(2):
        with torch.no_grad():
            normal = policy.get_distribution(seen).distribution
            features = policy.extract_features(seen)
        expected = 1 / (1 + (-policy.action_net[0](features)).exp())
        torch.testing.assert_close(normal.mean, expected.detach())
        torch.testing.assert_close(normal.stddev, torch.full((4, 2), 0.25))
        means.append(normal.mean)
        model.learn(64)
    assert not torch.equal(*means)


@pytest.mark.parametrize("actions", ["options", "centers"])
def test_it_learns_and_is_read_again(files: dict[str, Any], tmp_path: Path, actions: str) -> None:
    """Better than any place that does not depend on what is seen, which is right in a quarter."""
    config = {**files, "actions": actions}
    how = {"n_steps": 8, "batch_size": 64, "n_epochs": 5, "learning_rate": 5e-3, "gamma": 1.0}
    model = make(config, 16, **how)
    before = play_task(model, CLIP, split="train", **config)
    model.learn(2_500)
    model.save(tmp_path / "model.zip")
    again = PPO.load(tmp_path / "model.zip")
    played = play_task(again, CLIP, split="train", **config)
    assert played["confidence"].mean() > before["confidence"].mean() + 0.15
    weights, read = model.policy.state_dict(), again.policy.state_dict()
    assert all(torch.equal(value, read[name]) for name, value in weights.items())


def test_other_observations_are_refused(files: dict[str, Any]) -> None:
    env = make_sb3(CLIP, 2, observation="state", **files)
    with pytest.raises(ValueError, match="expected observations of the kind maps; got .*maps'"):
        PPO(ClipActorCritic, env)
