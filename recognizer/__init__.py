"""The networks of an adaptive recognizer, in plain torch: f_G, f_L, f_C, π and what joins them."""

if __name__ == "recognizer":  # pragma: no cover
    raise ImportError(
        "./recognizer is the package focusgym.recognizer: run `pip install -e .`, "
        "then `import focusgym.recognizer`"
    )

from .adaptive import AdaptiveRecognizer, Recognition
from .blockwise import blockwise_linear
from .classifier import (
    AverageClassifier,
    Classifier,
    ClassifierConfig,
    GruClassifier,
    build_classifier,
)
from .compute import FrameCost, count_gmacs, encoder_gmacs, frame_cost
from .encoders import Encoder, EncoderConfig, encode_glance, encode_local, pool
from .errors import FocusgymError
from .geometry import PatchGrid
from .loading import WeightsError, load_weights
from .metrics import accuracy_by_step, confidence
from .policy import KeepNetwork, PolicyConfig, PolicyNetwork, PolicyTrunk, option_mask
from .stages import (
    Batches,
    FitConfig,
    Kept,
    fit_classifier,
    fit_encoder,
    fit_local,
    sequence_loss,
)
from .threads import torch_threads
from .trunks import EncoderError

__all__ = [
    "AdaptiveRecognizer",
    "AverageClassifier",
    "Batches",
    "Classifier",
    "ClassifierConfig",
    "Encoder",
    "EncoderConfig",
    "EncoderError",
    "FitConfig",
    "FocusgymError",
    "FrameCost",
    "GruClassifier",
    "KeepNetwork",
    "Kept",
    "PatchGrid",
    "PolicyConfig",
    "PolicyNetwork",
    "PolicyTrunk",
    "Recognition",
    "WeightsError",
    "accuracy_by_step",
    "blockwise_linear",
    "build_classifier",
    "confidence",
    "count_gmacs",
    "encode_glance",
    "encode_local",
    "encoder_gmacs",
    "fit_classifier",
    "fit_encoder",
    "fit_local",
    "frame_cost",
    "load_weights",
    "option_mask",
    "pool",
    "sequence_loss",
    "torch_threads",
]
