"""What the verbs ``cache …`` take."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, subcommand

from ...recognizer.precisions import BuildPrecision, FeatureDtype
from .devices import Device
from .executor import ExecutorConfig
from .own import OwnConfig
from .videos import GlancedFramesConfig, VideosConfig


@dataclass(frozen=True)
class ContentConfig:
    """What is stored of each video.

    Attributes:
        frames: Which frames of a video are stored.
        glance: f_G: a torchvision classification network, small_glance, small_local, or the folder
            of an encoder's bundle, such as 'focusgym fit encoder' writes.
        glance_px: Side to which f_G's input is reduced; the frame's side if not given.
        group: What can be looked at, with which f_L: patches:ENCODER:SIDE are 7×7 patches of this
            side, patches:ENCODER:SIDE:N are N×N, full:ENCODER:SIDE is the whole frame reduced to
            this side; ENCODER as of --glance. May be repeated: for ResNet-50 on patches and on
            whole frames, '--group patches:resnet50:128 --group full:resnet50:112'. Without any,
            patches:resnet50:128.
        weights: Weights of a network that is given by its name: NAME=WEIGHTS, once for each, such
            as resnet50=resnet50.pth. A .pth or .safetensors file, 'default' or the name of
            torchvision's weights (downloaded), or 'random'.
        views: Augmented copies of each training video (frames, crop and flip drawn); 0 stores
            middle frames and the central crop, as for testing.
        seed: Seed of the copies' draws.
        dtype: Storage dtype.
        precision: Precision in which the encoders compute: tf32 and bfloat16 are faster on many
            GPUs, and less exact; tf32 is of GPUs alone.
        device: Where to compute: cuda:1 is the second GPU; auto takes a GPU where there is one.
    """

    frames: GlancedFramesConfig
    glance: str = "mobilenet_v2"
    glance_px: int | None = None
    group: UseAppendAction[tuple[str, ...]] = ()
    weights: UseAppendAction[tuple[str, ...]] = ()
    views: int = 0
    seed: int = 0
    dtype: FeatureDtype = "float16"
    precision: BuildPrecision = "float32"
    device: Device = "cpu"


@dataclass(frozen=True)
class CachePlanConfig(OwnConfig):
    """Tell what building a cache would take: videos, space, hours, and what would be wrong.

    Attributes:
        out: Folder where the cache would be.
        videos: Which videos are encoded.
        content: What is stored of each video.
        sample: Videos that are encoded to estimate the time.
        preset: Options by name, or from a YAML file: activitynet, fcvid, mini_kinetics (the
            paper's), clips_sharp. A name that is none lists them all. What the command
            line says counts more.
        json: Print one JSON object and nothing else.
    """

    out: Positional[Path]
    videos: VideosConfig
    content: ContentConfig
    sample: int = 8
    preset: str | None = None
    json: bool = False


@dataclass(frozen=True)
class CacheBuildConfig(OwnConfig):
    """Encode every video and all its options; an interrupted build goes on where it was.

    Attributes:
        out: Folder of the cache.
        videos: Which videos are encoded.
        content: What is stored of each video.
        shard: Build part i of n only, such as 2/4, to be merged later.
        shards: Of an executor that is not local: how many parts are built apart, each on a CPU or
            a GPU, and merged; if not given, one for 16 rows, on GPUs for 512, but at most 256.
        decoders: Of Ray and --device cuda, for GPUs on nodes with few CPUs: how many videos are
            decoded at a time for a part, on any CPUs of the cluster, from which the frames travel;
            if not given, a part takes its share of its node's CPUs, which decode.
        restart: Throw away what was begun in this place with other settings, or other --shards.
        preset: Options by name, or from a YAML file, as of 'focusgym cache plan'.
        json: Print one JSON object and nothing else.
        where: Where the parts are built.
    """

    out: Positional[Path]
    videos: VideosConfig
    content: ContentConfig
    shard: str | None = None
    shards: int | None = None
    decoders: int | None = None
    restart: bool = False
    preset: str | None = None
    json: bool = False
    where: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass(frozen=True)
class CacheVerifyConfig(OwnConfig):
    """Check a cache: checksums, finite values, and some videos encoded again.

    Attributes:
        cache: Folder of the cache.
        sample: Videos that are encoded again, drawn at random.
        seed: Seed of that draw.
        videos_root: Folder of the videos, where they are no longer where the cache looks for them:
            the one that --videos named when it was built.
        json: Print one JSON object and nothing else.
        where: Where the cache is read.
    """

    cache: Positional[Path]
    sample: int = 8
    seed: int = 0
    videos_root: Path | None = None
    json: bool = False
    where: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass(frozen=True)
class CacheInfoConfig:
    """Tell what a cache is made of.

    Attributes:
        cache: Folder of the cache.
        json: Print one JSON object and nothing else.
    """

    cache: Positional[Path]
    json: bool = False


@dataclass(frozen=True)
class CacheMergeConfig(OwnConfig):
    """Join the shards of a cache.

    Attributes:
        parts: Folders of the shards.
        out: Folder of the cache.
        json: Print one JSON object and nothing else.
    """

    parts: Positional[tuple[Path, ...]]
    out: Path
    json: bool = False


@dataclass(frozen=True)
class CacheHeadroomConfig(OwnConfig):
    """Tell whether looking can pay, before any policy is trained.

    On the split val, rules that are blind to the video stand beside those that see it: the best
    fixed box, a linear rule on the glance, both measured on videos that they were not fitted to,
    the patch after which f_C is most confident, and the oracle, which knows the label.

    Attributes:
        cache: Folder of the cache.
        classifier: Bundle of f_C, trained on this cache with random patches.
        group: The option group that is chosen from, where the cache holds several.
        seed: Seed of random patches, and of which videos are measured together.
        device: Where to compute: cuda:1 is the second GPU; auto takes a GPU where there is one.
        json: Print one JSON object and nothing else.
    """

    cache: Positional[Path]
    classifier: Path
    group: str | None = None
    seed: int = 0
    device: Device = "cpu"
    json: bool = False


@dataclass(frozen=True)
class CacheVerbs:
    """Feature caches: plan, build, verify, info, merge; and headroom, whether looking can pay.

    Attributes:
        verb: What to do with a cache.
    """

    verb: (
        Annotated[CachePlanConfig, subcommand("plan")]
        | Annotated[CacheBuildConfig, subcommand("build")]
        | Annotated[CacheVerifyConfig, subcommand("verify")]
        | Annotated[CacheInfoConfig, subcommand("info")]
        | Annotated[CacheMergeConfig, subcommand("merge")]
        | Annotated[CacheHeadroomConfig, subcommand("headroom")]
    )
