"""AdaFocusV3's training: everything at once, with a policy that names all cubes of a video."""

from __future__ import annotations

import torch
from torch import Tensor

from ..classifiers.base import Classifier
from ..encoders.encoder import Encoder
from ..pipeline.checks import check_clips, check_named
from ..pipeline.cubes import cube_inputs, cube_vectors, glanced_frames
from ..pipeline.look import frame_maps
from ..places.cubes import Cubes
from ..policies.cubes import CubePolicy
from .config import GRADIENTS, Gradient
from .deep_features import cell_px, deep_gradient
from .joint import Joint, JointOutputs


class CubesEndToEnd(Joint):
    """f_G, f_L, f_C and π together, from pixels, with cubes in space and time.

    f_C predicts after the glance at the whole video, and after each of the D cubes. The gradient of
    the loss reaches π through the features of a larger cube, or through interpolated pixels. See
    `Joint` for what makes that work, and for the networks. Where all networks but π are fixed, it
    is the second of the paper's two stages, of which the first has a policy that places cubes at
    random.

    In eval mode it does what the recognizer does: cubes are cut out at whole pixels and frames, and
    no frame is read twice, if all cubes together have no more frames than the video.

    Source: AdaFocusV3 (arXiv:2209.13465) sections 3.1 to 3.4 and appendix C.
    """

    def __init__(
        self,
        glance_encoder: Encoder,
        local_encoder: Encoder,
        classifier: Classifier,
        cubes: Cubes,
        policy: CubePolicy,
        *,
        gradient: Gradient = "deep",
        auxiliary: bool = True,
        diversity: bool = True,
        stop_gradient: bool = True,
    ) -> None:
        """Assemble the stage; see `Joint`.

        Args:
            glance_encoder: f_G.
            local_encoder: f_L.
            classifier: f_C.
            cubes: Where f_L is run.
            policy: π; one that learns nothing places them by its draws.
            gradient: Through which the places learn: ``deep``, the features of a larger cube (Eq. 5
                and 6); or ``pixel`` (Eq. 2 to 4), for which cubes are cut out between pixels and
                frames in training.
            auxiliary: Whether there are auxiliary heads.
            diversity: Whether random cubes are learned from beside the policy's.
            stop_gradient: Whether the gradient ends between π and f_G.

        Raises:
            ValueError: If f_L's map does not grow as the deep gradient needs it, an encoder shifts
                along frames and reads one, or the gradient is unknown.
        """
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient must be one of {', '.join(GRADIENTS)}; got {gradient!r}")
        check_clips("f_G", glance_encoder, policy.config.steps)
        check_clips("f_L", local_encoder, cubes.frames)
        learns = policy.config.learns
        super().__init__(
            glance_encoder,
            local_encoder,
            classifier,
            policy if learns else None,
            auxiliary=auxiliary,
            diversity=diversity,
            stop_gradient=stop_gradient,
        )
        self._cubes, self._places = cubes, policy
        self._pixels = learns and gradient == "pixel"
        deep = learns and gradient == "deep"
        self._cell_px = cell_px(local_encoder, cubes.side_px) if deep else 0
        if cubes.side_px + self._cell_px > cubes.frame_px:
            raise ValueError(
                f"the deep gradient reads {self._cell_px} px around a cube of {cubes.side_px} px, "
                f"which do not fit into a frame of {cubes.frame_px} px: choose a smaller cube, or "
                "the gradient through pixels"
            )

    def forward(self, frames: Tensor, draws: Tensor) -> JointOutputs:
        """Return logits on the policy's cubes; in training mode also what else is learned from.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8.
            draws: ``(B, D, 6)`` uniform in [0, 1): of random axes of the policy, and the random
                cubes beside it.

        Returns:
            Logits ``(B, D + 1, C)`` after the glance and after each cube.

        Raises:
            PredictionError: If the policy names no numbers.
        """
        glanced = frames[:, glanced_frames(self._cubes, self._places)]  # (B, T', 3, S, S)
        maps, glance = frame_maps(self.glance_encoder, glanced)
        own, beside = draws.float().split(3, dim=-1)
        with torch.autocast(maps.device.type, enabled=False):  # π computes in float32 everywhere
            seen = self._seen(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
            where = self._places(seen, own)
        check_named(where)
        branches = [where, beside] if self.training and self._diversity else [where]
        holds = [self._cubes.frames_at(each, distinct=not self.training) for each in branches]
        cut = [self._cut(frames, *each) for each in zip(branches, holds, strict=True)]
        local = cube_vectors(self.local_encoder, torch.cat(cut).flatten(0, 1))
        vectors = [*local.unflatten(0, (len(branches), *where.shape[:2]))]  # (B, D, L) each
        if self.training and self._cell_px:
            vectors[0] = vectors[0] + deep_gradient(
                self.local_encoder, self._cubes, frames, where, self._cell_px
            )
        logits = [
            self.classifier(*cube_inputs(glance, each, self._cubes, of_each))
            for each, of_each in zip(vectors, holds, strict=True)
        ]
        return self._outputs(logits, vectors, glance)

    def _cut(self, frames: Tensor, where: Tensor, holds: Tensor) -> Tensor:
        """Return cubes ``(B, D, F, 3, P, P)`` as f_L is shown them."""
        if self.training and self._pixels and where.requires_grad:
            return self._cubes.crop_between(self.local_encoder.prepare(frames), where)
        # Cut out first: what f_L does not see need not be normalised.
        return self.local_encoder.prepare(self._cubes.crop(frames, where, holds))
