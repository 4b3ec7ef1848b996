"""The most confident of all options: by the paper's equations, and without the label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import Literal, N, T, engine_of

from focusgym.agents import MostConfidentAgent, OracleAgent, confident

VIDEOS = np.array([7, 2, 0, 9, 4])


def test_it_is_the_brute_force_greedy_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every option tried by itself; videos are played a few at a time, to the same end."""
    literal = Literal(tmp_path)
    monkeypatch.setattr(confident, "_CHUNK", 2)
    plan = MostConfidentAgent().plan(engine_of(literal), VIDEOS)
    assert plan.attended.all()
    for b, video in enumerate(VIDEOS):
        looks: list[tuple[int, int]] = []
        for t in range(T):
            surest = [
                float(literal.probabilities(video, [*looks, (option, 1)]).max())
                for option in range(9)
            ]
            assert surest[plan.options[b, t]] == pytest.approx(max(surest), abs=1e-5)
            looks.append((int(plan.options[b, t]), 1))


def test_it_reads_no_label(tmp_path: Path) -> None:
    """Other labels change what the oracle does, and nothing here."""
    literal = Literal(tmp_path)
    plans = [
        (MostConfidentAgent().plan(engine, VIDEOS), OracleAgent().plan(engine, VIDEOS))
        for engine in (engine_of(literal), _with_other_labels(literal))
    ]
    (ours, oracle), (ours_anew, oracle_anew) = plans
    assert np.array_equal(ours.options, ours_anew.options)
    assert not np.array_equal(oracle.options, oracle_anew.options)


def _with_other_labels(literal: Literal):  # type: ignore[no-untyped-def]
    labels = literal.cache.labels
    literal.cache.labels = (labels + 1) % 3
    assert len(labels) == N
    return engine_of(literal)
