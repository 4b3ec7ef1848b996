"""A training that goes on from a checkpoint is the one that was never interrupted."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kills import report_of
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes
from support import T
from trainings import (
    N_ENVS,
    Draws,
    Files,
    Interrupted,
    Interruption,
    logged,
    make_env,
    make_model,
    state_of,
)

from focusgym.agents import (
    Checkpoints,
    FocusPPO,
    PPOConfig,
    Validation,
    load_checkpoint,
    save_checkpoint,
    train_policy,
)
from focusgym.envs.engine.source import open_source
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import CheckpointError
from focusgym.recognizer.files import checkpoint_file

ROLLOUT = T * N_ENVS
TOTAL = 9 * ROLLOUT


def test_killed_at_checkpoints(cache: FeatureCache, classifier_path: Path) -> None:
    """Final weights, returns, ρ and the last checkpoint: the same bytes."""
    root = cache.root.parent
    assert {cache.root, classifier_path} == {root / "cache", root / "classifier"}
    report = report_of(Path(__file__).with_name("killed_trainings.py"), root)
    assert [*report] == ["validated", "target"]
    for killed, again, uninterrupted in report.values():
        assert 0 < killed < again < uninterrupted
    assert not list(root.glob("*.partial")), "a finished training leaves nothing behind"


KINDS = {
    "batch": {},
    "monitored": {"kind": "monitored"},
    "singles": {"kind": "singles"},
    "plus": {"plus": True},
    "plus_singles": {"kind": "singles", "plus": True},
    "target": {"plus": True, "target_gmacs": 4.0, "penalty_rate": 0.5, "keep_from": 0.2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_goes_on(kind: str, files: Files, tmp_path: Path) -> None:
    """Weights, optimizer, log, episodes, penalties, and what callbacks draw."""
    of_env = {k: v for k, v in KINDS[kind].items() if k in ("kind", "plus")}
    of_model = {k: v for k, v in KINDS[kind].items() if k not in of_env}

    def train(model: FocusPPO, *more: BaseCallback) -> Draws:
        draws, checkpoints = Draws(), Checkpoints(tmp_path / "checkpoint", 0)
        steps = TOTAL - model.num_timesteps
        model.learn(steps, [checkpoints, draws, *more], reset_num_timesteps=False)
        return draws

    uninterrupted = make_model(make_env(files, **of_env), **of_model)
    drawn = train(uninterrupted).drawn
    stopped = make_model(make_env(files, **of_env), **of_model)
    with pytest.raises(Interrupted):
        train(stopped, Interruption(5))
    resumed = make_model(make_env(files, **of_env), **of_model)
    load_checkpoint(tmp_path / "checkpoint", resumed)
    assert (resumed.n_rollouts, resumed.num_timesteps) == (5, 5 * ROLLOUT)
    drawn_again = train(resumed).drawn
    assert state_of(resumed) == state_of(uninterrupted)
    assert drawn_again == drawn[-len(drawn_again) :]
    assert len(drawn_again) == 4 * (T + 2)
    rows, rows_again = logged(uninterrupted)[5:], logged(resumed)
    first = {k: v for k, v in rows[0].items() if not k.startswith("train")}  # of the fifth update
    np.testing.assert_equal(rows_again, [first, *rows[1:]])
    assert "train/loss" in rows[1] or "train/value_loss" in rows[1]
    penalties = [player.prices.penalty for player in resumed.players]
    assert penalties == [player.prices.penalty for player in uninterrupted.players]
    if kind == "target":
        at_start = make_env(files, plus=True).player.prices.penalty
        assert len({at_start, stopped.players[0].prices.penalty, *penalties}) == 3
    if kind in ("monitored", "singles"):
        assert len(resumed.ep_info_buffer) == 6
    for left, right in zip(resumed.ep_info_buffer, uninterrupted.ep_info_buffer, strict=True):
        assert {k: type(v) for k, v in left.items()} == {k: type(v) for k, v in right.items()}


def test_learning_in_parts_is_learning_at_once(files: Files, tmp_path: Path) -> None:
    """A constant learning rate: what remains of the training decides nothing."""
    at_once, first, second = (make_model(make_env(files), learning_rate=1e-2) for _ in range(3))
    at_once.learn(TOTAL)
    first.learn(4 * ROLLOUT)
    save_checkpoint(tmp_path / "c", first, "mine")
    load_checkpoint(tmp_path / "c", second, "mine")
    assert state_of(second) == state_of(first)
    second.learn(TOTAL - second.num_timesteps, reset_num_timesteps=False)
    assert state_of(second) == state_of(at_once)
    # Also into a model that has gone further, and elsewhere.
    load_checkpoint(tmp_path / "c", at_once, "mine")
    at_once.learn(TOTAL - at_once.num_timesteps, reset_num_timesteps=False)
    assert state_of(at_once) == state_of(second)


def test_a_training_that_a_callback_stopped(files: Files, tmp_path: Path) -> None:
    """Its last rollout is not trained on; new episodes begin, as without a checkpoint."""
    first, second = (make_model(make_env(files), learning_rate=1e-2) for _ in range(2))
    stop = StopTrainingOnMaxEpisodes(max_episodes=3)
    first.learn(TOTAL, [Checkpoints(tmp_path / "c"), stop])
    assert first.num_timesteps == 3 * ROLLOUT
    assert (first.n_rollouts, first._last_obs) == (2, None)
    load_checkpoint(tmp_path / "c", second)
    for model in (first, second):
        model.learn(2 * ROLLOUT, reset_num_timesteps=False)
    assert state_of(second) == state_of(first)
    assert second.n_rollouts == 4


def test_chosen_episodes_are_counted(files: Files, tmp_path: Path) -> None:
    first, second = (make_model(make_env(files)) for _ in range(2))
    first.env.set_options({"video": 2})
    first.learn(3 * ROLLOUT)
    save_checkpoint(tmp_path / "c", first)
    load_checkpoint(tmp_path / "c", second)
    assert first.players[0].position() == second.players[0].position()
    assert first.players[0].position()["n_chosen"] == [1] * N_ENVS


def test_the_best_weights_are_kept(files: Files, tmp_path: Path) -> None:
    """A score that fell since, over a kill, and where only the last scoring was missed."""

    def validation(model: FocusPPO) -> Validation:
        return Validation(open_source(model.players[0].config), every=2)

    uninterrupted, second, third = (make_model(make_env(files)) for _ in range(3))
    path = tmp_path / "c"
    uninterrupted.learn(TOTAL, [Checkpoints(path, 0), validation(uninterrupted)])
    load_checkpoint(path, third)
    steps = TOTAL - third.num_timesteps
    assert steps == 0
    third.learn(steps, validation(third), reset_num_timesteps=False)
    stopped = make_model(make_env(files))
    with pytest.raises(Interrupted):
        stopped.learn(TOTAL, [Checkpoints(path, 0), validation(stopped), Interruption(6)])
    load_checkpoint(path, second)
    steps = TOTAL - second.num_timesteps
    second.learn(steps, validation(second), reset_num_timesteps=False)
    for model in (second, third):
        assert model.best_weights is not None
        assert state_of(model) == state_of(uninterrupted)


def test_a_finished_training_is_not_trained_again(files: Files, tmp_path: Path) -> None:
    config = PPOConfig(6, n_envs=6, minibatch=3, conv_channels=2, hidden=6, validations=2)
    path = tmp_path / "c"
    policy, returns = train_policy(*files.values(), config, seed=0, checkpoint=path)
    before = path.read_bytes()
    again, returns_again = train_policy(*files.values(), config, seed=0, checkpoint=path)
    without, returns_without = train_policy(*files.values(), config, seed=0)
    assert path.read_bytes() == before
    assert returns == returns_again == returns_without
    for name, value in policy.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
        assert torch.equal(without.state_dict()[name], value)


def test_how_often(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(
        "focusgym.agents.checkpoints.checkpoint.save_checkpoint",
        lambda path, model, identity: written.append(model.n_rollouts),
    )
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(
        "focusgym.agents.checkpoints.checkpoint.time.monotonic", lambda: next(clock)
    )
    model = make_model(make_env(files))
    # The clock moves on by 10 s with each look at it, and with each checkpoint.
    model.learn(TOTAL, Checkpoints(tmp_path / "c", 30))
    assert written == [2, 5, 8, 9]
    assert not (tmp_path / "c").exists()


class Saves(BaseCallback):
    """Saves where it should not."""

    def __init__(self, path: Path, where: str) -> None:
        super().__init__()
        self._path, self._where = path, where

    def _on_rollout_start(self) -> None:
        if self._where == "start":
            save_checkpoint(self._path, self.model)

    def _on_step(self) -> bool:
        if self._where == f"step {self.n_calls}":
            save_checkpoint(self._path, self.model)
        return True

    def _on_rollout_end(self) -> None:
        if self._where == "end":
            save_checkpoint(self._path, self.model)


@pytest.mark.parametrize("where", ["start", "step 1", f"step {T}", f"step {2 * T}", "end"])
@pytest.mark.parametrize("kind", ["batch", "singles"])
def test_only_between_rollouts(kind: str, where: str, files: Files, tmp_path: Path) -> None:
    model = make_model(make_env(files, kind))
    with pytest.raises(CheckpointError) as caught:
        model.learn(3 * ROLLOUT, Saves(tmp_path / "c", where))
    went_on = "one is going on" if where in ("end", f"step {2 * T}") else "it has done none yet"
    assert str(caught.value) == (
        f"expected a model between two rollouts; {went_on}: save after learn(), or in a "
        "callback's _on_rollout_start (see Checkpoints)"
    )
    assert not (tmp_path / "c").exists()


def test_a_full_disk_leaves_the_former_one(files: Files, tmp_path: Path) -> None:
    model = make_model(make_env(files))
    model.learn(ROLLOUT)
    path = tmp_path / "run" / "c"
    path.parent.mkdir()
    save_checkpoint(path, model)
    before = path.read_bytes()
    model.learn(ROLLOUT, reset_num_timesteps=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(CheckpointError) as caught:
            save_checkpoint(path, model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == (
        f"{path} could not be written (File too large): make room, or give another path; a "
        "former checkpoint is as it was"
    )
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["c"]
    save_checkpoint(path, model)
    assert path.read_bytes() != before


@pytest.mark.parametrize("stage", ["fsync", "replace", "save"])
def test_an_exception_while_saving_leaves_the_former_one(
    stage: str, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(make_env(files))
    model.learn(ROLLOUT)
    path = tmp_path / "run" / "c"
    path.parent.mkdir()
    save_checkpoint(path, model)
    before = path.read_bytes()
    model.learn(ROLLOUT, reset_num_timesteps=False)

    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    where = {"fsync": os, "replace": Path, "save": checkpoint_file}[stage]
    monkeypatch.setattr(where, stage, fail)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, model)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["c"]


def test_a_path_that_cannot_be_written_is_told_before_the_training(
    files: Files, tmp_path: Path
) -> None:
    config = PPOConfig(6, n_envs=6, minibatch=3, conv_channels=2, hidden=6)
    path = tmp_path / "nowhere" / "c"
    with pytest.raises(CheckpointError) as caught:
        train_policy(*files.values(), config, seed=0, checkpoint=path)
    assert str(caught.value) == (
        f"{path}: there is no folder {path.parent}: make it, or give another path"
    )
