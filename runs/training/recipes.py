"""Sizes and hyper-parameters of the quickstart, for the embedded digits and for a user's clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import tyro

from ...agents import PPOConfig
from ...feature_cache import DigitsConfig
from ...recognizer import EncoderConfig, FitConfig, FrameConfig
from ..configs.cache import CacheBuildConfig
from ..configs.fit import FitClassifierConfig, FitEncoderConfig, FitPatchesConfig
from ..configs.train import TrainConfig
from ..options.groups import read_group
from ..options.parse import UsageError, frames_of, reward_of, settings_of, usage
from ..options.ppo import ppo_config
from ..options.presets import VERBS, PresetError, read_preset, with_preset

Config = TypeVar("Config")
STAGES = ("fit encoder", "fit patches")  # that train f_G and f_L from weights


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
        dropout: Dropout of f_C.
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
        full_frames: Initialization of both encoders on full frames; None where weights are given.
        stage_one: Stage I on pixels, likewise.
        from_weights: How f_L, and f_G if it is, are trained on pixels where weights are given to
            begin with: the sections of a preset by their verbs; None keeps all weights.

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
    from_weights: Mapping[str, Mapping[str, Any]] | None = None

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
    config = parsed(TrainConfig, preset, ".", *options)
    return ppo_config(config.policy, config.skip, reward_of(config.reward))


def parsed(kind: type[Config], preset: str, *args: str) -> Config:
    """Return the config of a verb with a preset.

    Args:
        kind: Of the config, which says which verb.
        preset: Its name, or its file.
        args: What else stands on the command line; right, where the preset is.

    Raises:
        PresetError: As `with_preset`.
    """
    verb = next(name for name, each in VERBS.items() if each is kind).split()
    command = with_preset([*verb, *args, "--preset", preset])
    return tyro.cli(kind, args=command[len(verb) :], config=(tyro.conf.OmitArgPrefixes,))


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


def clips(preset: str = "clips") -> Recipe:
    """Return the recipe for a user's clips.

    Args:
        preset: With sections for the cache, for f_C and for policies; and, if encoders are to be
            trained on the clips, for these.

    Raises:
        UsageError: If there is no such preset, it is not readable, a section is not there, or it
            has other option groups than one of patches.
    """
    try:
        with usage():
            return _clips(preset)
    except PresetError as error:
        raise UsageError(f"{error}") from error


def _clips(preset: str) -> Recipe:
    content = parsed(CacheBuildConfig, preset, ".", "--videos", ".").content
    frames = frames_of(content.frames, None)
    groups = [read_group(text, frames.frame_px) for text in content.group]
    grid = groups[0].places.grid if len(groups) == 1 else None
    if grid is None:
        raise UsageError(
            f"--preset {preset}: expected one option group, of patches; got "
            f"{', '.join(content.group) or 'none'}: leave one in its section `cache build`"
        )
    first, tuned = (
        parsed(FitClassifierConfig, preset, ".", "--cache", ".", *policy)
        for policy in ((), ("--policy", "."))
    )
    sections = read_preset(preset)
    if "fit encoder" in sections:  # refused now, and not when it is its turn
        network = ("--network", content.glance, "--weights", "random")
        stage = parsed(FitEncoderConfig, preset, ".", "--videos", ".", *network)
        settings_of(stage.training, ("encoder",))
    if "fit patches" in sections:
        networks = ("--glance-encoder", ".", "--local-encoder", groups[0].source)
        stage_one = parsed(FitPatchesConfig, preset, ".", "--videos", ".", *networks)
        settings_of(stage_one.training, ("local", "classifier"))
    return Recipe(
        frames=frames,
        patch_px=grid.patch_px,
        grid=grid.n,
        glance=EncoderConfig(content.glance, content.glance_px),
        local=EncoderConfig(groups[0].source),
        hidden=first.head.hidden,
        dropout=first.head.dropout,
        classifier=settings_of(first.training, ("classifier",)),
        ppo=trained_as(preset, "--no-plus"),
        ppo_plus=trained_as(preset, "--plus"),
        finetune=settings_of(tuned.training, ("classifier",)),
        skip_rate=first.skip_rate,
        from_weights=(
            {verb: sections[verb] for verb in STAGES if verb in sections}
            if "fit patches" in sections
            else None
        ),
    )
