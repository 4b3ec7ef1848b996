"""AFNet as a run: a network with gates trained from pixels, and kept as a recognizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ...recognizer import (
    AFNet,
    AFNetConfig,
    AFNetCost,
    AFNetRecognizer,
    Samples,
    afnet_cost,
    first_weights,
    rank_and_world,
)
from ...recognizer.randomness import TrainingStage
from ..configs.fit import FitAFNetConfig
from ..configs.stages import AFNetTrainingConfig
from ..options.parse import UsageError, settings_of, usage
from ..options.stage_videos import StageVideos
from .afnet_weights import begin_from, tell_start
from .stage_parts import digest_of, stage_of
from .stage_run import train_stage
from .stages import Training

# By which the gates' learning rate is larger than the others', if it is not given; the released
# code's.
_GATES_FASTER = 10
_BATCH = 32
# A share by which a budget may be off the bounds that a message has told.
_ROUNDING = 1e-3


def fit_afnet(config: FitAFNetConfig, device: torch.device) -> None:
    """Train an AF network; write a recognizer.

    Raises:
        UsageError: If options do not go together.
    """
    training, frames = config.training, config.frames
    if frames.order != "video" or frames.segment_frames != 1:
        raise UsageError(
            "--order and --segment-frames: an AF network reads the video's frames in their order: "
            "leave both options out; --steps says how many frames"
        )
    if frames.steps == 1:
        training = _of_one_frame(config)
    if training.lr_gates is None and training.lr_afnet is not None:
        training = replace(training, lr_gates=_GATES_FASTER * training.lr_afnet)
    settings = settings_of(training, ("afnet", "gates"))
    kind = stage_of(training, "afnet")
    videos = StageVideos.read(config)
    with usage(), first_weights(training.seed):
        network = AFNet(
            AFNetConfig(
                config.backbone,
                videos.n_classes,
                frames.steps,
                shift=config.shift,
                fusion=config.fusion,
                selection=config.selection,
                spatial=config.spatial_ratio is not None,
                keep_score=config.keep_score,
                dropout=config.dropout,
            )
        )
        report = None if config.weights is None else begin_from(config.weights, network)
        ratio, cost = _target(config, network)
        stage = kind(
            network,
            ratio=ratio,
            spatial_ratio=config.spatial_ratio,
            loss_weight=config.loss_weight,
            temperature=config.temperature,
            cost=cost,
        ).to(device)
    key, shape = [training.seed, TrainingStage.AFNET], (frames.steps, network.n_gates)
    samples = videos.samples(key, [training.seed, TrainingStage.VALIDATION], draws_shape=shape)

    def write(folder: Path, metrics: dict[str, float]) -> None:
        recognizer = AFNetRecognizer(network, frames=videos.frames, classes=videos.classes)
        metrics["kept_share"], metrics["gmacs"] = _measured(recognizer, samples[1])
        recognizer.save(folder, metrics=metrics)

    data = {"videos": videos.fingerprint()}
    if config.weights is not None and report is not None:
        data["weights"] = digest_of(network)
        if rank_and_world()[0] == 0 and not training.json:
            tell_start(config.weights, report)
    train_stage(config, Training(stage, samples, settings, key, "AFNet", write), data)


def _of_one_frame(config: FitAFNetConfig) -> AFNetTrainingConfig:
    """Return how a network is trained on one frame of each video, which its gates keep.

    Raises:
        UsageError: If gates are to skip it, or to be trained.
    """
    others = config.gmacs is not None or config.spatial_ratio is not None
    if config.ratio != 1 or config.selection != "hard" or others:
        raise UsageError(
            "--steps 1: gates have nothing to choose among one frame: give --ratio 1 without "
            "--gmacs, --spatial-ratio and --selection soft, or more frames"
        )
    if config.training.lr_gates:
        raise UsageError(
            f"--lr-gates {config.training.lr_gates:g}: of one frame, which they keep, gates learn "
            "nothing: give --lr-gates 0"
        )
    return replace(config.training, lr_gates=0.0)


def _target(config: FitAFNetConfig, network: AFNet) -> tuple[float, AFNetCost | None]:
    """Return the ratio, and for a budget of compute, of which it is then a share, the cost."""
    if config.gmacs is None:
        return config.ratio, None
    if config.selection == "soft":
        raise UsageError(
            f"--gmacs {config.gmacs:g}: soft selection skips nothing, and costs the same whatever "
            "its weights: leave the option out, or --selection soft"
        )
    cost, steps = afnet_cost(network, config.frames.frame), config.frames.steps
    ratio = cost.share_of(config.gmacs, steps)
    if not -_ROUNDING <= ratio <= 1 + _ROUNDING:
        least, most = (cost.at_ratio(share, steps) for share in (0, 1))
        raise UsageError(
            f"--gmacs {config.gmacs:g}: a video costs between {least:.4g} GMACs, where no block "
            f"keeps a frame, and {most:.4g}, where all keep all: give a number between them"
        )
    return min(max(ratio, 0.0), 1.0), cost


def _measured(recognizer: AFNetRecognizer, samples: Samples) -> tuple[float, float]:
    """Return the share of frames that gates keep, and the GMACs of a video, on average."""
    kept, gmacs = [], []
    for frames, *_ in samples.batches(0, torch.arange(samples.n).split(_BATCH)):
        output = recognizer.look(frames)
        kept.append(output.ran.double().mean(dim=(1, 2)))
        gmacs.append(recognizer.cost.of_videos(output.ran))
    return float(torch.cat(kept).mean()), float(torch.cat(gmacs).mean())
