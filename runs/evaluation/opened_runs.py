"""Runs that were trained from pixels, opened again by what their folders say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tyro

from ...recognizer import read_recognizer
from ..configs.fit import FitAFNetConfig, JointConfig
from ..folders.atomic import OutputError
from ..folders.run_folder import is_run, verb_of
from ..options.parse import UsageError
from ..options.presets import CONFIG, VERBS, PresetError, preset_args, resolved
from ..options.stage_videos import StageVideos
from .afnet_runs import AFNetRun
from .box_runs import BoxRun
from .cube_runs import CubeRun
from .pixel_runs import PixelRun

GATED = "fit afnet"
# By the verb that makes them. A new kind is a file and a line.
KINDS: Mapping[str, type[PixelRun]] = {
    "fit end-to-end": BoxRun,
    "fit cubes": CubeRun,
    GATED: AFNetRun,
}


def is_pixel_run(path: Path) -> bool:
    """Say whether a folder is a run that was trained from pixels, all networks together."""
    return is_run(path) and verb_of(path) in KINDS


def find_pixel_run(path: Path, videos_root: Path | None = None, device: str = "cpu") -> PixelRun:
    """Open a run, and look for its videos.

    Args:
        path: The run's folder.
        videos_root: Where the folder of its videos is now.
        device: Where it is played.

    Raises:
        UsageError: If the folder is no such run.
        OutputError: If the run's settings are damaged.
        BundleError: If the recognizer cannot be read.
        VideoListError: If the videos, or their lists, are no longer there.
    """
    if not is_pixel_run(path):
        verbs = " or ".join(f"'focusgym {verb}'" for verb in KINDS)
        raise UsageError(f"{path} is no run of {verbs}: give the folder of one")
    verb = str(verb_of(path))
    config: JointConfig | FitAFNetConfig = config_of(path, videos_root)
    recognizer = read_recognizer(path, device)
    if not isinstance(recognizer, KINDS[verb].recognizer_kind):
        raise OutputError(
            f"{path} holds the recognizer of another verb than 'focusgym {verb}': put its own back"
        )
    name = path.resolve().name
    videos = StageVideos.read(config)
    return KINDS[verb](name, recognizer, videos, config.videos.videos, path, resolved(config))


def config_of(path: Path, videos_root: Path | None = None) -> Any:
    """Return what a run of ``focusgym fit`` was trained with: the config of its verb.

    Args:
        path: The run's folder.
        videos_root: Where the folder of its videos is now.

    Raises:
        OutputError: If the run's settings are damaged.
    """
    verb = str(verb_of(path))
    try:
        args = [str(path), *preset_args(str(path / CONFIG), verb)]
    except PresetError as error:
        raise OutputError(
            f"{path / CONFIG} is damaged: put it back, or train the run again ({error})"
        ) from error
    config = tyro.cli(VERBS[verb], args=args, config=(tyro.conf.OmitArgPrefixes,))
    if videos_root is not None:
        config = replace(config, videos=replace(config.videos, videos=videos_root))
    return config
