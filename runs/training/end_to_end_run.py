"""AdaFocusV2 as a run: all networks trained together from pixels, and kept as a recognizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ...recognizer import (
    AdaptiveRecognizer,
    Boxes,
    Encoder,
    FrameConfig,
    Policy,
    PolicyConfig,
    build_policy,
    check_clips,
    first_weights,
)
from ...recognizer.randomness import TrainingStage
from ..configs.fit import FitEndToEndConfig
from ..evaluation.budgets import write_predictions
from ..options.end_to_end import check_batches
from ..options.groups import encoders_of
from ..options.parse import UsageError, settings_of, usage
from ..options.stage_videos import StageVideos
from .stage_parts import classifier_of, digest_of, map_sizes, stage_of
from .stage_run import train_stage
from .stages import Training


def fit_end_to_end(config: FitEndToEndConfig, device: torch.device) -> None:
    """Train f_G, f_L, f_C and π together; write a recognizer.

    Raises:
        UsageError: If options do not go together.
    """
    learns, training = config.boxes == "learned", config.training
    if not config.head.reuse_glance and not config.auxiliary:
        raise UsageError(
            "--no-reuse-glance and --no-auxiliary: nothing would train f_G but the policy, whose "
            "gradient ends before it: give one of them"
        )
    trained = ["glance", "local", "classifier"]
    if learns:
        trained.append("policy")
    else:  # a preset has its rate all the same
        training = replace(training, lr_policy=None)
    settings = settings_of(training, trained)
    kind = stage_of(training, "end-to-end")
    with usage():
        places = Boxes(config.frames.frame, config.patch)
    videos = StageVideos.read(config)
    encoders = encoders_of(
        config.glance_encoder,
        config.local_encoder,
        config.weights,
        config.glance_px,
        config.glance_reduction,
    )
    glance, local = (encoder.to(device) for encoder in encoders)
    with usage():
        check_clips("f_G", glance, len(videos.frames.glanced))
        check_clips("f_L", local, videos.frames.segment_frames)
    sizes = (glance.channels, local.channels, videos.n_classes)
    steps = videos.frames.steps
    classifier = classifier_of(None, sizes, steps, config.head, config.training).to(device)
    policy = _policy(config, glance, videos.frames).to(device) if learns else None
    n_train = int((videos.table["split"] == "train").sum())
    check_batches(config.training, n_train, steps, policy)
    data = {
        "videos": videos.fingerprint(),
        "glance-encoder": digest_of(glance),
        "local-encoder": digest_of(local),
    }
    with first_weights(config.training.seed):
        stage = kind(
            glance,
            local,
            classifier,
            places,
            policy,
            fixed=config.boxes if config.boxes != "learned" else "random",
            auxiliary=config.auxiliary,
            diversity=config.diversity,
            stop_gradient=config.stop_gradient,
            frames=videos.frames,
        ).to(device)
    seed = config.training.seed
    samples = videos.samples([seed, TrainingStage.END_TO_END], [seed, TrainingStage.VALIDATION])

    def write(folder: Path, metrics: dict[str, float]) -> None:
        recognizer = AdaptiveRecognizer(
            glance,
            local,
            classifier,
            places,
            policy,
            torch.float32,  # nothing is rounded in training
            frames=videos.frames,
            classes=videos.classes,
        )
        recognizer.save(folder, metrics=metrics)
        if learns:  # controls have no exits that anybody wants
            write_predictions(folder, lambda pixels, _: recognizer(pixels), samples[1])

    key = [seed, TrainingStage.END_TO_END]
    train_stage(config, Training(stage, samples, settings, key, "end to end", write), data)


def _policy(config: FitEndToEndConfig, glance: Encoder, frames: FrameConfig) -> Policy:
    """Return π with random weights, for the maps that f_G gives."""
    height, width, channels = map_sizes(glance, frames)
    with usage(), first_weights(config.training.seed):
        return build_policy(
            PolicyConfig(
                height,
                width,
                channels,
                n_options=1,
                conv_channels=config.conv_channels,
                hidden=config.policy_hidden,
                network="centers" if config.recurrent else "clip_centers",
            )
        )
