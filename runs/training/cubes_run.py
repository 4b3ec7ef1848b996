"""AdaFocusV3 as a run: all networks trained together, or π alone, and kept as a recognizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...recognizer import (
    Classifier,
    CubePolicy,
    CubePolicyConfig,
    CubeRecognizer,
    Cubes,
    Encoder,
    Recognition,
    first_weights,
    read_recognizer,
)
from ...recognizer.randomness import TrainingStage
from ..configs.fit import FitCubesConfig
from ..evaluation.budgets import write_predictions
from ..options.end_to_end import check_batches
from ..options.groups import encoders_of
from ..options.parse import UsageError, settings_of, usage
from ..options.stage_videos import StageVideos
from .stage_parts import classifier_of, digest_of, map_sizes, stage_of
from .stage_run import train_stage
from .stages import Training


def fit_cubes(config: FitCubesConfig, device: torch.device) -> None:
    """Train f_G, f_L, f_C and π together, or π alone; write a recognizer.

    Raises:
        UsageError: If options do not go together.
        BundleError: If ``--networks`` is no readable run.
    """
    learns = "learned" in (config.time, config.space)
    alone = config.networks is not None
    if alone and not learns:
        raise UsageError(
            "--networks: with it the policy is trained alone, and --time and --space leave nothing "
            "to be learned: let one of them be learned, or leave --networks out"
        )
    if config.frames.order != "video" or config.frames.segment_frames != 1:
        raise UsageError(
            "--order and --segment-frames: cubes are made of the video's frames in their order: "
            "leave both options out; --cube-frames says how many frames a cube has"
        )
    trained = ["policy"] if alone else ["glance", "local", "classifier", *["policy"] * learns]
    # A preset has the rates of all.
    others = {"glance", "local", "classifier", "policy"} - {*trained}
    without: Any = {f"lr_{name}": None for name in others}
    settings = settings_of(replace(config.training, **without), trained)
    kind = stage_of(config.training, "cubes")
    with usage():
        cubes = Cubes(config.frames.frame, config.patch, config.frames.steps, config.cube_frames)
    videos = StageVideos.read(config)
    glance, local, classifier = _networks(config, videos, device)
    height, width, channels = map_sizes(glance, videos.frames)
    with usage(), first_weights(config.training.seed):
        sizes = CubePolicyConfig(
            height,
            width,
            channels,
            cubes.steps if config.glance_steps is None else config.glance_steps,
            config.cubes,
            config.conv_channels,
            config.policy_hidden,
            config.time,
            config.space,
        )
        if sizes.steps > cubes.steps:
            raise ValueError(
                f"--glance-steps: f_G reads at most the {cubes.steps} frames; got {sizes.steps}: "
                "give no more"
            )
        stage = kind(
            glance,
            local,
            classifier,
            cubes,
            policy := CubePolicy(sizes),
            gradient=config.gradient,
            # Neither says anything to a policy that is trained alone.
            auxiliary=config.auxiliary and not alone,
            diversity=config.diversity and not alone,
            stop_gradient=config.stop_gradient,
        ).to(device)
    n_train = int((videos.table["split"] == "train").sum())
    check_batches(config.training, n_train, sizes.steps, policy)
    digests = {"glance-encoder": digest_of(glance), "local-encoder": digest_of(local)}
    if alone:
        digests["classifier"] = digest_of(classifier)
    seed = config.training.seed
    key = [seed, TrainingStage.CUBES]
    samples = videos.samples(key, [seed, TrainingStage.VALIDATION], draws_shape=(config.cubes, 6))

    def write(folder: Path, metrics: dict[str, float]) -> None:
        recognizer = CubeRecognizer(
            glance,
            local,
            classifier,
            cubes,
            policy,
            frames=videos.frames,
            classes=videos.classes,
        )
        recognizer.save(folder, metrics=metrics)

        def recognize(pixels: Tensor, draws: Tensor) -> Recognition:
            return recognizer(pixels, draws=draws[..., :3])  # type: ignore[no-any-return]

        write_predictions(folder, recognize, samples[1])

    data = {"videos": videos.fingerprint(), **digests}
    train_stage(config, Training(stage, samples, settings, key, "cubes", write), data)


def _networks(
    config: FitCubesConfig, videos: StageVideos, device: torch.device
) -> tuple[Encoder, Encoder, Classifier]:
    """Return f_G, f_L and f_C: those of another run, or new ones."""
    steps = config.cubes + 1
    if config.networks is not None:
        recognizer = read_recognizer(config.networks, device, fuse=False)
        if not isinstance(recognizer, CubeRecognizer):
            raise UsageError(
                f"--networks {config.networks} is a recognizer without cubes: give a run of "
                "'focusgym fit cubes'"
            )
        expected = {
            "--cubes": (config.cubes, recognizer.policy.config.cubes),
            "--classes": (videos.n_classes, recognizer.classifier.config.n_classes),
            "--cube-frames": (config.cube_frames, recognizer.cubes.frames),
            "--patch": (config.patch, recognizer.cubes.side_px),
            "--steps": (config.frames.steps, recognizer.cubes.steps),
            "--frame": (config.frames.frame, recognizer.cubes.frame_px),
            "--hidden": (config.head.hidden, recognizer.classifier.config.hidden),
            "--aggregation": (config.head.aggregation, recognizer.classifier.config.aggregation),
        }
        for option, (ours, theirs) in expected.items():
            if ours != theirs:
                raise UsageError(
                    f"{option}: {config.networks} was trained with {theirs}; got {ours}: give the "
                    "same"
                )
        if recognizer.classes and recognizer.classes != tuple(videos.classes):
            raise UsageError(
                f"--classes: {config.networks} was trained for other classes, or in another order: "
                "give the same list"
            )
        return recognizer.glance_encoder, recognizer.local_encoder, recognizer.classifier
    if not config.head.reuse_glance:
        raise UsageError(
            "--no-reuse-glance: f_C predicts from the glance alone before the first cube: leave "
            "the option out"
        )
    encoders = encoders_of(
        config.glance_encoder,
        config.local_encoder,
        config.weights,
        config.glance_px,
        config.glance_reduction,
    )
    glance, local = (encoder.to(device) for encoder in encoders)
    sizes = (glance.channels, local.channels, videos.n_classes)
    classifier = classifier_of(None, sizes, steps, config.head, config.training)
    return glance, local, classifier.to(device)
