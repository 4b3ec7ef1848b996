"""Bundles: what is written comes back, what does not fit is refused."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from focusgym.feature_cache import in_short
from focusgym.recognizer import (
    BundleError,
    Encoder,
    EncoderConfig,
    GruClassifier,
    describe,
    read_bundle,
    read_classifier,
    read_encoder,
    write_bundle,
)
from focusgym.recognizer.files.bundle import Bundle, restore, weights_digest


def test_bundles_round_trip(tmp_path: Path, classifier: GruClassifier) -> None:
    write_bundle(tmp_path / "c", "classifier", classifier.config, classifier, "f" * 64, {"x": 1.5})
    again = read_classifier(tmp_path / "c", "f" * 64)
    assert again.config == classifier.config
    glance, local = torch.randn(2, 3, 5), torch.randn(2, 3, 6)
    assert torch.equal(again(glance, local), classifier(glance, local))
    assert read_bundle(tmp_path / "c", "classifier").metrics == {"x": 1.5}
    encoder = Encoder(EncoderConfig("small_glance", input_px=12)).eval()
    write_bundle(tmp_path / "e", "encoder", encoder.config, encoder)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    before = torch.get_rng_state()
    restored = read_encoder(tmp_path / "e")
    assert torch.equal(torch.get_rng_state(), before), "weights that are read are not drawn first"
    assert torch.equal(restored(images), encoder(images))


def test_a_reduction_is_described_where_it_is_not_the_area_average(tmp_path: Path) -> None:
    """Fingerprints of caches and bundles from before there was another one stay as they are."""
    encoder = Encoder(EncoderConfig("small_glance", input_px=12))
    digest = weights_digest(encoder)
    area = {"name": "small_glance", "input_px": 12, "weights_sha256": digest}
    assert describe(encoder) == area
    path = tmp_path / "e"
    write_bundle(path, "encoder", encoder.config, encoder)
    content = json.loads((path / "bundle.json").read_text())
    assert content["config"].pop("reduction") == "area"
    (path / "bundle.json").write_text(json.dumps(content))
    assert read_encoder(path).config == encoder.config
    encoder.config = replace(encoder.config, reduction="bilinear")
    assert describe(encoder) == area | {"reduction": "bilinear"}
    assert in_short(describe(encoder)).startswith("small_glance at 12 px (bilinear), weights ")
    write_bundle(path, "encoder", encoder.config, encoder)
    assert read_encoder(path).config == encoder.config


def test_who_may_read_one_file_may_read_both(tmp_path: Path, classifier: GruClassifier) -> None:
    write_bundle(tmp_path / "c", "classifier", classifier.config, classifier)
    weights, config = (tmp_path / "c" / name for name in ("weights.safetensors", "bundle.json"))
    assert weights.stat().st_mode == config.stat().st_mode


def test_bundles_that_do_not_fit_are_refused(tmp_path: Path, classifier: GruClassifier) -> None:
    path = tmp_path / "c"
    with pytest.raises(BundleError, match="is not a readable bundle"):
        read_bundle(path, "classifier")
    write_bundle(path, "classifier", classifier.config, classifier, "a" * 64)
    with pytest.raises(BundleError, match="holds a classifier, expected a policy"):
        read_bundle(path, "policy")
    with pytest.raises(BundleError, match="print a{12}…. than the one .fingerprint b{12}…."):
        read_classifier(path, "b" * 64)
    weights = path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(BundleError, match="is not a readable bundle"):
        read_classifier(path)


class Harm:
    """Makes a folder wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["weights.safetensors", "bundle.json"])
def test_a_pickle_in_place_is_not_executed(
    name: str, tmp_path: Path, classifier: GruClassifier
) -> None:
    path, harm = tmp_path / "c", tmp_path / "harm"
    write_bundle(path, "classifier", classifier.config, classifier)
    for content in (pickle.dumps(Harm(harm)), pickle.dumps({"kind": Harm(harm)}, protocol=0)):
        (path / name).write_bytes(content)
        with pytest.raises(BundleError, match="is not a readable bundle"):
            read_classifier(path)
    assert not harm.exists()


def test_damaged_bundles_are_refused(tmp_path: Path, classifier: GruClassifier) -> None:
    path = tmp_path / "c"
    write_bundle(path, "classifier", classifier.config, classifier)
    good = json.loads((path / "bundle.json").read_text())
    for content in ("{}", "[]", "null", "{", '{"kind": 1}'):
        (path / "bundle.json").write_text(content)
        with pytest.raises(BundleError, match="is not a readable bundle"):
            read_classifier(path)
    for config in ({"x": 1}, {**good["config"], "hidden": 9}, {**good["config"], "y": 0}):
        (path / "bundle.json").write_text(json.dumps({**good, "config": config}))
        with pytest.raises(BundleError, match="config and weights do not make a classifier"):
            read_classifier(path)


@pytest.mark.parametrize(
    "config",
    [
        {"hidden": "x"},
        {"hidden": -1},
        {"hidden": 10**6},
        {"hidden": 10**12},
        {"n_classes": 10**12},
        {"dropout": 2},
        {"aggregation": ["gru"]},
    ],
)
def test_a_config_takes_no_memory_that_the_weights_do_not(
    config: dict[str, object], tmp_path: Path, classifier: GruClassifier
) -> None:
    path = tmp_path / "c"
    write_bundle(path, "classifier", classifier.config, classifier)
    good = json.loads((path / "bundle.json").read_text())
    changed = {**good, "config": {**good["config"], **config}}
    (path / "bundle.json").write_text(json.dumps(changed))
    with pytest.raises(BundleError) as caught:
        read_classifier(path)
    assert "config and weights do not make a classifier (" in str(caught.value)
    assert "allocate" not in str(caught.value)
    assert str(caught.value).endswith("copy it again, or train it anew")


def test_a_constructor_that_needs_values_takes_no_memory_either(tmp_path: Path) -> None:
    def build(config: Mapping[str, int]) -> nn.Linear:
        width = int(torch.arange(config["width"], config["width"] + 1).tolist()[0])
        return nn.Linear(width, width)

    bundle = Bundle("policy", {"width": 3}, build({"width": 3}).state_dict(), None, {})
    network = restore(tmp_path, bundle, build)
    assert torch.equal(network.weight, bundle.weights["weight"])
    with pytest.raises(BundleError, match="size mismatch for weight"):  # and not 4 TB
        restore(tmp_path, replace(bundle, config={"width": 10**6}), build)


def test_an_encoder_that_does_not_exist(tmp_path: Path) -> None:
    encoder = Encoder(EncoderConfig("small_glance", input_px=12))
    path = tmp_path / "e"
    write_bundle(path, "encoder", encoder.config, encoder)
    good = json.loads((path / "bundle.json").read_text())
    for name in ("os.system", "../../x", 3, ["small_glance"], None, "small_local"):
        changed = {**good, "config": {**good["config"], "name": name}}
        (path / "bundle.json").write_text(json.dumps(changed))
        with pytest.raises(BundleError, match="config and weights do not make a"):
            read_encoder(path)
