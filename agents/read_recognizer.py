"""Recognizers of systems, read from their folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..envs import EnvConfig, FeatureSource, FocusEngine, open_source
from ..envs.tasks.make import make_task
from ..envs.tasks.observations import observation_space
from ..envs.tasks.registry import config_of
from ..recognizer import FocusgymError, autocast_dtype
from .direct_recognizer import DirectRecognizer
from .saved_policy import read_sb3_policy
from .system_files import (
    CACHE,
    CLASSIFIER,
    POLICY,
    PlayedAlone,
    PlayedIn,
    damaged,
    read_description,
)
from .system_recognizer import SystemRecognizer
from .systems.direct_system import DirectSystem
from .systems.registry import find_system
from .task_recognizer import TaskRecognizer


def read_system_recognizer(
    path: str | os.PathLike[str], device: str = "cpu", precision: str = "float32"
) -> SystemRecognizer:
    """Read the recognizer of a system; nothing in its folder is executed.

    Args:
        path: The folder that `SystemRecognizer.save` wrote, wherever it is now.
        device: Where it computes.
        precision: In which the encoders compute: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        BundleError: If a file is missing, was changed or is another one, or they make no system.
        CacheError: If what the folder says of the cache is damaged.
        ValueError: If the precision is unknown.
    """
    autocast_dtype(precision)  # refused here if it is unknown
    root = Path(path)
    entry = read_description(root)
    config = EnvConfig(root / CACHE, root / CLASSIFIER, group=entry.groups, device=device)
    source = open_source(config)
    try:
        if isinstance(entry.decides, PlayedIn):
            return _of_agent(root, entry.decides, config, source, precision)
        return _of_system(root, entry.decides, source, precision)
    except FocusgymError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise damaged(root, error) from error


def _of_agent(
    root: Path, decides: PlayedIn, files: EnvConfig, source: FeatureSource, precision: str
) -> TaskRecognizer:
    keywords = {
        **decides.keywords,
        **{name: getattr(files, name) for name in ("cache", "classifier", "group", "device")},
    }
    config = config_of(decides.id, keywords, trusted=False)
    engine = FocusEngine(source)
    task = make_task(config, engine, source.frame_cost, 1, rewarded=False)
    spaces = observation_space(config.observation, engine), task.space
    fingerprint, device = source.cache.fingerprint, files.device
    policy = read_sb3_policy(root / POLICY, *spaces, fingerprint, device)
    how: dict[str, Any] = {"precision": precision, "exits": decides.exits, "kept": root / POLICY}
    return TaskRecognizer(policy, decides.id, **how, **keywords)


def _of_system(
    root: Path, decides: PlayedAlone, source: FeatureSource, precision: str
) -> DirectRecognizer:
    system, kept = find_system(decides.system, trusted=False), root / POLICY
    if not isinstance(system, DirectSystem):
        raise ValueError(f"{decides.system} decides in an environment, and none is named")
    if system.keeps and not (kept / "bundle.json").is_file():
        raise ValueError(f"what {decides.system} has learned is missing")
    how = (decides.system, source, decides.setting, decides.seed)
    return DirectRecognizer(system, *how, kept, precision=precision, exits=decides.exits)
