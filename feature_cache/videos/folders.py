"""A folder per class: which videos are in it, and what is passed over."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from .list_table import refuse
from .paths import VIDEO_SUFFIXES, VideoFinder

_SHOWN = 3  # names in a note


@dataclass
class ClassFolders:
    """The videos below a folder that holds one folder per class.

    Attributes:
        videos: Paths of the videos of each class, relative to the folder, in the order of names; a
            video is a file with one of ``VIDEO_SUFFIXES`` or a folder of numbered images.
        passed_over: Relative paths of what was not taken, by the reason.
    """

    videos: dict[str, list[str]] = field(default_factory=dict)
    passed_over: dict[str, list[str]] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Return a sentence for each reason for which something was passed over."""
        return [
            f"{len(names)} passed over, {reason}: {', '.join(names[:_SHOWN])}"
            + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
            for reason, names in self.passed_over.items()
        ]


def walk_classes(root: Path, finder: VideoFinder) -> ClassFolders:
    """Look for videos in all folders below a folder; links to folders are followed once.

    What is hidden, with a name that begins with a dot, is no class and no video.

    Raises:
        VideoListError: If links make a loop; all loops are named.
    """
    walk = _Walk(root, finder)
    for entry in _entries(str(root)):
        if entry.name.startswith("."):
            walk.pass_over(entry.path, "hidden")
        elif not entry.is_dir():
            walk.pass_over(entry.path, "in no folder of a class")
        else:
            walk.videos = []
            walk.visit(entry.path, (os.path.realpath(root),), is_class=True)
            if walk.videos:
                by_parts = sorted(walk.videos, key=lambda path: path.split(os.sep))
                walk.folders.videos[entry.name] = by_parts
            else:
                walk.pass_over(entry.path, "a folder without a video")
    refuse(walk.loops)
    return walk.folders


class _Walk:
    """The state of a walk through folders."""

    def __init__(self, root: Path, finder: VideoFinder) -> None:
        self.root = root
        self.finder = finder
        self.folders = ClassFolders()
        self.videos: list[str] = []  # of the present class
        self.loops: list[str] = []
        self._visited: set[str] = set()

    def visit(self, folder: str, inside: tuple[str, ...], *, is_class: bool = False) -> None:
        """Look through a folder; ``inside`` are the real paths of the folders that it is in."""
        real = os.path.realpath(folder)
        if real in inside:
            self.loops.append(f"{self.shown(folder)} links to a folder that it is in: remove it")
        elif real in self._visited:
            self.pass_over(folder, "links to a folder that was taken already")
        elif not is_class and self.finder.template(folder):
            self._visited.add(real)
            self.videos.append(self.shown(folder))
        else:
            self._visited.add(real)
            for entry in _entries(folder):
                self._take(entry, (*inside, real))

    def _take(self, entry: os.DirEntry[str], inside: tuple[str, ...]) -> None:
        if entry.name.startswith("."):
            self.pass_over(entry.path, "hidden")
        elif entry.is_dir():
            self.visit(entry.path, inside)
        elif not entry.name.lower().endswith(VIDEO_SUFFIXES):
            self.pass_over(entry.path, "not named like a video")
        elif entry.is_file():
            self.videos.append(self.shown(entry.path))
        else:
            self.pass_over(entry.path, "no regular file")

    def pass_over(self, path: str, reason: str) -> None:
        self.folders.passed_over.setdefault(reason, []).append(self.shown(path))

    def shown(self, path: str) -> str:
        return os.path.relpath(path, self.root)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what is in a folder, by name."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
