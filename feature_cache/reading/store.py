"""The reader of a cache: what it holds of videos and of option groups, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import Encoder, FrameConfig, OptionGroup, Places
from ..videos import Clip, View
from .arrays import local_array, open_arrays, read_encoders, read_table, stored_view
from .checked import CheckedRows
from .group_features import GroupFeatures, copied
from .manifest import GLANCE, CacheError, joint_fingerprint, read_manifest, stored_groups
from .resident import ResidentRows, stored_tensor
from .roots import VideosRoot, Where
from .rows import clips_of, label_matrix


class FeatureCache:
    """A feature cache, opened for reading one of its option groups, or several.

    The K options are those of the opened groups, one group after the other; groups may differ in
    their width, see `local_vectors`. What one group alone has, as `places`, is refused where
    several are opened.

    Arrays stay on disk, memory-mapped read-only; every method copies only what it returns. Any
    number of processes may read; pickled, a cache is opened again where it arrives.

    Attributes:
        root: The cache's folder.
        manifest: Everything that the features depend on, the classes, and the costs of encoding.
        fingerprint: Of the features of the opened groups; what is trained on them carries it.
        groups: All option groups that the cache holds, by name.
        opened: Those that were opened, in order, with their features.
        videos: Table of rows, in the arrays' order: one per video, or per augmented copy of it.
            ``name``, ``path`` (absolute, where the video is now), ``label`` (the first), ``labels``
            (all, joined by ``;``), ``split``, ``start_s``, ``end_s``, ``images``, ``n_images``,
            ``view`` (−1: middle frames and central crop), ``bytes``, ``decoder`` (what read it),
            ``checksum``.
        videos_root: The folder of the videos, which `VideosRoot.find` has found; None where they
            have none in common.
        frames: Which frames were taken, and how large.
        labels: ``(N,)`` int64, the first label.
        device: Where tensors are returned.
        glance_gmacs: Of f_G on a segment, as counted when the cache was built.
        option_gmacs: ``(K,)`` float64, the price of each option: of its encoder, on all frames of a
            segment.
    """

    def __init__(
        self,
        root: Path,
        manifest: dict[str, Any],
        groups: Sequence[str],
        device: str,
        videos_root: Where | None,
    ) -> None:
        """Use `FeatureCache.open`."""
        self.root = root
        self.manifest = manifest
        self.device = torch.device(device)
        self.fingerprint = joint_fingerprint(manifest["fingerprints"][name] for name in groups)
        self.glance_gmacs: float = manifest["glance_gmacs"]
        table = read_table(root, manifest, with_facts=False)
        self._videos_root = VideosRoot.find(root, manifest, table, videos_root)
        self.videos_root = Path(self._videos_root.folder) if self._videos_root.folder else None
        self.videos = table.assign(path=self._videos_root.paths)
        self.frames = FrameConfig(**manifest["depends_on"]["frames"])
        self.labels = torch.tensor(self.videos["label"].to_numpy(), dtype=torch.int64)
        self._arrays = open_arrays(root, manifest, groups, len(table))
        self._rows = CheckedRows(root, manifest, table)
        self.groups = stored_groups(manifest)
        opened, first = [], 0
        for group in (self.groups[name] for name in groups):
            stored = self._arrays[local_array(group.name)]
            opened.append(GroupFeatures(group, first, stored, self.device))
            first += group.places.n_options
        self.opened = tuple(opened)
        prices = [np.full(each.group.places.n_options, each.group.gmacs) for each in self.opened]
        self.option_gmacs: NDArray[np.float64] = np.concatenate(prices)

    @classmethod
    def open(
        cls,
        path: Where,
        group: str | Sequence[str] | None = None,
        device: str = "cpu",
        videos_root: Where | None = None,
    ) -> FeatureCache:
        """Open a cache.

        Args:
            path: The folder that `build_cache` wrote.
            group: Name of the option group, such as ``p128_7x7``, or of several, whose options
                come one group after the other; needed where the cache holds several.
            device: Where tensors are returned, such as ``cuda``.
            videos_root: Where the folder of the videos is now; None looks for it, as
                `VideosRoot.find` says. It matters to what reads pixels, and to nothing else.

        Raises:
            CacheError: If there is no complete cache, if its manifest was changed, if it is a
                shard, or if a group is not there, said twice or not said.
        """
        root = Path(path)
        manifest = read_manifest(root)
        groups = list(manifest["groups"])
        if manifest["shard"] is not None:
            part, parts = manifest["shard"]
            raise CacheError(
                f"{root} is shard {part}/{parts} of a cache: merge the shards first "
                "(focusgym cache merge)"
            )
        if group is None and len(groups) > 1:
            raise CacheError(f"{root} holds {len(groups)} option groups: say which of {groups}")
        wanted = groups if group is None else [group] if isinstance(group, str) else [*group]
        for name in wanted:
            if name not in groups:
                raise CacheError(f"{root} holds no option group {name!r}: choose one of {groups}")
        if not wanted or len(set(wanted)) < len(wanted):
            raise CacheError(f"option groups are opened once each, and at least one; got {wanted}")
        return cls(root, manifest, wanted, device, videos_root)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a path: maps of files are not copied."""
        groups = [each.group.name for each in self.opened]
        return FeatureCache.open, (self.root, groups, str(self.device), self.videos_root)

    @property
    def group(self) -> OptionGroup:
        """The option group, where one is opened.

        Raises:
            CacheError: If several are.
        """
        return self._only.group

    @property
    def places(self) -> Places:
        """Where the options of the group are: option k of a decision is its place k.

        Raises:
            CacheError: If several groups are opened.
        """
        return self.group.places

    @property
    def n_videos(self) -> int:
        """N, the rows."""
        return len(self.videos)

    @property
    def steps(self) -> int:
        """T, the segments per video: its frames, where a segment is one."""
        return int(self._arrays["glance_maps"].shape[1])

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(h, w, G) of a glance map, (h, w, F·G) where f_G reads several frames of a segment."""
        height, width, channels = self._arrays["glance_maps"].shape[2:]
        return height, width, channels

    @property
    def glance_channels(self) -> int:
        """G, of a glance vector."""
        return int(self._arrays["glance_vectors"].shape[2])

    @property
    def local_channels(self) -> int:
        """L: of several opened groups, the sum of their widths."""
        return sum(each.group.channels for each in self.opened)

    @property
    def local_gmacs(self) -> float:
        """Multiply-adds of f_L on the dearest option, in G."""
        return float(self.option_gmacs.max())

    @property
    def n_options(self) -> int:
        """K, of all opened groups."""
        return len(self.option_gmacs)

    @property
    def boxes_px(self) -> NDArray[np.int64]:
        """Boxes ``(K, 4)`` of the options of all opened groups; see `Places`."""
        return np.concatenate([each.group.places.boxes_px for each in self.opened])

    @property
    def dtype(self) -> torch.dtype:
        """Storage dtype of the features."""
        return torch.from_numpy(np.empty(0, self._arrays["glance_vectors"].dtype)).dtype

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.classes)

    @property
    def classes(self) -> list[str]:
        """Names of the C classes."""
        names: list[str] = self.manifest["depends_on"]["classes"]
        return names

    @cached_property
    def label_matrix(self) -> Tensor:
        """``(N, C)`` bool: which labels each video has."""
        return torch.from_numpy(label_matrix(self.videos["labels"], self.n_classes))

    def encoders(self) -> tuple[Encoder, Encoder]:
        """Return f_G and the f_L of the one opened group, as they were when the cache was built.

        Raises:
            CacheError: If several groups are opened, or as `read_encoders`.
            BundleError: As `read_encoders`.
        """
        local, read = self.group.encoder, self.encoders_by_name()
        return read[GLANCE], read[local]

    def encoders_by_name(self) -> dict[str, Encoder]:
        """Return f_G, as ``glance``, and the encoders of all opened groups by their names.

        Raises:
            BundleError, CacheError: As `read_encoders`.
        """
        names = [GLANCE, *(each.group.encoder for each in self.opened)]
        return read_encoders(self.root, self.manifest, dict.fromkeys(names))

    def fused_encoders(self) -> dict[str, Encoder]:
        """Return the encoders by name as caches are built with them: fused, on the device.

        Raises:
            BundleError, CacheError: As `read_encoders`.
        """
        encoders = self.encoders_by_name().items()
        return {name: each.fused().to(self.device) for name, each in encoders}

    def clips(self, videos: NDArray[np.int64]) -> list[Clip]:
        """Return the clips of videos ``(B,)``, whose files are there and of the size they had.

        Raises:
            VideoError: If one is gone, or is another file; it says where it was looked for.
        """
        rows = self.videos.iloc[videos]
        clips = clips_of(rows)
        self._videos_root.check(clips, rows["bytes"].tolist() if "bytes" in rows else None)
        return clips

    def split(self, name: str) -> NDArray[np.int64]:
        """Return the rows of a split.

        Raises:
            CacheError: If the cache has no video of it.
        """
        rows = np.flatnonzero(self.videos["split"].to_numpy() == name)
        if not len(rows):
            splits = ", ".join(sorted(self.videos["split"].unique())) or "none"
            raise CacheError(f"split {name!r} has no videos in {self.root}; there are: {splits}")
        return rows

    def glance_maps(self, videos: NDArray[np.int64]) -> Tensor:
        """Return glance maps ``(B, T, h, w, G)`` float32 of videos ``(B,)``."""
        self._rows.check(videos)
        return self._gather_maps(videos, slice(None))

    def stored_glance_maps(self, videos: NDArray[np.int64]) -> list[Tensor]:
        """Return glance maps of videos ``(B,)`` as they are stored, each ``(T, h, w, G)``.

        Nothing is copied: they are views of the file, on CPU, and must not be written to; or, where
        all maps fit on a GPU, views of a copy there.
        """
        self._rows.check(videos)
        resident = self._resident_maps
        maps = self._stored_maps if resident is None else resident.with_rows(videos)
        return [maps[row] for row in videos.tolist()]

    def glance_map(self, videos: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
        """Return glance maps ``(B, h, w, G)`` float32 of a step ``(B,)`` of each video."""
        self._rows.check(videos)
        return self._gather_maps(videos, steps)

    def glance_vectors(
        self, videos: NDArray[np.int64], steps: NDArray[np.int64] | slice = slice(None)
    ) -> Tensor:
        """Return glance vectors ``(B, T, G)`` float32 of videos ``(B,)``; ``(B, G)`` of steps."""
        self._rows.check(videos)
        return copied(self._arrays["glance_vectors"][videos, steps], self.device)

    def local_vectors(
        self,
        videos: NDArray[np.int64] | int,
        steps: NDArray[np.int64] | int,
        options: NDArray[np.int64] | slice,
    ) -> Tensor:
        """Return local vectors float32; the three indices broadcast as NumPy's do.

        ``local_vectors(videos[:, None], np.arange(T), options)`` with options ``(B, T)`` in
        ``[0, K)`` gives ``(B, T, L)``; ``local_vectors(videos, t, slice(None))`` gives
        ``(B, K, L)``.

        Of several opened groups, L is the sum of their widths: each has a block of its own, and
        the vector of an option is zero outside of its group's. So the first layer of f_C, which is
        linear, projects each group by weights of its own.
        """
        self._rows.check(videos)
        if len(self.opened) == 1:
            return self.opened[0].local_vectors(videos, steps, options)
        if isinstance(options, slice):
            every = np.arange(self.n_options)[options]
            videos, steps = (np.asarray(each)[..., None] for each in (videos, steps))
            return self.local_vectors(videos, steps, every)
        rows, at, chosen = np.broadcast_arrays(videos, steps, options)
        joined = torch.zeros(*chosen.shape, self.local_channels, device=self.device)
        begins = 0
        for each in self.opened:
            inside = (chosen >= each.first) & (chosen < each.first + each.group.places.n_options)
            vectors = each.local_vectors(rows[inside], at[inside], chosen[inside] - each.first)
            ends = begins + each.group.channels
            # Not `joined[inside, begins:ends]`: torch 2.8 takes no slice beside a mask of two axes.
            joined[..., begins:ends][torch.from_numpy(inside).to(self.device)] = vectors
            begins = ends
        return joined

    def frame_indices(self, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices ``(B, T)`` or ``(B, T, F)`` of the frames in their video files."""
        indices: NDArray[np.int64] = self._arrays["frame_indices"][videos]
        return indices

    def view(self, video: int) -> View:
        """Return the frames, the crop and the flip that were taken of a row."""
        return stored_view(self._arrays, video)

    def sequences(
        self,
        videos: NDArray[np.int64],
        options: NDArray[np.int64],
        attended: NDArray[np.bool_] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what f_C sees of whole videos when given patches are looked at.

        Args:
            videos: ``(B,)`` rows.
            options: ``(B, T)`` in ``[0, K)``; any where nothing is attended.
            attended: ``(B, T)`` bool, whether f_L runs. None: everywhere.

        Returns:
            Glance vectors ``(B, T, G)``, local vectors ``(B, T, L)``, zero where nothing is
            attended, and labels ``(B,)``.
        """
        shown = options if attended is None else np.where(attended, options, 0)
        local = self.local_vectors(videos[:, None], np.arange(self.steps), shown)
        if attended is not None:
            unseen = torch.from_numpy(~attended).to(self.device)
            local.masked_fill_(unseen[..., None], 0.0)
        return self.glance_vectors(videos), local, self.labels[videos].to(self.device)

    @cached_property
    def _stored_maps(self) -> Tensor:
        return stored_tensor(self._arrays["glance_maps"])

    @cached_property
    def _resident_maps(self) -> ResidentRows | None:
        return ResidentRows.of(self._arrays["glance_maps"], self.device)

    def _gather_maps(self, videos: NDArray[np.int64], steps: NDArray[np.int64] | slice) -> Tensor:
        if self._resident_maps is None:
            return copied(self._arrays["glance_maps"][videos, steps], self.device)
        maps = self._resident_maps.with_rows(videos)
        rows = torch.from_numpy(videos).to(maps.device)
        at = steps if isinstance(steps, slice) else torch.from_numpy(steps).to(maps.device)
        return maps[rows, at].float()

    @property
    def _only(self) -> GroupFeatures:
        if len(self.opened) > 1:
            names = ", ".join(each.group.name for each in self.opened)
            raise CacheError(
                f"{self.root} is opened with several option groups ({names}), and one is expected "
                "here: open it with one, or read each of `opened`"
            )
        return self.opened[0]
