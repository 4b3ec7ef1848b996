"""Policies of Stable-Baselines3 as safe files: weights, and how their networks are built."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Space
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from ..recognizer import BundleError, read_bundle, restore
from ..recognizer.files.bundle import write_bundle
from ..recognizer.files.typed import typed
from ..recognizer.registry import find, place_of

# What a file may import: they define networks, and are there wherever a policy is played.
_LIBRARIES = ("stable_baselines3", "sb3_contrib", "focusgym", "torch")
_ONLY_TRAINED_WITH = ("optimizer_class", "optimizer_kwargs")


@dataclass(frozen=True)
class SavedPolicyConfig:
    """How a policy of Stable-Baselines3 is built, beside the spaces of its environment.

    Attributes:
        network: Its class, as ``module:class``.
        keywords: Of that class; a class among them is ``{"class": "module:class"}``.
    """

    network: str
    keywords: Mapping[str, Any]


def write_sb3_policy(
    path: str | os.PathLike[str], model: BaseAlgorithm, cache_fingerprint: str
) -> None:
    """Write the policy of a model as a safe bundle, without what only a training needs.

    Args:
        path: The folder; its parent must exist.
        model: Of Stable-Baselines3 or of a library like it.
        cache_fingerprint: Of the cache that it was trained on.

    Raises:
        ValueError: If the policy is built from something else than numbers, texts and classes of
            networks, if a class cannot be found by its name, or if the policy does not act alike
            when it is built from these again.
    """
    keywords = {
        name: _plain(name, value)
        for name, value in model.policy_kwargs.items()
        if name not in _ONLY_TRAINED_WITH
    }
    # Off-policy algorithms have it among the keywords, and not every policy knows it.
    if isinstance(model, OnPolicyAlgorithm) and model.use_sde:
        keywords["use_sde"] = True
    config = SavedPolicyConfig(place_of("a policy", type(model.policy)), keywords)
    write_bundle(path, "policy", config, model.policy, cache_fingerprint)
    spaces = model.observation_space, model.action_space
    try:
        policy = read_sb3_policy(path, *spaces, cache_fingerprint)
    except BundleError as error:
        raise ValueError(f"the policy cannot be kept as a safe file: {error}") from error
    space = copy.deepcopy(spaces[0])
    space.seed(0)  # the same observation every time, and without a draw of the model's own
    seen = space.sample()
    expected, actual = (each.predict(seen, deterministic=True)[0] for each in (model, policy))
    if not np.allclose(expected, actual, atol=1e-5):
        raise ValueError(
            f"the policy {config.network}, built again from {keywords}, acts otherwise than the "
            f"model: expected {expected}; got {actual}: its algorithm does more than ask it"
        )


def read_sb3_policy(
    path: str | os.PathLike[str],
    observation_space: Space[Any],
    action_space: Space[Any],
    cache_fingerprint: str,
    device: str = "cpu",
) -> BasePolicy:
    """Read a policy, in eval mode; nothing in its files is executed.

    Classes are taken from Stable-Baselines3, sb3-contrib, torch and focusgym; those of another
    module have to be imported before.

    Args:
        path: The folder that `write_sb3_policy` wrote.
        observation_space: Of the environment that it acts in.
        action_space: Likewise.
        cache_fingerprint: Of the cache that it is used with.
        device: Where it is played.

    Raises:
        BundleError: If the folder is not a readable bundle, its content makes no policy for these
            spaces, or it belongs to another cache.
    """

    def build(content: Mapping[str, Any]) -> BasePolicy:
        config = typed(SavedPolicyConfig, content)
        network: Any = _network(config.network, BasePolicy)
        keywords = {name: _value(value) for name, value in config.keywords.items()}
        policy = network(observation_space, action_space, lr_schedule=_no_rate, **keywords)
        assert isinstance(policy, BasePolicy)
        return policy

    bundle = read_bundle(path, "policy", cache_fingerprint)
    return restore(path, bundle, build).to(device)


def _no_rate(progress: float) -> float:
    """Return the learning rate of what is not trained any more."""
    return 0.0


def _plain(name: str, value: Any) -> Any:
    """Return a keyword as JSON has it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, type) and issubclass(value, nn.Module):
        return {"class": place_of("networks of a policy", value)}
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(name, each) for key, each in value.items()}
    raise ValueError(
        f"expected keywords of the policy that are numbers, texts, lists of them or classes of "
        f"networks; got {name} = {value!r:.80}, which no safe file holds"
    )


def _value(plain: Any) -> Any:
    """Return a keyword as the policy takes it."""
    if isinstance(plain, list):
        return [_value(each) for each in plain]
    if isinstance(plain, Mapping):
        if [*plain] == ["class"]:
            return _network(plain["class"], nn.Module)
        return {key: _value(each) for key, each in plain.items()}
    return plain


def _network(name: Any, base: type[nn.Module]) -> type[nn.Module]:
    """Return a class that a file names."""
    if not isinstance(name, str):
        raise ValueError(f"the name of a class must be a text; got {name!r:.80}")
    library = name.partition(":")[0].partition(".")[0]
    network = find("a network of the policy", name, {}, trusted=library in _LIBRARIES)
    if not (isinstance(network, type) and issubclass(network, base)):
        raise ValueError(f"expected a class derived from {base.__name__}; got {name!r:.80}")
    return network
