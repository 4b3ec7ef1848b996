"""The kinds of policy networks, by name."""

from __future__ import annotations

from ..registry import find_class
from .base import Policy
from .config import PolicyConfig

POLICIES: dict[str, str] = {
    "gru": "focusgym.recognizer.policies.policy:PolicyNetwork",
    "centers": "focusgym.recognizer.policies.centers:CenterNetwork",
    "relu_centers": "focusgym.recognizer.policies.centers:ReluCenterNetwork",
    "clip": "focusgym.recognizer.policies.clips:ClipNetwork",
    "clip_centers": "focusgym.recognizer.policies.clips:ClipCenters",
}


def build_policy(config: PolicyConfig, *, trusted: bool = True) -> Policy:
    """Build the policy network that a config describes, with random weights.

    Args:
        config: Which kind, and its sizes.
        trusted: Whether the module of a class of your own may be imported; see `find`.

    Raises:
        ValueError: If there is no such kind, or it is no `Policy`.
    """
    return policy_class(config.network, trusted=trusted)(config)


def policy_class(network: str, *, trusted: bool = True) -> type[Policy]:
    """Return the class of a kind of policy network.

    Args:
        network: As `PolicyConfig.network`.
        trusted: See `build_policy`.

    Raises:
        ValueError: If there is no such kind, or it is no `Policy`.
    """
    base: type[Policy] = Policy  # type: ignore[type-abstract]
    return find_class("network", network, POLICIES, base, trusted=trusted)
