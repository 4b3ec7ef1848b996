"""Frames to a video file."""

from __future__ import annotations

import os

import av
import numpy as np
from numpy.typing import NDArray


def write_mp4(frames: NDArray[np.uint8], path: str | os.PathLike[str], fps: int = 8) -> None:
    """Write frames ``(F, height, width, 3)`` uint8 as an H.264 file (even sides, CRF 18)."""
    # One thread: the bytes do not depend on the machine's cores.
    options = {"preset": "ultrafast", "crf": "18", "threads": "1"}
    with av.open(f"file:{os.path.abspath(path)}", "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
