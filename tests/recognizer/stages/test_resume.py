"""A training that goes on from its checkpoint is the one that was never interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kills import report_of
from stage_trainings import (
    FEATURES,
    PIXELS,
    Interrupted,
    assert_equal,
    make_on_features,
    make_pixels,
    make_policy,
    n_batches,
    train,
    weights_of,
)

from focusgym.recognizer import FitConfig, read_checkpoint
from focusgym.recognizer.stages import progress

ADAMW: dict[str, Any] = {"optimizer": "adamw", "schedule": "one_cycle"}
KINDS: dict[str, tuple[Callable[[], Any], FitConfig]] = {
    "pixels": (lambda: make_pixels(skip_rate=0.3), PIXELS),
    "pixels_adamw": (make_pixels, FitConfig(3, 4, {"local": 0.01, "classifier": 0.02}, **ADAMW)),
    "policy": (lambda: make_pixels(policy=make_policy(0.5), sample=True), PIXELS),
    "decays": (
        make_on_features,
        FitConfig(4, 3, {"classifier": 0.1}, decay_epochs=(2, 3), warmup_epochs=1),
    ),
    "local_alone": (make_pixels, FitConfig(3, 4, {"local": 0.1}, freeze_batch_norm=True)),
    "features": (make_on_features, FEATURES),
    "average": (lambda: make_on_features(aggregation="average"), FEATURES),
}


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_before_any_batch(kind: str, tmp_path: Path) -> None:
    """In the midst of an epoch and of a validation: weights, the best, optimizer, what is kept."""
    make, config = KINDS[kind]
    uninterrupted = make()
    kept = train(uninterrupted, config, checkpoint=tmp_path / "whole")
    expected = (tmp_path / "whole").read_bytes()
    # Many moments of the quickest kind; before the first batch, in an epoch, and in a validation.
    n = n_batches(config)
    for stop_after in range(0, n, 3) if kind == "features" else (0, n // 2, n - 1):
        path = tmp_path / f"{stop_after}"
        with pytest.raises(Interrupted):
            train(make(), config, checkpoint=path, stop_after=stop_after)
        resumed = make()
        assert train(resumed, config, checkpoint=path) == kept
        assert path.read_bytes() == expected
        assert_equal(weights_of(resumed), weights_of(uninterrupted))


def test_interrupted_often_and_each_time_elsewhere(tmp_path: Path) -> None:
    make, config = KINDS["pixels"]
    uninterrupted, stopped = make(), 0
    kept = train(uninterrupted, config, checkpoint=tmp_path / "whole")
    while True:
        stage = make_pixels(7, skip_rate=0.3) if stopped else make()  # weights are the file's
        stage.glance_encoder.load_state_dict(uninterrupted.glance_encoder.state_dict())
        try:
            again = train(stage, config, checkpoint=tmp_path / "c", stop_after=3 + stopped % 2)
            break
        except Interrupted:
            stopped += 1
    assert stopped > 4
    assert again == kept
    assert (tmp_path / "c").read_bytes() == (tmp_path / "whole").read_bytes()
    assert_equal(weights_of(stage), weights_of(uninterrupted))


@pytest.mark.parametrize("stop_after", [4, 9])
def test_with_checkpoints_of_whole_epochs_only(stop_after: int, tmp_path: Path) -> None:
    """What was done since is done again."""
    make, config = KINDS["pixels"]
    uninterrupted, resumed, path = make(), make(), tmp_path / "c"
    kept = train(uninterrupted, config)
    with pytest.raises(Interrupted):
        train(make(), config, checkpoint=path, checkpoint_s=1e9, stop_after=stop_after)
    epochs_done = (stop_after - 2) // 5
    if epochs_done:
        content = read_checkpoint(path)[0]["progress"]
        assert (content["epoch"], content["step"]) == (epochs_done, 0)
    else:
        assert not path.exists()
    assert train(resumed, config, checkpoint=path, checkpoint_s=1e9) == kept
    assert_equal(weights_of(resumed), weights_of(uninterrupted))


def test_how_often(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every 30 s, and after every epoch; a look at the clock takes 10 s."""
    written: list[tuple[int, int]] = []
    monkeypatch.setattr(
        progress,
        "write_checkpoint",
        lambda path, content, tensors: written.append(
            (content["progress"]["epoch"], content["progress"]["step"])
        ),
    )
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    config = FitConfig(2, 2, {"classifier": 0.1})  # 5 steps; after the fifth the epoch is written
    train(make_on_features(), config, checkpoint=tmp_path / "c", checkpoint_s=30)
    # Looks after steps 1, 2, 3 (of which one more to note the time), 4, and at the epoch's end.
    assert written == [(0, 3), (1, 0), (1, 3), (2, 0)]


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    make, config = KINDS["pixels"]
    uninterrupted, again = make(), make()
    kept = train(uninterrupted, config, checkpoint=tmp_path / "c")
    before = (tmp_path / "c").read_bytes()
    assert train(again, config, checkpoint=tmp_path / "c", stop_after=0) == kept
    assert_equal(weights_of(again), weights_of(uninterrupted))
    assert (tmp_path / "c").read_bytes() == before


def test_a_checkpoint_changes_nothing(tmp_path: Path) -> None:
    make, config = KINDS["pixels"]
    without, with_one = make(), make()
    kept = train(without, config)
    assert train(with_one, config, checkpoint=tmp_path / "c") == kept
    assert_equal(weights_of(with_one), weights_of(without))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_networks_in_another_order_are_the_same_training(tmp_path: Path) -> None:
    uninterrupted, resumed = make_pixels(), make_pixels()
    kept = train(uninterrupted, PIXELS)
    with pytest.raises(Interrupted):
        train(make_pixels(), PIXELS, checkpoint=tmp_path / "c", stop_after=9)
    turned = FitConfig(3, 4, dict(reversed(PIXELS.lr.items())))
    assert [*turned.lr] != [*PIXELS.lr]
    assert train(resumed, turned, checkpoint=tmp_path / "c") == kept
    assert_equal(weights_of(resumed), weights_of(uninterrupted))


def test_killed_at_checkpoints(tmp_path: Path) -> None:
    """Real processes, SIGKILL, also in the midst of a write: the same bytes."""
    report = report_of(Path(__file__).with_name("killed_stages.py"), tmp_path)
    assert report.keys() == {"pixels", "features"}
    for progress_at_kills in report.values():
        assert progress_at_kills == sorted(progress_at_kills), "what was done stays done"
        assert any(step for _, step in progress_at_kills), "some in the midst of an epoch"
        assert progress_at_kills[-1][0] > 0, "some in a later epoch"
    assert not list(tmp_path.glob("*.partial"))
