"""Files of the released AdaFocusV2 checkpoints' structure, and its computation, written out."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from released_files import MEAN, STD, Checkpoint, calibrated, prefixed
from torch import Tensor, nn
from torch.nn import functional

# Expansion, channels, blocks and stride of MobileNet-V2 (arXiv:1801.04381), Table 2.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv(n_in: int, n_out: int, side: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(n_in, n_out, side, stride, side // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(n_out)]


class Block(nn.Module):
    """A block of MobileNet-V2, as one flat sequence."""

    def __init__(self, n_in: int, n_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = n_in * expansion
        layers = [] if expansion == 1 else [*_conv(n_in, wide, 1), nn.ReLU6()]
        layers += [*_conv(wide, wide, 3, stride, wide), nn.ReLU6(), *_conv(wide, n_out, 1)]
        self.conv, self.is_residual = nn.Sequential(*layers), stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.is_residual else y


class FlatMobileNet(nn.Module):
    """A MobileNet-V2 up to its maps, with a head that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*_conv(3, 32, 3, 2), nn.ReLU6())]
        n_in = 32
        for expansion, n_out, blocks, stride in _STAGES:
            for i in range(blocks):
                layers.append(Block(n_in, n_out, stride if i == 0 else 1, expansion))
                n_in = n_out
        layers.append(nn.Sequential(*_conv(n_in, 1280, 1), nn.ReLU6()))
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(1280, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.features(x)
        return maps


def resnet_maps(network: Any, x: Tensor) -> Tensor:
    """Return the maps ``(M, 2048, h, w)`` of torchvision's ResNet-50."""
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    maps: Tensor = network.layer4(network.layer3(network.layer2(network.layer1(x))))
    return maps


class CenterPolicy(nn.Module):
    """π: from maps ``(B, T, G, h, w)`` to (y, x)."""

    def __init__(self, channels: int, side: int, conv: int, hidden: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, conv, 1, bias=False),
            nn.BatchNorm2d(conv),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(conv * side * side, hidden),
            nn.BatchNorm1d(hidden),
            nn.Tanh(),
        )
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.fc = nn.Sequential(nn.Linear(hidden, 2), nn.Sigmoid())

    def forward(self, maps: Tensor) -> Tensor:
        states, _ = self.gru(self.encoder(maps.flatten(0, 1)).unflatten(0, maps.shape[:2]))
        where: Tensor = self.fc(states)
        return where


class Mlp(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU())


class MaxPooling(nn.Module):
    """f_C: the maximum over the frames so far, and a head for each number of them."""

    def __init__(self, inputs: int, hidden: int, classes: int, steps: int) -> None:
        super().__init__()
        self.mlp = Mlp(inputs, hidden)
        self.classifiers = nn.ModuleList(
            nn.Sequential(nn.Dropout(0.2), nn.Linear(hidden, classes)) for _ in range(steps)
        )

    def forward(self, features: Tensor) -> Tensor:
        units = self.mlp.layers(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        pooled, logits = torch.zeros_like(units[:, 0]), []
        for step, head in enumerate(self.classifiers):
            pooled = torch.max(pooled, units[:, step])
            logits.append(head(pooled))
        return torch.stack(logits, dim=1)


class AdaFocusV2(nn.Module):
    """The released networks, under their names."""

    def __init__(self, global_cnn: nn.Module, local_cnn: nn.Module, **sizes: int) -> None:
        super().__init__()
        conv, hidden, units = sizes["conv"], sizes["hidden"], sizes["units"]
        classes, steps = sizes["classes"], sizes["steps"]
        self.is_resnet = not isinstance(global_cnn, FlatMobileNet)
        channels, side = (2048, 3) if self.is_resnet else (1280, 7)
        self.global_CNN, self.local_CNN = global_cnn, local_cnn
        self.global_CNN_fc = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, classes))
        self.local_CNN_fc = nn.Sequential(nn.Dropout(0.2), nn.Linear(2048, classes))
        self.policy_stn = CenterPolicy(channels, side, conv, hidden)
        self.classifier = MaxPooling(channels + 2048, units, classes, steps)

    def forward(self, frames: Tensor, patch: int) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, T, C)`` and boxes ``(B, T, 4)`` for frames ``(B, T, 3, 224, 224)``.

        Frames are uint8, in the order in which they are read; boxes are (left, top, right, bottom).
        """
        batch = frames.shape[:2]
        images = (frames.flatten(0, 1) / 255 - MEAN) / STD
        if self.is_resnet:
            small = functional.interpolate(images, 96, mode="bilinear", align_corners=True)
            maps = resnet_maps(self.global_CNN, small)
        else:
            maps = self.global_CNN(images)
        y, x = self.policy_stn(maps.unflatten(0, batch)).flatten(0, 1).T * (224 - patch)
        zoom = torch.full_like(x, patch / 224)
        zero = torch.zeros_like(x)
        row_x = torch.stack([zoom, zero, -1 + (x + x + patch) / 224], dim=-1)
        row_y = torch.stack([zero, zoom, -1 + (y + y + patch) / 224], dim=-1)
        theta = torch.stack([row_x, row_y], dim=1)  # (M, 2, 3)
        size = [len(images), 3, patch, patch]
        grid = functional.affine_grid(theta, size, align_corners=False)
        patches = functional.grid_sample(images, grid, align_corners=False)
        local = resnet_maps(self.local_CNN, patches).mean((2, 3))
        features = torch.cat([maps.mean((2, 3)), local], dim=1).unflatten(0, batch)
        boxes = torch.stack([x, y, x + patch, y + patch], dim=-1).unflatten(0, batch)
        return self.classifier(features), boxes


def resnet() -> nn.Module:
    """Return a ResNet-50 with random weights whose features vary, and a head nothing uses."""
    return calibrated(torchvision.models.resnet50(weights=None, num_classes=5))


@torch.no_grad()
def released_v2(
    global_cnn: nn.Module,
    local_cnn: nn.Module,
    frames: Tensor,
    patch: int,
    **sizes: int,
) -> AdaFocusV2:
    """Return the networks with random weights, their normalisation made for some frames.

    Args:
        global_cnn: A `FlatMobileNet`, or torchvision's ResNet-50; its statistics are there.
        local_cnn: Torchvision's ResNet-50, likewise.
        frames: ``(B, T, 3, 224, 224)`` uint8.
        patch: Side of the boxes, pixels.
        sizes: ``conv``, ``hidden`` (π), ``units`` (f_C), ``classes`` and ``steps``.
    """
    model = AdaFocusV2(global_cnn, local_cnn, **sizes).eval()
    for part in (model.policy_stn, model.classifier):
        for module in part.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = 1.0
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                module.train()
    model.policy_stn.fc[0].weight *= 2  # so that boxes differ from frame to frame
    model(frames, patch)
    return model.eval()


def checkpoint_v2(model: AdaFocusV2) -> Checkpoint:
    """Return a whole checkpoint."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return {
        "epoch": 50,
        "state_dict": prefixed("module.", state),
        "best_acc": torch.tensor(79.0),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
    }
