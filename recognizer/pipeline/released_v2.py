"""Released AdaFocusV2 checkpoints: their names and layouts, mapped to this project's networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..classifiers.config import ClassifierConfig
from ..classifiers.max_pool import MaxPoolClassifier
from ..encoders.encoder import Encoder, EncoderConfig
from .released_centers import center_policy
from .released_parts import (
    BATCHES,
    NORM,
    NOT_NEEDED,
    WHY_NO_BATCHES,
    Released,
    ReleasedReport,
    check_shapes,
    encoder_of,
    filled,
    lacking,
    leave_out,
    misfit,
    sizes_of,
    state_dict,
    take,
)

RELEASED_V2_ENTRY = "state_dict"  # what is needed of a checkpoint

_NETWORKS = ("global_CNN", "local_CNN", "policy_stn", "classifier")
_AUXILIARY = ("global_CNN_fc", "local_CNN_fc")
_PARALLEL = re.compile(r"(module\.)*")

# The released names, and this project's.
_MLP, _HEAD = "mlp.layers.0.weight", re.compile(r"classifiers\.(\d{1,4})\.1\.weight")
_CLASSIFIER = {_MLP: "layer.weight", "mlp.layers.0.bias": "layer.bias"} | {
    f"mlp.layers.1.{name}": f"norm.{name}" for name in NORM
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
        policy = center_policy(
            "policy_stn",
            networks["policy_stn"],
            "centers",
            glance.channels,
            report,
            encoder="encoder",
            actor="fc",
            unused={},
            in_clips=False,
        )
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
    config = EncoderConfig("mobilenet_v2")
    if is_resnet:
        config = EncoderConfig("resnet50", 96, "bilinear")
    report.inferred["glance_encoder"] = config.name
    return encoder_of("global_CNN", state, config, report)


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
    unused = {f"mlp.layers.1.{BATCHES}": WHY_NO_BATCHES}
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
