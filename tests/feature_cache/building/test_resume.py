"""Builds that are stopped go on where they were, and end with the same bytes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from kills import report_of

from focusgym.feature_cache import CacheConfig, DigitsConfig, build_cache, make_digits
from focusgym.feature_cache.building import build
from focusgym.feature_cache.reading.journal import Journal, RowFacts
from focusgym.recognizer import Encoder

CLASSES = [str(i) for i in range(10)]
Encoders = dict[str, Encoder]


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_killed_at_moments_of_every_kind(tmp_path: Path) -> None:
    """Real processes, SIGKILL; in a row and in its note, before and after it."""
    make_digits(DigitsConfig(n_train=20, n_val=2, n_test=2, n_frames=6), tmp_path / "data")
    report = report_of(Path(__file__).with_name("killed_builds.py"), tmp_path)
    noted = [0]
    for moment, after, n_noted in report["kills"]:
        # The line that was cut short is dropped when the build goes on.
        assert n_noted == noted[-1] + after + (moment == "after its note"), "what was done is kept"
        noted.append(n_noted)
    assert len({moment for moment, *_ in report["kills"]}) == 4
    assert noted[-1] < report["rows"]
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
    uninterrupted = contents(build_cache(videos, CLASSES, tmp_path / "whole", encoders, config))
    real = getattr(Path, step)

    def stop(self: Path, *args: object, **options: object) -> object:
        if self.name in ("c.partial", "journal.jsonl"):
            raise KeyboardInterrupt
        return real(self, *args, **options)

    monkeypatch.setattr(Path, step, stop)
    with pytest.raises(KeyboardInterrupt):
        build_cache(videos, CLASSES, tmp_path / "c", encoders, config)
    monkeypatch.undo()
    assert contents(build_cache(videos, CLASSES, tmp_path / "c", encoders, config)) == uninterrupted
    assert [path.name for path in tmp_path.glob("c*")] == ["c"]


def test_an_interrupted_build_keeps_what_it_did(
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uninterrupted = contents(build_cache(videos, CLASSES, tmp_path / "whole", encoders, config))
    real, encoded = build.encode_row, []

    def count(*args: object) -> object:
        encoded.append(args)
        if len(encoded) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(build, "encode_row", count)
    with pytest.raises(KeyboardInterrupt):
        build_cache(videos, CLASSES, tmp_path / "c", encoders, config)
    before = len(encoded)
    build_cache(videos, CLASSES, tmp_path / "c", encoders, config)
    assert len(encoded) == before + 2, "three rows were done, and are not done again"
    assert contents(tmp_path / "c") == uninterrupted


def test_a_journal_drops_what_was_cut_short(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path, {"a": 1})
    facts = {row: RowFacts(f"{row:032x}", "ab", 10 * row, "pyav", -0.5, 1 / 3) for row in range(4)}
    journal.add({0: facts[0], 1: facts[1]})
    journal.add({2: facts[2]})
    journal.close()
    path = tmp_path / "journal.jsonl"
    intact = path.read_bytes()
    line_ends = [i + 1 for i, byte in enumerate(intact) if byte == ord("\n")]
    for size in range(line_ends[0], len(intact) + 1):
        path.write_bytes(intact[:size])
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
