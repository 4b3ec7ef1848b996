from .clips import Clip, count_frames
from .container import VideoError
from .decode import read_frames, read_many, read_view
from .decoders import every_picture, read_index
from .digit_config import DigitPairsConfig, DigitsConfig
from .digit_pairs import make_digit_pairs
from .digits import make_digits
from .index import VideoIndex
from .list_table import VideoListError
from .lists import VideoList, read_lists, read_videos
from .sampling import AugmentConfig, View, draw_crop, draw_frames, sample_frames

__all__ = [
    "AugmentConfig",
    "Clip",
    "DigitPairsConfig",
    "DigitsConfig",
    "VideoError",
    "VideoIndex",
    "VideoList",
    "VideoListError",
    "View",
    "count_frames",
    "draw_crop",
    "draw_frames",
    "every_picture",
    "make_digit_pairs",
    "make_digits",
    "read_frames",
    "read_index",
    "read_lists",
    "read_many",
    "read_videos",
    "read_view",
    "sample_frames",
]
