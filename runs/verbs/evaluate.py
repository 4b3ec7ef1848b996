"""The verb ``evaluate``: trained policies on a split, beside policies that do not learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...agents import (
    Agent,
    CentralAgent,
    GaussianAgent,
    OracleAgent,
    RandomAgent,
)
from ...feature_cache import FeatureCache
from ...feature_cache.reading.rows import SKIPPED
from ..configs.evaluate import EvaluateConfig
from ..evaluation.exits import SOLVED_ON, check_exits, exit_rows
from ..evaluation.measures import print_measures
from ..evaluation.models import SUFFIX, find_model
from ..evaluation.opened_runs import find_pixel_run, is_pixel_run
from ..evaluation.outcome import Outcome
from ..evaluation.pixel_runs import PixelRun
from ..evaluation.plug_back import Contender, parity, recognize_files, recognizer_of
from ..evaluation.system_runs import SystemRun, find_system_run, is_system_run
from ..evaluation.trace import all_labels, play
from ..evaluation.trained import Decider, Trained, at_keep_ratio, find_trained
from ..executors import executor_of
from ..executors.units import Unit
from ..options.devices import device_of
from ..options.parse import UsageError, print_line

Plays = Callable[[NDArray[np.int64]], Outcome]  # of rows of a cache
NamedT = TypeVar("NamedT", PixelRun, Decider)


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Print how policies do.

    Returns:
        ``split``, and ``policies``, a row for each.

    Raises:
        UsageError: If options mean nothing for a policy.
        BundleError: If a bundle cannot be read, or belongs to another cache.
        CacheError: If the cache cannot be opened, or lacks the split.
        VideoError: If with ``pixels`` a video is gone, another one, or cannot be read.
        FailedError: If with another executor than the local one a policy cannot be measured.
    """
    every = [*dict.fromkeys(config.policies)]
    if config.exit_at and config.split == SOLVED_ON:
        raise UsageError(
            f"--exit-at: thresholds are solved on the split {SOLVED_ON}, and --split {SOLVED_ON} "
            "would report what they were made for: choose another --split"
        )
    players = _open(every, config)
    if config.where.executor == "local":
        solved = [_solve(player, config) for player in players]  # before anything that takes long
        parts = [_rows(player, config, s) for player, s in zip(players, solved, strict=True)]
    else:
        units = {
            f"{player.path}": Unit((player.path, player.run.name, player.beside, config))
            for player in players
        }
        with executor_of(config.where, device_of(config.device), trust=config.trust) as do:
            parts = [*do(_opened_rows, units, "evaluate", 0, "policy").values()]
    rows = [row for part in parts for row in part]
    results = {"split": config.split, "policies": rows}
    if config.json:
        print_line(json.dumps(results))
    else:
        print_measures(rows)
        for row in rows:
            if "parity" in row:
                agree = 100 * row["parity"]["prediction_agreement"]
                print_line(
                    f"{row['name']}: pixels and cache agree in {agree:.2f} % of the predictions"
                )
    return results


@dataclass(frozen=True)
class _Player:
    """What is measured by itself, on whatever machine.

    Attributes:
        path: Of the run, the bundle or the file.
        run: It, opened; its name is that of its row.
        beside: What stands behind the names of policies that do not learn, which are measured on
            its features; None if they are not, for another's are the same.
        at_shares: Of a policy: it, or AdaFocus+ at each share of frames that is asked for.
    """

    path: Path
    run: SystemRun | PixelRun | Decider
    beside: str | None = None
    at_shares: Sequence[Decider] = ()


def _open(
    every: Sequence[Path], config: EvaluateConfig, names: Mapping[Path, str] | None = None
) -> list[_Player]:
    """Open all that is measured, in the order of the table.

    Args:
        every: Where they are.
        config: Of the verb.
        names: Of all rows; if not given, rows of one name are told apart by their folders.

    Raises:
        UsageError, BundleError, CacheError: As `evaluate`.
    """
    on_pixels = [path for path in every if is_pixel_run(path)]
    of_systems = [path for path in every if path not in on_pixels and is_system_run(path)]
    paths = [path for path in every if path not in (*on_pixels, *of_systems)]
    pixel_runs = _find_pixel_runs(on_pixels, config)
    if names or len({run.name for run in pixel_runs}) < len(pixel_runs):
        pixel_runs = [_named(*each, names) for each in zip(pixel_runs, on_pixels, strict=True)]
    systems = _find_systems(of_systems, config)
    deciders = _find(paths, config)
    if names or len({each.name for each in deciders}) < len(deciders):
        deciders = [_named(*each, names) for each in zip(deciders, paths, strict=True)]
    features = [_features(each) for each in deciders]
    several = len({*features}) > 1
    players = [_Player(*each) for each in zip(of_systems, systems, strict=True)]
    players += [_Player(*each) for each in zip(on_pixels, pixel_runs, strict=True)]
    for i, (path, run) in enumerate(zip(paths, deciders, strict=True)):
        beside = f", as {run.name}" if several else ""
        others = None if features[i] in features[:i] else beside
        players.append(_Player(path, run, others, _at_shares(run, config.keep_ratio)))
    return players


def _named(run: NamedT, path: Path, names: Mapping[Path, str] | None) -> NamedT:
    return replace(run, name=(names or {}).get(path, f"{path}"))


def _opened_rows(
    path: Path, name: str, beside: str | None, config: EvaluateConfig
) -> list[dict[str, Any]]:
    """Return the rows of a player that is opened where this is called."""
    (player,) = _open([path], config, {path: name})
    player = replace(player, beside=beside)
    return _rows(player, config, _solve(player, config))


def _solve(player: _Player, config: EvaluateConfig) -> list[Outcome]:
    """Return what comes of the videos that exits are solved on, of each that plays on a cache."""
    run = player.run
    if not config.exit_at:
        return []
    if isinstance(run, PixelRun):
        check_exits(run.name, config.exit_at, config.exit_after, run.gmacs, run.glances)
        return []
    if isinstance(run, SystemRun):
        return [_solving(run.name, run.source.cache, run.outcome, config)]
    return [
        _solving(each.name, each.cache, partial(_outcome, each), config)
        for each in player.at_shares
    ]


def _rows(
    player: _Player, config: EvaluateConfig, solved: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """Measure; return a row for each policy, those that do not learn included."""
    run = player.run
    if isinstance(run, PixelRun):
        return _pixel_rows(run, config)
    if isinstance(run, SystemRun):
        cache = run.source.cache
        videos = _videos(cache, config)
        rows = run.rows(config.split, pixels=config.pixels)
        if config.exit_at:
            rows += _exits(run.name, solved[0], run.outcome(videos), config)
        return rows
    videos, rows = _videos(run.cache, config), []
    for i, each in enumerate(player.at_shares):
        reported = _outcome(each, videos)
        rows.append(reported.row(each.name))
        if isinstance(each, Trained) and config.pixels:
            rows[-1]["parity"] = _parity(each, videos)
        if config.exit_at:
            rows += _exits(each.name, solved[i], reported, config)
    if player.beside is not None:  # once for all policies on the same features
        for agent in _others(config):
            name = f"{agent.name}{player.beside}"
            rows.append(_outcome(run, videos, agent).row(name))
    return rows


def _find(paths: list[Path], config: EvaluateConfig) -> list[Decider]:
    """Open what is measured; refuse options that mean nothing for it."""
    models = [path for path in paths if path.suffix == SUFFIX]
    any_model = any(path.suffix == SUFFIX for path in config.policies)  # this may be a part of them
    for option, value in (("--algorithm", config.algorithm), ("--group", config.group)):
        if value is not None and not any_model:
            raise UsageError(f"{option}: it is of zip files, and none is given: leave it out")
    for option, is_given in (("--keep-ratio", config.keep_ratio), ("--pixels", config.pixels)):
        if is_given and models:
            raise UsageError(
                f"{option}: {models[0]} is a model of Stable-Baselines3, without ρ and outside of "
                "the recognizer: leave the option out, or evaluate the others by themselves"
            )
    device = device_of(config.device)
    known = (config.cache, config.classifier, config.videos_root, device)
    return [
        find_model(path, config.algorithm, config.group, *known)
        if path in models
        else find_trained(path, *known)
        for path in paths
    ]


def _find_systems(paths: Sequence[Path], config: EvaluateConfig) -> list[SystemRun]:
    """Open runs of systems; refuse options that mean nothing for them."""
    options = {
        "--keep-ratio": config.keep_ratio,
        "--cache": config.cache,
        "--classifier": config.classifier,
    }
    for option, value in options.items():
        if value and paths:
            raise UsageError(
                f"{option}: {paths[0]} is a run of a system, which has what it was trained with: "
                "leave the option out, or evaluate the others by themselves"
            )
    device = device_of(config.device)
    return [find_system_run(path, config.videos_root, device) for path in paths]


def _find_pixel_runs(paths: Sequence[Path], config: EvaluateConfig) -> list[PixelRun]:
    """Open runs that were trained end to end; refuse options that mean nothing for them."""
    for option, value in (
        ("--keep-ratio", config.keep_ratio),
        ("--cache", config.cache),
        ("--classifier", config.classifier),
        ("--oracle", config.oracle),
    ):
        if value and paths:
            raise UsageError(
                f"{option}: {paths[0]} was trained end to end, and is played on the video files: "
                "leave the option out, or evaluate the others by themselves"
            )
    device = device_of(config.device)
    runs = [find_pixel_run(path, config.videos_root, device) for path in paths]
    for run in runs:
        for split in (config.split, *([SOLVED_ON] if config.exit_at else [])):
            run.check(split)
    return runs


def _pixel_rows(run: PixelRun, config: EvaluateConfig) -> list[dict[str, Any]]:
    """Return the row of a run, those of its exits, and those of other places in its networks."""
    kinds = run.beside if config.fixed else ()
    outcome, *others = run.play(config.split, (None, *kinds), config.seed)
    rows = [outcome.row(run.name)]
    if config.exit_at:
        (solving,) = run.play(SOLVED_ON, seed=config.seed)
        rows += _exits(run.name, solving, outcome, config)
    pairs = zip(kinds, others, strict=True)
    return rows + [each.row(f"{kind}, as {run.name}") for kind, each in pairs]


def _exits(
    name: str, solving: Outcome, outcome: Outcome, config: EvaluateConfig
) -> list[dict[str, Any]]:
    how = (config.exit_measure, config.exit_solver, config.seed, config.exit_after)
    return exit_rows(name, solving, outcome, config.exit_at, *how)


def _solving(name: str, cache: FeatureCache, plays: Plays, config: EvaluateConfig) -> Outcome:
    """Return what comes of the videos that exits are solved on; refuse too small a share."""
    outcome = plays(cache.split(SOLVED_ON))
    check_exits(name, config.exit_at, config.exit_after, outcome.played.gmacs)
    return outcome


def _features(trained: Decider) -> tuple[str, str]:
    """Return what tells the cache and f_C of a policy from those of another."""
    return trained.cache.fingerprint, str(trained.classifier.resolve())


def _videos(cache: FeatureCache, config: EvaluateConfig) -> NDArray[np.int64]:
    """Return the rows of the split; refuse those that cannot be read as they are asked for."""
    if config.split == SKIPPED:
        raise UsageError(f"--split {SKIPPED}: these videos could not be read: choose another")
    videos = cache.split(config.split)
    if config.pixels and (cache.videos["view"].to_numpy()[videos] >= 0).any():
        raise UsageError(
            f"--pixels: {cache.root} holds augmented copies of the split {config.split}, "
            "and the recognizer reads videos as they are: choose another --split"
        )
    if config.pixels:
        cache.clips(videos)  # refused here, before anything is played
    return videos


def _at_shares(trained: Decider, keep_ratios: tuple[float, ...]) -> Sequence[Decider]:
    if not isinstance(trained, Trained):
        return [trained]
    return [at_keep_ratio(trained, share) for share in keep_ratios] or [trained]


def _others(config: EvaluateConfig) -> list[Agent]:
    fixed: list[Agent] = [
        RandomAgent(config.seed),
        CentralAgent(),
        GaussianAgent(config.seed),
    ]
    return [*(fixed if config.fixed else []), *([OracleAgent()] if config.oracle else [])]


def _outcome(trained: Decider, videos: NDArray[np.int64], agent: Agent | None = None) -> Outcome:
    """Return what comes of videos on the cache of a policy, by its agent or by another one."""
    came = play(trained.engine, agent or trained.agent, videos, trained.cost)
    return Outcome(*came, all_labels(trained.cache, videos))


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
