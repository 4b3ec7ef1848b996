"""What a training of an AF network begins with: which weights are taken, which are refused."""

from __future__ import annotations

import pytest
import torch
from af_networks import T, make
from released_afnet_files import checkpoint_images, released_afnet
from torch import Tensor

from focusgym.recognizer import AFNet, AFNetConfig, StartReport, WeightsError, begin_with


def fresh(backbone: str = "small", classes: int = 5, n_frames: int = T, **how: object) -> AFNet:
    torch.manual_seed(9)
    return AFNet(AFNetConfig(backbone, classes, n_frames, **how))  # type: ignore[arg-type]


def taken(network: AFNet, before: dict[str, Tensor], state: dict[str, Tensor]) -> set[str]:
    """The names whose tensors are those of a state dict; all others are as they were."""
    names = set()
    for name, value in network.state_dict().items():
        if name in state and torch.equal(value, state[name]):
            names.add(name)
        else:
            assert torch.equal(value, before[name]), name
    return names


def copied(network: AFNet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def of_gates(names: set[str] | dict[str, Tensor]) -> set[str]:
    return {name for name in names if ".navigation." in name}


@pytest.mark.parametrize("prefix", ["", "network.", "module."])
def test_what_fits_is_taken(prefix: str) -> None:
    source = make().state_dict()
    gates = of_gates(source)
    head = {"head.weight", "head.bias"}
    state = {f"{prefix}{name}": value for name, value in source.items()}
    n = len(source) - len(gates) - len(head)
    for changes, left, used, why in (
        ({}, set(), (n, len(gates), 2), {}),
        ({"classes": 7}, head, (n, len(gates), 0), {"head": "theirs are of other shapes"}),
        ({"n_frames": 2}, gates, (n, 0, 2), {"gates": "theirs are of other shapes"}),
    ):
        network = fresh(**changes)
        before = copied(network)
        report = begin_with(network, state)
        assert report == StartReport(
            dict(zip(("backbone", "gates", "head"), used, strict=True)), why
        )
        assert taken(network, before, source) >= source.keys() - left
        assert not taken(network, before, source) & {"head.weight"} & left
    network = fresh(spatial=True)
    report = begin_with(network, state)
    assert report.left_out == {"gates of positions": "the weights have none"}
    back = begin_with(fresh(), network.state_dict())
    assert back.left_out == {"gates of positions": "this network has none"}


def test_a_released_backbone_that_was_trained_on_images() -> None:
    """All but gates and head, under the released names, into a network with a shift."""
    torch.manual_seed(0)
    state = checkpoint_images(released_afnet(1))["state_dict"]
    network = fresh("resnet50", n_frames=2, shift="offline")
    before = copied(network)
    report = begin_with(network, state)
    assert report.used == {"backbone": len(state) - 2, "gates": 0, "head": 0}
    assert report.left_out == {
        "gates": "the weights have none",
        "head": "theirs are of other shapes",
    }
    kept = network.state_dict()
    left = {*of_gates(kept), "head.weight", "head.bias"}
    for name in left:
        assert torch.equal(kept[name], before[name])
    # One of each kind of layer, and no tensor was used twice.
    for ours, theirs in (
        ("stem.1.running_var", "bn1.running_var"),
        ("stages.0.pairs.0.ample.beside.1.weight", "layer1.base_module.0.downsample.1.weight"),
        ("stages.2.pairs.4.focal.branch.7.bias", "layer3.refine_module.4.bn3.bias"),
        ("stages.1.widen.0.weight", "layer2.base_transform.0.weight"),
        ("stages.1.fusion.layers.2.weight", "layer2.att_gen.fc.2.weight"),
        ("stages.0.last.branch.3.weight", "layer1.fusion.0.conv2.weight"),
        ("after.0.beside.2.running_mean", "layer4.0.downsample.2.running_mean"),
    ):
        assert torch.equal(kept[ours], state[f"module.{theirs}"])


def test_the_weights_of_the_fusion_may_lack_or_be_left_over() -> None:
    for source, network, why in (
        (make(), fresh(fusion="addition"), "this network has none"),
        (make(fusion="addition"), fresh(), "the weights have none"),
    ):
        report = begin_with(network, source.state_dict())
        assert report.left_out == {"fusion": why}
        for name, value in network.state_dict().items():
            if ".fusion." not in name:
                assert torch.equal(value, source.state_dict()[name]), name


def test_what_is_refused_changes_nothing() -> None:
    source = make().state_dict()
    for change, network, expected in (
        ({}, fresh(ample_divisor=1), r"; stages.0.pairs.0.ample.branch.0.weight is \(.*\), exp"),
        ({"stem.0.weight": None}, fresh(), "missing stem.0.weight, unexpected none"),
        ({"more.weight": torch.zeros(1)}, fresh(), "missing none, unexpected more.weight"),
        (
            {"stem.1.bias": torch.full((16,), torch.nan)},
            fresh(),
            "NaN or infinite numbers in stem.1.bias: their training failed",
        ),
        ({"conv1.weight": source["stem.0.weight"]}, fresh(), "which are both stem.0.weight"),
    ):
        merged = {**source, **change}
        state = {name: value for name, value in merged.items() if value is not None}
        before = copied(network)
        with pytest.raises(WeightsError, match=expected):
            begin_with(network, state)
        assert all(torch.equal(value, before[name]) for name, value in copied(network).items())
