"""Runs of ``focusgym fit afnet``, and bundles of AF networks: played on video files."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ...feature_cache import clips_of, read_many, read_videos
from ...recognizer import (
    AFNetOutput,
    AFNetRecognizer,
    BundleError,
    read_bundle,
    read_recognizer,
)
from ..folders.atomic import OutputError
from ..folders.run_folder import is_run, verb_of
from ..options.parse import UsageError, tell_notes
from ..options.stage_videos import StageVideos
from .opened_runs import config_of
from .pixel_runs import rows_of_split
from .plug_back import BATCH

_VERB = "fit afnet"


@dataclass(frozen=True, eq=False)
class GateRun:
    """An AF network, and videos to play it on.

    Attributes:
        name: Of its folder.
        recognizer: In eval mode, its batch norms folded.
        table: The videos of all splits.
        classes: Names of the C classes.
        root: The folder of the videos.
    """

    name: str
    recognizer: AFNetRecognizer
    table: pd.DataFrame
    classes: tuple[str, ...]
    root: Path

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of a split in the table of videos.

        Raises:
            UsageError: If there are none.
        """
        return rows_of_split(self.table, split, self.name)

    def recognize(self, rows: pd.DataFrame, *everything: bool, title: str) -> list[AFNetOutput]:
        """Return what the network makes of videos, on the CPU; each video is decoded once.

        Args:
            rows: B rows of the table of videos.
            *everything: For each time that the videos are recognized, whether all blocks keep all
                frames; see `AFNetRecognizer.look`.
            title: What the progress bar says.

        Raises:
            VideoError: If a video cannot be read.
        """
        decoded = read_many(clips_of(rows), self.recognizer.frames)
        shown = iter(tqdm(decoded, title, len(rows), unit="video"))
        found: list[list[AFNetOutput]] = [[] for _ in everything]
        while batch := [pixels for pixels, _ in islice(shown, BATCH)]:
            for keeps_all, outputs in zip(everything, found, strict=True):
                outputs.append(self.recognizer.look(torch.stack(batch), everything=keeps_all))
        return [
            AFNetOutput(*(torch.cat(parts).cpu() for parts in zip(*outputs, strict=True)))
            for outputs in found
        ]


def is_gate_run(path: Path) -> bool:
    """Say whether a folder is a run of ``focusgym fit afnet``, or a bundle of an AF network."""
    if is_run(path):
        return verb_of(path) == _VERB
    try:
        return "afnet" in read_bundle(path, "recognizer").config
    except BundleError:
        return False


def find_gate_run(path: Path, videos_root: Path | None = None, device: str = "cpu") -> GateRun:
    """Open an AF network, and look for the videos: those of its run, or of a folder.

    Args:
        path: A run's folder, or a bundle's.
        videos_root: Where the folder of the run's videos is now; a bundle knows of none, and its
            videos are those of this folder, as ``focusgym fit`` takes them from it.
        device: Where it is played.

    Raises:
        UsageError: If the folder is of a bundle and that of videos is not given, or these are of
            other classes.
        OutputError: If the run's settings are damaged, or it is no AF network's.
        BundleError: If the network cannot be read.
        VideoListError: If the videos, or their lists, are not there.
    """
    recognizer, name = read_recognizer(path, device), path.resolve().name
    if not isinstance(recognizer, AFNetRecognizer):
        raise OutputError(
            f"{path} holds the recognizer of another verb than 'focusgym {_VERB}': put its own back"
        )
    if is_run(path):
        config = config_of(path, videos_root)
        videos = StageVideos.read(config)
        table, classes, root = videos.table, videos.classes, config.videos.videos
    elif videos_root is None:
        raise UsageError(
            f"{path} is a bundle, which does not know of videos: give their folder with "
            "--videos-root, with videos.csv, lists, or one folder per class"
        )
    else:
        listed = read_videos(videos_root)
        tell_notes(listed)
        table, classes, root = listed.videos, tuple(listed.classes), videos_root
    known = recognizer.classes or classes
    if known != classes or len(classes) != recognizer.network.config.n_classes:
        raise UsageError(
            f"{root} has videos of the classes {_few(classes)}; {path} was trained for "
            f"{recognizer.network.config.n_classes}, {_few(known)}: give videos of the same classes"
        )
    return GateRun(name, recognizer, table, classes, root)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
