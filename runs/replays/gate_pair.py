"""Two AF networks, or one beside itself with every frame kept by every block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...feature_cache.reading.samples import targets
from ...recognizer import AFNetOutput, Cost
from ..configs.replay import Kind, ReplayConfig
from ..evaluation.afnet_runs import AFNetRun
from ..evaluation.opened_runs import find_pixel_run
from ..evaluation.outcome import Outcome
from ..evaluation.pixel_runs import came_of
from ..evaluation.trace import Played
from ..options.devices import device_of
from .contract import Footage
from .gate_episodes import GateEpisode, GateGaze, GateLooker
from .names import told_apart
from .pixel_pair import digest, footage_of, refuse_options_of_caches, refuse_others
from .rows import rows_of

_ABSENT = (
    "Gates of an AF network keep frames for the full branch of a block, and choose no places: so "
    "there are no boxes, probabilities, alternatives, regrets or rewards to show. The network "
    "predicts once for a video, from the mean of the logits of its frames: what stands after a "
    "frame is from the mean of those up to it"
)
_OFFLINE = ", to each of which the frame after contributes through the shift"


class GateSeen(NamedTuple):
    """What came of B videos.

    Attributes:
        output: What the network gives.
        outcome: What was predicted after each frame, and what it cost.
    """

    output: AFNetOutput
    outcome: Outcome


def gate_pair(config: ReplayConfig) -> GatePair:
    """Open the AF networks that are asked for, to be played on the video files.

    Raises:
        UsageError: If an option means nothing here, or the networks read other videos.
        BundleError: If a network cannot be read.
        VideoListError: If the videos, or their lists, are not there.
    """
    refuse_options_of_caches(config)
    device = device_of(config.device)
    run = _open(config.policy, config.videos_root, device)
    lookers = GateLooker("AFNet", run), GateLooker("every frame kept", run, everything=True)
    if config.second is not None:
        other = _open(config.second, config.videos_root, device)
        refuse_others(
            config,
            ("videos", digest(run.videos.table), digest(other.videos.table)),
            ("classes", run.videos.classes, other.videos.classes),
            ("frames", asdict(run.videos.frames), asdict(other.videos.frames)),
        )
        pair = lookers[0], GateLooker("AFNet", other)
        lookers = told_apart(pair, (config.policy, config.second))
    videos = run.videos
    footage = footage_of(videos.table, videos.classes, videos.frames, run.root)
    split = run.rows(config.split)
    return GatePair(lookers, footage, rows_of(config.videos, footage, split), len(split))


def _open(path: Path, videos_root: Path | None, device: str) -> AFNetRun:
    run = find_pixel_run(path, videos_root, device)
    assert isinstance(run, AFNetRun)  # by its verb
    return run


@dataclass(frozen=True, eq=False)
class GatePair:
    """Two of them; see `Pair`.

    Attributes:
        lookers: Who they are.
        footage: The videos.
        rows: ``(B,)``, those of the split first.
        n_split: How many these are.
    """

    lookers: tuple[GateLooker, GateLooker]
    footage: Footage
    rows: NDArray[np.int64]
    n_split: int

    @cached_property
    def _seen(self) -> Sequence[GateSeen]:
        table = self.footage.table.iloc[self.rows]
        listed, (first, second) = table.reset_index(drop=True), self.lookers
        title = f"{first.run.name} in videos"
        if first.run is second.run:  # each video is decoded once
            outputs = first.run.outputs(listed, [None, "all"], title)
        else:
            outputs = [each.run.outputs(listed, [None], title)[0] for each in self.lookers]
        labels = targets(table["labels"], len(self.footage.classes))
        seen = []
        for looker, output in zip(self.lookers, outputs, strict=True):
            steps = output.ran.shape[1]
            counts = torch.arange(1, steps + 1)[:, None]
            so_far = output.by_frame.cumsum(dim=1) / counts
            gmacs = looker.run.recognizer.cost.of_frames(output.ran, steps).cumsum(dim=1)
            decided = output.ran.flatten(1)  # (B, T·gates)
            seen.append(GateSeen(output, came_of(so_far, decided, gmacs, table, labels)))
        return seen

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
                "learned": not each.everything,
                "threshold": None,
                "price": None,
            }
            for each in self.lookers
        ]

    @property
    def facts(self) -> dict[str, Any]:
        """Names of the gates, and what a video costs with every frame kept, of each."""
        networks = [each.run.recognizer.network for each in self.lookers]
        offline = any(each.config.shift == "offline" for each in networks)
        return {
            "reward": None,
            "cache": None,
            "patch_px": None,
            "grid": None,
            "boxes_px": None,
            "absent": _ABSENT + (_OFFLINE if offline else ""),
            "approximate": None,
            "gates": [list(each.gate_names) for each in networks],
            "full_gmacs": [
                each.run.recognizer.cost.at_ratio(1.0, self.footage.frames.steps)
                for each in self.lookers
            ],
        }

    @property
    def lacks(self) -> dict[Kind, str]:
        """There is nothing to regret; and where gates weight frames, nothing is skipped."""
        name = self.lookers[0].name
        lacks: dict[Kind, str] = {
            "regret": f"{name} chooses no places: there are no options to lose confidence to"
        }
        if self.lookers[0].run.recognizer.network.config.selection == "soft":
            lacks["skipped"] = f"{name} weights frames, and skips none"
        return lacks

    @cached_property
    def played(self) -> list[Played]:
        """What each did in the split; a decision is one for a frame and a block."""
        return [each.outcome.played.rows(slice(self.n_split)) for each in self._seen]

    @property
    def gazes(self) -> list[GateGaze]:
        """Which frames each kept in the split."""
        n = self.n_split
        return [
            GateGaze(each.output.masks[:n].numpy(), each.output.ran[:n].numpy())
            for each in self._seen
        ]

    @property
    def costs(self) -> list[Cost]:
        """What a video costs on average: ``glance`` all but the focal branches, ``local`` these."""
        always = [each.run.recognizer.cost.always_gmacs for each in self.lookers]
        spent = [float(came.gmacs[:, -1].mean()) for came in self.played]
        return [Cost(a, 0.0, s - a, 0.0) for a, s in zip(always, spent, strict=True)]

    @property
    def random_path_px(self) -> float | None:
        """There are no places."""
        return None

    def regrets(self) -> NDArray[np.float32]:
        """Refuse: there are none."""
        raise NotImplementedError(self.lacks["regret"])

    def episodes(self, positions: NDArray[np.int64]) -> Sequence[Sequence[GateEpisode]]:
        """Return what each did in some of the videos."""
        return [
            [self._episode(looker, seen, i) for i in positions.tolist()]
            for looker, seen in zip(self.lookers, self._seen, strict=True)
        ]

    def _episode(self, looker: GateLooker, seen: GateSeen, position: int) -> GateEpisode:
        row, came, side = int(self.rows[position]), seen.outcome, self.footage.frames.frame_px
        played, ran = came.played, seen.output.ran[position].numpy()
        positions = seen.output.positions[position].numpy()
        has_positions = looker.run.recognizer.network.config.spatial
        return GateEpisode(
            self.footage.label(row),
            self.footage.read(row),
            np.asarray(ran.any(axis=1)),
            np.tile(np.array([0.0, 0.0, side, side]), (len(ran), 1)),
            played.correct[position],
            played.confidences[position],
            came.logits[position].softmax(dim=-1).numpy(),
            played.gmacs[position],
            seen.output.masks[position].numpy(),
            positions if has_positions else None,
            ran,
        )
