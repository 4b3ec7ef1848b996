"""What is reported of a system, from looks that are written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support import C, T, write_cache

from focusgym.agents import TaskTrace
from focusgym.runs.evaluation.systems import played_of, system_results


def test_nothing_is_right_before_anything_is_fed(tmp_path: Path) -> None:
    """Of zeros the first class is the largest; three videos of it are fed first, late and never."""
    cache = write_cache(tmp_path / "cache", all_labels=[[0]] * 10)
    fed = np.zeros((3, T), dtype=bool)
    fed[0, 0] = fed[1, 2] = True
    after = torch.from_numpy(np.logical_or.accumulate(fed, axis=1))
    trace = TaskTrace(
        segments=np.tile(np.arange(T), (3, 1)),
        options=np.zeros((3, T), dtype=np.int64),
        named=fed,
        attended=fed,
        fed=fed,
        logits=after[..., None] * torch.tensor([2.0, 1.0, 0.0]),
        gmacs=np.ones((3, T)),
        decisions=np.full(3, T),
        videos=np.arange(3),
        returns=np.zeros(3),
        confidence=np.zeros(3),
        correct=np.zeros(3, dtype=bool),
    )
    played = played_of(trace, cache)
    assert played.correct.tolist() == [[True] * T, [False, False, True, True], [False] * T]
    np.testing.assert_allclose(played.confidences[2], 1 / C)
    results = system_results("name", trace, cache)["test"]
    assert results["accuracy_by_step"] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert results["accuracy"] == pytest.approx(2 / 3)
    assert results["top5_by_step"] == [1.0] * T  # there are three classes
    assert results["map_by_step"] == [1.0] * T  # all videos are of the only class that occurs
