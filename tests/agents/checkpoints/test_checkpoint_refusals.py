"""Checkpoints that are damaged or another training's: refused with the reason, nothing put back."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from support import C, G, L, T, write_cache
from trainings import N_ENVS, Files, damage, make_env, make_model, put, why_refused

from focusgym.agents import (
    FocusPPO,
    PlusTraining,
    PPOConfig,
    load_checkpoint,
    save_checkpoint,
    train_policy,
)
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import CheckpointError, ClassifierConfig, GruClassifier, write_bundle

ROLLOUT = T * N_ENVS
DAMAGED = "remove it and train from the beginning"
UNREADABLE = f"give another path, or {DAMAGED}"


@pytest.fixture
def path(files: Files, tmp_path: Path) -> Path:
    """A checkpoint after three rollouts."""
    model = make_model(make_env(files))
    model.learn(3 * ROLLOUT)
    model.best_weights = {k: v.clone() for k, v in model.policy.state_dict().items()}
    save_checkpoint(tmp_path / "checkpoint", model)
    return tmp_path / "checkpoint"


def test_files_that_are_no_checkpoints(files: Files, path: Path, tmp_path: Path) -> None:
    intact = path.read_bytes()
    torch_zip, archive = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(3)}, torch_zip)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data", "{}")
    contents = {
        "truncated by a byte": intact[:-1],
        "truncated in the tensors": intact[: len(intact) // 2],
        "truncated in the header": intact[:1000],
        "empty": b"",
        "longer": intact + b"\0",
        "torch's zip": torch_zip.getvalue(),
        "SB3's zip": archive.getvalue(),
        "random": random.Random(0).randbytes(5000),
        "a header of 2**62 bytes": (2**62).to_bytes(8, "little") + b"{}",
        "of weights": save({"a": torch.zeros(3)}),
        "metadata is no JSON": save({}, {"checkpoint": "{"}),
        "metadata is a list": save({}, {"checkpoint": "[1]"}),
        "metadata is deep": save({}, {"checkpoint": "[" * 10**6}),
        "a huge number": save({}, {"checkpoint": '{"format": ' + "1" * 10**5 + "}"}),
    }
    model = make_model(make_env(files))
    bad = tmp_path / "bad"
    for what, content in contents.items():
        bad.write_bytes(content)
        message = why_refused(bad, model)
        assert message.startswith(f"{bad} is not a readable checkpoint ("), what
        assert message.endswith(f"): {UNREADABLE}"), what
        assert len(message) < 400, what
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    folder = tmp_path / "folder"
    assert why_refused(folder, model) == (
        f"{folder} is a folder, expected a file: give a path inside it"
    )
    for name in ("loop", "pipe", "nowhere"):
        assert why_refused(tmp_path / name, model) == (
            f"{tmp_path / name} is not a readable checkpoint (there is no such file): {UNREADABLE}"
        )
    bad.write_bytes(save({"a": torch.zeros(3)}, {"x": "y"}))
    assert f"({'it says nothing of a training'}): " in why_refused(bad, model)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_a_pickle_is_not_executed(files: Files, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists(), "the payload works"
    trace.unlink()
    model = make_model(make_env(files))
    bad = tmp_path / "bad"
    bad.write_bytes(pickle.dumps(Payload(trace)))
    assert "is not a readable checkpoint" in why_refused(bad, model)
    torch.save(Payload(trace), bad)
    assert "is not a readable checkpoint" in why_refused(bad, model)
    assert not trace.exists()


def test_nothing_but_safetensors_and_json(path: Path) -> None:
    with safe_open(path, framework="np") as file:
        metadata, names = file.metadata(), set(file.keys())
    assert list(metadata) == ["checkpoint"]
    assert json.loads(metadata["checkpoint"])["format"] == "focusgym checkpoint 1"
    prefixes = {name.split(".")[0] for name in names}
    assert prefixes == {"policy", "best", "optimizer", "torch_random"}
    for forbidden in (b"pickle", b"builtins", b"__reduce__"):
        assert forbidden not in path.read_bytes()


# What differs, keywords of the model, keywords of the environments, what is said of it.
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "gamma": ({"gamma": 0.9}, {}, "gamma: expected 0.9, got 0.7"),
    "rate": (
        {"learning_rate": 0.5},
        {},
        "learning_rate[0]: expected 0.5, got 0.01; learning_rate[1]: expected 0.5, got 0.0075; "
        "learning_rate[2]: expected 0.5, got 0.005; and 1 more",
    ),
    "clip": ({"clip_range": 0.1}, {}, "clip_range[0]: expected 0.1, got 0.2; "),
    "epochs": ({"n_epochs": 3}, {}, "n_epochs: expected 3, got 2"),
    "minibatch": ({"batch_size": None}, {}, "batch_size: expected None, got 8"),
    "entropy": ({"ent_coef": 0.0}, {}, "ent_coef: expected 0.0, got 0.01"),
    "norm": ({"max_grad_norm": float("inf")}, {}, "max_grad_norm: expected inf, got 0.5"),
    "joins": ({"keep_from": 0.1}, {}, "keep_from: expected 0.1, got 0.5"),
    "seed": ({"seed": 4}, {}, "seed: expected 4, got 3; environments[0].seed: "),
    "size": (
        {"policy_kwargs": {"conv_channels": 2, "hidden": 8}},
        {},
        "(networks.learners.location.extractor.trunk.linear.weight[0]: expected 8, got 6; ",
    ),
    "adam": (
        {
            "policy_kwargs": {
                "conv_channels": 2,
                "hidden": 6,
                "optimizer_kwargs": {"betas": (0.5, 0.9)},
            }
        },
        {},
        "optimizer.betas[0]: expected 0.5, got 0.9; optimizer.betas[1]: expected 0.9, got 0.999",
    ),
    "episodes": ({}, {"seed": 1}, "environments[0].seed: expected 1, got 0"),
    "reward": (
        {},
        {"reward": {"name": "confidence"}},
        "environments[0].reward: expected {'name': 'confidence'}, got 'increment_over_random'",
    ),
    "split": ({}, {"split": "val"}, "environments[0].split: expected 'val', got 'train'"),
    "videos": (
        {},
        {"videos": np.arange(3)},
        "environments[0].videos: expected [0, 1, 2], got None",
    ),
    "options": (
        {},
        {"options_allowed": [0, 5]},
        "environments[0].options_allowed: expected [0, 5], got None",
    ),
    "number": (
        {},
        {"n_envs": 2},
        "n_envs: expected 2, got 4; environments[0].n_envs: expected 2, got 4; "
        "environments[0].first_episodes: expected [0, 1], got [0, 1, 2, 3]; and 1 more",
    ),
    "singles": ({}, {"kind": "singles"}, "environments: expected [{"),
    "plus": ({}, {"plus": True}, "environments[0].action_set: expected 'pairs', got None"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_settings_are_named(what: str, files: Files, path: Path) -> None:
    of_model, of_env, expected = OTHERS[what]
    message = why_refused(path, make_model(make_env(files, **of_env), **of_model))
    if what == "seed":  # that of the model is that of the episodes
        expected = "seed: expected 4, got 3"
    assert message.startswith(f"{path} is of another training ("), message
    assert expected in message
    assert message.endswith(
        "): train with the settings that it was begun with, or give another path"
    )
    assert len(message) < 700


def test_another_stride_another_price_another_target(files: Files, tmp_path: Path) -> None:
    model = make_model(make_env(files, "singles", plus=True), target_gmacs=4.0)
    model.learn(2 * ROLLOUT)
    path = tmp_path / "c"
    save_checkpoint(path, model)
    other = make_model(make_env(files, "singles", plus=True, episode_stride=7), target_gmacs=4.0)
    assert "environments[0].episode_stride: expected 7, got 4; " in why_refused(path, other)
    priced = make_env(files, "singles", plus=True, penalty={"per_px2": 1e-5})
    message = why_refused(path, make_model(priced, target_gmacs=4.0))
    assert "environments[0].penalty.per_px2: expected 1e-05, got 1e-06; " in message
    dearer = make_model(make_env(files, "singles", plus=True), target_gmacs=5.0)
    assert "(target_gmacs: expected 5.0, got 4.0): " in why_refused(path, dearer)


def test_another_cache_another_classifier(files: Files, path: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    classifier = GruClassifier(ClassifierConfig(G, L, C, hidden=7)).eval()
    own_cache = FeatureCache.open(files["cache"])
    other_cache = write_cache(tmp_path / "other", seed=1)
    for name, cache in (("here", own_cache), ("there", other_cache)):
        folder = tmp_path / f"classifier_{name}"
        write_bundle(folder, "classifier", classifier.config, classifier, cache.fingerprint)
    other = {**files, "classifier": str(tmp_path / "classifier_here")}
    message = why_refused(path, make_model(make_env(other)))
    assert "(environments[0].classifier: expected " in message
    other = {"cache": str(other_cache.root), "classifier": str(tmp_path / "classifier_there")}
    message = why_refused(path, make_model(make_env(other)))
    one, other_one = (f"{each.fingerprint[:12]}…" for each in (other_cache, own_cache))
    expected = f"cache_fingerprint: expected {one}, got {other_one}"
    assert expected in message
    moved = Path(files["cache"]).rename(tmp_path / "moved")
    load_checkpoint(path, make_model(make_env({**files, "cache": str(moved)})))


def test_another_identity_and_another_format(files: Files, path: Path) -> None:
    model = make_model(make_env(files))
    assert "(identity: expected 'x', got '')" in why_refused(path, model, "x")
    damage(path, lambda content, tensors: content.update(format="focusgym checkpoint 9"))
    expected = "(format: expected 'focusgym checkpoint 1', got 'focusgym checkpoint 9')"
    assert expected in why_refused(path, model)
    damage(path, put("format", "focusgym checkpoint 1"))
    for nothing in ([], 1, "del"):
        damage(path, put("settings", nothing))
        assert "(settings: expected {'n_steps': 4, " in why_refused(path, model)


def test_another_training_of_train_policy(files: Files, tmp_path: Path) -> None:
    """What the model does not know, such as the number of epochs, is in the identity."""
    sizes: dict[str, Any] = {"n_envs": 6, "minibatch": 3, "conv_channels": 2, "hidden": 6}
    path = tmp_path / "c"
    train_policy(*files.values(), PPOConfig(2, **sizes), seed=0, checkpoint=path)
    others = [(PPOConfig(3, **sizes), 0, "identity"), (PPOConfig(2, **sizes), 1, "seed")]
    others.append((PPOConfig(2, plus=PlusTraining(), **sizes), 0, "keep_from|env"))
    for config, seed, name in others:
        with pytest.raises(CheckpointError, match=rf"of another training \({name}.*: expected"):
            train_policy(*files.values(), config, seed=seed, checkpoint=path)


def test_a_model_without_environments(files: Files, path: Path, tmp_path: Path) -> None:
    make_model(make_env(files)).save(tmp_path / "model.zip")
    model = FocusPPO.load(tmp_path / "model.zip")
    for use in (load_checkpoint, save_checkpoint):
        with pytest.raises(CheckpointError) as caught:
            use(path, model)
        assert str(caught.value) == (
            "a checkpoint holds where the environments are, and the model has none: give it those "
            "that it is trained on (set_env)"
        )
    model.set_env(make_env(files))
    load_checkpoint(path, model)
