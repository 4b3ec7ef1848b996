"""The actor and critic that read a video's maps frame by frame, in Stable-Baselines3's PPO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from support import GRID, C, G, L, T, write_cache

from focusgym.agents import CubeActorCritic, play_task
from focusgym.envs import make_sb3
from focusgym.recognizer import ClassifierConfig, build_classifier, write_bundle

K = GRID**2
CUBES = "focusgym/Cubes-v0"
SIZES = {"conv_channels": 3, "hidden": 8}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """A cache in which one segment shows the label, best at a place that the glance map tells."""
    cache = write_cache(tmp_path / "cache", n=60)
    rng, n = np.random.default_rng(0), cache.n_videos
    when, labels = rng.integers(T, size=n), cache.labels.numpy()
    maps = np.load(cache.root / "glance_maps.npy") * 0.2
    local = np.zeros((n, T, K, L), dtype=np.float16)
    cells = rng.integers(K, size=n)
    for video in range(n):
        maps[video, when[video], cells[video] // GRID, cells[video] % GRID, 0] += 4
        local[video, when[video], :, labels[video]] = 2
        local[video, when[video], cells[video], labels[video]] = 6
    np.save(cache.root / "glance_maps.npy", maps)
    np.save(cache.root / "local_vectors_p12_3x3.npy", local)
    f_c = build_classifier(ClassifierConfig(G, L, C, aggregation="average", reuse_glance=False))
    f_c.load_state_dict({"head.weight": torch.eye(C, L), "head.bias": torch.zeros(C)})
    write_bundle(tmp_path / "f_c", "classifier", f_c.config, f_c, cache.fingerprint)
    return {"cache": cache.root, "classifier": tmp_path / "f_c"}


def make(files: dict[str, Any], n_envs: int = 4, **how: Any) -> PPO:
    env = make_sb3(CUBES, n_envs, **files)
    sizes = {"features_extractor_kwargs": SIZES}
    return PPO(CubeActorCritic, env, seed=0, policy_kwargs=sizes, **how)


def test_what_is_possible_and_what_depends_on_what(files: dict[str, Any]) -> None:
    """No segment twice, no stop at first; a frame's actions follow the frame, wherever it is."""
    model = make(files)
    env: Any = model.env
    seen = env.reset()
    with torch.no_grad():
        policy: Any = model.policy
        for layer in (policy.action_net.options, policy.action_net.segment):
            layer.weight.normal_()
        before = policy.get_distribution(model.policy.obs_to_tensor(seen)[0]).distribution.probs
        assert before.shape == (4, T * K + 1)
        assert before[:, -1].tolist() == [0] * 4
        seen["seen"][:2, 1] = 1
        after = policy.get_distribution(policy.obs_to_tensor(seen)[0]).distribution.probs
        assert (after[:2, K : 2 * K] == 0).all()
        assert (after[:2, -1] > 0).all()
        assert (after[2:] == before[2:]).all()
        # Maps that move by one segment, between ends that show nothing, move what is chosen.
        maps = np.zeros_like(seen["maps"])
        seen["seen"][:] = 0
        maps[0, 1], maps[1, 2] = seen["maps"][0, 1], seen["maps"][0, 1]
        known = {name: np.repeat(each[:1], 4, axis=0) for name, each in seen.items()}
        tensors = policy.obs_to_tensor({**known, "maps": maps})[0]
        moved = policy.get_distribution(tensors).distribution.probs
        torch.testing.assert_close(moved[0, K : 2 * K], moved[1, 2 * K : 3 * K])


def test_it_learns_and_is_read_again(files: dict[str, Any], tmp_path: Path) -> None:
    """One cube where the label is, then the stop, which a price pays for."""
    priced = {**files, "price_per_gmac": 0.05}
    env = make_sb3(CUBES, 16, **priced)
    sizes = {"features_extractor_kwargs": {"conv_channels": 4, "hidden": 32}}
    how = {"n_steps": 16, "batch_size": 64, "n_epochs": 5, "learning_rate": 3e-3, "gamma": 1.0}
    model = PPO(CubeActorCritic, env, seed=0, policy_kwargs=sizes, **how)
    before = play_task(model, CUBES, split="train", **priced)
    model.learn(2_500)
    model.save(tmp_path / "model.zip")
    again = PPO.load(tmp_path / "model.zip")
    played = play_task(again, CUBES, split="train", **priced)
    assert played["confidence"].mean() > before["confidence"].mean() + 0.2
    assert played["episode_return"].mean() > before["episode_return"].mean() + 0.2
    trained, read = model.policy.state_dict(), again.policy.state_dict()
    assert all(torch.equal(weights, read[name]) for name, weights in trained.items())


def test_spaces_of_other_environments(files: dict[str, Any]) -> None:
    state = make_sb3(CUBES, 2, observation="state", **files)
    with pytest.raises(ValueError, match="expected observations of the kind maps; got .*glances"):
        PPO(CubeActorCritic, state)
    env = make_sb3(CUBES, 2, **files)
    env.action_space.n -= 1
    with pytest.raises(ValueError, match=r"expected actions Discrete\(T·K \+ 1\) of T = 4"):
        PPO(CubeActorCritic, env)
