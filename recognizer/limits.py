"""What no real input exceeds: beyond, a file's numbers are damaged, or there to fill memory."""

from __future__ import annotations

from collections.abc import Sequence

MOST_SIDE_PX = 1 << 13  # of frames that are read
MOST_PIXELS = 1 << 26  # of a frame as a file has it: twice those of 8K video
MOST_FRAMES = 1 << 16  # that are read of a video
MOST_VIDEO_BYTES = 1 << 32  # of all frames that are read of a video
MOST_OPTIONS = 1 << 16  # of an option group
MOST_TEXT_BYTES = 1 << 28  # of a list of videos, or of names of classes
MOST_NAME = 1 << 10  # characters of the name of a class
MOST_STEPS = 1 << 12  # for each of which a classifier has a head of its own


def check_side(side_px: int, what: str = "frames") -> None:
    """Check the side of frames, pixels, as they are decoded or as an encoder sees them.

    Args:
        side_px: The side.
        what: What has it, in the message.

    Raises:
        ValueError: If it is larger than `MOST_SIDE_PX`.
    """
    if side_px > MOST_SIDE_PX:
        raise ValueError(
            f"{what} must have a side of at most {MOST_SIDE_PX} px; got {side_px}: resize them"
        )


def check_names(classes: Sequence[str]) -> None:
    """Check the names of classes, which are printed with every video.

    Raises:
        ValueError: If one is longer than `MOST_NAME`.
    """
    for i, name in enumerate(classes):
        if len(name) > MOST_NAME:
            raise ValueError(
                f"names of classes must have at most {MOST_NAME} characters; that of class {i} has "
                f"{len(name)}: {name:.40}…"
            )
