"""f_C, stepped and whole, against plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from focusgym.recognizer import (
    AverageClassifier,
    Classifier,
    ClassifierConfig,
    GruClassifier,
    build_classifier,
    confidence,
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


def test_averaging_is_trained_through() -> None:
    classifier = make("average").train()
    loss = classifier(*features()).logsumexp(-1).sum() - classifier(*features())[..., 0].sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in classifier.parameters())


@pytest.mark.parametrize("aggregation", ["gru", "average"])
def test_branches_are_separate_steps_from_the_same_state(aggregation: str) -> None:
    classifier = make(aggregation)
    glance, local = torch.randn(B, 1, G), torch.randn(B, 9, L)
    before = classifier.project(glance[:, 0], local[:, 0])
    state = advance(classifier, classifier.start(B), before, 0)
    together = advance(classifier, state, classifier.project(glance, local), 1)
    logits = classifier.logits(together, torch.ones(B))
    for branch in range(9):
        inputs = classifier.project(glance[:, 0], local[:, branch])
        alone = advance(classifier, state, inputs, 1)
        torch.testing.assert_close(together[:, branch], alone, rtol=0, atol=1e-6)
        alone = classifier.logits(alone, torch.ones(B))
        torch.testing.assert_close(logits[:, branch], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("aggregation", ["gru", "average"])
@pytest.mark.parametrize("reuse_glance", [True, False])
def test_skipping_is_a_zero_local_vector(aggregation: str, reuse_glance: bool) -> None:
    classifier = make(aggregation, reuse_glance)
    glance = torch.randn(B, G)
    zero = classifier.project(glance, torch.zeros(B, L))
    torch.testing.assert_close(classifier.project(glance, None), zero)


def test_an_unknown_aggregation_is_refused() -> None:
    with pytest.raises(ValueError, match="aggregation must be 'gru' or 'average'; got 'max'"):
        make("max")


def test_the_confidence_of_several_labels_is_their_mean() -> None:
    logits = torch.randn(2, 3, 4)
    labels = torch.tensor([[True, False, False, True], [False, True, False, False]])
    p = logits.softmax(-1)
    expected = torch.stack([(p[0, :, 0] + p[0, :, 3]) / 2, p[1, :, 1]])
    torch.testing.assert_close(confidence(logits, labels), expected)
    first = confidence(logits, torch.tensor([0, 1]))
    torch.testing.assert_close(first, torch.stack([p[0, :, 0], p[1, :, 1]]))
    torch.testing.assert_close(confidence(logits[:, 0], labels), expected[:, 0])
