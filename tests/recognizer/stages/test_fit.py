"""The training loop against literal ones: plain torch, float64, the formulas written out."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stage_trainings import (
    FEATURES,
    N_TRAIN,
    N_VAL,
    C,
    G,
    K,
    L,
    T,
    assert_equal,
    last_weights,
    make_features,
    make_frames,
    make_on_features,
    make_pixels,
    train,
    weights_of,
)
from torch import Tensor, nn
from torch.nn import functional

from focusgym.recognizer import (
    Encoder,
    EncoderConfig,
    FitConfig,
    FitError,
    FullFrames,
    Purpose,
    Stage,
    TensorSamples,
    fit,
    generator,
    sequence_losses,
)

SEED = (3, 1)


def batches_of(epoch: int, batch_size: int) -> list[list[int]]:
    order = generator(Purpose.SAMPLE_ORDER, *SEED, epoch).permutation(N_TRAIN).tolist()
    return [order[i : i + batch_size] for i in range(0, N_TRAIN, batch_size)]


def cosine(rate: float, step: int, n_steps: int) -> float:
    return rate * (1 + math.cos(math.pi * step / n_steps)) / 2


class LiteralSgd:
    """SGD as in its papers: g ← g + w·decay; v ← m·v + g; w ← w − lr·(g + m·v), or lr·v."""

    def __init__(self, parts: list[nn.Module], rates: list[float], n_steps: int, config: FitConfig):
        self.groups = [
            ([*part.parameters()], rate) for part, rate in zip(parts, rates, strict=True)
        ]
        self.velocity: dict[Tensor, Tensor] = {}
        self.step_index, self.n_steps, self.config = 0, n_steps, config

    def step(self, loss: Tensor) -> None:
        momentum = self.config.momentum
        weights = [w for group, _ in self.groups for w in group]
        gradients = dict(zip(weights, torch.autograd.grad(loss, weights), strict=True))
        for group, rate in self.groups:
            lr = cosine(rate, self.step_index, self.n_steps)
            for w in group:
                g = gradients[w] + self.config.weight_decay * w.detach()
                v = momentum * self.velocity.get(w, torch.zeros_like(w)) + g
                self.velocity[w] = v
                w.data -= lr * (g + momentum * v if self.config.nesterov else v)
        self.step_index += 1


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Eq. 5: the mean over videos and steps of −log p_t,label."""
    probabilities = logits.exp() / logits.exp().sum(-1, keepdim=True)
    chosen = [probabilities[b, t, labels[b]] for b in range(len(labels)) for t in range(T)]
    return -torch.stack(chosen).log().mean()


class LiteralClassifier(nn.Module):
    """torch's GRU and linear layer, float64, from the weights of an f_C without dropout."""

    def __init__(self, weights: dict[str, Tensor], dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        hidden = weights["head.weight"].shape[1]
        self.gru = nn.GRU(G + L, hidden, batch_first=True)
        self.head = nn.Linear(hidden, C)
        self.load_state_dict(weights)
        self.to(dtype)

    def forward(self, glance: Tensor, local: Tensor) -> Tensor:
        return self.head(self.gru(torch.cat([glance, local], dim=2))[0])


def assert_near(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=2e-4, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("change", [{}, {"nesterov": False}, {"momentum": 0.5}])
def test_features_against_a_literal_loop(change: dict[str, Any], tmp_path: Path) -> None:
    """Order, loss, SGD with L2 and momentum, cosine by step: final weights, and which are kept."""
    config = FitConfig(4, 3, {"classifier": 0.1}, weight_decay=0.02, **change)
    stage = make_on_features(dropout=0.0)
    literal = LiteralClassifier(stage.classifier.state_dict())
    kept = train(stage, config, checkpoint=tmp_path / "c")

    sgd = LiteralSgd([literal], [0.1], 4 * 4, config)
    data = [part.double() if part.is_floating_point() else part for part in make_features(N_TRAIN)]
    held_out = [p.double() if p.is_floating_point() else p for p in make_features(N_VAL)]
    scores, states = [], []
    for epoch in range(-1, 4):
        for rows in batches_of(epoch, 3) if epoch >= 0 else []:
            glance, local, labels = (part[rows] for part in data)
            sgd.step(cross_entropy(literal(glance, local), labels))
        with torch.no_grad():
            logits = literal(*held_out[:2])
        right = sum(
            int(logits[b, t].argmax() == held_out[2][b]) for b in range(N_VAL) for t in range(T)
        )
        scores.append((right / (N_VAL * T), -float(cross_entropy(logits, held_out[2]))))
        states.append(weights_of(literal))
    assert sgd.step_index == sgd.n_steps
    assert_near(last_weights(tmp_path / "c"), {f"classifier.{k}": v for k, v in states[-1].items()})
    best = max(range(5), key=lambda epoch: scores[epoch])
    assert kept.epoch == best > 0
    assert kept.val_accuracy == pytest.approx(scores[best][0])
    assert kept.val_loss == pytest.approx(-scores[best][1], rel=1e-5)
    assert_near(stage.classifier.state_dict(), states[best])


def test_pixels_against_a_literal_loop(tmp_path: Path) -> None:
    """A rate for each network, random patches, BatchNorm in training: in float64."""
    config = FitConfig(2, 4, {"local": 0.02, "classifier": 0.1}, weight_decay=0.02)
    stage = make_pixels(dropout=0.0)
    glance_trunk = copy.deepcopy(stage.glance_encoder.trunk).double().eval()
    local_trunk = copy.deepcopy(stage.local_encoder.trunk).double().train()
    literal = LiteralClassifier(stage.classifier.state_dict())
    train(stage, config, checkpoint=tmp_path / "c")

    frames, labels = make_frames(N_TRAIN)
    normalised = frames.double() / 255
    mean, std = (
        torch.tensor(three)[:, None, None]
        for three in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    normalised = (normalised - mean.double()) / std.double()
    sgd = LiteralSgd([local_trunk, literal], [0.02, 0.1], 2 * 3, config)
    for epoch in range(2):
        for rows in batches_of(epoch, 4):
            glance, patches = [], []
            for row in rows:
                drawn = generator(Purpose.SAMPLE_DRAWS, 5, epoch, row).random((T, 2))
                for t in range(T):
                    option = math.floor(drawn[t, 0] * K)
                    top, left = 8 * (option // 3), 8 * (option % 3)  # 16 px of room, 3 places
                    frame = normalised[row, t]
                    patches.append(frame[:, top : top + 16, left : left + 16])
                    small = frame.unflatten(1, (16, 2)).unflatten(3, (16, 2)).mean(dim=(2, 4))
                    glance.append(glance_trunk(small[None]).mean(dim=(0, 2, 3)))
            local = local_trunk(torch.stack(patches)).mean(dim=(2, 3)).view(len(rows), T, L)
            logits = literal(torch.stack(glance).view(len(rows), T, G), local)
            sgd.step(cross_entropy(logits, labels[rows]))
    expected = {f"local.trunk.{k}": v for k, v in local_trunk.state_dict().items()}
    expected |= {f"classifier.{k}": v for k, v in literal.state_dict().items()}
    assert_near(last_weights(tmp_path / "c"), expected)


def test_adamw_and_one_cycle_are_torchs_own(tmp_path: Path) -> None:
    config = FitConfig(
        4, 3, {"classifier": 0.02}, optimizer="adamw", schedule="one_cycle", weight_decay=0.1
    )
    stage = make_on_features(dropout=0.0)
    literal = LiteralClassifier(stage.classifier.state_dict(), torch.float32)
    train(stage, config, checkpoint=tmp_path / "c")
    optimizer = torch.optim.AdamW(literal.parameters(), 0.02, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=16)
    glance, local, labels = make_features(N_TRAIN)
    for epoch in range(4):
        for rows in batches_of(epoch, 3):
            optimizer.zero_grad()
            logits = literal(glance[rows], local[rows])
            each = labels[rows].repeat_interleave(T)
            functional.cross_entropy(logits.flatten(0, 1), each).backward()
            optimizer.step()
            schedule.step()
    weights = last_weights(tmp_path / "c")
    for name, value in literal.state_dict().items():
        np.testing.assert_allclose(weights[f"classifier.{name}"], value, atol=1e-5, err_msg=name)


def test_one_cycle_leaves_the_momentum_of_sgd_alone(tmp_path: Path) -> None:
    """Without momentum and decay a step is lr·g: of one sample, the steps' lr can be read off."""
    config = FitConfig(
        1,
        1,
        {"classifier": 0.2},
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        schedule="one_cycle",
    )
    stage = make_on_features(dropout=0.0)
    literal = LiteralClassifier(stage.classifier.state_dict())
    train(stage, config, checkpoint=tmp_path / "c")
    rates = [0.2 / 25, *[0.0] * 9]
    up, down = 0.3 * N_TRAIN - 1, N_TRAIN - 1 - (0.3 * N_TRAIN - 1)
    for i in range(1, N_TRAIN):
        share = i / up if i <= up else (i - up) / down
        start, end = (0.2 / 25, 0.2) if i <= up else (0.2, 0.2 / 25 / 1e4)
        rates[i] = end + (start - end) * (1 + math.cos(math.pi * share)) / 2
    assert max(rates) == pytest.approx(0.2)
    glance, local, labels = make_features(N_TRAIN)
    weights = [*literal.parameters()]
    for rows, rate in zip(batches_of(0, 1), rates, strict=True):
        logits = literal(glance[rows].double(), local[rows].double())
        gradients = torch.autograd.grad(cross_entropy(logits, labels[rows]), weights)
        for w, g in zip(weights, gradients, strict=True):
            w.data -= rate * g
    expected = {f"classifier.{k}": v for k, v in literal.state_dict().items()}
    assert_near(last_weights(tmp_path / "c"), expected)


def test_rates_for_another_batch_size_are_scaled_and_say_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scaled, plain = make_pixels(), make_pixels()
    train(plain, FitConfig(2, 5, {"local": 0.01, "classifier": 0.04}))
    assert "learning rates" not in capsys.readouterr().out
    config = FitConfig(2, 5, {"local": 0.02, "classifier": 0.08}, lr_batch_size=10)
    train(scaled, config, name="stage I")
    assert capsys.readouterr().out == (
        "stage I: batches of 5 instead of 10: learning rates times 0.5: local 0.01, classifier "
        "0.04\n"
    )
    assert_equal(weights_of(scaled), weights_of(plain))


def test_what_the_samples_are_asked_for() -> None:
    """Training samples by epoch, in its order; those to select on always as in the first."""
    requests: dict[str, list[tuple[int, list[int]]]] = {"train": [], "val": []}
    samples = {}
    for name, n in (("train", N_TRAIN), ("val", N_VAL)):
        data = make_features(n)

        def load(
            epoch: int, rows: Tensor, name: str = name, data: Any = data
        ) -> tuple[Tensor, ...]:
            requests[name].append((epoch, rows.tolist()))
            return tuple(part[rows] for part in data)

        samples[name] = TensorSamples(n, load)
    fit(make_on_features(), *samples.values(), FEATURES, name="test", seed=SEED)
    assert requests["train"] == [
        (epoch, rows) for epoch in range(4) for rows in batches_of(epoch, 3)
    ]
    assert requests["val"] == [(0, [0, 1, 2]), (0, [3, 4, 5])] * 5


def test_every_sample_has_a_mask_of_its_own_in_every_epoch() -> None:
    """Another seed has others; the same one has the same, in batches of another size."""
    masks: dict[tuple[int, int], list[bytes]] = {}
    for seed, batch_size in ((0, 3), (0, 3), (0, 4), (1, 3)):
        stage, drawn = make_on_features(hidden=64), []
        stage.classifier.dropout.register_forward_hook(
            lambda module, _, out, drawn=drawn: drawn.extend(
                (each == 0).numpy().tobytes() for each in out.detach() if module.training
            )
        )
        train(stage, replace(FEATURES, batch_size=batch_size), seed=[seed])
        assert len(set(drawn)) == len(drawn) == 4 * N_TRAIN
        assert masks.setdefault((seed, batch_size), drawn) == drawn
    assert set(masks[0, 3]) == set(masks[0, 4])
    assert not set(masks[0, 3]) & set(masks[1, 3])


def test_stage_zero_learns_to_tell_colours() -> None:
    """f_G and a head, logits averaged over the frames; the head is part of what is trained."""
    torch.manual_seed(0)
    stage = FullFrames(Encoder(EncoderConfig("small_glance", input_px=4)), C)
    frames, labels = make_frames(60)
    samples = [
        TensorSamples(
            n, lambda epoch, rows, start=start: (frames[start + rows], labels[start + rows])
        )
        for start, n in ((0, 40), (40, 20))
    ]
    config = FitConfig(6, 8, {"encoder": 0.02}, optimizer="adamw", schedule="one_cycle")
    before = weights_of(stage)
    kept = fit(stage, *samples, config, name="test", seed=[0])
    assert kept.val_accuracy > 0.9
    with torch.no_grad():
        maps = stage.encoder(frames[40:].flatten(0, 1))
        per_frame = maps.mean(dim=(2, 3)) @ stage.head.weight.T + stage.head.bias
        logits = torch.stack([per_frame[i : i + T].mean(0) for i in range(0, 20 * T, T)])
    assert torch.allclose(stage(frames[40:]), logits[:, None], atol=1e-5)
    right = sum(int(logits[i].argmax() == labels[40 + i]) for i in range(20))
    assert kept.val_accuracy == right / 20
    changed = {
        name for name, value in weights_of(stage).items() if not torch.equal(value, before[name])
    }
    assert changed == set(before)


def test_a_rate_for_a_network_that_is_not_there() -> None:
    config = FitConfig(1, 4, {"classifer": 0.1, "encoder": 0.1, "local": 0.1})
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        train(make_pixels(), config)
    assert str(caught.value) == (
        "lr names classifer, encoder, this stage has local, classifier: name those that are to be "
        "trained"
    )


@pytest.mark.parametrize(("n_train", "n_val"), [(0, 3), (3, 0)])
def test_no_samples(n_train: int, n_val: int) -> None:
    none = [TensorSamples(n, lambda epoch, rows: ()) for n in (n_train, n_val)]
    with pytest.raises(FitError) as caught:
        fit(make_on_features(), *none, FEATURES, name="f_C on the cache", seed=[0])
    assert str(caught.value) == (
        f"f_C on the cache: there are {n_train} training and {n_val} validation samples: give "
        "splits that have videos"
    )


def test_a_loss_that_diverges() -> None:
    stage = make_on_features()
    with pytest.raises(FitError) as caught:
        train(stage, FitConfig(4, 3, {"classifier": 1e30}), name="stage III")
    assert str(caught.value) == (
        "stage III: the loss of epoch 1 is nan: lower the learning rates, or compute in float32; "
        "checkpoints of the epochs before stay as they are"
    )
    assert not any(module.training for module in stage.modules())


class TwoHeads(Stage):
    """Logits of two linear heads; the second one's loss counts half."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"heads": nn.ModuleList([self.first, self.second])}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.first(x), self.second(x)

    def logits(self, outputs: Any) -> Tensor:
        return outputs[0]

    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        return sequence_losses(outputs[0], labels) + 0.5 * sequence_losses(outputs[1], labels)


def test_a_stage_gives_its_own_losses() -> None:
    """One step of plain gradient descent on them, by hand."""
    torch.manual_seed(0)
    stage, x, labels = TwoHeads(), torch.randn(6, 2, 4), torch.arange(6) % 3
    by_hand = copy.deepcopy(stage)
    samples = TensorSamples(6, lambda epoch, rows: (x[rows], labels[rows]))
    config = FitConfig(
        1, 6, {"heads": 0.1}, lr_batch_size=6, momentum=0.0, nesterov=False, weight_decay=0.0
    )
    kept = fit(stage, samples, samples, config, name="two heads", seed=[0])
    losses = by_hand.losses(by_hand(x), labels)
    losses.mean().backward()
    with torch.no_grad():
        for parameter in by_hand.parameters():
            parameter -= 0.1 * parameter.grad
    assert kept.epoch == 1, "a step down the losses is better on the samples themselves"
    for learned, expected in zip(stage.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(learned, expected, rtol=0, atol=1e-6)
    with torch.no_grad():
        after = float(by_hand.losses(by_hand(x), labels).mean())
    assert after < float(losses.detach().mean())
    assert kept.val_loss == pytest.approx(after, abs=1e-5)
