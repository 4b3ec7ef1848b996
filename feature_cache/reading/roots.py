"""Where the videos of a cache are: its table names them from one folder, which may be moved."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..videos import Clip, VideoError
from .rows import SKIPPED

Where = str | os.PathLike[str]


def common_folder(paths: Sequence[str]) -> str:
    """Return the deepest folder that holds all of some absolute paths; empty if none does."""
    try:
        return os.path.commonpath({os.path.dirname(path) for path in paths})
    except ValueError:  # on several drives, or not absolute
        return ""


def path_from(root: str, path: str) -> str:
    """Return a path from the folder ``root``, with slashes; one that is not below it is kept."""
    before = os.path.join(root, "")
    if not root or not path.startswith(before):
        return path
    return Path(path[len(before) :]).as_posix()


def root_entry(root: str, cache: Where) -> dict[str, str | None]:
    """Return what the manifest of a cache says of the folder of its videos.

    Args:
        root: The folder of the videos, absolute.
        cache: Folder of the cache.

    Returns:
        ``from_cache``: the way to it from the cache's folder, with slashes; None if it is on
        another drive. ``absolute``: where it was when the cache was built.
    """
    try:
        way = os.path.relpath(os.path.realpath(root), os.path.realpath(cache))
    except ValueError:  # on another drive
        return {"from_cache": None, "absolute": root}
    return {"from_cache": Path(way).as_posix(), "absolute": root}


@dataclass(frozen=True)
class VideosRoot:
    """The folder from which the table of a cache names its videos.

    Attributes:
        cache: Folder of the cache.
        folder: Where the videos are taken to be; empty where the table has the whole path of every
            video, for they have no folder in common.
        tried: All places that they may be in.
        names: The table's column ``path``, from this folder; absolute where a video is not below.
    """

    cache: Path
    folder: str
    tried: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def find(
        cls, cache: Path, manifest: Mapping[str, Any], table: pd.DataFrame, folder: Where | None
    ) -> VideosRoot:
        """Find the folder.

        It is ``folder``. Else it is looked for from the cache, as it lay when the cache was built,
        and then where it was at that time: the first of the two that holds the first video of the
        table counts. So the videos are found when they were moved or copied together with the
        cache, and when the cache alone was.

        Args:
            cache: Folder of the cache.
            manifest: Manifest of the cache.
            table: Of rows, as it is on disk.
            folder: Where the folder is now.
        """
        names = table["path"].tolist()
        if folder is not None:
            place = str(Path(folder).absolute())
            return cls(cache, place, (place,), tuple(names))
        places = _places(cache, manifest["videos_root"])
        kept = [name for name, split in zip(names, table["split"], strict=True) if split != SKIPPED]
        holding = [each for each in places if kept and os.path.exists(os.path.join(each, kept[0]))]
        folders = [each for each in places if os.path.isdir(each)]
        return cls(cache, (holding or folders or places[-1:])[0], tuple(places), tuple(names))

    @property
    def paths(self) -> list[str]:
        """Where each video is."""
        return [os.path.join(self.folder, name) for name in self.names]

    def check(self, clips: Sequence[Clip], sizes_bytes: Sequence[int] | None = None) -> None:
        """Check that videos are there, and the same as when the cache was built.

        Args:
            clips: The videos of the cache.
            sizes_bytes: Of their files at that time, where they are known; folders of images are
                not measured.

        Raises:
            VideoError: If one is not there, or of another size. It says where it was looked for.
        """
        for place, clip in enumerate(clips):
            try:
                size = os.stat(clip.path).st_size
            except (FileNotFoundError, NotADirectoryError) as error:
                raise VideoError(f"{clip.path}: no such video{self._advice()}") from error
            except (OSError, ValueError):  # whoever reads it says what is wrong
                continue
            if sizes_bytes is not None and not clip.images and size != sizes_bytes[place]:
                raise VideoError(
                    f"{clip.path} has {size} bytes, and had {sizes_bytes[place]} when the cache "
                    f"was built: it is another file{self._advice()}"
                )

    def _advice(self) -> str:
        """Return where the videos were looked for, and what to do."""
        where = f"; {self.cache} looks for its videos in {' and '.join(self.tried)}"
        return (
            f"{where if self.tried else ''}: put the file back, or say where the folder of the "
            "videos is now, with --videos-root (videos_root in Python)"
        )


def _places(cache: Path, entry: Mapping[str, str | None]) -> list[str]:
    """Return where the folder of the videos may be, the best place first."""
    way, at = entry["from_cache"], str(entry["absolute"])
    if way is None:
        return [at]
    near = os.path.normpath(os.path.join(os.path.realpath(cache), way))
    return [at] if os.path.realpath(at) == near else [near, at]
