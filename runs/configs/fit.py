"""What the verbs ``fit …`` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, subcommand

from ...agents.systems.order import Order
from ...recognizer.afnet.config import AFNetSettings, Backbone, ScheduleKind
from ...recognizer.classifiers.config import ClassifierConfig
from ...recognizer.encoders.config import Reduction
from ...recognizer.places.kinds import FixedKind
from ...recognizer.policies.config import AxisKind, CubePolicyConfig, PolicyConfig
from ...recognizer.stages.config import Gradient
from .own import OwnConfig
from .stages import (
    AFNetTrainingConfig,
    CubesTrainingConfig,
    EndToEndTrainingConfig,
    TrainingConfig,
)
from .videos import FramesConfig, GlancedFramesConfig, VideosConfig


@dataclass(frozen=True)
class HeadConfig:
    """What f_C is, where it does not begin from a bundle.

    Attributes:
        hidden: H of the GRU, or the units whose maximum is taken.
        dropout: Dropout before its output layers, in [0, 1).
        reuse_glance: Whether the glance vectors are classified too.
        aggregation: gru; average, the mean of frame-wise predictions; average_logits, of the scores
            before their softmax; max_pool, the maximum over frames, with an output layer for each
            number of frames; or module:attribute of your own.
    """

    hidden: int = ClassifierConfig.hidden
    dropout: float = ClassifierConfig.dropout
    reuse_glance: bool = ClassifierConfig.reuse_glance
    aggregation: str = ClassifierConfig.aggregation


@dataclass(frozen=True)
class FitEncoderConfig:
    """Stage 0: train an encoder alone on full frames.

    Attributes:
        out: Folder of the encoder's bundle.
        videos: Which videos are trained on; the split val selects the epoch.
        frames: Which frames of the videos are read.
        training: How the encoder is trained.
        network: A torchvision classification network, small_glance or small_local.
        weights: To begin with: a .pth or .safetensors file, 'default' or the name of torchvision's
            weights (downloaded), or 'random'.
        input_px: Side to which the input is reduced; the frame's side if not given.
        augment: Draw frames, crop and flip anew in every epoch.
    """

    out: Positional[Path]
    videos: VideosConfig
    frames: FramesConfig
    training: TrainingConfig
    network: str
    weights: str
    input_px: int | None = None
    augment: bool = True


@dataclass(frozen=True)
class FitPatchesConfig(OwnConfig):
    """Stages I and III on pixels: train f_L and f_C on patches, f_G fixed.

    Random patches, stage I; or with --policy its patches, stage III.

    Attributes:
        out: Folder of the bundles local and classifier.
        videos: Which videos are trained on; the split val selects the epoch.
        frames: Which frames of the videos are read.
        training: How f_L and f_C are trained.
        head: What f_C is, without --classifier.
        glance_encoder: Bundle of f_G.
        local_encoder: f_L, to begin with: the folder of an encoder's bundle; or a torchvision
            classification network, small_local or small_residual, with --weights.
        weights: Weights of f_L where it is given by its name: NAME=WEIGHTS, such as
            resnet50=resnet50.pth. A .pth or .safetensors file, 'default' or the name of
            torchvision's weights (downloaded), or 'random'.
        classifier: Bundle of f_C, to begin with; random weights if not given.
        policy: A run of 'focusgym train', or a policy bundle.
        sample_policy: Draw the policy's patches and skips; else its most probable ones.
        patch: Patch side P, pixels.
        grid: Candidates per axis.
        skip_rate: Share of the frames skipped at random, where the policy skips none.
        augment: Draw frames, crop and flip anew in every epoch.
    """

    out: Positional[Path]
    videos: VideosConfig
    frames: GlancedFramesConfig
    training: TrainingConfig
    head: HeadConfig
    # Not plainly --local: torchrun takes that for an abbreviation of options of its own.
    glance_encoder: Path
    local_encoder: str
    weights: UseAppendAction[tuple[str, ...]] = ()
    classifier: Path | None = None
    policy: Path | None = None
    sample_policy: bool = False
    patch: int = 128
    grid: int = 7
    skip_rate: float = 0.0
    augment: bool = True


@dataclass(frozen=True)
class FitClassifierConfig(OwnConfig):
    """Stages I and III on a cache: train f_C on random patches, or with --policy on its patches.

    Attributes:
        out: Folder of the classifier's bundle.
        cache: The feature cache; its split val selects the epoch.
        training: How f_C is trained.
        head: What f_C is, without --classifier.
        group: The cache's option group, where it has several; or several to be read together.
        classifier: Bundle of f_C, to begin with; random weights if not given.
        policy: A run of 'focusgym train', or a policy bundle.
        sample_policy: Draw the policy's patches and skips; else its most probable ones.
        skip_rate: Share of the frames skipped at random, where the policy skips none.
        order: Order in which f_C is fed the segments in training: the video's; coarse to fine, for
            exits; shuffled anew for every video and epoch, for agents that jump; or with gaps, a
            random part of them in the video's order and then the rest, for those that skip.
    """

    out: Positional[Path]
    cache: Path
    training: TrainingConfig
    head: HeadConfig
    group: tuple[str, ...] = ()
    classifier: Path | None = None
    policy: Path | None = None
    sample_policy: bool = False
    skip_rate: float = 0.0
    order: Order = "video"


@dataclass(frozen=True)
class JointConfig(OwnConfig):
    """What trainings of all networks together have in common.

    Attributes:
        out: Folder of the recognizer's bundle.
        videos: Which videos are trained on; the split val selects the epoch.
        frames: Which frames of the videos are read.
        training: How the networks are trained.
        head: What f_C is.
        glance_encoder: f_G: a torchvision classification network, small_glance, small_local, or the
            folder of an encoder's bundle.
        local_encoder: f_L, given in the same way.
        weights: Weights of a network that is given by its name: NAME=WEIGHTS, once for each, such
            as resnet50=resnet50.pth. A .pth or .safetensors file, 'default' or the name of
            torchvision's weights (downloaded), or 'random'. Both encoders may be one network.
        glance_px: Side to which f_G's input is reduced; the frame's side if not given.
        glance_reduction: How f_G's input is reduced: by area average, or bilinear without
            anti-aliasing, as in AdaFocusV2's released code.
        conv_channels: Channels of the policy after its 1×1 convolution.
        auxiliary: Whether f_G and f_L have auxiliary heads in training.
        diversity: Whether as many random places are learned from beside the policy's.
        stop_gradient: Whether the policy's gradient ends before f_G.
        augment: Draw frames, crop and flip anew in every epoch.
    """

    out: Positional[Path]
    videos: VideosConfig
    frames: FramesConfig
    training: EndToEndTrainingConfig
    head: HeadConfig
    # Not plainly --local: torchrun takes that for an abbreviation of options of its own.
    glance_encoder: str = "mobilenet_v2"
    local_encoder: str = "resnet50"
    weights: UseAppendAction[tuple[str, ...]] = ()
    glance_px: int | None = None
    glance_reduction: Reduction = "area"
    conv_channels: int = PolicyConfig.conv_channels
    auxiliary: bool = True
    diversity: bool = True
    stop_gradient: bool = True
    augment: bool = True


@dataclass(frozen=True)
class FitEndToEndConfig(JointConfig):
    """AdaFocusV2: train f_G, f_L, f_C and a policy together, by gradient, from pixels.

    The policy names the centre of a box in every frame, and what f_L is shown is interpolated
    between pixels there, so that the loss reaches the policy.

    Attributes:
        frames: Which frames of the videos are read.
        patch: Side P of the boxes, pixels.
        boxes: Where the boxes are: where the policy learns to put them; or, as controls that are
            trained in the same way, at random, in the centre, or normally distributed around it.
            These have no policy, and options of one are refused beside them.
        policy_hidden: Width of the policy's linear layer and of its GRU.
        recurrent: Whether the policy has a GRU, which remembers the segments before. Without, it
            sees each segment alone, as where a video is one.
    """

    frames: GlancedFramesConfig
    patch: int = 128
    boxes: Literal["learned", FixedKind] = "learned"
    policy_hidden: int = 2048
    recurrent: bool = True


@dataclass(frozen=True)
class FitCubesConfig(JointConfig):
    """AdaFocusV3: train f_G, f_L, f_C and a policy that names cubes in space and time.

    The policy sees the glance at the whole video, and names all cubes at once; f_C predicts after
    the glance and after every cube. With --networks it is the second of the paper's two stages: the
    policy is trained alone.

    Attributes:
        patch: Side P of the cubes, pixels.
        cube_frames: F, frames of a cube.
        cubes: D, cubes of a video.
        glance_steps: How many of the T frames f_G reads, spread evenly; all if not given.
        time: Where the cubes are in time: where the policy learns to put them; or, as controls that
            are trained in the same way, at random or spread evenly.
        space: Where the cubes are in the frame, with the same choices.
        gradient: Through what their places learn: the deep features of a larger cube, or pixels
            between which the cubes are interpolated.
        networks: A run of this verb whose f_G, f_L and f_C are taken as they are: the policy alone
            is trained. Of a run with random cubes, it is the paper's second stage.
        policy_hidden: Units of a frame in the policy.
    """

    training: CubesTrainingConfig
    patch: int = 128
    cube_frames: int = 1
    cubes: int = 18
    glance_steps: int | None = None
    time: AxisKind = "learned"
    space: AxisKind = "learned"
    gradient: Gradient = "deep"
    networks: Path | None = None
    policy_hidden: int = CubePolicyConfig.hidden


@dataclass(frozen=True)
class FitAFNetConfig(AFNetSettings):
    """AFNet: train a network whose gates keep a share of the frames for its full branches.

    Every block has a cheap branch for all frames, and a full one for those that its gate keeps.

    Attributes:
        out: Folder of the recognizer's bundle.
        videos: Which videos are trained on; the split val selects the epoch, of those that have the
            final ratios as targets.
        frames: Which frames of the videos are read; gates have weights of their own for each. One,
            as where images are videos, is kept, with --ratio 1.
        training: How the network is trained.
        backbone: What the network is built on; small is for small data sets.
        weights: To begin with, random if not given: the bundle of an AF network, or a file of one,
            such as the released ones trained on ImageNet. Gates and output layer are taken if they
            fit.
        ratio: RT, the share of frames that every gate is to keep; 1 with soft selection.
        gmacs: Budget of a video, GMACs, in place of --ratio: gates are drawn to it together, and
            some may keep more frames than others.
        spatial_ratio: RS, the share of positions of each frame that are not set to zero; without
            gates of positions if not given.
        loss_weight: Weight λ of the loss that draws gates to the ratios; none with soft selection.
        temperature: How the temperature of hard gates' gradient falls from 1 to 0.01.
        keep_score: What a gate's score to keep begins with, that to skip with 1: the nearer, the
            sooner gates learn to skip.
        fusion: How the branches are joined: with weights from what is seen, or added.
        selection: Whether gates keep frames or skip them, or only weight them: then all are run.
        shift: Whether channels are shifted along the frames, as in TSM: offline to both sides,
            online from frames before alone; not at all if not given.
        dropout: Dropout before the output layer, in [0, 1).
        augment: Draw frames, crop and flip anew in every epoch.
    """

    out: Positional[Path]
    videos: VideosConfig
    frames: FramesConfig
    training: AFNetTrainingConfig
    backbone: Backbone = "resnet50"
    weights: Path | None = None
    ratio: float = 0.5
    gmacs: float | None = None
    spatial_ratio: float | None = None
    loss_weight: float = 1.0
    temperature: ScheduleKind = "exponential"
    augment: bool = True


StageConfig = (
    FitEncoderConfig
    | FitPatchesConfig
    | FitClassifierConfig
    | FitEndToEndConfig
    | FitCubesConfig
    | FitAFNetConfig
)


@dataclass(frozen=True)
class FitVerbs:
    """The supervised stages: encoder (0), patches (I and III on pixels), classifier (on a cache).

    And end-to-end and cubes, which train all networks of AdaFocusV2 and V3 together; and afnet.

    Attributes:
        verb: What to train.
    """

    verb: (
        Annotated[FitEncoderConfig, subcommand("encoder")]
        | Annotated[FitPatchesConfig, subcommand("patches")]
        | Annotated[FitClassifierConfig, subcommand("classifier")]
        | Annotated[FitEndToEndConfig, subcommand("end-to-end")]
        | Annotated[FitCubesConfig, subcommand("cubes")]
        | Annotated[FitAFNetConfig, subcommand("afnet")]
    )
