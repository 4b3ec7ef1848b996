"""Sizes and hyper-parameters of the quickstart, for the embedded digits and for a user's clips."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from ...agents import PPOConfig
from ...feature_cache import DigitsConfig
from ...recognizer import EncoderConfig, FitConfig, FrameConfig
from ..configs.train import TrainConfig
from ..options.parse import reward_of
from ..options.ppo import ppo_config
from ..options.presets import preset_args


@dataclass(frozen=True)
class Recipe:
    """Everything that the quickstart needs to know about networks and training.

    Attributes:
        frames: T, and how frames are resized and cropped.
        patch_px: P.
        grid: Options per axis.
        glance: f_G.
        local: f_L.
        hidden: H of f_C.
        dropout: Of f_C.
        classifier: Training of f_C on the cache with random patches.
        ppo: Stage II.
        ppo_plus: Stage II with π′, for AdaFocus+.
        finetune: Stage III, and its control.
        skip_rate: Share of the frames that are skipped at random where f_C is trained on the cache,
            in [0, 1), so that it knows what a zero local vector means (0 in the paper's training).
        training_threads: Threads for everything that is trained; None leaves torch's. More than one
            does not help small networks, and slows them down many times as soon as the machine does
            something else besides.
        processes: How many encoders, and later how many policies, are trained at a time, each in a
            process of its own with one thread; None for one per core, 1 for all in the process of
            the run.
        digits: The embedded data set; None for a user's videos.
        full_frames: Initialization of both encoders on full frames; None keeps given weights.
        stage_one: Stage I on pixels; None keeps given weights.

    Raises:
        ValueError: If ``skip_rate`` is not in [0, 1), or ``ppo_plus`` has no ``keep_ratio``.
    """

    frames: FrameConfig
    patch_px: int
    grid: int
    glance: EncoderConfig
    local: EncoderConfig
    hidden: int
    dropout: float
    classifier: FitConfig
    ppo: PPOConfig
    ppo_plus: PPOConfig
    finetune: FitConfig
    skip_rate: float = 0.25
    training_threads: int | None = None
    processes: int | None = 1
    digits: DigitsConfig | None = None
    full_frames: FitConfig | None = None
    stage_one: FitConfig | None = None

    def __post_init__(self) -> None:
        """Check the rate, and that π′ is trained for a share of the frames."""
        if not 0 <= self.skip_rate < 1:
            raise ValueError(
                f"skip_rate must be in [0, 1), a share of the frames; got {self.skip_rate}"
            )
        _ = self.keep_ratio

    @property
    def keep_ratio(self) -> float:
        """η of AdaFocus+, which its control keeps too."""
        plus = self.ppo_plus.plus
        if plus is None or plus.keep_ratio is None:
            raise ValueError(
                f"ppo_plus must train π′ for a keep_ratio; got plus={plus}: set it to "
                "PlusTraining(keep_ratio=...)"
            )
        return plus.keep_ratio


def adamw(epochs: int, batch_size: int, **lr: float) -> FitConfig:
    """Return a training that takes minutes on a laptop, where the paper's SGD takes days."""
    return FitConfig(epochs, batch_size, lr, optimizer="adamw", schedule="one_cycle")


def trained_as(preset: str, *options: str) -> PPOConfig:
    """Return how ``focusgym train --preset PRESET`` with more options trains a policy."""
    args = [".", *preset_args(preset, "train"), *options]
    config = tyro.cli(TrainConfig, args=args, config=(tyro.conf.OmitArgPrefixes,))
    return ppo_config(config.policy, config.skip, reward_of(config.reward))


DIGITS = Recipe(
    frames=FrameConfig(steps=6, frame_px=64),
    patch_px=28,
    grid=7,
    glance=EncoderConfig("small_glance", input_px=8),
    local=EncoderConfig("small_local"),
    hidden=128,
    dropout=0.2,
    classifier=adamw(10, 64, classifier=1e-3),
    ppo=trained_as("digits"),
    ppo_plus=trained_as("digits", "--plus"),
    finetune=adamw(8, 64, classifier=5e-4),
    training_threads=1,
    processes=None,
    digits=DigitsConfig(),
    full_frames=adamw(6, 16, encoder=5e-3),
    stage_one=adamw(10, 32, local=2e-3, classifier=2e-3),
)


def clips() -> Recipe:
    """Return the recipe for a user's clips; torchvision, which has its encoders, is imported."""
    return Recipe(
        frames=FrameConfig(steps=8, frame_px=224, resize_px=256),
        patch_px=128,
        grid=7,
        glance=EncoderConfig("mobilenet_v2"),
        local=EncoderConfig("mobilenet_v2"),
        hidden=256,
        dropout=0.5,
        classifier=adamw(40, 16, classifier=5e-4),
        ppo=trained_as("clips"),
        ppo_plus=trained_as("clips", "--plus"),
        finetune=adamw(10, 16, classifier=2e-4),
    )
