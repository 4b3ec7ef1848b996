"""A task of a user's own: found by its class, played in every face, stored by name."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import own_tasks
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3
from support import Literal, T

from focusgym.envs import EnvConfig, ExitConfig, FocusVecEnv, make_sb3, register_task
from focusgym.envs.tasks.registry import config_of, task_of
from focusgym.recognizer.registry import NotImported

PLACE = "own_tasks:SkimConfig"
ID = "own/Skim-v0"


@dataclass(frozen=True)
class PatientConfig(ExitConfig):
    """Keywords of the same rules as its parent's, with another default."""

    option: int = 3


@dataclass(frozen=True)
class NamelessConfig(own_tasks.OneOptionConfig):
    """Keywords that name no rules."""


@pytest.fixture
def literal(tmp_path: Path) -> Literal:
    return Literal(tmp_path, seed=7)


def made(literal: Literal, face: str) -> list[tuple[Any, Any]]:
    """Play video 4 in a face; return the reward of each decision, and the episode's end."""
    how = {**literal.files, "split": None, "backwards": True, "option": 5}
    reset: Any = {"options": {"video": 4}}
    if face == "sb3":
        env: Any = make_sb3(ID, 1, **how)
        env.set_options({"video": 4})
        env.reset()
        steps = [env.step(np.array([a])) for a in (1, 0, 1, 1)]
        return [(rewards[0], done[0]) for _, rewards, done, _ in steps]
    if face == "vector":
        env = gymnasium.make_vec(ID, num_envs=1, **how)
        env.reset(**reset)
        return [(r[0], over[0]) for _, r, over, _, _ in (env.step([a]) for a in (1, 0, 1, 1))]
    env = gymnasium.make({"env": ID, "module": f"own_tasks:{ID}"}[face], **how)
    env.reset(**reset)
    return [(r, over) for _, r, over, _, _ in map(env.step, (1, 0, 1, 1))]


@pytest.mark.parametrize("face", ["env", "module", "vector", "sb3"])
def test_every_face_plays_it(literal: Literal, face: str) -> None:
    """Rewards are what the classifier, on the segments that were read, gains."""
    played = made(literal, face)
    label = int(literal.cache.labels[4])
    glance = literal.cache.glance_vectors(np.array([4]))[0, [3, 1, 0]]
    local = literal.cache.local_vectors(4, np.array([3, 1, 0]), np.full(3, 5))
    p = literal.classifier(glance[None], local[None])[0].softmax(-1)[:, label].tolist()
    expected = [p[0], 0.0, p[1] - p[0], p[2] - p[1]]
    np.testing.assert_allclose([reward for reward, _ in played], expected, atol=1e-5)
    assert [bool(over) for _, over in played] == [False, False, False, True]


def test_as_those_of_this_project(literal: Literal) -> None:
    """It passes the checkers, its spec goes through JSON, and its place is an id too."""
    files = {name: str(path) for name, path in literal.files.items()}
    env = gymnasium.make(ID, seed=3, **files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Box bounds of f_C's state are infinite
        check_env(env.unwrapped, skip_render_check=True)
        check_sb3(env)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.player.config == env.unwrapped.player.config
    assert make_sb3(PLACE, **literal.files).player.task.timeline.n_decisions == T
    assert isinstance(config_of(f"own_tasks:{ID}", literal.files), own_tasks.SkimConfig)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stride': expected cache, .*"):
        gymnasium.make(ID, stride=2, **literal.files)


def test_a_variant_of_an_id_has_its_keywords(literal: Literal) -> None:
    """As `gymnasium.register` takes them; a subclass without rules of its own has its parent's."""
    spec = gymnasium.spec(ID)
    gymnasium.register(
        "own/Backwards-v0", spec.entry_point, kwargs={**spec.kwargs, "backwards": True}
    )
    try:
        assert task_of("own/Backwards-v0") == (PLACE, {"backwards": True})
        assert config_of("own/Backwards-v0", literal.files).backwards
        assert not config_of("own/Backwards-v0", {**literal.files, "backwards": False}).backwards
    finally:
        del gymnasium.registry["own/Backwards-v0"]
    env = FocusVecEnv(PatientConfig(**literal.files), 2)
    assert type(env.player.task).__name__ == "ExitTask"
    assert env.player.task.config.option == 3


def test_what_is_refused(literal: Literal) -> None:
    class Local(EnvConfig):
        pass

    with pytest.raises(ValueError, match="Local cannot be found by its name: define the class at"):
        register_task("own/Local-v0", Local)
    with pytest.raises(TypeError, match="task must be a class derived from EnvConfig; got <class"):
        register_task("own/Task-v0", own_tasks.SkimTask)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="task must be the class of its keywords, derived from "):
        make_sb3("own_tasks:SkimTask", **literal.files)
    with pytest.raises(ValueError, match="'module:attribute' that Python finds; got 'own_tasks:No"):
        make_sb3("own_tasks:No", **literal.files)
    with pytest.raises(ValueError, match="env_id must be one of .*own/Skim-v0; got 'CartPole-v1'"):
        make_sb3("CartPole-v1", **literal.files)
    with pytest.raises(ValueError, match="NamelessConfig.task must be 'module:attribute' of a cla"):
        FocusVecEnv(NamelessConfig(**literal.files), 1)


@pytest.mark.parametrize("id_", ["not_there:Keywords", "not_there:own/Jump-v0"])
def test_a_file_imports_nothing(literal: Literal, id_: str) -> None:
    with pytest.raises(NotImported, match="which a file may not import: import not_there first"):
        config_of(id_, literal.files, trusted=False)
    assert config_of(PLACE, literal.files, trusted=False)
    with pytest.raises(ValueError, match="of Python's own module"):
        config_of("os:abort", literal.files, trusted=False)


@dataclass(frozen=True, kw_only=True)
class OpenConfig(EnvConfig):
    """Keywords among which is, by mistake, the module of the rules."""

    task: str = "focusgym.envs.tasks.exits:ExitTask"  # type: ignore[misc]


def test_no_keyword_names_the_rules(literal: Literal) -> None:
    """A file could name a module by it, which would then be imported."""
    keywords = {**literal.files, "task": "wsgiref.simple_server:There"}
    with pytest.raises(ValueError, match=r"its `task` is a keyword.*annotate it as Cl"):
        config_of(f"{__name__}:OpenConfig", keywords, trusted=False)
    assert "wsgiref.simple_server" not in sys.modules


def test_ids_of_others(literal: Literal) -> None:
    gymnasium.register(
        "own/Plain-v0", "focusgym.envs.faces.env:FocusEnv", kwargs={"labels": "mean"}
    )
    try:
        assert task_of("own/Plain-v0") == ("AdaFocus", {"labels": "mean"})
        assert config_of("own/Plain-v0", literal.files).labels == "mean"
    finally:
        del gymnasium.registry["own/Plain-v0"]
    with pytest.raises(ValueError, match="'nowhere:own/Skim-v0' cannot be imported"):
        make_sb3("nowhere:own/Skim-v0", **literal.files)
