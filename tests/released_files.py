"""Files of the released checkpoints' structure, and the released computation, written out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

State = dict[str, Tensor]
Checkpoint = dict[str, Any]

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@contextmanager
def all_weights_loaded() -> Iterator[None]:
    """Let networks begin with NaN, not with random weights, which take long to draw.

    What a file holds replaces them all; what is not replaced shows.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_"):
            patch.setattr(nn.init, name, _fill_with_nan)
        yield


@torch.no_grad()
def _fill_with_nan(weights: Tensor, *_: object, **__: object) -> Tensor:
    return weights.fill_(torch.nan)


def gru_state(inputs: int, hidden: int) -> State:
    return {f"gru.{key}": value for key, value in nn.GRU(inputs, hidden).state_dict().items()}


def linear_state(name: str, inputs: int, outputs: int) -> State:
    return {
        f"{name}.{key}": value for key, value in nn.Linear(inputs, outputs).state_dict().items()
    }


def policy_state(channels: int = 3, hidden: int = 8, side: int = 7, options: int = 49) -> State:
    conv = torch.randn(channels, 1280, 1, 1) / 10
    state = {"state_encoder.0.weight": conv}
    state |= linear_state("state_encoder.3", channels * side * side, hidden)
    state |= gru_state(hidden, hidden)
    state |= linear_state("actor.0", hidden, options) | linear_state("critic.0", hidden, 1)
    return state


def classifier_state(inputs: int = 3328, hidden: int = 8, classes: int = 5) -> State:
    return gru_state(inputs, hidden) | linear_state("fc", hidden, classes)


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def calibrated(network: nn.Module) -> nn.Module:
    """Return a network whose normalisation has seen images, so that its features vary."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
    return network.eval()


def encoder_entries() -> Checkpoint:
    """Entries of two encoders with random weights."""
    torch.manual_seed(3)
    glancer = calibrated(torchvision.models.mobilenet_v2(weights=None, num_classes=5))
    focuser = calibrated(torchvision.models.resnet50(weights=None, num_classes=5))
    return {
        "glancer": prefixed("net.", dict(glancer.state_dict())),
        "focuser": prefixed("net.", dict(focuser.state_dict())),
    }


def checkpoint_after_stage_two(
    encoders: Checkpoint, hidden: int = 1024, classes: int = 200
) -> Checkpoint:
    """A whole checkpoint; the sizes that are not said are the released ones."""
    torch.manual_seed(4)
    policy = policy_state(32, hidden)
    for key in ("state_encoder.3.weight", "gru.weight_ih_l0", "actor.0.weight"):
        policy[key] *= 5  # so that the options differ from frame to frame
    ppo = prefixed("policy.policy.", policy) | prefixed("policy.policy_old.", policy)
    return {
        "epoch": 7,
        "model_state_dict": prefixed("glancer.", encoders["glancer"]),
        "glancer": encoders["glancer"],
        "focuser": encoders["focuser"] | ppo,
        "fc": classifier_state(3328, hidden, classes),
        "scaler": None,
        "policy": policy,
        "acc": torch.tensor(76.5),
        "best_acc": np.float64(76.5),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
    }


# The released computation, as facts state it.


def literal_gru(state: State, inputs: Tensor) -> Tensor:
    """Return the hidden states ``(B, T, H)`` for ``(B, T, W)``."""
    w_ih, w_hh, b_ih, b_hh = (
        state[f"gru.{key}_l0"] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden, states = inputs.new_zeros(len(inputs), w_hh.shape[1]), []
    for step in range(inputs.shape[1]):
        from_input = (inputs[:, step] @ w_ih.T + b_ih).chunk(3, dim=1)
        from_state = (hidden @ w_hh.T + b_hh).chunk(3, dim=1)
        reset = (from_input[0] + from_state[0]).sigmoid()
        update = (from_input[1] + from_state[1]).sigmoid()
        new = (from_input[2] + reset * from_state[2]).tanh()
        hidden = (1 - update) * new + update * hidden
        states.append(hidden)
    return torch.stack(states, dim=1)


def literal_policy(state: State, maps: Tensor) -> Tensor:
    """Return logits ``(B, T, K)`` for maps ``(B, T, 1280, h, w)``, channels first."""
    x = functional.conv2d(maps.flatten(0, 1), state["state_encoder.0.weight"]).relu().flatten(1)
    x = (x @ state["state_encoder.3.weight"].T + state["state_encoder.3.bias"]).relu()
    states = literal_gru(state, x.unflatten(0, maps.shape[:2]))
    return states @ state["actor.0.weight"].T + state["actor.0.bias"]


def literal_classifier(state: State, features: Tensor) -> Tensor:
    return literal_gru(state, features) @ state["fc.weight"].T + state["fc.bias"]


def literal_patches(images: Tensor, options: Tensor, patch: int) -> Tensor:
    """Cut patches at row i/6 and column j/6 of the room that the patch leaves."""
    patches = []
    for image, option in zip(images, options.tolist(), strict=True):
        action = torch.tensor([option // 7, option % 7]) / 6
        row, column = torch.floor(action * (224 - patch)).int().tolist()
        patches.append(image[:, row : row + patch, column : column + patch])
    return torch.stack(patches)


@torch.no_grad()
def literal_recognition(
    checkpoint: Checkpoint, frames: Tensor, patch: int
) -> tuple[Tensor, Tensor]:
    """Return π's logits ``(B, T, K)`` and f_C's ``(B, T, C)`` for frames ``(B, T, 3, 224, 224)``.

    π's best options are looked at, in torchvision's own networks.
    """
    batch = frames.shape[:2]
    images = (frames.flatten(0, 1) / 255 - MEAN) / STD
    with all_weights_loaded():
        glancer: Any = torchvision.models.mobilenet_v2(weights=None, num_classes=5).eval()
        focuser: Any = torchvision.models.resnet50(weights=None, num_classes=5).eval()
    glancer.load_state_dict({k.removeprefix("net."): v for k, v in checkpoint["glancer"].items()})
    own = {k[4:]: v for k, v in checkpoint["focuser"].items() if k.startswith("net.")}
    focuser.load_state_dict(own)
    focuser.fc = nn.Identity()
    maps = glancer.features(images)
    where = literal_policy(checkpoint["policy"], maps.unflatten(0, batch))
    patches = literal_patches(images, where.argmax(-1).flatten(), patch)
    vectors = torch.cat([maps.mean((2, 3)), focuser(patches)], dim=1)
    return where, literal_classifier(checkpoint["fc"], vectors.unflatten(0, batch))
