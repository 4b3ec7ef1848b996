"""Policies, and models of Stable-Baselines3, as candidates of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...agents import Agent, CentralAgent, GaussianAgent, OracleAgent, RandomAgent
from ..configs.evaluate import EvaluateConfig
from ..options.devices import device_of
from ..options.parse import UsageError
from .candidate import Candidate, Label, Labels, exits_of, names_of, refuse, solving_on, videos_of
from .models import SUFFIX, find_model
from .outcome import Outcome
from .plug_back import Contender, parity, recognize_files, recognizer_of
from .trace import all_labels, play
from .trained import Decider, Trained, at_keep_ratio, find_trained


@dataclass(frozen=True)
class PolicyCandidate(Candidate):
    """A policy that is played on a cache, beside policies that do not learn.

    Attributes:
        decider: It, with the cache and f_C that it is played on.
        at_shares: It, or AdaFocus+ at each share of frames that is asked for.
    """

    path: Path
    label: Label
    decider: Decider
    at_shares: Sequence[Decider]

    @classmethod
    def serves(cls, path: Path) -> bool:
        """Return True: what no other kind serves is opened as a policy, and refused there."""
        return True

    @classmethod
    def open(
        cls, paths: Sequence[Path], config: EvaluateConfig, labels: Labels | None
    ) -> list[PolicyCandidate]:
        """Open policies and models; see `Candidate`."""
        deciders = find_deciders(paths, config)
        names = names_of(paths, [each.name for each in deciders], labels)
        deciders = [replace(each, name=name) for each, name in zip(deciders, names, strict=True)]
        if labels is None:
            labels = _labels(paths, deciders)
        return [
            cls(path, labels[path], decider, _at_shares(decider, config.keep_ratio))
            for path, decider in zip(paths, deciders, strict=True)
        ]

    def solving(self, config: EvaluateConfig) -> list[Outcome]:
        """Return what comes of the videos that exits are solved on, at each share of frames."""
        if not config.exit_at:
            return []
        return [
            solving_on(each.name, each.cache, partial(_outcome, each), config)
            for each in self.at_shares
        ]

    def rows(self, config: EvaluateConfig, solving: Sequence[Outcome]) -> list[dict[str, Any]]:
        """Return the policy's rows, those of its exits, and those of policies beside it."""
        videos = videos_of(self.decider.cache, config)
        rows: list[dict[str, Any]] = []
        for i, each in enumerate(self.at_shares):
            reported = _outcome(each, videos)
            rows.append(reported.row(each.name))
            if isinstance(each, Trained) and config.pixels:
                rows[-1]["parity"] = _parity(each, videos)
            if config.exit_at:
                rows += exits_of(each.name, solving[i], reported, config)
        if self.label.beside is not None:  # once for all policies on the same features
            for agent in _others(config):
                name = f"{agent.name}{self.label.beside}"
                rows.append(_outcome(self.decider, videos, agent).row(name))
        return rows


def find_deciders(paths: Sequence[Path], config: EvaluateConfig) -> list[Decider]:
    """Open policies and models; refuse options that mean nothing for them.

    Raises:
        UsageError, BundleError, CacheError: As `Candidate.open`.
    """
    models = [path for path in paths if path.suffix == SUFFIX]
    any_model = any(path.suffix == SUFFIX for path in config.policies)  # this may be a part of them
    for option, value in (("--algorithm", config.algorithm), ("--group", config.group)):
        if value is not None and not any_model:
            raise UsageError(f"{option}: it is of zip files, and none is given: leave it out")
    what = "is a model of Stable-Baselines3, without ρ and outside of the recognizer"
    refuse({"--keep-ratio": config.keep_ratio, "--pixels": config.pixels}, models, what)
    known = (config.cache, config.classifier, config.videos_root, device_of(config.device))
    return [
        find_model(path, config.algorithm, config.group, *known)
        if path in models
        else find_trained(path, *known)
        for path in paths
    ]


def _labels(paths: Sequence[Path], deciders: Sequence[Decider]) -> Labels:
    """Return labels by which policies that do not learn stand beside the first on its features."""
    features = [_features(each) for each in deciders]
    labels = {}
    for i, (path, decider) in enumerate(zip(paths, deciders, strict=True)):
        beside = f", as {decider.name}" if len({*features}) > 1 else ""
        labels[path] = Label(decider.name, None if features[i] in features[:i] else beside)
    return labels


def _features(decider: Decider) -> tuple[str, str]:
    """Return what tells the cache and f_C of a policy from those of another."""
    return decider.cache.fingerprint, str(decider.classifier.resolve())


def _at_shares(decider: Decider, keep_ratios: tuple[float, ...]) -> Sequence[Decider]:
    if not isinstance(decider, Trained):
        return [decider]
    return [at_keep_ratio(decider, share) for share in keep_ratios] or [decider]


def _others(config: EvaluateConfig) -> list[Agent]:
    fixed: list[Agent] = [
        RandomAgent(config.seed),
        CentralAgent(),
        GaussianAgent(config.seed),
    ]
    return [*(fixed if config.fixed else []), *([OracleAgent()] if config.oracle else [])]


def _outcome(decider: Decider, videos: NDArray[np.int64], agent: Agent | None = None) -> Outcome:
    """Return what comes of videos on the cache of a policy, by its agent or by another one."""
    came = play(decider.engine, agent or decider.agent, videos, decider.cost)
    return Outcome(*came, all_labels(decider.cache, videos))


def _parity(trained: Trained, videos: NDArray[np.int64]) -> dict[str, float]:
    """Compare the predictions of the recognizer on the video files with those on the cache."""
    cache, engine = trained.cache, trained.engine
    glance, local = cache.encoders()
    fused = glance.fused(), local.fused()
    recognizer = recognizer_of(cache, fused, engine.source.classifier, trained.policy)
    plugged = Contender(trained.name, recognizer, None, trained.cost, runs_policy=True, patches=1)
    (on_pixels,) = recognize_files([plugged], cache, videos)
    plan = trained.agent.plan(engine, videos)
    on_cache = engine.rollout(videos, plan.options, plan.attended)
    return parity(on_pixels.logits.cpu(), on_cache.cpu(), cache.labels[videos])
