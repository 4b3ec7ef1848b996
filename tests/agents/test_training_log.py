"""Logs of trainings that go on for days."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from focusgym.agents import training_log
from focusgym.agents.training_log import TrainingLog, interval


def test_rows_for_each_doubling() -> None:
    rows = [n for n in range(1, 8192 * 8 + 1) if n % interval(n) == 0]
    counts = [sum(8192 * a < n <= 8192 * 2 * a for n in rows) for a in (1, 2, 4)]
    assert counts == [4096, 4096, 4096]
    assert rows[:8192] == list(range(1, 8193))


def steps_of(folder: Path, first: int, last: int, each: int = 30) -> list[int]:
    """Return which rollouts of a training have rows in the log of some of them."""
    log = TrainingLog(folder, 30, 1000)
    for step in range(first * each, last * each + 1, each):
        log.record("steps", step)
        log.dump(step)
    log.close()
    return pd.read_csv(folder / "progress.csv")["steps"].tolist()


def test_an_interruption_changes_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_log, "_EACH", 4)
    uninterrupted = steps_of(tmp_path / "whole", 1, 34)
    # Rollouts 1 to 4; every second one to 8, every fourth to 16, every eighth to 32; the last one.
    expected = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 34]
    assert uninterrupted == [30 * n for n in expected]
    before, after = steps_of(tmp_path / "1", 1, 13), steps_of(tmp_path / "2", 11, 34)
    assert sorted({*before, *after}) == uninterrupted


def test_steps_between_rollouts_have_rows_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An off-policy algorithm writes after a hundred episodes, which are no number of rollouts."""
    monkeypatch.setattr(training_log, "_EACH", 4)
    assert len(steps_of(tmp_path, 1, 8, each=110)) >= 5
