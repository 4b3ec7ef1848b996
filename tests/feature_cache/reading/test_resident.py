"""Glance maps that stay on a GPU: the same as those that are read from the file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from focusgym.feature_cache import FeatureCache
from focusgym.feature_cache.reading.resident import ResidentRows
from focusgym.recognizer import devices
from focusgym.recognizer.policies.blockwise import _sent, blockwise_linear


def test_resident_maps_are_those_of_the_file(
    built: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU is taken for a GPU with much free memory, and with too little."""
    n_bytes = (built.root / "glance_maps.npy").stat().st_size
    videos, steps = np.array([3, 1, 3]), np.array([2, 0, 1])
    weight = torch.randn(4, built.map_shape[-1])
    outputs = {}
    for name, free in (("file", 0), ("too little", n_bytes), ("resident", 2 * n_bytes)):
        monkeypatch.setattr(devices, "free_bytes", lambda device, free=free: free)
        cache = FeatureCache.open(built.root)
        stored = cache.stored_glance_maps(videos)
        assert all(each.dtype == cache.dtype for each in stored)
        outputs[name] = [
            cache.glance_maps(videos),
            cache.glance_map(videos, steps),
            torch.stack(stored),
            blockwise_linear(stored, weight),
        ]
        resident = cache._resident_maps
        assert (resident is None) == (name != "resident")
    for name in ("too little", "resident"):
        assert all(a.equal(b) for a, b in zip(outputs[name], outputs["file"], strict=True))
    assert not outputs["file"][0].equal(torch.zeros_like(outputs["file"][0]))


def test_chunks_that_are_sent_are_all_blocks_in_order() -> None:
    blocks = list(torch.arange(5 * 2 * 3).view(5, 2, 3).to(torch.float16))
    chunks = list(_sent(blocks, torch.zeros(7, 3), 2))
    assert [where for where, _ in chunks] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    for where, rows in chunks:
        assert rows.equal(torch.cat(blocks[where]).float())


def test_rows_are_copied_once() -> None:
    stored = np.arange(300, dtype=np.float16).reshape(100, 3)
    rows = ResidentRows(stored.copy(), torch.full((100, 3), -1.0, dtype=torch.float16))
    expected = np.full_like(stored, -1)
    for some in (np.array([7, 2, 7]), np.arange(5, 90), np.array([2])):
        expected[some] = stored[some]
        assert np.array_equal(rows.with_rows(some).numpy(), expected)
        rows._stored[some] = -2  # not read again
