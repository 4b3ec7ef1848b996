"""Building a cache: every video once through all encoders, with all its options."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ...recognizer import Encoder, ahead, describe, library_versions, torch_threads
from ...recognizer.limits import check_names
from ...recognizer.pipeline.look import repeatable_on_cuda
from ..reading.arrays import checksum
from ..reading.journal import NOTHING, RowFacts
from ..reading.manifest import CacheError, is_complete
from ..reading.roots import common_folder
from ..reading.rows import cache_rows, clips_of, rows_digest, shard_rows
from ..reading.tables import write_tables
from ..videos import Clip, VideoError, View
from ..videos.clips import source_bytes, source_digest
from ..videos.decode import read_told
from .encode import CacheConfig, VideoEncoder, check_encoders, view_arrays
from .writer import CacheWriter

LIBRARIES = ("focusgym", "torch", "torchvision", "decord", "av", "numpy", "pillow")
Features = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Decoding:
    """Who decodes the videos of a build; the features do not depend on it.

    Attributes:
        read: Takes and returns what `read_told` does.
        at_once: Videos at a time; None for as many as encode.
    """

    read: Callable[..., tuple[Tensor, View, str]] = read_told
    at_once: int | None = None


_HERE = Decoding()


def build_cache(
    videos: pd.DataFrame,
    classes: list[str],
    root: str | os.PathLike[str],
    encoders: Mapping[str, Encoder],
    config: CacheConfig,
    *,
    shard: tuple[int, int] | None = None,
    skip_missing: bool = False,
    restart: bool = False,
    videos_root: str | os.PathLike[str] | None = None,
    decoding: Decoding = _HERE,
) -> Path:
    """Encode videos and write the cache; the folder appears only when it is complete.

    Until then it is ``ROOT.partial``; the same call goes on with what is there, and ends with the
    same bytes as a build that was never stopped. A video that cannot be read does not stop the
    others. Where the cache is complete already, nothing is done.

    Args:
        videos: Table of videos, as `read_lists` or `video_table` gives it.
        classes: Names of the C classes.
        root: The cache's folder.
        encoders: f_G as ``glance``, and the encoders that the option groups name; frozen from here
            on.
        config: What is stored of a video.
        shard: (i, n): build part i of n, i from 1, for `merge_shards`; None builds the whole.
        skip_missing: Go on without videos that cannot be read: their rows stay zero, their split
            is ``skipped``, and the manifest tells why.
        restart: Throw away what was begun with other settings, instead of refusing.
        videos_root: The folder of the videos, which may be moved later: the cache names those below
            it from there. None takes the deepest folder that holds all.
        decoding: Who decodes the videos.

    Returns:
        ``root``.

    Raises:
        CacheError: If ``root`` is something else, if another process builds it, if it was begun
            with other settings, if the disk is full, if videos cannot be read (all are named, the
            others kept), or if features are not finite.
        ShardError: If there is no such part.
        ValueError: As `check_encoders`; or if the name of a class is too long.
    """
    root = Path(root)
    rows = cache_rows(videos, config.augment)
    chosen = np.arange(len(rows)) if shard is None else shard_rows(len(rows), shard)
    check_encoders(encoders, config)
    check_names(classes)
    identity = identity_of(rows, classes, encoders, config, shard)
    if is_complete(root, identity):
        return root
    encoder = VideoEncoder(encoders, config)
    rows = rows.assign(path=[str(Path(path).absolute()) for path in rows["path"]])
    below = (
        common_folder(rows["path"].tolist())
        if videos_root is None
        else str(Path(videos_root).absolute())
    )
    rows = rows.iloc[chosen].reset_index(drop=True)
    clips = clips_of(rows)
    missing = rows["missing"].tolist()

    def encode(row: int) -> tuple[Features, RowFacts] | VideoError:
        try:
            if missing[row]:
                raise VideoError(missing[row])
            view = None if rows["view"][row] < 0 else int(rows["view"][row])
            return encode_row(clips[row], view, encoder, decoding.read)
        except VideoError as error:
            return error

    failures: dict[int, str] = {}
    with (
        encoding_workers(config) as workers,
        CacheWriter(
            root, identity, encoder.shapes(), len(rows), encoder.weights_bytes, restart
        ) as writer,
    ):
        todo = [row for row, clip in enumerate(clips) if not _is_done(writer.rows.get(row), clip)]
        results = ahead(encode, todo, decoding.at_once or workers)
        done = len(rows) - len(todo)
        progress = tqdm(results, "feature cache", len(rows), initial=done, unit="video")
        for row, result in zip(todo, progress, strict=True):
            if isinstance(result, VideoError):
                failures[row] = str(result)
            else:
                writer.write(row, *result)
        _check_failures(failures, len(rows), root, skip_missing, shard is not None)
        for row in failures:  # only now: a folder that is away for a while costs no rows
            writer.erase(row)
        writer.sync()
        facts = {row: row_facts for row, row_facts in writer.rows.items() if row not in failures}
        writer.finish(
            lambda folder: write_tables(folder, identity, rows, facts, failures, encoders, below)
        )
    return root


def encode_row(
    clip: Clip,
    view: int | None,
    encoder: VideoEncoder,
    read: Callable[..., tuple[Tensor, View, str]] = read_told,
) -> tuple[Features, RowFacts]:
    """Decode and encode one row.

    Args:
        clip: The video.
        view: Which augmented copy; None takes middle frames and the central crop.
        encoder: All encoders, and what is stored.
        read: Decodes, as `read_told`.

    Returns:
        The row's part of every array, and its facts.

    Raises:
        VideoError: If the video cannot be read, or is replaced meanwhile.
        CacheError: If its features are not finite.
    """
    config = encoder.config
    augment = None if view is None else config.augment
    before = _state(clip)
    frames, taken, decoder = read(clip, config.frames, augment, view or 0)
    features = {**encoder.encode(frames), **view_arrays(taken)}
    try:
        facts = check_features(features, clip, config.dtype, decoder)
        is_same = _state(clip) == before
    except OSError as error:
        raise VideoError(f"{clip.path} cannot be read ({error.strerror}): check it") from error
    if not is_same:
        raise VideoError(f"{clip.path} was replaced while it was read: leave it as it is")
    return features, facts


def check_features(features: Features, clip: Clip, dtype: str, decoder: str) -> RowFacts:
    """Return what the journal notes of a row's features, which `decoder` read.

    Raises:
        CacheError: If they are not finite.
    """
    if not all(np.isfinite(values).all() for values in features.values()):
        raise CacheError(
            f"{clip.path}: features are not finite in {dtype}: check the encoders' weights, or "
            "store float32"
        )
    maps = features["glance_maps"]
    return RowFacts(
        checksum(features),
        source_digest(clip, features["frame_indices"]),
        source_bytes(clip),
        decoder,
        float(maps.min()),
        float(maps.max()),
    )


@contextmanager
def encoding_workers(config: CacheConfig) -> Iterator[int]:
    """Yield how many threads encode, each with one torch thread.

    A video per core is faster than a core per part of a layer, and features do not depend on how
    many cores there are. On CUDA there is one thread more, so that all cores decode while one
    thread waits for the GPU; convolutions are repeatable, and keep the whole of float32 unless the
    precision is tf32.
    """
    workers = torch.get_num_threads()
    with ExitStack() as stack:
        stack.enter_context(torch_threads(1))
        if config.device != "cpu":
            stack.enter_context(repeatable_on_cuda(config.precision == "tf32"))
            workers += 1
        yield workers


def identity_of(
    rows: pd.DataFrame,
    classes: list[str],
    encoders: Mapping[str, Encoder],
    config: CacheConfig,
    shard: tuple[int, int] | None,
) -> dict[str, Any]:
    """Return everything that a cache's content depends on before a file is opened; JSON-able.

    The precision is named only where it is not float32.
    """
    content = asdict(config)
    if config.precision == "float32":
        del content["precision"]
    return {
        "rows": rows_digest(rows),
        "classes": classes,
        **content,
        "frames": config.frames.describe(),
        "device": torch.device(config.device).type,  # which of several is no matter
        "groups": {group.name: group.describe() for group in config.groups},
        "encoders": {name: describe(encoder) for name, encoder in encoders.items()},
        "libraries": library_versions(LIBRARIES),
        "shard": None if shard is None else list(shard),
    }


def _state(clip: Clip) -> tuple[int, ...]:
    """Return what differs once a file or a folder is another, or written to; empty without one."""
    try:
        status = os.stat(clip.path)
    except (OSError, ValueError):  # whoever reads it says why
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_done(facts: RowFacts | None, clip: Clip) -> bool:
    """Whether a row is on disk, and its file still as large as it was."""
    try:
        return facts not in (None, NOTHING) and facts.bytes == source_bytes(clip)
    except OSError:
        return False


def _check_failures(
    failures: Mapping[int, str], n_rows: int, root: Path, skip_missing: bool, is_shard: bool
) -> None:
    reasons = list(dict.fromkeys(failures.values()))  # copies of a video fail alike
    if not failures or (skip_missing and (is_shard or len(failures) < n_rows)):
        return
    shown = "\n".join(f"  {reason}" for reason in reasons[:50])
    more = f"\n  and {len(reasons) - 50} more" if len(reasons) > 50 else ""
    raise CacheError(
        f"{len(reasons)} video(s) cannot be read; the other {n_rows - len(failures)} of {n_rows} "
        f"rows are kept in {root}.partial:\n{shown}{more}\nmend the files and run the same "
        "command, which encodes only those, or add --skip-missing to go on without them"
    )
