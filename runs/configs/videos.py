"""Which videos, and which frames of them: options that verbs share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...feature_cache.videos.list_formats import ListFormat
from ...recognizer.encoders.config import FrameConfig, Resizer, SegmentOrder, ShortVideos


@dataclass(frozen=True)
class VideosConfig:
    """Which videos.

    Attributes:
        videos: Folder of the videos. Without a list: with videos.csv, whose columns are path, label
            and split, as the data of a quickstart; with train.txt and val.txt, whose lines are
            path, frames, label (val.txt becomes the test split); or with one folder per class.
        train: List of training videos; without --val, the last fifth of each class in it is
            held out as val.
        val: List of validation videos, to select on.
        test: List of test videos, to report on.
        format: Format of the lists, by their look if not given: with lines
            of 'name,frames,label[,label2,label3]' it is activitynet (and FCVID), with 'path frames
            label' or 'path label' kinetics; csv has a header 'path,label[,start_s,end_s][,split]'.
            something (and Jester), which has to be given, has the lines of kinetics, and rules of
            its own for short videos and mirroring.
        classes: File with the name of a class in each line, or its number and name.
        images: Name of the images where videos are folders of them, such as 'image_%05d.jpg'; the
            usual ones are recognized.
        skip_missing: Go on without videos that cannot be read; the manifest tells which and why.
    """

    videos: Path
    train: Path | None = None
    val: Path | None = None
    test: Path | None = None
    format: ListFormat | None = None
    classes: Path | None = None
    images: str | None = None
    skip_missing: bool = False


@dataclass(frozen=True)
class FramesConfig:
    """Which frames of a video are taken, and how they are prepared.

    Attributes:
        steps: T, segments per video: frames, where a segment is one.
        segment_frames: F, frames per segment, all of which f_L reads: T·F frames are taken evenly.
        frame: Side S of the frames, pixels.
        resize: Length of the short side before the crop to S, pixels; 0 takes frames as they are,
            S×S.
        short_videos: What fills the places of a video with fewer than T·F frames; the first frame
            for the format something, the last one for others, if not given.
        order: Order in which the segments are read: the video's; or one whose every beginning is
            spread over the video: coarse_to_fine, as FrameExit, or halving, as AdaFocusV2.
        resizer: What resizes: torchvision, or pillow as the released code of AdaFocus. They differ
            by one grey level in places.
        flip: Whether half of the augmented videos are mirrored; if not given, they are, but for
            the format something, where left and right are labels.
    """

    steps: int = 16
    segment_frames: int = FrameConfig.segment_frames
    frame: int = 224
    resize: int = 256
    short_videos: ShortVideos | None = None
    order: SegmentOrder = "video"
    resizer: Resizer = "torchvision"
    flip: bool | None = None


@dataclass(frozen=True)
class GlancedFramesConfig(FramesConfig):
    """Which frames of a video are taken for f_G and for f_L, and how they are prepared.

    Attributes:
        glance_frames: How many of a segment's frames f_G reads, spread evenly, the middle one for
            1; all if not given.
        own_glance: Whether f_G reads so many frames of its own instead, taken evenly from the
            video beside those that f_L reads.
    """

    glance_frames: int | None = FrameConfig.glance_frames
    own_glance: bool = FrameConfig.own_glance
