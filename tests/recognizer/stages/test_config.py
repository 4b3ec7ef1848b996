"""The settings of the stages: their checks, and the paper's."""

from __future__ import annotations

from typing import Any

import pytest

from focusgym.recognizer import FitConfig

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"epochs": 0}, "a stage needs epochs >= 1 and batch_size >= 1; got 0, 8"),
    ({"batch_size": 0}, "a stage needs epochs >= 1 and batch_size >= 1; got 2, 0"),
    (
        {"lr": {}},
        "lr must name at least one network, each with a rate > 0; got {}: leave a network out to "
        "keep it fixed",
    ),
    (
        {"lr": {"local": 0.1, "classifier": 0.0}},
        "lr must name at least one network, each with a rate > 0; got {'local': 0.1, 'classifier': "
        "0.0}: leave a network out to keep it fixed",
    ),
    ({"lr_batch_size": 0}, "lr_batch_size must be at least 1, or None; got 0"),
    (
        {"momentum": 1.0},
        "momentum must be in [0, 1) and weight_decay not negative; got 1.0, 0.0001",
    ),
    (
        {"momentum": -0.1},
        "momentum must be in [0, 1) and weight_decay not negative; got -0.1, 0.0001",
    ),
    (
        {"weight_decay": -1e-4},
        "momentum must be in [0, 1) and weight_decay not negative; got 0.9, -0.0001",
    ),
    (
        {"momentum": 0.0},
        "Nesterov momentum needs a momentum > 0; got 0: raise it, or set nesterov=False",
    ),
    ({"optimizer": "adam"}, "optimizer must be one of sgd, adamw; got 'adam'"),
    ({"schedule": "step"}, "schedule must be one of cosine, one_cycle; got 'step'"),
    ({"precision": "int8"}, "precision must be one of float32, bfloat16, float16; got 'int8'"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_settings_that_cannot_work(change: dict[str, Any], message: str) -> None:
    settings = {"epochs": 2, "batch_size": 8, "lr": {"classifier": 0.1}, **change}
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        FitConfig(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": 0.0, "nesterov": False},
        {"momentum": 0.0, "optimizer": "adamw"},
        {"epochs": 1, "batch_size": 1, "lr_batch_size": 1, "weight_decay": 0.0},
    ],
)
def test_settings_at_the_edge(change: dict[str, Any]) -> None:
    FitConfig(**{"epochs": 2, "batch_size": 8, "lr": {"classifier": 0.1}, **change})


@pytest.mark.parametrize(
    ("batch_size", "lr_batch_size", "factor"), [(16, None, 1), (16, 64, 0.25), (96, 64, 1.5)]
)
def test_rates_scale_with_the_batch(
    batch_size: int, lr_batch_size: int | None, factor: float
) -> None:
    rates = {"local": 5e-4, "classifier": 0.05}
    config = FitConfig(1, batch_size, rates, lr_batch_size=lr_batch_size)
    assert config.lr_factor == factor
    assert config.scaled_lr == {"local": 5e-4 * factor, "classifier": 0.05 * factor}
    assert config.lr == rates
