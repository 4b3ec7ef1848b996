"""What ``focusgym cache --json`` prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from cache_verb import SMALL, lists, run_json

from focusgym.feature_cache import FeatureCache, verify_cache
from focusgym.runs.cli import main


def test_json_is_what_the_cache_says(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the plan to a damaged cache: one object each, with the figures of the files."""
    out = tmp_path / "c"
    arguments = (*lists(data, "txt"), *SMALL)
    planned = run_json(capsys, "plan", out, *arguments, "--sample", "2")
    assert planned["rows"] == {"train": 20, "val": 4, "test": 4}
    assert (planned["cache"], planned["n_classes"], planned["device"]) == (str(out), 2, "cpu")
    assert planned["problems"] == []
    assert list(planned["option_gmacs"]) == ["p28_7x7"]
    assert planned["hours"] == pytest.approx(28 * planned["seconds_per_row"] / 3600)
    built = run_json(capsys, "build", out, *arguments)
    cache = FeatureCache.open(out)
    arrays = [(name, out / f"{name}.npy") for name in planned["array_bytes"]]
    for name, path in arrays:
        header = path.stat().st_size - planned["array_bytes"][name]
        assert 0 < header <= 256, name
    weights = [
        out / "encoders" / name / "weights.safetensors" for name in ("glance", "small_local")
    ]
    assert 0 < sum(path.stat().st_size for path in weights) - planned["weights_bytes"] < 2**14
    assert planned["total_bytes"] == sum(planned["array_bytes"].values()) + planned["weights_bytes"]
    assert built == {
        "cache": str(out),
        "rows": planned["rows"],
        "fingerprints": {"p28_7x7": cache.fingerprint},
        "skipped": [],
    }
    info = run_json(capsys, "info", out)
    splits = info.pop("splits")
    assert info == {"cache": str(out), **cache.manifest}
    for name, rows in cache.videos.groupby("split"):
        assert splits[name]["rows"] == splits[name]["videos"] == len(rows)
        files = sum(Path(path).stat().st_size for path in rows["path"])
        assert splits[name]["video_MB"] == pytest.approx(files / 1e6, abs=0.051)
    assert run_json(capsys, "verify", out) == {"cache": str(out), "problems": []}
    path = out / "glance_maps.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    report = run_json(capsys, "verify", out, "--sample", "0", status=1)
    assert report["problems"] == verify_cache(out, sample=0)
    assert len(report["problems"]) == 1
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["cache", "info", str(data), "--json"])
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_json_of_shards_and_of_problems(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More problems than a screen would show are all there."""
    lines = (data / "train.txt").read_text().splitlines()
    (data / lines[2].split()[0]).unlink()
    more = [*lines, *(f"nowhere/{i}.mp4 6 0" for i in range(59))]
    (data / "train.txt").write_text("\n".join(more))
    arguments = (*lists(data, "txt"), *SMALL)
    planned = run_json(capsys, "plan", tmp_path / "m", *arguments, "--sample", "1", status=1)
    assert len(planned["problems"]) == 60
    assert "nowhere/58.mp4" in planned["problems"][-1]
    (data / "train.txt").write_text("\n".join(lines))
    parts = [tmp_path / f"part{i}" for i in (1, 2)]
    for i, part in enumerate(parts, 1):
        built = run_json(capsys, "build", part, *arguments, "--skip-missing", "--shard", f"{i}/2")
        assert sum(built["rows"].values()) == 14
    merged = run_json(capsys, "merge", *parts, "--out", tmp_path / "merged")
    cache = FeatureCache.open(tmp_path / "merged")
    assert merged["shards"] == [str(part) for part in parts]
    assert merged["fingerprints"] == {"p28_7x7": cache.fingerprint}
    assert merged["rows"] == cache.videos["split"].value_counts().to_dict()
    assert merged["skipped"] == cache.manifest["skipped"]
    assert [each["row"] for each in merged["skipped"]] == [2]
