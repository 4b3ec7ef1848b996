"""Checkpoints that a training does not go on from: what is said, and nothing changes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stage_trainings import (
    FEATURES,
    N_TRAIN,
    N_VAL,
    PIXELS,
    Interrupted,
    assert_equal,
    feature_samples,
    make_on_features,
    make_pixels,
    train,
    weights_of,
)
from trainings import damage, put

from focusgym.recognizer import CheckpointError, FitConfig, fit, read_checkpoint

Make = Callable[[], Any]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Written in the midst of the second epoch of f_C on features, with momentum."""
    path = tmp_path / "c"
    with pytest.raises(Interrupted):
        train(make_on_features(), FEATURES, checkpoint=path, stop_after=10, identity="cache 1")
    content = read_checkpoint(path)[0]["progress"]
    assert (content["epoch"], content["step"]) == (1, 2)
    return path


def why_refused(path: Path, make: Make = make_on_features, **options: Any) -> str:
    """Return why; the stage stays as it was, and the file too."""
    stage, content = make(), path.read_bytes() if path.is_file() else None
    before = weights_of(stage)
    options = {"config": FEATURES, "identity": "cache 1", **options}
    with pytest.raises(CheckpointError) as caught:
        train(stage, checkpoint=path, stop_after=0, **options)
    assert_equal(weights_of(stage), before)
    assert all(p.requires_grad for p in stage.classifier.parameters())
    assert (path.read_bytes() if path.is_file() else None) == content
    return str(caught.value)


OTHERS: list[tuple[dict[str, Any], str]] = [
    (
        {"config": replace(FEATURES, lr={"classifier": 0.2})},
        "config.lr.classifier: expected 0.2, got 0.1",
    ),
    ({"config": replace(FEATURES, epochs=5)}, "config.epochs: expected 5, got 4"),
    (
        {"config": replace(FEATURES, precision="bfloat16")},
        "config.precision: expected 'bfloat16', got 'float32'",
    ),
    ({"seed": [3, 2]}, "seed[1]: expected 2, got 1"),
    ({"seed": [3]}, "seed: expected [3], got [3, 1]"),
    ({"identity": "cache 2"}, "of: expected 'cache 2', got 'cache 1'"),
    (
        {"config": FitConfig(9, 5, {"classifier": 0.1}, nesterov=False), "seed": [0, 0]},
        "config.nesterov: expected False, got True; config.epochs: expected 9, got 4; "
        "config.batch_size: expected 5, got 3; and 2 more",
    ),
]


@pytest.mark.parametrize(("change", "difference"), OTHERS)
def test_another_training(change: dict[str, Any], difference: str, checkpoint: Path) -> None:
    assert why_refused(checkpoint, **change) == (
        f"{checkpoint} is of another training ({difference}): train with the settings that it was "
        "begun with, or give another path"
    )


@pytest.mark.parametrize(
    ("n_train", "n_val", "difference"),
    [
        (N_TRAIN + 1, N_VAL, "samples[0]: expected 11, got 10"),
        (N_TRAIN, N_VAL - 1, "samples[1]: expected 5, got 6"),
    ],
)
def test_other_samples(n_train: int, n_val: int, difference: str, checkpoint: Path) -> None:
    samples = feature_samples(n_train), feature_samples(n_val)
    with pytest.raises(CheckpointError, match="is of another training") as caught:
        fit(
            make_on_features(),
            *samples,
            FEATURES,
            name="test",
            seed=[3, 1],
            checkpoint=checkpoint,
            identity="cache 1",
        )
    assert f"({difference})" in str(caught.value)


def test_another_stage(checkpoint: Path) -> None:
    """The same settings, but a network of another size, or another network."""
    expected = (
        f"{checkpoint} is damaged (its weights are those of other networks): remove it and train "
        "from the beginning"
    )
    for options in ({"hidden": 7}, {"aggregation": "average"}, {"reuse_glance": False}):
        assert why_refused(checkpoint, lambda o=options: make_on_features(**o)) == expected


def unreadable(checkpoint: Path, how: str) -> None:
    data = checkpoint.read_bytes()
    if how == "truncated":
        checkpoint.write_bytes(data[: len(data) // 2])
    elif how == "header":
        checkpoint.write_bytes(data[:100])
    elif how == "empty":
        checkpoint.write_bytes(b"")
    elif how == "garbage":
        checkpoint.write_bytes(bytes(range(256)) * 40)
    elif how == "pickle":
        checkpoint.write_bytes(pickle.dumps({"epoch": 1}))
    else:
        torch.save({"epoch": torch.tensor(1)}, checkpoint)


@pytest.mark.parametrize("how", ["truncated", "header", "empty", "garbage", "pickle", "torch"])
def test_what_is_no_checkpoint(how: str, checkpoint: Path) -> None:
    unreadable(checkpoint, how)
    message = why_refused(checkpoint)
    assert message.startswith(f"{checkpoint} is not a readable checkpoint (")
    assert message.endswith("): give another path, or remove it and train from the beginning")


class Loaded:
    """Unpickling it is told."""

    happened = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Loaded, "happened", True)


def test_nothing_is_unpickled(checkpoint: Path) -> None:
    checkpoint.write_bytes(pickle.dumps(Loaded()))
    pickle.loads(checkpoint.read_bytes())
    assert Loaded.happened, "it works"
    Loaded.happened = False
    why_refused(checkpoint)
    torch.save({"weights": Loaded()}, checkpoint)
    why_refused(checkpoint)
    assert not Loaded.happened


def drop(name: str) -> Callable[[Any, Any], object]:
    return lambda content, tensors: tensors.pop(name)


def reshape(name: str, *shape: int) -> Callable[[Any, Any], object]:
    return lambda content, tensors: tensors.update({name: torch.zeros(shape)})


OF_OTHERS = "its weights are those of other networks"
HEAD = "classifier.head.bias"
DAMAGE: dict[str, tuple[Callable[[Any, Any], object], str]] = {
    "weight missing": (drop(f"weights.{HEAD}"), OF_OTHERS),
    "weight too many": (reshape("weights.more", 1), OF_OTHERS),
    "weight of another shape": (reshape(f"weights.{HEAD}", 5), OF_OTHERS),
    "best weight missing": (drop(f"best.{HEAD}"), OF_OTHERS),
    "best weight of another shape": (reshape(f"best.{HEAD}", 5), OF_OTHERS),
    "no best weights": (
        lambda content, tensors: [tensors.pop(name) for name in [*tensors] if name[0] == "b"],
        OF_OTHERS,
    ),
    "momentum of another shape": (
        reshape("steps.0.momentum_buffer", 2, 2),
        "its optimizer's 0.momentum_buffer is of another network",
    ),
    "momentum of a parameter that is not there": (reshape("steps.9.momentum_buffer", 2), ""),
    "state of no parameter": (reshape("steps.x.momentum_buffer", 2), ""),
    "no progress": (put("progress", "del"), "'progress'"),
    "no epoch": (put("progress/epoch", "del"), "'epoch'"),
    "epoch as text": (put("progress/epoch", "two"), ""),
    "no score": (put("progress/best_score", "del"), "'best_score'"),
    "half a score": (put("progress/best_score", [0.5]), ""),
    "epochs too many": (
        put("progress/epoch", 5),
        "it says epoch 5 of 4, step 2 of 4, best epoch 1",
    ),
    "a negative epoch": (
        put("progress/epoch", -1),
        "it says epoch -1 of 4, step 2 of 4, best epoch 1",
    ),
    "steps too many": (
        put("progress/step", 4),
        "it says epoch 1 of 4, step 4 of 4, best epoch 1",
    ),
    "a negative step": (
        put("progress/step", -1),
        "it says epoch 1 of 4, step -1 of 4, best epoch 1",
    ),
    "best of an epoch to come": (
        put("progress/best_epoch", 2),
        "it says epoch 1 of 4, step 2 of 4, best epoch 2",
    ),
    "no steps": (put("progress/steps", "del"), "'steps'"),
    "no groups": (put("progress/steps/groups", "del"), "'groups'"),
    "groups of other networks": (put("progress/steps/groups", []), ""),
    "no schedule": (put("progress/steps/schedule", "del"), "'schedule'"),
    "progress of another kind": (put("progress", [1, 2]), ""),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_content(what: str, checkpoint: Path) -> None:
    change, why = DAMAGE[what]
    damage(checkpoint, change)
    message = why_refused(checkpoint)
    assert message.startswith(f"{checkpoint} is damaged ({why}")
    assert message.endswith("): remove it and train from the beginning")


def test_a_scaler_that_is_not_there(tmp_path: Path) -> None:
    config, path = replace(FEATURES, precision="float16"), tmp_path / "c"
    with pytest.raises(Interrupted):
        train(make_on_features(), config, checkpoint=path, stop_after=10, identity="cache 1")
    damage(path, put("progress/steps/scaler", {}))
    assert why_refused(path, config=config).startswith(f"{path} is damaged (")


def test_a_folder_that_is_not_there_is_told_before_the_training(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "c"
    assert why_refused(path) == (
        f"{path}: there is no folder {path.parent}: make it, or give another path"
    )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert why_refused(tmp_path) == (
        f"{tmp_path} is a folder, expected a file: give a path inside it"
    )


def test_a_checkpoint_that_cannot_be_written(tmp_path: Path) -> None:
    """The training ends, and says so; what was written before stays."""
    path, stage = tmp_path / "c", make_pixels()
    with pytest.raises(Interrupted):
        train(stage, PIXELS, checkpoint=path, stop_after=5)
    before = path.read_bytes()
    path.with_name("c.partial").mkdir()
    with pytest.raises(CheckpointError, match=r"could not be written .* make room"):
        train(make_pixels(), PIXELS, checkpoint=path)
    assert path.read_bytes() == before
