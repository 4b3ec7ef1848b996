"""Parts of the stages that ``fit`` trains: f_C, and checks of what goes together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ...feature_cache import FeatureCache, fingerprint
from ...recognizer import (
    AFNet,
    Classifier,
    ClassifierConfig,
    Encoder,
    FrameConfig,
    PatchGrid,
    Policy,
    build_classifier,
    find_stage,
    first_weights,
    glance_maps,
    read_bundle,
    read_classifier,
    weights_digest,
)
from ..configs.fit import (
    FitClassifierConfig,
    FitPatchesConfig,
    HeadConfig,
)
from ..configs.stages import TrainingConfig
from ..options.parse import UsageError, usage


def stage_of(training: TrainingConfig, name: str) -> type[Any]:
    """Return the class of the stage to be trained: one of `STAGES`, or that of ``--stage``.

    Raises:
        UsageError: If there is no such class, or it is not derived from the one of that name.
    """
    with usage():
        return find_stage(name, training.stage)


def check_choices(config: FitPatchesConfig | FitClassifierConfig) -> None:
    """Refuse options that would mean nothing."""
    if config.sample_policy and config.policy is None:
        raise UsageError("--sample-policy: there is no policy to draw from: give --policy as well")
    if config.classifier is not None and config.head != HeadConfig():
        raise UsageError(
            "--hidden, --dropout, --reuse-glance and --aggregation are for a new f_C: what the one "
            "of --classifier is, its bundle says; leave them out, or --classifier"
        )


def check_policy(
    path: Path, policy: Policy, glance: Encoder, grid: PatchGrid, frames: FrameConfig
) -> None:
    """Refuse a policy for other maps or another grid."""
    sizes = policy.config
    trained_for = (sizes.map_height, sizes.map_width, sizes.glance_channels, sizes.n_options)
    expected = (*map_sizes(glance, frames), grid.n_options)
    if trained_for != expected:
        raise UsageError(
            f"--policy {path} is for (h, w, G, K) = {trained_for}, expected {expected}: give the "
            "--glance-encoder, --frame and --grid that it was trained with"
        )


def what_else(
    config: FitPatchesConfig | FitClassifierConfig,
    classifier: Classifier,
    policy: Policy | None,
) -> dict[str, str]:
    """Return the digests of the networks that a stage with f_C begins with, where it does."""
    digests = {} if config.classifier is None else {"classifier": digest_of(classifier)}
    return digests if policy is None else {**digests, "policy": digest_of(policy)}


def digest_of(network: Encoder | Classifier | Policy | AFNet) -> str:
    """Return what tells a network from others: by its config and its weights."""
    weights = {"weights_sha256": weights_digest(network)}
    return fingerprint({**asdict(network.config), **weights})


def classifier_of(
    start: Path | None,
    sizes: tuple[int, int, int],
    steps: int,
    head: HeadConfig,
    training: TrainingConfig,
    cache: FeatureCache | None = None,
) -> Classifier:
    """Return f_C to begin with; one that was trained on a cache goes on with that cache only."""
    if start is None:
        with usage(), first_weights(training.seed):
            config = ClassifierConfig(
                *sizes, head.hidden, head.dropout, head.reuse_glance, head.aggregation, steps
            )
            return build_classifier(config)
    trained_on = read_bundle(start, "classifier").cache_fingerprint  # None: on pixels
    if trained_on is None or cache is None:
        classifier = read_classifier(start)
    else:
        classifier = read_classifier(start, cache.fingerprint, cache.root)
    kept_config = classifier.config
    trained_for = (kept_config.glance_channels, kept_config.local_channels, kept_config.n_classes)
    if trained_for != sizes:
        raise UsageError(
            f"--classifier {start} is for (glance, local, classes) = {trained_for}, expected "
            f"{sizes}: give the one of these encoders and videos, or none"
        )
    return classifier


def map_sizes(glance: Encoder, frames: FrameConfig) -> tuple[int, int, int]:
    """Return h, w and G of the maps that f_G gives of segments; F·G where it reads several frames.

    Args:
        glance: f_G; it is run on a black segment.
        frames: Their side, and how many f_G reads.
    """
    side = frames.frame_px
    black = torch.zeros(1, len(frames.glanced), 3, side, side, dtype=torch.uint8)
    with torch.no_grad():
        maps, _ = glance_maps(glance, black.to(glance.mean.device))
    channels, height, width = maps.shape[1:]
    return height, width, channels
