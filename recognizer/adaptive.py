"""The adaptive recognizer: glance, choose, crop, look, classify, on pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .classifier import Classifier
from .encoders import encode_glance, encode_local
from .geometry import PatchGrid
from .policy import PolicyNetwork


@dataclass(frozen=True)
class Recognition:
    """What the recognizer saw and concluded.

    Attributes:
        logits: ``(B, T, C)`` float32, after every frame.
        options: ``(B, T)`` int64 in ``[0, K]``: where it looked; K where the frame was skipped.
    """

    logits: Tensor
    options: Tensor


class AdaptiveRecognizer(nn.Module):
    """f_G, π, f_L and f_C assembled, for videos whose frames are all given.

    f_G runs over all frames, then π chooses all patches, then f_L runs once, on the chosen ones
    only: the local vector of a skipped frame is zero. Features are rounded to the storage dtype of
    the cache on which π and f_C were trained, so that both see what they were trained on.

    Source: AdaFocus (arXiv:2105.03245) Figures 2 and 4, sections 3.3 and 3.4.
    """

    def __init__(
        self,
        glance_encoder: nn.Module,
        local_encoder: nn.Module,
        classifier: Classifier,
        grid: PatchGrid,
        policy: PolicyNetwork | None = None,
        feature_dtype: torch.dtype = torch.float16,
    ) -> None:
        """Assemble the recognizer.

        Args:
            glance_encoder: f_G.
            local_encoder: f_L.
            classifier: f_C.
            grid: Where the K options are.
            policy: π, and π′ where frames may be skipped; without one, options have to be given.
            feature_dtype: Storage dtype of the cache on which f_C and π were trained.

        Raises:
            ValueError: If the policy chooses among other options than the grid has.
        """
        super().__init__()
        if policy is not None and policy.config.n_options != grid.n_options:
            raise ValueError(
                f"expected a policy with the grid's {grid.n_options} options; got one with "
                f"{policy.config.n_options}: assemble it with the grid it was trained on"
            )
        self.glance_encoder = glance_encoder
        self.local_encoder = local_encoder
        self.classifier = classifier
        self.policy = policy
        self.grid = grid
        self.feature_dtype = feature_dtype
        self.eval()

    @torch.no_grad()
    def forward(self, frames: Tensor, options: Tensor | None = None) -> Recognition:
        """Recognize videos.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8.
            options: ``(B, T)`` int64 in ``[0, K]`` instead of the policy's, K to skip the frame;
                None asks the policy, without sampling: π where to look, π′ whether.

        Returns:
            Predictions after every frame, and the options looked at.

        Raises:
            ValueError: If there is neither a policy nor a choice of options, or if they are not one
                in ``[0, K]`` for every frame.

        Source: AdaFocus (arXiv:2105.03245) Eq. 9: the local vector of a skipped frame is zero.
        """
        batch, steps = frames.shape[:2]
        flat = frames.flatten(0, 1)
        maps, glance = encode_glance(self.glance_encoder, flat, self.feature_dtype)
        if options is None:
            options = self._choose(maps.float().unflatten(0, (batch, steps)))
        else:
            self._check_options(options, (batch, steps))
        local = self._look(flat, options.flatten())
        logits = self.classifier(
            glance.float().unflatten(0, (batch, steps)),
            local.float().unflatten(0, (batch, steps)),
        )
        return Recognition(logits, options)

    def _choose(self, maps: Tensor) -> Tensor:
        """Return the policy's options ``(B, T)`` for maps ``(B, T, h, w, G)``, K to skip."""
        if self.policy is None:
            raise ValueError("this recognizer has no policy: give it one, or give `options`")
        options, looks = self.policy.choose(maps)
        return options.masked_fill(~looks, self.grid.n_options)

    def _look(self, frames: Tensor, options: Tensor) -> Tensor:
        """Return local vectors ``(M, L)``: f_L's of frames that are looked at, zero elsewhere."""
        looked = options < self.grid.n_options
        width = self.classifier.config.local_channels
        local = torch.zeros(len(frames), width, dtype=self.feature_dtype, device=frames.device)
        if looked.any():
            patches = self.grid.crop(frames[looked], options[looked])
            local[looked] = encode_local(self.local_encoder, patches, self.feature_dtype)
        return local

    def _check_options(self, options: Tensor, expected: tuple[int, int]) -> None:
        n_options, shape = self.grid.n_options, tuple(options.shape)
        if options.dtype != torch.int64 or shape != expected:
            raise ValueError(
                f"expected an int64 option for every frame, {expected}; got {options.dtype}, "
                f"{shape}: give one in [0, {n_options}] per frame, {n_options} to skip it"
            )
        if options.numel() and (options.min() < 0 or options.max() > n_options):
            raise ValueError(
                f"options must be in [0, {n_options}], {n_options} to skip the frame; got values "
                f"from {int(options.min())} to {int(options.max())}"
            )
