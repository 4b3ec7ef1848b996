"""AF networks, and a video with one: which blocks kept which frames, and what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs import Caption
from ..evaluation.afnet_runs import AFNetRun
from .box_episodes import BoxEpisode
from .contract import rounded


@dataclass(frozen=True)
class GateLooker:
    """An AF network, or what it is where no gate skips a frame.

    Attributes:
        name: What the pages call it.
        run: The network and its videos.
        everything: Whether all blocks keep all frames.
    """

    name: str
    run: AFNetRun
    everything: bool = False

    @property
    def about(self) -> str:
        """What it is, in a sentence without its end."""
        if self.everything:
            return f"{self.name}: the network of {self.run.name} with every frame in every block"
        return f"{self.name}: the network {self.run.name}"


@dataclass(frozen=True, eq=False)
class GateEpisode(BoxEpisode):
    """A video with an AF network, frame by frame; see `BoxEpisode`.

    A frame is attended where the focal branch of a block was run on it; the box is then the frame.

    Attributes:
        masks: ``(T, gates)`` float32: 1 where a block kept the frame, else 0, or weights.
        positions: ``(T, gates)`` float32, the share of the frame's positions that was kept; None
            without gates of positions.
        ran: ``(T, gates)`` bool, whether the focal branch was run.
    """

    masks: NDArray[np.float32]
    positions: NDArray[np.float32] | None
    ran: NDArray[np.bool_]

    @property
    def unseen(self) -> Sequence[str]:
        """What to say where no focal branch was run."""
        return ["no block"] * len(self.attended)

    def facts(self, classes: Sequence[str], labels: Sequence[int]) -> dict[str, Any]:
        """Return it as JSON-able values, with ``masks``, ``positions`` and ``ran``, by frame."""
        return super().facts(classes, labels) | {
            "masks": rounded(self.masks),
            "positions": None if self.positions is None else rounded(self.positions),
            "ran": self.ran.tolist(),
        }

    def _caption(self, step: int) -> Caption:
        usual, (steps, gates) = super()._caption(step), self.ran.shape
        count = f"t = {step + 1} / {steps}, {int(self.ran[step].sum())} of {gates} blocks"
        values = usual.label, usual.n_decisions, usual.confidences, usual.correct, usual.gmacs
        return Caption(*values, count=count, unseen=self.unseen[step])


@dataclass(frozen=True, eq=False)
class GateGaze:
    """Which frames the blocks of an AF network kept in B videos; see `Gaze`.

    Attributes:
        masks: ``(B, T, gates)`` float32.
        ran: ``(B, T, gates)`` bool.
    """

    masks: NDArray[np.float32]
    ran: NDArray[np.bool_]

    @property
    def attended(self) -> NDArray[np.bool_]:
        """``(B, T)``: whether any focal branch was run."""
        return np.asarray(self.ran.any(axis=2))

    @property
    def path_px(self) -> float | None:
        """There are no places."""
        return None

    def rows(self, which: NDArray[np.bool_]) -> GateGaze:
        """Return what was kept in some of the videos."""
        return GateGaze(self.masks[which], self.ran[which])

    def map(self) -> dict[str, Any]:
        """Return ``gates``, which share of the videos each block keeps of a frame, ``(T, gates)``.

        Of soft selection the mean weight.
        """
        return {"heat": None, "coverage": None, "gates": rounded(self.masks.mean(axis=0))}

    def times(self) -> dict[str, Any]:
        """Return nothing: there is a decision about every frame."""
        return {"taken_by_frame": None, "first_by_frame": None}

    def bits(self) -> dict[str, Any]:
        """Return nothing: there are no options."""
        return {"entropy_bits_by_step": None, "used_bits_by_step": None}
