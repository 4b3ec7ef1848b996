"""What makes Stable-Baselines3's own algorithms train a recurrent π: an extractor and a buffer.

π's state depends on glance maps only, never on actions. So the GRU can live in the features
extractor: a whole episode's features are one pass, and plain PPO needs no recurrent machinery.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, TensorDict
from torch import Tensor

from ...feature_cache import FeatureCache
from ...recognizer import PolicyConfig, PolicyTrunk


class GlanceGruExtractor(BaseFeaturesExtractor):
    """π's trunk as a features extractor of ``index`` observations; the heads are the algorithm's.

    While rolling out, the features of the running episodes are computed once, at whichever step is
    asked first, and kept until the videos or the weights change. In training, gradients flow
    through whole episodes, every video of the minibatch passing once.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        cache: FeatureCache,
        conv_channels: int = 64,
        hidden: int = 1024,
    ) -> None:
        """Build the trunk.

        Args:
            observation_space: Space of ``index`` observations.
            cache: The feature cache; pickled, it is a path.
            conv_channels: Channels after the 1×1 convolution.
            hidden: Width of the linear layer and the GRU.

        Raises:
            ValueError: If observations are not ``index`` ones.
        """
        if not isinstance(observation_space, spaces.Dict) or set(observation_space) != {
            "video",
            "t",
        }:
            raise ValueError(
                "expected observations of video and t; got "
                f"{observation_space}: make the environment with observation='index'"
            )
        super().__init__(observation_space, features_dim=hidden)
        self.cache = cache
        height, width, channels = self.cache.map_shape
        self.config = PolicyConfig(
            height, width, channels, self.cache.n_options, conv_channels, hidden
        )
        self.trunk = PolicyTrunk(self.config)
        self._kept: tuple[list[int], list[int], Tensor] | None = None

    def forward(self, observations: TensorDict) -> Tensor:
        """Return features ``(M, H)`` of M (video, step) pairs.

        Args:
            observations: ``video`` and ``t``, each ``(M, 1)``.
        """
        videos, position = observations["video"].long().squeeze(1).unique(return_inverse=True)
        steps, rows = observations["t"].long().squeeze(1), videos.cpu().numpy()
        if torch.is_grad_enabled():
            return self.episodes(rows)[position, steps]
        versions = [parameter._version for parameter in self.parameters()]
        if self._kept is None or self._kept[:2] != (rows.tolist(), versions):
            self._kept = (rows.tolist(), versions, self.episodes(rows))
        return self._kept[2][position, steps]

    def train(self, mode: bool = True) -> GlanceGruExtractor:
        """Go to training or evaluation mode; see `torch.nn.Module.train`.

        Features are not kept over a training: a fused optimizer changes weights without leaving a
        trace in their versions.
        """
        if mode:
            self._kept = None
        return super().train(mode)

    def episodes(self, videos: NDArray[np.int64]) -> Tensor:
        """Return the features ``(B, T, H)`` of all steps of videos ``(B,)``."""
        features: Tensor = self.trunk(self.cache.stored_glance_maps(videos))[0]
        return features


class EpisodeBuffer(DictRolloutBuffer):
    """A rollout buffer whose minibatches are whole environments, hence whole episodes.

    ``batch_size`` stays SB3's number of transitions; it has to be a multiple of ``n_steps``.
    """

    def get(self, batch_size: int | None = None) -> Generator[DictRolloutBufferSamples, None, None]:  # type: ignore[override]
        """Yield minibatches of ``batch_size`` transitions, environments in random order.

        Raises:
            ValueError: If ``batch_size`` is not a multiple of the rollout's length.
        """
        size = batch_size or self.buffer_size * self.n_envs
        if size % self.buffer_size:
            raise ValueError(
                f"batch_size must be a multiple of n_steps={self.buffer_size}, so that minibatches "
                f"hold whole episodes; got {size}"
            )
        if not self.generator_ready:
            for key, values in self.observations.items():
                self.observations[key] = self.swap_and_flatten(values)
            for name in ("actions", "values", "log_probs", "advantages", "returns"):
                setattr(self, name, self.swap_and_flatten(getattr(self, name)))
            self.generator_ready = True
        # SB3 seeds NumPy's global generator and draws its own minibatches from it.
        order = np.random.permutation(self.n_envs)  # noqa: NPY002
        per_batch = size // self.buffer_size
        for start in range(0, self.n_envs, per_batch):
            envs = order[start : start + per_batch]
            rows = (envs[:, None] * self.buffer_size + np.arange(self.buffer_size)).ravel()
            yield self._get_samples(rows)
