"""Builds that are stopped go on where they were, and end with the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from focusgym.feature_cache import CacheConfig, DigitsConfig, build, build_cache, make_digits
from focusgym.feature_cache.journal import Journal, RowFacts
from focusgym.recognizer import Encoder

CLASSES = [str(i) for i in range(10)]
Encoders = tuple[Encoder, Encoder]


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    make_digits(DigitsConfig(n_train=40, n_val=5, n_test=5, n_frames=6), tmp_path / "data")
    script = Path(__file__).with_name("killed_builds.py")
    ran = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "20"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert len(report["progress"]) == 20
    assert report["compared"] >= 1
    # Kills came at many different moments, and what was done stayed done.
    assert len(set(report["progress"])) > 5
    assert max(report["progress"]) > report["rows"] / 2
    assert not list(tmp_path.glob("killed.*"))


@pytest.mark.parametrize("step", ["rename", "unlink"])
def test_stopped_while_finishing(
    step: str,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = contents(build_cache(videos, CLASSES, tmp_path / "whole", *encoders, config))
    real = getattr(Path, step)

    def stop(self: Path, *args: object, **options: object) -> object:
        if self.name in ("c.partial", "journal.jsonl"):
            raise KeyboardInterrupt
        return real(self, *args, **options)

    monkeypatch.setattr(Path, step, stop)
    with pytest.raises(KeyboardInterrupt):
        build_cache(videos, CLASSES, tmp_path / "c", *encoders, config)
    monkeypatch.undo()
    assert contents(build_cache(videos, CLASSES, tmp_path / "c", *encoders, config)) == whole
    assert [path.name for path in tmp_path.glob("c*")] == ["c"]


def test_an_interrupted_build_keeps_what_it_did(
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = contents(build_cache(videos, CLASSES, tmp_path / "whole", *encoders, config))
    real, encoded = build.encode_row, []

    def count(*args: object) -> object:
        encoded.append(args)
        if len(encoded) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(build, "encode_row", count)
    with pytest.raises(KeyboardInterrupt):
        build_cache(videos, CLASSES, tmp_path / "c", *encoders, config)
    before = len(encoded)
    build_cache(videos, CLASSES, tmp_path / "c", *encoders, config)
    assert len(encoded) == before + 2, "three rows were done, and are not done again"
    assert contents(tmp_path / "c") == whole


def test_a_journal_drops_what_was_cut_short(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path, {"a": 1})
    facts = {row: RowFacts(f"{row:032x}", "ab", 10 * row, "pyav", -0.5, 1 / 3) for row in range(4)}
    journal.add({0: facts[0], 1: facts[1]})
    journal.add({2: facts[2]})
    journal.close()
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    line_ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(line_ends[0], len(whole) + 1):
        path.write_bytes(whole[:size])
        again = Journal.read(tmp_path)
        assert again is not None
        kept = sum(end <= size for end in line_ends) - 1
        assert again.rows == {row: facts[row] for row in range(kept)}
        again.add({3: facts[3]})
        again.close()
        last = Journal.read(tmp_path)
        assert last is not None
        assert last.rows == {**again.rows, 3: facts[3]}
        assert last.identity == {"a": 1}
        last.close()
    path.unlink()
    assert Journal.read(tmp_path) is None
