"""Files of the released TSM and AdaFocus Something-Something structure, and their computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torchvision
from released_files import MEAN, STD, Checkpoint, State, calibrated, prefixed
from released_v2_files import Block, FlatMobileNet
from torch import Tensor, nn


class TemporalShift(nn.Module):
    """What is put around a convolution: of each frame two parts of its channels are moved."""

    def __init__(self, net: nn.Module, n_frames: int) -> None:
        super().__init__()
        self.net, self.n_frames = net, n_frames

    def forward(self, x: Tensor) -> Tensor:
        part, shifted = x.shape[1] // 8, torch.zeros_like(x)
        channels = slice(part), slice(part, 2 * part), slice(2 * part, None)
        for row in range(len(x)):
            clip, frame = divmod(row, self.n_frames)
            for step, of in zip((1, -1, 0), channels, strict=True):
                if 0 <= frame + step < self.n_frames:
                    shifted[row, of] = x[clip * self.n_frames + frame + step, of]
        out: Tensor = self.net(shifted)
        return out


def shifted_mobilenet(n_frames: int) -> nn.Module:
    """Return f_G with random weights, and a head of 5 classes; it reads clips of F frames."""
    network = FlatMobileNet()
    for block in network.features:
        if isinstance(block, Block) and block.is_residual and len(block.conv) == 8:
            block.conv[0] = TemporalShift(block.conv[0], n_frames)
    return calibrated(network)


def shifted_resnet(network: Any, n_frames: int, every: int = 1) -> Any:
    """Put shifts into torchvision's ResNet, and return it."""
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in list(stage)[::every]:
            block.conv1 = TemporalShift(block.conv1, n_frames)
    return network


def tsm_file(network: nn.Module, head: str) -> Checkpoint:
    """Return a file as TSM's training program saves it.

    Args:
        network: With shifts; its own head becomes the one of the file.
        head: Name of the network's head.
    """
    state = {
        key.replace(f"base_model.{head}.", "new_fc."): value
        for key, value in prefixed("base_model.", dict(network.state_dict())).items()
    }
    return {
        "epoch": 50,
        "arch": "resnet50",
        "state_dict": prefixed("module.", state),
        "best_prec1": torch.tensor(47.2),
    }


class ClipPolicy(nn.Module):
    """π: from the joined maps of a clip ``(B, F·1280, h, w)`` to (row, column)."""

    def __init__(self, inputs: int, side: int, conv: int, hidden: int) -> None:
        super().__init__()
        self.state_encoder = nn.Sequential(
            nn.Conv2d(inputs, conv, 1, bias=False),
            nn.BatchNorm2d(conv),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(conv * side * side, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
        )
        self.gru = nn.GRU(hidden, hidden)
        self.actor: Any = nn.Sequential(nn.Linear(hidden, 2), nn.Sigmoid())
        self.critic = nn.Sequential(nn.Linear(hidden, 1))

    def forward(self, maps: Tensor) -> Tensor:
        units = self.state_encoder(maps)
        states, _ = self.gru(units[None], torch.zeros_like(units)[None])
        where: Tensor = self.actor(states[0])
        return where


class Net(nn.Module):
    """A network under the name ``net``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: Any = net


class BaseModel(nn.Module):
    """A ResNet's children up to its pooling, in a sequence."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.base_model = nn.Sequential(*list(network.children())[:-1])


class AdaFocusSth(nn.Module):
    """The released networks, under their names."""

    def __init__(self, n_glanced: int, n_frames: int, conv: int, hidden: int) -> None:
        super().__init__()
        local = torchvision.models.resnet50(weights=None)
        self.glancer = Net(shifted_mobilenet(n_glanced))
        self.focuser = Net(BaseModel(calibrated(shifted_resnet(local, n_frames))))
        self.classifier = nn.Linear(2048, 5)
        self.policy = ClipPolicy(n_glanced * 1280, 7, conv, hidden)

    def forward(self, glanced: Tensor, looked: Tensor, patch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits ``(B, C)``, boxes ``(B, 4)`` and what they were rounded down from.

        Args:
            glanced: ``(B, F_G, 3, 224, 224)`` uint8.
            looked: ``(B, F_L, 3, 224, 224)`` uint8.
            patch: Side of the boxes, pixels, which are (left, top, right, bottom).
        """
        batch = len(glanced)
        images = (glanced.flatten(0, 1) / 255 - MEAN) / STD
        maps = self.glancer.net(images)
        of_glance = self.glancer.net.classifier(maps.mean((2, 3))).view(batch, -1, 5).mean(1)
        actions = self.policy(maps.reshape(batch, -1, 7, 7)) * (224 - patch)
        patches, boxes = [], []
        for clip, (row, column) in zip(looked, actions.floor().int().tolist(), strict=True):
            crops = clip[..., row : row + patch, column : column + patch]
            patches.append((crops / 255 - MEAN) / STD)
            boxes.append([column, row, column + patch, row + patch])
        vectors = self.focuser.net.base_model(torch.cat(patches)).flatten(1)
        of_local = self.classifier(vectors).view(batch, -1, 5).mean(1)
        return of_glance + of_local, torch.tensor(boxes).float(), actions


@torch.no_grad()
def released_sth(
    glanced: Tensor, looked: Tensor, patch: int, *, conv: int, hidden: int
) -> AdaFocusSth:
    """Return the networks with random weights, π's normalisation made for some frames."""
    model = AdaFocusSth(glanced.shape[1], looked.shape[1], conv, hidden).eval()
    for module in model.policy.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.train()
    nn.init.normal_(model.policy.actor[0].weight)  # so that boxes differ from clip to clip
    model(glanced, looked, patch)
    return model.eval()


def checkpoint_sth(model: AdaFocusSth) -> Checkpoint:
    """Return a whole checkpoint, as after stage III."""

    def state(part: nn.Module) -> State:
        return {name: value.clone() for name, value in part.state_dict().items()}

    parts = {"glancer": model.glancer, "focuser": model.focuser, "fc": model.classifier}
    return {
        "epoch": 50,
        "model_state_dict": {"classifier.bias": model.classifier.bias.detach().clone()},
        **{name: state(part) for name, part in parts.items()},
        "policy": state(model.policy),
        "acc": torch.tensor(47.0),
        "best_acc": np.float64(47.0),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
    }
