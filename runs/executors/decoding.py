"""Frames that are decoded on any CPUs of a cluster, for a unit whose encoders have a GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from ...feature_cache.building.build import LIBRARIES
from ...feature_cache.reading.resident import stored_tensor
from ...feature_cache.videos import AugmentConfig, Clip, VideoError, View
from ...feature_cache.videos.decode import read_told
from ...recognizer import FocusgymError, FrameConfig
from ...recognizer.versions import library_versions
from .units import ExecutorError, LostError


def read_anywhere(
    clip: Clip, config: FrameConfig, augment: AugmentConfig | None = None, view: int = 0
) -> tuple[Tensor, View, str]:
    """Decode as `read_told`, in a task of Ray on one CPU; called by several threads of a unit.

    The frames come through Ray's object store, and must not be written to.

    Raises:
        VideoError: As `read_told`.
        ExecutorError: If the node has other libraries, or fails otherwise.
        LostError: If the task's process or its node ended, each time that Ray began it.
    """
    import ray

    try:
        decoded = ray.get(_task().remote(_versions(), clip, config, augment, view))
    except ray.exceptions.RayTaskError as error:
        last = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
        raise ExecutorError(f"{clip.path} was not decoded on another node: {last}") from error
    except ray.exceptions.RayError as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LostError(
            f"{clip.path} was not decoded: each task that began it ended with its process or its "
            f"node: {first}"
        ) from error
    if isinstance(decoded, FocusgymError):
        raise decoded
    frames, taken, decoder = decoded
    return stored_tensor(frames), taken, decoder


@cache
def _task() -> Any:
    import ray

    return ray.remote(num_cpus=1)(_decoded)  # begun again, three times, where its node is lost


@cache
def _versions() -> dict[str, str]:
    """Return what the features of a cache depend on, as its manifest names it."""
    return library_versions(LIBRARIES)


def _decoded(
    versions: Mapping[str, str],
    clip: Clip,
    config: FrameConfig,
    augment: AugmentConfig | None,
    view: int,
) -> tuple[NDArray[Any], View, str] | FocusgymError:
    """Decode, if this node has the versions of the unit's node.

    An error is returned, for what is raised comes wrapped.
    """
    other = [
        f"{name} {has} there, {versions[name]} where the part is built"
        for name, has in _versions().items()
        if has != versions[name]
    ]
    if other:
        return ExecutorError(
            f"{clip.path} was not decoded, for {os.uname().nodename} has other libraries: "
            f"{'; '.join(other)}: install the same on all nodes"
        )
    try:
        frames, taken, decoder = read_told(clip, config, augment, view)
    except VideoError as error:
        return error
    return frames.numpy(), taken, decoder
