"""Damaged, edited and foreign recognizer bundles are refused, and nothing in them is executed."""

from __future__ import annotations

import json
import math
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from recognizers import CHOICES, assert_recognized, make_frames, make_recognizer
from safetensors.torch import load_file, save_file

from focusgym.recognizer import (
    AdaptiveRecognizer,
    BundleError,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    GruClassifier,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
    read_bundle,
    write_bundle,
)

FRAMES = make_frames(3, 5)
Edit = Callable[[dict[str, Any]], Any]


def edit(bundle: Path, change: Edit) -> None:
    path = bundle / "bundle.json"
    content = json.loads(path.read_text())
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed))


class Harm:
    """Makes a folder wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["weights.safetensors", "bundle.json"])
@pytest.mark.parametrize("form", ["pickle", "torch", "torch, old format"])
def test_a_pickle_in_place_is_refused_and_not_executed(
    name: str, form: str, bundle: Path, tmp_path: Path
) -> None:
    harm = tmp_path / "harm"
    content = {"glance_encoder.trunk.0.0.weight": Harm(harm)}
    if form == "pickle":
        (bundle / name).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, bundle / name, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(BundleError, match="is not a readable bundle"):
        AdaptiveRecognizer.from_bundle(bundle)
    assert not harm.exists()
    pickle.loads(pickle.dumps(content))  # it would have done it
    assert harm.exists()


def truncations(size: int) -> Iterator[int]:
    yield from (0, 1, 7, 8, 100, size // 2, size - 1)


@pytest.mark.parametrize("name", ["weights.safetensors", "bundle.json"])
def test_truncated_and_missing_files_are_refused(name: str, bundle: Path) -> None:
    intact = (bundle / name).read_bytes()
    for size in truncations(len(intact)):
        (bundle / name).write_bytes(intact[:size])
        with pytest.raises(BundleError, match="is not a readable bundle") as caught:
            AdaptiveRecognizer.from_bundle(bundle)
        assert str(caught.value).endswith("copied again or trained anew")
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=rf"there is no file {name}\): give the folder of an int"):
        AdaptiveRecognizer.from_bundle(bundle)
    with pytest.raises(BundleError, match="is not a readable bundle"):
        AdaptiveRecognizer.from_bundle(bundle / "nothing")
    with pytest.raises(BundleError, match="is not a readable bundle"):
        AdaptiveRecognizer.from_bundle(bundle.parent / "bundle" / "bundle.json")


def test_bundles_of_another_kind_are_refused(bundle: Path, tmp_path: Path) -> None:
    f_c = make_recognizer().classifier
    write_bundle(tmp_path / "f_c", "classifier", f_c.config, f_c)
    with pytest.raises(BundleError, match="holds a classifier, expected a recognizer: give"):
        AdaptiveRecognizer.from_bundle(tmp_path / "f_c")
    edit(tmp_path / "f_c", lambda content: content.update(kind="recognizer"))
    with pytest.raises(BundleError, match="config and weights do not make a recognizer"):
        AdaptiveRecognizer.from_bundle(tmp_path / "f_c")
    with pytest.raises(BundleError, match="holds a recognizer, expected a classifier"):
        read_bundle(bundle, "classifier")
    (bundle / "bundle.json").write_text(" " * (2**24 + 1))
    with pytest.raises(BundleError, match="more than 16777216 bytes"):
        AdaptiveRecognizer.from_bundle(bundle)


def put(*path: Any) -> Edit:
    """Return what puts a value into the config: keys, then the value."""

    def change(content: dict[str, Any]) -> None:
        *keys, last, value = path
        part: Any = content["config"]
        for key in keys:
            part = part[key]
        part[last] = value

    return change


def take(*path: str) -> Edit:
    def change(content: dict[str, Any]) -> None:
        part = content["config"]
        for key in path[:-1]:
            part = part[key]
        del part[path[-1]]

    return change


EDITS: dict[str, tuple[Edit, str]] = {
    "unknown key": (put("speed", 9), "unexpected keyword argument 'speed'"),
    "unknown key of a part": (
        put("places", "speed", 9),
        "places.speed is unknown: expected frame_px",
    ),
    "no f_G": (take("glance"), "glance.name is missing"),
    "no places": (take("places"), "of a kind among patches, full, boxes; got None"),
    "no frames": (take("frames"), "frames.steps is missing"),
    "no classifier": (take("classifier"), "classifier.glance_channels is missing"),
    "no policy": (take("policy"), 'Unexpected key.* in state_dict: "policy.'),
    "no side": (take("frames", "frame_px"), "frames.frame_px is missing"),
    "a list for the places": (put("places", []), "of a kind among patches, full, boxes; got None"),
    "a list for f_L": (put("local", ["small_local"]), "local must be an object; got"),
    "a list for the policy": (put("policy", []), "policy must be an object; got"),
    "a list for the frames": (put("frames", [5, 32]), "frames must be an object; got"),
    "a number for f_C": (put("classifier", 3), "classifier must be an object; got 3"),
    "null for the places": (put("places", None), "of a kind among patches, full, boxes; got None"),
    "a dict for the classes": (put("classes", dict.fromkeys("abcd", 1)), "classes must be names"),
    "a text for the classes": (put("classes", "abcd"), "classes must be names; got 'abcd'"),
    "numbers for the classes": (put("classes", [0, 1, 2, 3]), "classes must be names"),
    "lists for the classes": (put("classes", 0, ["a"]), "classes must be names"),
    "too few classes": (put("classes", ["a", "b"]), "the classifier's 4 classes; got 2"),
    "another dtype": (put("feature_dtype", "float64"), "feature_dtype must be float16 or float32"),
    "a list for the dtype": (put("feature_dtype", ["float16"]), "feature_dtype must be"),
    "something else of torch": (put("feature_dtype", "load"), "feature_dtype must be .*; got load"),
    "another encoder": (
        put("local", "name", "small_glance"),
        "reads 64 channels of f_L, which has 32",
    ),
    "another network": (put("glance", "name", "resnet18"), "32 channels of f_G, which has 512"),
    "no encoder": (put("glance", "name", "os.system"), "unknown encoder 'os.system'"),
    "no network at all": (put("glance", "name", ["small_glance"]), "glance.name must be a text"),
    "another grid": (put("places", "n", 4), "the 16 options of p12_4x4; got one with 9"),
    "places of no kind": (put("places", "kind", "cubes"), "patches, full, boxes; got 'cubes'"),
    "an endless grid": (
        put("places", "n", 10**6),
        "got n=1000000 options.*choose at most 21 options",
    ),
    "patches too large": (put("places", "patch_px", 33), "patch_px must be in 1..32"),
    "other frames": (put("frames", "frame_px", 16), "frames of 32 px, the frames have 16 px"),
    "no frames at all": (put("frames", "steps", 0), "steps and frame_px must be positive; got 0"),
    "another classifier": (put("classifier", "aggregation", "average"), "loading state_dict"),
    "an unknown classifier": (
        put("classifier", "aggregation", "max"),
        "one of gru, average, average_logits, max_",
    ),
    "a large classifier": (put("classifier", "hidden", 10**6), "size mismatch for classifier"),
    "a large policy": (put("policy", "hidden", 10**6), "size mismatch for policy"),
    "ρ above 1": (put("policy", "threshold", 1.5), r"threshold must be in \[0, 1\]"),
    "no π′": (put("policy", "threshold", None), 'Unexpected key.* in state_dict: "policy.keep'),
    "an option that is not": (put("policy", "options_allowed", [9]), "options_allowed must be"),
}


@pytest.mark.parametrize("name", EDITS)
def test_edited_configs_are_refused(name: str, bundle: Path) -> None:
    change, message = EDITS[name]
    edit(bundle, change)
    with pytest.raises(BundleError, match=f"(?s)do not make a recognizer .*{message}") as caught:
        AdaptiveRecognizer.from_bundle(bundle)
    assert str(caught.value).endswith("copy it again, or train it anew")
    assert "allocate" not in str(caught.value)


def test_an_endless_grid_without_a_policy_takes_no_memory(tmp_path: Path) -> None:
    make_recognizer(policy=False).save(tmp_path / "bundle")
    edit(tmp_path / "bundle", put("places", "n", 10**6))
    with pytest.raises(BundleError, match="choose at most 21 options per axis"):
        AdaptiveRecognizer.from_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("content", [[], None, 1, {}, {"kind": "recognizer"}])
def test_other_json_is_refused(content: Any, bundle: Path) -> None:
    (bundle / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match="is not a readable bundle"):
        AdaptiveRecognizer.from_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": []}, "config must be an object; got"),
        ({"metrics": []}, "metrics must be finite numbers by name; got"),
        ({"metrics": {"accuracy": "high"}}, "metrics must be finite numbers by name; got"),
        ({"metrics": {"accuracy": math.nan}}, "metrics must be finite numbers by name; got"),
        ({"metrics": {"accuracy": True}}, "metrics must be finite numbers by name; got"),
        ({"cache_fingerprint": 3}, "cache_fingerprint must be a text or null; got 3"),
        ({"author": "me"}, "unexpected keyword argument 'author'"),
    ],
)
def test_edited_facts_are_refused(change: dict[str, Any], message: str, bundle: Path) -> None:
    edit(bundle, lambda content: content.update(change))
    with pytest.raises(BundleError, match=f"is not a readable bundle .*{message}"):
        AdaptiveRecognizer.from_bundle(bundle)


def test_other_weights_are_refused(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    # Of their own: older safetensors map the file, which is written anew below.
    good = {key: value.clone() for key, value in load_file(path).items()}
    name = "policy.actor.weight"
    for weights, message in (
        ({key: value for key, value in good.items() if key != name}, "Missing key"),
        ({**good, "more": torch.zeros(1)}, "Unexpected key"),
        ({**good, name: torch.zeros(3)}, "size mismatch for policy.actor.weight"),
        ({}, "Missing key"),
    ):
        save_file(weights, path)
        with pytest.raises(BundleError, match=f"(?s)do not make a recognizer .*{message}"):
            AdaptiveRecognizer.from_bundle(bundle)
    for value, others in ((torch.nan, ""), (torch.inf, ", and 2 more do")):
        broken = {key: one.clone() for key, one in good.items()}
        for key in (name, "classifier.head.bias", "policy.keep.actor.bias")[: 3 if others else 1]:
            broken[key].view(-1)[-1] = value
        save_file(broken, path)
        with pytest.raises(BundleError, match="of the recognizer holds NaN or infinity") as caught:
            AdaptiveRecognizer.from_bundle(bundle)
        assert f"{others}: its training diverged, or the file is damaged" in str(caught.value)
    save_file(good, path)
    assert AdaptiveRecognizer.from_bundle(bundle)(FRAMES, *CHOICES).options[0, 1] == 4


def test_networks_of_torchvision_come_back(tmp_path: Path) -> None:
    """Of real sizes: MobileNet-V2 twice, as both encoders."""
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig("mobilenet_v2"))
    f_c = GruClassifier(ClassifierConfig(1280, 1280, 4, hidden=16))
    policy = PolicyConfig(7, 7, 1280, 49, conv_channels=2, hidden=4)
    recognizer = AdaptiveRecognizer(
        encoder,
        encoder,
        f_c,
        PatchGrid(224, 96),
        PolicyNetwork(policy),
        frames=FrameConfig(2, 224, 256),
    )
    recognizer.save(tmp_path / "bundle")
    again = AdaptiveRecognizer.from_bundle(tmp_path / "bundle")
    frames = make_frames(1, 2, side=224)
    assert_recognized(again(frames), recognizer(frames), atol=1e-3)
    assert again.cost == recognizer.cost
