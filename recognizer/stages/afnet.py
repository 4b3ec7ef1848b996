"""AFNet's training: a network with gates, which learn to keep a given share of frames."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..afnet.compute import AFNetCost
from ..afnet.config import ScheduleKind
from ..afnet.gates import (
    Navigation,
    SpatialNavigation,
    gate_temperature,
    ratio_target,
    selection_loss,
)
from ..afnet.network import AFNet, AFNetOutput
from .processes import mean_over_all, rows_of_all
from .stage import Stage, sequence_losses

# Epochs from which the target falls, of trainings of so many: the released code's.
_STARTS, _OF_EPOCHS = (10, 15, 20), 50
# A score that no noise outweighs: that of the least and the largest draw is 16.
_SURE = 100.0


class AFNetStage(Stage):
    """An AF network from pixels: its gates' share of kept frames falls to RT while it is trained.

    Networks: ``gates``, all navigation modules; and ``afnet``, everything else. In training the
    gates are noisy; the temperature of their gradient and the target of their shares depend on the
    epoch, see `begin_epoch`. In eval mode there is no noise, focal branches run on the kept frames
    alone, and the loss is the cross-entropy. The weights of an epoch may be kept once its target is
    RT. With soft selection nothing is skipped, and there is no selection loss. Of one frame there
    is nothing to choose: the gates are set to keep it, whatever they see and the noise is.

    In a process group the selection loss is of the shares of all processes.

    Source: supplement of AFNet, 1.2, 1.3 and 5; facts of its released code: what the target is when
        (trainings that are shorter than 50 epochs step down at the same shares of theirs, which is
        ours), and that the best epoch is selected, there among all epochs. That the spatial ratio
        RS has the same loss and the same steps is ours.
    """

    _prices: Tensor | None

    def __init__(
        self,
        network: AFNet,
        *,
        ratio: float,
        spatial_ratio: float | None = None,
        loss_weight: float = 1.0,
        temperature: ScheduleKind = "exponential",
        cost: AFNetCost | None = None,
    ) -> None:
        """Assemble the stage.

        Args:
            network: With random weights, or others.
            ratio: RT, the share of frames that each gate is to keep, in [0, 1]; 1 for soft
                selection. With ``cost`` the share of the compute of all focal branches.
            spatial_ratio: RS, that of positions, for a network with spatial gates, and only there.
            loss_weight: λ of the selection loss.
            temperature: How that of the gates' gradient falls from 1 to 0.01.
            cost: Of the network. If it is given, the blocks are drawn to a budget of compute
                together, and some may keep more than others; see `selection_loss`.

        Raises:
            ValueError: If a ratio or λ is out of range, or a ratio is not for such a network.
        """
        super().__init__()
        config = network.config
        if config.selection == "soft" and (ratio != 1 or spatial_ratio not in (None, 1)):
            raise ValueError(
                f"soft selection skips nothing: ratios must be 1; got {ratio} of frames and "
                f"{spatial_ratio} of positions: give 1, or select hard"
            )
        if config.spatial != (spatial_ratio is not None):
            raise ValueError(
                f"a spatial ratio is for a network with spatial gates; got {spatial_ratio} for one "
                f"with spatial={config.spatial}: give both, or neither"
            )
        if not 0 <= loss_weight < float("inf"):
            raise ValueError(f"loss_weight must not be negative; got {loss_weight}")
        if config.n_frames == 1 and config.selection == "hard":
            if ratio != 1:
                raise ValueError(
                    f"there is nothing to choose among one frame: ratio must be 1; got {ratio}: "
                    "give 1, or build a network for more frames"
                )
            _keep_every_frame(network)
        for each in (ratio, spatial_ratio):
            ratio_target(0, 1.0 if each is None else each)  # refused here if it is out of range
        gate_temperature(0, 1, temperature)  # likewise
        self.network = network
        self._ratio, self._spatial_ratio = ratio, spatial_ratio
        self._is_hard = config.selection == "hard"
        self._weight = loss_weight if self._is_hard else 0.0
        self._kind: ScheduleKind = temperature
        prices = None if cost is None else torch.tensor(cost.focal_gmacs)
        self.register_buffer("_prices", prices, persistent=False)
        self.begin_epoch(0, 1)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What may be trained, by name."""
        gates = [module for module in self.network.modules() if _is_gate(module)]
        rest = nn.ModuleList(_without_gates(self.network))
        return {"afnet": rest, "gates": nn.ModuleList(gates)}

    def begin_epoch(self, epoch: int, n_epochs: int) -> None:
        """Set the temperature and the targets of an epoch."""
        starts = _starts(n_epochs)
        self.temperature = gate_temperature(epoch, n_epochs, self._kind)
        self.target = ratio_target(epoch, self._ratio, starts)
        spatial = self._spatial_ratio
        self.spatial_target = None if spatial is None else ratio_target(epoch, spatial, starts)

    def may_be_kept(self, epoch: int, n_epochs: int) -> bool:
        """Return whether the last epoch that was done had the ratios themselves as targets."""
        done = epoch > _starts(n_epochs)[-1]
        return done or (self._ratio == 1 and self._spatial_ratio in (None, 1))

    def forward(self, frames: Tensor, draws: Tensor) -> AFNetOutput:
        """Recognize videos, with noise in training mode alone.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8.
            draws: ``(B, T, gates)`` uniform in [0, 1), the gates' noise.
        """
        noise = draws if self.training else None
        output: AFNetOutput = self.network(
            frames, temperature=self.temperature, draws=noise, gather=not self.training
        )
        return output

    def losses(self, outputs: AFNetOutput, labels: Tensor) -> Tensor:
        """Return a loss ``(B,)`` of each sample, whose mean is the loss of the batch.

        The selection loss is of the shares of a whole batch, of all processes: every sample carries
        it beside its own cross-entropy. In training the gates' thresholds follow the batch.
        """
        losses = sequence_losses(self.logits(outputs), labels)
        if not self.training:
            return losses
        n = len(labels) if self.counts else 0
        if self._is_hard:
            self.network.follow(rows_of_all(outputs.margins[:n]))
        shares = mean_over_all(outputs.masks[:n].mean(dim=1))
        weight = self._weight
        selection = selection_loss(shares, self.target, weight=weight, prices=self._prices)
        if self.spatial_target is not None:
            positions = mean_over_all(outputs.positions[:n].mean(dim=1))
            selection = selection + selection_loss(positions, self.spatial_target, weight=weight)
        return losses + selection

    def logits(self, outputs: AFNetOutput) -> Tensor:
        """Return the logits ``(B, 1, C)``."""
        return outputs.logits[:, None]


@torch.no_grad()
def _keep_every_frame(network: AFNet) -> None:
    """Set the gates to keep every frame: no noise is so far from 0 as their scores."""
    for module in network.modules():
        if isinstance(module, Navigation):
            assert module.score.bias is not None
            module.score.weight.zero_()
            module.score.bias.copy_(torch.tensor([-_SURE, _SURE]).repeat(module.n_frames))


def _starts(n_epochs: int) -> list[int]:
    """Return the epochs from which the target is lower; the last one is the ratio's."""
    return [min(start, start * n_epochs // _OF_EPOCHS) for start in _STARTS]


def _is_gate(module: nn.Module) -> bool:
    return isinstance(module, Navigation | SpatialNavigation)


def _without_gates(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest modules below one that have no gates in them."""
    for child in module.children():
        if not any(_is_gate(each) for each in child.modules()):
            yield child
        elif not _is_gate(child):
            yield from _without_gates(child)
