"""f_C, stepped and whole, against plain torch."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from focusgym.recognizer import (
    AverageClassifier,
    BundleError,
    Classifier,
    ClassifierConfig,
    GruClassifier,
    MaxPoolClassifier,
    build_classifier,
    confidence,
    read_classifier,
    write_bundle,
)

B, T, G, L, C = 4, 7, 5, 6, 3


def make(aggregation: str, reuse_glance: bool = True) -> Classifier:
    torch.manual_seed(0)
    config = ClassifierConfig(G, L, C, hidden=8, reuse_glance=reuse_glance, aggregation=aggregation)
    return build_classifier(config).eval()


def features() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, T, G, generator=generator), torch.randn(B, T, L, generator=generator)


def advance(classifier: Classifier, state: Tensor, inputs: Tensor, t: int) -> Tensor:
    step = torch.full((B,), t)
    return classifier.advance(state, classifier.recur(state, step), inputs, step)


def stepped(classifier: Classifier, glance: Tensor, local: Tensor) -> Tensor:
    state, logits = classifier.start(B), []
    for t in range(T):
        state = advance(classifier, state, classifier.project(glance[:, t], local[:, t]), t)
        logits.append(classifier.logits(state, torch.full((B,), t)))
    return torch.stack(logits, 1)


@pytest.mark.parametrize("reuse_glance", [True, False])
def test_the_stepped_gru_is_torch_gru(reuse_glance: bool) -> None:
    classifier = make("gru", reuse_glance)
    assert isinstance(classifier, GruClassifier)
    glance, local = features()
    reference = nn.GRU(G + L if reuse_glance else L, 8, batch_first=True)
    reference.load_state_dict(classifier.gru.state_dict())
    x = torch.cat([glance, local], -1) if reuse_glance else local
    expected = classifier.head(reference(x)[0])
    torch.testing.assert_close(stepped(classifier, glance, local), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(classifier(glance, local), expected, rtol=0, atol=1e-6)
    classifier.lay_out()
    torch.testing.assert_close(stepped(classifier, glance, local), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(classifier(glance, local), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(classifier.gru.state_dict(), reference.state_dict(), rtol=0, atol=0)


def test_saturated_gates_are_torch_gru_too() -> None:
    classifier = make("gru")
    glance, local = (100 * x for x in features())
    expected = classifier(glance, local)
    torch.testing.assert_close(stepped(classifier, glance, local), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("reuse_glance", [True, False])
def test_averaging_is_the_mean_of_the_frames_own_predictions(reuse_glance: bool) -> None:
    classifier = make("average", reuse_glance)
    assert isinstance(classifier, AverageClassifier)
    glance, local = features()
    x = torch.cat([glance, local], -1) if reuse_glance else local
    frames = (x @ classifier.head.weight.T + classifier.head.bias).softmax(-1)
    for t in range(T):
        expected = frames[:, : t + 1].mean(1)
        for logits in (classifier(glance, local), stepped(classifier, glance, local)):
            torch.testing.assert_close(logits[:, t].softmax(-1), expected, rtol=0, atol=1e-6)
            torch.testing.assert_close(logits[:, t].exp(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("reuse_glance", [True, False])
def test_averaged_logits_are_the_mean_before_the_softmax(reuse_glance: bool) -> None:
    classifier = make("average_logits", reuse_glance)
    glance, local = features()
    x = torch.cat([glance, local], -1) if reuse_glance else local
    weight, bias = classifier.head.weight, classifier.head.bias
    for t in range(T):
        expected = x[:, : t + 1].mean(1) @ weight.T + bias  # the head is linear
        for logits in (classifier(glance, local), stepped(classifier, glance, local)):
            torch.testing.assert_close(logits[:, t], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("aggregation", ["average", "average_logits"])
def test_averaging_is_trained_through(aggregation: str) -> None:
    classifier = make(aggregation).train()
    loss = classifier(*features()).logsumexp(-1).sum() - classifier(*features())[..., 0].sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in classifier.parameters())


@pytest.mark.parametrize("aggregation", ["gru", "average", "average_logits", "max_pool"])
def test_branches_are_separate_steps_from_the_same_state(aggregation: str) -> None:
    classifier = make(aggregation)
    glance, local = torch.randn(B, 1, G), torch.randn(B, 9, L)
    before = classifier.project(glance[:, 0], local[:, 0])
    state = advance(classifier, classifier.start(B), before, 0)
    together = advance(classifier, state, classifier.project(glance, local), 1)
    logits = classifier.logits(together, torch.ones(B, dtype=torch.int64))
    for branch in range(9):
        inputs = classifier.project(glance[:, 0], local[:, branch])
        alone = advance(classifier, state, inputs, 1)
        torch.testing.assert_close(together[:, branch], alone, rtol=0, atol=1e-6)
        alone = classifier.logits(alone, torch.ones(B, dtype=torch.int64))
        torch.testing.assert_close(logits[:, branch], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("aggregation", ["gru", "average", "average_logits", "max_pool"])
@pytest.mark.parametrize("reuse_glance", [True, False])
def test_skipping_is_a_zero_local_vector(aggregation: str, reuse_glance: bool) -> None:
    classifier = make(aggregation, reuse_glance)
    glance = torch.randn(B, G)
    zero = classifier.project(glance, torch.zeros(B, L))
    torch.testing.assert_close(classifier.project(glance, None), zero)


def test_an_unknown_aggregation_is_refused() -> None:
    config = ClassifierConfig(G, L, C, aggregation="max")
    expected = (
        "aggregation must be one of gru, average, average_logits, max_pool, or 'module:attribute'"
    )
    with pytest.raises(ValueError, match=f"{expected} of your own; got 'max'"):
        build_classifier(config)
    with pytest.raises(ValueError, match=f"{expected} that Python finds; got 'x:y'"):
        build_classifier(replace(config, aggregation="x:y"))
    with pytest.raises(ValueError, match="a class derived from focusgym.recognizer.Classifier"):
        build_classifier(replace(config, aggregation="os:getcwd"))


class Mine(GruClassifier):
    """A classifier of a user's own."""


def test_a_class_of_your_own_is_found_by_its_place(tmp_path: Path) -> None:
    """A bundle does not import it: it may be somebody else's bundle."""
    config = ClassifierConfig(G, L, C, hidden=8, aggregation=f"{__name__}:Mine")
    sys.modules.setdefault(__name__, sys.modules[Mine.__module__])
    assert type(build_classifier(config)) is Mine
    classifier = build_classifier(config)
    write_bundle(tmp_path / "mine", "classifier", config, classifier)
    assert type(read_classifier(tmp_path / "mine")) is Mine
    config = replace(config, aggregation="antigravity:Mine")
    write_bundle(tmp_path / "theirs", "classifier", config, classifier)
    with pytest.raises(BundleError, match="which a file may not import: import antigravity first"):
        read_classifier(tmp_path / "theirs")
    assert "antigravity" not in sys.modules


def test_the_maximum_over_frames_by_hand() -> None:
    """Units of each frame, their running maximum, the head of that many frames."""
    torch.manual_seed(0)
    classifier = build_classifier(
        ClassifierConfig(G, L, C, hidden=8, aggregation="max_pool", steps=3)
    ).eval()
    assert isinstance(classifier, MaxPoolClassifier)
    glance, local = torch.randn(2, 3, G), torch.randn(2, 3, L)
    with torch.no_grad():
        classifier.norm.running_mean.uniform_(-1, 1)
        classifier.norm.running_var.uniform_(0.5, 2)
        logits = classifier(glance, local)
        x = torch.cat([glance, local], dim=-1).double().numpy()
        weight, bias = (p.double().numpy() for p in classifier.layer.parameters())
        mean, var = classifier.norm.running_mean.numpy(), classifier.norm.running_var.numpy()
        units = np.maximum((x @ weight.T + bias - mean) / np.sqrt(var + classifier.norm.eps), 0)
        for t, head in enumerate(classifier.heads):
            pooled = units[:, : t + 1].max(axis=1)
            expected = pooled @ head.weight.double().numpy().T + head.bias.double().numpy()
            np.testing.assert_allclose(logits[:, t].numpy(), expected, rtol=0, atol=1e-5)
        # Rows at different steps use the heads of their own.
        state = torch.from_numpy(units.max(axis=1)).float()
        mixed = classifier.logits(state, torch.tensor([0, 2]))
        for row, t in enumerate((0, 2)):
            head = classifier.heads[t]
            torch.testing.assert_close(mixed[row], head(state[row]), rtol=0, atol=1e-5)
        with pytest.raises(ValueError, match="expected steps below 3, .*; got 3"):
            classifier.logits(state, torch.tensor([3, 0]))
        with pytest.raises(ValueError, match="expected at most 3 frames, one per head; got 4"):
            classifier(torch.zeros(1, 4, G), torch.zeros(1, 4, L))


def test_the_confidence_of_several_labels_is_their_mean() -> None:
    logits = torch.randn(2, 3, 4)
    labels = torch.tensor([[True, False, False, True], [False, True, False, False]])
    p = logits.softmax(-1)
    expected = torch.stack([(p[0, :, 0] + p[0, :, 3]) / 2, p[1, :, 1]])
    torch.testing.assert_close(confidence(logits, labels), expected)
    first = confidence(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(first, torch.stack([p[0, :, 0], p[1, :, 1]]))
    torch.testing.assert_close(confidence(logits[:, 0], labels), expected[:, 0])
