"""What options of trainings end to end have to agree on, checked before anything is trained."""

from __future__ import annotations

from torch import nn

from ...recognizer import rank_and_world
from ..configs.fit import FitCubesConfig, FitEndToEndConfig
from ..configs.stages import TrainingConfig
from .parse import UsageError
from .presets import options_of, preset_options

# What of a policy, or of its training, an option is of.
_OF_A_POLICY = (
    "policy-hidden",
    "recurrent",
    "conv-channels",
    "lr-policy",
    "diversity",
    "stop-gradient",
    "gradient",
)


def check_policy_options(config: FitEndToEndConfig | FitCubesConfig) -> None:
    """Refuse options of a policy where boxes or cubes depend on nothing that is seen.

    What the preset says is no choice of the user's: it may stand beside such places.

    Raises:
        UsageError: If one is other than the preset's.
    """
    if isinstance(config, FitEndToEndConfig):
        verb, places, learns = "end-to-end", f"--boxes {config.boxes}", config.boxes == "learned"
    else:
        verb, places = "cubes", f"--time {config.time} --space {config.space}"
        learns = "learned" in (config.time, config.space)
    if learns:
        return
    preset, known = config.training.preset, options_of(type(config))
    of_preset = preset_options(preset, f"fit {verb}")
    for option in (each for each in _OF_A_POLICY if each in known):
        name = option.replace("-", "_")
        value = getattr(config if hasattr(config, name) else config.training, name)
        usual = of_preset.get(option, known[option].field.default)
        is_number = isinstance(value, float) and isinstance(usual, str)  # YAML reads 1e-3 as text
        if value != (float(usual) if is_number else usual):
            shown = f"no-{option}" if value is False else option
            raise UsageError(
                f"--{shown}: of a policy, and {places} has none: expected what the "
                f"preset {preset} says, {usual}; got {value}: leave the option out"
            )


def check_batches(
    training: TrainingConfig, n_train: int, segments: int, policy: nn.Module | None
) -> None:
    """Refuse batches in which a policy's batch norm would have a single vector to normalise.

    That is one segment of one video: with T = 1, where a batch, or a process's share of it, has one
    video. Such a batch is neither left out nor joined to another: videos would be trained on less
    often than others, or batches be larger than was asked for.

    Args:
        training: Options of the training.
        n_train: Training videos.
        segments: T, of a video that the policy sees.
        policy: π; None where there is none, and nothing to refuse.

    Raises:
        UsageError: If there is such a batch.
    """
    if policy is None or segments > 1 or training.freeze_batch_norm:
        return
    if not any(isinstance(module, nn.BatchNorm1d) for module in policy.modules()):
        return
    size, world = training.batch_size, rank_and_world()[1]
    smallest = n_train % size or min(size, n_train)
    if smallest // world < 2:
        of_process = f", shared by {world} processes" if world > 1 else ""
        raise UsageError(
            f"--batch-size {size}: of {n_train} training videos of one segment each the "
            f"smallest batch has {smallest}{of_process}, and batch norm needs two at least: choose "
            "another batch size, or --freeze-batch-norm"
        )
