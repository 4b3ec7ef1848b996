"""ListenToLook's policy: an LSTM that asks, step by step, which segment to read next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class AttentionPolicyConfig:
    """Sizes of the policy.

    Attributes:
        glance_channels: G.
        steps: T, segments of a video.
        reads: D, segments that are named, at most T.
        key_channels: Width of keys and queries.
        hidden: H of the LSTM.

    Raises:
        ValueError: If a size is not positive, or more segments are to be named than there are.
    """

    glance_channels: int
    steps: int
    reads: int
    key_channels: int = 512
    hidden: int = 1024

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("glance_channels", "steps", "reads", "key_channels", "hidden"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1; got {value!r}")
        if self.reads > self.steps:
            raise ValueError(
                f"reads must be at most {self.steps}, the segments of a video; got {self.reads}"
            )


class AttentionPolicy(nn.Module):
    """π that names D segments of a video by attention over its glance vectors.

    An LSTM begins with the mean of the glance vectors. In each step two layers turn its state into
    a query, whose products with the keys of the segments, a linear layer on their glance vectors,
    become weights by a softmax. A segment that had the largest weight in a step before has none.
    The LSTM goes on with the mean of the glance vectors under these weights.

    In training mode the weights are soft, and everything is differentiable. In evaluation mode the
    largest weight of a step is 1, and the others are 0.

    Attributes:
        config: Its sizes.

    Source: ListenToLook (arXiv:1912.04487) section 3.3, with images alone. Its sizes are the
        defaults; it also has weight normalisation in the LSTM, batch normalisation in the layers of
        the query and a drop-out of modalities, which are left out.
    """

    def __init__(self, config: AttentionPolicyConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        self.keys = nn.Linear(config.glance_channels, config.key_channels)
        self.lstm = nn.LSTMCell(config.glance_channels, config.hidden)
        self.query = nn.Sequential(
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.key_channels),
        )

    def forward(self, glance: Tensor) -> Tensor:
        """Return how much each segment is read in each step.

        Args:
            glance: ``(B, T, G)`` glance vectors.

        Returns:
            ``(B, D, T)``, which sum to 1 over the segments.

        Raises:
            ValueError: If the glance vectors are of other sizes.
        """
        config = self.config
        if tuple(glance.shape[1:]) != (config.steps, config.glance_channels):
            raise ValueError(
                f"this policy is for glance vectors (B, {config.steps}, {config.glance_channels}); "
                f"got {tuple(glance.shape)}: give those that it was trained on"
            )
        keys = self.keys(glance)  # (B, T, key channels)
        taken = torch.zeros(glance.shape[:2], dtype=torch.bool, device=glance.device)
        state: tuple[Tensor, Tensor] | None = None
        seen, every = glance.mean(dim=1), []
        for _ in range(config.reads):
            state = self.lstm(seen, state)
            products = torch.einsum("bk,btk->bt", self.query(state[0]), keys)
            scores = (products / config.key_channels**0.5).masked_fill(taken, -torch.inf)
            weights = scores.softmax(dim=1)
            named = functional.one_hot(weights.argmax(dim=1), config.steps)
            if not self.training:
                weights = named.to(weights.dtype)
            seen = torch.einsum("bt,btg->bg", weights, glance)
            taken = taken | named.bool()
            every.append(weights)
        return torch.stack(every, dim=1)
