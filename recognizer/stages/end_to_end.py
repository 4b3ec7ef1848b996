"""AdaFocusV2's training: everything at once, with a policy that names a box in every frame."""

from __future__ import annotations

import torch
from torch import Tensor

from ..classifiers.base import Classifier
from ..encoders.config import FrameConfig
from ..encoders.encoder import Encoder
from ..pipeline.checks import check_named, check_policy
from ..pipeline.look import crop_each, glance_maps, glanced_and_looked
from ..places.fixed import fixed_places
from ..places.kinds import FixedKind
from ..places.places import Places
from ..policies.base import Policy
from .joint import Joint, JointOutputs


class EndToEnd(Joint):
    """f_G, f_L, f_C and π together, from pixels, in one stage.

    The gradient of the loss reaches π through what f_L is shown: the pixels of a box are
    interpolated where π names it. See `Joint` for what makes that work, and for the networks.

    Source: AdaFocusV2 (arXiv:2112.14238) section 3.3.
    """

    policy: Policy | None

    def __init__(
        self,
        glance_encoder: Encoder,
        local_encoder: Encoder,
        classifier: Classifier,
        places: Places,
        policy: Policy | None,
        *,
        fixed: FixedKind = "random",
        auxiliary: bool = True,
        diversity: bool = True,
        stop_gradient: bool = True,
        frames: FrameConfig | None = None,
    ) -> None:
        """Assemble the stage; see `Joint`.

        Args:
            glance_encoder: f_G.
            local_encoder: f_L.
            classifier: f_C.
            places: Where f_L is run: `Boxes`, for the gradient of a centre.
            policy: π; None where places depend on nothing that is seen.
            fixed: Which places, without a policy.
            auxiliary: Whether there are auxiliary heads.
            diversity: Whether random places are learned from beside the policy's.
            stop_gradient: Whether the gradient ends between π and f_G.
            frames: Which frames of a segment f_G reads; None reads all.

        Raises:
            ValueError: If the policy is for other places.
        """
        if policy is not None:
            check_policy(policy, places)
        super().__init__(
            glance_encoder,
            local_encoder,
            classifier,
            policy,
            auxiliary=auxiliary,
            diversity=diversity,
            stop_gradient=stop_gradient,
        )
        self._places, self._fixed, self._frames = places, fixed, frames

    def forward(self, frames: Tensor, draws: Tensor) -> JointOutputs:
        """Return logits on the policy's places; in training mode also what else is learned from.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8, or ``(B, T, F, 3, S, S)``.
            draws: ``(B, T, 2)`` uniform in [0, 1): the random places; see `uniform_draws`.

        Raises:
            PredictionError: If the policy names no numbers.
        """
        batch, (glanced, looked) = frames.shape[:2], glanced_and_looked(frames, self._frames)
        maps, vectors = glance_maps(self.glance_encoder, glanced)  # (B·T, G or F·G, h, w)
        glance = vectors.unflatten(0, batch)
        branches = [self._choose(maps, draws)]
        if self.training and self._diversity:
            branches.append(self._places.drawn(draws))
        prepared = self.local_encoder.prepare(looked)
        crops = [crop_each(self._places, prepared, each.flatten(0, 1)) for each in branches]
        local_maps = self.local_encoder.encode(torch.cat(crops))  # (n·B·T, L, h, w)
        local = local_maps.float().mean(dim=(2, 3)).unflatten(0, (len(branches), *batch))
        return self._outputs([self.classifier(glance, each) for each in local], [*local], glance)

    def _choose(self, maps: Tensor, draws: Tensor) -> Tensor:
        """Return the places ``(B, T, W)`` of the policy, or those that replace it."""
        if self.policy is None:
            return fixed_places(self._fixed, self._places, draws)
        with torch.autocast(maps.device.type, enabled=False):  # π computes in float32 everywhere
            centers, _ = self.policy.choose(self._seen(maps).unflatten(0, draws.shape[:2]))
        check_named(centers)
        return centers
