"""Released AdaFocus checkpoints: their names and layouts, mapped to this project's networks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..classifiers.base import ClassifierConfig
from ..classifiers.gru import GruClassifier
from ..encoders.encoder import Encoder, EncoderConfig
from ..encoders.loading import WeightsError, load_weights
from ..encoders.trunks import HEADS
from ..policies.base import PolicyConfig
from ..policies.policy import PolicyNetwork

RELEASED_ENTRIES = ("glancer", "focuser", "fc", "policy")  # what is needed of a checkpoint

_GRU = ("gru.weight_ih_l0", "gru.weight_hh_l0", "gru.bias_ih_l0", "gru.bias_hh_l0")
# The released names, and this project's.
_CLASSIFIER = {name: name for name in _GRU} | {"fc.weight": "head.weight", "fc.bias": "head.bias"}
_CONV, _LINEAR, _ACTOR = "state_encoder.0.weight", "state_encoder.3.weight", "actor.0.weight"
_POLICY = {name: f"trunk.{name}" for name in _GRU} | {
    _CONV: "trunk.conv.weight",
    _LINEAR: "trunk.linear.weight",
    "state_encoder.3.bias": "trunk.linear.bias",
    _ACTOR: "actor.weight",
    "actor.0.bias": "actor.bias",
}
_CRITIC = ("critic.0.weight", "critic.0.bias")

# From stage II on the focuser's state dict carries the networks of its PPO, too.
_POLICY_IN_FOCUSER = re.compile(r"(module\.)*policy\.")

_MISNAMED = (
    "it looks like π, which is expected in the entry 'policy': save the checkpoint with this entry "
    "named 'policy', and import that"
)
_GIVE = (
    "give a checkpoint of AdaFocus's ActivityNet, FCVID or Mini-Kinetics experiments (stage I, II "
    "or III)"
)


@dataclass(frozen=True)
class ReleasedReport:
    """What became of a checkpoint; plain values only.

    Attributes:
        entries: Names of the entries that hold something, needed or not.
        used: Tensors used, by entry.
        left_out: Why something was not used, by entry, or by entry and group of tensors.
        inferred: Sizes that no entry states and that were read from shapes.
    """

    entries: list[str]
    used: dict[str, int]
    left_out: dict[str, str]
    inferred: dict[str, int | bool]


@dataclass(frozen=True)
class Released:
    """The networks of a released checkpoint, in eval mode.

    The checkpoint does not say how large the patches were: P, and so the `PatchGrid` of
    ``sqrt(K)`` options per axis, has to be known from elsewhere (the file's name, as a rule).

    Attributes:
        glance: f_G, a MobileNet-V2.
        local: f_L, a ResNet-50.
        classifier: f_C; its dropout, which no file states, is the default.
        policy: π; None before stage II, where patches are random.
        report: What was used, left out and inferred.
    """

    glance: Encoder
    local: Encoder
    classifier: GruClassifier
    policy: PolicyNetwork | None
    report: ReleasedReport


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
    missing = [name for name in RELEASED_ENTRIES[:3] if name not in checkpoint]
    if missing:
        held = ", ".join(map(str, list(checkpoint)[:8])) or "nothing"
        raise WeightsError(
            f"the checkpoint lacks the entries {', '.join(missing)}: expected glancer, focuser, fc "
            f"and perhaps policy; it holds {held}: {_GIVE}"
        )
    entries = {
        name: _state_dict(name, checkpoint[name])
        for name in RELEASED_ENTRIES
        if name != "policy" or checkpoint.get(name) is not None
    }
    filled = [name for name, value in checkpoint.items() if value is not None]
    report = ReleasedReport(filled, {}, {}, {})
    with torch.random.fork_rng(devices=[]):  # networks are built with random weights first
        glance = _encoder("glancer", entries["glancer"], "mobilenet_v2", report)
        local = _encoder("focuser", entries["focuser"], "resnet50", report)
        classifier = _classifier(entries["fc"], glance.channels, local.channels, report)
        policy = None
        if "policy" in entries:
            policy = _policy(entries["policy"], glance.channels, report)
    for name, value in checkpoint.items():
        if name not in RELEASED_ENTRIES:
            is_policy = policy is None and _looks_like_policy(value)
            report.left_out[name] = _MISNAMED if is_policy else "not needed to recognize"
    return Released(glance, local, classifier, policy, report)


def _state_dict(entry: str, value: Any) -> Mapping[str, Tensor]:
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items()
    ):
        raise _misfit(entry, f"is a {type(value).__name__}, expected a state dict of tensors")
    for key, tensor in value.items():
        if not tensor.isfinite().all():
            raise _misfit(entry, f"holds NaN or infinite numbers in {key}: its training failed")
    return value


def _looks_like_policy(value: Any) -> bool:
    """Return whether an entry holds all tensors of π, by their names, and none but its PPO's."""
    if not isinstance(value, Mapping):
        return False
    names = {n for key in value for n in (*_POLICY, *_CRITIC) if f".{key}".endswith(f".{n}")}
    known = all(any(f".{key}".endswith(f".{n}") for n in names) for key in value)
    return known and names >= set(_POLICY)


def _encoder(entry: str, state: Mapping[str, Tensor], name: str, report: ReleasedReport) -> Encoder:
    policy = [key for key in state if _POLICY_IN_FOCUSER.match(key)]
    own = {key: value for key, value in state.items() if key not in policy}
    heads = [key for key in own if HEADS.intersection(key.split("."))]
    encoder = Encoder(EncoderConfig(name))
    try:
        load_weights(encoder, own)
    except WeightsError as error:
        raise WeightsError(f"the entry {entry!r} of the checkpoint: {error}") from error
    report.used[entry] = len(own) - len(heads)
    _leave_out(report, entry, heads, "a head of its own: f_C classifies")
    _leave_out(report, entry, policy, "PPO's networks: π is taken from the entry 'policy' alone")
    return encoder.eval()


def _classifier(
    state: Mapping[str, Tensor], glance: int, local: int, report: ReleasedReport
) -> GruClassifier:
    tensors = _take("fc", state, _CLASSIFIER, (), report)
    _, width = _sizes("fc", tensors, _GRU[0], 2)
    n_classes, hidden = _sizes("fc", tensors, "fc.weight", 2)
    if width not in (glance + local, local):
        raise _misfit(
            "fc",
            f"has {_GRU[0]} for {width} inputs, expected {glance + local} (the channels of both "
            f"encoders) or {local} (of the local one alone)",
        )
    shapes = _gru_shapes(width, hidden) | {
        "fc.weight": (n_classes, hidden),
        "fc.bias": (n_classes,),
    }
    _check_shapes("fc", tensors, shapes)
    config = ClassifierConfig(glance, local, n_classes, hidden, reuse_glance=width > local)
    classifier = GruClassifier(config)
    classifier.load_state_dict({_CLASSIFIER[name]: value for name, value in tensors.items()})
    report.inferred.update(
        n_classes=n_classes, classifier_hidden=hidden, reuse_glance=config.reuse_glance
    )
    return classifier.eval()


def _policy(state: Mapping[str, Tensor], glance: int, report: ReleasedReport) -> PolicyNetwork:
    tensors = _take("policy", state, _POLICY, _CRITIC, report)
    channels = _sizes("policy", tensors, _CONV, 4)[0]
    hidden, width = _sizes("policy", tensors, _LINEAR, 2)
    n_options, _ = _sizes("policy", tensors, _ACTOR, 2)
    side, n = math.isqrt(width // channels), math.isqrt(n_options)
    if width != channels * side * side:
        raise _misfit(
            "policy",
            f"has {_LINEAR} for {width} inputs, expected h·h cells of the {channels} channels that "
            f"{_CONV} gives",
        )
    if n_options != n * n or n < 2:
        raise _misfit(
            "policy",
            f"has {_ACTOR} for {n_options} actions, expected n·n options of a patch grid, such as "
            "49: continuous actions cannot be converted",
        )
    shapes = _gru_shapes(hidden, hidden) | {
        _CONV: (channels, glance, 1, 1),
        _LINEAR: (hidden, width),
        "state_encoder.3.bias": (hidden,),
        _ACTOR: (n_options, hidden),
        "actor.0.bias": (n_options,),
    }
    _check_shapes("policy", tensors, shapes)
    # Ours is a linear layer over the last axis, theirs a 1×1 convolution; neither has a bias.
    tensors[_CONV] = tensors[_CONV].flatten(1)
    # They flatten the map (channel, cell), we do (cell, channel): maps are stored channels last.
    columns = tensors[_LINEAR].unflatten(1, (channels, side * side))
    tensors[_LINEAR] = columns.transpose(1, 2).flatten(1)
    policy = PolicyNetwork(PolicyConfig(side, side, glance, n_options, channels, hidden))
    policy.load_state_dict({_POLICY[name]: value for name, value in tensors.items()})
    report.inferred.update(map_height=side, map_width=side, n_options=n_options, grid_n=n)
    report.inferred.update(conv_channels=channels, policy_hidden=hidden)
    return policy.eval()


def _take(
    entry: str,
    state: Mapping[str, Tensor],
    names: Iterable[str],
    unused: Iterable[str],
    report: ReleasedReport,
) -> dict[str, Tensor]:
    """Return an entry's tensors by their names, prefix stripped, and report on the others.

    Under further prefixes there may be copies (``policy_old.``), which have to be equal.
    """
    names, unused = set(names), set(unused)
    copies: dict[str, dict[str, Tensor]] = {"": {}}
    for key, value in state.items():
        name = next((n for n in names | unused if f".{key}".endswith(f".{n}")), None)
        if name is None:
            raise _misfit(
                entry,
                f"holds {key} {tuple(value.shape)}, expected no more than "
                f"{', '.join(sorted(names | unused))}",
            )
        copies.setdefault(key.removesuffix(name), {})[name] = value
    prefix = max(copies, key=lambda prefix: len(copies[prefix]))
    found = copies.pop(prefix)
    missing = sorted(names - set(found))
    if missing:
        raise _misfit(entry, f"lacks {', '.join(prefix + name for name in missing)}")
    for other, copy in copies.items():
        for name, value in copy.items():
            if name in found and not torch.equal(value, found[name]):
                raise _misfit(
                    entry,
                    f"holds two networks, which differ: {prefix}{name} is not {other}{name}: keep "
                    "the keys of the one that is wanted",
                )
        _leave_out(report, entry, [other + name for name in copy], "an equal copy")
    left = [prefix + name for name in found if name in unused]
    _leave_out(report, entry, left, "the value estimate, which only training needs")
    report.used[entry] = len(names)
    return {name: found[name] for name in names}


def _sizes(entry: str, tensors: Mapping[str, Tensor], name: str, ndim: int) -> tuple[int, ...]:
    shape = tuple(tensors[name].shape)
    if len(shape) != ndim or 0 in shape:
        raise _misfit(entry, f"has {name} of shape {shape}, expected {ndim} dimensions, none empty")
    return shape


def _gru_shapes(inputs: int, hidden: int) -> dict[str, tuple[int, ...]]:
    shapes = (3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)
    return dict(zip(_GRU, shapes, strict=True))


def _check_shapes(
    entry: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    differing = [
        f"{name} {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in shapes.items()
        if tuple(tensors[name].shape) != shape
    ]
    if differing:
        raise _misfit(entry, f"has {'; '.join(differing)}")


def _leave_out(report: ReleasedReport, entry: str, keys: list[str], reason: str) -> None:
    if keys:
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        report.left_out[f"{entry}: {keys[0]}{more}"] = reason


def _misfit(entry: str, problem: str) -> WeightsError:
    return WeightsError(f"the entry {entry!r} of the checkpoint {problem}: {_GIVE}")
