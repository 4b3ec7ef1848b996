"""Released AdaFocus checkpoints: their names and layouts, mapped to this project's networks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..classifiers.config import ClassifierConfig
from ..classifiers.gru import GruClassifier
from ..encoders.encoder import Encoder, EncoderConfig
from ..policies.config import PolicyConfig
from ..policies.policy import PolicyNetwork
from .released_parts import (
    CRITIC,
    GRU,
    NOT_NEEDED,
    RELEASED_ENTRIES,
    Released,
    ReleasedReport,
    by_cells,
    check_shapes,
    encoder_of,
    entries_of,
    filled,
    gru_shapes,
    leave_out,
    map_side,
    misfit,
    sizes_of,
    take,
)

# The released names, and this project's.
_CLASSIFIER = {name: name for name in GRU} | {"fc.weight": "head.weight", "fc.bias": "head.bias"}
_CONV, _LINEAR, _ACTOR = "state_encoder.0.weight", "state_encoder.3.weight", "actor.0.weight"
_POLICY = {name: f"trunk.{name}" for name in GRU} | {
    _CONV: "trunk.conv.weight",
    _LINEAR: "trunk.linear.weight",
    "state_encoder.3.bias": "trunk.linear.bias",
    _ACTOR: "actor.weight",
    "actor.0.bias": "actor.bias",
}

# From stage II on the focuser's state dict carries the networks of its PPO, too.
_POLICY_IN_FOCUSER = re.compile(r"(module\.)*policy\.")

_MISNAMED = (
    "it looks like π, which is expected in the entry 'policy': save the checkpoint with this entry "
    "named 'policy', and import that"
)


def convert_released(checkpoint: Mapping[str, Any]) -> Released:
    """Convert a checkpoint of AdaFocus's ActivityNet, FCVID or Mini-Kinetics experiments.

    All of it or, on an error, nothing; torch's global generator is left as it is. Options keep
    their order: theirs is row-major, too.

    Args:
        checkpoint: State dicts ``glancer``, ``focuser``, ``fc`` and, from stage II on, ``policy``;
            keys may begin with a common prefix (``module.``). Other entries are left out.

    Raises:
        WeightsError: If an entry or a tensor is missing or left over, if shapes do not fit each
            other, if a number is not finite, or if the policy is of another kind (continuous
            actions, no convolution).

    Source: AdaFocus (arXiv:2105.03245) section 3.1; names and layouts are the released code's.
    """
    entries = entries_of(checkpoint)
    report = ReleasedReport(filled(checkpoint), {}, {}, {})
    with torch.random.fork_rng(devices=[]):  # networks are built with random weights first
        glance = encoder_of("glancer", entries["glancer"], EncoderConfig("mobilenet_v2"), report)
        local = _local(entries["focuser"], report)
        classifier = _classifier(entries["fc"], glance.channels, local.channels, report)
        policy = None
        if "policy" in entries:
            policy = _policy(entries["policy"], glance.channels, report)
    for name, value in checkpoint.items():
        if name not in RELEASED_ENTRIES:
            is_policy = policy is None and _looks_like_policy(value)
            report.left_out[name] = _MISNAMED if is_policy else NOT_NEEDED
    return Released(glance, local, classifier, policy, report)


def _looks_like_policy(value: Any) -> bool:
    """Return whether an entry holds all tensors of π, by their names, and none but its PPO's."""
    if not isinstance(value, Mapping):
        return False
    names = {n for key in value for n in (*_POLICY, *CRITIC) if f".{key}".endswith(f".{n}")}
    known = all(any(f".{key}".endswith(f".{n}") for n in names) for key in value)
    return known and names >= set(_POLICY)


def _local(state: Mapping[str, Tensor], report: ReleasedReport) -> Encoder:
    policy = [key for key in state if _POLICY_IN_FOCUSER.match(key)]
    own = {key: value for key, value in state.items() if key not in policy}
    encoder = encoder_of("focuser", own, EncoderConfig("resnet50"), report)
    reason = "PPO's networks: π is taken from the entry 'policy' alone"
    leave_out(report, "focuser", policy, reason)
    return encoder


def _classifier(
    state: Mapping[str, Tensor], glance: int, local: int, report: ReleasedReport
) -> GruClassifier:
    tensors = take("fc", state, _CLASSIFIER, {}, report)
    _, width = sizes_of("fc", tensors, GRU[0], 2)
    n_classes, hidden = sizes_of("fc", tensors, "fc.weight", 2)
    if width not in (glance + local, local):
        raise misfit(
            "fc",
            f"has {GRU[0]} for {width} inputs, expected {glance + local} (the channels of both "
            f"encoders) or {local} (of the local one alone)",
        )
    shapes = gru_shapes(width, hidden) | {
        "fc.weight": (n_classes, hidden),
        "fc.bias": (n_classes,),
    }
    check_shapes("fc", tensors, shapes)
    config = ClassifierConfig(glance, local, n_classes, hidden, reuse_glance=width > local)
    classifier = GruClassifier(config)
    classifier.load_state_dict({_CLASSIFIER[name]: value for name, value in tensors.items()})
    report.inferred.update(
        n_classes=n_classes, classifier_hidden=hidden, reuse_glance=config.reuse_glance
    )
    return classifier.eval()


def _policy(state: Mapping[str, Tensor], glance: int, report: ReleasedReport) -> PolicyNetwork:
    tensors = take("policy", state, _POLICY, CRITIC, report)
    channels = sizes_of("policy", tensors, _CONV, 4)[0]
    hidden, width = sizes_of("policy", tensors, _LINEAR, 2)
    n_options, _ = sizes_of("policy", tensors, _ACTOR, 2)
    side, n = map_side("policy", (_CONV, channels), (_LINEAR, width)), math.isqrt(n_options)
    if n_options != n * n or n < 2:
        raise misfit(
            "policy",
            f"has {_ACTOR} for {n_options} actions, expected n·n options of a patch grid, such as "
            "49: continuous actions cannot be converted",
        )
    shapes = gru_shapes(hidden, hidden) | {
        _CONV: (channels, glance, 1, 1),
        _LINEAR: (hidden, width),
        "state_encoder.3.bias": (hidden,),
        _ACTOR: (n_options, hidden),
        "actor.0.bias": (n_options,),
    }
    check_shapes("policy", tensors, shapes)
    # Ours is a linear layer over the last axis, theirs a 1×1 convolution; neither has a bias.
    tensors[_CONV] = tensors[_CONV].flatten(1)
    tensors[_LINEAR] = by_cells(tensors[_LINEAR], channels)
    policy = PolicyNetwork(PolicyConfig(side, side, glance, n_options, channels, hidden))
    policy.load_state_dict({_POLICY[name]: value for name, value in tensors.items()})
    report.inferred.update(map_height=side, map_width=side, n_options=n_options, grid_n=n)
    report.inferred.update(conv_channels=channels, policy_hidden=hidden)
    return policy.eval()
