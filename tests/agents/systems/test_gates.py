"""FrameExit's gates, by hand."""

from __future__ import annotations

import numpy as np
import torch

from focusgym.agents.systems.gates import Gates, GatesConfig, should_stop


def test_gates_by_hand() -> None:
    """Labels from losses, one gate per segment but the last, the first open gate ends a video."""
    logits = torch.tensor([[[2.0, 0.0], [0.0, 0.0], [0.0, 2.0]], [[0.0, 5.0]] * 3])
    labels = should_stop(logits, torch.tensor([0, 1]), 0.1)
    losses = [[np.log1p(np.exp(-2)), np.log(2), np.log1p(np.exp(2))], [np.log1p(np.exp(-5))] * 3]
    limits = [0.1 * np.exp(t / 2) for t in (1, 2, 3)]
    assert labels.tolist() == [[x <= y for x, y in zip(r, limits, strict=True)] for r in losses]
    assert labels[0].tolist() == [True, False, False]
    gates = Gates(GatesConfig(steps=3, state=2, hidden=5))
    states = torch.randn(4, 3, 2)
    outputs = gates(states)
    assert outputs.shape == (4, 2)
    first, second = gates.gates
    nothing = torch.zeros(4, 2)
    expected = first(torch.cat([nothing, states[:, 0]], dim=1))
    torch.testing.assert_close(outputs[:, :1], expected)
    expected = second(torch.cat([states[:, 0], states[:, 1]], dim=1))
    torch.testing.assert_close(outputs[:, 1:], expected)
