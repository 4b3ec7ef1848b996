"""Trained systems in a folder that needs neither their run nor their cache: safe files alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from ..envs import FeatureSource, FocusEngine
from ..envs.tasks.observations import observation_space
from ..envs.tasks.registry import config_of, make_task
from ..feature_cache import FeatureCache, write_bare_cache
from ..recognizer import BundleError, FocusgymError, in_words, read_classifier
from ..recognizer.files.bundle import write_bundle
from ..recognizer.files.documents import read_json
from ..recognizer.files.regular import file_digest
from ..recognizer.files.typed import typed
from .saved_policy import read_sb3_policy, write_sb3_policy
from .system_recognizer import SystemRecognizer
from .systems.registry import find_system
from .systems.system import DirectSystem
from .task_recognizer import TaskRecognizer

NAME = "system.json"
_CACHE, _CLASSIFIER, _POLICY = "cache", "classifier", "policy"
# Keywords of an environment that only its training, or its files, need.
_LEFT_OUT = (
    *("cache", "classifier", "group", "device", "videos_root", "projection_bytes"),
    *("split", "videos", "order", "seed", "reward"),
)


@dataclass(frozen=True)
class PlayedIn:
    """The environment in which a learned system decides.

    Attributes:
        id: Such as ``focusgym/Exit-v0``.
        keywords: Of it, without files and what only a training needs.
    """

    id: str
    keywords: dict[str, Any]


@dataclass(frozen=True)
class PortableSystem:
    """What the file ``system.json`` of a folder says.

    Attributes:
        system: Name of the system; see `find_system`.
        groups: Names of the option groups that it chooses among, in order.
        setting: Of a system without an environment.
        seed: Of its training.
        environment: Of a system with one; None without.
        files: SHA-256 of every other file, by its name from the folder, with slashes.
    """

    system: str
    groups: tuple[str, ...]
    setting: float | None
    seed: int
    environment: PlayedIn | None
    files: dict[str, str]


def write_system(
    path: str | os.PathLike[str],
    system: str,
    source: FeatureSource,
    *,
    setting: float | None = None,
    seed: int = 0,
    kept: Path | None = None,
    model: BaseAlgorithm | None = None,
    environment: tuple[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write a trained system, and all that recognizes videos with it, into a folder.

    There are the encoders, f_C, what decides, and what the cache says of frames, options and
    classes, and no features. All files are safe: safetensors, ``.npy`` and JSON.

    Args:
        path: The folder, which is empty and there.
        system: Its name; see `find_system`.
        source: Its cache and f_C.
        setting: Of a system without an environment.
        seed: Of its training.
        kept: Folder of what such a system has learned, where it keeps that.
        model: What decides in an environment.
        environment: Its id and its keywords.

    Raises:
        ValueError: If a policy cannot be kept as a safe file; or the system asks its cache for
            features when it is opened.
        BundleError, CacheError: If encoders cannot be read.
    """
    root = Path(path)
    cache = source.cache
    (root / _CACHE).mkdir()
    write_bare_cache(cache, root / _CACHE)
    f_c = source.classifier
    write_bundle(root / _CLASSIFIER, "classifier", f_c.config, f_c, cache.fingerprint)
    played_in = None
    if model is not None and environment is not None:
        keywords = {k: v for k, v in environment[1].items() if k not in _LEFT_OUT}
        played_in = PlayedIn(environment[0], keywords)
        write_sb3_policy(root / _POLICY, model, cache.fingerprint)
    elif kept is not None:
        found = find_system(system)
        assert isinstance(found, DirectSystem)
        if found.keeps:
            (root / _POLICY).mkdir()
            for file in kept.iterdir():
                (root / _POLICY / file.name).write_bytes(file.read_bytes())
    groups = tuple(each.group.name for each in cache.opened)
    entry = PortableSystem(system, groups, setting, seed, played_in, _digests(root))
    (root / NAME).write_text(json.dumps(asdict(entry), indent=2))
    try:
        read_system(root)
    except FocusgymError as error:
        raise ValueError(
            f"{system} cannot be opened without the features of {cache.root} ({error}): recognize "
            "with its run, beside the cache"
        ) from error


def is_portable(path: Path) -> bool:
    """Say whether a folder is one that `write_system` wrote."""
    return (path / NAME).is_file()


def read_system(
    path: str | os.PathLike[str], device: str = "cpu", precision: str = "float32"
) -> SystemRecognizer:
    """Read a system from a folder, and return what recognizes videos; nothing is executed.

    Args:
        path: The folder that `write_system` wrote, wherever it is now.
        device: Where it computes.
        precision: In which the encoders compute: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        BundleError: If a file is missing, was changed or is another one, or they make no system.
        CacheError: If what the folder says of the cache is damaged.
        ValueError: If the precision is unknown.
    """
    root = Path(path)
    try:
        entry = typed(PortableSystem, read_json(root / NAME))
        _check_files(root, entry.files)
        system = find_system(entry.system, trusted=False)
    except (OSError, ValueError) as error:
        raise _damaged(root, error) from error
    cache = FeatureCache.open(root / _CACHE, entry.groups, device)
    f_c = read_classifier(root / _CLASSIFIER, cache.fingerprint, cache.root)
    files = {"cache": cache.root, "classifier": root / _CLASSIFIER, "group": entry.groups}
    try:
        source = FeatureSource(cache, f_c)
        if entry.environment is not None:
            id_, keywords = entry.environment.id, {**entry.environment.keywords, **files}
            keywords |= {"device": device}
            config = config_of(id_, keywords)
            engine = FocusEngine(source)
            task = make_task(config, engine, source.frame_cost, 1, rewarded=False)
            sees = observation_space(config.observation, engine)
            policy = read_sb3_policy(root / _POLICY, sees, task.space, cache.fingerprint, device)
            return TaskRecognizer(policy, id_, **keywords, precision=precision)
        if not isinstance(system, DirectSystem) or entry.setting is None:
            raise ValueError(f"it has neither an environment nor a setting of {entry.system}")
        kept = root / _POLICY if system.keeps else None
        if kept is not None and not (kept / "bundle.json").is_file():
            raise ValueError(f"what {entry.system} has learned is missing")
        reader = system.reader(source, entry.setting, entry.seed, kept)
    except FocusgymError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(root, error) from error
    return SystemRecognizer.reading(cache, source.classifier, reader, precision=precision)


def _check_files(root: Path, expected: Mapping[str, str]) -> None:
    """Refuse a folder with other files than it was written with.

    Raises:
        OSError: If one cannot be read.
        ValueError: If one is missing, another one, or not among those that were written.
    """
    found = _digests(root)
    for name in (*expected, *found):
        if name not in found:
            raise ValueError(f"{name} is missing")
        if name not in expected:
            raise ValueError(f"{name} is none of its files")
        if found[name] != expected[name]:
            raise ValueError(f"{name} was changed")


def _digests(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder but its own description."""
    found = {}
    for file in sorted(each for each in root.rglob("*") if not each.is_dir()):
        name = file.relative_to(root).as_posix()
        if name != NAME:
            found[name] = file_digest(file)
    return found


def _damaged(root: Path, error: Exception) -> BundleError:
    return BundleError(
        f"{root} is no readable folder of a system ({in_words(error)}): copy it again, or write it "
        "anew from its run with `focusgym recognize --save`"
    )
