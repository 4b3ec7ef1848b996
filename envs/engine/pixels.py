"""Where the engine gets features from in deployment: frames, encoded when that is asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...feature_cache import CacheError, Clip, FeatureCache, read_many
from ...recognizer import (
    Boxes,
    Classifier,
    Encoder,
    FrameCost,
    Places,
    check_pixels,
    glance_at,
    look_at,
    pool,
)
from ...recognizer.encoders.masks import ReuseMemory, without_masks
from ...recognizer.pipeline.look import autocast, crop_each
from .interpolated import grid_of
from .source import cached_cost


class PixelSource:
    """The features of B videos from their frames: an encoder runs when its result is asked for.

    An engine and a task play on it as on a cache, and what they do not ask for costs nothing: f_G
    runs on the segments that are glanced at, f_L on the options that are attended, and neither on
    videos that are over. Features are rounded to the storage dtype of the cache on which f_C and
    the agent were trained.

    Attributes:
        cache: That cache; only what it says of networks, places and prices is used, and none of
            its features.
        classifier: f_C, a frozen copy.
        running: ``(B,)`` bool, the videos on which encoders run; the features of others are zeros.
        labels: ``(B,)`` int64 zeros: the true classes are not known, confidences mean nothing.
        n_glances: ``(B,)`` int64, segments that f_G has run on.
        n_looks: ``(B, K)`` int64, how often f_L has run on each option.
    """

    row_bytes: ClassVar[int] = 1  # nothing is kept for all options

    def __init__(
        self,
        cache: FeatureCache,
        classifier: Classifier,
        encoders: Mapping[str, Encoder],
        frames: Tensor,
        computes_in: torch.dtype | None = None,
    ) -> None:
        """Take the frames; nothing is computed.

        Args:
            cache: On which f_C and the agent were trained.
            classifier: f_C.
            encoders: By name, as `FeatureCache.fused_encoders` returns them.
            frames: ``(B, T, 3, S, S)`` uint8, the segments of B videos; ``(B, T, F, 3, S, S)``
                where a segment has several frames.
            computes_in: Dtype in which the encoders compute where torch's autocast does; None is
                float32.

        Raises:
            ValueError: If the frames are not uint8 and S×S, or not of T segments.
        """
        check_pixels(frames, cache.frames.frame_px, cache.frames.read_frames)
        if frames.shape[1] != cache.steps:
            raise ValueError(
                f"expected videos of {cache.steps} segments, as the cache's; got "
                f"{frames.shape[1]}: read as many as the agent was trained on"
            )
        self.cache = cache
        self.classifier = copy.deepcopy(classifier).to(cache.device).eval().requires_grad_(False)
        n_videos, steps = frames.shape[:2]
        self.labels = torch.zeros(n_videos, dtype=torch.int64)
        self.running = np.ones(n_videos, dtype=bool)
        self.n_glances = np.zeros(n_videos, dtype=np.int64)
        self.n_looks = np.zeros((n_videos, cache.n_options), dtype=np.int64)
        self._encoders = encoders
        self._frames = frames.to(cache.device)
        self._computes_in = computes_in
        self._memories: dict[tuple[object, ...], ReuseMemory] = {}
        self._glanced = np.zeros((n_videos, steps), dtype=bool)
        self._maps = torch.zeros(n_videos, steps, *cache.map_shape, device=cache.device)
        self._vectors = self._maps.new_zeros(n_videos, steps, cache.glance_channels)

    @cached_property
    def label_matrix(self) -> Tensor:
        """``(B, C)`` bool: the same."""
        return torch.nn.functional.one_hot(self.labels, self.cache.n_classes).bool()

    @cached_property
    def frame_cost(self) -> FrameCost:
        """GMACs of f_G, f_L and f_C on one segment; an agent's own are not known here."""
        return cached_cost(self.cache, self.classifier)

    @property
    def encoder_gmacs(self) -> NDArray[np.float64]:
        """``(B,)``, what the encoders have computed for each video."""
        gmacs: NDArray[np.float64] = (
            self.n_glances * self.cache.glance_gmacs + self.n_looks @ self.cache.option_gmacs
        )
        return gmacs

    def prepare(self, videos: NDArray[np.int64]) -> None:
        """Do nothing: a feature is computed when it is asked for."""

    def end(self, videos: NDArray[np.int64]) -> None:
        """Run no encoder on videos ``(B,)`` any more; their features are zeros from now on."""
        self.running[videos] = False

    def glance_map(self, videos: NDArray[np.int64], segments: NDArray[np.int64]) -> Tensor:
        """Return the glance maps ``(B, h, w, G)`` of a segment ``(B,)`` of each video."""
        self._glance(videos, segments)
        return self._maps[videos, segments]

    def glances(self, videos: NDArray[np.int64], known: NDArray[np.bool_]) -> Tensor:
        """Return the glance vectors ``(B, T, G)`` of videos where ``known``, ``(B, T)``, else 0."""
        rows, segments = known.nonzero()
        self._glance(videos[rows], segments)
        return self._vectors[videos] * torch.from_numpy(known).to(self._vectors.device)[..., None]

    def gather(
        self,
        videos: NDArray[np.int64],
        segments: NDArray[np.int64],
        options: NDArray[np.int64],
        attended: NDArray[np.bool_] | None = None,
        fed: NDArray[np.bool_] | None = None,
    ) -> Tensor:
        """Return the inputs of f_C, see `Source.gather`: zero features where nothing is fed."""
        runs = self.running[videos] if fed is None else self.running[videos] & fed
        if self.classifier.config.reuse_glance:  # else f_C does not take its vectors
            self._glance(videos[runs], segments[runs])
        looks = np.broadcast_to(runs[:, None], options.shape)
        if attended is not None:
            looks = looks & attended
        local = self._look(videos, segments, options, looks)
        glance = self._vectors[videos, segments][:, None]  # (B, 1, G)
        return self.classifier.project(glance, local)

    def gather_boxes(
        self, videos: NDArray[np.int64], segments: NDArray[np.int64], centers: Tensor
    ) -> Tensor:
        """Return the inputs ``(B, M, I)`` of f_C for boxes, cut out where they are."""
        grid, group = grid_of(self.cache), self.cache.opened[0].group
        boxes = Boxes(grid.frame_px, grid.patch_px)
        runs = self.running[videos]
        if self.classifier.config.reuse_glance:
            self._glance(videos[runs], segments[runs])
        row, column = np.broadcast_to(runs[:, None], centers.shape[:2]).nonzero()
        local = self._vectors.new_zeros(*centers.shape[:2], self.cache.local_channels)
        if len(row):
            frames = self.cache.frames.look(self._frames[videos[row], segments[row]])
            where = centers[row, column].to(local.device)
            encoder, dtype = self._encoders[group.encoder], self.cache.dtype
            vectors = look_at(encoder, boxes, frames, where, dtype, self._computes_in)
            self._check(vectors, videos[row], segments[row])
            local[row, column] = vectors.float()
            # All options of a grid have one price: which is counted does not matter.
            np.add.at(self.n_looks, (videos[row], np.zeros_like(row)), 1)
        return self.classifier.project(self._vectors[videos, segments][:, None], local)

    def gather_all(self, videos: NDArray[np.int64], segments: NDArray[np.int64]) -> Tensor:
        """Return inputs ``(B, K + 1, I)`` for all options and, last, for no look."""
        n_options = self.cache.n_options
        every = np.tile(np.append(np.arange(n_options), 0), (len(videos), 1))
        attended = np.tile(np.arange(n_options + 1) < n_options, (len(videos), 1))
        return self.gather(videos, segments, every, attended)

    @torch.no_grad()
    def _glance(self, videos: NDArray[np.int64], segments: NDArray[np.int64]) -> None:
        """Run f_G on the segments of running videos that it has not run on."""
        new = self.running[videos] & ~self._glanced[videos, segments]
        if not new.any():
            return
        rows, at = videos[new], segments[new]
        glanced = self.cache.frames.glance(self._frames[rows, at])
        maps, vectors = glance_at(
            self._encoders["glance"], glanced, self.cache.dtype, self._computes_in
        )
        self._check(maps.flatten(1), rows, at)
        self._maps[rows, at], self._vectors[rows, at] = maps.float(), vectors.float()
        self._glanced[rows, at] = True
        np.add.at(self.n_glances, rows, 1)

    @torch.no_grad()
    def _look(
        self,
        videos: NDArray[np.int64],
        segments: NDArray[np.int64],
        options: NDArray[np.int64],
        looks: NDArray[np.bool_],
    ) -> Tensor:
        """Return local vectors ``(B, M, L)``, of several groups as `FeatureCache.local_vectors`."""
        local = self._vectors.new_zeros(*options.shape, self.cache.local_channels)
        begins = 0
        for each in self.cache.opened:
            group = each.group
            ends, last = begins + group.channels, each.first + group.places.n_options
            row, column = (looks & (options >= each.first) & (options < last)).nonzero()
            if len(row):
                chosen = options[row, column]
                frames = self.cache.frames.look(self._frames[videos[row], segments[row]])
                where = torch.from_numpy(chosen - each.first).to(local.device)
                encoder = self._encoders[group.encoder]
                if encoder.profile is None:
                    vectors = look_at(
                        encoder,
                        group.places,
                        frames,
                        where,
                        self.cache.dtype,
                        self._computes_in,
                    )
                else:
                    vectors = self._look_on(encoder, group.places, frames, where, videos[row])
                self._check(vectors, videos[row], segments[row])
                local[row, column, begins:ends] = vectors.float()
                np.add.at(self.n_looks, (videos[row], chosen), 1)
            begins = ends
        return local

    def _look_on(
        self,
        encoder: Encoder,
        places: Places,
        frames: Tensor,
        where: Tensor,
        videos: NDArray[np.int64],
    ) -> Tensor:
        """Return local vectors of the next frames of videos ``(M,)``, of f_L with a mask profile.

        It takes channels from the frames that it was run on before, with any profile.
        """
        if len(np.unique(videos)) < len(videos):
            raise ValueError(
                f"{encoder.config.name} takes channels from the frame read before: expected one "
                "option of a video at a time; got several"
            )
        network = without_masks(encoder.config.name)[0], encoder.config.input_px, places
        memory = self._memories.setdefault(network, ReuseMemory(len(self._frames)))
        rows = torch.from_numpy(videos).to(frames.device)
        with autocast(frames.device, self._computes_in):
            prepared = crop_each(places, encoder.prepare(frames), where)
            maps = encoder.encode_from(prepared, memory, rows)
        return pool(maps, self.cache.dtype)

    def _check(
        self, vectors: Tensor, videos: NDArray[np.int64], segments: NDArray[np.int64]
    ) -> None:
        finite = vectors.isfinite().all(dim=1).cpu().numpy()
        if not finite.all():
            row = int(np.flatnonzero(~finite)[0])
            raise CacheError(
                f"video {videos[row]} of the batch, segment {segments[row]}: an encoder gives "
                f"NaN, infinite features, or such that are too large for {self.cache.dtype}: use "
                "the precision float32, or train the encoders again"
            )


def pixel_sources(
    cache: FeatureCache,
    classifier: Classifier,
    encoders: Mapping[str, Encoder],
    clips: Sequence[Clip],
    batch_size: int,
    computes_in: torch.dtype | None = None,
) -> Iterator[PixelSource]:
    """Yield video files as sources, batch by batch, decoded on all cores ahead of the networks.

    Args:
        cache: As of `PixelSource`, like the next two.
        classifier: f_C.
        encoders: The encoders by name, as `FeatureCache.fused_encoders` returns them.
        clips: Such as ``Clip(path)``, or `FeatureCache.clips` of cached videos.
        batch_size: B, videos in a source.
        computes_in: As of `PixelSource`.

    Raises:
        VideoError: If a file is gone or cannot be read.
    """
    decoded = read_many(clips, cache.frames)
    while batch := [frames for frames, _ in islice(decoded, batch_size)]:
        yield PixelSource(cache, classifier, encoders, torch.stack(batch), computes_in)
