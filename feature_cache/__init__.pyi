from .building.build import build_cache
from .building.encode import CacheConfig, VideoEncoder
from .building.info import cache_info
from .building.merge import merge_shards
from .building.plan import Plan, plan_cache
from .building.regroup import build_regrouped
from .building.verify import verify_cache
from .building.weights import make_encoder, read_checkpoint, read_state_dict
from .reading.bare import write_bare_cache
from .reading.group_features import GroupFeatures
from .reading.manifest import (
    GLANCE,
    CacheError,
    fingerprint,
    in_short,
    read_manifest,
    stored_groups,
)
from .reading.recognize import RecognizedVideo, recognize_videos
from .reading.rows import ShardError, clips_of, rows_digest, video_table
from .reading.samples import VideoSamples, cache_samples, targets
from .reading.store import FeatureCache
from .videos import (
    AugmentConfig,
    Clip,
    DigitPairsConfig,
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
    make_digit_pairs,
    make_digits,
    read_frames,
    read_index,
    read_lists,
    read_many,
    read_videos,
    read_view,
    sample_frames,
)

__all__ = [
    "GLANCE",
    "AugmentConfig",
    "CacheConfig",
    "CacheError",
    "Clip",
    "DigitPairsConfig",
    "DigitsConfig",
    "FeatureCache",
    "GroupFeatures",
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
    "make_digit_pairs",
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
    "stored_groups",
    "targets",
    "verify_cache",
    "video_table",
    "write_bare_cache",
]
