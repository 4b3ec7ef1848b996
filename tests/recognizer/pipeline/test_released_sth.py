"""Released AdaFocus checkpoints for Something-Something, against the computation, written out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from released_files import Checkpoint, State, prefixed
from released_sth_files import AdaFocusSth, checkpoint_sth, released_sth
from torch import Tensor
from torch.nn import functional

from focusgym.feature_cache.building.weights import read_checkpoint
from focusgym.recognizer import (
    RELEASED_ENTRIES,
    AdaptiveRecognizer,
    Boxes,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    PolicyConfig,
    Released,
    WeightsError,
    convert_released_sth,
    is_released_sth,
)

B, GLANCED, LOOKED, PATCH = 3, 2, 4, 96


@pytest.fixture(scope="module")
def frames() -> Tensor:
    """``(B, 1, F, 3, 224, 224)``: of each clip those that f_G reads, then f_L's."""
    torch.manual_seed(5)
    coarse = torch.randint(0, 256, (B * (GLANCED + LOOKED), 3, 9, 9)).float()
    fine = functional.interpolate(coarse, size=224, mode="bicubic").clamp(0, 255).byte()
    clips: Tensor = fine.unflatten(0, (B, 1, GLANCED + LOOKED))
    return clips


@pytest.fixture(scope="module")
def model(frames: Tensor) -> AdaFocusSth:
    torch.manual_seed(4)
    clips = frames[:, 0]
    return released_sth(clips[:, :GLANCED], clips[:, GLANCED:], PATCH, conv=8, hidden=24)


@pytest.fixture(scope="module")
def checkpoint(model: AdaFocusSth) -> Checkpoint:
    """Shared by all tests: not to be changed."""
    return checkpoint_sth(model)


@pytest.fixture(scope="module")
def released(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """The networks of the checkpoint, from a file."""
    path: Path = tmp_path_factory.mktemp("released") / "144x144.pth.tar"
    torch.save(checkpoint, path)
    content = read_checkpoint(path, RELEASED_ENTRIES)
    path.unlink()
    before = torch.get_rng_state()
    networks = convert_released_sth(content)
    assert torch.equal(torch.get_rng_state(), before)
    return networks


@torch.no_grad()
def test_a_released_file_gives_what_the_released_networks_give(
    model: AdaFocusSth, released: Released, frames: Tensor
) -> None:
    """Every box, at whole pixels, and every logit."""
    clips = frames[:, 0]
    logits, boxes, corners = model(clips[:, :GLANCED], clips[:, GLANCED:], PATCH)
    assert (boxes.amax(0) - boxes.amin(0)).min() > 5, "boxes differ from clip to clip"
    assert (boxes[:, 0] - boxes[:, 1]).abs().min() > 0, "x is not y"
    assert (corners - corners.round()).abs().min() > 1e-3, "rounding decides no corner"
    assert logits.std(0).mean() > 0.1
    recognizer = AdaptiveRecognizer(
        released.glance,
        released.local,
        released.classifier,
        Boxes(224, PATCH, whole_pixels=True),
        released.policy,
        torch.float32,
        frames=FrameConfig(1, 224, segment_frames=LOOKED, glance_frames=GLANCED, own_glance=True),
    )
    recognition = recognizer(frames)
    assert torch.equal(recognition.boxes_px[:, 0], boxes)
    torch.testing.assert_close(recognition.logits[:, 0], logits, rtol=0, atol=1e-3)
    networks = released.glance, released.local, released.classifier, released.policy
    assert not any(part.training for network in networks if network for part in network.modules())
    assert released.glance.config == EncoderConfig("mobilenet_v2_tsm")
    assert released.local.config == EncoderConfig("resnet50_tsm")
    assert released.classifier.config == ClassifierConfig(
        1280, 2048, 5, aggregation="average_logits"
    )
    assert released.policy is not None
    expected = PolicyConfig(7, 7, 1280 * GLANCED, 1, 8, 24, network="relu_centers")
    assert released.policy.config == expected


def test_the_report_says_what_became_of_the_checkpoint(released: Released) -> None:
    report = released.report
    assert report.used == {"glancer": 314, "focuser": 318, "fc": 2, "policy": 17}
    assert report.inferred == {
        "n_classes": 5,
        "glance_frames": 2,
        "map_height": 7,
        "map_width": 7,
        "conv_channels": 8,
        "policy_hidden": 24,
    }
    count = "counts of batches, which only training needs"
    others = ("epoch", "model_state_dict", "acc", "best_acc", "optimizer")
    assert report.left_out == {
        "policy: critic.0.weight and 1 more": "the value estimate, which only training needs",
        "policy: state_encoder.1.num_batches_tracked and 1 more": count,
        **dict.fromkeys(others, "not needed to recognize"),
    }


def test_before_stage_two_there_is_no_policy(
    checkpoint: Checkpoint, released: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the prefix of parallel training, too."""
    monkeypatch.setattr("focusgym.recognizer.pipeline.released_parts.Encoder", build_once)
    parts = {n: prefixed("module.", checkpoint[n]) for n in ("glancer", "focuser", "fc")}
    assert is_released_sth(parts)
    converted = convert_released_sth(parts)
    assert converted.policy is None
    assert "glance_frames" not in converted.report.inferred
    for one, other in ((converted.glance, released.glance), (converted.local, released.local)):
        expected = other.state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in one.state_dict().items())


def test_other_checkpoints_are_told_apart() -> None:
    tensor = torch.zeros(1)
    for content, expected in (
        ({"glancer": {"net.features.3.conv.0.net.weight": tensor}}, True),
        ({"focuser": {"net.base_model.4.0.conv1.net.weight": tensor}}, True),
        ({"glancer": {"net.features.0.0.weight": tensor}, "focuser": {3: tensor}}, False),
        ({"focuser": [tensor], "fc": {"a.net.weight": tensor}}, False),
        ({}, False),
    ):
        assert is_released_sth(content) is expected


build_once = cache(Encoder)  # takes half a second; for tests that do not run the encoders

Damage = Callable[[dict[str, State]], object]


def put(entry: str, key: str, *shape: int) -> Damage:
    return lambda entries: entries[entry].update({key: torch.zeros(shape)})


def drop(entry: str, *keys: str) -> Damage:
    return lambda entries: [entries[entry].pop(key) for key in keys]


def rename(entry: str, old: str, new: str) -> Damage:
    return lambda entries: entries[entry].update({new: entries[entry].pop(old)})


DAMAGES: list[tuple[Damage, str]] = [
    (
        lambda entries: entries.pop("fc"),
        r"^the checkpoint lacks the entries fc: expected glancer, focuser, fc and perhaps policy; "
        r"it holds glancer, focuser, policy: give .* Something-Something experiments",
    ),
    (
        lambda entries: entries["fc"].update(bias=torch.full((5,), torch.nan)),
        "the entry 'fc' of the checkpoint holds NaN or infinite numbers in bias: ",
    ),
    (drop("glancer", "net.classifier.bias"), r"'glancer' of .* lacks net\.classifier\.bias: give"),
    (
        drop("glancer", "net.features.18.0.weight"),
        r"'glancer' of .* do not fit mobilenet_v2_tsm: missing features\.18\.0\.weight, unexpe",
    ),
    (
        rename("glancer", "net.features.3.conv.0.net.weight", "net.features.3.conv.0.weight"),
        r"'glancer' .* a network that shifts elsewhere: mobilenet_v2_tsm shifts before features\.3"
        r"\.conv\.0\.0, it does not: give weights of one that shifts in its residual branches",
    ),
    (
        rename("focuser", "net.base_model.1.weight", "net.base_model.2.weight"),
        r"'focuser' .* missing bn1\.weight, unexpected net\.base_model\.2\.weight: give",
    ),
    (
        rename("focuser", "net.base_model.4.0.conv2.weight", "net.base_model.4.0.conv2.net.weight"),
        r"'focuser' .* shifts elsewhere: it shifts before layer1\.0\.conv2, resnet50_tsm does not",
    ),
    (put("fc", "weight", 5, 1024), r"'fc' .* has weight \(5, 1024\), expected \(5, 2048\): give"),
    (
        put("glancer", "net.classifier.weight", 4, 1280),
        r"'glancer' .* has classifier\.weight \(4, 1280\), expected \(5, 1280\): give",
    ),
    (
        put("policy", "actor.0.weight", 25, 24),
        r"'policy' .* has actor\.0\.weight \(25, 24\), expected \(2, 24\): give",
    ),
    (
        put("policy", "state_encoder.0.weight", 8, 1300, 1, 1),
        r"has state_encoder\.0\.weight \(8, 1300, 1, 1\), expected \(8, 1280, 1, 1\): give",
    ),
    (
        drop("policy", "state_encoder.1.running_var"),
        r"'policy' .* lacks state_encoder\.1\.running_var: give",
    ),
]


@pytest.mark.parametrize(("damage", "text"), DAMAGES)
def test_what_does_not_fit_is_refused(
    damage: Damage, text: str, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focusgym.recognizer.pipeline.released_parts.Encoder", build_once)
    entries = {name: dict(checkpoint[name]) for name in RELEASED_ENTRIES}
    damage(entries)
    with pytest.raises(WeightsError, match=text):
        convert_released_sth(entries)
