"""Released AdaFocus checkpoints for Something-Something: their names, mapped to our networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..classifiers.average_logits import AverageLogitsClassifier
from ..classifiers.config import ClassifierConfig
from ..encoders.encoder import EncoderConfig
from .released_centers import center_policy
from .released_parts import (
    CRITIC,
    NOT_NEEDED,
    RELEASED_ENTRIES,
    Released,
    ReleasedReport,
    check_shapes,
    encoder_of,
    entries_of,
    filled,
    sizes_of,
    take,
)

# Behind a module that channels are shifted before.
_SHIFTED = ".net.weight"

# f_L is a sequence there, whose children are a ResNet's up to its pooling.
_IN_SEQUENCE = re.compile(r"(.*base_model\.)(\d)(\..+)")
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}

# The released names, and this project's.
_HEAD = {"classifier.weight": "weight", "classifier.bias": "bias"}


def is_released_sth(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether an AdaFocus checkpoint is of networks that shift channels along frames."""
    encoders = [checkpoint.get(name) for name in RELEASED_ENTRIES[:2]]
    return any(
        str(key).endswith(_SHIFTED)
        for state in encoders
        if isinstance(state, Mapping)
        for key in state
    )


def convert_released_sth(checkpoint: Mapping[str, Any]) -> Released:
    """Convert a checkpoint of AdaFocus's Something-Something experiments.

    All of it or, on an error, nothing; torch's global generator is left as it is. The heads of f_G
    and f_L, whose logits are added there, are one linear layer here: f_C. The policy's places,
    (row, column) there, are (x, y) here, of `Boxes` at whole pixels. How many frames f_G reads of a
    clip is read from the policy; how many f_L reads, no entry tells.

    Args:
        checkpoint: State dicts ``glancer`` (with its head), ``focuser``, ``fc`` (the head of f_L)
            and, from stage II on, ``policy``; keys may begin with a common prefix (``module.``).
            Other entries are left out.

    Raises:
        WeightsError: If an entry or a tensor is missing or left over, if shapes do not fit each
            other, if a number is not finite, if the encoders shift elsewhere than ours, or if the
            policy is of another kind (a grid's options, no normalisation).

    Source: AdaFocus (arXiv:2105.03245) section 4.2; names and layouts are the released code's, and
        so is that logits are added, where the text joins features.
    """
    entries = entries_of(checkpoint)
    report = ReleasedReport(filled(checkpoint), {}, {}, {})
    heads = {key: value for key, value in entries["glancer"].items() if _of_head(key)}
    own = {key: value for key, value in entries["glancer"].items() if key not in heads}
    with torch.random.fork_rng(devices=[]):  # networks are built with random weights first
        head = take("glancer", heads, _HEAD, {}, report)
        glance = encoder_of("glancer", own, EncoderConfig("mobilenet_v2_tsm"), report)
        report.used["glancer"] += len(head)
        config = EncoderConfig("resnet50_tsm")
        local = encoder_of("focuser", _named(entries["focuser"]), config, report)
        classifier = _classifier(head, entries["fc"], glance.channels, local.channels, report)
        policy = None
        if "policy" in entries:
            policy = center_policy(
                "policy",
                entries["policy"],
                "relu_centers",
                glance.channels,
                report,
                encoder="state_encoder",
                actor="actor",
                unused=CRITIC,
                in_clips=True,
            )
            report.inferred["glance_frames"] = policy.config.glance_channels // glance.channels
    for name in checkpoint:
        if name not in RELEASED_ENTRIES:
            report.left_out[name] = NOT_NEEDED
    return Released(glance, local, classifier, policy, report)


def _of_head(key: str) -> bool:
    return any(f".{key}".endswith(f".{name}") for name in _HEAD)


def _named(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return f_L's weights under the names of a ResNet's children; others keep theirs."""
    named = {}
    for key, value in state.items():
        match = _IN_SEQUENCE.fullmatch(key)
        if match and match[2] in _CHILDREN:
            key = f"{match[1]}{_CHILDREN[match[2]]}{match[3]}"
        named[key] = value
    return named


def _classifier(
    of_glance: Mapping[str, Tensor],
    fc: Mapping[str, Tensor],
    glance: int,
    local: int,
    report: ReleasedReport,
) -> AverageLogitsClassifier:
    """Return both heads as one layer: the logits of ``[ē^G, ē^L]`` are the sum of theirs."""
    of_local = take("fc", fc, _HEAD.values(), {}, report)
    n_classes, _ = sizes_of("fc", of_local, "weight", 2)
    check_shapes("fc", of_local, {"weight": (n_classes, local), "bias": (n_classes,)})
    shapes = {"classifier.weight": (n_classes, glance), "classifier.bias": (n_classes,)}
    check_shapes("glancer", of_glance, shapes)
    classifier = AverageLogitsClassifier(
        ClassifierConfig(glance, local, n_classes, aggregation="average_logits")
    )
    weight = torch.cat([of_glance["classifier.weight"], of_local["weight"]], dim=1)
    bias = of_glance["classifier.bias"] + of_local["bias"]
    classifier.load_state_dict({"head.weight": weight, "head.bias": bias})
    report.inferred["n_classes"] = n_classes
    return classifier.eval()
