from .build import build_cache
from .encode import CacheConfig, VideoEncoder
from .info import cache_info
from .merge import merge_shards
from .plan import Plan, plan_cache
from .recognize import RecognizedVideo, recognize_videos
from .regroup import build_regrouped
from .rows import ShardError, clips_of, rows_digest, video_table
from .samples import VideoSamples, cache_samples, targets
from .store import CacheError, FeatureCache, fingerprint, in_short, read_manifest
from .verify import verify_cache
from .videos import (
    AugmentConfig,
    Clip,
    DigitsConfig,
    VideoError,
    VideoIndex,
    VideoList,
    VideoListError,
    View,
    count_frames,
    draw_crop,
    draw_frames,
    every_picture,
    make_digits,
    read_frames,
    read_index,
    read_lists,
    read_many,
    read_videos,
    read_view,
    sample_frames,
)
from .weights import make_encoder, read_checkpoint, read_state_dict

__all__ = [
    "AugmentConfig",
    "CacheConfig",
    "CacheError",
    "Clip",
    "DigitsConfig",
    "FeatureCache",
    "Plan",
    "RecognizedVideo",
    "ShardError",
    "VideoEncoder",
    "VideoError",
    "VideoIndex",
    "VideoList",
    "VideoListError",
    "VideoSamples",
    "View",
    "build_cache",
    "build_regrouped",
    "cache_info",
    "cache_samples",
    "clips_of",
    "count_frames",
    "draw_crop",
    "draw_frames",
    "every_picture",
    "fingerprint",
    "in_short",
    "make_digits",
    "make_encoder",
    "merge_shards",
    "plan_cache",
    "read_checkpoint",
    "read_frames",
    "read_index",
    "read_lists",
    "read_manifest",
    "read_many",
    "read_state_dict",
    "read_videos",
    "read_view",
    "recognize_videos",
    "rows_digest",
    "sample_frames",
    "targets",
    "verify_cache",
    "video_table",
]
