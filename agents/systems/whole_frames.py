"""The whole frame in every segment, or in a uniform part of them: what others are beside."""

from __future__ import annotations

from .direct_system import FixedSystem
from .encoders import SHIFTING
from .system import ClassifierKind

AVERAGE = FixedSystem(
    "average",
    "nothing: the whole frame in every segment, probabilities averaged",
    "ResNet-50-Average of AdaFocus (arXiv:2105.03245) section 4.1",
    ClassifierKind("average"),
)
GRU = FixedSystem(
    "gru",
    "nothing: the whole frame in every segment, joined by a GRU",
    "ResNet-50-GRU of AdaFocus (arXiv:2105.03245) section 4.1",
    ClassifierKind("gru"),
)
TSN = FixedSystem(
    "tsn",
    "nothing: the whole frame in every segment, scores averaged",
    "TSN (arXiv:1608.00859)",
    ClassifierKind("average_logits"),
)
TSM = FixedSystem(
    "tsm",
    "nothing: the whole frame in every frame of the clip, scores averaged; of encoders that shift",
    "TSM (arXiv:1811.08383)",
    ClassifierKind("average_logits"),
    of_encoders=SHIFTING,
)
TSM_PLUS = FixedSystem(
    "tsm_plus",
    "nothing: the whole frame in every frame of the clip, scores of f_G and f_L added",
    "TSM+ of AdaFocus (arXiv:2105.03245) section 4.2",
    ClassifierKind("average_logits", reuse_glance=True),
    of_encoders=SHIFTING,
)
UNIFORM = FixedSystem(
    "uniform",
    "nothing: the whole frame in a part of the segments, spread uniformly",
    "the control of OCSampler (arXiv:2201.04388) and AdaFrame (arXiv:1811.12432)",
    ClassifierKind("average"),
    settings=(0.8, 0.6, 0.4, 0.2),
)
