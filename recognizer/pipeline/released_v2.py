"""Released AdaFocusV2 checkpoints: their names and layouts, mapped to this project's networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..classifiers.base import ClassifierConfig
from ..classifiers.max_pool import MaxPoolClassifier
from ..encoders.encoder import Encoder, EncoderConfig
from ..policies.base import PolicyConfig
from ..policies.centers import CenterNetwork
from .released_parts import (
    GRU,
    NOT_NEEDED,
    Released,
    ReleasedReport,
    by_cells,
    check_shapes,
    encoder_of,
    filled,
    gru_shapes,
    lacking,
    leave_out,
    map_side,
    misfit,
    sizes_of,
    state_dict,
    take,
)

RELEASED_V2_ENTRY = "state_dict"  # what is needed of a checkpoint

_NETWORKS = ("global_CNN", "local_CNN", "policy_stn", "classifier")
_AUXILIARY = ("global_CNN_fc", "local_CNN_fc")
_PARALLEL = re.compile(r"(module\.)*")

# A block of MobileNet-V2 is one flat sequence here; torchvision nests its convolutions with their
# normalisation. The first block has no expansion.
_FIRST_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
_BLOCK = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
_IN_BLOCK = re.compile(r"features\.(\d+)\.conv\.(\d+)\.(\w+)")

# The released names, and this project's.
_NORM = ("weight", "bias", "running_mean", "running_var")
_COUNT, _WHY_NO_COUNT = "num_batches_tracked", "counts of batches, which only training needs"
_MLP, _HEAD = "mlp.layers.0.weight", re.compile(r"classifiers\.(\d{1,4})\.1\.weight")
_CLASSIFIER = {_MLP: "layer.weight", "mlp.layers.0.bias": "layer.bias"} | {
    f"mlp.layers.1.{name}": f"norm.{name}" for name in _NORM
}
_CONV, _LINEAR, _ACTOR = "encoder.0.weight", "encoder.4.weight", "fc.0.weight"
_POLICY = {
    **{name: name for name in GRU},
    **{f"encoder.1.{name}": f"conv_norm.{name}" for name in _NORM},
    **{f"encoder.5.{name}": f"norm.{name}" for name in _NORM},
    _CONV: "conv.weight",
    _LINEAR: "linear.weight",
    "encoder.4.bias": "linear.bias",
    _ACTOR: "actor.weight",
    "fc.0.bias": "actor.bias",
}


def is_released_v2(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint is one of AdaFocusV2's, by the names of its networks."""
    state = checkpoint.get(RELEASED_V2_ENTRY)
    if not isinstance(state, Mapping):
        return False
    return any(_network_of(str(key))[0] in _NETWORKS[:3] for key in state)


def convert_released_v2(checkpoint: Mapping[str, Any]) -> Released:
    """Convert a checkpoint of AdaFocusV2's ActivityNet, FCVID or Mini-Kinetics experiments.

    All of it or, on an error, nothing; torch's global generator is left as it is. The policy's
    centres, (y, x) there, are (x, y) here.

    Args:
        checkpoint: ``state_dict`` holds ``global_CNN`` (a MobileNet-V2, or a ResNet-50 that reads
            frames of 96 px), ``local_CNN``, ``policy_stn`` and ``classifier``, with or without
            ``module.`` before these names, and perhaps the auxiliary heads ``global_CNN_fc`` and
            ``local_CNN_fc``. Other entries are left out.

    Raises:
        WeightsError: If a network or a tensor is missing or left over, if shapes do not fit each
            other, or if a number is not finite.

    Source: AdaFocusV2 (arXiv:2112.14238) section 3 and appendix B.1; names and layouts are the
        released code's.
    """
    networks = _networks(state_dict(RELEASED_V2_ENTRY, checkpoint.get(RELEASED_V2_ENTRY)))
    report = ReleasedReport(filled(checkpoint), {}, {}, {})
    with torch.random.fork_rng(devices=[]):  # networks are built with random weights first
        glance = _glance(networks["global_CNN"], report)
        config = EncoderConfig("resnet50")
        local = encoder_of("local_CNN", networks["local_CNN"], config, report)
        classifier = _classifier(networks["classifier"], glance.channels, local.channels, report)
        policy = _policy(networks["policy_stn"], glance.channels, report)
    for name in _AUXILIARY:
        keys = [*networks.get(name, {})]
        leave_out(report, name, keys, "an auxiliary head, which only training needs")
    for name in checkpoint:
        if name != RELEASED_V2_ENTRY:
            report.left_out[name] = NOT_NEEDED
    return Released(glance, local, classifier, policy, report)


def _network_of(key: str) -> tuple[str, str]:
    """Return the network that a key belongs to, and the key in it."""
    network, _, name = _PARALLEL.sub("", key, count=1).partition(".")
    return network, name


def _networks(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the state dict of each network."""
    networks: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        network, name = _network_of(key)
        if network not in (*_NETWORKS, *_AUXILIARY):
            expected = ", ".join((*_NETWORKS, *_AUXILIARY))
            raise misfit(
                RELEASED_V2_ENTRY,
                f"holds {key} {tuple(value.shape)}, expected no more than tensors of {expected}",
            )
        networks.setdefault(network, {})[name] = value
    missing = [name for name in _NETWORKS if name not in networks]
    if missing:
        what = f"the networks {', '.join(missing)} in its entry {RELEASED_V2_ENTRY!r}"
        raise lacking(what, ", ".join(_NETWORKS), networks)
    return networks


def _glance(state: Mapping[str, Tensor], report: ReleasedReport) -> Encoder:
    is_resnet = any(key.startswith("layer1.") for key in state)
    if is_resnet:
        config = EncoderConfig("resnet50", 96, "bilinear")
    else:
        config, state = EncoderConfig("mobilenet_v2"), _as_torchvision_names(state)
    report.inferred["glance_encoder"] = config.name
    return encoder_of("global_CNN", state, config, report)


def _as_torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a MobileNet-V2 whose blocks are flat sequences with torchvision's names."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        match = _IN_BLOCK.fullmatch(key)
        if match:
            block, layer, tensor = match.groups()
            nested = _FIRST_BLOCK if block == "1" else _BLOCK
            if layer not in nested:
                raise misfit(
                    "global_CNN",
                    f"holds {key} {tuple(value.shape)}, expected in this block no more than the "
                    f"layers conv.{', conv.'.join(nested)}",
                )
            key = f"features.{block}.conv.{nested[layer]}.{tensor}"
        renamed[key] = value
    return renamed


def _classifier(
    state: Mapping[str, Tensor], glance: int, local: int, report: ReleasedReport
) -> MaxPoolClassifier:
    heads = sorted(int(match[1]) for key in state if (match := _HEAD.fullmatch(key)))
    steps = len(heads)
    if not steps or heads != [*range(steps)]:
        raise misfit(
            "classifier",
            f"has heads classifiers.N.1 for N = {', '.join(map(str, heads)) or 'nothing'}, "
            "expected one for each number of frames, from 0 on",
        )
    names = _CLASSIFIER | {
        f"classifiers.{step}.1.{name}": f"heads.{step}.{name}"
        for step in range(steps)
        for name in ("weight", "bias")
    }
    unused = {f"mlp.layers.1.{_COUNT}": _WHY_NO_COUNT}
    tensors = take("classifier", state, names, unused, report)
    hidden, width = sizes_of("classifier", tensors, _MLP, 2)
    n_classes, _ = sizes_of("classifier", tensors, "classifiers.0.1.weight", 2)
    if width != glance + local:
        raise misfit(
            "classifier",
            f"has {_MLP} for {width} inputs, expected {glance + local} (the channels of both "
            "encoders)",
        )
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_CLASSIFIER, (hidden,))
    shapes[_MLP] = (hidden, width)
    for step in range(steps):
        shapes[f"classifiers.{step}.1.weight"] = (n_classes, hidden)
        shapes[f"classifiers.{step}.1.bias"] = (n_classes,)
    check_shapes("classifier", tensors, shapes)
    config = ClassifierConfig(
        glance,
        local,
        n_classes,
        hidden,
        dropout=0.2,  # the released code's
        aggregation="max_pool",
        steps=steps,
    )
    classifier = MaxPoolClassifier(config)
    classifier.load_state_dict({names[name]: value for name, value in tensors.items()})
    report.inferred.update(n_classes=n_classes, classifier_hidden=hidden, steps=steps)
    return classifier.eval()


def _policy(state: Mapping[str, Tensor], glance: int, report: ReleasedReport) -> CenterNetwork:
    unused = {f"encoder.{layer}.{_COUNT}": _WHY_NO_COUNT for layer in (1, 5)}
    tensors = take("policy_stn", state, _POLICY, unused, report)
    channels = sizes_of("policy_stn", tensors, _CONV, 4)[0]
    hidden, width = sizes_of("policy_stn", tensors, _LINEAR, 2)
    side = map_side("policy_stn", (_CONV, channels), (_LINEAR, width))
    shapes = gru_shapes(hidden, hidden) | {
        **{f"encoder.1.{name}": (channels,) for name in _NORM},
        **{f"encoder.5.{name}": (hidden,) for name in _NORM},
        _CONV: (channels, glance, 1, 1),
        _LINEAR: (hidden, width),
        "encoder.4.bias": (hidden,),
        _ACTOR: (2, hidden),
        "fc.0.bias": (2,),
    }
    check_shapes("policy_stn", tensors, shapes)
    # Ours is a linear layer over the last axis, theirs a 1×1 convolution; neither has a bias.
    tensors[_CONV] = tensors[_CONV].flatten(1)
    tensors[_LINEAR] = by_cells(tensors[_LINEAR], channels)
    for name in (_ACTOR, "fc.0.bias"):
        tensors[name] = tensors[name].flip(0)  # they name (y, x), we (x, y)
    config = PolicyConfig(
        side,
        side,
        glance,
        n_options=1,
        conv_channels=channels,
        hidden=hidden,
        network="centers",
    )
    policy = CenterNetwork(config)
    policy.load_state_dict({_POLICY[name]: value for name, value in tensors.items()})
    report.inferred.update(map_height=side, map_width=side)
    report.inferred.update(conv_channels=channels, policy_hidden=hidden)
    return policy.eval()
