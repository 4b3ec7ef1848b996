"""Checkpoints whose content was changed: refused with the reason, nothing put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import T
from trainings import N_ENVS, Files, damage, make_env, make_model, put, why_refused

from focusgym.agents import load_checkpoint, save_checkpoint

ROLLOUT = T * N_ENVS
DAMAGED = "remove it and train from the beginning"


@pytest.fixture
def path(files: Files, tmp_path: Path) -> Path:
    """A checkpoint after three rollouts."""
    model = make_model(make_env(files))
    model.learn(3 * ROLLOUT)
    model.best_weights = {k: v.clone() for k, v in model.policy.state_dict().items()}
    save_checkpoint(tmp_path / "checkpoint", model)
    return tmp_path / "checkpoint"


GENERATOR = "no state of a generator of random numbers: "
BAD_CONTENT: list[tuple[str, Any, str]] = [
    ("counters", [], "counters or positions are missing"),
    ("counters", "del", "counters or positions are missing"),
    ("positions", {}, "counters or positions are missing"),
    ("positions", [], "positions of 0 environments, expected 1"),
    ("positions/0", 1, "seed cannot be None"),
    ("positions/0/seed", -1, "seed cannot be -1"),
    ("positions/0/seed", "1", "seed cannot be '1'"),
    ("positions/0/episodes", [0, 1, 2], "episodes cannot be [0, 1, 2]"),
    ("positions/0/episodes/1", -4, "episodes cannot be ["),
    ("positions/0/episodes/1", 2**63, "episodes cannot be ["),
    ("positions/0/episodes/1", 1.0, "episodes cannot be ["),
    ("positions/0/n_chosen", "del", "n_chosen cannot be None"),
    ("counters/num_timesteps", "12", "counters.num_timesteps cannot be '12'"),
    ("counters/num_timesteps", True, "counters.num_timesteps cannot be True"),
    ("counters/n_rollouts", 1.5, "counters.n_rollouts cannot be 1.5"),
    ("counters/_n_updates", -1, "counters._n_updates cannot be -1"),
    ("counters/_episode_num", "del", "counters._episode_num cannot be None"),
    ("counters/_current_progress_remaining", [], "counters._current_progress_remaining cannot be"),
    ("counters/draw_seed", None, "counters.draw_seed cannot be None"),
    ("counters/mean_returns", ["a"], "counters.mean_returns cannot be ['a']"),
    ("counters/mean_returns", float("nan"), "counters.mean_returns cannot be nan"),
    ("counters/best_score", {}, "counters.best_score cannot be {}"),
    ("penalties", [], "penalties cannot be []"),
    ("penalties/0", -1.0, "penalties cannot be [-1.0]"),
    ("penalties/0", float("inf"), "penalties cannot be [inf]"),
    ("episode_infos", {"r": 1}, "episode_infos cannot be {'r': 1}"),
    ("episode_infos", [{"r": 1.0}], "episode_infos cannot be [{'r': 1.0}]"),
    ("episode_infos", [{"r": "a", "l": 1}], "episode_infos cannot be [{'r': 'a', 'l': 1}]"),
    ("episode_infos/0/r", {"dtype": "object", "value": 1}, "episode_infos cannot be [{"),
    ("episode_infos/0/r", {"dtype": "V999999999999", "value": 1}, "episode_infos cannot be [{"),
    ("episode_infos/0/r", {"dtype": "float32", "value": "x"}, "episode_infos cannot be [{"),
    ("episode_infos/0/r", {"dtype": "int32", "value": 2**40}, "episode_infos cannot be [{"),
    ("successes", ["yes"], "successes cannot be ['yes']"),
    ("signs", [], "signs cannot be []"),
    ("signs", {"one option": "x"}, "signs cannot be {'one option': 'x'}"),
    ("python_random", [3, [1, 2], None], GENERATOR),
    ("python_random", "del", GENERATOR),
    ("python_random/0", 9, GENERATOR),
    ("python_random/1/624", 9999, GENERATOR),
    ("python_random/1/0", "x", GENERATOR),
    ("numpy_random", None, GENERATOR),
    ("numpy_random/0", "PCG64", GENERATOR),
    ("numpy_random/1", [1, 2, 3], GENERATOR),
    ("numpy_random/1/0", 2**32, GENERATOR),
    ("numpy_random/2", 10**6, GENERATOR),
    ("numpy_random/2", -1, GENERATOR),
]


def test_content_that_does_not_fit(files: Files, path: Path) -> None:
    model, intact = make_model(make_env(files)), path.read_bytes()
    for where, value, expected in BAD_CONTENT:
        path.write_bytes(intact)
        damage(path, put(where, value))
        message = why_refused(path, model)
        assert message.startswith(f"{path} is damaged ({expected}"), (where, value, message)
        assert message.endswith(f"): {DAMAGED}")
        assert len(message) < 400
    path.write_bytes(intact)
    damage(path, put("extra", "not looked at"))
    load_checkpoint(path, model)


def test_names_in_the_file_are_not_attributes(files: Files, path: Path) -> None:
    damage(path, put("counters/policy", "x"))
    model = make_model(make_env(files))
    load_checkpoint(path, model)
    model.learn(ROLLOUT, reset_num_timesteps=False)


WEIGHT = "policy.learners.location.actor.bias"
BAD_TENSORS: dict[str, tuple[str, torch.Tensor | None, str]] = {
    "shape": (WEIGHT, torch.zeros(8), f"{WEIGHT}: expected (torch.float32, [9]), got (torch.float"),
    "dtype": (WEIGHT, torch.zeros(9, dtype=torch.float64), f"{WEIGHT}: expected (torch.float32, "),
    "gone": (WEIGHT, None, f"{WEIGHT} is missing"),
    "best": (f"best{WEIGHT[6:]}", None, f"best{WEIGHT[6:]} is missing"),
    "name": ("policy.x", torch.zeros(1), "a tensor 'policy.x' is not known"),
    "long": ("x" * 10**5, torch.zeros(1), f"a tensor '{'x' * 79} is not known"),
    "index": ("optimizer.99.step", torch.tensor(1.0), "a tensor 'optimizer.99.step' is not known"),
    "no index": ("optimizer.a.step", torch.tensor(1.0), "a tensor 'optimizer.a.step' is not kno"),
    "moment": ("optimizer.0.exp_avg", None, "optimizer.0.exp_avg is missing"),
    "step": ("optimizer.0.step", torch.zeros(2), "optimizer.0.step: expected (torch.float32, [])"),
    "random": ("torch_random", None, "torch_random is missing"),
    "state": ("torch_random", torch.zeros_like(torch.get_rng_state()), GENERATOR),
    "short": ("torch_random", torch.zeros(9, dtype=torch.uint8), "torch_random: expected (torch."),
}


def test_tensors_that_do_not_fit(files: Files, path: Path) -> None:
    model, intact = make_model(make_env(files)), path.read_bytes()
    for what, (name, value, expected) in BAD_TENSORS.items():

        def change(content: Any, tensors: Any, name: str = name, value: Any = value) -> None:
            tensors.pop(name, None)
            if value is not None:
                tensors[name] = value

        path.write_bytes(intact)
        damage(path, change)
        message = why_refused(path, model)
        assert message.startswith(f"{path} is damaged ({expected}"), (what, message)
        assert len(message) < 400
