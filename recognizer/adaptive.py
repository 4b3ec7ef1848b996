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
        options: ``(B, T)`` int64, the patch candidates it looked at.
    """

    logits: Tensor
    options: Tensor


class AdaptiveRecognizer(nn.Module):
    """f_G, π, f_L and f_C assembled, for videos whose frames are all given.

    f_G runs over all frames, then π chooses all patches, then f_L runs on the chosen ones only.
    Features are rounded to the storage dtype of the cache on which π and f_C were trained, so
    that both see what they were trained on.

    Source: AdaFocus (arXiv:2105.03245) Figure 2 and section 3.4.
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
            grid: The patch candidates.
            policy: π; without one, patches have to be given.
            feature_dtype: Storage dtype of the cache on which f_C and π were trained.
        """
        super().__init__()
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
            options: ``(B, T)`` int64 patches to look at instead of the policy's; None asks the
                policy, which takes the most probable one.

        Returns:
            Predictions after every frame, and the patches looked at.

        Raises:
            ValueError: If there is neither a policy nor a choice of patches.
        """
        batch, steps = frames.shape[:2]
        flat = frames.flatten(0, 1)
        maps, glance = encode_glance(self.glance_encoder, flat, self.feature_dtype)
        if options is None:
            if self.policy is None:
                raise ValueError("this recognizer has no policy: give it one, or give `options`")
            options = self.policy(maps.float().unflatten(0, (batch, steps))).argmax(dim=-1)
        patches = self.grid.crop(flat, options.flatten())
        local = encode_local(self.local_encoder, patches, self.feature_dtype)
        logits = self.classifier(
            glance.float().unflatten(0, (batch, steps)),
            local.float().unflatten(0, (batch, steps)),
        )
        return Recognition(logits, options)
