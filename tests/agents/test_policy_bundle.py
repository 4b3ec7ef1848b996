"""Policy bundles from anywhere: what does not fit is refused with the reason, nothing is run."""

from __future__ import annotations

import json
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import G

from focusgym.agents import read_policy
from focusgym.recognizer import BundleError, PolicyConfig, PolicyNetwork, read_bundle, write_bundle

WAY_ON = (
    "): give the folder of an intact bundle.json and weights.safetensors, copied again or trained "
    "anew"
)
CHANGED = (
    "): the bundle was changed, or written by another version; copy it again, or train it anew"
)
FINGERPRINT = "a" * 64


@pytest.fixture(params=["adafocus", "adafocus_plus"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A bundle of π, or of π and π′ with ρ and some options allowed."""
    plus: dict[str, Any] = {"threshold": 0.25, "options_allowed": (0, 4, 7)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = PolicyConfig(3, 3, G, 9, 2, 6, **(plus if "plus" in request.param else {}))
        policy = PolicyNetwork(config)
    write_bundle(tmp_path / "b", "policy", config, policy, FINGERPRINT, {"accuracy": 0.5})
    return tmp_path / "b"


def refused(path: Path, cache_fingerprint: str | None = None) -> str:
    with pytest.raises(BundleError) as caught:
        read_policy(path, cache_fingerprint)
    return str(caught.value)


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((path / "bundle.json").read_text())
    change(content)
    (path / "bundle.json").write_text(json.dumps(content))


def test_what_is_cut_short(bundle: Path) -> None:
    for name in ("weights.safetensors", "bundle.json"):
        intact = (bundle / name).read_bytes()
        for size in (0, 1, 7, 8, 100, len(intact) // 2, len(intact) - 1):
            (bundle / name).write_bytes(intact[:size])
            message = refused(bundle)
            assert message.startswith(f"{bundle} is not a readable bundle ("), (name, size)
            assert message.endswith(WAY_ON)
        (bundle / name).write_bytes(random.Random(0).randbytes(len(intact)))
        assert refused(bundle).startswith(f"{bundle} is not a readable bundle (")
        (bundle / name).write_bytes(intact)
    read_policy(bundle, FINGERPRINT)


def test_from_another_cache(bundle: Path) -> None:
    assert refused(bundle, "b" * 64) == (
        f"the policy in {bundle} was trained on another cache (fingerprint {FINGERPRINT[:12]}…) "
        f"than the one (fingerprint {'b' * 12}…) that it is used with: open the cache it was "
        "trained on, or train it anew"
    )
    with pytest.raises(
        BundleError, match=r"than some/cache \(fingerprint b{12}…\) that it is used"
    ):
        read_policy(bundle, "b" * 64, "some/cache")
    rewrite(bundle, lambda content: content.update(cache_fingerprint=None))
    assert "was trained on another cache (fingerprint none) than" in refused(bundle, FINGERPRINT)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_code_is_not_executed(bundle: Path, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists(), "the payload works"
    trace.unlink()
    for name in ("weights.safetensors", "bundle.json"):
        intact = (bundle / name).read_bytes()
        for save in (pickle.dump, torch.save):
            with (bundle / name).open("wb") as file:
                save(Payload(trace), file)
            message = refused(bundle)
            assert message.startswith(f"{bundle} is not a readable bundle (")
            assert message.endswith(WAY_ON)
        (bundle / name).write_bytes(intact)
    torch.save(Payload(trace), bundle / "weights.pth")  # nobody looks at it
    read_policy(bundle)
    assert not trace.exists()


def test_what_is_no_file(bundle: Path, tmp_path: Path) -> None:
    for name in ("weights.safetensors", "bundle.json"):
        path, kept = bundle / name, tmp_path / "kept"
        path.rename(kept)
        odd: list[Callable[[], object]] = [
            lambda: None,
            path.mkdir,
            lambda path=path: os.mkfifo(path),  # reading it would never end
            lambda path=path: path.symlink_to("/dev/zero"),  # nor that
            lambda path=path: path.symlink_to(path),
            lambda path=path: path.symlink_to("nowhere"),
        ]
        for make in odd:
            make()
            expected = f"{bundle} is not a readable bundle (there is no file {name}{WAY_ON}"
            assert refused(bundle) == expected
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        path.symlink_to(kept)
        read_policy(bundle)
        path.unlink()
        kept.rename(path)
    for path in (tmp_path / "nowhere", bundle / "bundle.json"):
        expected = f"{path} is not a readable bundle (there is no file bundle.json{WAY_ON}"
        assert refused(path) == expected
    (tmp_path / "link").symlink_to(bundle)
    read_policy(tmp_path / "link")


# Where in bundle.json, what, and how the reason begins.
CONTENT: list[tuple[str, Any, str]] = [
    ("config", [1], "config must be an object; got [1]"),
    ("config", None, "config must be an object; got None"),
    ("metrics", 3, "metrics must be finite numbers by name; got 3"),
    ("metrics", {"a": "b"}, "metrics must be finite numbers by name; got {'a': 'b'}"),
    ("metrics", "del", "Bundle.__init__() missing 1 required positional argument: 'metrics'"),
    ("training", {"a": "b"}, "training must be finite numbers by name; got {'a': 'b'}"),
    ("cache_fingerprint", [1], "cache_fingerprint must be a text or null; got [1]"),
    ("weights", {}, ""),
    ("surprise", 1, "Bundle.__init__() got an unexpected keyword argument 'surprise'"),
]


def test_content_of_another_kind(bundle: Path) -> None:
    intact = (bundle / "bundle.json").read_text()
    for name, value, expected in CONTENT:
        (bundle / "bundle.json").write_text(intact)
        rewrite(bundle, lambda c: c.pop(name) if value == "del" else c.update({name: value}))  # noqa: B023
        message = refused(bundle)
        assert message.startswith(f"{bundle} is not a readable bundle ({expected}"), message
        assert message.endswith(WAY_ON)
    (bundle / "bundle.json").write_text("[" * 10**6)
    assert "is not a readable bundle (" in refused(bundle)
    (bundle / "bundle.json").write_text(" " * 2**24 + "{}")
    assert "(bundle.json has more than 16777216 bytes): " in refused(bundle)
    (bundle / "bundle.json").write_text(intact)
    rewrite(bundle, lambda content: content.update(kind="classifier"))
    expected = f"{bundle} holds a classifier, expected a policy: give another path"
    assert refused(bundle) == expected
    rewrite(bundle, lambda content: content.update(kind=["policy"]))
    assert "holds a ['policy'], expected a policy" in refused(bundle)


MISMATCH = "Error(s) in loading state_dict for PolicyNetwork:"
CONFIG: list[tuple[dict[str, Any], str]] = [
    ({"hidden": "x"}, "hidden must be an integer; got 'x'"),
    ({"hidden": 6.0}, "hidden must be an integer; got 6.0"),
    ({"hidden": None}, "hidden must be an integer; got None"),
    ({"hidden": [6]}, "hidden must be an integer; got [6]"),
    ({"hidden": -1}, "Trying to create tensor with negative dimension -1"),
    ({"hidden": 7}, MISMATCH),
    ({"hidden": 10**6}, MISMATCH),  # 24 TB, were they asked for
    ({"hidden": 10**12}, "Storage size calculation overflowed"),
    ({"hidden": 10**30}, "hidden must be an integer; got 1000"),
    ({"conv_channels": 10**10}, MISMATCH),
    ({"map_height": 10**10}, MISMATCH),
    ({"n_options": 10**12}, MISMATCH),
    ({"n_options": 10**12, "options_allowed": [0]}, MISMATCH),
    ({"options_allowed": []}, "options_allowed must be options in [0, 9), at least one; got []"),
    ({"options_allowed": [9]}, "options_allowed must be options in [0, 9), at least one; got [9]"),
    ({"options_allowed": [-1]}, "options_allowed must be options in [0, 9)"),
    ({"options_allowed": [1.0]}, "options_allowed[0] must be an integer; got 1.0"),
    ({"options_allowed": [True]}, "options_allowed[0] must be an integer; got True"),
    ({"options_allowed": [[1]]}, "options_allowed[0] must be an integer; got [1]"),
    ({"options_allowed": "all"}, "options_allowed must be a list; got 'all'"),
    ({"options_allowed": 3}, "options_allowed must be a list; got 3"),
    ({"threshold": 1.5}, "threshold must be in [0, 1], or None; got 1.5"),
    ({"threshold": float("nan")}, "threshold must be a finite number; got nan"),
    ({"threshold": "x"}, "threshold must be a finite number; got 'x'"),
    ({"depth": 2}, "depth is unknown: expected map_height, map_width"),
]


def test_configs_that_make_no_policy(bundle: Path) -> None:
    """At once, and without memory for what the config says."""
    intact = (bundle / "bundle.json").read_text()
    for config, expected in CONFIG:
        (bundle / "bundle.json").write_text(intact)
        rewrite(bundle, lambda content: content["config"].update(config))  # noqa: B023
        message = refused(bundle)
        begin = f"{bundle}: config and weights do not make a policy ({expected}"
        assert message.startswith(begin), (config, message)
        assert message.endswith(CHANGED)
    (bundle / "bundle.json").write_text(intact)
    rewrite(bundle, lambda content: content["config"].pop("glance_channels"))
    assert "(glance_channels is missing)" in refused(bundle)


def test_weights_that_make_no_policy(bundle: Path) -> None:
    file = bundle / "weights.safetensors"
    weights = {name: value.clone() for name, value in load_file(file).items()}
    bias = weights["actor.bias"]
    for changed, expected in (
        ({**weights, "more": bias.clone()}, 'Unexpected key(s) in state_dict: "more"'),
        ({"actor.bias": bias}, 'Missing key(s) in state_dict: "trunk.conv.weight"'),
        ({**weights, "actor.bias": bias[:3].clone()}, "size mismatch for actor.bias"),
        ({}, "Missing key(s) in state_dict"),
    ):
        save_file(changed, file)
        assert expected in refused(bundle)


def test_threshold_and_weights_belong_together(bundle: Path) -> None:
    """π′ without ρ, or ρ without π′."""
    content = read_bundle(bundle, "policy").config
    plus = content["threshold"] is not None
    rewrite(bundle, lambda c: c["config"].update(threshold=None if plus else 0.5))
    message = refused(bundle)
    assert f"{'Unexpected' if plus else 'Missing'} key(s) in state_dict: " in message
    assert '"keep.trunk.conv.weight"' in message
