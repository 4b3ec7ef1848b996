"""Runs of systems, opened again: played on a cache, and plugged back into the video files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from tqdm import tqdm

from ...agents import TaskRecognizer, TaskTrace, read_segments, trace_task
from ...envs import EnvConfig, FeatureSource, PixelSource, open_source
from ...feature_cache import read_many
from ..folders.run_folder import RESULTS, is_run, stored_settings
from ..folders.steps import OutputError
from ..options.parse import UsageError
from .models import find_algorithm
from .plug_back import BATCH, parity
from .systems import system_results

MODEL = "model.zip"


@dataclass(frozen=True, eq=False)
class SystemRun:
    """A finished run of ``focusgym train --system``.

    Attributes:
        name: Of its row.
        source: Its cache and f_C.
        segments: Those that it reads in every video; None where a model decides.
        environment: Keywords of the model's environment, without the files, and its id as ``id``.
        model: What decides; None where nothing does.
        files: Keywords ``cache``, ``classifier``, ``group``, ``device`` and ``videos_root``.
    """

    name: str
    source: FeatureSource
    segments: tuple[int, ...] | None
    environment: dict[str, Any]
    model: BaseAlgorithm | None
    files: dict[str, Any]

    def row(self, split: str, *, pixels: bool) -> dict[str, Any]:
        """Return what is told of a split, as of other policies.

        Args:
            split: Of the cache.
            pixels: Whether the video files are read too, and the predictions compared.

        Raises:
            VideoError: If a video is gone, another one, or cannot be read.
        """
        cache = self.source.cache
        videos = cache.split(split)
        trace = self._on_cache(split, videos)
        row: dict[str, Any] = system_results(self.name, trace, cache)["test"]
        if pixels:
            logits = torch.cat(list(self._on_pixels(videos)))
            row["parity"] = parity(logits, trace.logits, cache.labels[videos])
        return row

    def _on_cache(self, split: str, videos: NDArray[np.int64]) -> TaskTrace:
        if self.segments is not None:
            return read_segments(self.source, videos, self.segments)
        assert self.model is not None
        keywords = {k: v for k, v in self.environment.items() if k != "id"}
        env_id: str = self.environment["id"]
        return trace_task(self.model, env_id, split=split, **self.files, **keywords)

    def _on_pixels(self, videos: NDArray[np.int64]) -> Iterator[torch.Tensor]:
        """Yield logits ``(B, T, C)`` of the video files, batch by batch."""
        cache = self.source.cache
        clips = cache.clips(videos)
        with tqdm(total=len(clips), desc=f"{self.name} on pixels", unit="video") as bar:
            if self.segments is None:
                assert self.model is not None
                keywords = {k: v for k, v in self.environment.items() if k != "id"}
                recognizer = TaskRecognizer(
                    self.model, self.environment["id"], **self.files, **keywords
                )
                for found in recognizer.recognize(clips, BATCH):
                    yield found.logits
                    bar.update(len(found.logits))
                return
            encoders = cache.encoders_by_name().items()
            fused = {name: each.fused().to(cache.device) for name, each in encoders}
            decoded = read_many(clips, cache.frames)
            while batch := [frames for frames, _ in islice(decoded, BATCH)]:
                source = PixelSource(cache, self.source.classifier, fused, torch.stack(batch))
                yield read_segments(source, np.arange(len(batch)), self.segments).logits
                bar.update(len(batch))


def is_system_run(path: Path) -> bool:
    """Say whether a folder is a run of a system, finished or not."""
    return is_run(path) and stored_settings(path, "train").get("system") is not None


def find_system_run(path: Path, videos_root: Path | None = None, device: str = "cpu") -> SystemRun:
    """Open a run of a system, and what it was trained on.

    Args:
        path: The run's folder. Its model file can run code when it is opened.
        videos_root: Where the folder of the cache's videos is now; see `FeatureCache.open`.
        device: Where it is played.

    Raises:
        UsageError: If the run is not finished, or its model cannot be opened.
        OutputError: If a file of the run is damaged.
        CacheError, BundleError: If cache or classifier cannot be opened.
    """
    said = stored_settings(path, "train")
    if not (path / RESULTS).is_file():
        raise UsageError(
            f"{path} is a run that is not finished: `focusgym train {path} --resume` goes on"
        )
    try:
        reads = json.loads((path / RESULTS).read_text())["reads"]
        groups, segments = tuple(reads["groups"]), reads.get("segments")
        environment, algorithm = dict(reads.get("environment", {})), reads.get("algorithm")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{path / RESULTS} does not say what the system reads ({error!r}): it was damaged, or "
            "written by another version; train the system again"
        ) from error
    files = {
        "cache": said["cache"],
        "classifier": said["classifier"],
        "group": groups,
        "device": device,
        "videos_root": videos_root,
    }
    model = None
    if segments is None:
        try:
            model = find_algorithm(algorithm).load(path / MODEL, device=device)
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"{path / MODEL} cannot be opened as a model of {algorithm} ({error}): put it "
                "back, or train the system again"
            ) from error
    source = open_source(EnvConfig(**files))
    fixed = None if segments is None else tuple(segments)
    return SystemRun(path.resolve().name, source, fixed, environment, model, files)
