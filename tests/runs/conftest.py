"""A browser and one tiny quickstart for all tests of verbs; videos and encoders to train on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import Browser, open_browser
from end_to_end_runs import command, cubes_command
from filelock import FileLock
from recognizers import make_encoder
from torch import Tensor
from verbs import Call, Digits, run_fit

from focusgym.feature_cache import DigitsConfig, make_digits
from focusgym.recognizer import read_encoder, write_bundle
from focusgym.runs.configs.quickstart import QuickstartConfig
from focusgym.runs.training.recipes import DIGITS, Recipe, adamw
from focusgym.runs.verbs.quickstart import quickstart


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all pages: it takes seconds to start."""
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """The recipe for digits with few videos and little training."""
    return replace(
        DIGITS,
        processes=1,  # each would import torch
        digits=DigitsConfig(n_train=40, n_val=40, n_test=20),
        full_frames=adamw(1, 16, encoder=5e-3),
        stage_one=adamw(25, 8, local=1e-2, classifier=1e-2),  # enough for predictions that differ
        classifier=adamw(2, 16, classifier=1e-3),
        ppo=replace(DIGITS.ppo, epochs=4, n_envs=16, minibatch=8),
        ppo_plus=replace(DIGITS.ppo_plus, epochs=4, n_envs=16, minibatch=8),
        finetune=adamw(1, 16, classifier=5e-4),
    )


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny: Recipe) -> tuple[Path, dict[str, Any]]:
    """A finished quickstart: its folder, which is ``outputs/quickstart`` of a root, and results.

    Where several processes test, the first that needs it makes it for all of them.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all processes of this run, and of no other run
    out = root / "tiny_run" / "outputs" / "quickstart"
    with FileLock(root / "tiny_run.lock"):
        if (out / "results.json").is_file():  # written last
            return out, json.loads((out / "results.json").read_text())
        return out, quickstart(QuickstartConfig(out=out), tiny)


@pytest.fixture(scope="session")
def end_to_end_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos to train on, seven to select on, nine to report on, and their tables."""
    root = tmp_path_factory.mktemp("end_to_end") / "digits"
    make_digits(DigitsConfig(n_train=12, n_val=7, n_test=9, n_frames=6), root)
    return root


@pytest.fixture(scope="session")
def end_to_end_run(
    tmp_path_factory: pytest.TempPathFactory, end_to_end_digits: Path
) -> tuple[Path, Call]:
    """A run of ``focusgym fit end-to-end``, and what `fit` was called with."""
    out, calls = tmp_path_factory.mktemp("out") / "run", list[Call]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("focusgym.runs.training.stages.fit", Call.spy(calls))
        run_fit(*command(out, end_to_end_digits))
    return out, calls[0]


@pytest.fixture(scope="session")
def cube_run(
    tmp_path_factory: pytest.TempPathFactory, end_to_end_digits: Path
) -> tuple[Path, Call]:
    """A run of ``focusgym fit cubes``, and what `fit` was called with."""
    out, calls = tmp_path_factory.mktemp("cubes") / "run", list[Call]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("focusgym.runs.training.stages.fit", Call.spy(calls))
        run_fit(*cubes_command(out, end_to_end_digits))
    return out, calls[0]


@pytest.fixture(scope="session")
def random_cubes_run(tmp_path_factory: pytest.TempPathFactory, end_to_end_digits: Path) -> Path:
    """One whose cubes are placed at random: a control, and a first stage."""
    out = tmp_path_factory.mktemp("random_cubes") / "random"
    axes = ("--time", "random", "--space", "random", "--epochs", 1)
    run_fit(*cubes_command(out, end_to_end_digits, *axes))
    return out


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return Digits.make(tmp_path_factory.mktemp("verbs") / "digits")


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles ``glance`` and ``local``."""
    root = tmp_path_factory.mktemp("encoders")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, encoder in (
            ("glance", make_encoder("small_glance", 12)),
            ("local", make_encoder("small_local")),
        ):
            write_bundle(root / name, "encoder", encoder.config, encoder)
    return root


@pytest.fixture(scope="session")
def maps(digits: Digits, encoders: Path) -> Tensor:
    """f_G's of the videos, ``(12, T, h, w, G)``."""
    with torch.no_grad():
        glance_maps = read_encoder(encoders / "glance")(digits.pixels().flatten(0, 1))
    return glance_maps.permute(0, 2, 3, 1).unflatten(0, (12, 2))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What the verb ``fit`` calls `fit` with, filled as it does."""
    recorded_calls: list[Call] = []
    monkeypatch.setattr("focusgym.runs.training.stages.fit", Call.spy(recorded_calls))
    return recorded_calls
