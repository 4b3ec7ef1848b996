"""Documents with any value anywhere: each is refused in words, or is of the types it declares."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import write_cache

from focusgym.envs.rewards.designs import DESIGNS, make_design
from focusgym.feature_cache.reading.schema import ManifestEntry, check_manifest
from focusgym.recognizer import PolicyConfig
from focusgym.recognizer.files.typed import typed
from focusgym.runs.options.parse import UsageError, reward_of
from focusgym.runs.options.presets import PresetError, with_preset

TEXTS = st.text(max_size=8) | st.from_regex(r"[a-z.:/]{1,6}", fullmatch=True)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, -(2**63), 10**30])
    | st.floats()
    | TEXTS,
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=4), each, max_size=3)
    ),
    max_leaves=6,
)
quickly = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def places_in(document: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of a document."""
    if isinstance(document, dict | list):
        pairs = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in pairs:
            yield (key,)
            yield from ((key, *path) for path in places_in(value))


@st.composite
def changes(draw: Any, document: Any) -> Any:
    """Return a copy with one value replaced, left out, or added beside it."""
    document = copy.deepcopy(document)
    *above, key = draw(st.sampled_from([*places_in(document)]))
    container = document
    for each in above:
        container = container[each]
    how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
    if how == "remove":
        del container[key]
    elif how == "add" and isinstance(container, dict):
        container[draw(TEXTS)] = draw(PLAIN)
    else:
        container[key] = draw(PLAIN)
    return document


def read_or_refused(read: Callable[[], Any], *errors: type[Exception]) -> Any:
    """Return what is read, or None if it is refused in words."""
    try:
        return read()
    except errors as error:
        message = str(error)
    assert message
    assert len(message) < 2000
    return None


def is_plain_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < float("inf")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Any:
    cache = write_cache(tmp_path_factory.mktemp("properties") / "cache")
    return json.loads((cache.root / "manifest.json").read_text())


@quickly
@given(st.data())
def test_manifests(manifest: Any, data: st.DataObject) -> None:
    document = data.draw(changes(manifest))
    if not read_or_refused(lambda: check_manifest(document) or True, ValueError):
        return
    read = typed(ManifestEntry, document, others=True)
    assert all(type(each) is str for each in read.fingerprints.values())
    assert all(is_plain_number(each) for each in (*read.glance_map_range, read.glance_gmacs))
    assert read.shard is None or [type(each) for each in read.shard] == [int, int]
    assert {group["encoder"] for group in read.groups.values()} <= read.encoders.keys()


POLICY = asdict(PolicyConfig(3, 4, 8, options_allowed=[0, 2], threshold=0.5))


@quickly
@given(changes(POLICY))
def test_policies(document: Any) -> None:
    read = read_or_refused(lambda: typed(PolicyConfig, document), ValueError)
    if read is None:
        return
    sizes = (read.map_height, read.n_options, read.conv_channels, read.hidden)
    assert [type(each) for each in sizes] == [int] * 4
    assert read.threshold is None or 0 <= read.threshold <= 1
    assert all(type(k) is int and 0 <= k < read.n_options for k in read.options_allowed or [])
    assert typed(PolicyConfig, json.loads(json.dumps(asdict(read)))) == read


@quickly
@given(st.data())
def test_rewards(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*DESIGNS]) | st.from_regex(r"[a-z.:]{0,8}", fullmatch=True))
    parameters = data.draw(st.dictionaries(st.sampled_from(["draws", "name_", ""]), PLAIN))
    text = yaml.safe_dump({"name": name, **parameters})
    design = read_or_refused(lambda: make_design(reward_of(text)), UsageError, ValueError)
    if design is None:
        return
    draws = parameters.pop("draws", 1)
    assert not parameters, "no design has others"
    if name == "increment_over_random":
        assert design.draws == draws
        assert draws is None or (type(draws) is int and draws > 0)


TRAIN = {"epochs": 3, "lr": 1e-3, "reward": "increments", "lr-decay": True, "n-envs": 8}


@quickly
@given(changes({"train": TRAIN, "train --plus": {"epochs": 2}}))
def test_presets(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(document))
    arguments = ["train", "out", "--preset", str(path)]
    words = read_or_refused(lambda: with_preset(arguments), PresetError)
    if words is None:
        return
    assert words[: len(arguments)] == arguments
    for key, value in document["train"].items():
        if isinstance(value, bool) and isinstance(TRAIN[key], bool):
            assert f"--{'' if value else 'no-'}{key}" in words
        elif isinstance(value, int | str):
            assert f"--{key}={value}" in words
