"""Compute as people read it."""

from __future__ import annotations

import pytest

from focusgym.recognizer import compute_unit, format_gmacs


@pytest.mark.parametrize(
    ("gmacs", "text"),
    [
        (26.5812, "26.58 GMACs"),
        (1.0, "1 GMACs"),
        (0.99996, "1000 MMACs"),
        (0.009188, "9.188 MMACs"),
        (0.3785, "378.5 MMACs"),
        (0.00012346, "123.5 kMACs"),
        (12345.6, "12346 GMACs"),
        (9999.7, "10000 GMACs"),
        (2e-8, "0.02 kMACs"),
        (0.0, "0 GMACs"),
    ],
)
def test_no_amount_starts_with_zeros_that_need_not_be(gmacs: float, text: str) -> None:
    assert format_gmacs(gmacs) == text


def test_amounts_beside_each_other_have_one_unit() -> None:
    unit = compute_unit(38.6, 0.009188, 0.0)
    assert [unit.number(each) for each in (38.6, 0.009188)] == ["38600", "9.188"]
    assert compute_unit(38.6, 1.2).name == "GMACs"
    assert format_gmacs(1.23456, 3) == "1.23 GMACs"
