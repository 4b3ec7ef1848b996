"""Kinds of policy networks by name, in bundles too."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from focusgym.agents import read_policy
from focusgym.recognizer import (
    BundleError,
    PolicyConfig,
    PolicyNetwork,
    build_policy,
    write_bundle,
)

SIZES = PolicyConfig(3, 3, 5, n_options=9, conv_channels=2, hidden=4)


class Mine(PolicyNetwork):
    """A policy of a user's own."""


def test_a_class_of_your_own_is_found_by_its_place(tmp_path: Path) -> None:
    """A bundle does not import it: it may be somebody else's bundle."""
    sys.modules.setdefault(__name__, sys.modules[Mine.__module__])
    policy = build_policy(replace(SIZES, network=f"{__name__}:Mine"))
    assert type(policy) is Mine
    assert type(build_policy(SIZES)) is PolicyNetwork
    write_bundle(tmp_path / "mine", "policy", policy.config, policy)
    assert type(read_policy(tmp_path / "mine")) is Mine
    theirs = replace(SIZES, network="antigravity:Mine")
    write_bundle(tmp_path / "theirs", "policy", theirs, policy)
    with pytest.raises(BundleError, match="which a file may not import: import antigravity first"):
        read_policy(tmp_path / "theirs")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            "lstm",
            "network must be one of gru, centers, relu_centers, clip, clip_centers, or "
            "'module:attribute' of your own; got 'lstm'",
        ),
        ("os:getcwd", "must be a class derived from focusgym.recognizer.Policy;"),
    ],
)
def test_what_is_no_policy_is_refused(network: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_policy(replace(SIZES, network=network))
