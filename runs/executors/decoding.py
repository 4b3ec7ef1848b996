"""Frames that are decoded on any CPUs of a cluster, for a unit whose encoders have a GPU."""

from __future__ import annotations

from functools import cache
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from ...feature_cache.reading.resident import stored_tensor
from ...feature_cache.videos import AugmentConfig, Clip, VideoError, View
from ...feature_cache.videos.decode import read_told
from ...recognizer import FrameConfig


def read_anywhere(
    clip: Clip, config: FrameConfig, augment: AugmentConfig | None = None, view: int = 0
) -> tuple[Tensor, View, str]:
    """Decode as `read_told`, in a task of Ray on one CPU; called by several threads of a unit.

    The frames come through Ray's object store, and must not be written to.
    """
    import ray

    found = ray.get(_task().remote(clip, config, augment, view))
    if isinstance(found, VideoError):
        raise found
    frames, taken, decoder = found
    return stored_tensor(frames), taken, decoder


@cache
def _task() -> Any:
    import ray

    return ray.remote(num_cpus=1)(_decoded)  # begun again where its node is lost


def _decoded(
    clip: Clip, config: FrameConfig, augment: AugmentConfig | None, view: int
) -> tuple[NDArray[Any], View, str] | VideoError:
    """Decode; an error is returned, for what is raised comes wrapped."""
    try:
        frames, taken, decoder = read_told(clip, config, augment, view)
    except VideoError as error:
        return error
    return frames.numpy(), taken, decoder
