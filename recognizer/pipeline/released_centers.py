"""Released policies that name centres: their names and layouts, mapped to this project's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..policies.base import Policy
from ..policies.config import PolicyConfig
from ..policies.registry import build_policy
from .released_parts import (
    BATCHES,
    GRU,
    NORM,
    WHY_NO_BATCHES,
    ReleasedReport,
    by_cells,
    check_shapes,
    gru_shapes,
    map_side,
    sizes_of,
    take,
)


def center_policy(
    entry: str,
    state: Mapping[str, Tensor],
    network: str,
    glance: int,
    report: ReleasedReport,
    *,
    encoder: str,
    actor: str,
    unused: Mapping[str, str],
    in_clips: bool,
) -> Policy:
    """Return π of a checkpoint, which named (y, x), as a network that names (x, y); in eval mode.

    Args:
        entry: Name of the entry or network that it is.
        state: Its state dict.
        network: Its kind here, ``centers`` or another with the same layers.
        glance: Channels of f_G.
        report: To which is added.
        encoder: Name of the layers before the GRU: a convolution, batch normalisation, an
            activation, the flattening, a linear layer and batch normalisation.
        actor: Name of the layers after it: a linear one is the first.
        unused: Why other tensors, by their names, are left out; counts of batches always are.
        in_clips: Whether it reads the maps of all F frames of a clip, joined on their channels.

    Raises:
        WeightsError: If a tensor is missing or left over, or shapes do not fit each other.
    """
    conv, linear, head = f"{encoder}.0.weight", f"{encoder}.4.weight", f"{actor}.0.weight"
    names = {
        **{name: name for name in GRU},
        **{f"{encoder}.1.{name}": f"conv_norm.{name}" for name in NORM},
        **{f"{encoder}.5.{name}": f"norm.{name}" for name in NORM},
        conv: "conv.weight",
        linear: "linear.weight",
        f"{encoder}.4.bias": "linear.bias",
        head: "actor.weight",
        f"{actor}.0.bias": "actor.bias",
    }
    counts = {f"{encoder}.{layer}.{BATCHES}": WHY_NO_BATCHES for layer in (1, 5)}
    tensors = take(entry, state, names, counts | dict(unused), report)
    channels, inputs = sizes_of(entry, tensors, conv, 4)[:2]
    hidden, width = sizes_of(entry, tensors, linear, 2)
    side = map_side(entry, (conv, channels), (linear, width))
    inputs = glance * max(1, inputs // glance) if in_clips else glance
    shapes = gru_shapes(hidden, hidden) | {
        **{f"{encoder}.1.{name}": (channels,) for name in NORM},
        **{f"{encoder}.5.{name}": (hidden,) for name in NORM},
        conv: (channels, inputs, 1, 1),
        linear: (hidden, width),
        f"{encoder}.4.bias": (hidden,),
        head: (2, hidden),
        f"{actor}.0.bias": (2,),
    }
    check_shapes(entry, tensors, shapes)
    # Ours is a linear layer over the last axis, theirs a 1×1 convolution; neither has a bias.
    tensors[conv] = tensors[conv].flatten(1)
    tensors[linear] = by_cells(tensors[linear], channels)
    for name in (head, f"{actor}.0.bias"):
        tensors[name] = tensors[name].flip(0)  # they name (y, x), we (x, y)
    config = PolicyConfig(
        side,
        side,
        inputs,
        n_options=1,
        conv_channels=channels,
        hidden=hidden,
        network=network,
    )
    policy = build_policy(config)
    policy.load_state_dict({names[name]: value for name, value in tensors.items()})
    report.inferred.update(map_height=side, map_width=side)
    report.inferred.update(conv_channels=channels, policy_hidden=hidden)
    return policy.eval()
