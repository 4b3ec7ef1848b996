"""The networks of an adaptive recognizer, in plain torch: f_G, f_L, f_C, π and what joins them."""

if __name__ == "recognizer":  # pragma: no cover
    raise ImportError(
        "./recognizer is the package focusgym.recognizer: run `pip install -e .`, "
        "then `import focusgym.recognizer`"
    )

from .adaptive import AdaptiveRecognizer
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
    KeyedDropout,
    build_classifier,
)
from .compute import Cost, FrameCost, count_gmacs, encoder_gmacs, frame_cost, policy_gmacs
from .compute_units import ComputeUnit, compute_unit, format_gmacs
from .encoders import (
    GLANCE_PIXELS,
    LOCAL_PIXELS,
    Encoder,
    EncoderConfig,
    batches,
    encode_glance,
    encode_local,
    pool,
)
from .errors import FocusgymError
from .frames import Box, FrameConfig, centre_crop, fit_frames, resize_frames
from .geometry import PatchGrid
from .loading import WeightsError, load_weights
from .metrics import (
    Metrics,
    accuracy_by_step,
    average_precisions,
    confidence,
    mean_average_precision,
    measure,
    top_k_by_step,
)
from .policy import (
    KeepNetwork,
    PolicyConfig,
    PolicyNetwork,
    PolicyState,
    PolicyTrunk,
    draw_options,
    option_mask,
)
from .recognition import Recognition, RecognizerConfig
from .released import RELEASED_ENTRIES, Released, ReleasedReport, convert_released
from .stages import (
    FitConfig,
    FitError,
    Fitted,
    FullFrames,
    OnFeatures,
    OnPixels,
    Samples,
    Stage,
    TensorSamples,
    fit,
    policy_choice,
    process_group,
    random_options,
    rank_and_world,
    sequence_losses,
    shuffled,
    uniform_draws,
    with_skips,
)
from .stream import RecognizerStream
from .threads import ahead, torch_threads
from .trunks import EncoderError
from .versions import library_versions

__all__ = [
    "GLANCE_PIXELS",
    "LOCAL_PIXELS",
    "RELEASED_ENTRIES",
    "AdaptiveRecognizer",
    "AverageClassifier",
    "Box",
    "Bundle",
    "BundleError",
    "CheckpointError",
    "Classifier",
    "ClassifierConfig",
    "ComputeUnit",
    "Cost",
    "Encoder",
    "EncoderConfig",
    "EncoderError",
    "FitConfig",
    "FitError",
    "Fitted",
    "FocusgymError",
    "FrameConfig",
    "FrameCost",
    "FullFrames",
    "GruClassifier",
    "KeepNetwork",
    "KeyedDropout",
    "Metrics",
    "OnFeatures",
    "OnPixels",
    "PatchGrid",
    "PolicyConfig",
    "PolicyNetwork",
    "PolicyState",
    "PolicyTrunk",
    "Recognition",
    "RecognizerConfig",
    "RecognizerStream",
    "Released",
    "ReleasedReport",
    "Samples",
    "Stage",
    "TensorSamples",
    "WeightsError",
    "accuracy_by_step",
    "ahead",
    "as_json",
    "average_precisions",
    "batches",
    "blockwise_linear",
    "build_classifier",
    "centre_crop",
    "compute_unit",
    "confidence",
    "convert_released",
    "count_gmacs",
    "describe",
    "differences",
    "draw_options",
    "encode_glance",
    "encode_local",
    "encoder_gmacs",
    "fit",
    "fit_frames",
    "format_gmacs",
    "frame_cost",
    "library_versions",
    "load_weights",
    "mean_average_precision",
    "measure",
    "option_mask",
    "policy_choice",
    "policy_gmacs",
    "pool",
    "process_group",
    "random_options",
    "rank_and_world",
    "read_bundle",
    "read_checkpoint",
    "read_classifier",
    "read_encoder",
    "resize_frames",
    "restore",
    "sequence_losses",
    "shuffled",
    "top_k_by_step",
    "torch_threads",
    "uniform_draws",
    "weights_digest",
    "with_skips",
    "write_bundle",
    "write_checkpoint",
]
