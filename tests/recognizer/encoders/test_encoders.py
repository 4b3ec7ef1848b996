"""Encoders against the whole networks of torchvision; what is loaded and what is refused."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import vgg
from torchvision.transforms.functional import normalize

from focusgym.recognizer import (
    BundleError,
    Encoder,
    EncoderConfig,
    EncoderError,
    Trunk,
    WeightsError,
    WholeFrame,
    glance_at,
    load_weights,
    look_everywhere,
    pool,
    read_encoder,
    write_bundle,
)

# The modules that torchvision runs after the mean over positions; None where `features` is all
# that comes before it.
FAMILIES = {
    "resnet18": "fc",
    "regnet_y_400mf": "fc",
    "shufflenet_v2_x0_5": "fc",
    "googlenet": "fc",
    "mobilenet_v2": "classifier",
    "mobilenet_v3_small": "classifier",
    "mnasnet0_5": "classifier",
    "efficientnet_b0": "classifier",
    "densenet121": "classifier",
    "convnext_tiny": "classifier",
    "swin_t": "head",
    "squeezenet1_1": None,
    "vgg11": None,
}
# What draws first weights, which takes longer than all that is computed with them.
DRAWS = ("kaiming_normal_", "kaiming_uniform_", "normal_", "trunc_normal_", "uniform_")
OPTIONS: dict[str, Any] = {"googlenet": {"init_weights": False, "transform_input": True}}


def nothing_drawn() -> AbstractContextManager[Any]:
    return patch.multiple(nn.init, **dict.fromkeys(DRAWS, lambda tensor, *_, **__: tensor))


@lru_cache
@torch.no_grad()
def network(name: str) -> nn.Module:
    """The whole network, with weights and statistics that normalisation cannot ignore."""
    torch.manual_seed(0)
    with nothing_drawn():
        if name == "vgg11":  # without its head of 120 million weights
            model: nn.Module = nn.ModuleDict({"features": vgg.make_layers(vgg.cfgs["A"])})
        else:
            model = torchvision.models.get_model(name, weights=None, **OPTIONS.get(name, {}))
    for key, weights in model.named_parameters():
        if weights.ndim > 1:
            weights.uniform_(-1, 1).mul_((3 / weights[0].numel()) ** 0.5)
        else:
            weights.uniform_(-0.2, 0.2).add_(key.endswith("weight"))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@lru_cache
def loaded(name: str) -> Encoder:
    with nothing_drawn():
        encoder = Encoder(EncoderConfig(name)).eval()
    load_weights(encoder, network(name).state_dict())
    return encoder


def images(side: int, n: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(side)
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)


def normalised(pixels: Tensor) -> Tensor:
    return normalize(pixels / 255.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def assert_near(actual: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= relative * float(expected.abs().max())


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_trunk_is_torchvisions_network_before_its_pooling(name: str) -> None:
    encoder, reference, head = loaded(name), network(name), FAMILIES[name]
    for side in (64, 96):
        pixels = images(side, n=1 if side == 96 else 2)
        maps = encoder(pixels)
        assert maps.shape[:2] == (len(pixels), encoder.channels)
        assert min(maps.shape[2:]) > 1
        if head is None:
            assert_near(maps, reference.features(normalised(pixels)))
            continue
        pooled = pool(maps, torch.float32)
        if name == "convnext_tiny":  # its head begins with a norm over maps
            pooled = pooled[..., None, None]
        assert_near(reference.get_submodule(head)(pooled), reference(normalised(pixels)))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_fused_encoder_gives_the_same_maps(name: str) -> None:
    encoder = loaded(name)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    fused, pixels = encoder.fused(), images(64)
    assert_near(fused(pixels), encoder(pixels), relative=1e-4)
    # Autocast keeps the weights that it has cast only where they require gradients.
    assert all(parameter.requires_grad for parameter in fused.parameters())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    left = sum(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    # A DenseNet normalises what it concatenated: one per layer, transition and end stay.
    assert left == (58 + 3 + 1 if name == "densenet121" else 0)


@pytest.mark.parametrize("name", ["small_glance", "small_local"])
@torch.no_grad()
def test_the_small_encoders_are_fused_too(name: str) -> None:
    encoder = Encoder(EncoderConfig(name, input_px=12))
    encoder(images(64))  # in training mode: moves BatchNorm's statistics
    fused = encoder.fused()
    assert encoder.training
    assert not fused.training
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert_near(fused(images(64)), encoder.eval()(images(64)), relative=1e-4)
    assert_near(fused.fused()(images(64)), fused(images(64)))


@torch.no_grad()
def test_a_frame_is_normalised_once_for_all_its_crops() -> None:
    encoder = Encoder(EncoderConfig("small_local", input_px=10)).eval()
    frame = images(64, n=1)
    prepared = encoder.prepare(frame)
    assert prepared.dtype == torch.float32
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(prepared, normalised(frame))
    crop = (..., slice(3, 33), slice(20, 50))
    torch.testing.assert_close(encoder.encode(prepared[crop]), encoder(frame[crop]))
    block_means = normalised(frame[crop]).unfold(2, 3, 3).unfold(3, 3, 3).mean((4, 5))
    torch.testing.assert_close(encoder(frame[crop]), encoder.trunk(block_means))


@torch.no_grad()
def test_a_bilinear_reduction_weighs_four_pixels() -> None:
    """Written out: the pixel i of n lies at i·(S − 1)/(n − 1), from corner to corner."""
    encoder = Encoder(EncoderConfig("small_local", input_px=10, reduction="bilinear")).eval()
    frame = images(32, n=2)
    places = torch.arange(10, dtype=torch.float64) * 31 / 9
    weights = (1 - (places[:, None] - torch.arange(32)).abs()).clamp(min=0)  # (10, 32)
    reduced = torch.einsum("nchw,ih,jw->ncij", normalised(frame).double(), weights, weights).float()
    torch.testing.assert_close(encoder(frame), encoder.trunk(reduced), rtol=0, atol=1e-4)
    averaged = Encoder(EncoderConfig("small_local", input_px=10)).eval()
    averaged.load_state_dict(encoder.state_dict())
    assert (encoder(frame) - averaged(frame)).abs().max() > 0.01


def test_networks_are_fed_as_their_weights_expect() -> None:
    encoder = Encoder(EncoderConfig("small_local"))
    assert encoder.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert encoder.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    from focusgym.recognizer.encoders import trunks

    with pytest.MonkeyPatch.context() as patch:  # the network itself is a large one
        small = torchvision.models.efficientnet_b0
        patch.setattr(torchvision.models, "get_model", lambda name, weights: small(weights=weights))
        trunk = trunks.build_trunk("efficientnet_v2_l")
    assert trunk.mean == trunk.std == (0.5, 0.5, 0.5)


@torch.no_grad()
def test_vectors_are_means_of_maps_rounded_to_the_storage_dtype() -> None:
    encoder = Encoder(EncoderConfig("small_glance")).eval()
    exact = encoder(images(16))
    maps, vectors = glance_at(encoder, images(16), torch.float16)
    assert torch.equal(maps, exact.permute(0, 2, 3, 1).half())
    by_hand = torch.stack([exact[:, c].flatten(1).mean(1) for c in range(32)], 1)
    torch.testing.assert_close(vectors.float(), by_hand, rtol=1e-3, atol=1e-6)
    looks = look_everywhere(encoder, WholeFrame(16, 16), encoder.prepare(images(16)), torch.float16)
    assert torch.equal(looks[:, 0], vectors)


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.encoder.", "trunk."])
def test_a_common_prefix_and_the_head_are_left_out(prefix: str) -> None:
    weights = {f"{prefix}{key}": value for key, value in network("resnet18").state_dict().items()}
    weights |= {"fc.weight": torch.zeros(1), "head.bias": torch.zeros(1)}
    encoder = Encoder(EncoderConfig("resnet18")).eval()
    load_weights(encoder, weights)
    with torch.no_grad():
        assert torch.equal(encoder(images(64)), loaded("resnet18")(images(64)))


def test_an_encoders_own_state_dict_loads() -> None:
    for name in ("small_local", "resnet18"):
        source, encoder = (Encoder(EncoderConfig(name)) for _ in range(2))
        load_weights(encoder, source.state_dict())
        for key, value in source.state_dict().items():
            assert torch.equal(encoder.state_dict()[key], value), key


@torch.no_grad()
def test_networks_of_a_name_share_nothing() -> None:
    first, second = (Encoder(EncoderConfig("resnet18")).eval() for _ in range(2))
    assert not torch.equal(first.trunk.conv1.weight, second.trunk.conv1.weight)
    load_weights(second, first.state_dict())
    expected = first(images(64))
    for parameter in first.fused().parameters():
        parameter.zero_()
    first.trunk.conv1.weight.zero_()
    assert torch.equal(second(images(64)), expected)


class IndexedBias(nn.Module):
    """Makes a tensor in its forward that is no weight, as MaxViT does: tracing keeps its value."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.table = nn.Parameter(torch.randn(2, 1, 1))
        self.register_buffer("index", torch.tensor([[0, 1], [1, 0]]))
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.conv(x) + self.table[self.index.view(-1)]
        scores: Tensor = self.fc(maps.mean((2, 3)))
        return scores


@torch.no_grad()
def test_networks_that_make_tensors_are_built_again_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: IndexedBias())
    first, second = (Encoder(EncoderConfig("maxvit_t")).eval() for _ in range(2))
    assert first.state_dict().keys() == {
        f"trunk.{key}" for key in IndexedBias().state_dict() if key[:2] not in ("fc", "in")
    }
    load_weights(second, first.state_dict())
    expected = first(images(8))
    bias = first.trunk.table[[0, 1, 1, 0]]
    assert_near(expected, first.trunk.conv(normalised(images(8))) + bias)
    assert torch.equal(second(images(8)), expected)
    assert_near(second.fused()(images(8)), expected)
    write_bundle(tmp_path / "e", "encoder", first.config, first)
    assert torch.equal(read_encoder(tmp_path / "e")(images(8)), expected)


@torch.no_grad()
def test_a_network_that_computes_its_sizes_is_read(tmp_path: Path) -> None:
    encoder = Encoder(EncoderConfig("regnet_y_400mf")).eval()
    write_bundle(tmp_path / "e", "encoder", encoder.config, encoder)
    assert torch.equal(read_encoder(tmp_path / "e")(images(64)), encoder(images(64)))


def test_densenets_old_names_load() -> None:
    def old(key: str) -> str:  # as in the files that torchvision offers
        for part in ("norm1", "norm2", "conv1", "conv2"):
            key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        return key

    weights = {old(key): value for key, value in network("densenet121").state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in weights
    encoder = Encoder(EncoderConfig("densenet121")).eval()
    load_weights(encoder, {f"module.{key}": value for key, value in weights.items()})
    with torch.no_grad():
        assert torch.equal(encoder(images(64)), loaded("densenet121")(images(64)))


def test_weights_that_do_not_fit_are_refused_and_nothing_is_loaded() -> None:
    encoder = Encoder(EncoderConfig("mobilenet_v2"))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    good = network("mobilenet_v2").state_dict()
    ending = ": give the state dict of this network, or choose the encoder that they were trained"

    def refused(weights: dict[str, Tensor], text: str) -> None:
        with pytest.raises(WeightsError, match=f"do not fit mobilenet_v2: {text}{ending}"):
            load_weights(encoder, weights)
        assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())

    first = "features.0.0.weight"
    without = {key: value for key, value in good.items() if key != first}
    refused(without, rf"missing {first}, unexpected none")
    refused({f"module.{key}": value for key, value in without.items()}, f"missing {first}, un.*ne")
    no_mean = {key: value for key, value in good.items() if key != "features.0.1.running_mean"}
    refused(no_mean, r"missing features\.0\.1\.running_mean, unexpected none")
    refused(good | {"neck.bias": torch.zeros(1)}, r"missing none, unexpected neck\.bias")
    both = {f"{half}.{key}": value for key, value in good.items() for half in ("query", "key")}
    refused(both, r"missing none, unexpected key\.features\.0\.0\.weight, .* and 309 more")
    refused(good | {first: torch.zeros(2)}, rf"{first} is \(2,\), expected \(32, 3, 3, 3\)")
    refused({}, r"missing features\.0\.0\.weight, .* and 255 more, unexpected none")
    other = network("resnet18").state_dict()
    refused(other, r"missing .* and 255 more, unexpected conv1\.weight, .* and 115 more")
    uncounted = {key: value for key, value in good.items() if not key.endswith("batches_tracked")}
    load_weights(encoder, uncounted)


def test_encoders_refuse_what_they_cannot_use() -> None:
    close = "unknown encoder 'resnet': choose small_glance, small_local, .* resnet50, resnet"
    with pytest.raises(ValueError, match=close):
        EncoderConfig("resnet")
    with pytest.raises(ValueError, match="unknown encoder '': .* such as mobilenet_v2, resnet50"):
        EncoderConfig("")
    with pytest.raises(ValueError, match="input_px must be at least 1, or None .*; got 0"):
        EncoderConfig("resnet18", input_px=0)
    with pytest.raises(ValueError, match="reduction must be one of area, bilinear; got 'cubic'"):
        EncoderConfig("resnet18", 96, "cubic")
    with pytest.raises(ValueError, match="'bilinear' needs input_px, the side .*: give a side"):
        EncoderConfig("resnet18", reduction="bilinear")
    with pytest.raises(EncoderError, match="vit_b_32 has no feature map .*: choose a convolution"):
        Encoder(EncoderConfig("vit_b_32"))
    encoder = Encoder(EncoderConfig("small_local"))
    for call in (encoder, encoder.prepare):
        with pytest.raises(ValueError, match=r"images must be uint8 in 0\.\.255; got torch.float"):
            call(torch.zeros(1, 3, 32, 32))


def one_layer() -> Trunk:
    return Trunk(nn.Conv2d(3, 5, 3, 2, 1), 5, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def no_trunk() -> nn.Module:
    return nn.Identity()


def test_a_network_of_your_own_is_found_by_its_place(tmp_path: Path) -> None:
    """A bundle imports nothing: it may be somebody else's."""
    sys.modules.setdefault(__name__, sys.modules[one_layer.__module__])
    encoder = Encoder(EncoderConfig(f"{__name__}:one_layer")).eval()
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        expected = encoder.trunk((images / 255 - 0.5) / 0.25)
        torch.testing.assert_close(encoder(images), expected, rtol=0, atol=1e-5)
    write_bundle(tmp_path / "mine", "encoder", encoder.config, encoder)
    assert read_encoder(tmp_path / "mine").channels == 5
    with pytest.raises(ValueError, match="must return a Trunk; got Identity"):
        Encoder(EncoderConfig(f"{__name__}:no_trunk"))
    with pytest.raises(
        ValueError, match="encoder must be one of small_glance, small_local, small_residual, "
    ):
        Encoder(EncoderConfig("no_such_module:net"))
    write_bundle(tmp_path / "theirs", "encoder", EncoderConfig("antigravity:net"), encoder)
    with pytest.raises(BundleError, match="which a file may not import: import antigravity first"):
        read_encoder(tmp_path / "theirs")
    assert "antigravity" not in sys.modules
