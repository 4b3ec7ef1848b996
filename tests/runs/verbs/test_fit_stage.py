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
    Stage,
    find_stage,
    read_classifier,
)
from focusgym.recognizer.stages import joint
from focusgym.runs.options.presets import VERBS

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
    kinds = {name: find_stage(name) for name in STAGES}
    rooms = ("focusgym.recognizer.stages.",)
    own = {kind for kind in subclasses(Stage) if kind.__module__.startswith(rooms)}
    assert {*kinds.values()} == own - {Stage, joint.Joint}  # from which others are derived
    assert {f"fit {name}" for name in STAGES} == {name for name in VERBS if name.startswith("fit ")}


def test_a_stage_of_ones_own_is_trained_with_its_losses(tmp_path: Path, calls: list[Call]) -> None:
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clasifier", "did you mean 'classifier'? stage must be one of classifier, or 'module:att"),
        ("patches", "stage must be one of classifier, or 'module:attribute' of your own; got 'pat"),
        ("torch:nothing", "that Python finds; got 'torch:nothing'"),
        ("torch.nn:Linear", "derived from focusgym.recognizer.OnFeatures; got 'torch.nn:Linear'"),
    ],
)
def test_other_stages_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match="stage") as error:
        find_stage("classifier", name)
    assert message in str(error.value)
    assert find_stage("classifier", NAME) is LastOfAll
    with pytest.raises(ValueError, match="OnPixels; got"):
        find_stage("patches", NAME)


class MeanOverAll(OnFeatures):
    """A stage that forgets that samples have a loss each."""

    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        """Return one loss."""
        return functional.cross_entropy(self.logits(outputs)[:, -1], labels)


def test_one_loss_for_all_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = write_cache(tmp_path / "cache", n=40)
    out, own = tmp_path / "f_c", f"{__name__}:MeanOverAll"
    message = refused(capsys, "classifier", out, "--cache", cache.root, *HOW, "--stage", own)
    assert "MeanOverAll.losses: expected (8,), a loss for each sample; got (): give" in message
    assert not out.exists()
