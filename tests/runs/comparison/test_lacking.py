"""The verb ``compare`` with patches of sizes that the cache does not hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from comparisons import HOW
from digit_caches import digit_cache

from focusgym.feature_cache import CacheConfig, DigitsConfig, FeatureCache
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid, option_group
from focusgym.runs.cli import main

Calls = list[list[str]]


def test_patches_that_the_cache_lacks(
    tmp_path: Path,
    calls: Calls,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Encoded once, with the cache's own encoders, into the comparison's folder."""
    networks = {"glance": EncoderConfig("small_glance", 12), "local": EncoderConfig("small_local")}
    encoders = {name: Encoder(config).eval() for name, config in networks.items()}
    group = option_group(PatchGrid(64, 28), "local", encoders["local"])
    few = DigitsConfig(n_train=6, n_val=2, n_test=3, n_frames=6)
    direct = digit_cache(
        tmp_path / "digits", few, encoders, CacheConfig(FrameConfig(3, 64), (group,))
    )
    out = tmp_path / "c"
    args = ["compare", str(out), f"--cache={direct.root}", *HOW, "--seeds=1"]
    args += ["--reward", "increments", "--json", "--patch", "28", "32"]
    main(args)
    summary = json.loads(capsys.readouterr().out)
    assert summary["groups"] == ["p28_7x7", "p32_7x7"]
    assert [path.name for path in (out / "caches").iterdir()] == ["p32_7x7"]
    encoded = FeatureCache.open(out / "caches" / "p32_7x7")
    assert (encoded.places.side_px, encoded.n_options) == (32, 49)
    rows = np.arange(5)
    np.testing.assert_array_equal(encoded.glance_maps(rows), direct.glance_maps(rows))
    calls.clear()
    main([arg for arg in args if arg != "--json"])
    stdout = capsys.readouterr().out
    assert "p32_7x7: accuracy (%) on 3 test videos" in stdout
    assert stdout.splitlines()[-1] == f"{out}/index.html has the plots, results.csv the table"
    assert calls == [[], []]
    assert json.loads((out / "results.json").read_text()) == summary
