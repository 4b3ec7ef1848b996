"""Released AdaFocusV2 checkpoints: what is imported against the computation, written out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from released_files import Checkpoint, State, calibrated, prefixed
from released_v2_files import AdaFocusV2, FlatMobileNet, checkpoint_v2, released_v2, resnet
from torch import Tensor, nn
from torch.nn import functional

from focusgym.feature_cache.building.weights import read_checkpoint
from focusgym.recognizer import (
    RELEASED_V2_ENTRY,
    AdaptiveRecognizer,
    Boxes,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    PolicyConfig,
    Released,
    WeightsError,
    convert_released_v2,
    is_released_v2,
)

B, T, PATCH = 2, 3, 96
SIZES = {"conv": 8, "hidden": 24, "units": 20, "classes": 5, "steps": T}


@pytest.fixture(scope="module")
def frames() -> Tensor:
    torch.manual_seed(5)
    coarse = torch.randint(0, 256, (B * T, 3, 9, 9)).float()
    fine = functional.interpolate(coarse, size=224, mode="bicubic").clamp(0, 255).byte()
    return fine.unflatten(0, (B, T))


@pytest.fixture(scope="module")
def local() -> nn.Module:
    torch.manual_seed(3)
    return resnet()


@pytest.fixture(scope="module")
def model(frames: Tensor, local: nn.Module) -> AdaFocusV2:
    """With a MobileNet-V2."""
    torch.manual_seed(4)
    return released_v2(calibrated(FlatMobileNet()), local, frames, PATCH, **SIZES)


@pytest.fixture(scope="module")
def checkpoint(model: AdaFocusV2) -> Checkpoint:
    """Shared by all tests: not to be changed."""
    return checkpoint_v2(model)


@pytest.fixture(scope="module")
def released(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """The networks of the checkpoint, from a file."""
    path: Path = tmp_path_factory.mktemp("released") / "actnet.pth.tar"
    torch.save(checkpoint, path)
    content = read_checkpoint(path, [RELEASED_V2_ENTRY])
    path.unlink()
    assert is_released_v2(content)
    return convert_released_v2(content)


@torch.no_grad()
def check_same(model: AdaFocusV2, networks: Released, frames: Tensor) -> None:
    """Check every box and every logit."""
    logits, boxes = model(frames, PATCH)
    spans = boxes.amax((0, 1)) - boxes.amin((0, 1))
    assert spans.min() > 5, "boxes differ from frame to frame, along both axes"
    assert (boxes[..., 0] - boxes[..., 1]).abs().min() > 0.5, "x is not y"
    assert logits.std(dim=(0, 1)).mean() > 0.1
    recognizer = AdaptiveRecognizer(
        networks.glance,
        networks.local,
        networks.classifier,
        Boxes(224, PATCH),
        networks.policy,
        torch.float32,
    )
    recognition = recognizer(frames)
    torch.testing.assert_close(recognition.boxes_px, boxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(recognition.logits, logits, rtol=0, atol=1e-3)


def test_a_released_file_gives_what_the_released_networks_give(
    model: AdaFocusV2, released: Released, frames: Tensor
) -> None:
    check_same(model, released, frames)
    networks = released.glance, released.local, released.classifier, released.policy
    assert not any(part.training for network in networks if network for part in network.modules())
    assert released.glance.config == EncoderConfig("mobilenet_v2")
    assert released.classifier.config == ClassifierConfig(
        1280, 2048, 5, 20, dropout=0.2, aggregation="max_pool", steps=T
    )
    assert released.policy is not None
    assert released.policy.config == PolicyConfig(7, 7, 1280, 1, 8, 24, network="centers")


def test_a_resnet_glance_reads_96_pixels(frames: Tensor, local: nn.Module) -> None:
    """AdaFocusV2-RN. Without the prefix of parallel training, the encoders of one network."""
    torch.manual_seed(6)
    model = released_v2(local, local, frames, PATCH, **SIZES)
    content = {"state_dict": dict(model.state_dict())}
    assert is_released_v2(content)
    before = torch.get_rng_state()
    networks = convert_released_v2(content)
    assert torch.equal(torch.get_rng_state(), before)
    assert networks.glance.config == EncoderConfig("resnet50", 96, "bilinear")
    check_same(model, networks, frames)
    assert networks.report.inferred["glance_encoder"] == "resnet50"
    assert networks.report.inferred["map_height"] == 3
    assert "global_CNN: fc.weight and 1 more" in networks.report.left_out


def test_the_report_says_what_became_of_the_checkpoint(released: Released) -> None:
    report = released.report
    assert report.entries == ["epoch", "state_dict", "best_acc", "optimizer"]
    assert report.used == {"global_CNN": 312, "local_CNN": 318, "classifier": 12, "policy_stn": 17}
    assert report.inferred == {
        "glance_encoder": "mobilenet_v2",
        "n_classes": 5,
        "classifier_hidden": 20,
        "steps": 3,
        "map_height": 7,
        "map_width": 7,
        "conv_channels": 8,
        "policy_hidden": 24,
    }
    head = "a head of its own: f_C classifies"
    auxiliary = "an auxiliary head, which only training needs"
    count = "counts of batches, which only training needs"
    assert report.left_out == {
        "global_CNN: classifier.weight and 1 more": head,
        "local_CNN: fc.weight and 1 more": head,
        "classifier: mlp.layers.1.num_batches_tracked": count,
        "policy_stn: encoder.1.num_batches_tracked and 1 more": count,
        "global_CNN_fc: 1.weight and 1 more": auxiliary,
        "local_CNN_fc: 1.weight and 1 more": auxiliary,
        **dict.fromkeys(("epoch", "best_acc", "optimizer"), "not needed to recognize"),
    }


def test_training_alone_needs_heads_and_counts(
    checkpoint: Checkpoint, released: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them, and wrapped twice, the networks are the same."""
    monkeypatch.setattr("focusgym.recognizer.pipeline.released_parts.Encoder", build_once)
    used = ("CNN_fc.", "num_batches_tracked", "CNN.fc.", "CNN.classifier.")
    state = {k: v for k, v in checkpoint["state_dict"].items() if not any(x in k for x in used)}
    converted = convert_released_v2({"state_dict": prefixed("module.", state)})
    assert converted.report.left_out == {}
    pairs = ((converted.classifier, released.classifier), (converted.policy, released.policy))
    for one, other in (
        *pairs,
        (converted.glance, released.glance),
        (converted.local, released.local),
    ):
        assert one is not None
        assert other is not None
        expected = other.state_dict()
        for name, value in one.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(value, expected[name])


def test_other_checkpoints_are_told_apart() -> None:
    tensor = torch.zeros(1)
    for state, expected in (
        ({"module.policy_stn.fc.0.bias": tensor}, True),
        ({"global_CNN.fc.bias": tensor}, True),
        ({"module.module.local_CNN.fc.bias": tensor}, True),
        ({"classifier.weight": tensor, "features.0.0.weight": tensor}, False),
        ({"local_CNN_fc.1.bias": tensor, 3: tensor}, False),
        ({}, False),
        ([tensor], False),
    ):
        assert is_released_v2({"state_dict": state}) is expected
    assert not is_released_v2({"glancer": {"global_CNN.fc.bias": tensor}})


build_once = cache(Encoder)  # takes half a second; for tests that do not run the encoders

Damage = Callable[[State], object]


def put(key: str, *shape: int) -> Damage:
    return lambda state: state.update({f"module.{key}": torch.zeros(shape)})


def drop(*keys: str) -> Damage:
    return lambda state: [state.pop(f"module.{key}") for key in keys]


def drop_network(name: str) -> Damage:
    return lambda state: [state.pop(key) for key in [*state] if key.startswith(f"module.{name}.")]


DAMAGES: list[tuple[Damage, str]] = [
    (
        drop_network("policy_stn"),
        r"^the checkpoint lacks the networks policy_stn in its entry 'state_dict': expected "
        r"global_CNN, local_CNN, policy_stn, classifier; it holds global_CNN, local_CNN, global_CN"
        r"N_fc, local_CNN_fc, classifier: give a checkpoint of AdaFocus's ActivityNet.* AdaFocusV2",
    ),
    (
        put("temporal.weight", 3, 2),
        r"^the entry 'state_dict' .* holds module\.temporal\.weight \(3, 2\), expected no more "
        r"than tensors of global_CNN, local_CNN, policy_stn, classifier, global_CNN_fc, local_CNN_",
    ),
    (
        lambda state: state.update({"module.policy_stn.fc.0.bias": [0.0, 0.0]}),  # type: ignore[dict-item]
        r"^the entry 'state_dict' of the checkpoint is a dict, expected a state dict of tensors",
    ),
    (
        lambda state: state.update({"module.policy_stn.fc.0.bias": torch.tensor([0, torch.nan])}),
        "the entry 'state_dict' .* holds NaN or infinite numbers in module.policy_stn.fc.0.bias: ",
    ),
    (
        drop("global_CNN.features.18.0.weight"),
        r"^the entry 'global_CNN' of the checkpoint: the weights do not fit mobilenet_v2: missing "
        r"features\.18\.0\.weight, unexpected none",
    ),
    (
        drop("global_CNN.features.1.conv.3.weight", "global_CNN.features.2.conv.6.weight"),
        r"'global_CNN' .* missing features\.1\.conv\.1\.weight, features\.2\.conv\.2\.weight, un",
    ),
    (
        put("global_CNN.features.1.conv.6.weight", 3),
        r"'global_CNN' .* missing none, unexpected features\.1\.conv\.6\.weight: give",
    ),
    (
        put("local_CNN.layer5.0.conv1.weight", 3),
        r"^the entry 'local_CNN' of .* do not fit resnet50: .* unexpected layer5\.0\.conv1\.weight",
    ),
    (
        drop("policy_stn.encoder.1.running_mean", "policy_stn.gru.bias_ih_l0"),
        r"^the entry 'policy_stn' of .* lacks encoder\.1\.running_mean, gru\.bias_ih_l0: give",
    ),
    (
        put("policy_stn.encoder.0.bias", 8),
        r"'policy_stn' .* holds encoder\.0\.bias \(8,\), expected no more than .* and 7 more: give",
    ),
    (
        put("policy_stn.encoder.4.weight", 24, 8 * 48),
        r"'policy_stn' .* has encoder\.4\.weight for 384 inputs, expected h·h cells of the 8 channe"
        r"ls that encoder\.0\.weight gives: give",
    ),
    (
        put("policy_stn.fc.0.weight", 49, 24),
        r"'policy_stn' .* has fc\.0\.weight \(49, 24\), expected \(2, 24\): give",
    ),
    (
        put("policy_stn.encoder.0.weight", 8, 1280, 1),
        r"has encoder\.0\.weight of shape \(8, 1280, 1\), expected 4 dimensions, none empty: give",
    ),
    (
        put("classifier.mlp.layers.0.weight", 20, 2048),
        r"'classifier' .* has mlp\.layers\.0\.weight for 2048 inputs, expected 3328 \(the channels "
        r"of both encoders\): give",
    ),
    (
        put("classifier.classifiers.2.1.weight", 6, 20),
        r"'classifier' .* has classifiers\.2\.1\.weight \(6, 20\), expected \(5, 20\): give",
    ),
    (
        drop("classifier.classifiers.1.1.weight"),
        r"'classifier' .* has heads classifiers\.N\.1 for N = 0, 2, expected one for each number "
        r"of frames, from 0 on: give",
    ),
    (
        drop(*(f"classifier.classifiers.{step}.1.weight" for step in range(3))),
        r"has heads classifiers\.N\.1 for N = nothing, expected",
    ),
    (drop("classifier.classifiers.1.1.bias"), r"'classifier' .* lacks classifiers\.1\.1\.bias: gi"),
]


@pytest.mark.parametrize(("damage", "text"), DAMAGES)
def test_what_does_not_fit_is_refused(
    damage: Damage, text: str, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focusgym.recognizer.pipeline.released_parts.Encoder", build_once)
    state = dict(checkpoint["state_dict"])
    damage(state)
    with pytest.raises(WeightsError, match=text):
        convert_released_v2({"state_dict": state})


def test_an_entry_of_another_kind_is_refused() -> None:
    with pytest.raises(
        WeightsError, match="'state_dict' of the checkpoint is a NoneType, expected"
    ):
        convert_released_v2({"epoch": 3})
