"""The networks of an adaptive recognizer, in plain torch: f_G, f_L, f_C, π and what joins them."""

if __name__ == "recognizer":  # pragma: no cover
    raise ImportError(
        "./recognizer is the package focusgym.recognizer: run `pip install -e .`, "
        "then `import focusgym.recognizer`"
    )

from .adaptive import AdaptiveRecognizer, Recognition
from .blockwise import blockwise_linear
from .bundle import (
    Bundle,
    BundleError,
    describe,
    read_bundle,
    read_classifier,
    read_encoder,
    restore,
    weights_digest,
    write_bundle,
)
from .checkpoint_file import (
    CheckpointError,
    as_json,
    differences,
    read_checkpoint,
    write_checkpoint,
)
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
from .frames import Box, FrameConfig, centre_crop, fit_frames, resize_frames
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
from .threads import ahead, torch_threads
from .trunks import EncoderError

__all__ = [
    "AdaptiveRecognizer",
    "AverageClassifier",
    "Batches",
    "Box",
    "Bundle",
    "BundleError",
    "CheckpointError",
    "Classifier",
    "ClassifierConfig",
    "Encoder",
    "EncoderConfig",
    "EncoderError",
    "FitConfig",
    "FocusgymError",
    "FrameConfig",
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
    "ahead",
    "as_json",
    "blockwise_linear",
    "build_classifier",
    "centre_crop",
    "confidence",
    "count_gmacs",
    "describe",
    "differences",
    "encode_glance",
    "encode_local",
    "encoder_gmacs",
    "fit_classifier",
    "fit_encoder",
    "fit_frames",
    "fit_local",
    "frame_cost",
    "load_weights",
    "option_mask",
    "pool",
    "read_bundle",
    "read_checkpoint",
    "read_classifier",
    "read_encoder",
    "resize_frames",
    "restore",
    "sequence_loss",
    "torch_threads",
    "weights_digest",
    "write_bundle",
    "write_checkpoint",
]
