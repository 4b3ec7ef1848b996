"""From the options of a system to what is read, trained and played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...agents import LearnedSystem, System, Table, find_system
from ...feature_cache import read_manifest, stored_groups
from ...recognizer import Classifier, OptionGroup
from ...recognizer.files.documents import parse_yaml
from ...recognizer.places.places import PLACES
from ..configs.train import (
    LearnerConfig,
    PolicyTrainingConfig,
    SkipConfig,
    SystemConfig,
    TrainConfig,
)
from .parse import UsageError, usage

_NEEDS = "build a cache that has them: `focusgym cache build --group {}:ENCODER:SIDE`"


def system_of(method: SystemConfig, learning: LearnerConfig) -> System:
    """Return the system that options name, with the learner that they ask for.

    Raises:
        UsageError: If there is no such system, or an option means nothing for it.
    """
    if method.system is None:
        raise UsageError("--system: give the name of one")
    with usage():
        system = find_system(method.system)
    if method.price_per_gmac is not None and not system.pays:
        raise UsageError(f"--price-per-gmac: {system.name} pays no price: leave it out")
    if method.setting is not None and method.price_per_gmac is not None:
        raise UsageError("--setting and --price-per-gmac both say the price: give one of them")
    if method.setting is not None and len(system.settings) == 1:
        raise UsageError(f"--setting: {system.name} trades nothing for cost: leave it out")
    changes = None if learning.learner is None else _mapping(learning.learner)
    try:
        return system.trained_with(changes, learning.decisions)
    except ValueError as error:
        raise UsageError(f"--decisions, --learner: {error}") from error


def _mapping(text: str) -> dict[str, Any]:
    try:
        read = parse_yaml(text)
    except ValueError:
        read = None
    if not isinstance(read, dict) or not all(isinstance(key, str) for key in read):
        raise UsageError(
            f"--learner {text!r:.80}: expected a mapping such as '{{n_envs: 8, batch_size: 64}}'"
        )
    return read


def keywords_of(system: LearnedSystem, method: SystemConfig, table: Table) -> dict[str, Any]:
    """Return the keywords of a learned system's environments, at the setting that is asked for.

    Raises:
        UsageError: If there is no such setting.
    """
    with usage():
        keywords = system.environment(table, setting_of(system, method))
    if method.price_per_gmac is not None:
        keywords["price_per_gmac"] = method.price_per_gmac
    return keywords


def setting_of(system: System, method: SystemConfig) -> float:
    """Return the setting that is asked for, or the usual one."""
    return system.usual_setting if method.setting is None else method.setting


def groups_of_system(system: System, cache: Path, requested: Sequence[str]) -> tuple[str, ...]:
    """Return the option groups that a system reads.

    Args:
        system: The recipe.
        cache: Folder of the cache.
        requested: Those that are asked for; none for the dearest of `own_groups`, or if it chooses
            among several for all of them, the dearest first. A cache whose encoders are all of
            other kinds serves those.

    Raises:
        CacheError: If the cache cannot be opened.
        UsageError: If the cache has no such groups.
    """
    reads = PLACES[system.places].plural
    groups = stored_groups(read_manifest(cache)).values()
    of_kind = [group for group in groups if group.places.kind == system.places]
    frames = sorted(of_kind, key=lambda group: -group.gmacs)
    names = [group.name for group in own_groups(system, cache) or frames]
    needed = 2 if system.several_groups else 1
    if requested:
        names = [*requested]
        if other := [name for name in names if name not in {group.name for group in frames}]:
            raise UsageError(
                f"--group {other[0]}: {system.name} reads {reads}, and {cache} has "
                f"{', '.join(group.name for group in frames) or 'none'}: name those, or "
                f"{_NEEDS.format(system.places)}"
            )
    if len(names) < needed:
        many = f"{'several groups' if needed > 1 else 'a group'} of {reads}"
        raise UsageError(
            f"{system.name} reads {many}, and there is {', '.join(names) or 'none'} in {cache}: "
            f"{_NEEDS.format(system.places)}"
        )
    if requested and needed == 1 and len(names) > 1:
        raise UsageError(f"--group: {system.name} reads one group, got {' '.join(names)}: name it")
    return tuple(names if needed > 1 else names[:1])


def own_groups(system: System, cache: Path) -> list[OptionGroup]:
    """Return the option groups that are of a system's kind, the dearest first.

    They are whole frames or patches, as the system reads them, by networks of its ``of_encoders``.

    Raises:
        CacheError: If the cache cannot be opened.
    """
    manifest = read_manifest(cache)
    stored = [
        (group, str(manifest["encoders"][group.encoder]["name"]))
        for group in stored_groups(manifest).values()
        if group.places.kind == system.places
    ]
    return sorted(system.of_encoders.among(stored), key=lambda group: -group.gmacs)


def check_kind(
    system: System, classifier: Classifier, path: Path, cache: Path, groups: Sequence[str]
) -> None:
    """Refuse an f_C of another kind than the system's.

    Raises:
        UsageError: If it is, with the command that trains one.
    """
    kind, config = system.classifier, classifier.config
    classifier_kind = (config.aggregation, config.reuse_glance)
    if classifier_kind != (kind.aggregation, kind.reuse_glance):
        raise UsageError(
            f"{path} is of the kind {classifier_kind[0]} {_glances(classifier_kind[1])}, and the "
            f"f_C of {system.name} is {kind.aggregation} {_glances(kind.reuse_glance)}: "
            + fit_command(system, cache, groups)
        )


def fit_command(system: System, cache: Path, groups: Sequence[str]) -> str:
    """Return what trains an f_C for a system, in words."""
    return (
        f"give --classifier, or train one: `focusgym fit classifier classifier_{system.name} "
        f"--cache {cache} --group {' '.join(groups)} {system.classifier.options()}`"
    )


def check_other_options(config: TrainConfig) -> None:
    """Refuse options of AdaFocus beside a system.

    Raises:
        UsageError: If one is not as usual.
    """
    usual = {**asdict(PolicyTrainingConfig(threads=config.policy.threads)), **asdict(SkipConfig())}
    usual["reward"] = TrainConfig(config.out, config.policy, config.skip).reward
    options = {**asdict(config.policy), **asdict(config.skip), "reward": config.reward}
    if other := [name for name, value in options.items() if value != usual[name]]:
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in other[:3])
        raise UsageError(
            f"{shown}: of AdaFocus, and --system {config.method.system} is another method: leave "
            "it out; --learner has the settings of systems"
        )


def _glances(reused: bool) -> str:
    return "with glance vectors" if reused else "without glance vectors"
