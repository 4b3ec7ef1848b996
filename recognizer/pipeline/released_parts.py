"""What the importers of released checkpoints share: checks, encoders, and the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..classifiers.base import Classifier
from ..encoders.encoder import Encoder, EncoderConfig
from ..encoders.loading import WeightsError, load_weights
from ..encoders.trunks import HEADS
from ..policies.base import Policy

NORM = ("weight", "bias", "running_mean", "running_var")
BATCHES, WHY_NO_BATCHES = "num_batches_tracked", "counts of batches, which only training needs"
GRU = ("gru.weight_ih_l0", "gru.weight_hh_l0", "gru.bias_ih_l0", "gru.bias_hh_l0")
CRITIC = dict.fromkeys(
    ("critic.0.weight", "critic.0.bias"), "the value estimate, which only training needs"
)
NOT_NEEDED = "not needed to recognize"
RELEASED_ENTRIES = ("glancer", "focuser", "fc", "policy")  # needed of an AdaFocus checkpoint

_MOST_NAMES = 12  # that a message lists
_GIVE = (
    "give a checkpoint of AdaFocus's ActivityNet, FCVID, Mini-Kinetics or Something-Something "
    "experiments (stage I, II or III), of AdaFocusV2's on the first three, or of AFNet's"
)


@dataclass(frozen=True)
class ReleasedReport:
    """What became of a checkpoint; plain values only.

    Attributes:
        entries: Names of the entries that hold something, needed or not.
        used: Tensors used, by entry; of AdaFocusV2 and AFNet, whose networks share one entry, by
            network or part.
        left_out: Why something was not used, by entry, or by entry and group of tensors.
        inferred: What no entry states and was read from names and shapes.
    """

    entries: list[str]
    used: dict[str, int]
    left_out: dict[str, str]
    inferred: dict[str, int | bool | str]


@dataclass(frozen=True)
class Released:
    """The networks of a released checkpoint, in eval mode.

    The checkpoint does not say how large the patches were: P has to be known from elsewhere (the
    file's name, as a rule), and so has the `PatchGrid` of ``sqrt(K)`` options per axis of AdaFocus,
    and the `Boxes` of AdaFocusV2 and of the Something-Something networks (at whole pixels).

    Attributes:
        glance: f_G, a MobileNet-V2; or, of AdaFocusV2-RN, a ResNet-50 at 96 px. Of
            Something-Something it shifts channels along the frames of a clip, as does f_L.
        local: f_L, a ResNet-50.
        classifier: f_C; its dropout, which no file states, is the default, or the released code's.
        policy: π; None before stage II of AdaFocus, where patches are random.
        report: What was used, left out and inferred.
    """

    glance: Encoder
    local: Encoder
    classifier: Classifier
    policy: Policy | None
    report: ReleasedReport


def state_dict(entry: str, value: Any) -> Mapping[str, Tensor]:
    """Return an entry that is a state dict of finite numbers.

    Raises:
        WeightsError: If it is not.
    """
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items()
    ):
        raise misfit(entry, f"is a {type(value).__name__}, expected a state dict of tensors")
    for key, tensor in value.items():
        if not tensor.isfinite().all():
            raise misfit(entry, f"holds NaN or infinite numbers in {key}: its training failed")
    return value


def entries_of(checkpoint: Mapping[str, Any]) -> dict[str, Mapping[str, Tensor]]:
    """Return the state dicts of an AdaFocus checkpoint by entry; before stage II without π's.

    Raises:
        WeightsError: If an entry is missing, or is no state dict of finite numbers.
    """
    missing = [name for name in RELEASED_ENTRIES[:3] if name not in checkpoint]
    if missing:
        what = f"the entries {', '.join(missing)}"
        raise lacking(what, "glancer, focuser, fc and perhaps policy", checkpoint)
    return {
        name: state_dict(name, checkpoint[name])
        for name in RELEASED_ENTRIES
        if name != "policy" or checkpoint.get(name) is not None
    }


def filled(checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the names of the entries that hold something."""
    return [name for name, value in checkpoint.items() if value is not None]


def encoder_of(
    entry: str, state: Mapping[str, Tensor], config: EncoderConfig, report: ReleasedReport
) -> Encoder:
    """Return an encoder with an entry's weights, in eval mode; a head is left out and reported.

    Raises:
        WeightsError: If they do not fit.
    """
    heads = [key for key in state if HEADS.intersection(key.split("."))]
    encoder = Encoder(config)
    try:
        load_weights(encoder, state)
    except WeightsError as error:
        raise WeightsError(f"the entry {entry!r} of the checkpoint: {error}") from error
    report.used[entry] = len(state) - len(heads)
    leave_out(report, entry, heads, "a head of its own: f_C classifies")
    return encoder.eval()


def take(
    entry: str,
    state: Mapping[str, Tensor],
    names: Iterable[str],
    unused: Mapping[str, str],
    report: ReleasedReport,
) -> dict[str, Tensor]:
    """Return an entry's tensors by their names, prefix stripped, and report on the others.

    Under further prefixes there may be copies (``policy_old.``), which have to be equal.

    Args:
        entry: Name of the entry in the checkpoint.
        state: The entry.
        names: Of the tensors that are needed.
        unused: Why others are left out, by their names; they need not be there.
        report: To which is added.

    Raises:
        WeightsError: If a tensor is missing or left over, or copies differ.
    """
    names = set(names)
    known = names | set(unused)
    copies: dict[str, dict[str, Tensor]] = {"": {}}
    for key, value in state.items():
        name = next((n for n in known if f".{key}".endswith(f".{n}")), None)
        if name is None:
            more = f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
            raise misfit(
                entry,
                f"holds {key} {tuple(value.shape)}, expected no more than "
                f"{', '.join(sorted(known)[:_MOST_NAMES])}{more}",
            )
        copies.setdefault(key.removesuffix(name), {})[name] = value
    prefix = max(copies, key=lambda prefix: len(copies[prefix]))
    tensors = copies.pop(prefix)
    missing = sorted(names - set(tensors))
    if missing:
        raise misfit(entry, f"lacks {', '.join(prefix + name for name in missing)}")
    for other, copy in copies.items():
        for name, value in copy.items():
            if name in tensors and not torch.equal(value, tensors[name]):
                raise misfit(
                    entry,
                    f"holds two networks, which differ: {prefix}{name} is not {other}{name}: keep "
                    "the keys of the one that is wanted",
                )
        leave_out(report, entry, [other + name for name in copy], "an equal copy")
    for reason in dict.fromkeys(unused.values()):
        left = [prefix + name for name in tensors if unused.get(name) == reason]
        leave_out(report, entry, left, reason)
    report.used[entry] = len(names)
    return {name: tensors[name] for name in names}


def sizes_of(entry: str, tensors: Mapping[str, Tensor], name: str, ndim: int) -> tuple[int, ...]:
    """Return the shape of a tensor.

    Raises:
        WeightsError: If it has not ``ndim`` dimensions, or is empty.
    """
    shape = tuple(tensors[name].shape)
    if len(shape) != ndim or 0 in shape:
        raise misfit(entry, f"has {name} of shape {shape}, expected {ndim} dimensions, none empty")
    return shape


def map_side(entry: str, conv: tuple[str, int], linear: tuple[str, int]) -> int:
    """Return h = w of the glance maps whose cells π's linear layer reads.

    Args:
        entry: Name of the entry of π in the checkpoint.
        conv: Name of the convolution, and how many channels it gives.
        linear: Name of the linear layer, and how many inputs it has.

    Raises:
        WeightsError: If there is no such side.
    """
    side = math.isqrt(linear[1] // conv[1])
    if linear[1] != conv[1] * side * side:
        raise misfit(
            entry,
            f"has {linear[0]} for {linear[1]} inputs, expected h·h cells of the {conv[1]} channels "
            f"that {conv[0]} gives",
        )
    return side


def by_cells(weight: Tensor, channels: int) -> Tensor:
    """Return a linear layer's weight ``(H, channels·h·w)`` for maps that are flattened as ours.

    They flatten a map (channel, cell), we do (cell, channel): maps are stored channels last.
    """
    by_channels: Tensor = weight.unflatten(1, (channels, -1))  # (H, channels, h·w)
    return by_channels.transpose(1, 2).flatten(1)


def gru_shapes(inputs: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a GRU's tensors by name."""
    shapes = (3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)
    return dict(zip(GRU, shapes, strict=True))


def check_shapes(
    entry: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check the shapes of an entry's tensors.

    Raises:
        WeightsError: If one is of another shape, listing all that are.
    """
    differing = [
        f"{name} {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in shapes.items()
        if tuple(tensors[name].shape) != shape
    ]
    if differing:
        raise misfit(entry, f"has {'; '.join(differing)}")


def leave_out(report: ReleasedReport, entry: str, keys: list[str], reason: str) -> None:
    """Report that some tensors of an entry, if any, are not used."""
    if keys:
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        report.left_out[f"{entry}: {keys[0]}{more}"] = reason


def misfit(entry: str, problem: str) -> WeightsError:
    """Return the error that says what is wrong with an entry, and what to give instead."""
    return WeightsError(f"the entry {entry!r} of the checkpoint {problem}: {_GIVE}")


def lacking(what: str, expected: str, held: Iterable[str]) -> WeightsError:
    """Return the error that says what a checkpoint lacks, and what to give instead."""
    names = ", ".join(map(str, list(held)[:8])) or "nothing"
    return WeightsError(
        f"the checkpoint lacks {what}: expected {expected}; it holds {names}: {_GIVE}"
    )
