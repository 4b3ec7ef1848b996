"""JSON and YAML that others wrote: limits on size, depth and what aliases stand for; types."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hostile import alias_bomb

from focusgym.recognizer.files.documents import (
    MOST_DEPTH,
    MOST_YAML_BYTES,
    parse_json,
    parse_yaml,
    read_json,
    read_yaml,
)
from focusgym.recognizer.files.typed import typed
from focusgym.runs.options.parse import UsageError, reward_of
from focusgym.runs.options.presets import PresetError, read_preset

BAD_YAML = {
    alias_bomb(): "stands for more than 20000 values",
    "a: &a [*a]": "alias of what the alias is in",
    "[" * 50_000: "nested deeper than 64",
    "- " * 5_000 + "x": "nested deeper than 64",
    "x: !!timestamp foo": "a value that is none",
    "x: !!bool foo": "a value that is none",
    "x: 2026-13-45": "a value that is none",
    "{[1]: 2}": "unhashable key",
    f"x: 1{'0' * 308}": "an integer of more than 308 digits",
    f"x: -0x1{'0' * 9000}": "an integer of more than 308 digits",
    f"x: 0b{'1' * 1025}": "an integer of more than 308 digits",
    f"x: 1{':30' * 200}": "an integer of more than 308 digits",
    f"x: {'1:' * 60_000}1": "an integer of more than 308 digits",
    "!!python/object/apply:os.system [ls]": "could not determine a constructor",
    "a" * (MOST_YAML_BYTES + 1): "has more than 262144",
}


@pytest.mark.parametrize("text", BAD_YAML, ids=[f"{i}" for i in range(len(BAD_YAML))])
def test_yaml_that_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=BAD_YAML[text]):
        parse_yaml(text)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(PresetError, match=f"cannot be read: .*{BAD_YAML[text]}"):
        read_preset(str(tmp_path / "a.yaml"))
    with pytest.raises(UsageError, match=r"--reward .*: expected a name") as refused:
        reward_of(text)
    assert len(str(refused.value)) < 300


def test_aliases_of_little_are_read() -> None:
    document = parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a")
    assert document == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}
    assert parse_yaml("") is None


def test_json_is_as_deep_and_as_long_as_it_may_be(tmp_path: Path) -> None:
    deep = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert parse_json(deep) == json.loads(deep)
    for text in (f"[{deep}]", "[" * 200_000, '{"a":' * 200_000):
        with pytest.raises(ValueError, match="nested deeper than 64|no JSON|Expecting"):
            parse_json(text)
    with pytest.raises(ValueError, match="an integer of more than 308 digits"):
        parse_json("1" * 309)
    for text in ("9" * 308, "-" + "9" * 308):
        assert parse_json(text) == parse_yaml(text) == int(text)
        assert abs(float(int(text))) == 1e308
    (tmp_path / "a.json").write_text("[1, 2]")
    assert read_json(tmp_path / "a.json", 6) == [1, 2]
    with pytest.raises(ValueError, match=r"a\.json has more than 5 bytes"):
        read_json(tmp_path / "a.json", 5)


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_a_document_is_a_regular_file(read: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in (
        (tmp_path / "pipe", "named pipe"),
        ("/dev/zero", "device"),
        (tmp_path, "fol"),
    ):
        with pytest.raises(OSError, match=f"it is a {kind}"):
            read(path)


@dataclass(frozen=True)
class Inner:
    n: int
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    pair: tuple[int, int] | None
    sizes: dict[str, int] = field(default_factory=dict)
    kind: Literal["a", "b"] = "a"


GOOD = {"name": "x", "inner": {"n": 1}, "pair": [1, 2]}


def test_typed_content() -> None:
    assert typed(Outer, GOOD) == Outer("x", Inner(1), (1, 2))
    assert typed(Outer, {**GOOD, "pair": None, "other": 1}, others=True).pair is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": 1}, "name must be a text; got 1"),
        ({"inner": []}, "inner must be an object"),
        ({"inner": {"n": True}}, r"inner\.n must be an integer; got True"),
        ({"inner": {"n": 2**63}}, r"inner\.n must be an integer"),
        ({"inner": {"n": 1, "share": float("nan")}}, r"inner\.share must be a finite number"),
        ({"inner": {}}, r"inner\.n is missing"),
        ({"pair": [1, 2, 3]}, "pair must be a list of 2 values"),
        ({"pair": "12"}, "pair must be a list"),
        ({"sizes": {"a": "b"}}, r"sizes\.a must be an integer"),
        ({"kind": "c"}, "kind must be one of a, b"),
        ({"more": 1}, "more is unknown: expected name, inner"),
    ],
)
def test_content_of_other_types(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        typed(Outer, {**GOOD, **change})
