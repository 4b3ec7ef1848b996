"""AdaFocusV2 on a cache: boxes at any place, by gradient, and by reinforcement learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from ...envs import FeatureSource
from ...envs.config import check_integer, check_number
from ...recognizer import (
    FitConfig,
    Policy,
    PolicyConfig,
    build_policy,
    read_bundle,
    restore,
)
from ...recognizer.files.bundle import write_bundle
from ..centers import read_centers, train_centers
from .system import ClassifierKind, DirectSystem, LearnedSystem, Learner, Reader, Table

# Which stage of training the draws are for; others have 10 to 20.
_STAGE = 21
_KIND = ClassifierKind("gru", reuse_glance=True)
# What of a system that is trained by gradient can be set by name.
SIZES = ("conv_channels", "hidden", "epochs", "batch_size", "lr")


@dataclass(frozen=True)
class GradientSystem(DirectSystem):
    """A policy that names the centre of a box in every segment, trained by gradient.

    Attributes:
        conv_channels: Of π, after its 1×1 convolution.
        hidden: Width of its linear layer and of its GRU.
        epochs: Passes over the training videos.
        batch_size: Videos per step.
        lr: Highest learning rate of AdamW's one cycle.

    Source: AdaFocusV2 (arXiv:2112.14238); see `CentersOnFeatures` for what is ours.
    """

    knob: ClassVar[str] = "setting"
    learns: ClassVar[bool] = True
    keeps: ClassVar[bool] = True

    conv_channels: int = 64
    hidden: int = 1024
    epochs: int = 12
    batch_size: int = 64
    lr: float = 1e-3

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            ValueError: If one is no integer of at least 1, or the rate is not positive.
        """
        for name in SIZES[:-1]:
            check_integer(name, getattr(self, name), 1)
        check_number("lr", self.lr)
        if not self.lr:
            raise ValueError("lr must be positive; got 0")

    def reader(
        self, source: FeatureSource, setting: float, seed: int, kept: Path | None = None
    ) -> Reader:
        """Train π on the split ``train``, or read the one that is kept; return what plays it."""
        cache = source.cache
        if kept is not None and (kept / "bundle.json").is_file():
            bundle = read_bundle(kept, "policy", cache.fingerprint, cache.root)
            policy = restore(kept, bundle, _build)
            return partial(read_centers, policy=policy.to(cache.device))
        height, width, channels = cache.map_shape
        sizes = PolicyConfig(
            height,
            width,
            channels,
            n_options=1,
            conv_channels=self.conv_channels,
            hidden=self.hidden,
            network="centers",
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            policy = build_policy(sizes)
        self._fit(source, policy.to(cache.device), seed, kept)
        return partial(read_centers, policy=policy.eval())

    def _fit(self, source: FeatureSource, policy: Policy, seed: int, kept: Path | None) -> None:
        rates = {"policy": self.lr}
        how = FitConfig(
            self.epochs, self.batch_size, rates, optimizer="adamw", schedule="one_cycle"
        )
        checkpoint = None if kept is None else kept.with_name(f"{kept.name}.safetensors")
        fitted = train_centers(source, policy, how, [seed, _STAGE], checkpoint)
        if kept is not None and checkpoint is not None:
            metrics = {"val_accuracy": fitted.val_accuracy, "epoch": float(fitted.epoch)}
            write_bundle(kept, "policy", policy.config, policy, source.cache.fingerprint, metrics)
            checkpoint.unlink(missing_ok=True)


def _build(config: Mapping[str, Any]) -> Policy:
    policy = build_policy(PolicyConfig(**config), trusted=False)
    if not policy.names_centers:
        raise ValueError(f"expected a network that names centres; got {policy.config.network!r}")
    return policy


@dataclass(frozen=True)
class CentersSystem(LearnedSystem):
    """The same decisions, learned in ``focusgym/Boxes-v0``; its setting means nothing."""

    knob: ClassVar[str] = "setting"

    task: str = "Boxes"
    keywords: Any = field(default_factory=lambda: {"observation": "map"})

    def environment(self, table: Table, setting: float) -> dict[str, Any]:
        """Return the keywords."""
        return {**self.keywords}


ADAFOCUS_V2 = GradientSystem(
    "adafocus_v2",
    "where to look in every frame, at any place, by gradient through interpolated features",
    "AdaFocusV2 (arXiv:2112.14238)",
    _KIND,
    places="patches",
    approximate=True,
)
ADAFOCUS_V2_PPO = CentersSystem(
    "adafocus_v2_ppo",
    "where to look in every frame, at any place, by PPO",
    "AdaFocusV2 (arXiv:2112.14238); the learner is ours",
    _KIND,
    places="patches",
    approximate=True,
    learner=Learner(
        policy="MlpPolicy",
        keywords={
            "learning_rate": 1e-3,
            "batch_size": 128,
            "n_epochs": 4,
            "gamma": 0.0,  # what is named in one frame decides little about the next
            "gae_lambda": 0.95,
            "ent_coef": 0.0,
            "policy_kwargs": {"log_std_init": -1.5},  # in a box of side 1
        },
    ),
)
ADAFOCUS_V2_SAC = CentersSystem(
    "adafocus_v2_sac",
    "where to look in every frame, at any place, by SAC",
    "AdaFocusV2 (arXiv:2112.14238); the learner is ours",
    _KIND,
    places="patches",
    approximate=True,
    learner=Learner(
        "SAC",
        "MlpPolicy",
        keywords={
            "learning_rate": 1e-3,
            "batch_size": 256,
            "gamma": 0.0,
            "train_freq": 1,
            "gradient_steps": 1,
            "learning_starts": 2_000,
            "buffer_size": 100_000,
        },
    ),
)
