"""The AF network: from the frames of videos to logits and to what its gates kept."""

from __future__ import annotations

import copy
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..classifiers.base import KeyedDropout
from ..encoders.encoder import normalise
from ..encoders.shift import ClipShift, Shift, ShiftMemory
from ..encoders.trunks import IMAGENET_MEAN, IMAGENET_STD
from .config import MOBILENET, RESNETS, AFNetConfig
from .gates import Navigation
from .mobilenet import mobilenet_body
from .modules import Gated, Gating
from .resnets import resnet_body

_NEEDS_EVAL = (
    "gathering needs eval mode, in which the normalisation of a frame does not depend on the "
    "others; got a network in training mode: call eval(), or do not gather"
)


class AFNetOutput(NamedTuple):
    """What an AF network gives for videos.

    Attributes:
        logits: ``(B, C)``, the mean over the frames.
        masks: ``(B, T, gates)`` float32: 1 where a block kept a frame, else 0; or the weights in
            (0, 1) of soft selection. In training with the gates' gradient.
        positions: ``(B, T, gates)`` float32, the share of a frame's positions that the block kept;
            1 without spatial gates, else in training with their gradient.
        margins: ``(B, T, gates)`` float32, by how much the score to keep was above that to skip.
        ran: ``(B, T, gates)`` bool, whether the block's focal branch was computed for the frame.
        by_frame: ``(B, T, C)``, the logits of each frame, of which ``logits`` is the mean.
    """

    logits: Tensor
    masks: Tensor
    positions: Tensor
    margins: Tensor
    ran: Tensor
    by_frame: Tensor


class AFNet(nn.Module):
    """A recognizer that looks at every frame with a cheap branch, and at some with a full one.

    Attributes:
        config: What it was built from.
        n_gates: Blocks with a gate, in the order of the network.
        gate_names: Stage and block of each, from 1; the stages are those with gates.
        channels: Of the features before the last layer.

    Source: supplement of AFNet ("Look More but Care Less in Video Recognition"), Table 7, and its
        released code, where the supplement is silent.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: AFNetConfig) -> None:
        """Build the network with random weights; its gates keep every frame."""
        super().__init__()
        self.config = config
        body = (
            mobilenet_body(config)
            if config.backbone == MOBILENET
            else resnet_body(config, RESNETS[config.backbone])
        )
        self.stem, self.tail, self.hidden = body.stem, body.tail, body.hidden
        self.before, self.after = nn.ModuleList(body.before), nn.ModuleList(body.after)
        self.stages, self.channels = nn.ModuleList(body.stages), body.channels
        self._ends = list(accumulate(len(stage.pairs) for stage in body.stages))
        self.n_gates = self._ends[-1]
        self.gate_names = tuple(
            f"stage {i}, block {j}"
            for i, stage in enumerate(body.stages, 1)
            for j in range(1, len(stage.pairs) + 1)
        )
        self.dropout = KeyedDropout(config.dropout)
        self.head = nn.Linear(self.channels, config.n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)
        self.to(memory_format=torch.channels_last)

    def forward(
        self,
        frames: Tensor,
        *,
        temperature: float = 1.0,
        draws: Tensor | None = None,
        masks: Tensor | None = None,
        gather: bool = False,
    ) -> AFNetOutput:
        """Recognize videos.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8.
            temperature: Of the gates' gradient, and of nothing else; see `select`.
            draws: ``(B, T, gates)`` uniform in [0, 1), the gates' noise; None is without noise, in
                which the same frames give the same masks.
            masks: ``(B, T, gates)``, in place of those of the gates, 0 or 1, or with soft selection
                any weights; None asks the gates.
            gather: Whether the focal branches run on the kept frames alone: the same result without
                a gradient, in less time. Soft selection skips nothing.

        Raises:
            ValueError: If the frames are not uint8 or not T, or draws or masks have another shape,
                or masks other values.
            RuntimeError: If frames are to be gathered in training mode.
        """
        if frames.ndim != 5 or frames.shape[1] != self.config.n_frames:
            raise ValueError(
                f"frames must be (B, {self.config.n_frames}, 3, S, S), as many as each gate has "
                f"weights for; got {tuple(frames.shape)}: sample {self.config.n_frames} frames of "
                "each video, or build a network for another number"
            )
        if gather and self.training:
            raise RuntimeError(_NEEDS_EVAL)
        expected = (*frames.shape[:2], self.n_gates)
        for name, gate_values in (("draws", draws), ("masks", masks)):
            if gate_values is not None and gate_values.shape != expected:
                raise ValueError(
                    f"{name} must be (B, T, gates), {expected}; got {tuple(gate_values.shape)}"
                )
        is_hard = self.config.selection == "hard"
        if masks is not None and is_hard and not ((masks == 0) | (masks == 1)).all():
            raise ValueError("masks of hard selection must be 0 or 1; got others: round them")
        gating = Gating(temperature, draws, masks, gather)
        kind = self.config.shift
        shift = None if kind is None else ClipShift(self.config.n_frames, kind)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not gather):
            return self._run(frames, gating, shift)

    @torch.no_grad()
    def follow(self, margins: Tensor) -> None:
        """Move the gates' thresholds towards those that suit margins ``(B, T, gates)``."""
        gates = [module for module in self.modules() if isinstance(module, Navigation)]
        for gate, margin in zip(gates, margins.unbind(dim=2), strict=True):
            gate.follow(margin)

    def start(self) -> ShiftMemory:
        """Begin videos that come frame by frame: return what `next_frame` remembers of them.

        Raises:
            ValueError: If the network shifts both ways.
        """
        if self.config.shift == "offline":
            raise ValueError(
                "expected a network that does not shift, or from the past alone; got one whose "
                "shift is offline, which needs the frame after: train one with --shift online"
            )
        return ShiftMemory()

    @torch.no_grad()
    def next_frame(self, frames: Tensor, t: int, memory: ShiftMemory) -> AFNetOutput:
        """Recognize one more frame of videos that come frame by frame, in eval mode.

        Args:
            frames: ``(B, 3, S, S)`` uint8.
            t: Which frame of the videos they are, from 0 to T − 1.
            memory: Of these videos, from `start`. It is changed.

        Returns:
            What `forward` with `gather` has of this frame, with T = 1: the mean of the logits of
            all T frames are its logits.

        Raises:
            ValueError: If a video has no such frame.
            RuntimeError: If the network is in training mode.
        """
        if not 0 <= t < self.config.n_frames:
            raise ValueError(
                f"expected frames 0 to {self.config.n_frames - 1} of a video, for which the gates "
                f"have weights; got frame {t}: begin the next video"
            )
        if self.training:
            raise RuntimeError(_NEEDS_EVAL)
        memory.begin_frame()
        gating = Gating(1.0, None, None, True, t)
        return self._run(frames[:, None], gating, memory if self.config.shift else None)

    def _run(self, frames: Tensor, gating: Gating, shift: Shift | None) -> AFNetOutput:
        """Run the network on frames ``(B, T, 3, S, S)``, all or, with T = 1, one of a video."""
        steps = frames.shape[1]
        maps = self.stem(normalise(frames, self.mean, self.std).flatten(0, 1))
        for block in self.before:
            maps = block(maps, shift)
        decided: list[Gated] = []
        for stage, end in zip(self.stages, self._ends, strict=True):
            maps, of_stage = stage(maps, gating.part(len(decided), end), shift)
            decided += of_stage
        for block in self.after:
            maps = block(maps, shift)
        pooled = self.hidden(self.tail(maps).mean(dim=(2, 3)))
        pooled = pooled.unflatten(0, (-1, steps))  # (B, T, channels)
        by_frame: Tensor = self.head(self.dropout(pooled))  # (B, T, C)
        masks, positions, margins = (
            torch.stack(each, dim=2) for each in zip(*decided, strict=True)
        )
        skips = gating.gather and self.config.selection == "hard"
        ran = masks.detach() > 0 if skips else torch.ones_like(masks, dtype=torch.bool)
        return AFNetOutput(by_frame.mean(dim=1), masks, positions, margins, ran, by_frame)

    def fused(self) -> AFNet:
        """Return a copy for inference, with the BatchNorms of its layers folded into convolutions.

        Those of the gates, which cost nothing, stay. Its logits are the network's within rounding,
        but where a gate's margin is its threshold within rounding. Its state dict is another one:
        save the network, not the copy.
        """
        network = copy.deepcopy(self).eval()
        for module in list(network.modules()):
            if isinstance(module, nn.Sequential):
                _fold(module)
        return network.to(memory_format=torch.channels_last)


def _fold(layers: nn.Sequential) -> None:
    for i in range(len(layers) - 1):
        conv, norm = layers[i], layers[i + 1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[i], layers[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
