"""Where the engine gets features from: the cache, projected to what f_C takes of them."""

from __future__ import annotations

import copy
import math
import os
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...feature_cache import CacheError, FeatureCache
from ...recognizer import Classifier, FrameCost, count_gmacs, read_classifier
from ...recognizer.devices import room_on
from ..config import EnvConfig
from .interpolated import interpolated

_TABLE_BYTES = 2**31  # most memory for a table on a CPU, unless said


class Source(Protocol):
    """What an engine plays: inputs of f_C for any option of any segment, and what agents see.

    Implemented by `FeatureSource`, which reads a cache, and `PixelSource`, which computes the
    features of frames when they are asked for.
    """

    @property
    def cache(self) -> FeatureCache:
        """Says how many segments, options and classes there are, and what they cost."""

    @property
    def classifier(self) -> Classifier:
        """f_C, frozen."""

    @property
    def labels(self) -> Tensor:
        """``(N,)`` int64, the first true class of every video that can be played."""

    @property
    def label_matrix(self) -> Tensor:
        """``(N, C)`` bool, all true classes of every video."""

    @property
    def row_bytes(self) -> int:
        """Bytes of the inputs for all K options of a segment, and for no look."""

    @property
    def frame_cost(self) -> FrameCost:
        """GMACs of f_G, f_L and f_C on one segment; π's are not known here."""

    def prepare(self, videos: NDArray[np.int64]) -> None:
        """Make ready for episodes of videos ``(B,)``."""

    def end(self, videos: NDArray[np.int64]) -> None:
        """Compute no more features of videos ``(B,)``, whose episodes are over."""

    def gather(
        self,
        videos: NDArray[np.int64],
        segments: NDArray[np.int64],
        options: NDArray[np.int64],
        attended: NDArray[np.bool_] | None = None,
        fed: NDArray[np.bool_] | None = None,
    ) -> Tensor:
        """Return the inputs ``(B, M, I)`` of f_C for options of a segment of each video.

        Args:
            videos: ``(B,)`` rows, made ready by `prepare`.
            segments: ``(B,)``.
            options: ``(B, M)`` in ``[0, K)``.
            attended: ``(B, M)`` whether f_L runs; where not, the local vector is zero. None:
                everywhere.
            fed: ``(B,)`` whether the inputs are used at all; where not, they may be any finite
                numbers. None: everywhere.

        Raises:
            CacheError: If the features are not finite.
        """

    def gather_all(self, videos: NDArray[np.int64], segments: NDArray[np.int64]) -> Tensor:
        """Return inputs ``(B, K + 1, I)`` for all options and, last, for no look; see `gather`."""

    def gather_boxes(
        self, videos: NDArray[np.int64], segments: NDArray[np.int64], centers: Tensor
    ) -> Tensor:
        """Return the inputs ``(B, M, I)`` of f_C for boxes between the options of a grid.

        Args:
            videos: ``(B,)`` rows, made ready by `prepare`.
            segments: ``(B,)``.
            centers: ``(B, M, 2)`` float (x, y) in [0, 1]; see `Boxes`.

        Raises:
            ValueError: If the options are not those of one grid of patches.
            CacheError: If the features are not finite.
        """

    def glance_map(self, videos: NDArray[np.int64], segments: NDArray[np.int64]) -> Tensor:
        """Return the glance maps ``(B, h, w, G)`` of a segment ``(B,)`` of each video.

        Raises:
            CacheError: If they are not finite.
        """

    def glances(self, videos: NDArray[np.int64], known: NDArray[np.bool_]) -> Tensor:
        """Return the glance vectors ``(B, T, G)`` of videos where ``known``, ``(B, T)``, else 0.

        Raises:
            CacheError: If they are not finite.
        """


class FeatureSource:
    """Inputs of f_C for any option of any cached segment, and for feeding it without a look.

    f_C is frozen while a policy is trained, so the part of its inputs that does not depend on its
    state, ``W·[ē^G, ē^L] + b``, is the same at every visit. It is kept in a table where a full one
    fits: all options of a video are projected when the video is first played, in batches of that
    video alone, so that neither the company nor the order of videos changes a bit of it. Else it
    is computed in each step. On a GPU the table has its place from the beginning, where it fits
    into half of the memory that is free.

    Attributes:
        cache: The feature cache.
        classifier: f_C, a frozen copy.
        tabled: Whether there is a table.
    """

    def __init__(
        self, cache: FeatureCache, classifier: Classifier, projection_bytes: int | None = None
    ) -> None:
        """Join a cache and a classifier that was trained on it.

        Args:
            cache: The feature cache; tensors are where it returns them.
            classifier: f_C; it is copied as it is now, and may be trained on.
            projection_bytes: Most memory for the table; None is 2 GiB, and on a GPU half of what is
                free there.

        Raises:
            ValueError: If the classifier is for features of other widths, or other classes.
        """
        config = classifier.config
        takes = (config.glance_channels, config.local_channels, config.n_classes)
        gives = (cache.glance_channels, cache.local_channels, cache.n_classes)
        if takes != gives:
            raise ValueError(
                f"the classifier is for (G, L, C) = {takes}, but the cache holds {gives}: give the "
                "classifier that was trained on this cache"
            )
        self.cache = cache
        self._projection_bytes = projection_bytes
        self.classifier = copy.deepcopy(classifier).to(cache.device).eval().requires_grad_(False)
        self.classifier.lay_out()
        glance = torch.zeros(1, config.glance_channels, device=cache.device)
        self._width = int(self.classifier.project(glance, None).shape[-1])
        self._shape = (cache.n_videos, cache.steps, cache.n_options + 1, self._width)
        n_bytes = 4 * math.prod(self._shape)
        self._on_gpu: Tensor | None = None
        if projection_bytes is None or n_bytes <= projection_bytes:
            self._on_gpu = room_on(cache.device, self._shape, torch.float32)
        most = _TABLE_BYTES if projection_bytes is None else projection_bytes
        fits_here = cache.device.type != "cuda" and n_bytes <= most
        self.tabled = self._on_gpu is not None or fits_here

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without the table, which is filled again."""
        return FeatureSource, (self.cache, self.classifier, self._projection_bytes)

    @cached_property
    def _table(self) -> Tensor:
        # On a CPU memory is taken by the pages that are written, not by the whole.
        return torch.empty(self._shape) if self._on_gpu is None else self._on_gpu

    @cached_property
    def _filled(self) -> NDArray[np.bool_]:
        return np.zeros(self.cache.n_videos, dtype=bool)

    @property
    def labels(self) -> Tensor:
        """``(N,)`` int64, the first true class of every video of the cache."""
        return self.cache.labels

    @property
    def label_matrix(self) -> Tensor:
        """``(N, C)`` bool, all true classes of every video of the cache."""
        return self.cache.label_matrix

    @property
    def row_bytes(self) -> int:
        """Bytes of the inputs for all K options of a segment, and for no look."""
        return 4 * self._shape[2] * self._width

    def prepare(self, videos: NDArray[np.int64]) -> None:
        """Make ready for episodes of videos ``(B,)``.

        Raises:
            CacheError: If there is a table, and features of a video are not finite.
        """
        if self.tabled and not self._filled[videos].all():
            for video in np.unique(videos[~self._filled[videos]]):
                self._table[video] = self._project_all(video)
                self._filled[video] = True

    def end(self, videos: NDArray[np.int64]) -> None:
        """Do nothing: all features are there."""

    def gather(
        self,
        videos: NDArray[np.int64],
        segments: NDArray[np.int64],
        options: NDArray[np.int64],
        attended: NDArray[np.bool_] | None = None,
        fed: NDArray[np.bool_] | None = None,
    ) -> Tensor:
        """Return the inputs of f_C, see `Source.gather`; reading all is faster than choosing."""
        self.prepare(videos)  # nothing to do, but in the copy of a running engine
        if self.tabled:
            last = self._shape[2] - 1  # the row of the table without a look
            columns = options if attended is None else np.where(attended, options, last)
            frames = (videos * self._shape[1] + segments)[:, None] * self._shape[2]
            rows = torch.from_numpy((frames + columns).ravel()).to(self._table.device)
            flat = self._table.view(-1, self._width).index_select(0, rows)
            return flat.view(*options.shape, -1)
        glance = self.cache.glance_vectors(videos, segments)[:, None]
        local = self.cache.local_vectors(videos[:, None], segments[:, None], options)
        if attended is not None:
            unseen = torch.from_numpy(~attended).to(self.cache.device)
            local = local.masked_fill(unseen[..., None], 0.0)
        return self._checked(self.classifier.project(glance, local), videos, segments)

    def gather_all(self, videos: NDArray[np.int64], segments: NDArray[np.int64]) -> Tensor:
        """Return inputs ``(B, K + 1, I)`` for all options and, last, for no look; see `gather`."""
        self.prepare(videos)
        if self.tabled:
            rows = torch.from_numpy(videos * self._shape[1] + segments).to(self._table.device)
            return self._table.flatten(0, 1).index_select(0, rows)
        glance = self.cache.glance_vectors(videos, segments)[:, None]
        inputs = self._join(glance, self.cache.local_vectors(videos, segments, slice(None)))
        return self._checked(inputs, videos, segments)

    def gather_boxes(
        self, videos: NDArray[np.int64], segments: NDArray[np.int64], centers: Tensor
    ) -> Tensor:
        """Return inputs ``(B, M, I)`` of boxes, their features interpolated; see `Source`."""
        local = interpolated(self.cache, videos[:, None], segments[:, None], centers)  # (B, M, L)
        glance = self.cache.glance_vectors(videos, segments)[:, None]
        return self._checked(self.classifier.project(glance, local), videos, segments)

    def glance_map(self, videos: NDArray[np.int64], segments: NDArray[np.int64]) -> Tensor:
        """Return the glance maps ``(B, h, w, G)`` of a segment ``(B,)`` of each video."""
        maps = self.cache.glance_map(videos, segments)
        if not math.isfinite(float(maps.sum())):
            finite = maps.isfinite().flatten(1).all(dim=1).cpu().numpy()
            row = int(np.flatnonzero(~finite)[0])
            raise self._not_finite(videos[row], segments[row])
        return maps

    def glances(self, videos: NDArray[np.int64], known: NDArray[np.bool_]) -> Tensor:
        """Return the glance vectors ``(B, T, G)`` of videos where ``known``, ``(B, T)``, else 0."""
        vectors = self.cache.glance_vectors(videos)
        if not math.isfinite(float(vectors.sum())):
            row, segment = (~vectors.isfinite()).any(dim=2).nonzero()[0].tolist()
            raise self._not_finite(videos[row], segment)
        return vectors * torch.from_numpy(known).to(vectors.device)[..., None]

    @cached_property
    def frame_cost(self) -> FrameCost:
        """GMACs of f_G, f_L and f_C on one frame, as they were counted; π's are not known here."""
        return cached_cost(self.cache, self.classifier)

    def _not_finite(self, video: int, segment: int) -> CacheError:
        return CacheError(
            f"video {video} ({self.cache.videos['name'][video]}), segment {segment}: the glance "
            "map holds NaN or infinite numbers: run `focusgym cache verify`, then build the cache "
            "again"
        )

    def _project_all(self, video: int) -> Tensor:
        row = np.array([video])
        glance = self.cache.glance_vectors(row)[0, :, None]  # (T, 1, G)
        local = self.cache.local_vectors(video, np.arange(self._shape[1]), slice(None))
        steps = np.arange(self._shape[1])
        return self._checked(self._join(glance, local), np.full_like(steps, video), steps)

    def _join(self, glance: Tensor, local: Tensor) -> Tensor:
        """Return inputs ``(M, K + 1, I)`` of ``(M, 1, G)`` and ``(M, K, L)``, no look last."""
        looks = self.classifier.project(glance, local)
        return torch.cat([looks, self.classifier.project(glance, None)], dim=1)

    def _checked(
        self, inputs: Tensor, videos: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> Tensor:
        """Return inputs ``(B, ..., I)`` of segments, if all are finite."""
        if not math.isfinite(float(inputs.detach().sum())):
            finite = inputs.isfinite().flatten(1).all(dim=1).cpu().numpy()
            row = int(np.flatnonzero(~finite)[0])
            raise CacheError(
                f"video {videos[row]} ({self.cache.videos['name'][videos[row]]}), segment "
                f"{steps[row]}: the features, or f_C's weights, hold NaN or infinite numbers: run "
                "`focusgym cache verify`, then build the cache or train the classifier again"
            )
        return inputs


def cached_cost(cache: FeatureCache, classifier: Classifier) -> FrameCost:
    """Return the GMACs of f_G, f_L and f_C on one frame; π's are not known here.

    Args:
        cache: It knows those of the encoders, which were counted when it was built.
        classifier: f_C.
    """
    glance = torch.zeros(1, 1, classifier.config.glance_channels)
    local = torch.zeros(1, 1, classifier.config.local_channels)
    on_cpu = copy.deepcopy(classifier).cpu()
    return FrameCost(
        glance_gmacs=cache.glance_gmacs,
        local_gmacs=cache.local_gmacs,
        policy_gmacs=0.0,
        classifier_gmacs=count_gmacs(lambda: on_cpu(glance, local)),
    )


_open_sources: WeakValueDictionary[tuple[object, ...], FeatureSource] = WeakValueDictionary()


def open_source(config: EnvConfig) -> FeatureSource:
    """Open a cache and a classifier, or return those that an environment has open already.

    The environments of a process share one table and one classifier as long as the files are the
    same.

    Raises:
        CacheError: If the cache cannot be opened.
        BundleError: If the classifier cannot be read or belongs to another cache.
    """
    files = (
        Path(config.cache) / "manifest.json",
        Path(config.classifier) / "bundle.json",
        Path(config.classifier) / "weights.safetensors",
    )
    stamps = [_stamp(path) for path in files]
    videos_root = None if config.videos_root is None else os.path.abspath(config.videos_root)
    group = config.group if isinstance(config.group, str | None) else tuple(config.group)
    key = (*stamps, group, config.device, config.projection_bytes, videos_root)
    source = _open_sources.get(key)
    if source is None or None in stamps:
        cache = FeatureCache.open(config.cache, config.group, config.device, videos_root)
        classifier = read_classifier(config.classifier, cache.fingerprint, cache.root)
        source = FeatureSource(cache, classifier, config.projection_bytes)
        _open_sources[key] = source
    return source


def _stamp(path: Path) -> tuple[str, int, int] | None:
    """Return what tells one version of a file from another; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return os.path.realpath(path), status.st_mtime_ns, status.st_ino
