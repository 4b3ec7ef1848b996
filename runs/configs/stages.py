"""How the verbs ``fit …`` train their stages."""

from __future__ import annotations

from dataclasses import dataclass

from ...recognizer.stages.config import FitSettings
from .devices import Device


@dataclass(frozen=True)
class TrainingConfig(FitSettings):
    """How a stage is trained: with SGD and a cosine schedule, unless said.

    Attributes:
        preset: Options by name, or from a YAML file: activitynet, fcvid, mini_kinetics of AdaFocus,
            with _v2 of AdaFocusV2, with _v3 of AdaFocusV3; afnet_activitynet and others of AFNet. A
            name that is none lists them all. What the command line says counts more.
        epochs: Passes over the training videos; the preset's if not given.
        batch_size: Videos per step, of all processes together; learning rates follow it.
        optimizer: sgd with momentum 0.9 and a cosine schedule, or adamw with one cycle.
        decay_epochs: Epochs (20 40) at which SGD's rate falls to a tenth, in place of a cosine.
        warmup_epochs: Epochs in which SGD's learning rate rises evenly to its value.
        nesterov: Whether SGD's momentum is Nesterov's.
        weight_decay: L2 regularization of SGD, or AdamW's.
        lr_encoder: Learning rate for batches of 64, of stage 0; the preset's if not given. Where
            several networks are trained, those with a rate of 0 stay as they are.
        lr_glance: Learning rate of f_G end to end, likewise.
        lr_local: Learning rate of f_L, likewise.
        lr_classifier: Learning rate of f_C, likewise.
        lr_policy: Learning rate of the policy end to end, likewise.
        freeze_batch_norm: Keep the statistics of BatchNorms.
        stage: A stage of your own, with its losses, as module:attribute; the verb's if not given.
        precision: Precision in which torch's autocast computes.
        device: Where to compute: cuda:1 is the second GPU; auto takes a GPU where there is one.
            With torchrun, each process takes a GPU of its own.
        seed: Seed of every draw.
        json: Print one JSON object of what was kept.
    """

    preset: str = "activitynet"
    epochs: int | None = None
    batch_size: int = 64
    lr_encoder: float | None = None
    lr_glance: float | None = None
    lr_local: float | None = None
    lr_classifier: float | None = None
    lr_policy: float | None = None
    stage: str | None = None
    device: Device = "cpu"
    seed: int = 0
    json: bool = False


@dataclass(frozen=True)
class EndToEndTrainingConfig(TrainingConfig):
    """How all networks are trained together; AdaFocusV2's on ActivityNet, unless said."""

    preset: str = "activitynet_v2"


@dataclass(frozen=True)
class CubesTrainingConfig(EndToEndTrainingConfig):
    """How all networks are trained together; AdaFocusV3's on ActivityNet, unless said."""

    preset: str = "activitynet_v3"


@dataclass(frozen=True)
class AFNetTrainingConfig(TrainingConfig):
    """How an AF network is trained; AFNet's on ActivityNet, unless said.

    Attributes:
        lr_afnet: Learning rate for batches of 64, of all but the gates; the preset's if not given.
        lr_gates: Learning rate of the gates, likewise; ten times the other if not given.
    """

    preset: str = "afnet_activitynet"
    lr_afnet: float | None = None
    lr_gates: float | None = None
