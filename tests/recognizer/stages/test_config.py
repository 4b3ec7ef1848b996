"""The settings of the stages: their checks, and the paper's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from focusgym.recognizer import FitConfig
from focusgym.recognizer.stages.steps import Stepper

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
    (
        {"epochs": 9, "decay_epochs": (3, 9)},
        "decay_epochs must ascend, each in 1..8 of 9 epochs; got 3, 9: give others, or none for a "
        "cosine",
    ),
    (
        {"epochs": 9, "decay_epochs": (0, 3)},
        "decay_epochs must ascend, each in 1..8 of 9 epochs; got 0, 3: give others, or none for a "
        "cosine",
    ),
    (
        {"epochs": 9, "decay_epochs": (3, 3)},
        "decay_epochs must ascend, each in 1..8 of 9 epochs; got 3, 3: give others, or none for a "
        "cosine",
    ),
    ({"warmup_epochs": 2}, "warmup_epochs must be in 0..1 of 2 epochs; got 2"),
    ({"warmup_epochs": -1}, "warmup_epochs must be in 0..1 of 2 epochs; got -1"),
    (
        {"schedule": "one_cycle", "warmup_epochs": 1},
        "decay_epochs and warmup_epochs are not for one_cycle, which rises and falls in its own "
        "way; got [] and 1: leave them out, or train with SGD",
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


RATES: list[tuple[dict[str, Any], list[float]]] = [
    # Four epochs of two steps.
    ({"decay_epochs": (1, 3)}, [1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]),
    ({"decay_epochs": (2,), "warmup_epochs": 1}, [0.5, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]),
    ({"decay_epochs": (1,), "warmup_epochs": 2}, [0.25, 0.5, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1]),
    # The rise takes two steps; the cosine of the other six is that of 0°, 30°, …, 150°.
    (
        {"warmup_epochs": 1},
        [0.5, 1, *[(1 + cosine) / 2 for cosine in (1, 3**0.5 / 2, 0.5, 0, -0.5, -(3**0.5) / 2)]],
    ),
]


@pytest.mark.parametrize(("change", "expected"), RATES)
def test_rates_that_decay_and_rise(change: dict[str, Any], expected: list[float]) -> None:
    """In the formula, and as the optimizer has them at each of its steps."""
    config = FitConfig(4, 8, {"a": 0.2, "b": 3.0}, **change)
    shares = [config.lr_share(step, 8) for step in range(8)]
    assert shares == pytest.approx(expected)
    networks = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)})
    stepper = Stepper(networks, config, 8)
    for share in expected:
        groups = stepper.state()[0]["groups"]
        assert [group["lr"] for group in groups] == pytest.approx([0.2 * share, 3.0 * share])
        stepper.step(networks["a"](torch.ones(1, 1)).sum())


def test_epochs_in_which_the_rate_decays_are_those_of_the_released_code() -> None:
    """lr · 0.1^(how many of the epochs are at or before this one), in 55 epochs of 3 steps."""
    config = FitConfig(55, 8, {"a": 0.01}, decay_epochs=(25, 45))
    for step in range(165):
        passed = int(step // 3 >= 25) + int(step // 3 >= 45)
        assert config.lr_share(step, 165) == pytest.approx((1, 0.1, 0.01)[passed])
