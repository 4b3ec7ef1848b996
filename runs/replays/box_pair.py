"""Two who put boxes anywhere in the frames of the same videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...recognizer import Cost
from ..configs.replay import Kind
from ..evaluation.outcome import Outcome
from ..evaluation.trace import Played
from .box_episodes import BoxEpisode, BoxLooker
from .contract import Footage
from .cube_episodes import CubeEpisode
from .gaze import BoxGaze, CubeGaze
from .looks import random_box_path_px


class Seen(NamedTuple):
    """What one of them looked at in B videos, and what came of it.

    Attributes:
        boxes_px: ``(B, T, 4)`` (left, top, right, bottom), to a thousandth of a pixel.
        outcome: What was predicted, and what it cost.
        cost_of: Gives, of what was played, what a video cost on average, by network.
        segments: ``(B, T)`` int64, of cubes: in which frame each is, −1 for the glance and after a
            video stopped. None where boxes are in the frames in turn.
    """

    boxes_px: NDArray[np.float64]
    outcome: Outcome
    cost_of: Callable[[Played], Cost]
    segments: NDArray[np.int64] | None = None


def in_thousandths(boxes_px: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return boxes to a thousandth of a pixel."""
    return boxes_px.astype(np.float64).round(3)


@dataclass(frozen=True, eq=False)
class BoxPair:
    """Two of them; see `Pair`.

    Attributes:
        lookers: Who looks.
        footage: The videos.
        rows: ``(B,)``, those of the split first.
        n_split: How many these are.
        absent: What is not known of boxes at any place, in a sentence without its end.
        watch: Plays the videos of ``rows``, by looker.
        cache: Fingerprint of the features that they are played on; None on pixels.
        approximate: That these come near only, in a sentence without its end; None where they are
            those of the boxes.
        cubes: D, of each video; None where there is a box in every frame.
    """

    lookers: tuple[BoxLooker, BoxLooker]
    footage: Footage
    rows: NDArray[np.int64]
    n_split: int
    absent: str
    watch: Callable[[], Sequence[Seen]]
    cache: str | None = None
    approximate: str | None = None
    cubes: int | None = None

    @cached_property
    def _seen(self) -> Sequence[Seen]:
        return self.watch()

    @property
    def several_labels(self) -> bool:
        """Whether videos may have several labels."""
        return bool(self.footage.table["labels"].str.contains(";").any())

    @property
    def policies(self) -> list[dict[str, Any]]:
        """Name and run of each; there is no π′."""
        return [
            {
                "name": each.name,
                "folder": each.folder,
                "about": each.about,
                "learned": each.learned,
                "threshold": None,
                "price": None,
            }
            for each in self.lookers
        ]

    @property
    def facts(self) -> dict[str, Any]:
        """The side of the boxes, and what features they are; there are no options and no reward."""
        sides = {each.side_px for each in self.lookers}
        return {
            "reward": None,
            "cache": self.cache,
            "patch_px": sides.pop() if len(sides) == 1 else None,
            "grid": None,
            "boxes_px": None,
            "absent": self.absent,
            "approximate": self.approximate,
            **({} if self.cubes is None else {"cubes": self.cubes, "steps": self.cubes + 1}),
        }

    @property
    def lacks(self) -> dict[Kind, str]:
        """There is nothing to regret, and no π′ to skip."""
        name, what = self.lookers[0].name, "frames" if self.cubes is None else "cubes"
        return {
            "regret": f"{name} may look anywhere: there are no options to lose confidence to",
            "skipped": f"{name} has no π′: it skips no {what}",
        }

    @cached_property
    def played(self) -> list[Played]:
        """What each did in the split."""
        return [each.outcome.played.rows(slice(self.n_split)) for each in self._seen]

    @property
    def gazes(self) -> list[BoxGaze]:
        """Where the boxes of the split were."""
        side, n, frames = self.footage.frames.frame_px, self.n_split, self.footage.frames.steps
        return [
            BoxGaze(each.boxes_px[:n], came.attended, side)
            if each.segments is None
            else CubeGaze(each.boxes_px[:n], came.attended, side, each.segments[:n], frames)
            for each, came in zip(self._seen, self.played, strict=True)
        ]

    @property
    def costs(self) -> list[Cost]:
        """What a video costs on average, by network."""
        return [seen.cost_of(came) for seen, came in zip(self._seen, self.played, strict=True)]

    @property
    def random_path_px(self) -> float | None:
        """How far uniformly random boxes are from each other."""
        side = self.facts["patch_px"]
        return None if side is None else random_box_path_px(self.footage.frames.frame_px - side)

    def regrets(self) -> NDArray[np.float32]:
        """Refuse: there are none."""
        raise NotImplementedError(self.lacks["regret"])

    def episodes(self, positions: NDArray[np.int64]) -> Sequence[Sequence[BoxEpisode]]:
        """Return what each did in some of the videos."""
        return [[self._episode(seen, i) for i in positions.tolist()] for seen in self._seen]

    def _episode(self, seen: Seen, position: int) -> BoxEpisode:
        row, came = int(self.rows[position]), seen.outcome
        played = came.played
        values = (
            self.footage.label(row),
            self.footage.read(row),
            played.attended[position],
            seen.boxes_px[position],
            played.correct[position],
            played.confidences[position],
            came.logits[position].softmax(dim=-1).numpy(),
            played.gmacs[position],
        )
        if seen.segments is None:
            return BoxEpisode(*values)
        return CubeEpisode(*values, seen.segments[position])
