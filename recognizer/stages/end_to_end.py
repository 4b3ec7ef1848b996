"""Training everything at once: f_G, f_L, f_C and a policy that is learned by gradient."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..classifiers.base import Classifier, KeyedDropout
from ..encoders.encoder import Encoder
from ..encoders.frames import FrameConfig
from ..pipeline.checks import check_named, check_policy
from ..pipeline.look import crop_each
from ..places.fixed import FixedKind, fixed_places
from ..places.places import Places
from ..policies.base import Policy
from .stage import Stage, sequence_losses


class EndToEndOutputs(NamedTuple):
    """What the stage gives for a batch.

    Attributes:
        logits: ``(B, T, C)`` of f_C on the places that the policy names.
        others: ``(B, T, C)`` each: of f_C on random places, and of the auxiliary heads. Empty where
            nothing is trained.
        glance: ``(B, T, C)`` of the auxiliary head of f_G; None without one.
    """

    logits: Tensor
    others: tuple[Tensor, ...] = ()
    glance: Tensor | None = None


class EndToEnd(Stage):
    """f_G, f_L, f_C and π together, from pixels, in one stage.

    The gradient of the loss reaches π through what f_L is shown: the pixels of a box are
    interpolated where π names it. Three techniques make that work, and each can be left out:
    auxiliary heads classify every ē^G and every ē^L directly; beside π's boxes as many random ones
    are learned from, so that f_L sees all places; and no gradient goes from π into f_G.

    Networks: ``glance`` and ``local``, each with its auxiliary head; ``classifier``; ``policy``.

    Source: AdaFocusV2 (arXiv:2112.14238) section 3.3. As in the released code the loss is the mean
        over both branches of the cross-entropies of f_C after every step and of both heads in every
        frame. Ours: f_G runs once for both branches, and f_L on both in one batch, whose statistics
        its BatchNorms then share; both branches have the same dropout masks.
    """

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
        """Assemble the stage; the auxiliary heads get random weights.

        Args:
            glance_encoder: f_G.
            local_encoder: f_L.
            classifier: f_C.
            places: Where f_L is run: `Boxes`, for the gradient of a centre.
            policy: π; None where places depend on nothing that is seen.
            fixed: Which places, without a policy.
            auxiliary: Whether there are auxiliary heads.
            diversity: Whether random places are learned from beside the policy's; without a policy
                there are none beside.
            stop_gradient: Whether the gradient ends between π and f_G.
            frames: Which frames of a segment f_G reads; None reads all.

        Raises:
            ValueError: If the policy is for other places.
        """
        super().__init__()
        if policy is not None:
            check_policy(policy, places)
        sizes = classifier.config
        self.glance_encoder, self.local_encoder = glance_encoder, local_encoder
        self.classifier, self.policy = classifier, policy
        self.heads = nn.ModuleDict()
        if auxiliary:
            for name, encoder in (("glance", glance_encoder), ("local", local_encoder)):
                head = nn.Linear(encoder.channels, sizes.n_classes)
                self.heads[name] = nn.Sequential(KeyedDropout(sizes.dropout), head)
            self.heads.to(glance_encoder.mean.device)
        self._places, self._fixed, self._frames = places, fixed, frames
        self._diversity, self._stop_gradient = diversity and policy is not None, stop_gradient

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What may be trained, by name."""
        heads = {name: [head] for name, head in self.heads.items()}
        networks: dict[str, nn.Module] = {
            "glance": nn.ModuleList([self.glance_encoder, *heads.get("glance", [])]),
            "local": nn.ModuleList([self.local_encoder, *heads.get("local", [])]),
            "classifier": self.classifier,
        }
        return networks if self.policy is None else networks | {"policy": self.policy}

    def forward(self, frames: Tensor, draws: Tensor) -> EndToEndOutputs:
        """Return logits on the policy's places; in training mode also what else is learned from.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8, or ``(B, T, F, 3, S, S)``.
            draws: ``(B, T, 2)`` uniform in [0, 1): the random places; see `uniform_draws`.

        Raises:
            PredictionError: If the policy names no numbers.
        """
        flat, batch = frames.flatten(0, 1), frames.shape[:2]
        glanced = flat if self._frames is None else self._frames.glance(flat)
        maps = self.glance_encoder(glanced)  # (B·T, G, h, w)
        glance = maps.float().mean(dim=(2, 3)).unflatten(0, batch)
        branches = [self._choose(maps, draws)]
        if self.training and self._diversity:
            branches.append(self._places.drawn(draws))
        prepared = self.local_encoder.prepare(flat)
        crops = [crop_each(self._places, prepared, each.flatten(0, 1)) for each in branches]
        local_maps = self.local_encoder.encode(torch.cat(crops))  # (n·B·T, L, h, w)
        local = local_maps.float().mean(dim=(2, 3)).unflatten(0, (len(branches), *batch))
        first, *others = (self.classifier(glance, each) for each in local)
        if not self.training or not self.heads:
            return EndToEndOutputs(first, tuple(others))
        others += [self.heads["local"](each) for each in local]
        return EndToEndOutputs(first, tuple(others), self.heads["glance"](glance))

    def losses(self, outputs: EndToEndOutputs, labels: Tensor) -> Tensor:
        """Return the loss ``(B,)`` of each sample: that of both branches, and of the heads."""
        losses = sequence_losses(outputs.logits, labels)
        for logits in outputs.others:
            losses = losses + sequence_losses(logits, labels)
        # Two branches with their mean, of which the glance is in both.
        losses = losses / (2 if self.training and self._diversity else 1)
        if outputs.glance is not None:
            losses = losses + sequence_losses(outputs.glance, labels)
        return losses

    def logits(self, outputs: EndToEndOutputs) -> Tensor:
        """Return the logits ``(B, T, C)`` on the policy's places."""
        return outputs.logits

    def _choose(self, maps: Tensor, draws: Tensor) -> Tensor:
        """Return the places ``(B, T, W)`` of the policy, or those that replace it."""
        if self.policy is None:
            return fixed_places(self._fixed, self._places, draws)
        seen = (maps.detach() if self._stop_gradient else maps).float().permute(0, 2, 3, 1)
        with torch.autocast(maps.device.type, enabled=False):  # π computes in float32 everywhere
            centers, _ = self.policy.choose(seen.unflatten(0, draws.shape[:2]))
        check_named(centers)
        return centers
