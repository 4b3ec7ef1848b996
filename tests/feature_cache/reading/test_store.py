"""Reading a cache: gathers, groups, labels, sizes beyond memory, what is refused."""

from __future__ import annotations

import json
import os
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from kills import in_children
from numpy.lib.format import open_memmap
from support import GRID, C, L, N, T, add_group, write_cache

from focusgym.feature_cache import CacheError, FeatureCache


def test_gathers_are_numpy_indexing(cache: FeatureCache) -> None:
    rows, options = np.array([4, 0]), np.array([[1, 8, 0, 2], [7, 7, 3, 5]])
    raw = np.load(cache.root / "local_vectors_p12_3x3.npy")
    glance, local, labels = cache.sequences(rows, options)
    for b, row in enumerate(rows):
        for t in range(T):
            expected = raw[row, t, options[b, t]].astype(np.float32)
            assert np.array_equal(local[b, t].numpy(), expected)
            assert torch.equal(glance[b], cache.glance_vectors(rows[b : b + 1])[0])
        assert labels[b] == cache.labels[row]
    picked = cache.local_vectors(rows, 2, options[:, 0])
    assert np.array_equal(picked.numpy(), raw[rows, 2, options[:, 0]].astype(np.float32))


def test_a_skipped_frame_is_zero(cache: FeatureCache) -> None:
    rows, options = np.array([4, 0]), np.array([[1, -1, 0, 9], [7, 7, 3, 5]])
    attended = np.array([[True, False, True, False], [True, True, False, True]])
    raw = np.load(cache.root / "local_vectors_p12_3x3.npy").astype(np.float32)
    glance, local, _ = cache.sequences(rows, options, attended)
    for b, row in enumerate(rows):
        for t in range(T):
            expected = raw[row, t, options[b, t]] if attended[b, t] else np.zeros(L)
            assert np.array_equal(local[b, t].numpy(), expected)
    assert torch.equal(glance, cache.glance_vectors(rows)), "the glance is seen all the same"
    with pytest.raises(IndexError, match="out of bounds"):
        cache.sequences(rows, options)


def test_tensors_come_to_the_device(cache: FeatureCache) -> None:
    elsewhere = FeatureCache.open(cache.root, device="meta")
    rows, options = np.array([4, 0]), np.zeros((2, T), dtype=np.int64)
    for part in (
        *elsewhere.sequences(rows, options),
        elsewhere.glance_map(rows, np.ones_like(rows)),
    ):
        assert part.device.type == "meta"
    assert elsewhere.sequences(rows, options)[1].shape == (2, T, L)
    assert elsewhere.glance_maps(rows).dtype == torch.float32


def test_all_labels_of_a_video(cache: FeatureCache) -> None:
    labels = [str(label) for label in cache.labels.tolist()]
    labels[2], labels[5] = "2;0", "0;1;2"
    table = cache.videos.assign(labels=labels)
    table.to_csv(cache.root / "videos.csv", index=False)
    again = FeatureCache.open(cache.root)
    expected = [[str(c) in entry.split(";") for c in range(C)] for entry in labels]
    assert again.label_matrix.tolist() == expected
    assert again.videos["labels"].tolist() == labels
    assert again.videos["start_s"].isna().all()


def glance_sum(cache: FeatureCache) -> float:
    return float(cache.glance_maps(np.arange(N)).sum())


def test_another_process_reads_the_same_cache(cache: FeatureCache) -> None:
    assert len(pickle.dumps(cache)) < 500, "a path travels, not the arrays"
    again = pickle.loads(pickle.dumps(cache))
    assert (again.fingerprint, again.places) == (cache.fingerprint, cache.places)
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert set(pool.map(glance_sum, [cache])) == {glance_sum(cache)}
    with pytest.raises(ValueError, match="read-only"):
        cache._arrays["glance_maps"][0] = 0


def read_some(root: Path) -> None:
    """Read at random; print by how many bytes of memory this process grows at most."""

    def memory(mark: str) -> int:
        match = re.search(rf"{mark}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert match is not None
        return 1024 * int(match[1])

    before, cache, rng = memory("VmRSS"), FeatureCache.open(root), np.random.default_rng(0)
    for _ in range(3):
        rows = rng.integers(cache.n_videos, size=16)
        options = rng.integers(cache.n_options, size=(16, cache.steps))
        _, local, _ = cache.sequences(rows, options)
        assert local.shape == (16, cache.steps, cache.local_channels)
        assert not local.any()
    print(memory("VmHWM") - before)  # the kernel's own marks


def test_a_cache_far_larger_than_memory_is_read(tmp_path: Path) -> None:
    n = 5_000
    root = write_cache(tmp_path / "c", n=n).root
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    width = 4 * memory_bytes // (n * T * GRID**2 * 2)
    path = root / "local_vectors_p12_3x3.npy"
    path.unlink()
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["groups"]["p12_3x3"]["channels"] = width
    (root / "manifest.json").write_text(json.dumps(manifest))
    try:
        open_memmap(path, "w+", np.float16, (n, T, GRID**2, width))  # sparse
    except OSError as error:
        pytest.skip(f"this file system holds no sparse file of that size ({error})")
    ended = in_children(lambda: read_some(root))
    assert ended.codes == [0], ended.err
    assert int(ended.out) < 2 * 2**30 < 4 * memory_bytes


def test_opening_refuses_what_is_no_cache(cache: FeatureCache) -> None:
    with pytest.raises(CacheError, match="is not a complete feature cache .*: build it, or give"):
        FeatureCache.open(cache.root / "nowhere")
    with pytest.raises(CacheError, match="split 'dev' has no videos in .*; there are: test, train"):
        cache.split("dev")
    with pytest.raises(CacheError, match=r"no option group 'p9_7x7': choose one of \['p12_3x3'\]"):
        FeatureCache.open(cache.root, "p9_7x7")
    manifest = json.loads((cache.root / "manifest.json").read_text())
    manifest["depends_on"]["seed"] = 13
    (cache.root / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        CacheError,
        match="says fingerprints p12_3x3 .*, but its content gives p12_3x3 .*: it was edited",
    ):
        FeatureCache.open(cache.root)


def test_a_group_must_be_said_where_there_are_several(cache: FeatureCache) -> None:
    add_group(cache)
    with pytest.raises(CacheError, match=r"holds 2 option groups: say which of \['p12_3x3', 'p8_"):
        FeatureCache.open(cache.root)
    assert FeatureCache.open(cache.root, "p12_3x3").fingerprint == cache.fingerprint


def test_damaged_caches_are_refused(cache: FeatureCache) -> None:
    good = (cache.root / "manifest.json").read_text()
    for content in ("{}", "[]", "{", '{"depends_on": 1, "groups": [], "fingerprints": 2}'):
        (cache.root / "manifest.json").write_text(content)
        with pytest.raises(CacheError, match="is not a complete feature cache"):
            FeatureCache.open(cache.root)
    (cache.root / "manifest.json").write_text(good)
    array = cache.root / "local_vectors_p12_3x3.npy"
    array.write_bytes(array.read_bytes()[:200])
    with pytest.raises(CacheError, match="is not a complete feature cache"):
        FeatureCache.open(cache.root)
    array.unlink()
    with pytest.raises(CacheError, match="is not a complete feature cache .*: build it again"):
        FeatureCache.open(cache.root)
