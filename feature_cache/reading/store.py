"""The cache on disk: memory-mapped arrays, a table of videos, a manifest; and its reader."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import (
    Encoder,
    FocusgymError,
    FrameConfig,
    PatchGrid,
    describe,
    in_words,
    read_encoder,
    shortened,
)
from ..videos import Clip, View
from . import journal
from .roots import VideosRoot, Where
from .rows import TEXT_COLUMNS, clips_of, label_matrix

SHARED_ARRAYS = ("glance_maps", "glance_vectors", "frame_indices", "crops_px", "flipped")


class CacheError(FocusgymError):
    """A cache cannot be used as asked; the message says why and what to do."""


def fingerprint(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON-able mapping, keys sorted, as 64 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def group_fingerprint(depends_on: Mapping[str, Any], grid: PatchGrid) -> str:
    """Return the fingerprint of one option group: it does not depend on the other groups."""
    return fingerprint({**depends_on, "grid": asdict(grid)})


def local_array(grid: PatchGrid) -> str:
    """Return the name of an option group's array."""
    return f"local_vectors_{grid.name}"


def read_manifest(root: Path) -> dict[str, Any]:
    """Read the manifest of a complete cache, or of a complete shard.

    Raises:
        CacheError: If there is none, or if it was edited.
    """
    try:
        manifest: dict[str, Any] = json.loads((root / "manifest.json").read_text())
        found = {
            name: group_fingerprint(manifest["depends_on"], PatchGrid(**grid))
            for name, grid in manifest["grids"].items()
        }
        said = manifest["fingerprints"]
        for key in ("shard", "skipped", "glance_map_range", "glance_gmacs", "local_gmacs"):
            manifest[key]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CacheError(
            f"{root} is not a complete feature cache ({in_words(error)}): build it, or give "
            "another path"
        ) from error
    if found != said:
        raise CacheError(
            f"{root}: the manifest says fingerprints {_listed(said)}, but its content gives "
            f"{_listed(found)}: it was edited; rebuild the cache"
        )
    return manifest


def read_table(root: Path) -> pd.DataFrame:
    """Read the table of rows of a cache or a shard.

    Raises:
        CacheError: If it is not there or lacks columns.
    """
    try:
        table = pd.read_csv(
            root / "videos.csv",
            dtype=TEXT_COLUMNS,
            keep_default_na=False,
            na_values={"start_s": "", "end_s": ""},
        )
        table[["name", "path", "label", "labels", "split", "view"]]
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(root, error) from error
    return table


def open_arrays(root: Path, grids: Iterable[PatchGrid]) -> dict[str, NDArray[Any]]:
    """Map the arrays of a cache or a shard, read-only, by their names on disk.

    Raises:
        CacheError: If one is not there or damaged.
    """
    names = (*SHARED_ARRAYS, *(local_array(grid) for grid in grids))
    try:
        return {
            name: np.load(root / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names
        }
    except (OSError, ValueError) as error:
        raise _damaged(root, error) from error


def read_encoders(root: Path, manifest: Mapping[str, Any]) -> tuple[Encoder, Encoder]:
    """Read f_G and f_L of a cache or a shard.

    Raises:
        BundleError: If a bundle cannot be read.
        CacheError: If the weights are not those that the features were made with.
    """
    encoders = [read_encoder(root / name) for name in ("glance_encoder", "local_encoder")]
    for name, encoder in zip(("glance_encoder", "local_encoder"), encoders, strict=True):
        said, found = manifest["depends_on"][name], describe(encoder)
        if found != said:
            raise CacheError(
                f"{root / name} holds {in_short(found)}, but the features were made with "
                f"{in_short(said)}: the bundle was changed; put the former one back, or build the "
                "cache again"
            )
    return encoders[0], encoders[1]


def in_short(described: Mapping[str, Any]) -> str:
    """Return what `describe` gives of an encoder, for people to read."""
    size = f" at {described['input_px']} px" if described["input_px"] else ""
    return f"{described['name']}{size}, weights {shortened(described['weights_sha256'])}"


def _damaged(root: Path, error: Exception) -> CacheError:
    return CacheError(
        f"{root} is not a complete feature cache ({in_words(error)}): build it again, or give "
        "another path"
    )


def stored_view(arrays: Mapping[str, NDArray[Any]], row: int) -> View:
    """Return the view that is stored in a row."""
    left, top, right, bottom = arrays["crops_px"][row].tolist()
    indices = np.array(arrays["frame_indices"][row])
    return View(indices, (left, top, right, bottom), bool(arrays["flipped"][row]))


def _listed(fingerprints: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {shortened(value)}" for name, value in fingerprints.items())


def is_complete(root: Path, identity: Mapping[str, Any]) -> bool:
    """Say whether a cache of this identity is there already.

    Raises:
        CacheError: If something else is.
    """
    if not root.exists():
        return False
    if not (root / "manifest.json").is_file():
        raise CacheError(
            f"{root} exists and is no feature cache: nothing was touched; give the name of a new "
            "folder, in which the cache will be"
        )
    manifest = read_manifest(root)
    there = {
        **{key: value for key, value in manifest["depends_on"].items() if key != "files"},
        "grids": list(manifest["grids"].values()),
        "shard": manifest["shard"],
    }
    here = json.loads(json.dumps(identity))
    if there != here:
        other = [key for key in here if there.get(key) != here[key]]
        raise CacheError(
            f"{root} is a complete cache of other videos or settings ({', '.join(other)} differ): "
            "nothing was touched; give the name of a new folder"
        )
    if (root / journal.NAME).exists():
        (root / journal.NAME).unlink()
    return True


class FeatureCache:
    """A feature cache, opened for reading one of its option groups.

    Arrays stay on disk, memory-mapped read-only; every method copies only what it returns. Any
    number of processes may read; pickled, a cache is opened again where it arrives.

    Attributes:
        root: The cache's folder.
        manifest: Everything that the features depend on, the classes, and the costs of encoding.
        fingerprint: Of the features of this option group; what is trained on them carries it.
        videos: Table of rows, in the arrays' order: one per video, or per augmented copy of it.
            ``name``, ``path`` (absolute, where the video is now), ``label`` (the first), ``labels``
            (all, joined by ``;``), ``split``, ``start_s``, ``end_s``, ``images``, ``n_images``,
            ``view`` (−1: middle frames and central crop), ``bytes``, ``decoder`` (what read it),
            ``checksum``.
        videos_root: The folder of the videos, which `VideosRoot.find` has found; None for a cache
            of an earlier version, which has none.
        grid: Where the options are: option k of a decision is its patch k.
        frames: Which frames were taken, and how large.
        labels: ``(N,)`` int64, the first label.
        device: Where tensors are returned.
        glance_gmacs: Of f_G on a frame, as counted when the cache was built.
        local_gmacs: Of f_L on a patch of this group.
    """

    def __init__(
        self,
        root: Path,
        manifest: dict[str, Any],
        group: str,
        device: str,
        videos_root: Where | None,
    ) -> None:
        """Use `FeatureCache.open`."""
        self.root = root
        self.manifest = manifest
        self.device = torch.device(device)
        self.fingerprint: str = manifest["fingerprints"][group]
        self.glance_gmacs: float = manifest["glance_gmacs"]
        self.local_gmacs: float = manifest["local_gmacs"][group]
        table = read_table(root)
        self._videos_root = VideosRoot.find(root, manifest, table, videos_root)
        self.videos_root = Path(self._videos_root.folder) if self._videos_root.folder else None
        self.videos = table.assign(path=self._videos_root.paths)
        self.grid = PatchGrid(**manifest["grids"][group])
        self.frames = FrameConfig(**manifest["depends_on"]["frames"])
        self.labels = torch.tensor(self.videos["label"].to_numpy(), dtype=torch.int64)
        self._arrays = open_arrays(root, [self.grid])
        self._local = local_array(self.grid)

    @classmethod
    def open(
        cls,
        path: Where,
        group: str | None = None,
        device: str = "cpu",
        videos_root: Where | None = None,
    ) -> FeatureCache:
        """Open a cache.

        Args:
            path: The folder that `build_cache` wrote.
            group: Name of the option group, such as ``p128_7x7``; needed where there are several.
            device: Where tensors are returned, such as ``cuda``.
            videos_root: Where the folder of the videos is now; None looks for it, as
                `VideosRoot.find` says. It matters to what reads pixels, and to nothing else.

        Raises:
            CacheError: If there is no complete cache, if its manifest was changed, if it is a
                shard, or if the group is not there or not said.
        """
        root = Path(path)
        manifest = read_manifest(root)
        groups = list(manifest["grids"])
        if manifest["shard"] is not None:
            part, parts = manifest["shard"]
            raise CacheError(
                f"{root} is shard {part}/{parts} of a cache: merge the shards first "
                "(focusgym cache merge)"
            )
        if group is None and len(groups) > 1:
            raise CacheError(f"{root} holds {len(groups)} option groups: say which of {groups}")
        if group is not None and group not in groups:
            raise CacheError(f"{root} holds no option group {group!r}: choose one of {groups}")
        return cls(root, manifest, group or groups[0], device, videos_root)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a path: maps of files are not copied."""
        return FeatureCache.open, (self.root, self.grid.name, str(self.device), self.videos_root)

    @property
    def n_videos(self) -> int:
        """N, the rows."""
        return len(self.videos)

    @property
    def steps(self) -> int:
        """T, the frames per video."""
        return int(self._arrays["glance_maps"].shape[1])

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(h, w, G)."""
        height, width, channels = self._arrays["glance_maps"].shape[2:]
        return height, width, channels

    @property
    def local_channels(self) -> int:
        """L."""
        return int(self._arrays[self._local].shape[-1])

    @property
    def n_options(self) -> int:
        """K."""
        return int(self._arrays[self._local].shape[2])

    @property
    def dtype(self) -> torch.dtype:
        """Storage dtype of the features."""
        return torch.from_numpy(np.empty(0, self._arrays[self._local].dtype)).dtype

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
        """Return f_G and f_L, as they were when the cache was built; raises as `read_encoders`."""
        return read_encoders(self.root, self.manifest)

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
            there = ", ".join(sorted(self.videos["split"].unique()))
            raise CacheError(f"split {name!r} has no videos in {self.root}; there are: {there}")
        return rows

    def glance_maps(self, videos: NDArray[np.int64]) -> Tensor:
        """Return glance maps ``(B, T, h, w, G)`` float32 of videos ``(B,)``."""
        return self._gather("glance_maps", videos)

    def stored_glance_maps(self, videos: NDArray[np.int64]) -> list[Tensor]:
        """Return glance maps of videos ``(B,)`` as they are stored, each ``(T, h, w, G)``.

        Nothing is copied: they are views of the file, on CPU, and must not be written to.
        """
        return [self._stored_maps[row] for row in videos.tolist()]

    def glance_map(self, videos: NDArray[np.int64], steps: NDArray[np.int64]) -> Tensor:
        """Return glance maps ``(B, h, w, G)`` float32 of a step ``(B,)`` of each video."""
        return self._gather("glance_maps", (videos, steps))

    def glance_vectors(
        self, videos: NDArray[np.int64], steps: NDArray[np.int64] | slice = slice(None)
    ) -> Tensor:
        """Return glance vectors ``(B, T, G)`` float32 of videos ``(B,)``; ``(B, G)`` of steps."""
        return self._gather("glance_vectors", (videos, steps))

    def local_vectors(
        self,
        videos: NDArray[np.int64] | int,
        steps: NDArray[np.int64] | int,
        options: NDArray[np.int64] | slice,
    ) -> Tensor:
        """Return local vectors float32; the three indices broadcast as NumPy's do.

        ``local_vectors(videos[:, None], np.arange(T), options)`` with options ``(B, T)`` gives
        ``(B, T, L)``; ``local_vectors(videos, t, slice(None))`` gives ``(B, K, L)``.
        """
        return self._gather(self._local, (videos, steps, options))

    def frame_indices(self, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices ``(B, T)`` of the frames in their video files."""
        indices: NDArray[np.int64] = self._arrays["frame_indices"][videos]
        return indices

    def view(self, video: int) -> View:
        """Return the frames, the crop and the flip that were taken of a row."""
        return stored_view(self._arrays, video)

    def sequences(
        self, videos: NDArray[np.int64], options: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what f_C sees of whole videos when given patches are looked at.

        Args:
            videos: ``(B,)`` rows.
            options: ``(B, T)`` in ``[0, K]``; K skips the frame.

        Returns:
            Glance vectors ``(B, T, G)``, local vectors ``(B, T, L)``, zero where the frame is
            skipped, and labels ``(B,)``.
        """
        skips = options == self.n_options
        local = self.local_vectors(
            videos[:, None], np.arange(self.steps), np.where(skips, 0, options)
        )
        local.masked_fill_(torch.from_numpy(skips).to(self.device)[..., None], 0.0)
        return self.glance_vectors(videos), local, self.labels[videos].to(self.device)

    @cached_property
    def _stored_maps(self) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(self._arrays["glance_maps"])

    def _gather(self, name: str, index: Any) -> Tensor:
        # Indexing with arrays copies; the copy is ours, so torch may own it. It travels as stored.
        return torch.from_numpy(self._arrays[name][index]).to(self.device).float()
