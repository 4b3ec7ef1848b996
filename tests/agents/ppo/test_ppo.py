"""What SB3's own PPO is given, and the training of a policy from beginning to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from support import G, L, T, add_group, write_cache

from focusgym.agents import EpisodeBuffer, GlanceGruExtractor, PPOConfig, read_policy, train_policy
from focusgym.envs import EnvConfig, FocusVecEnv
from focusgym.feature_cache import CacheError, FeatureCache
from focusgym.recognizer import BundleError, GruClassifier, write_bundle

GAMMA = 0.7


class Recorder(BaseCallback):
    """Keeps what the environment gave in one rollout, and SB3's buffer at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.rewards: list[np.ndarray] = []
        self.dones: list[np.ndarray] = []
        self.videos: list[np.ndarray] = []
        self.buffer: dict[str, np.ndarray] = {}

    def _on_step(self) -> bool:
        self.rewards.append(self.locals["rewards"].copy())
        self.dones.append(self.locals["dones"].copy())
        self.videos.append(self.model._last_obs["video"][:, 0].copy())
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        for name in ("rewards", "returns", "values", "advantages", "episode_starts", "log_probs"):
            self.buffer[name] = getattr(buffer, name).copy()
        self.buffer.update({key: v.copy() for key, v in buffer.observations.items()})


def make_ppo(cache: Path, classifier: Path, n_envs: int, **kwargs: object) -> PPO:
    env = FocusVecEnv(EnvConfig(cache, classifier, observation="index"), n_envs)
    options = {
        "n_steps": T,
        "batch_size": T * n_envs,
        "n_epochs": 1,
        "gamma": GAMMA,
        "gae_lambda": 1.0,
        "rollout_buffer_class": EpisodeBuffer,
        "seed": 0,
        "policy_kwargs": {
            "features_extractor_class": GlanceGruExtractor,
            "features_extractor_kwargs": {
                "cache": FeatureCache.open(cache),
                "conv_channels": 2,
                "hidden": 8,
            },
            "net_arch": [],
        },
    }
    return PPO("MultiInputPolicy", env, **{**options, **kwargs})


def test_episode_bookkeeping_against_sums_by_hand(
    cache: FeatureCache, classifier_path: Path
) -> None:
    """With λ = 1 a return is the discounted sum to the episode's end, and nothing beyond it."""
    recorder = Recorder()
    model = make_ppo(cache.root, classifier_path, 5, n_steps=3 * T, batch_size=3 * T * 5)
    model.learn(3 * T * 5, callback=recorder)
    rewards, dones = np.stack(recorder.rewards), np.stack(recorder.dones)
    assert np.array_equal(recorder.buffer["rewards"], rewards), "no bootstrap is mixed in"
    for episode in range(3):
        of_episode = slice(episode * T, (episode + 1) * T)
        assert dones[of_episode].sum(0).tolist() == [1] * 5
        assert dones[of_episode][-1].all()
        assert recorder.buffer["episode_starts"][of_episode].sum(0).tolist() == [1] * 5
        assert recorder.buffer["episode_starts"][episode * T].all()
        for t in range(T):
            row = episode * T + t
            expected = sum(GAMMA ** (u - t) * rewards[episode * T + u] for u in range(t, T))
            np.testing.assert_allclose(recorder.buffer["returns"][row], expected, atol=1e-5)
            advantage = expected - recorder.buffer["values"][row]
            np.testing.assert_allclose(recorder.buffer["advantages"][row], advantage, atol=1e-5)
            assert (recorder.buffer["t"][row] == t).all()
    videos = recorder.buffer["video"][::T, :, 0]  # (3 episodes, 5 environments)
    train = cache.split("train")
    assert sorted(videos.ravel()[: len(train)]) == sorted(train), "an epoch before any repeats"
    assert (recorder.buffer["video"].reshape(3, T, 5) == videos[:, None]).all()


def test_rollout_features_are_training_features_are_a_stepped_gru(
    cache: FeatureCache, classifier_path: Path
) -> None:
    model = make_ppo(cache.root, classifier_path, 4)
    extractor = model.policy.features_extractor
    videos = torch.tensor([3, 0, 5, 3])
    observations = [{"video": videos[:, None], "t": torch.full((4, 1), t)} for t in range(T)]
    with torch.no_grad():
        rolled = torch.stack([extractor(o) for o in observations], dim=1)
    both = {key: torch.cat([o[key] for o in observations]) for key in ("video", "t")}
    trained = extractor(both).unflatten(0, (T, 4)).transpose(0, 1)
    torch.testing.assert_close(rolled, trained.detach(), rtol=0, atol=1e-6)
    state = None
    maps = cache.glance_maps(videos.numpy())
    for t in range(T):
        features, state = extractor.trunk(maps[:, t : t + 1], state)
        torch.testing.assert_close(rolled[:, t], features[:, 0].detach(), rtol=0, atol=1e-6)
    trained.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in extractor.parameters())


def test_rollout_features_follow_the_weights(cache: FeatureCache, classifier_path: Path) -> None:
    extractor = make_ppo(cache.root, classifier_path, 2).policy.features_extractor
    observation = {"video": torch.tensor([[1], [2]]), "t": torch.tensor([[2], [2]])}
    with torch.no_grad():
        before = extractor(observation).clone()
        extractor.trunk.linear.weight.add_(0.5)
        assert not torch.allclose(extractor(observation), before)
    other = {"video": torch.tensor([[2], [1]]), "t": torch.tensor([[2], [2]])}
    with torch.no_grad():
        swapped = extractor(other)
        torch.testing.assert_close(swapped, extractor(observation).flip(0))


def test_minibatches_are_whole_episodes(cache: FeatureCache, classifier_path: Path) -> None:
    model = make_ppo(cache.root, classifier_path, 6, batch_size=2 * T)
    model.learn(6 * T)
    buffer = model.rollout_buffer
    seen: list[int] = []
    for batch in buffer.get(2 * T):
        steps = batch.observations["t"].reshape(2, T).long()
        assert steps.tolist() == [list(range(T))] * 2
        videos = batch.observations["video"].reshape(2, T).long()
        assert (videos == videos[:, :1]).all()
        seen += videos[:, 0].tolist()
    assert len(seen) == 6
    assert sorted(seen) == sorted(cache.split("train"))
    with pytest.raises(ValueError, match=r"multiple of n_steps=4, so that .*; got 7"):
        next(buffer.get(7))


def test_the_first_update_sees_the_ratio_one(cache: FeatureCache, classifier_path: Path) -> None:
    """One epoch over one batch: what was acted with is what is trained."""
    model = make_ppo(cache.root, classifier_path, 6)
    model.learn(6 * T)
    assert model.logger.name_to_value["train/approx_kl"] == pytest.approx(0, abs=1e-6)
    assert model.logger.name_to_value["train/clip_fraction"] == 0


def test_the_reported_return_is_the_mean_over_the_rollouts_episodes(
    cache: FeatureCache, classifier_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewards: list[np.ndarray] = []
    step_wait = FocusVecEnv.step_wait

    def spy(env: FocusVecEnv) -> Any:
        outcome = step_wait(env)
        rewards.append(outcome[1])
        return outcome

    monkeypatch.setattr(FocusVecEnv, "step_wait", spy)
    config = PPOConfig(epochs=90, n_envs=150, minibatch=75, conv_channels=2, hidden=8)
    _, returns = train_policy(cache.root, classifier_path, config, seed=0)
    assert len(returns) == 90 * 6 // 150 == 3
    expected = np.stack(rewards).reshape(3, T, 150).sum(axis=1).mean(axis=1)
    assert returns == pytest.approx(expected, abs=1e-5)


def informative_cache(root: Path) -> FeatureCache:
    """Write a cache where the glance map points at the one patch that shows the label."""
    cache = write_cache(root, n=100)
    rng = np.random.default_rng(0)
    shape = (100, T)
    target = rng.integers(9, size=shape)
    maps = np.zeros((*shape, 9, G), np.float16)
    local = np.zeros((*shape, 9, L), np.float16)
    n, t = np.indices(shape)
    maps[n, t, target, 0] = 1
    local[n, t, target, np.repeat(cache.labels.numpy()[:, None], T, 1)] = 3
    np.save(root / "glance_maps.npy", maps.reshape(*shape, 3, 3, G))
    np.save(root / "local_vectors_p12_3x3.npy", local)
    np.save(root / "target.npy", target)
    return FeatureCache.open(root)


def test_ppo_learns_to_look_where_the_label_is(tmp_path: Path, classifier: GruClassifier) -> None:
    cache = informative_cache(tmp_path / "cache")
    with torch.no_grad():  # f_C that reads the label off the local vector
        for parameter in classifier.parameters():
            parameter.zero_()
        for label in range(3):
            classifier.gru.get_parameter("weight_ih_l0")[14 + label, G + label] = 1.0
            classifier.head.weight[label, label] = 3.0
    path = tmp_path / "classifier"
    write_bundle(path, "classifier", classifier.config, classifier, cache.fingerprint)
    config = PPOConfig(epochs=30, n_envs=30, minibatch=15, lr=1e-2, conv_channels=4, hidden=32)
    policy, returns = train_policy(cache.root, path, config, seed=0)
    assert len(returns) == 60
    test = cache.split("test")
    target = np.load(cache.root / "target.npy")[test]
    correct = policy(cache.glance_maps(test)).argmax(-1).numpy() == target
    assert correct.mean() > 0.9
    assert np.mean(returns[-10:]) > np.mean(returns[:5]) + 0.5

    write_bundle(tmp_path / "policy", "policy", policy.config, policy, cache.fingerprint)
    again = read_policy(tmp_path / "policy", cache.fingerprint)
    maps = cache.glance_maps(test)
    assert torch.equal(again(maps), policy(maps))
    with pytest.raises(BundleError, match="the policy in .* was trained on another cache"):
        read_policy(tmp_path / "policy", "0" * 64)


def test_training_is_fixed_by_its_seed(cache: FeatureCache, classifier_path: Path) -> None:
    config = PPOConfig(epochs=4, n_envs=6, minibatch=3, conv_channels=2, hidden=8)

    def weights(seed: int) -> torch.Tensor:
        policy, _ = train_policy(cache.root, classifier_path, config, seed)
        return torch.cat([p.detach().flatten() for p in policy.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_minibatches_that_do_not_divide_are_refused() -> None:
    with pytest.raises(
        ValueError, match="must divide n_envs; got epochs=1, minibatch=3, n_envs=10"
    ):
        PPOConfig(epochs=1, n_envs=10, minibatch=3)


def test_a_group_of_several_is_trained_on(
    cache: FeatureCache, classifier: GruClassifier, tmp_path: Path
) -> None:
    name = add_group(cache)
    group = FeatureCache.open(cache.root, name)
    path = tmp_path / "f_c"
    write_bundle(path, "classifier", classifier.config, classifier, group.fingerprint)
    env = gymnasium.make(
        "focusgym.envs:focusgym/AdaFocus-v0", cache=cache.root, classifier=path, group=name
    )
    assert env.action_space == gymnasium.spaces.Discrete(4)
    config = PPOConfig(epochs=1, n_envs=2, minibatch=2, conv_channels=2, hidden=4)
    policy, _ = train_policy(cache.root, path, config, 0, name)
    assert policy.config.n_options == 4
    with pytest.raises(CacheError, match="holds 2 option groups: say which"):
        train_policy(cache.root, path, config, 0)
