"""Systems at work: what they read, what is learned, kept and gone on with, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from support import T, add_frames, write_cache, write_classifier

from focusgym.agents import (
    SYSTEMS,
    LearnedSystem,
    Learner,
    SystemModel,
    find_system,
    make_system,
    read_segments,
    trace_task,
    train_system,
)
from focusgym.agents.reading import read_states
from focusgym.agents.systems.dynamic_ste import DYNAMIC_STE
from focusgym.agents.systems.gates import FRAMEEXIT_GATES, Gates, GatesConfig, should_stop
from focusgym.agents.systems.gradient import GradientSystem
from focusgym.agents.systems.training import table_of
from focusgym.envs import FeatureSource
from focusgym.envs.tasks.registry import TASKS
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import (
    BundleError,
    CheckpointError,
    ExitRule,
    coarse_to_fine,
    hold,
    read_classifier,
    write_bundle,
)

TINY = {"n_envs": 3, "decisions": 60, "n_steps": 5, "batch_size": 5, "n_epochs": 2}
TINY_OFF_POLICY = {"n_envs": 3, "decisions": 60, "learning_starts": 12, "batch_size": 5}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Holds cache/ with patches and two sides of whole frames."""
    add_frames(write_cache(tmp_path / "cache", n=20))
    return tmp_path


def files_of(root: Path, name: str) -> dict[str, object]:
    """Keywords of an environment for a system, with an f_C of its kind."""
    system = find_system(name)
    groups = ("full32", "full16")[: 2 if system.several_groups else 1]
    if system.places == "patches":
        groups = ("p12_3x3",)
    path = root / f"classifier_{name}"
    if not path.exists():
        kind = system.classifier
        cache = FeatureCache.open(root / "cache", groups)
        how = {"aggregation": kind.aggregation, "reuse_glance": kind.reuse_glance}
        write_classifier(cache, path, **how)
    return {"cache": str(root / "cache"), "classifier": str(path), "group": groups}


def source_of(root: Path, name: str) -> FeatureSource:
    files = files_of(root, name)
    cache = FeatureCache.open(files["cache"], files["group"])
    return FeatureSource(cache, read_classifier(files["classifier"], cache.fingerprint))


def gates_of(config: dict[str, Any]) -> Gates:
    return Gates(GatesConfig(**config))


def learned(name: str, changes: dict[str, Any]) -> LearnedSystem:
    """Return a learned system with other settings of its learner."""
    system = find_system(name)
    assert isinstance(system, LearnedSystem)
    return replace(system, learner=system.learner.changed(changes))


@pytest.mark.parametrize("name", ["average", "gru", "tsn", "uniform"])
def test_reading_is_f_c_on_those_segments(root: Path, name: str) -> None:
    """Logits of whole sequences, prices by hand: nobody decides, and f_G does not run."""
    source, system = source_of(root, name), find_system(name)
    cache, videos = source.cache, source.cache.split("test")
    segments = [3, 0] if name == "uniform" else system.segments(T, 1.0)
    trace = read_segments(source, videos, segments)
    with torch.no_grad():
        glance = cache.glance_vectors(videos)[:, segments]
        local = cache.local_vectors(videos[:, None], np.asarray(segments), 0)
        expected = source.classifier(glance, local)
    n = len(segments)
    torch.testing.assert_close(trace.logits[:, :n], expected, rtol=0, atol=1e-5)
    held = expected[:, -1:].expand(-1, T - n, -1)
    torch.testing.assert_close(trace.logits[:, n:], held, rtol=0, atol=1e-5)
    middle = float(trace.logits[:, 0].softmax(-1).amax(-1).median())
    rule = ExitRule("confidence", (middle,) * T)
    exited = read_segments(source, videos, segments, exits=rule)
    steps = rule.exit_steps(trace.logits)
    torch.testing.assert_close(exited.logits, hold(trace.logits, steps), rtol=0, atol=1e-5)
    np.testing.assert_allclose(exited.gmacs, hold(torch.from_numpy(trace.gmacs), steps))
    assert exited.attended.sum() < trace.attended.sum()
    each = cache.option_gmacs[0] + source.frame_cost.classifier_gmacs
    np.testing.assert_allclose(trace.gmacs[:, :n], np.tile(each * np.arange(1, n + 1), (4, 1)))
    np.testing.assert_allclose(trace.gmacs[:, -1], n * each)
    assert trace.segments.tolist() == [[*segments, *[-1] * (T - n)]] * 4
    assert trace.attended.sum(axis=1).tolist() == [n] * 4
    right = expected[:, -1].argmax(-1) == cache.labels[videos]
    assert trace.correct.tolist() == right.tolist()


def test_a_teacher_looks_at_a_part(root: Path) -> None:
    """Every segment is fed and glanced at; where f_L does not run, its vector is zero, and free."""
    source, system = source_of(root, "dynamic_ste"), DYNAMIC_STE
    cache, videos = source.cache, source.cache.split("test")
    trace = system.reader(source, 0.5, 0)(source, videos)
    looks = np.array([False, True, False, True])  # as `uniform` reads (1, 3) of four
    assert trace.attended.tolist() == [looks.tolist()] * 4
    assert trace.fed.all()
    assert (trace.named == looks).all()
    assert (trace.options[looks] == 0).all()
    local = cache.local_vectors(videos[:, None], np.arange(T)[None], 0)
    with torch.no_grad():
        expected = source.classifier(
            cache.glance_vectors(videos), local * torch.from_numpy(looks)[:, None]
        )
    torch.testing.assert_close(trace.logits, expected, rtol=0, atol=1e-5)
    cost = source.frame_cost
    each = cost.glance_gmacs + cost.classifier_gmacs + looks * cost.local_gmacs
    np.testing.assert_allclose(trace.gmacs, np.tile(each.cumsum(), (4, 1)))
    assert cost.glance_gmacs > 0
    assert "--skip-rate 0.5" in system.classifier.options()


def test_gates_on_a_cache(root: Path) -> None:
    """No loss is small enough at β = 0, every one is at a huge β; a seed decides the rest."""
    source = source_of(root, "frameexit_gates")
    system = replace(FRAMEEXIT_GATES, epochs=60, lr=0.02)
    test = source.cache.split("test")
    never, always = (system.reader(source, beta, 0)(source, test) for beta in (0.0, 1e9))
    assert never.attended.all()
    assert always.attended.sum(axis=1).tolist() == [1] * 4
    order = coarse_to_fine(T)
    assert never.segments.tolist() == [list(order)] * 4
    _, logits = read_states(source, never.videos, order)
    torch.testing.assert_close(never.logits, logits)
    torch.testing.assert_close(always.logits[:, -1], logits[:, 0])
    cost, width = source.frame_cost, source.classifier.config.hidden
    each, gate = cost.local_gmacs + cost.classifier_gmacs, (2 * width * 64 + 64) / 1e9
    np.testing.assert_allclose(never.gmacs[:, -1], T * each + (T - 1) * gate)
    np.testing.assert_allclose(always.gmacs[:, -1], each + gate)
    assert never.decisions.tolist() == [T - 1] * 4
    one, again, other = (
        system.reader(source, 0.2, seed)(source, source.cache.split("train")) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.attended, again.attended)
    wanted = should_stop(
        read_states(source, one.videos, order)[1], source.cache.labels[one.videos], 0.2
    )
    last = np.where(wanted.any(1), wanted.int().argmax(1), T - 1)
    exits = one.attended.sum(axis=1) - 1
    assert (exits == last).mean() > 0.8, "on the videos that it was trained on"
    assert other.attended.shape == one.attended.shape


def test_gates_are_kept(root: Path, tmp_path: Path) -> None:
    """Gates that stop no video are read again, and none are trained for another β."""
    source = source_of(root, "frameexit_gates")
    system = replace(FRAMEEXIT_GATES, epochs=60, lr=0.02)
    for beta in (0.0, 1e9):
        read = system.reader(source, beta, 0, tmp_path / "kept")
        assert read(source, source.cache.split("test")).attended.all()


@pytest.mark.parametrize(
    "name", ["adafocus_tsm", "frameexit_gates", "listentolook", "lite_eval_gates", "scsampler"]
)
def test_what_is_kept_is_of_the_sizes_of_its_cache(root: Path, name: str) -> None:
    """Whatever else a bundle says is refused, though its weights are of the sizes that it says."""
    source, kept = source_of(root, name), root / "kept"
    own = {"hidden": 5, "key_channels": 2, "conv_channels": 2}
    original: Any = find_system(name)
    few = {key: n for key, n in own.items() if hasattr(original, key)}
    system: Any = replace(original, epochs=1, **few)
    system.reader(source, 0.5, 0, kept)
    good = json.loads((kept / "bundle.json").read_text())
    build = system.build if isinstance(system, GradientSystem) else gates_of
    others = {k: v + 1 for k, v in good["config"].items() if type(v) is int and k not in own}
    if name == "listentolook":
        others["reads"] = good["config"]["reads"] - 1
    for key, value in {**others, **({"share": 0.4} if "share" in good["config"] else {})}.items():
        network = build({**good["config"], key: value})
        write_bundle(kept, "policy", network.config, network, good["cache_fingerprint"])
        message = (
            f"{kept}: expected a policy whose {key} is {good['config'][key]}, .*; got {value}:"
        )
        with pytest.raises(BundleError, match=message):
            system.reader(source, 0.5, 0, kept)
    network = build({**good["config"], "hidden": 3})
    write_bundle(kept, "policy", network.config, network, good["cache_fingerprint"])
    system.reader(source, 0.5, 0, kept)


def test_gates_without_end_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be at most 4096; got 1000000000"):
        GatesConfig(10**9, 4)


def test_without_a_gate(tmp_path: Path) -> None:
    """Videos of one segment: it is read, and nothing is decided or charged for deciding."""
    add_frames(write_cache(tmp_path / "cache", n=20, steps=1))
    source = source_of(tmp_path, "frameexit_gates")
    for _ in range(2):  # trained, then read
        read = FRAMEEXIT_GATES.reader(source, 0.1, 0, tmp_path / "kept")
        trace = read(source, source.cache.split("test"))
    assert trace.segments.tolist() == [[0]] * 4
    assert trace.decisions.tolist() == [0] * 4
    cost = source.frame_cost
    np.testing.assert_allclose(trace.gmacs, cost.local_gmacs + cost.classifier_gmacs)


LEARNED = [n for n in SYSTEMS if isinstance(find_system(n), LearnedSystem)]


@pytest.mark.parametrize("name", LEARNED)
def test_a_training(root: Path, name: str) -> None:
    """Weights move, the agent's own cost is charged, every video is played once."""
    source = source_of(root, name)
    table, recipe = table_of(source), learned(name, {}).learner
    system = learned(name, TINY_OFF_POLICY if recipe.algorithm == "SAC" else TINY)
    full = source.frame_cost.local_gmacs + source.frame_cost.glance_gmacs
    assert table.video_gmacs == pytest.approx(T * (full + source.frame_cost.classifier_gmacs))
    assert system.learner.keywords["gamma"] == recipe.keywords["gamma"]
    keywords = system.environment(table, system.usual_setting)
    made = make_system(system, files_of(root, name), keywords, T, 0)
    before = {k: v.clone() for k, v in made.model.policy.state_dict().items()}
    train_system(made)
    assert made.model.num_timesteps == made.total == 60
    after = made.model.policy.state_dict()
    assert any(not torch.equal(v, after[k]) for k, v in before.items())
    assert made.keywords["policy_gmacs"] > 0
    trace = trace_task(made.model, made.env_id, split="test", **made.keywords)
    assert trace.videos.tolist() == source.cache.split("test").tolist()
    least = made.keywords["policy_gmacs"] * trace.decisions
    assert (trace.gmacs[:, -1] > least).all()


def test_another_algorithm_has_its_own_settings() -> None:
    """What the recipe says of PPO goes to PPO alone, however it is changed otherwise."""
    recipe = Learner()
    same = recipe.changed({"n_envs": 3, "gamma": 0.5})
    assert same.keywords == {**recipe.keywords, "gamma": 0.5}
    other = recipe.changed({"algorithm": "A2C", "n_envs": 3, "gamma": 0.5})
    assert (other.n_envs, other.decisions) == (3, recipe.decisions)
    assert other.keywords == {"gamma": 0.5}


class _Stopped(Exception):
    pass


class _Stop(BaseCallback):
    """Stops a training by force after half of it."""

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps == 30:
            raise _Stopped

    def _on_step(self) -> bool:
        return True


SGD = {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {"momentum": 0.9}}
A2C = {"algorithm": "A2C", "n_envs": 3, "decisions": 60, "n_steps": 5}


RECIPES = {
    learned(name, {}).task: name
    for name in reversed(LEARNED)
    if learned(name, {}).learner.algorithm == "PPO"
}


@pytest.mark.parametrize(
    ("task", "changes"),
    [*((task, TINY) for task in TASKS), ("Exit", A2C), ("Exit", {**TINY, "policy_kwargs": SGD})],
    ids=[*TASKS, "A2C", "SGD"],
)
def test_a_training_that_was_interrupted(root: Path, task: str, changes: dict[str, Any]) -> None:
    """Stopped in the middle of episodes, made anew, gone on with: the same bits."""
    name = RECIPES.get(task, "adafocus_v2_ppo")
    system = learned(name, changes)
    if system.task != task:  # an environment that no recipe names
        learner = Learner().changed(changes)
        system = LearnedSystem(task, "", "", system.classifier, task=task, learner=learner)
    keywords = system.environment(table_of(source_of(root, name)), 0.2)

    def make() -> SystemModel:
        return make_system(system, files_of(root, name), keywords, T, 5)

    uninterrupted, stopped = make(), make()
    train_system(uninterrupted)
    made = make()
    with pytest.raises(_Stopped):
        train_system(stopped, root / "checkpoint", 0, callbacks=[_Stop()])
    player = stopped.model.env.player
    assert player.running.all()
    if player.task.timeline.may_stop and player.task.timeline.n_decisions > 2:
        assert len({*player.t.tolist()}) > 1, "episodes are at different places"
    torch.manual_seed(99)  # what was drawn since decides nothing
    train_system(made, root / "checkpoint", 0)
    expected = uninterrupted.model.policy.state_dict()
    weights = made.model.policy.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in expected.items())
    assert made.model.num_timesteps == uninterrupted.model.num_timesteps
    players = [each.model.env.player for each in (made, uninterrupted)]
    assert players[0].position() == players[1].position()
    other = make_system(system, files_of(root, name), keywords, T, 6)
    with pytest.raises(CheckpointError, match="checkpoint is of another training: train with the"):
        train_system(other, root / "checkpoint", 0)


def test_an_off_policy_training_that_was_interrupted(root: Path) -> None:
    """It keeps no checkpoint, begins again, and ends with the same bits; its log has a row."""
    name = "adafocus_v2_sac"
    system = learned(name, TINY_OFF_POLICY)
    keywords = system.environment(table_of(source_of(root, name)), 1.0)

    def make() -> SystemModel:
        return make_system(system, files_of(root, name), keywords, T, 5)

    uninterrupted = make()
    train_system(uninterrupted, root / "checkpoint", 0, root / "logs")
    with pytest.raises(_Stopped):
        train_system(make(), root / "checkpoint", 0, callbacks=[_Stop()])
    assert not (root / "checkpoint").exists()
    made = make()
    train_system(made, root / "checkpoint", 0)
    expected, weights = (each.model.policy.state_dict() for each in (uninterrupted, made))
    assert all(torch.equal(value, weights[key]) for key, value in expected.items())
    assert made.model.num_timesteps == made.total == 60
    assert made.model.replay_buffer.size() == 20, "of three environments"
    log = pd.read_csv(root / "logs" / "progress.csv")
    assert log["time/total_timesteps"].tolist() == [60]
    assert log["rollout/gmacs"].notna().all()


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (torch.optim.LBFGS, "LBFGS does not .*closure.*: take another, such as torch.optim.Adam"),
        (None, "Odd keeps note = 'x': take another, such as torch.optim.Adam"),
    ],
)
def test_optimizers_that_no_checkpoint_holds(
    root: Path, optimizer: type[torch.optim.Optimizer] | None, message: str
) -> None:
    """Refused before anything is trained."""

    class Odd(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for parameter in group["params"]:
                    self.state[parameter]["note"] = "x"

    policy = {"optimizer_class": optimizer or Odd}
    system = learned("frameexit", {**TINY, "policy_kwargs": policy})
    made = make_system(system, files_of(root, "frameexit"), {}, T, 0)
    with pytest.raises(CheckpointError, match=message):
        train_system(made, root / "checkpoint")
    assert made.model.num_timesteps == 0
