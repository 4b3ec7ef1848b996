"""A trained policy with what it was trained on: found from its folder, or named."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from ...agents import Agent, LearnedAgent, keep_threshold, read_policy, with_threshold
from ...envs import FeatureSource, FocusEngine
from ...feature_cache import FeatureCache, read_manifest
from ...recognizer import (
    FrameCost,
    Policy,
    in_words,
    policy_gmacs,
    read_bundle,
    read_classifier,
)
from ...recognizer.files.regular import read_limited
from ...recognizer.limits import MOST_PIXELS, MOST_TEXT_BYTES
from ...recognizer.policies.registry import policy_class
from ..folders.run_folder import RESULTS, is_run, stored_settings
from ..options.parse import UsageError, usage

TRAINED = "trained"  # in a system's run: folder of what it has learned without an environment
_BOX_COLUMNS = ["path", "frame", "left", "top", "right", "bottom", "visible"]
MOST_FRAME = 1 << 31  # whose true box is told


@dataclass(frozen=True, eq=False)
class Decider(ABC):
    """Who decides where to look, and the cache and f_C that it is played on.

    Attributes:
        name: What tables call it.
        cache: The feature cache, with the option group that the decisions are among.
        classifier: Folder of the bundle of f_C.
    """

    name: str
    cache: FeatureCache
    classifier: Path

    @cached_property
    def engine(self) -> FocusEngine:
        """Plays episodes on the cache."""
        classifier = read_classifier(self.classifier, self.cache.fingerprint, self.cache.root)
        return FocusEngine(FeatureSource(self.cache, classifier))

    @property
    @abstractmethod
    def agent(self) -> Agent:
        """What decides."""

    @cached_property
    def cost(self) -> FrameCost:
        """GMACs of every network on a frame."""
        return replace(self.engine.source.frame_cost, policy_gmacs=self._policy_gmacs())

    @abstractmethod
    def _policy_gmacs(self) -> float:
        """Return the GMACs of a decision."""


@dataclass(frozen=True, eq=False)
class Trained(Decider):
    """A policy of ``focusgym train``; its name is that of the run's folder, or of the bundle's.

    Attributes:
        policy: π, and π′ where it has one.
    """

    policy: Policy

    @property
    def agent(self) -> LearnedAgent:
        """The policy as an agent."""
        return LearnedAgent(self.policy)

    def _policy_gmacs(self) -> float:
        return policy_gmacs(self.policy)


def find_trained(
    path: Path,
    cache: Path | None = None,
    classifier: Path | None = None,
    videos_root: Path | None = None,
    device: str = "cpu",
) -> Trained:
    """Open a trained policy and what it was trained on.

    Args:
        path: A run of ``focusgym train``, also of a system whose policy chooses among the options
            of a clip; or a policy bundle.
        cache: The feature cache. If it is not given, the run's; of a bundle, the folder ``cache``
            beside it, as in a quickstart. The option group is the one that the policy is for.
        classifier: The bundle of f_C. If it is not given, the run's; or ``classifier`` beside it,
            or else beside ``cache``.
        videos_root: Where the folder of the cache's videos is now; see `FeatureCache.open`.
        device: Where it is played.

    Raises:
        UsageError: If there is no policy, or it is not known what it was trained on.
        OutputError: If it is the run of another verb.
        BundleError: If a bundle cannot be read, or belongs to another cache.
        CacheError: If the cache cannot be opened.
    """
    bundle = policy_folder(path)
    known = {"cache": path.parent / "cache", "classifier": path.parent / "classifier"}
    if is_run(path):
        options = stored_settings(path, "train")
        if not (path / RESULTS).is_file():
            raise UsageError(
                f"{path} is a run that is not finished: `focusgym train {path} --resume` goes on"
            )
        known = {name: Path(options[name]) for name in known}
    elif not (path / "bundle.json").is_file():
        raise UsageError(
            f"{path} is no trained policy: give a folder that `focusgym train` wrote, or a policy "
            "bundle such as outputs/quickstart/policy"
        )
    if cache is not None and not known["classifier"].is_dir():
        known["classifier"] = Path(os.path.abspath(cache)).parent / "classifier"
    known = named_or(known, path, cache, classifier)
    fingerprint = read_bundle(bundle, "policy").cache_fingerprint
    groups = read_manifest(known["cache"])["fingerprints"]
    # If it is of another cache, any group will do: the bundle is refused below, and that is told.
    known_as = [name for name, value in groups.items() if value == fingerprint]
    group = next(iter(known_as or groups))
    features = FeatureCache.open(known["cache"], group, device, videos_root)
    policy = read_policy(bundle, features.fingerprint, features.root).to(device)
    return Trained(path.resolve().name, features, known["classifier"], policy)


def policy_folder(path: Path) -> Path:
    """Return the policy bundle of a run of ``focusgym train``, or a bundle's folder as it is.

    Raises:
        UsageError: If it is the run of a system that leaves no policy.
    """
    if not is_run(path):
        return path
    if names_options(path):
        return path / TRAINED
    if (system := stored_settings(path, "train").get("system")) is not None:
        raise UsageError(
            f"{path} is a run of the system {system}, and no policy by itself: "
            "`focusgym evaluate` and `focusgym compare --systems` set it beside others"
        )
    return path / "policy"


def names_options(path: Path) -> bool:
    """Say whether a folder is a run of a system whose policy chooses among the options of a clip.

    Raises:
        BundleError: If what it has learned cannot be read.
    """
    trained = path / TRAINED
    if not is_run(path) or not (trained / "bundle.json").is_file():
        return False
    network = read_bundle(trained, "policy").config.get("network", "")
    try:
        policy = policy_class(network, trusted=False)
    except ValueError:  # no network that names places
        return False
    return policy.names_once and not policy.names_centers


def named_or(
    usual: dict[str, Path], path: Path, cache: Path | None, classifier: Path | None
) -> dict[str, Path]:
    """Return the folders of the cache and of f_C, as they were named, or where they usually are.

    Raises:
        UsageError: If one is not there.
    """
    named = {"cache": cache, "classifier": classifier}
    folders = {name: named[name] or folder for name, folder in usual.items()}
    for name, folder in folders.items():
        if not folder.is_dir():
            raise UsageError(
                f"{path}: there is no {name} in {folder}: give --{name}, the one that the policy "
                "was trained with"
            )
    return folders


def find_boxes(cache: FeatureCache, file: Path | None) -> pd.DataFrame | None:
    """Return the true boxes of frames, where the data set has some.

    Args:
        cache: The feature cache.
        file: A CSV file with the columns ``path`` (relative to the file's folder), ``frame``
            (index in the video), ``left``, ``top``, ``right``, ``bottom`` (pixels of the S×S frame)
            and ``visible``; None looks for ``boxes.csv`` in the folder of the videos, as in a
            quickstart, or for ``data/boxes.csv`` beside the cache.

    Raises:
        UsageError: If the file is not there, or has other columns.
    """
    path = file or usual_boxes(cache)
    return None if path is None else read_boxes(path)


def read_boxes(path: Path) -> pd.DataFrame:
    """Read a table of true boxes, as `find_boxes` describes it.

    Returns:
        ``path``, absolute, ``frame`` int64, and the others float64: NaN where there is no box.

    Raises:
        UsageError: If the file is not there, or has other columns; if it holds something else than
            numbers, or two boxes for a frame.
    """
    try:
        content = read_limited(path, MOST_TEXT_BYTES)
        boxes = pd.read_csv(BytesIO(content), dtype={"path": str})[_BOX_COLUMNS]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"--boxes {path} is no table of boxes ({in_words(error)}): expected a CSV file with "
            f"the columns {', '.join(_BOX_COLUMNS)}"
        ) from error
    try:
        boxes = boxes.astype(dict.fromkeys(_BOX_COLUMNS[1:], np.float64))
        _check_boxes(boxes)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"--boxes {path} holds something else than numbers ({in_words(error)}): expected an "
            "index for frame, pixels, and True or False for visible"
        ) from error
    again = boxes[boxes.duplicated(["path", "frame"])]
    if len(again):
        name, frame = again.iloc[0][["path", "frame"]]
        raise UsageError(
            f"--boxes {path} has more than one box for frame {frame:.0f} of {name}: expected one "
            "row for each path and frame; give a table without repeats"
        )
    names = str(path.resolve().parent) + "/" + boxes["path"].fillna("")
    return boxes.assign(path=names, frame=boxes["frame"].astype(np.int64))


def _check_boxes(boxes: pd.DataFrame) -> None:
    """Refuse, with ValueError, numbers that no frame and no box has."""
    frame, corners = boxes["frame"], boxes[["left", "top", "right", "bottom"]].abs()
    if not ((frame >= 0) & (frame < MOST_FRAME) & (frame % 1 == 0)).all():
        raise ValueError(f"a frame is no integer from 0 to {MOST_FRAME}")
    if (corners > MOST_PIXELS).any(axis=None):
        raise ValueError(f"an edge is more than {MOST_PIXELS:,} px away")
    if boxes["path"].str.contains("\0", regex=False).any():
        raise ValueError("a path has a null character")


def boxes_beside(videos: Path) -> Path | None:
    """Return where the true boxes are in a folder of videos, if they are.

    A table of that name may also be something else of the user's.
    """
    path = videos / "boxes.csv"
    if path.is_file():
        with suppress(OSError, ValueError):
            if {*_BOX_COLUMNS} <= {*pd.read_csv(path, nrows=0).columns}:
                return path
    return None


def usual_boxes(cache: FeatureCache) -> Path | None:
    """Return where the true boxes of a cache's videos are, if they are in a usual place."""
    of_videos = None if cache.videos_root is None else boxes_beside(cache.videos_root)
    if of_videos is not None:
        return of_videos
    beside = cache.root.parent / "data" / "boxes.csv"
    return beside if beside.is_file() else None


def at_keep_ratio(trained: Trained, keep_ratio: float) -> Trained:
    """Return a trained AdaFocus+ with ρ solved for another share of the training frames.

    Raises:
        UsageError: If the policy has no π′, or the share is not in (0, 1].
    """
    with usage():
        train = trained.cache.split("train")
        threshold = keep_threshold(trained.policy, trained.cache, train, keep_ratio)
        policy = with_threshold(trained.policy, threshold)
    return replace(trained, name=f"{trained.name} η={keep_ratio:g}", policy=policy)
