"""Runs of ``focusgym fit afnet``: an AF network, and other masks of frames in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import AFNetOutput, AFNetRecognizer, Cost, Recognition, VideoRecognizer
from .pixel_runs import PixelRun
from .trace import Played


@dataclass(frozen=True, eq=False)
class AFNetRun(PixelRun):
    """A network whose gates choose the frames that its full branches read; see `PixelRun`.

    It predicts once for a video. A decision is one for a frame and a block: what its rows keep is
    the share of these for which the focal branch was run.

    Attributes:
        recognizer: In eval mode, its batch norms folded.
    """

    what: ClassVar[str] = "masks of frames"
    recognizer_kind: ClassVar[type[VideoRecognizer]] = AFNetRecognizer
    recognizer: AFNetRecognizer

    @property
    def method(self) -> str:
        """AFNet, with what is not as published."""
        sizes = self.recognizer.network.config
        name = "AFNet" if sizes.shift is None else "AFNet-TSM"
        return name if sizes.selection == "hard" else f"{name} (soft weights)"

    @property
    def learned(self) -> bool:
        """Whether its gates may skip frames."""
        return self.recognizer.network.config.selection == "hard"

    @property
    def beside(self) -> tuple[str, ...]:
        """As many random frames in each block as its gate keeps of the video; and all frames."""
        return ("random", "all") if self.learned else ()

    @property
    def side_px(self) -> int:
        """S, side of the frames."""
        return self.recognizer.frames.frame_px

    @property
    def networks(self) -> dict[str, str]:
        """Its backbone."""
        return {"backbone": self.recognizer.network.config.backbone}

    @property
    def gmacs(self) -> NDArray[np.float64]:
        """``(1, 1)``: the most that a video costs."""
        return np.array([[self.recognizer.cost.at_ratio(1, self.recognizer.frames.steps)]])

    @property
    def draws_shape(self) -> tuple[int, int]:
        """A number for each gate and frame."""
        return self.recognizer.frames.steps, self.recognizer.network.n_gates

    def look(self, frames: Tensor, kind: str | None, draws: Tensor) -> Recognition:
        """Recognize videos; see `PixelRun.look`."""
        output = self.output(frames, kind, draws)
        return replace(self.recognizer.concluded(output), attended=output.ran.flatten(1))

    def output(self, frames: Tensor, kind: str | None, draws: Tensor) -> AFNetOutput:
        """Return what the network gives of videos; see `PixelRun.look`."""
        masks = None
        if kind == "random":
            masks = random_masks(self.recognizer.look(frames).masks, draws)
        elif kind == "all":
            masks = torch.ones(draws.shape)
        return self.recognizer.look(frames, masks=masks)

    def outputs(
        self, rows: pd.DataFrame, kinds: Sequence[str | None], title: str
    ) -> list[AFNetOutput]:
        """Return what the network gives of videos, on the CPU; see `PixelRun.recognize`."""
        by_kind: list[list[AFNetOutput]] = [[] for _ in kinds]
        for frames, draws in self.batches(rows, 0, title):
            for kind, outputs in zip(kinds, by_kind, strict=True):
                outputs.append(self.output(frames, kind, draws))
        return [
            AFNetOutput(*(torch.cat(parts).cpu() for parts in zip(*outputs, strict=True)))
            for outputs in by_kind
        ]

    def cost_of(self, played: Played, *, policy: bool) -> Cost:
        """Return what a video cost on average: what always runs as glance, the rest as local."""
        always = self.recognizer.cost.always_gmacs
        return Cost(always, 0.0, float(played.gmacs[:, -1].mean()) - always, 0.0)


def random_masks(masks: Tensor, draws: Tensor) -> Tensor:
    """Return masks that keep as many frames of each video and gate, those with the lowest draws.

    Args:
        masks: ``(B, T, gates)``, 1 where a frame is kept, else 0.
        draws: ``(B, T, gates)`` uniform in [0, 1).
    """
    ranks = draws.argsort(dim=1).argsort(dim=1).to(masks.device)
    return (ranks < masks.sum(dim=1, keepdim=True)).to(masks)
