"""Options that several verbs share: from the command line to what the rooms below take."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...feature_cache import AugmentConfig, VideoList, read_lists, read_videos
from ...recognizer import FitConfig, FocusgymError, FrameConfig
from ...recognizer.files.documents import parse_yaml
from ..configs.stages import AFNetTrainingConfig, TrainingConfig
from ..configs.videos import FramesConfig, GlancedFramesConfig, VideosConfig
from .console import PlainConsole


class UsageError(FocusgymError):
    """Options that do not go together, or cannot be."""


def videos_of(config: VideosConfig, skip_missing: bool) -> VideoList:
    """Read the lists of videos, or look for the videos in a folder; tell what was passed over."""
    paths = {"train": config.train, "val": config.val, "test": config.test}
    lists = {split: path for split, path in paths.items() if path is not None}
    if not lists:
        if config.classes is not None or config.images is not None:
            raise UsageError(
                "--classes and --images go with lists: give --train, --val or --test as well"
            )
        listed = read_videos(config.videos, skip_missing)
    else:
        listed = read_lists(
            config.videos, lists, config.format, config.classes, config.images, skip_missing
        )
    print_notes(listed)
    return listed


def print_notes(listed: VideoList) -> None:
    """Print what a user should know of how the videos were found, beside what a verb prints."""
    for note in listed.notes:
        print(f"focusgym: {note}", file=sys.stderr)


def frames_of(config: FramesConfig, format: str | None) -> FrameConfig:
    """Return which frames are taken; lists of some formats have rules of their own."""
    usual = "repeat_first" if format == "something" else "repeat_last"
    with usage():
        return FrameConfig(
            config.steps,
            config.frame,
            config.resize or None,
            config.short_videos or usual,
            config.resizer,
            config.segment_frames,
            config.glance_frames if isinstance(config, GlancedFramesConfig) else None,
            config.order,
            isinstance(config, GlancedFramesConfig) and config.own_glance,
        )


def augmentation(config: FramesConfig, format: str | None, views: int, seed: int) -> AugmentConfig:
    """Return how training videos are augmented; gestures are not mirrored."""
    # In the format something left and right differ; facts of the released lists.
    flip = format != "something" if config.flip is None else config.flip
    with usage():
        return AugmentConfig(views, flip, seed)


def settings_of(config: TrainingConfig, networks: Sequence[str]) -> FitConfig:
    """Return how a stage is trained.

    Args:
        config: From the command line and the preset.
        networks: Which networks of the stage are trained; those with a rate of 0 stay as they are.

    Raises:
        UsageError: If a rate is given for a network that the stage does not train, or is needed and
            neither given nor in the preset, or a number is out of range.
    """
    learning_rates = {
        "encoder": config.lr_encoder,
        "glance": config.lr_glance,
        "local": config.lr_local,
        "classifier": config.lr_classifier,
        "policy": config.lr_policy,
    }
    if isinstance(config, AFNetTrainingConfig):
        learning_rates |= {"afnet": config.lr_afnet, "gates": config.lr_gates}
    for name, rate in learning_rates.items():
        if rate and name not in networks:
            raise UsageError(f"--lr-{name}: this stage does not train it: leave the option out")
        if rate is not None and name in networks and not 0 <= rate < math.inf:
            raise UsageError(f"--lr-{name} must be 0, to keep it fixed, or more; got {rate:g}")
    if config.epochs is None:
        raise UsageError(f"the preset {config.preset} does not train this stage: give --epochs")
    rates = {}
    for name in networks:
        rate = learning_rates[name]
        if rate is None:
            raise UsageError(
                f"the preset {config.preset} does not train {name} in this stage: give "
                f"--lr-{name}, 0 to keep it fixed"
            )
        if rate:
            rates[name] = rate
    if not rates:
        named = ", ".join(f"--lr-{name}" for name in networks)
        raise UsageError(f"{named}: one at least must be more than 0: all of them are 0")
    if config.decay_epochs and max(config.decay_epochs) >= config.epochs:
        raise UsageError(
            f"--decay-epochs {' '.join(map(str, config.decay_epochs))}: the preset's, if they are "
            f"not given, and a training of --epochs {config.epochs} ends before: give others, or "
            "--decay-epochs without numbers for a cosine"
        )
    with usage():
        return FitConfig(
            config.epochs,
            config.batch_size,
            rates,
            optimizer=config.optimizer,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            schedule="cosine" if config.optimizer == "sgd" else "one_cycle",
            decay_epochs=config.decay_epochs,
            warmup_epochs=config.warmup_epochs,
            lr_batch_size=64,
            freeze_batch_norm=config.freeze_batch_norm,
            precision=config.precision,
        )


def reward_of(text: str) -> str | dict[str, Any]:
    """Return a reward design of an option: a name, or a YAML mapping of name and parameters.

    Raises:
        UsageError: If it is neither.
    """
    try:
        read = parse_yaml(text)
    except ValueError:
        read = None
    if isinstance(read, dict) and isinstance(read.get("name"), str):
        return read
    if isinstance(read, str):
        return read
    raise UsageError(
        f"--reward {text!r:.80}: expected a name, or a mapping such as "
        "'{name: increment_over_random, draws: null}'"
    )


def reward_label(text: str) -> str:
    """Return how a reward design is called in tables: ``name``, or ``name(draws=null)``."""
    reward = reward_of(text)
    if isinstance(reward, str):
        return reward
    arguments = ", ".join(f"{k}={json.dumps(v)}" for k, v in reward.items() if k != "name")
    return f"{reward['name']}({arguments})" if arguments else str(reward["name"])


@contextmanager
def usage() -> Iterator[None]:
    """Turn what a config refuses into a message without a traceback."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def print_line(text: str) -> None:
    """Print a line as it is."""
    PlainConsole(soft_wrap=True).print(text)
