"""What the files of a cache must hold: types and shapes, checked once where they are opened.

Whoever reads a cache relies on it, and checks nothing of it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ...recognizer import FrameConfig, OptionGroup
from ...recognizer.files.regular import open_regular
from ...recognizer.files.typed import typed
from ...recognizer.limits import check_names
from ...recognizer.places.option_group import is_file_name
from ...recognizer.precisions import BuildPrecision, FeatureDtype
from ..videos.paths import IMAGE_TEMPLATE
from ..videos.sampling import AugmentConfig

GLANCE = "glance"  # name of f_G among the encoders of a cache
SPLITS = ("train", "val", "test", "skipped")
_TEXTS = ("name", "path", "labels", "split", "images")
_INTEGERS = ("label", "n_images", "view")
_TIMES = ("start_s", "end_s")
_FACT_TEXTS = ("decoder", "source", "checksum")
_SIZE = "bytes"
_ANY = -1  # a length of an axis that the manifest does not say


@dataclass(frozen=True)
class EncoderEntry:
    """What a manifest says of an encoder; see `describe`."""

    name: str
    input_px: int | None
    weights_sha256: str
    reduction: str = "area"


@dataclass(frozen=True)
class DependsOn:
    """What a manifest says of all that the features depend on, as far as it is read again."""

    classes: list[str]
    frames: FrameConfig
    augment: AugmentConfig | None
    dtype: FeatureDtype
    device: Literal["cpu", "cuda"]
    libraries: dict[str, str]
    precision: BuildPrecision = "float32"


@dataclass(frozen=True)
class RootEntry:
    """Where the videos were; see `root_entry`."""

    from_cache: str | None
    absolute: str


@dataclass(frozen=True)
class SkippedEntry:
    """A row that could not be encoded, and why."""

    row: int
    name: str
    reason: str


@dataclass(frozen=True)
class ManifestEntry:
    """What a manifest says, as far as it is read again.

    Raises:
        ValueError: If f_G is missing, a name cannot be that of a file, there is no such shard, or a
            number is out of range.
    """

    depends_on: dict[str, Any]
    encoders: dict[str, EncoderEntry]
    groups: dict[str, dict[str, Any]]
    fingerprints: dict[str, str]
    shard: tuple[int, int] | None
    videos_root: RootEntry
    skipped: list[SkippedEntry]
    glance_map_range: tuple[float, float]
    glance_gmacs: float
    decoders: dict[str, int]

    def __post_init__(self) -> None:
        """Check names, which become names of files, and numbers."""
        if GLANCE not in self.encoders:
            raise ValueError(f"the encoder {GLANCE!r} is missing")
        for name in (*self.encoders, *self.groups):
            if not is_file_name(name):
                raise ValueError(f"{name!r:.80} is no name of an encoder or an option group")
        if not self.groups:
            raise ValueError("there is no option group in it")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise ValueError(f"shard must be [i, n] with 1 <= i <= n; got {[*self.shard]}")
        low, high = self.glance_map_range
        if low > high or self.glance_gmacs < 0:
            raise ValueError(
                "glance_map_range must be ascending and glance_gmacs at least 0; got "
                f"{[low, high]}, {self.glance_gmacs}"
            )


def check_manifest(content: Any) -> None:
    """Check what a manifest holds.

    Raises:
        ValueError: If a part is missing, of another type or out of range, or parts do not fit.
    """
    manifest = typed(ManifestEntry, content, others=True)
    depends_on = typed(DependsOn, manifest.depends_on, "depends_on", others=True)
    check_names(depends_on.classes)
    for name, described in manifest.groups.items():
        group = OptionGroup.read(name, described)
        if group.encoder not in manifest.encoders:
            raise ValueError(f"{name} is read by an encoder that is missing, {group.encoder}")
        frames = depends_on.frames
        expected = (frames.frame_px, frames.segment_frames)
        if (group.places.frame_px, group.segment_frames) != expected:
            raise ValueError(f"{name} is for other frames than the cache's")


def read_rows(path: Path, n_classes: int, with_facts: bool) -> pd.DataFrame:
    """Read the table of rows of a cache.

    Args:
        path: The CSV file.
        n_classes: C.
        with_facts: Whether the columns that a build adds are needed: bytes, decoder, source and
            checksum.

    Raises:
        OSError: If it cannot be read, or is no regular file.
        ValueError: If it is no such table, lacks columns, or a cell holds no such value.
    """
    texts, integers = dict.fromkeys((*_TEXTS, *_FACT_TEXTS), str), (*_INTEGERS, _SIZE)
    try:
        with open_regular(path) as file:
            table = pd.read_csv(
                file,
                dtype={**texts, **dict.fromkeys(_TIMES, np.float64)},
                keep_default_na=False,
                na_values={"start_s": "", "end_s": ""},
            )
    except (OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path.name} holds numbers that are none") from error
    needed = [*_TEXTS, *_INTEGERS, *_TIMES, *((_SIZE, *_FACT_TEXTS) if with_facts else ())]
    if missing := [name for name in needed if name not in table]:
        raise ValueError(f"{path.name} has no column {missing[0]}")
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{path.name} has rows with more cells than columns")
    if table.empty:  # see `write_bare_cache`
        return table.astype({name: np.int64 for name in integers if name in table})
    for name in integers:
        if name in table and table[name].dtype != np.int64:
            raise ValueError(f"the column {name} of {path.name} must be of integers")
    for what, wrong in _wrong_rows(table, n_classes).items():
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"row {row} of {path.name} has no such {what}")
    return table


def _wrong_rows(table: pd.DataFrame, n_classes: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return which rows ``(N,)`` have a wrong cell, by what is wrong."""
    several = table["labels"].str
    is_list = several.fullmatch(r"[0-9]{1,9}(;[0-9]{1,9})*").to_numpy(bool)
    parts = several.split(";").explode()
    numbers = parts.where(parts.str.fullmatch(r"[0-9]{1,9}"), "0").astype(np.int64)
    beyond = (numbers >= n_classes).groupby(level=0).any().to_numpy()
    first = numbers[~numbers.index.duplicated()].to_numpy()
    label, start, end = (table[name].to_numpy() for name in ("label", "start_s", "end_s"))
    images, n_images = table["images"], table["n_images"].to_numpy()
    is_template = images.str.fullmatch(IMAGE_TEMPLATE).to_numpy(bool)
    is_named = (images != "").to_numpy()
    empty = (table["path"] == "") | table["path"].str.contains("\0", regex=False)
    wrong = {
        "name of a video": empty.to_numpy(bool),
        "labels": ~is_list | beyond | (first != label),
        "split": ~table["split"].isin(SPLITS).to_numpy(),
        "segment": np.isinf(start) | np.isinf(end) | (start < 0) | (end < 0),
        "images": (is_named & ~(is_template & (n_images > 0))) | (n_images < 0),
        "view": (table["view"] < -1).to_numpy(),
    }
    if _SIZE in table:
        wrong["number of bytes"] = (table[_SIZE] < 0).to_numpy()
    return wrong


@dataclass(frozen=True)
class ArraySchema:
    """Which array a file of a cache must hold.

    Attributes:
        dtype: Dtype of its values.
        shape: Its shape; −1 where the manifest does not say.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def check(self, name: str, array: np.ndarray[Any, Any]) -> None:
        """Check an array.

        Raises:
            ValueError: If it is of another dtype or shape.
        """
        fits = len(array.shape) == len(self.shape) and all(
            n in (_ANY, m) for n, m in zip(self.shape, array.shape, strict=True)
        )
        if array.dtype != self.dtype or not fits:
            shown = ", ".join("any" if n == _ANY else str(n) for n in self.shape)
            raise ValueError(
                f"{name} has values of {array.dtype} and shape {array.shape}, expected "
                f"{self.dtype} and ({shown}), as the manifest says"
            )


def array_schemas(manifest: Mapping[str, Any], n_rows: int) -> dict[str, ArraySchema]:
    """Return what the arrays of a cache must be, by their names on disk.

    Args:
        manifest: Of the cache, checked.
        n_rows: N, of its table; −1 for any.
    """
    depends_on = manifest["depends_on"]
    frames, dtype = FrameConfig(**depends_on["frames"]), np.dtype(depends_on["dtype"])
    n, steps = n_rows, frames.steps
    schemas = {
        "glance_maps": ArraySchema(dtype, (n, steps, _ANY, _ANY, _ANY)),
        "glance_vectors": ArraySchema(dtype, (n, steps, _ANY)),
        "frame_indices": ArraySchema(np.dtype(np.int64), (n, *frames.shape)),
        "crops_px": ArraySchema(np.dtype(np.int32), (n, 4)),
        "flipped": ArraySchema(np.dtype(np.bool_), (n,)),
    }
    for name, described in manifest["groups"].items():
        group = OptionGroup.read(name, described)
        shape = (n, steps, group.places.n_options, group.channels)
        schemas[f"local_vectors_{name}"] = ArraySchema(dtype, shape)
    return schemas
