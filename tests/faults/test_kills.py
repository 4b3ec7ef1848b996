"""A handful of signals at random moments of verbs; ``make kills`` sends a hundred."""

from __future__ import annotations

from pathlib import Path

from kills import report_of

SCRIPT = Path(__file__).with_name("random_kills.py")


def test_interrupted_verbs_go_on() -> None:
    results = report_of(SCRIPT, "--n", 6, "--verbs", "cache build", "fit", "train", "--json")
    assert len(results) == 6
    assert [each for each in results if each["outcome"] != "same"] == []
