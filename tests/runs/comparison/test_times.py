"""Which runs of a comparison are timed; what is timed is tested with the runs of systems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from focusgym.runs.comparison import times
from focusgym.runs.folders.atomic import OutputError


def test_a_share_that_is_added_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is another number of videos; nothing that is known of all is measured again."""
    timed_runs: list[Path] = []

    def recognizers(
        run: Path, shares: Sequence[float], *_: object
    ) -> Iterator[tuple[str, str, str]]:
        timed_runs.append(run)
        for share in shares or (None,):
            yield times._name(share), f"{share or 7}", ""

    monkeypatch.setattr(times, "_recognizers", recognizers)
    monkeypatch.setattr(times, "_median_ms", lambda recognize, *_: float(recognize))
    alone, plus = (tmp_path / name for name in ("alone", "plus"))
    for run in (alone, plus):
        run.mkdir()
    times.time_runs([(alone, ()), (plus, (0.5,))], 20, None)
    assert (times.milliseconds(alone), times.milliseconds(plus, 0.5)) == (7, 0.5)
    assert times.milliseconds(plus, 0.75) is None
    timed_runs.clear()
    for _ in range(2):
        times.time_runs([(alone, ()), (plus, (0.5, 0.75))], 20, None)
    assert timed_runs == [plus]
    assert [times.milliseconds(plus, share) for share in (0.5, 0.75)] == [0.5, 0.75]
    times.time_runs([(alone, ())], 21, None)
    assert timed_runs == [plus, alone]
    wrong = ("3", '{"0.5": NaN}', '{"0.5": -5}', '{"0.5": true}', f'{{"0.5": {10**300}}}')
    for damaged in ("[]", "{}", *(f'{{"videos": 20, "milliseconds": {each}}}' for each in wrong)):
        (plus / "times.json").write_text(damaged)
        with pytest.raises(OutputError, match="does not say how long a video took"):
            times.time_runs([(plus, (0.5,))], 20, None)
