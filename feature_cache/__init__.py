"""From video files to features on disk: lists, the embedded digits, decoding, building, reading."""

if __name__ == "feature_cache":  # pragma: no cover
    raise ImportError(
        "./feature_cache is the package focusgym.feature_cache: run `pip install -e .`, "
        "then `import focusgym.feature_cache`"
    )

from .build import build_cache, encode_video
from .bundle import (
    Bundle,
    BundleError,
    read_bundle,
    read_classifier,
    read_encoder,
    restore,
    write_bundle,
)
from .decode import FrameConfig, VideoError, read_frames, read_many, sample_frames
from .digits import DigitsConfig, make_digits
from .lists import VideoListError, read_videos
from .store import CacheError, FeatureCache, fingerprint

__all__ = [
    "Bundle",
    "BundleError",
    "CacheError",
    "DigitsConfig",
    "FeatureCache",
    "FrameConfig",
    "VideoError",
    "VideoListError",
    "build_cache",
    "encode_video",
    "fingerprint",
    "make_digits",
    "read_bundle",
    "read_classifier",
    "read_encoder",
    "read_frames",
    "read_many",
    "read_videos",
    "restore",
    "sample_frames",
    "write_bundle",
]
