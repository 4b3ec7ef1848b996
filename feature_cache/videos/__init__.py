"""From a list of videos to the frames that encoders see: lists, files, sampling, decoding."""

from .clips import Clip, VideoError, count_frames
from .decode import read_frames, read_many, read_view
from .digits import DigitsConfig, make_digits
from .list_table import VideoListError
from .lists import VideoList, read_lists, read_videos
from .sampling import AugmentConfig, View, draw_crop, draw_frames, sample_frames

__all__ = [
    "AugmentConfig",
    "Clip",
    "DigitsConfig",
    "VideoError",
    "VideoList",
    "VideoListError",
    "View",
    "count_frames",
    "draw_crop",
    "draw_frames",
    "make_digits",
    "read_frames",
    "read_lists",
    "read_many",
    "read_videos",
    "read_view",
    "sample_frames",
]
