from .accounting.compute import (
    Cost,
    FrameCost,
    count_gmacs,
    cube_cost,
    cube_policy_gmacs,
    encoder_gmacs,
    frame_cost,
    option_group,
    policy_gmacs,
)
from .accounting.metrics import (
    Metrics,
    accuracy_by_step,
    average_precisions,
    confidence,
    mean_average_precision,
    measure,
    top_k_by_step,
)
from .accounting.units import ComputeUnit, compute_unit, format_gmacs
from .afnet.compute import AFNetCost, afnet_cost
from .afnet.config import AFNetConfig
from .afnet.gates import gate_temperature, ratio_target, selection_loss
from .afnet.loading import StartReport, begin_with
from .afnet.network import AFNet, AFNetOutput
from .classifiers.average import AverageClassifier
from .classifiers.average_logits import AverageLogitsClassifier
from .classifiers.base import Classifier, KeyedDropout
from .classifiers.config import ClassifierConfig
from .classifiers.gru import GruClassifier
from .classifiers.max_pool import MaxPoolClassifier
from .classifiers.registry import CLASSIFIERS, build_classifier
from .encoders.config import SHIFT_KINDS, FrameConfig, coarse_to_fine
from .encoders.encoder import Encoder, EncoderConfig
from .encoders.frames import Box, centre_crop, fit_frames, resize, resize_frames
from .encoders.loading import WeightsError, load_weights
from .encoders.shift import ShiftMemory, add_shift, shift_frames, without_shift
from .encoders.trunks import TRUNKS, EncoderError, Trunk
from .errors import FocusgymError, PredictionError, escaped, in_words, printable, shortened
from .exit_measures import MEASURES
from .exits import NEVER, ExitRule, exit_scores, exit_steps, hold
from .files.bundle import (
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
from .files.checkpoint_file import (
    CheckpointError,
    as_json,
    differences,
    read_checkpoint,
    write_checkpoint,
)
from .files.typed import typed
from .pipeline.adafocus import AdaptiveRecognizer
from .pipeline.afnet import AFNetRecognizer
from .pipeline.afnet_stream import AFNetStream
from .pipeline.base import VideoRecognizer
from .pipeline.checks import check_clips, check_pixels
from .pipeline.clip_stream import ClipStream
from .pipeline.cubes import CubeRecognizer
from .pipeline.look import (
    GLANCE_PIXELS,
    LOCAL_PIXELS,
    autocast_dtype,
    batches,
    glance_at,
    glance_maps,
    local_maps,
    look_at,
    look_everywhere,
    pool,
)
from .pipeline.reading import read_recognizer
from .pipeline.recognition import Recognition, RecognizerConfig
from .pipeline.recognizer import Recognizer
from .pipeline.registry import RECOGNIZERS
from .pipeline.released import convert_released
from .pipeline.released_afnet import convert_released_afnet, is_released_afnet
from .pipeline.released_parts import RELEASED_ENTRIES, Released, ReleasedReport
from .pipeline.released_sth import convert_released_sth, is_released_sth
from .pipeline.released_v2 import RELEASED_V2_ENTRY, convert_released_v2, is_released_v2
from .pipeline.stream import RecognizerStream
from .places.boxes import Boxes
from .places.cubes import Cubes
from .places.fixed import fixed_places
from .places.kinds import FIXED_KINDS
from .places.option_group import OptionGroup, is_file_name
from .places.patch_grid import PatchGrid
from .places.places import PLACES, Places, read_places
from .places.whole_frame import WholeFrame
from .policies.base import Policy, PolicyState
from .policies.blockwise import blockwise_linear
from .policies.centers import CenterNetwork, ReluCenterNetwork
from .policies.clips import ClipCenters, ClipNetwork, ClipTrunk
from .policies.config import AXIS_KINDS, CubePolicyConfig, PolicyConfig
from .policies.cubes import CubePolicy, evenly_spread
from .policies.policy import (
    KeepNetwork,
    PolicyNetwork,
    PolicyTrunk,
    draw_options,
    option_mask,
)
from .policies.registry import POLICIES, build_policy
from .randomness import Purpose, first_weights, generator
from .stages.afnet import AFNetStage
from .stages.config import GRADIENTS, FitConfig
from .stages.cubes import CubesEndToEnd
from .stages.end_to_end import EndToEnd
from .stages.fit import FitError, Fitted, fit
from .stages.networks import FullFrames, OnFeatures, OnPixels, policy_choice
from .stages.processes import process_group, rank_and_world
from .stages.registry import STAGES, find_stage
from .stages.samples import (
    Samples,
    TensorSamples,
    random_looks,
    random_options,
    shuffled,
    uniform_draws,
)
from .stages.stage import Stage, sequence_losses
from .threads import ahead, torch_threads
from .versions import library_versions

__all__ = [
    "AXIS_KINDS",
    "CLASSIFIERS",
    "FIXED_KINDS",
    "GLANCE_PIXELS",
    "GRADIENTS",
    "LOCAL_PIXELS",
    "MEASURES",
    "NEVER",
    "PLACES",
    "POLICIES",
    "RECOGNIZERS",
    "RELEASED_ENTRIES",
    "RELEASED_V2_ENTRY",
    "SHIFT_KINDS",
    "STAGES",
    "TRUNKS",
    "AFNet",
    "AFNetConfig",
    "AFNetCost",
    "AFNetOutput",
    "AFNetRecognizer",
    "AFNetStage",
    "AFNetStream",
    "AdaptiveRecognizer",
    "AverageClassifier",
    "AverageLogitsClassifier",
    "Box",
    "Boxes",
    "Bundle",
    "BundleError",
    "CenterNetwork",
    "CheckpointError",
    "Classifier",
    "ClassifierConfig",
    "ClipCenters",
    "ClipNetwork",
    "ClipStream",
    "ClipTrunk",
    "ComputeUnit",
    "Cost",
    "CubePolicy",
    "CubePolicyConfig",
    "CubeRecognizer",
    "Cubes",
    "CubesEndToEnd",
    "Encoder",
    "EncoderConfig",
    "EncoderError",
    "EndToEnd",
    "ExitRule",
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
    "MaxPoolClassifier",
    "Metrics",
    "OnFeatures",
    "OnPixels",
    "OptionGroup",
    "PatchGrid",
    "Places",
    "Policy",
    "PolicyConfig",
    "PolicyNetwork",
    "PolicyState",
    "PolicyTrunk",
    "PredictionError",
    "Purpose",
    "Recognition",
    "Recognizer",
    "RecognizerConfig",
    "RecognizerStream",
    "Released",
    "ReleasedReport",
    "ReluCenterNetwork",
    "Samples",
    "ShiftMemory",
    "Stage",
    "StartReport",
    "TensorSamples",
    "Trunk",
    "VideoRecognizer",
    "WeightsError",
    "WholeFrame",
    "accuracy_by_step",
    "add_shift",
    "afnet_cost",
    "ahead",
    "as_json",
    "autocast_dtype",
    "average_precisions",
    "batches",
    "begin_with",
    "blockwise_linear",
    "build_classifier",
    "build_policy",
    "centre_crop",
    "check_clips",
    "check_pixels",
    "coarse_to_fine",
    "compute_unit",
    "confidence",
    "convert_released",
    "convert_released_afnet",
    "convert_released_sth",
    "convert_released_v2",
    "count_gmacs",
    "cube_cost",
    "cube_policy_gmacs",
    "describe",
    "differences",
    "draw_options",
    "encoder_gmacs",
    "escaped",
    "evenly_spread",
    "exit_scores",
    "exit_steps",
    "find_stage",
    "first_weights",
    "fit",
    "fit_frames",
    "fixed_places",
    "format_gmacs",
    "frame_cost",
    "gate_temperature",
    "generator",
    "glance_at",
    "glance_maps",
    "hold",
    "in_words",
    "is_file_name",
    "is_released_afnet",
    "is_released_sth",
    "is_released_v2",
    "library_versions",
    "load_weights",
    "local_maps",
    "look_at",
    "look_everywhere",
    "mean_average_precision",
    "measure",
    "option_group",
    "option_mask",
    "policy_choice",
    "policy_gmacs",
    "pool",
    "printable",
    "process_group",
    "random_looks",
    "random_options",
    "rank_and_world",
    "ratio_target",
    "read_bundle",
    "read_checkpoint",
    "read_classifier",
    "read_encoder",
    "read_places",
    "read_recognizer",
    "resize",
    "resize_frames",
    "restore",
    "selection_loss",
    "sequence_losses",
    "shift_frames",
    "shortened",
    "shuffled",
    "top_k_by_step",
    "torch_threads",
    "typed",
    "uniform_draws",
    "weights_digest",
    "without_shift",
    "write_bundle",
    "write_checkpoint",
]
