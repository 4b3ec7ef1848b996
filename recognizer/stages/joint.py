"""What stages have in common that train f_G, f_L, f_C and a policy together, by gradient."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ..classifiers.base import Classifier, KeyedDropout
from ..encoders.encoder import Encoder
from .stage import Stage, sequence_losses


class JointOutputs(NamedTuple):
    """What such a stage gives for a batch.

    Attributes:
        logits: ``(B, T, C)`` of f_C on the places that the policy names.
        others: ``(B, T, C)`` each: of f_C on random places, and of the auxiliary heads. Empty where
            nothing is trained.
        glance: ``(B, T, C)`` of the auxiliary head of f_G; None without one.
    """

    logits: Tensor
    others: tuple[Tensor, ...] = ()
    glance: Tensor | None = None


class Joint(Stage):
    """All networks, and the three techniques with which they are trained at once.

    The gradient of the loss reaches π through what f_L is shown. Three techniques make that work,
    and each can be left out: auxiliary heads classify every ē^G and every ē^L directly; beside π's
    places as many random ones are learned from, so that f_L sees all places; and no gradient goes
    from π into f_G.

    Networks: ``glance`` and ``local``, each with its auxiliary head; ``classifier``; ``policy``.

    Source: AdaFocusV2 (arXiv:2112.14238) section 3.3, and AdaFocusV3 (arXiv:2209.13465) appendix C,
        which trains in the same way. As in the released code the loss is the mean over both
        branches of the cross-entropies of f_C after every step and of both heads. Ours: f_G runs
        once for both branches, and f_L on both in one batch, whose statistics its BatchNorms then
        share; both branches have the same dropout masks.
    """

    def __init__(
        self,
        glance_encoder: Encoder,
        local_encoder: Encoder,
        classifier: Classifier,
        policy: nn.Module | None,
        *,
        auxiliary: bool = True,
        diversity: bool = True,
        stop_gradient: bool = True,
    ) -> None:
        """Assemble the networks; the auxiliary heads get random weights.

        Args:
            glance_encoder: f_G.
            local_encoder: f_L.
            classifier: f_C.
            policy: π; None where nothing is learned about places.
            auxiliary: Whether there are auxiliary heads.
            diversity: Whether random places are learned from beside the policy's; without a policy
                there are none beside.
            stop_gradient: Whether the gradient ends between π and f_G.
        """
        super().__init__()
        sizes = classifier.config
        self.glance_encoder, self.local_encoder = glance_encoder, local_encoder
        self.classifier, self.policy = classifier, policy
        self.heads = nn.ModuleDict()
        if auxiliary:
            for name, encoder in (("glance", glance_encoder), ("local", local_encoder)):
                head = nn.Linear(encoder.channels, sizes.n_classes)
                self.heads[name] = nn.Sequential(KeyedDropout(sizes.dropout), head)
            self.heads.to(glance_encoder.mean.device)
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

    def losses(self, outputs: JointOutputs, labels: Tensor) -> Tensor:
        """Return the loss ``(B,)`` of each sample: that of both branches, and of the heads."""
        losses = sequence_losses(outputs.logits, labels)
        for logits in outputs.others:
            losses = losses + sequence_losses(logits, labels)
        # Two branches with their mean, of which the glance is in both.
        losses = losses / (2 if self.training and self._diversity else 1)
        if outputs.glance is not None:
            losses = losses + sequence_losses(outputs.glance, labels)
        return losses

    def logits(self, outputs: JointOutputs) -> Tensor:
        """Return the logits ``(B, T, C)`` on the policy's places."""
        return outputs.logits

    def _seen(self, maps: Tensor) -> Tensor:
        """Return what π is shown ``(M, h, w, G)`` of f_G's maps ``(M, G, h, w)``, float32."""
        return (maps.detach() if self._stop_gradient else maps).float().permute(0, 2, 3, 1)

    def _outputs(self, branches: list[Tensor], local: list[Tensor], glance: Tensor) -> JointOutputs:
        """Return logits ``(B, T, C)`` of the branches, with those of the heads where it is trained.

        Args:
            branches: ``(B, T, C)`` each, of f_C; the first one on the policy's places.
            local: ``(B, T, L)`` each, what the head of f_L classifies.
            glance: ``(B, T, G)``, what that of f_G does.
        """
        first, *others = branches
        if not self.training or not self.heads:
            return JointOutputs(first, tuple(others))
        others += [self.heads["local"](each) for each in local]
        return JointOutputs(first, tuple(others), self.heads["glance"](glance))
