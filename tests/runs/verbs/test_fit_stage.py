"""Stages by name, and a stage of a user's own with its losses: ``focusgym fit ... --stage``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import write_cache
from torch import Tensor
from torch.nn import functional
from verbs import Call, refused, run_fit, single_batch

from focusgym.recognizer import (
    STAGES,
    OnFeatures,
    OnPixels,
    Stage,
    read_classifier,
    stage_class,
)
from focusgym.recognizer.stages import joint
from focusgym.runs.configs.fit import FitVerbs

HOW = ("--epochs", "2", "--batch-size", "8", "--hidden", "7", "--dropout", "0")


class LastOfAll(OnFeatures):
    """A stage whose loss is that of the last prediction alone, with labels that are smoothed."""

    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        """Return the loss ``(B,)`` of each sample."""
        return functional.cross_entropy(
            self.logits(outputs)[:, -1], labels, reduction="none", label_smoothing=0.1
        )


NAME = f"{LastOfAll.__module__}:LastOfAll"


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


def test_every_stage_has_the_name_of_its_verb() -> None:
    kinds = {name: stage_class(name, Stage) for name in STAGES}  # type: ignore[type-abstract]
    rooms = ("focusgym.recognizer.stages.",)
    own = {kind for kind in subclasses(Stage) if kind.__module__.startswith(rooms)}
    assert {*kinds.values()} == own - {Stage, joint.Joint}  # from which others are derived
    verbs = FitVerbs.__dataclass_fields__["verb"].type
    for name in STAGES:
        assert f'subcommand("{name}")' in str(verbs)


def test_a_stage_of_ones_own_is_trained_with_its_losses(
    tmp_path: Path, calls: list[Call], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = write_cache(tmp_path / "cache", n=40)
    out = tmp_path / "f_c"
    arguments = ("classifier", out, "--cache", cache.root, *HOW)
    run_fit(*arguments, "--stage", NAME)
    (call,) = calls
    assert type(call.stage) is LastOfAll
    glance, local, labels = single_batch(call.validation)
    with torch.no_grad():
        last = read_classifier(out)(glance, local)[:, -1].double()
    # Smoothing mixes the label with all C classes alike.
    log_p = last.log_softmax(-1)
    expected = -(0.9 * log_p.gather(1, labels[:, None]).squeeze(1) + 0.1 * log_p.mean(1)).mean()
    assert call.kept.val_loss == pytest.approx(float(expected), rel=1e-5)

    assert "derived from focusgym.recognizer.OnFeatures" in refused(
        capsys, "classifier", tmp_path / "other", *arguments[2:], "--stage", "patches"
    )
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clasifier", "stage 'clasifier': did you mean 'classifier'? stage must be one of encoder"),
        ("patches", "derived from focusgym.recognizer.OnFeatures; got 'patches', which is"),
        ("torch:nothing", "that Python finds; got 'torch:nothing'"),
    ],
)
def test_other_stages_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match="stage") as error:
        stage_class(name, OnFeatures)
    assert message in str(error.value)
    assert stage_class(NAME, OnFeatures) is LastOfAll
    with pytest.raises(ValueError, match="OnPixels; got"):
        stage_class(NAME, OnPixels)
