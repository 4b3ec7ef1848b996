"""Damaged and edited bundles of recognizers with cubes, and wrong videos, are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cube_recognizers import DRAWS, FRAMES, make_recognizer

from focusgym.recognizer import BundleError, CubeRecognizer, read_recognizer
from focusgym.recognizer.classifiers.max_pool import MaxPoolClassifier

Edit = Callable[[dict[str, Any]], Any]


def put(*path: Any) -> Edit:
    """Return what puts a value into the config: keys, then the value."""

    def change(config: dict[str, Any]) -> None:
        *keys, last, value = path
        for key in keys:
            config = config[key]
        config[last] = value

    return change


EDITS: dict[str, tuple[Edit, str]] = {
    "unknown key": (put("speed", 9), "unexpected keyword argument 'speed'"),
    "unknown key of cubes": (put("cubes", "speed", 9), "cubes.speed is unknown: expected"),
    "unknown key of the policy": (put("policy", "speed", 9), "policy.speed is unknown: expected"),
    "no f_G": (lambda config: config.pop("glance"), "glance.name is missing"),
    "no f_C": (lambda config: config.pop("classifier"), "classifier.glance_channels is missing"),
    "no policy": (lambda config: config.pop("policy"), "policy.map_height is missing"),
    "no frames": (lambda config: config.pop("frames"), "frames.steps is missing"),
    "no cubes": (put("cubes", {}), "cubes must be of the kind cubes; got None"),
    "boxes": (put("cubes", "kind", "boxes"), "cubes must be of the kind cubes; got 'boxes'"),
    "null for the cubes": (put("cubes", None), "cubes must be an object; got None"),
    "a list for the policy": (put("policy", []), r"policy must be an object; got \[\]"),
    "a text for the classes": (put("classes", "abcd"), "classes must be names; got 'abcd'"),
    "numbers for the classes": (put("classes", [0, 1, 2, 3]), "classes must be names"),
    "too few classes": (put("classes", ["a", "b"]), "the classifier's 4 classes; got 2"),
    "large cubes": (put("cubes", "side_px", 33), r"side of a cube must be in 1..32"),
    "long cubes": (put("cubes", "frames", 8), r"a cube must have 1..7 frames"),
    "other frames": (put("frames", "steps", 8), "is for 7 frames of 32 px in the video's order"),
    "another order": (put("frames", "order", "halving"), "is for 7 frames of 32 px in the video's"),
    "another frame": (put("frames", "frame_px", 16), "is for 7 frames of 32 px in the video's"),
    "a longer glance": (put("policy", "steps", 8), "a glance at 8 frames, and the cubes are of 7"),
    "more cubes": (put("policy", "cubes", 4), "that reads the glance, for 5 predictions"),
    "endless cubes": (put("policy", "cubes", 10**9), "steps and cubes must be at most 65536"),
    "an endless glance": (put("policy", "steps", 10**9), "steps and cubes must be at most 65536"),
    "no cube": (put("policy", "cubes", 0), "cubes must be an integer of at least 1; got 0"),
    "no glance": (put("classifier", "reuse_glance", False), "classifier that reads the glance"),
    "a kind of axis": (put("policy", "time", "central"), "learned, random, uniform; got 'central'"),
    "a learned axis": (put("policy", "space", "learned"), "Missing key"),
    "a large policy": (put("policy", "hidden", 10**6), "size mismatch for policy"),
    "another encoder": (put("local", "name", "small_glance"), "64 channels of f_L, which has 32"),
    "exits": (
        put("exits", {"measure": "margin", "thresholds": [0.1, 0.2]}),
        "expected exits of 4 steps, one for each prediction of a video; got 2: solve the rule",
    ),
    "a number for the exits": (put("exits", 0.5), "exits must be a measure and thresholds"),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "bundle"
    make_recognizer(space="random").save(path)
    return path


@pytest.mark.parametrize("name", EDITS)
def test_edited_configs_are_refused(name: str, bundle: Path) -> None:
    change, message = EDITS[name]
    intact = (bundle / "bundle.json").read_text()
    content = json.loads(intact)
    change(content["config"])
    try:
        (bundle / "bundle.json").write_text(json.dumps(content))
        with pytest.raises(BundleError, match=f"(?s)not make a recognizer .*{message}") as caught:
            read_recognizer(bundle)
    finally:
        (bundle / "bundle.json").write_text(intact)
    assert str(caught.value).endswith("copy it again, or train it anew")
    assert "allocate" not in str(caught.value)


def test_what_cannot_be_recognized_is_refused() -> None:
    recognizer = make_recognizer(time="random")
    for frames, message in (
        (FRAMES.float(), r"frames must be uint8 \(B, T, 3, S, S\) with S = 32; got torch.float32"),
        (FRAMES[..., 1:], r"frames must be uint8 .* call `prepare` first"),
        (FRAMES[:, :5], r"videos must be \(B, 7, 3, 32, 32\); got \(6, 5, 3, 32, 32\): take as"),
        (FRAMES[:0], "expected at least one video and one frame"),
    ):
        with pytest.raises(ValueError, match=message):
            recognizer(frames, draws=DRAWS)
    with pytest.raises(ValueError, match=r"places cubes at random: give draws \(6, 3, 3\)"):
        recognizer(FRAMES)
    with pytest.raises(ValueError, match=r"expected centres \(6, 3, 3\) of cubes.*name all cubes"):
        recognizer(FRAMES, DRAWS[:, :2].float())
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        recognizer(FRAMES, 2 * DRAWS.float())
    with pytest.raises(ValueError, match="expected a classifier that reads the glance"):
        make_recognizer(reuse=False)


class OwnPool(MaxPoolClassifier):
    """A kind of one's own, with a head for each step all the same."""


def test_a_classifier_of_your_own_with_too_few_heads_is_refused() -> None:
    parts = make_recognizer()
    own = replace(parts.classifier.config, aggregation=f"{__name__}:OwnPool", steps=3)
    few: Any = (parts.glance_encoder, parts.local_encoder, OwnPool(own), parts.cubes, parts.policy)
    with pytest.raises(ValueError, match=r"for 4 predictions, the first after it; got .*OwnPool"):
        CubeRecognizer(*few, frames=parts.frames)
