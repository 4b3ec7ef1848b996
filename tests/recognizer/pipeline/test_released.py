"""Released checkpoints: converted networks against the released computation, written out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from released_files import (
    Checkpoint,
    State,
    checkpoint_after_stage_two,
    classifier_state,
    encoder_entries,
    literal_classifier,
    literal_policy,
    literal_recognition,
    policy_state,
    prefixed,
)
from torch.nn import functional

from focusgym.feature_cache.building.weights import read_checkpoint
from focusgym.recognizer import (
    RELEASED_ENTRIES,
    Encoder,
    PatchGrid,
    Released,
    WeightsError,
    convert_released,
    pool,
)

B, T, PATCH = 2, 3, 96


@pytest.fixture(scope="module")
def encoders() -> Checkpoint:
    """Entries of two encoders with random weights, shared by all tests: not to be changed."""
    return encoder_entries()


@pytest.fixture(scope="module")
def checkpoint(encoders: Checkpoint) -> Checkpoint:
    """A checkpoint as it is after stage II, of the released sizes."""
    return checkpoint_after_stage_two(encoders)


@pytest.fixture(scope="module")
def released(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """The networks of the checkpoint, from a file."""
    path = tmp_path_factory.mktemp("released") / "actnet.pth.tar"
    torch.save(checkpoint, path)
    networks = convert_released(read_checkpoint(path, RELEASED_ENTRIES))
    path.unlink()
    return networks


@torch.no_grad()
def test_a_released_file_gives_what_the_released_networks_give(
    checkpoint: Checkpoint, released: Released
) -> None:
    torch.manual_seed(5)
    coarse = torch.randint(0, 256, (B * T, 3, 9, 9)).float()
    frames = functional.interpolate(coarse, size=224, mode="bicubic").clamp(0, 255).byte()

    expected_options, expected = literal_recognition(checkpoint, frames.unflatten(0, (B, T)), PATCH)
    options = expected_options.argmax(-1).flatten()
    assert len(options.unique()) > 1
    assert expected.std(dim=(0, 1)).mean() > 0.01  # the frames are told apart

    assert released.policy is not None
    maps = released.glance(frames)
    option_logits = released.policy(maps.permute(0, 2, 3, 1).unflatten(0, (B, T)))
    # These encoders magnify what float32 rounds: their maps are 4e-4 from float64's.
    torch.testing.assert_close(option_logits, expected_options, rtol=0, atol=2e-3)  # σ is 2
    patches = PatchGrid(224, PATCH).crop(frames, options)
    glance = pool(maps, torch.float32).unflatten(0, (B, T))
    local = pool(released.local(patches), torch.float32).unflatten(0, (B, T))
    logits = released.classifier(glance, local)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-3)  # σ is 0.4


def test_the_report_says_what_became_of_the_checkpoint(released: Released) -> None:
    report = released.report
    assert report.used == {"glancer": 312, "focuser": 318, "fc": 6, "policy": 9}
    assert report.inferred == {
        "n_classes": 200,
        "classifier_hidden": 1024,
        "reuse_glance": True,
        "map_height": 7,
        "map_width": 7,
        "n_options": 49,
        "grid_n": 7,
        "conv_channels": 32,
        "policy_hidden": 1024,
    }
    others = "epoch", "model_state_dict", "scaler", "acc", "best_acc", "optimizer"
    head = "a head of its own: f_C classifies"
    assert report.left_out == {
        "glancer: net.classifier.1.weight and 1 more": head,
        "focuser: net.fc.weight and 1 more": head,
        "focuser: policy.policy.state_encoder.0.weight and 21 more": (
            "PPO's networks: π is taken from the entry 'policy' alone"
        ),
        "policy: critic.0.weight and 1 more": "the value estimate, which only training needs",
        **dict.fromkeys(others, "not needed to recognize"),
    }


def states(networks: Released) -> list[State]:
    modules = networks.glance, networks.local, networks.classifier, networks.policy
    assert not any(part.training for module in modules if module for part in module.modules())
    return [dict(module.state_dict()) for module in modules if module]


def test_prefixes_of_parallel_training_are_stripped(
    checkpoint: Checkpoint, released: Released
) -> None:
    before = torch.get_rng_state()
    wrapped = {
        "glancer": prefixed("module.", checkpoint["glancer"]),
        "focuser": prefixed("module.module.", checkpoint["focuser"]),
        "fc": prefixed("module.", checkpoint["fc"]),
        "policy": prefixed("module.module.", checkpoint["policy"]),
    }
    converted = convert_released(wrapped)
    assert torch.equal(torch.get_rng_state(), before)
    for one, two in zip(states(converted), states(released), strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert converted.report.used == released.report.used
    assert list(converted.report.left_out) == [
        "glancer: module.net.classifier.1.weight and 1 more",
        "focuser: module.module.net.fc.weight and 1 more",
        "focuser: module.module.policy.policy.state_encoder.0.weight and 21 more",
        "policy: module.module.critic.0.weight and 1 more",
    ]


@torch.no_grad()
def test_other_sizes_are_inferred(encoders: Checkpoint) -> None:
    torch.manual_seed(6)
    policy, fc = policy_state(64, 512, 4, 25), classifier_state(2048, 512, 12)
    converted = convert_released(encoders | {"fc": fc, "policy": policy})
    assert converted.policy is not None
    assert converted.report.inferred == {
        "n_classes": 12,
        "classifier_hidden": 512,
        "reuse_glance": False,
        "map_height": 4,
        "map_width": 4,
        "n_options": 25,
        "grid_n": 5,
        "conv_channels": 64,
        "policy_hidden": 512,
    }
    maps, glance, local = (
        torch.rand(B, T, 1280, 4, 4),
        torch.rand(B, T, 1280),
        torch.rand(B, T, 2048),
    )
    logits = converted.policy(maps.permute(0, 1, 3, 4, 2))
    torch.testing.assert_close(logits, literal_policy(policy, maps), rtol=0, atol=1e-4)
    logits = converted.classifier(glance, local)
    torch.testing.assert_close(logits, literal_classifier(fc, local), rtol=0, atol=1e-4)


def test_before_stage_ii_there_is_no_policy(encoders: Checkpoint) -> None:
    without = encoders | {"fc": classifier_state()}
    for checkpoint in (without, without | {"policy": None}):
        converted = convert_released(checkpoint)
        assert converted.policy is None
        assert list(converted.report.used) == ["glancer", "focuser", "fc"]
        assert "n_options" not in converted.report.inferred


def test_a_policy_under_another_key_is_told_of(
    encoders: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focusgym.recognizer.pipeline.released_parts.Encoder", build_once)
    policy = policy_state()
    wrapped = prefixed("module.", policy)
    without = {name: value for name, value in policy.items() if not name.startswith("critic")}
    for entry, looks in (
        (policy, True),
        (wrapped, True),
        (without, True),
        ({**policy, "state_encoder.0.bias": torch.zeros(3)}, False),
        ({name: policy[name] for name in policy if name != "actor.0.weight"}, False),
        (encoders["focuser"] | prefixed("policy.policy.", policy), False),
        ({}, False),
        ([policy], False),
        ({0: 1}, False),
    ):
        checkpoint = encoders | {"fc": classifier_state(), "pi": entry, "epoch": 3}
        report = convert_released(checkpoint).report
        assert report.entries == ["glancer", "focuser", "fc", "pi", "epoch"]
        expected = (
            "it looks like π, which is expected in the entry 'policy': save the checkpoint with "
            "this entry named 'policy', and import that"
        )
        assert report.left_out["pi"] == (expected if looks else "not needed to recognize")
        assert report.left_out["epoch"] == "not needed to recognize"
    both = convert_released(checkpoint | {"policy": policy, "pi": policy})
    assert both.policy is not None
    assert both.report.left_out["pi"] == "not needed to recognize"


build_once = cache(Encoder)  # takes half a second; for tests that do not run the encoders


def test_copies_of_the_policy_have_to_be_equal(encoders: Checkpoint) -> None:
    policy = policy_state()
    both = prefixed("policy.", policy) | prefixed("policy_old.", policy)
    checkpoint = encoders | {"fc": classifier_state(), "policy": both}
    converted = convert_released(checkpoint)
    assert converted.policy is not None
    assert torch.equal(converted.policy.actor.weight, policy["actor.0.weight"])
    assert converted.report.used["policy"] == 9
    left = converted.report.left_out
    assert left["policy: policy_old.state_encoder.0.weight and 10 more"] == "an equal copy"
    both["policy_old.actor.0.bias"] = policy["actor.0.bias"] + 1
    text = (
        "the entry 'policy' of the checkpoint holds two networks, which differ: policy.actor.0.bias"
        " is not policy_old.actor.0.bias: keep the keys of the one that is wanted"
    )
    with pytest.raises(WeightsError, match=text):
        convert_released(checkpoint)


Damage = Callable[[Checkpoint], object]


def put(entry: str, key: str, *shape: int) -> Damage:
    return lambda checkpoint: checkpoint[entry].update({key: torch.zeros(shape)})


def drop(entry: str, *keys: str) -> Damage:
    return lambda checkpoint: [checkpoint[entry].pop(key) for key in keys]


DAMAGES: list[tuple[Damage, str]] = [
    (
        lambda c: [c.pop("glancer"), c.pop("fc")],
        r"^the checkpoint lacks the entries glancer, fc: expected glancer, focuser, fc and perhaps "
        r"policy; it holds focuser, policy: give a checkpoint of AdaFocus's ActivityNet",
    ),
    (lambda c: c.clear(), r"lacks the entries glancer, focuser, fc: .* it holds nothing: give"),
    (
        lambda c: c.update(fc=None),
        r"^the entry 'fc' of the checkpoint is a NoneType, expected a state dict of tensors: give",
    ),
    (
        lambda c: c.update(policy={"lr": 1}),
        r"^the entry 'policy' of the checkpoint is a dict, expected a state dict of tensors: give",
    ),
    (
        drop("glancer", "net.features.18.0.weight"),
        r"^the entry 'glancer' of the checkpoint: the weights do not fit mobilenet_v2: missing "
        r"features\.18\.0\.weight, unexpected none",
    ),
    (
        put("focuser", "net.layer5.0.conv1.weight", 3),
        r"^the entry 'focuser' of .* do not fit resnet50: .* unexpected net\.layer5\.0\.conv1\.w",
    ),
    (
        drop("fc", "gru.weight_ih_l0", "fc.bias"),
        r"^the entry 'fc' of the checkpoint lacks fc\.bias, gru\.weight_ih_l0: give a checkpoint",
    ),
    (
        put("policy", "state_encoder.3.bias", 7),
        r"^the entry 'policy' .* has state_encoder\.3\.bias \(7,\), expected \(8,\): give",
    ),
    (
        put("fc", "gru.weight_ih_l1", 24, 8),
        r"'fc' .* holds gru\.weight_ih_l1 \(24, 8\), expected no more than fc\.bias, "
        r"fc\.weight, gru\.bias_hh_l0, gru\.bias_ih_l0, gru\.weight_hh_l0, gru\.weight_ih_l0: give",
    ),
    (
        put("fc", "gru.weight_ih_l0", 24, 3072),
        r"'fc' .* has gru\.weight_ih_l0 for 3072 inputs, expected 3328 \(the channels of both "
        r"encoders\) or 2048 \(of the local one alone\): give",
    ),
    (
        put("fc", "fc.weight", 5, 9),
        r"'fc' .* has gru\.weight_ih_l0 \(24, 3328\), expected \(27, 3328\); gru\.weight_hh_l0 "
        r"\(24, 8\), expected \(27, 9\); gru\.bias_ih_l0 \(24,\), expected \(27,\); .*: give",
    ),
    (
        put("fc", "fc.weight", 5),
        r"'fc' .* has fc\.weight of shape \(5,\), expected 2 dimensions, none empty: give",
    ),
    (
        put("policy", "state_encoder.0.bias", 3),
        r"'policy' .* holds state_encoder\.0\.bias \(3,\), expected no more than act",
    ),
    (
        put("policy", "state_encoder.0.weight", 3, 10240, 1, 1),
        r"'policy' .* has state_encoder\.0\.weight \(3, 10240, 1, 1\), expected \(3, 1280, 1, 1\)",
    ),
    (
        put("policy", "state_encoder.0.weight", 0, 1280, 1, 1),
        r"has state_encoder\.0\.weight of shape \(0, 1280, 1, 1\), expected 4 dimensions, none em",
    ),
    (
        put("policy", "state_encoder.3.weight", 8, 3 * 48),
        r"'policy' .* has state_encoder\.3\.weight for 144 inputs, expected h·h cells of the 3 "
        r"channels that state_encoder\.0\.weight gives: give",
    ),
    (
        put("policy", "actor.0.weight", 2, 8),
        r"'policy' .* has actor\.0\.weight for 2 actions, expected n·n options of a patch grid, "
        r"such as 49: continuous actions cannot be converted: give",
    ),
    (
        lambda c: c["policy"].update({"actor.0.bias": torch.tensor([0.0, torch.nan])}),
        "the entry 'policy' of the checkpoint holds NaN or infinite numbers in actor.0.bias: its",
    ),
    (
        lambda c: c["fc"].update({"module.fc.bias": torch.tensor([-torch.inf])}),
        "the entry 'fc' of the checkpoint holds NaN or infinite numbers in module.fc.bias: its",
    ),
    (put("policy", "actor.0.weight", 1, 8), "has actor.0.weight for 1 actions, expected n·n opt"),
]


@pytest.mark.parametrize(("damage", "text"), DAMAGES)
def test_what_does_not_fit_is_refused(
    damage: Damage, text: str, encoders: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("focusgym.recognizer.pipeline.released_parts.Encoder", build_once)
    parts = encoders | {"fc": classifier_state(), "policy": policy_state()}
    checkpoint = {entry: dict(state) for entry, state in parts.items()}
    damage(checkpoint)
    with pytest.raises(WeightsError, match=text):
        convert_released(checkpoint)
