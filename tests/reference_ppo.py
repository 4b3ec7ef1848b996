"""PPO on AdaFocus written out a second time: single environments, a GRU stepped frame by frame.

Nothing of `focusgym.agents` is used here but its weights and actions; float64 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor, nn

Named = dict[str, Tensor]


class SteppedNetwork(nn.Module):
    """Convolution, linear layer, GRU, actor and critic, for one frame after the other."""

    def __init__(self, weights: Named) -> None:
        """Take the weights of a learner of FocusPPO, by their names there."""
        super().__init__()
        out, channels = weights["extractor.trunk.conv.weight"].shape
        hidden, width = weights["extractor.trunk.linear.weight"].shape
        self.conv = nn.Conv2d(channels, out, kernel_size=1, bias=False).double()
        self.linear = nn.Linear(width, hidden).double()
        self.gru = nn.GRU(hidden, hidden).double()
        self.actor = nn.Linear(hidden, len(weights["actor.bias"])).double()
        self.critic = nn.Linear(hidden, 1).double()
        with torch.no_grad():
            for name, parameter in self.learner_names().items():
                parameter.copy_(weights[name].reshape(parameter.shape))

    def learner_names(self) -> dict[str, nn.Parameter]:
        """Return the parameters by their names in FocusPPO's learner."""
        return {
            name if name.startswith(("actor", "critic")) else f"extractor.trunk.{name}": parameter
            for name, parameter in self.named_parameters()
        }

    def gradients(self) -> Named:
        """Return the gradients by those names, in their shapes."""
        by_name = {}
        for name, parameter in self.learner_names().items():
            assert parameter.grad is not None
            by_name[name] = parameter.grad.flatten(1) if parameter.dim() == 4 else parameter.grad
        return by_name

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities ``(B, T, actions)`` and values ``(B, T)``."""
        state = torch.zeros(1, len(maps), self.gru.hidden_size, dtype=torch.float64)
        log_probs, values = [], []
        for frame in maps.unbind(1):
            cells = self.conv(frame.permute(0, 3, 1, 2)).relu()
            x = self.linear(cells.permute(0, 2, 3, 1).flatten(1)).relu()
            out, state = self.gru(x[None], state)
            z = self.actor(out[0])
            if z.shape[1] == 1:  # π′, Eq. 8: p^B is the sigmoid of one output
                p = z.sigmoid()
                log_probs.append(torch.cat([1 - p, p], dim=1).log())
            else:
                log_probs.append(z.exp().div(z.exp().sum(1, keepdim=True)).log())
            values.append(self.critic(out[0])[:, 0])
        return torch.stack(log_probs, 1), torch.stack(values, 1)


@dataclass(frozen=True)
class Episodes:
    """What one rollout of N single environments gave.

    Attributes:
        maps: ``(N, T, h, w, G)`` float64, from their observations.
        rewards: ``(N, T)`` float64 of each learner.
        videos: ``(N,)``.
        infos: N lists of T infos.
    """

    maps: Tensor
    rewards: dict[str, Tensor]
    videos: list[int]
    infos: list[list[dict[str, Any]]]


class SingleEnvironments:
    """N environments of Gymnasium, stepped one by one, which observe glance maps."""

    def __init__(self, env_id: str, n: int, seed: int, **config: Any) -> None:
        """Make them; their first reset is seeded."""
        self.envs = [
            gymnasium.make(
                f"focusgym.envs:{env_id}", first_episode=i, episode_stride=n,
                **{**config, "observation": "map"},
            )
            for i in range(n)
        ]  # fmt: skip
        self._seed: int | None = seed

    def play(self, actions: NDArray[np.int64]) -> Episodes:
        """Play an episode in each with actions ``(N, T, ...)``."""
        maps, location, keep, videos, infos = [], [], [], [], []
        for env, of_env in zip(self.envs, actions, strict=True):
            observation, info = env.reset(seed=self._seed)
            videos.append(info["video_id"])
            shape = env.unwrapped.player.cache.map_shape
            rows: list[list[Any]] = [[], [], [], []]
            for t, action in enumerate(of_env):
                rows[0].append(observation.reshape(shape))
                observation, reward, terminated, truncated, info = env.step(action)
                assert (terminated, truncated) == (t == len(of_env) - 1, False)
                rows[1].append(info.get("reward_location", reward))
                rows[2].append(info.get("reward_skip", 0.0))
                rows[3].append(info)
            for column, row in zip((maps, location, keep, infos), rows, strict=True):
                column.append(row)
        self._seed = None
        return Episodes(
            torch.tensor(np.array(maps), dtype=torch.float64),
            {
                "location": torch.tensor(location, dtype=torch.float64),
                "keep": torch.tensor(keep, dtype=torch.float64),
            },
            videos,
            infos,
        )


def targets(
    rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float, *, normalize: bool
) -> tuple[Tensor, Tensor]:
    """Return advantages and what the critic is to reach, as sums over what follows."""
    steps = rewards.shape[1]
    if normalize:  # facts A1: G = (G - mean(G)) / (std(G) + 1e-5); A = G - V
        g = torch.zeros_like(rewards)
        for t in range(steps):
            for u in range(t, steps):
                g[:, t] += gamma ** (u - t) * rewards[:, u]
        mean = g.sum() / g.numel()
        std = ((g - mean).square().sum() / (g.numel() - 1)).sqrt()
        g = (g - mean) / (std + 1e-5)
        return g - values, g
    after = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    delta = rewards + gamma * after - values
    advantages = torch.zeros_like(values)
    for t in range(steps):
        for u in range(t, steps):
            advantages[:, t] += (gamma * gae_lambda) ** (u - t) * delta[:, u]
    return advantages, advantages + values


def surrogate_loss(
    log_probs: Tensor,
    values: Tensor,
    actions: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    returns: Tensor,
    *,
    clip_range: float,
    ent_coef: float,
    vf_coef: float,
    normalize_advantage: bool,
) -> Tensor:
    """Return PPO's loss, decision by decision.

    Args:
        log_probs: ``(B, T, actions)`` of all actions, now.
        values: ``(B, T)``, now.
        actions: ``(B, T)`` taken.
        old_log_probs: ``(B, T)`` of them, then.
        advantages: ``(B, T)``.
        returns: ``(B, T)``.
        clip_range: ε.
        ent_coef: Of the entropy.
        vf_coef: Of the critic's error.
        normalize_advantage: Over these decisions.
    """
    if normalize_advantage:
        mean = advantages.sum() / advantages.numel()
        std = ((advantages - mean).square().sum() / (advantages.numel() - 1)).sqrt()
        advantages = (advantages - mean) / (std + 1e-8)
    total = torch.zeros((), dtype=log_probs.dtype)
    for b in range(len(actions)):
        for t in range(actions.shape[1]):
            of_all = log_probs[b, t]
            ratio = (of_all[actions[b, t]] - old_log_probs[b, t]).exp()
            gain = advantages[b, t]
            # Eq. 7: where the ratio has gone too far the right way, nothing pulls any more.
            if gain >= 0:
                surrogate = gain * (ratio if ratio < 1 + clip_range else 1 + clip_range)
            else:
                surrogate = gain * (ratio if ratio > 1 - clip_range else 1 - clip_range)
            possible = of_all[of_all > -1e6]
            entropy = -(possible.exp() * possible).sum()
            error = (values[b, t] - returns[b, t]) ** 2
            total = total - surrogate + vf_coef * error - ent_coef * entropy
    return total / actions.numel()


def clipped(gradients: Named, max_norm: float) -> Named:
    """Return gradients of one network, scaled down to a norm."""
    norm = sum(float(g.double().square().sum()) for g in gradients.values()) ** 0.5
    return {name: g * min(1.0, max_norm / (norm + 1e-6)) for name, g in gradients.items()}


@dataclass(frozen=True)
class Update:
    """One step of the optimizer, as a spy saw it; weights by their names in the policy.

    Attributes:
        before: Weights.
        gradients: As the optimizer was given them; of weights without one: not here.
        after: Weights.
    """

    before: Named
    gradients: Named
    after: Named

    def of(self, learner: str, what: str) -> Named:
        """Return the part of a learner, by the names there."""
        prefix = f"learners.{learner}."
        named: Named = getattr(self, what)
        return {k.removeprefix(prefix): v for k, v in named.items() if k.startswith(prefix)}


@dataclass
class Played:
    """One rollout, as callbacks and spies saw it.

    Attributes:
        actions: T arrays ``(N, ...)``.
        rewards: T arrays ``(N,)``.
        infos: T lists of N infos.
        dones: T arrays ``(N,)``.
        rollout: ``rollout_buffer`` at its end.
        updates: Steps of the optimizer after it.
        batches: Episodes of each of them.
    """

    actions: list[NDArray[Any]]
    rewards: list[NDArray[Any]]
    infos: list[list[dict[str, Any]]]
    dones: list[NDArray[Any]]
    rollout: Any
    updates: list[Update]
    batches: list[list[int]]

    @property
    def taken(self) -> NDArray[np.int64]:
        """Actions ``(N, T, ...)``."""
        return np.stack(self.actions, axis=1)


class Spy(BaseCallback):
    """Sees what FocusPPO does.

    Attributes:
        played: One for each rollout.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        super().__init__()
        self.played: list[Played] = []

    def _weights(self) -> Named:
        return {name: p.detach().clone() for name, p in self.model.policy.named_parameters()}

    def _on_training_start(self) -> None:
        step, minibatches = self.model.policy.optimizer.step, self.model._minibatches

        def spied_step() -> None:
            before = self._weights()
            gradients = {
                name: p.grad.clone()
                for name, p in self.model.policy.named_parameters()
                if p.grad is not None
            }
            step()
            self.played[-1].updates.append(Update(before, gradients, self._weights()))

        def spied_minibatches(epoch: int, n_episodes: int) -> list[Tensor]:
            batches: list[Tensor] = minibatches(epoch, n_episodes)
            self.played[-1].batches += [rows.tolist() for rows in batches]
            return batches

        self.model.policy.optimizer.step = spied_step
        self.model._minibatches = spied_minibatches

    def _on_training_end(self) -> None:
        del self.model.policy.optimizer.step, self.model._minibatches

    def _on_rollout_start(self) -> None:
        self.played.append(Played([], [], [], [], None, [], []))

    def _on_step(self) -> bool:
        played = self.played[-1]
        for name in ("actions", "rewards", "infos", "dones"):
            getattr(played, name).append(self.locals[name])
        return True

    def _on_rollout_end(self) -> None:
        self.played[-1].rollout = self.model.rollout_buffer
