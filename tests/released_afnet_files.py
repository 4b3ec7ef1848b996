"""Files of the released AFNet checkpoints' structure, and its computation, written out."""

from __future__ import annotations

import torch
from released_files import MEAN, STD, Checkpoint, prefixed
from torch import Tensor, nn
from torch.nn import functional

# Of AF-ResNet-50: pairs of blocks in each AF module, channels after it, stride of its last block.
_MODULES = ((2, 256, 2), (3, 512, 2), (5, 1024, 1))
_PLAIN = (3, 2048)  # blocks after them, and their channels


def move(maps: Tensor, n_frames: int) -> Tensor:
    """TSM's shift both ways, by concatenation."""
    clips = maps.unflatten(0, (-1, n_frames))
    eighth = maps.shape[1] // 8
    from_after, from_before, still = clips.split([eighth, eighth, maps.shape[1] - 2 * eighth], 2)
    black = torch.zeros_like(from_after[:, :1])
    from_after = torch.cat([from_after[:, 1:], black], dim=1)
    from_before = torch.cat([black, from_before[:, :-1]], dim=1)
    return torch.cat([from_after, from_before, still], dim=2).flatten(0, 1)


class Block(nn.Module):
    """A Bottleneck before its last ReLU."""

    def __init__(self, n_in: int, n_out: int, stride: int, groups: int) -> None:
        super().__init__()
        inner = n_out // 4
        self.conv1 = nn.Conv2d(n_in, inner, 1, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, n_out, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        beside: list[nn.Module] = [] if stride == 1 else [nn.AvgPool2d(3, 2, 1)]
        if n_in != n_out:
            beside += [nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out)]
        self.downsample = nn.Sequential(*beside) if beside else None

    def forward(self, x: Tensor, n_frames: int, mask: Tensor | None) -> Tensor:
        """``n_frames`` 0 does not shift."""
        y = move(x, n_frames) if n_frames else x
        y = y if mask is None else y * mask[:, None, None, None]
        y = self.bn1(self.conv1(y)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return y + (x if self.downsample is None else self.downsample(x))


class Gate(nn.Module):
    def __init__(self, channels: int, n_frames: int) -> None:
        super().__init__()
        self.conv_pool, self.bn = nn.Conv2d(channels, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.conv_gs = nn.Conv2d(2 * n_frames, 2 * n_frames, 1, groups=n_frames)

    def forward(self, x: Tensor) -> Tensor:
        """Masks ``(B·T,)`` without noise: of the two scores of a frame, the second is larger."""
        pair = self.bn(self.conv_pool(x.mean((2, 3), keepdim=True))).relu()
        scores = self.conv_gs(pair.reshape(-1, self.conv_gs.in_channels, 1, 1))
        return scores.reshape(-1, 2).argmax(dim=1).float()


class Weights(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        first = nn.Linear(channels, channels // 16, bias=False)
        second = nn.Linear(channels // 16, channels, bias=False)
        self.fc = nn.Sequential(first, nn.ReLU(), second, nn.Sigmoid())


class Module(nn.Module):
    def __init__(self, n_in: int, n_out: int, pairs: int, stride: int, n_frames: int) -> None:
        super().__init__()
        half = n_out // 2
        self.list_gen = nn.ModuleList(Gate(half if i else n_in, n_frames) for i in range(pairs))
        self.base_module = nn.ModuleList(
            Block(half if i else n_in, half, 1 if i else 2, 1) for i in range(pairs)
        )
        self.refine_module = nn.ModuleList(
            Block(n_out if i else n_in, n_out, 1, 2) for i in range(pairs)
        )
        self.base_transform = nn.Sequential(
            nn.Conv2d(half, n_out, 1, bias=False), nn.BatchNorm2d(n_out)
        )
        self.att_gen = Weights(n_out)
        self.fusion = nn.ModuleList([Block(n_out, n_out, stride, 1)])

    def forward(self, x: Tensor, n_frames: int) -> tuple[Tensor, list[Tensor]]:
        ample, focal, masks = x, x, []
        last = len(self.list_gen) - 1
        for i, gate in enumerate(self.list_gen):
            masks.append(gate(ample))
            ample = self.base_module[i](ample, n_frames, None)
            focal = self.refine_module[i](focal, n_frames, masks[-1])
            if i < last:
                ample, focal = ample.relu(), focal.relu()
        ample = functional.interpolate(self.base_transform(ample), focal.shape[2:], mode="nearest")
        share = self.att_gen.fc((ample + focal).mean((2, 3)))[:, :, None, None]
        joined = (share * ample + (1 - share) * focal).relu()
        return self.fusion[0](joined, n_frames, None).relu(), masks


class AFResNet(nn.Module):
    """An AF-ResNet-50, under the released names; ``fc`` is its head on images."""

    def __init__(self, n_frames: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        channels = 64
        for index, (pairs, n_out, stride) in enumerate(_MODULES):
            module = Module(channels, n_out, pairs, stride, n_frames)
            self.add_module(f"layer{index + 1}", module)
            channels = n_out
        blocks, n_out = _PLAIN
        self.layer4 = nn.ModuleList(
            Block(n_out if i else channels, n_out, 1 if i else 2, 1) for i in range(blocks)
        )


class ReleasedAFNet(nn.Module):
    """The network for videos: a backbone without its head, and a new one."""

    def __init__(self, n_frames: int, classes: int) -> None:
        super().__init__()
        self.base_model, self.new_fc = AFResNet(n_frames), nn.Linear(2048, classes)
        self.n_frames = n_frames

    def forward(self, frames: Tensor, *, shift: bool) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, C)`` and masks ``(B, T, gates)`` of uint8 frames ``(B, T, …)``."""
        net, n_moved, masks = self.base_model, self.n_frames if shift else 0, []
        x = (frames.flatten(0, 1) / 255 - MEAN) / STD
        x = functional.max_pool2d(net.bn1(net.conv1(x)).relu(), 3, 2, 1)
        for index in range(len(_MODULES)):
            x, more = getattr(net, f"layer{index + 1}")(x, n_moved)
            masks += more
        for block in net.layer4:
            x = block(x, n_moved, None).relu()
        scores = self.new_fc(x.mean((2, 3))).unflatten(0, (-1, self.n_frames))
        return scores.mean(dim=1), torch.stack(masks, dim=1).unflatten(0, (-1, self.n_frames))


@torch.no_grad()
def released_afnet(n_frames: int = 3, classes: int = 4) -> ReleasedAFNet:
    """Return a network in eval mode with random weights, whose gates keep some frames."""
    network = ReleasedAFNet(n_frames, classes).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.0)
            module.bias.normal_(0, 0.3)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network


def checkpoint_afnet(network: ReleasedAFNet) -> Checkpoint:
    """Return a whole checkpoint."""
    return {
        "epoch": 55,
        "arch": "AF_resnet50",
        "state_dict": prefixed("module.", dict(network.state_dict())),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "best_prec1": torch.tensor(49.0),
        "val_acc_top1": [48.5, 49.0],
    }


def checkpoint_images(network: ReleasedAFNet) -> Checkpoint:
    """Return a checkpoint of its backbone, as one trained on images: no gates, another head."""
    state = network.base_model.state_dict()
    state = {key: value for key, value in state.items() if ".list_gen." not in key}
    head = nn.Linear(2048, 10)
    state |= {"fc.weight": head.weight.detach(), "fc.bias": head.bias.detach()}
    return {"epoch": 90, "arch": "AF_resnet50", "state_dict": prefixed("module.", state)}
