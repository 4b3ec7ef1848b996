"""The supervised stages: encoders on full frames, f_L and f_C on patches, f_C on features."""

from .afnet import AFNetStage
from .config import FitConfig
from .cubes import GRADIENTS, CubesEndToEnd
from .end_to_end import EndToEnd
from .fit import FitError, Fitted, fit
from .networks import FullFrames, OnFeatures, OnPixels, policy_choice
from .processes import process_group, rank_and_world
from .registry import STAGES, find_stage
from .samples import (
    Samples,
    TensorSamples,
    random_looks,
    random_options,
    shuffled,
    uniform_draws,
)
from .stage import Stage, sequence_losses

__all__ = [
    "GRADIENTS",
    "STAGES",
    "AFNetStage",
    "CubesEndToEnd",
    "EndToEnd",
    "FitConfig",
    "FitError",
    "Fitted",
    "FullFrames",
    "OnFeatures",
    "OnPixels",
    "Samples",
    "Stage",
    "TensorSamples",
    "find_stage",
    "fit",
    "policy_choice",
    "process_group",
    "random_looks",
    "random_options",
    "rank_and_world",
    "sequence_losses",
    "shuffled",
    "uniform_draws",
]
