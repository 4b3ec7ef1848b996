"""Files of TSM's training program in encoders that shift, against networks written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from released_files import State, calibrated
from released_sth_files import TemporalShift, shifted_mobilenet, shifted_resnet, tsm_file
from torch import Tensor, nn

from focusgym.feature_cache.building.weights import make_encoder
from focusgym.recognizer import Encoder, EncoderConfig, WeightsError, load_weights

F = 4


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Two clips ``(2, F, 3, 64, 64)``, prepared."""
    return torch.randn(2, F, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network() -> Any:
    """TSM's ResNet-18."""
    torch.manual_seed(2)
    return calibrated(shifted_resnet(torchvision.models.resnet18(weights=None, num_classes=5), F))


@pytest.fixture(scope="module")
def state(network: nn.Module) -> State:
    """Of a file of it; not to be changed."""
    weights: State = tsm_file(network, "fc")["state_dict"]
    return weights


@torch.no_grad()
def test_a_resnet_gives_the_same_maps(network: Any, images: Tensor, tmp_path: Path) -> None:
    """As ``--weights resnet18_tsm=FILE`` reads it, and from the past alone."""
    x = images.flatten(0, 1)
    for layer in list(network.children())[:-2]:
        x = layer(x)
    path = tmp_path / "TSM_something_RGB_resnet18_shift8_blockres_avg_segment4.pth.tar"
    torch.save(tsm_file(network, "fc"), path)
    encoder = make_encoder(EncoderConfig("resnet18_tsm"), str(path))
    maps = encoder.encode_frames(images)
    torch.testing.assert_close(maps.flatten(0, 1), x, rtol=0, atol=1e-4)
    assert x.std() > 0.1
    apart = torch.cat([encoder.encode_frames(images[:, [t]]) for t in range(F)], dim=1)
    assert (apart - maps).abs().mean() > 0.1, "the frames of a clip are seen together"
    online = make_encoder(EncoderConfig("resnet18_tsm_online"), str(path))
    for key, value in encoder.state_dict().items():
        assert torch.equal(online.state_dict()[key], value)


@torch.no_grad()
def test_a_mobilenet_of_flat_blocks_gives_the_same_maps(images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = shifted_mobilenet(F)
    path = tmp_path / "TSM_mobilenetv2.pth.tar"
    torch.save(tsm_file(network, "classifier"), path)
    encoder = make_encoder(EncoderConfig("mobilenet_v2_tsm"), str(path))
    expected = network(images.flatten(0, 1))
    maps = encoder.encode_frames(images).flatten(0, 1)
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.1
    state = tsm_file(network, "classifier")["state_dict"]
    with pytest.raises(
        WeightsError,
        match=r"that shifts channels along the frames of a clip, before features\.10\.conv\.0\.0, "
        r"features\.12\.conv\.0\.0, .* and 5 more; mobilenet_v2 does not: take mobilenet_v2_tsm$",
    ):
        load_weights(Encoder(EncoderConfig("mobilenet_v2")), state)


def test_a_head_may_be_the_networks_own(network: Any, state: State) -> None:
    """Where there was no dropout it is."""
    own = {key.replace("new_fc", "base_model.fc"): value for key, value in state.items()}
    assert own.keys() != state.keys()
    one, other = (Encoder(EncoderConfig("resnet18_tsm")) for _ in range(2))
    load_weights(one, state)
    load_weights(other, own)
    for key, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def test_weights_of_a_network_without_shift_are_a_beginning(network: Any, state: State) -> None:
    plain = {key.replace(".net.", "."): value for key, value in state.items()}
    one, other = (Encoder(EncoderConfig("resnet18_tsm")) for _ in range(2))
    load_weights(one, state)
    load_weights(other, plain)
    for key, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def in_blocks(network: Any) -> State:
    """Return a state dict of whole blocks behind shifts, as of TSM's ``block``."""
    plain: Any = torchvision.models.resnet18(weights=None, num_classes=5)
    for stage in (plain.layer1, plain.layer2, plain.layer3, plain.layer4):
        for i, block in enumerate(stage):
            stage[i] = TemporalShift(block, F)
    return dict(tsm_file(plain, "fc")["state_dict"])


def test_shifts_that_differ_are_refused(network: Any, state: State) -> None:
    encoder = Encoder(EncoderConfig("resnet18_tsm"))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    fewer = {key.replace("2.1.conv1.net.", "2.1.conv1."): value for key, value in state.items()}
    elsewhere = {key.replace("2.1.conv2.", "2.1.conv2.net."): value for key, value in fewer.items()}
    pooled = {key.replace("layer2.", "layer2.net."): value for key, value in state.items()}
    for weights, text in (
        (fewer, r"elsewhere: resnet18_tsm shifts before layer2\.1\.conv1, it does not: give"),
        (
            elsewhere,
            r"resnet18_tsm shifts before layer2\.1\.conv1, it does not; it shifts before "
            r"layer2\.1\.conv2, resnet18_tsm does not: give weights of one that shifts in its "
            r"residual branches \(TSM's 'blockres'\), or write a trunk of your own",
        ),
        (in_blocks(network), r"it shifts before layer1\.0, .* and 3 more, resnet18_tsm does not"),
        (pooled, r"do not fit resnet18_tsm: missing layer2\.0\.conv1\.weight, .* unexpected mod"),
    ):
        with pytest.raises(WeightsError, match=text):
            load_weights(encoder, weights)
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, before[key])
    with pytest.raises(
        WeightsError,
        match=r"before layer1\.0\.conv1, .* and 3 more; resnet18 does not: take resnet18_tsm$",
    ):
        load_weights(Encoder(EncoderConfig("resnet18")), state)


def test_a_deep_resnet_shifts_in_every_second_block() -> None:
    with torch.device("meta"):
        every, second = (
            shifted_resnet(torchvision.models.resnet101(weights=None), F, n) for n in (1, 2)
        )
    encoder = Encoder(EncoderConfig("resnet101_tsm"))

    def zeros(network: nn.Module) -> State:
        return {key: torch.zeros(value.shape) for key, value in network.state_dict().items()}

    load_weights(encoder, zeros(second))
    assert not any(value.any() for value in encoder.trunk.state_dict().values())
    with pytest.raises(
        WeightsError, match=r"it shifts before layer1\.1\.conv1, .* and 10 more, re"
    ):
        load_weights(encoder, zeros(every))
