"""The stages as modules: from a batch to logits, with the networks that may be trained by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..classifiers.base import Classifier
from ..encoders.config import FrameConfig
from ..encoders.encoder import Encoder
from ..pipeline.look import glance_maps, glanced_and_looked, local_maps
from ..places.places import Places
from ..policies.base import Policy
from .samples import random_looks
from .stage import Stage


class FullFrames(Stage):
    """Stage 0: an encoder and a linear head that is thrown away, on full frames.

    The head classifies the pooled map of every frame; the logits of a video's frames are averaged.
    Encoder and head are one network, ``encoder``.

    Source: AdaFocus (arXiv:2105.03245) appendix B.1 (initialization "using full inputs").
    """

    def __init__(self, encoder: Encoder, n_classes: int) -> None:
        """Add a head with random weights."""
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.channels, n_classes).to(encoder.mean.device)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What may be trained, by name."""
        return {"encoder": nn.ModuleList([self.encoder, self.head])}

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits ``(B, 1, C)`` of frames ``(B, T, 3, S, S)`` or ``(B, T, F, 3, S, S)``."""
        pooled = self.encoder(frames.flatten(0, 1)).mean(dim=(2, 3))
        logits: Tensor = self.head(pooled).unflatten(0, frames.shape[:2]).mean(dim=1, keepdim=True)
        return logits


class OnPixels(Stage):
    """Stages I and III on pixels: f_L and f_C on patches; f_G and the policy are fixed.

    Networks: ``local`` and ``classifier``.

    Source: AdaFocus (arXiv:2105.03245) Eq. 5: random patches, or the policy's, sampled as the text
        of stage III has it, or its most probable ones and ρ as at test time (the released code).
    """

    def __init__(
        self,
        glance_encoder: Encoder,
        local_encoder: Encoder,
        classifier: Classifier,
        places: Places,
        policy: Policy | None = None,
        *,
        sample: bool = False,
        skip_rate: float = 0.0,
        frames: FrameConfig | None = None,
    ) -> None:
        """Assemble the stage.

        Args:
            glance_encoder: f_G.
            local_encoder: f_L.
            classifier: f_C.
            places: Where the K options are.
            policy: π, and π′ where there is one, for stage III; None for random patches, stage I.
            sample: Whether the policy's options and looks are drawn, in training mode.
            skip_rate: Share of the frames that are skipped at random in training mode, where there
                is no π′.
            frames: Which frames of a segment f_G reads; None reads all.
        """
        super().__init__()
        self.glance_encoder, self.policy = glance_encoder, policy
        self.local_encoder, self.classifier = local_encoder, classifier
        self._places, self._sample, self._skip_rate = places, sample, skip_rate
        self._frames = frames
        for fixed in self._fixed():
            fixed.eval().requires_grad_(False)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What may be trained, by name."""
        return {"local": self.local_encoder, "classifier": self.classifier}

    def train(self, mode: bool = True) -> OnPixels:
        """Put f_L and f_C into training mode; f_G and the policy stay as they are."""
        super().train(mode)
        for fixed in self._fixed():
            fixed.eval()
        return self

    def forward(self, frames: Tensor, draws: Tensor) -> Tensor:
        """Return logits ``(B, T, C)``.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8, or ``(B, T, F, 3, S, S)``.
            draws: ``(B, T, 2)`` uniform in [0, 1); see `uniform_draws`.
        """
        batch, (glanced, looked) = frames.shape[:2], glanced_and_looked(frames, self._frames)
        with torch.no_grad():
            maps, vectors = glance_maps(self.glance_encoder, glanced)
            seen = maps.permute(0, 2, 3, 1).unflatten(0, batch)
            options, looks = (each.flatten(0, 1) for each in self._choose(seen, draws))
        glance = vectors.unflatten(0, batch)
        # Where nothing is looked at, one patch is, times zero: processes step together.
        rows = looks.nonzero().squeeze(1) if looks.any() else looks.new_zeros(1).long()
        local_map = local_maps(self.local_encoder, self._places, looked[rows], options[rows])
        vectors_there = local_map.mean(dim=(2, 3)) * looks[rows, None]
        local = vectors_there.new_zeros(len(looked), vectors_there.shape[1]).index_copy(
            0, rows, vectors_there
        )
        logits: Tensor = self.classifier(glance, local.unflatten(0, batch))
        return logits

    def _fixed(self) -> list[nn.Module]:
        return [self.glance_encoder, *([] if self.policy is None else [self.policy])]

    def _choose(self, maps: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        skip_rate = self._skip_rate if self.training else 0.0
        if self.policy is None:
            return self._places.drawn(draws), random_looks(draws, skip_rate)
        with torch.autocast(maps.device.type, enabled=False):  # π computes in float32 everywhere
            return policy_choice(
                self.policy, maps, draws, sample=self._sample and self.training, skip_rate=skip_rate
            )


class OnFeatures(Stage):
    """Stages I and III on the cache: f_C on stored features. Network: ``classifier``.

    Source: AdaFocus (arXiv:2105.03245) Eq. 5, and appendix B.1: in stage III f_C alone is tuned.
    """

    def __init__(self, classifier: Classifier) -> None:
        """Take f_C."""
        super().__init__()
        self.classifier = classifier

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What may be trained, by name."""
        return {"classifier": self.classifier}

    def forward(self, glance: Tensor, local: Tensor) -> Tensor:
        """Return logits ``(B, T, C)`` of glance vectors and local vectors ``(B, T, G or L)``."""
        logits: Tensor = self.classifier(glance, local)
        return logits


def policy_choice(
    policy: Policy, maps: Tensor, draws: Tensor, *, sample: bool, skip_rate: float
) -> tuple[Tensor, Tensor]:
    """Return what a policy gives to a stage: options ``(B, T)``, and whether to look, bool.

    Args:
        policy: π, and π′ where there is one.
        maps: Glance maps; see `PolicyTrunk`.
        draws: ``(B, T, 2)`` uniform in [0, 1).
        sample: Whether options and looks are drawn.
        skip_rate: Share of the frames that are skipped at random, where there is no π′.
    """
    options, looks = policy.choose(maps, draws if sample else None)
    return options, looks if policy.keep else random_looks(draws, skip_rate)
