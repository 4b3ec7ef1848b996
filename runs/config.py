"""What the verbs take from the command line; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, subcommand


@dataclass(frozen=True)
class QuickstartConfig:
    """Do the whole job: video files, feature cache, policy, and the policy plugged back.

    Without --videos, on the embedded data set of digits; with it, on your own clips.

    Attributes:
        seed: Seed of the data, the networks and every draw.
        out: Folder for everything that is written; complete steps found in it are reused.
        videos: Your clips: a folder with train.txt and val.txt (lines 'path frames label'), or
            with one folder per class.
        weights: torchvision's MobileNet-V2 state dict (.pth or .safetensors), needed with --videos.
    """

    seed: int = 0
    out: Path = Path("outputs/quickstart")
    videos: Path | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class VideosConfig:
    """Which videos.

    Attributes:
        videos: Folder of the videos. Without a list: with train.txt and val.txt (lines
            'path frames label'; val.txt becomes the test split), or with one folder per class.
        train: List of training videos; without --val, the last fifth of each class in it is
            held out as val.
        val: List of validation videos, to select on.
        test: List of test videos, to report on.
        format: Of the lists: activitynet (and FCVID) 'name,frames,label[,label2,label3]'; kinetics
            'path frames label'; something (and Jester) 'folder frames label'; csv with a header
            'path,label[,start_s,end_s]'.
        classes: File with the name of a class in each line.
        images: Name of the images where videos are folders of them, such as 'image_%05d.jpg'; the
            usual ones are recognized.
        skip_missing: Go on without videos that cannot be read; the manifest tells which and why.
    """

    videos: Path
    train: Path | None = None
    val: Path | None = None
    test: Path | None = None
    format: Literal["activitynet", "kinetics", "something", "csv"] = "kinetics"
    classes: Path | None = None
    images: str | None = None
    skip_missing: bool = False


@dataclass(frozen=True)
class FramesConfig:
    """Which frames of a video are taken, and how they are prepared.

    Attributes:
        steps: T, frames per video.
        frame: Side S of the frames, pixels.
        resize: Length of the short side before the crop to S, pixels; 0 takes frames as they are,
            S×S.
        short_videos: What fills the places of a video with fewer than T frames; the first frame
            for the format something, the last one for others, if not given.
        flip: Whether half of the augmented videos are mirrored; if not given, they are, but for
            the format something, where left and right are labels.
    """

    steps: int = 16
    frame: int = 224
    resize: int = 256
    short_videos: Literal["repeat_last", "repeat_first"] | None = None
    flip: bool | None = None


@dataclass(frozen=True)
class ContentConfig:
    """What is stored of each video.

    Attributes:
        glance_weights: Weights of f_G: a .pth or .safetensors file, 'default' or the name of
            torchvision's weights (downloaded), or 'random'.
        local_weights: Weights of f_L, likewise.
        glance: f_G: a torchvision classification network, small_glance or small_local.
        local: f_L, likewise.
        frames: Which frames.
        glance_px: Side to which f_G's input is reduced; the frame's side if not given.
        patch: Patch side P, pixels; may be repeated: --patch 96 --patch 128. 128 if not given.
        grid: Candidates per axis; may be repeated. 7 if not given.
        views: Augmented copies of each training video (frames, crop and flip drawn); 0 stores
            middle frames and the central crop, as for testing.
        seed: Of the copies.
        dtype: Storage dtype.
        device: Where the encoders run.
    """

    glance_weights: str
    local_weights: str
    frames: FramesConfig
    glance: str = "mobilenet_v2"
    local: str = "resnet50"
    glance_px: int | None = None
    patch: UseAppendAction[tuple[int, ...]] = ()
    grid: UseAppendAction[tuple[int, ...]] = ()
    views: int = 0
    seed: int = 0
    dtype: Literal["float16", "float32"] = "float16"
    device: Literal["cpu", "cuda"] = "cpu"


@dataclass(frozen=True)
class CachePlanConfig:
    """Tell what building a cache would take: videos, space, hours, and what would be wrong.

    Attributes:
        out: Folder where the cache would be.
        videos: Which videos.
        content: What is stored of each.
        sample: Videos that are encoded to estimate the time.
    """

    out: Positional[Path]
    videos: VideosConfig
    content: ContentConfig
    sample: int = 8


@dataclass(frozen=True)
class CacheBuildConfig:
    """Encode every video and all its patches; an interrupted build goes on where it was.

    Attributes:
        out: Folder of the cache.
        videos: Which videos.
        content: What is stored of each.
        shard: Build part i of n only, such as 2/4, to be merged later.
        restart: Throw away what was begun in this place with other settings.
    """

    out: Positional[Path]
    videos: VideosConfig
    content: ContentConfig
    shard: str | None = None
    restart: bool = False


@dataclass(frozen=True)
class CacheVerifyConfig:
    """Check a cache: checksums, finite values, and some videos encoded again.

    Attributes:
        cache: Its folder.
        sample: Videos that are encoded again, drawn at random.
        seed: Of that draw.
    """

    cache: Positional[Path]
    sample: int = 8
    seed: int = 0


@dataclass(frozen=True)
class CacheInfoConfig:
    """Tell what a cache is made of.

    Attributes:
        cache: Its folder.
    """

    cache: Positional[Path]


@dataclass(frozen=True)
class CacheMergeConfig:
    """Join the shards of a cache.

    Attributes:
        shards: Their folders.
        out: Folder of the cache.
    """

    shards: Positional[tuple[Path, ...]]
    out: Path


@dataclass(frozen=True)
class CacheVerbs:
    """Feature caches: plan, build, verify, info, merge.

    Attributes:
        verb: What to do.
    """

    verb: (
        Annotated[CachePlanConfig, subcommand("plan")]
        | Annotated[CacheBuildConfig, subcommand("build")]
        | Annotated[CacheVerifyConfig, subcommand("verify")]
        | Annotated[CacheInfoConfig, subcommand("info")]
        | Annotated[CacheMergeConfig, subcommand("merge")]
    )
