"""From a name in a list to the video file, the image, or the folder of images, on disk."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Of the containers of video that PyAV opens; the most common first.
VIDEO_SUFFIXES = (
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".wmv", ".flv", ".mpg", ".mpeg", ".ts"),
    *(".3gp", ".3g2", ".gif", ".ogv", ".ogm", ".mts", ".m2ts", ".m2t", ".vob", ".mpe", ".m1v"),
    *(".m2v", ".asf", ".divx", ".f4v", ".qt", ".mj2", ".mk3d", ".mxf", ".nut", ".ivf", ".obu"),
    *(".y4m", ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".vvc", ".vc1", ".dv", ".mjpg"),
    *(".mjpeg", ".rm", ".rmvb", ".wtv", ".nsv", ".amv", ".roq", ".gxf", ".h261", ".h263"),
)
# Of files that are one image, which is then a video of one frame; capitals do not matter.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff")
# Of names of images, with one number.
IMAGE_TEMPLATE = r"[^%/]*%(?:0?[1-9])?d[^%/]*"
TEMPLATES = ("image_%05d.jpg", "%05d.jpg", "%06d.jpg")


class Location(NamedTuple):
    """Where a name leads.

    Attributes:
        path: Absolute; of what is not there, where it was looked for first.
        identity: Path without symbolic links: the same for two names of one video.
        images: Template of the images' names, counted from 1; empty for a file.
        n_images: How many images the folder holds; 1 for a file that is one, 0 for a video file.
        missing: Why it cannot be read; empty if it can.
    """

    path: str
    identity: str
    images: str = ""
    n_images: int = 0
    missing: str = ""


class VideoFinder:
    """Finds the videos of lists under a folder.

    Folders that hold videos are listed once, so that a name costs one or two calls of the file
    system, however many places it may stand in.
    """

    def __init__(self, root: Path, images: str | None = None) -> None:
        """Look under ``root`` (absolute) and ``root/videos``.

        Args:
            root: The folder.
            images: Template of the images' names; None tries ``TEMPLATES``.

        Raises:
            ValueError: If ``images`` does not stand for one number.
        """
        if images is not None and not re.fullmatch(IMAGE_TEMPLATE, images):
            raise ValueError(
                "images must be a file name with one %d for the number of the image, such as "
                f"'image_%05d.jpg'; got {images!r}"
            )
        self._bases = (str(root), os.path.join(root, "videos"))
        self._templates = TEMPLATES if images is None else (images,)
        self._entries: dict[str, dict[str, bool]] = {}
        self._real: dict[str, str] = {}

    def find(self, name: str, n_frames: int | None = None) -> Location:
        """Find a video: the file or folder itself, else with one of ``VIDEO_SUFFIXES`` appended.

        Args:
            name: Relative to one of the two folders, or absolute.
            n_frames: How many images there should be in a folder; None counts them.

        Returns:
            What is there, or why it cannot be read.
        """
        trimmed = name.rstrip("/")
        places = dict.fromkeys(os.path.join(base, trimmed) for base in self._bases)
        for path in self._candidates(list(places)):
            try:
                status = os.stat(path)
            except OSError:  # a symbolic link that leads nowhere
                continue
            if stat.S_ISDIR(status.st_mode):
                return self._images(path, n_frames)
            if stat.S_ISREG(status.st_mode):
                missing = "" if status.st_size else f"{path} is empty"
                is_image = path.lower().endswith(IMAGE_SUFFIXES)
                if is_image and n_frames not in (None, 1):
                    missing = f"{path} is one image, but the list says {n_frames} frames"
                return Location(path, self._identity(path), "", int(is_image), missing)
            return Location(path, self._identity(path), missing=f"{path} is no regular file")
        first = next(iter(places))
        usual = ", ".join(VIDEO_SUFFIXES[:5])
        reason = f"no such video: {' or '.join(places)}, nor with {usual} or the like"
        return Location(first, os.path.normpath(first), missing=reason)

    def template(self, folder: str) -> str | None:
        """Return the template whose number 1 is in the folder, if one is."""
        present = (t for t in self._templates if os.path.exists(os.path.join(folder, t % 1)))
        return next(present, None)

    def _candidates(self, places: list[str]) -> Iterator[str]:
        for suffix in ("", *VIDEO_SUFFIXES):
            for place in places:
                folder, name = os.path.split(place)
                if name + suffix in self._listing(folder):
                    yield place + suffix

    def _listing(self, folder: str) -> dict[str, bool]:
        """Names in the folder, and whether they are symbolic links; empty if it is not there."""
        if folder not in self._entries:
            try:
                with os.scandir(folder) as entries:
                    self._entries[folder] = {entry.name: entry.is_symlink() for entry in entries}
            except (OSError, ValueError):  # ValueError: a null character
                self._entries[folder] = {}
        return self._entries[folder]

    def _identity(self, path: str) -> str:
        folder, name = os.path.split(path)
        if self._listing(folder)[name]:
            return os.path.realpath(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return os.path.join(self._real[folder], name)

    def _images(self, folder: str, n_frames: int | None) -> Location:
        identity, template = self._identity(folder), self.template(folder)
        if template is None:
            expected = " or ".join(template % 1 for template in self._templates)
            return Location(folder, identity, missing=f"{folder} holds no {expected}")
        if n_frames is None:
            numbers = image_numbers(folder, template)
            gap = next(n for n in range(1, len(numbers) + 2) if n not in numbers)
            last, missing = max(numbers), ""
            if gap < last:
                missing = f"{folder}: {template % gap} is not there, but {template % last} is"
            return Location(folder, identity, template, last, missing)
        missing = ""
        if n_frames == 0:
            missing = f"{folder}: the list says 0 frames"
        elif not os.path.exists(os.path.join(folder, template % n_frames)):
            missing = (
                f"{folder}: the list says {n_frames} frames, but {template % n_frames} is not "
                f"there ({len(image_numbers(folder, template))} are)"
            )
        return Location(folder, identity, template, n_frames, missing)


def image_numbers(folder: str, template: str) -> set[int]:
    """Return the numbers, from 1, of the images in a folder."""
    pattern = re.compile(re.sub(r"%\d*d", "([0-9]+)", re.escape(template)))
    matches = ((name, pattern.fullmatch(name)) for name in os.listdir(folder))
    numbers = {
        int(match[1])
        for name, match in matches
        if match and len(match[1]) <= 18 and template % int(match[1]) == name
    }
    return numbers - {0}
