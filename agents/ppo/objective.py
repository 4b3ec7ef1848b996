"""PPO's arithmetic over whole episodes of one length: returns, advantages, draws, the loss."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional


@dataclass(frozen=True)
class Track:
    """What one learner did in B episodes, and what came of it.

    Attributes:
        actions: ``(B, T)`` int64.
        log_probs: ``(B, T)`` of the actions, when they were drawn.
        values: ``(B, T)`` of the critic, then.
        advantages: ``(B, T)``.
        returns: ``(B, T)``, what the critic is trained on.
    """

    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, rows: Tensor) -> Track:
        """Return the track of some of the episodes."""
        return Track(*(getattr(self, each.name)[rows] for each in fields(self)))


@dataclass(frozen=True)
class Weights:
    """How the terms of the loss are weighed.

    Attributes:
        clip_range: PPO's ε.
        ent_coef: Of the entropy bonus.
        vf_coef: Of the critic's squared error.
        normalize_advantage: Whether advantages are normalised over the minibatch.
    """

    clip_range: float
    ent_coef: float
    vf_coef: float
    normalize_advantage: bool


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw from categorical distributions by inverting their cumulative sums.

    Args:
        logits: ``(..., K)``.
        uniform: ``(...)`` float64 in [0, 1), on any device: the draws are the same on all.

    Returns:
        ``(...)`` int64 on the device of ``uniform``.
    """
    probabilities = logits.detach().to(uniform.device).to(torch.float64).softmax(dim=-1)
    below = probabilities.cumsum(dim=-1)
    drawn = torch.searchsorted(below, uniform[..., None] * below[..., -1:], right=True)
    return drawn.squeeze(-1).clamp(max=logits.shape[-1] - 1)


def discounted_returns(rewards: Tensor, gamma: float) -> Tensor:
    """Return ``G_t = r_t + γ·G_{t+1}`` of whole episodes.

    Args:
        rewards: ``(B, T)``.
        gamma: Discount.

    Returns:
        ``(B, T)``.

    Source: AdaFocus (arXiv:2105.03245) Eq. 6.
    """
    returns = torch.empty_like(rewards)
    after = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        after = rewards[:, t] + gamma * after
        returns[:, t] = after
    return returns


def generalized_advantages(
    rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float
) -> Tensor:
    """Return generalized advantages ``(B, T)`` of whole episodes; nothing follows the last step.

    Args:
        rewards: ``(B, T)``.
        values: ``(B, T)``.
        gamma: Discount.
        gae_lambda: λ; 1 gives returns less values.

    Source: Schulman et al. (arXiv:1506.02438) Eq. 16.
    """
    following = functional.pad(values[:, 1:], (0, 1))
    return discounted_returns(rewards + gamma * following - values, gamma * gae_lambda)


def make_track(
    actions: Tensor,
    log_probs: Tensor,
    values: Tensor,
    rewards: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
    normalize_returns: bool,
) -> Track:
    """Return a learner's track from what it did and got, each ``(B, T)``.

    With ``normalize_returns``, returns are normalised over the batch before advantages and the
    critic's targets are formed: ``G ← (G - mean G) / (std G + 1e-5)``, ``A = G - V``.

    Source: the released AdaFocus code for normalised returns; else Schulman et al.
        (arXiv:1506.02438). With several update epochs, which no setting of it has, the released
        code would take V anew from the current critic in each; here it is the rollout's.
    """
    values = values.detach()
    if normalize_returns:
        returns = discounted_returns(rewards, gamma)
        spread = returns.std() if returns.numel() > 1 else 0.0
        returns = (returns - returns.mean()) / (spread + 1e-5)
        advantages = returns - values
    else:
        advantages = generalized_advantages(rewards, values, gamma, gae_lambda)
        returns = advantages + values
    return Track(actions, log_probs.detach(), values, advantages, returns)


def log_probs_of(logits: Tensor, actions: Tensor) -> Tensor:
    """Return the log-probabilities ``(...)`` of actions ``(...)`` under logits ``(..., K)``."""
    log_probs: Tensor = Categorical(logits=logits, validate_args=False).log_prob(actions)
    return log_probs


def ppo_loss(
    logits: Tensor, values: Tensor, track: Track, weights: Weights
) -> tuple[Tensor, dict[str, float]]:
    """Return PPO's loss of one learner, and what is logged of it.

    ``-mean(min(ρA, clip(ρ, 1 - ε, 1 + ε)A)) + c_v·mean((V - G)²) - c_e·mean(H)``

    Args:
        logits: ``(B, T, K)``.
        values: ``(B, T)``.
        track: What was done in these episodes.
        weights: Weights of the terms, and the clip range ε.

    Source: Schulman et al. (arXiv:1707.06347) Eq. 7 and 9.
    """
    distribution = Categorical(logits=logits, validate_args=False)
    log_probs, entropy = distribution.log_prob(track.actions), distribution.entropy().mean()
    advantages = track.advantages
    if weights.normalize_advantage and advantages.numel() > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    log_ratio = log_probs - track.log_probs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - weights.clip_range, 1 + weights.clip_range)
    policy_loss = -torch.min(advantages * ratio, advantages * clipped).mean()
    value_loss = functional.mse_loss(values, track.returns)
    loss = policy_loss + weights.vf_coef * value_loss - weights.ent_coef * entropy
    with torch.no_grad():
        stats = {
            "entropy_loss": -entropy,
            "policy_gradient_loss": policy_loss,
            "value_loss": value_loss,
            "approx_kl": (ratio - 1 - log_ratio).mean(),
            "clip_fraction": ((ratio - 1).abs() > weights.clip_range).to(ratio.dtype).mean(),
            "loss": loss,
        }
    return loss, {name: float(value.detach()) for name, value in stats.items()}
