"""Two processes train as one does: what torchrun calls, gloo, on CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import two_processes
from hypothesis import given, settings
from hypothesis import strategies as st
from kills import in_children
from safetensors.torch import load_file
from stage_trainings import (
    N_VAL,
    Interrupted,
    assert_equal,
    make_on_features,
    make_pixels,
    pixel_samples,
    train,
    weights_of,
)
from torch import Tensor
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from focusgym.recognizer import process_group, rank_and_world, read_checkpoint
from focusgym.recognizer.stages.fit import validate
from focusgym.recognizer.stages.processes import share_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave of all trainings; one of them was begun by one process."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.raises(Interrupted):
        train(make_on_features(), two_processes.FEATURES, checkpoint=folder / "one", stop_after=10)
    logs = DefaultLogsSpecs(log_dir=str(folder / "logs"), redirects=Std.ALL)
    config = LaunchConfig(
        **{"min_nodes": 1, "max_nodes": 1, "nproc_per_node": 2, "max_restarts": 0},
        **{"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": "one"},
        logs_specs=logs,
        start_method="fork",  # sooner than programs that import torch
    )
    ended = in_children(lambda: elastic_launch(config, two_processes.main)(folder))
    stderr = "".join(path.read_text() for path in folder.glob("logs/**/stderr.log"))
    assert ended.codes == [0], ended.err + stderr
    return folder


def report_of(folder: Path, rank: int) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / f"report.{rank}").read_text())
    return report


def assert_near(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "training", ["on_pixels", "on_policy", "with_gates", "on_features", "other_start"]
)
def test_two_processes_are_one(training: str, folder: Path, tmp_path: Path) -> None:
    """Frozen BatchNorms, dropout, batches of three and of one: weights to rounding."""
    stage, kept = getattr(two_processes, training)(tmp_path, 0)
    assert_near(load_file(folder / f"{training}.0"), weights_of(stage))
    report = report_of(folder, 0)[training]
    assert report["epoch"] == kept.epoch
    assert report["val_accuracy"] == kept.val_accuracy
    assert report["val_loss"] == pytest.approx(kept.val_loss, rel=1e-5)
    assert (kept.epoch == 0) == (training == "other_start")


@pytest.mark.parametrize("training", [t.__name__ for t in two_processes.TRAININGS])
def test_both_end_with_the_same_weights(training: str, folder: Path) -> None:
    first, second = (report_of(folder, rank) for rank in (0, 1))
    assert [(r["rank"], r["world"], r["device"]) for r in (first, second)] == [
        (0, 2, "cpu"),
        (1, 2, "cpu"),
    ]
    assert first[training] == second[training]
    assert_equal(load_file(folder / f"{training}.0"), load_file(folder / f"{training}.1"))
    assert not first["training"]
    assert not second["training"]


def test_what_is_judged_with_moving_statistics_is_what_is_kept(folder: Path) -> None:
    """The weights that are left give the loss that both processes told, on all samples."""
    stage, samples = make_pixels(), pixel_samples(N_VAL)
    stage.load_state_dict(load_file(folder / "moving_statistics.0"))
    accuracy, minus_loss = validate(stage, samples, two_processes.PIXELS, torch.device("cpu"))
    report = report_of(folder, 0)["moving_statistics"]
    assert report["epoch"] > 0
    assert report["val_accuracy"] == accuracy
    assert report["val_loss"] == pytest.approx(-minus_loss, rel=1e-6)
    before = make_pixels().local_encoder.state_dict()["trunk.0.1.running_mean"]
    assert not torch.equal(stage.local_encoder.state_dict()["trunk.0.1.running_mean"], before)


def test_only_the_first_writes_and_speaks(folder: Path) -> None:
    """Ten samples in batches of three, three epochs: twelve checkpoints of one training."""
    assert report_of(folder, 0)["writes"] >= 12
    assert report_of(folder, 1)["writes"] == 0
    assert not list(folder.glob("*.partial"))
    (out_0,), (out_1,) = ([*(folder / "logs").rglob(f"{rank}/stdout.log")] for rank in (0, 1))
    (bars_0,), (bars_1,) = ([*(folder / "logs").rglob(f"{rank}/stderr.log")] for rank in (0, 1))
    scaled = "stage I: batches of 3 instead of 6: learning rates times 0.5: local 0.01, classifier"
    assert out_0.read_text().count(scaled) == 1
    assert out_1.read_text() == ""
    assert "stage I: 100%" in bars_0.read_text()
    assert "stage I" not in bars_1.read_text()


def test_one_process_goes_on_for_two(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes((folder / "two").read_bytes())
    progress = read_checkpoint(path)[0]["progress"]
    assert (progress["epoch"], progress["step"]) == (1, 1), "in the midst of an epoch"
    stage, alone = make_on_features(1), make_on_features()
    kept = train(stage, two_processes.FEATURES, checkpoint=path)
    expected = train(alone, two_processes.FEATURES)
    assert_near(weights_of(stage), weights_of(alone))
    assert (kept.epoch, kept.val_accuracy) == (expected.epoch, expected.val_accuracy)


def test_two_processes_go_on_for_one(folder: Path) -> None:
    alone = make_on_features()
    kept = train(alone, two_processes.FEATURES)
    assert_near(load_file(folder / "begun_by_one.0"), weights_of(alone))
    assert report_of(folder, 0)["begun_by_one"]["epoch"] == kept.epoch


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 99), min_size=1, max_size=9), world=st.integers(1, 5))
def test_shares_of_a_batch(rows: list[int], world: int) -> None:
    """Every sample counts once, and every process has something to do."""
    shares = [share_of(torch.tensor(rows), rank, world) for rank in range(world)]
    counted = [row for some, weight in shares for row in some.tolist() if weight == 1]
    assert sorted(counted) == sorted(rows)
    assert {weight for _, weight in shares} <= {0.0, 1.0}
    assert all(len(some) for some, _ in shares)
    sizes = [len(some) for some, weight in shares if weight]
    assert max(sizes) - min(sizes) <= 1


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (None, "1"):
        if size:
            monkeypatch.setenv("WORLD_SIZE", size)
        with process_group() as device:
            assert (device, rank_and_world()) == (torch.device("cpu"), (0, 1))
            assert not torch.distributed.is_initialized()
