"""Two runs that were trained end to end, or one beside places that depend on nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...feature_cache import clips_of, read_frames, rows_digest
from ...feature_cache.reading.samples import targets
from ...recognizer import Cost, Recognition
from ..configs.replay import Kind, ReplayConfig
from ..evaluation.outcome import Outcome
from ..evaluation.pixel_runs import PixelRun, find_pixel_run, outcome
from ..evaluation.plug_back import CENTRAL
from ..evaluation.trace import Played
from ..evaluation.trained import boxes_beside
from ..options.devices import device_of
from ..options.parse import UsageError
from .contract import Footage, Shot
from .gaze import BoxGaze
from .looks import random_box_path_px
from .names import told_apart
from .pixel_episodes import PixelEpisode, PixelLooker
from .rows import rows_of

_ABSENT = (
    "A box of these runs may be at any place of the frame: it is not one of a list of options. So "
    "there are no probabilities of options, no alternatives, no regrets and no rewards to show"
)


@dataclass(frozen=True, eq=False)
class PixelPair:
    """Two recognizers on the same frames of the same video files; see `Pair`.

    Attributes:
        lookers: Who looks.
        footage: The videos.
        rows: ``(B,)``, those of the split first.
        n_split: How many these are.
        split: Its name.
        seed: Of places that depend on nothing.
    """

    lookers: tuple[PixelLooker, PixelLooker]
    footage: Footage
    rows: NDArray[np.int64]
    n_split: int
    split: str
    seed: int

    @classmethod
    def find(cls, config: ReplayConfig) -> PixelPair:
        """Open what is asked for.

        Raises:
            UsageError: If an option means nothing here, or the runs are of other videos.
            BundleError: If a recognizer cannot be read.
            VideoListError: If the videos, or their lists, are no longer there.
        """
        for option, changed in (
            ("--cache", config.cache is not None),
            ("--classifier", config.classifier is not None),
            ("--reward", config.reward != ReplayConfig.reward),
        ):
            if changed:
                raise UsageError(
                    f"{option}: {config.policy} was trained end to end, and is played on the video "
                    "files, without a cache or rewards: leave the option out"
                )
        lookers = _lookers(config)
        run = lookers[0].run
        footage, split = _footage(run), run.rows(config.split)
        rows = rows_of(config.videos, footage, split)
        return cls(lookers, footage, rows, len(split), config.split, config.seed)

    @cached_property
    def _recognized(self) -> list[Recognition]:
        """By policy; where both have the same networks, each video is decoded once."""
        first, second = self.lookers
        rows = first.run.videos.table.iloc[self.rows].reset_index(drop=True)
        if first.run is second.run:
            title = f"{first.run.name} on {self.split}"
            return first.run.recognize(rows, (first.kind, second.kind), self.seed, title)
        return [
            each.run.recognize(rows, (each.kind,), self.seed, f"{each.run.name} on {self.split}")[0]
            for each in self.lookers
        ]

    @cached_property
    def _outcomes(self) -> list[Outcome]:
        rows = self.footage.table.iloc[self.rows]
        labels = targets(rows["labels"], len(self.footage.classes))
        return [outcome(each, rows, labels) for each in self._recognized]

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
                "folder": each.run.name,
                "about": each.about,
                "learned": each.learned,
                "threshold": None,
                "price": None,
            }
            for each in self.lookers
        ]

    @property
    def facts(self) -> dict[str, Any]:
        """The side of the boxes; there are neither cache, options nor reward."""
        sides = {each.run.recognizer.places.side_px for each in self.lookers}
        return {
            "reward": None,
            "cache": None,
            "patch_px": sides.pop() if len(sides) == 1 else None,
            "grid": None,
            "boxes_px": None,
            "absent": _ABSENT,
        }

    @property
    def lacks(self) -> dict[Kind, str]:
        """There is nothing to regret, and no π′ to skip."""
        name = self.lookers[0].name
        return {
            "regret": f"{name} may look anywhere: there are no options to lose confidence to",
            "skipped": f"{name} has no π′: it skips no frames",
        }

    @cached_property
    def played(self) -> list[Played]:
        """What each did in the split."""
        return [each.played.rows(slice(self.n_split)) for each in self._outcomes]

    @property
    def gazes(self) -> list[BoxGaze]:
        """Where the boxes of the split were."""
        side = self.footage.frames.frame_px
        return [
            BoxGaze(_boxes_px(each)[: self.n_split], came.attended, side)
            for each, came in zip(self._recognized, self.played, strict=True)
        ]

    @property
    def costs(self) -> list[Cost]:
        """What a video costs on average, by network."""
        return [
            each.run.recognizer.cost.of_video(
                self.footage.frames.steps, policy=each.learned, kept_share=came.kept_share
            )
            for each, came in zip(self.lookers, self.played, strict=True)
        ]

    @property
    def random_path_px(self) -> float | None:
        """How far uniformly random boxes are from each other."""
        side = self.facts["patch_px"]
        return None if side is None else random_box_path_px(self.footage.frames.frame_px - side)

    def regrets(self) -> NDArray[np.float32]:
        """Refuse: there are none."""
        raise NotImplementedError(self.lacks["regret"])

    def episodes(self, positions: NDArray[np.int64]) -> Sequence[Sequence[PixelEpisode]]:
        """Return what each did in some of the videos."""
        return [
            [self._episode(found, came, i) for i in positions.tolist()]
            for found, came in zip(self._recognized, self._outcomes, strict=True)
        ]

    def _episode(self, found: Recognition, came: Outcome, position: int) -> PixelEpisode:
        row, played = int(self.rows[position]), came.played
        return PixelEpisode(
            label=self.footage.label(row),
            shot=self.footage.read(row),
            attended=played.attended[position],
            boxes_px=_boxes_px(found)[position],
            correct=played.correct[position],
            confidences=played.confidences[position],
            class_probabilities=came.logits[position].softmax(dim=-1).numpy(),
            gmacs=played.gmacs[position],
        )


def _boxes_px(found: Recognition) -> NDArray[np.float64]:
    """Return boxes ``(B, T, 4)`` to a thousandth of a pixel."""
    return np.round(found.boxes_px.double().cpu().numpy(), 3)


def _lookers(config: ReplayConfig) -> tuple[PixelLooker, PixelLooker]:
    device = device_of(config.device)
    run = find_pixel_run(config.policy, config.videos_root, device)
    first = PixelLooker.own(run)
    if config.second is None:
        return first, PixelLooker.beside(run)
    other = find_pixel_run(config.second, config.videos_root, device)
    for what, mine, its in (
        ("videos", rows_digest(_table(run)), rows_digest(_table(other))),
        ("classes", run.videos.classes, other.videos.classes),
        ("frames", asdict(run.videos.frames), asdict(other.videos.frames)),
    ):
        if mine != its:
            raise UsageError(
                f"--second {config.second} reads other {what} than {config.policy}: expected the "
                f"same{_difference(mine, its)}; give two runs on the same videos and frames"
            )
    return told_apart((first, PixelLooker.own(other)), (config.policy, config.second))


def _difference(mine: Any, its: Any) -> str:
    """Say by which settings two differ, if that is what they are."""
    if not isinstance(mine, dict):
        return ""
    parts = [f"{key} {mine[key]!r}, got {its[key]!r}" for key in mine if mine[key] != its[key]]
    return f" ({'; '.join(parts)})"


def _table(run: PixelRun) -> Any:
    return run.videos.table.reset_index(drop=True).assign(view=CENTRAL)


def _footage(run: PixelRun) -> Footage:
    table, frames = _table(run), run.videos.frames
    clips = clips_of(table)

    @cache  # pages, films and strip show the same few videos
    def read(row: int) -> Shot:
        pixels, view = read_frames(clips[row], frames)
        return Shot(frames.middle(pixels), frames.middle(view.frame_indices))

    listed, where = "the list of videos", "the list that a replay without --videos shows"
    return Footage(table, run.videos.classes, frames, listed, where, boxes_beside(run.root), read)
