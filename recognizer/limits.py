"""What no real input exceeds: beyond, a file's numbers are damaged, or there to fill memory."""

from __future__ import annotations

MOST_SIDE_PX = 1 << 13  # of frames that are read
MOST_PIXELS = 1 << 26  # of a frame as a file has it: twice those of 8K video
MOST_FRAMES = 1 << 16  # that are read of a video
MOST_VIDEO_BYTES = 1 << 32  # of all frames that are read of a video
MOST_OPTIONS = 1 << 16  # of an option group
MOST_TEXT_BYTES = 1 << 28  # of a list of videos, or of names of classes
MOST_STEPS = 1 << 12  # for each of which a classifier has a head of its own


def check_side(side_px: int) -> None:
    """Check the side of frames, pixels, as they are decoded or as an encoder sees them.

    Raises:
        ValueError: If it is larger than `MOST_SIDE_PX`.
    """
    if side_px > MOST_SIDE_PX:
        raise ValueError(
            f"frames must have a side of at most {MOST_SIDE_PX} px; got {side_px}: resize them"
        )
