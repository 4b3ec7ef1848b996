"""The training of an AF network: its loss, its schedule, its two rates, and going on."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from focusgym.recognizer import (
    AFNet,
    AFNetConfig,
    AFNetStage,
    FitConfig,
    Fitted,
    TensorSamples,
    fit,
    uniform_draws,
)

T, C, S = 3, 3, 32
RATES = {"afnet": 0.01, "gates": 0.1}


def make_stage(ratio: float = 0.4, seed: int = 0, **options: Any) -> AFNetStage:
    torch.manual_seed(seed)
    spatial = options.pop("spatial_ratio", None)
    how = {name: options.pop(name) for name in ("loss_weight", "temperature") if name in options}
    sizes = AFNetConfig("small", C, T, spatial=spatial is not None, keep_score=1.5, **options)
    return AFNetStage(AFNet(sizes), ratio=ratio, spatial_ratio=spatial, **how)


def make_batch(n: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    frames = torch.randint(256, (n, T, 3, S, S), generator=rng, dtype=torch.uint8)
    return frames, uniform_draws(range(n), T, [7, 0], 4), torch.arange(n) % C


class Interrupted(Exception):
    pass


def train(stage: AFNetStage, config: FitConfig, stop_after: int = 10**9, **how: Any) -> Fitted:
    left = iter(range(stop_after))

    def samples(n: int) -> TensorSamples:
        frames, _, labels = make_batch(n)

        def load(epoch: int, rows: Tensor) -> tuple[Tensor, ...]:
            if next(left, None) is None:
                raise Interrupted
            return frames[rows], uniform_draws(rows.tolist(), T, [7, epoch], 4), labels[rows]

        return TensorSamples(n, load)

    return fit(stage, samples(6), samples(3), config, name="test", seed=[3], **how)


@pytest.mark.parametrize("spatial", [None, 0.5])
def test_the_loss_by_hand(spatial: float | None) -> None:
    stage = make_stage(spatial_ratio=spatial, loss_weight=0.7)
    frames, draws, labels = make_batch(4)
    stage.begin_epoch(9, 10)
    outputs = stage.train()(frames, draws)
    entropy = functional.cross_entropy(outputs.logits, labels)
    masks, positions = outputs.masks.detach(), outputs.positions.detach()
    selection = 0.0
    for gate in range(4):
        kept = sum(float(masks[b, t, gate]) for b in range(4) for t in range(T))
        selection += (0.4 - kept / (4 * T)) ** 2 / 4
        if spatial is not None:
            selection += (spatial - float(positions[:, :, gate].mean())) ** 2 / 4
    losses = stage.losses(outputs, labels)
    assert losses.shape == (4,)
    assert losses.mean().item() == pytest.approx(entropy.item() + 0.7 * selection, rel=1e-5)
    assert 0 < masks.mean() < 1, "the noise turns some of the gates"


def test_evaluation_has_no_noise_and_no_selection_loss() -> None:
    stage = make_stage().eval()
    frames, draws, labels = make_batch(4)
    outputs, again = stage(frames, draws), stage(frames, 1 - draws)
    assert torch.equal(outputs.logits, again.logits)
    expected = functional.cross_entropy(outputs.logits, labels, reduction="none")
    torch.testing.assert_close(stage.losses(outputs, labels), expected)
    torch.testing.assert_close(outputs.logits, stage.network(frames).logits, rtol=1e-5, atol=1e-5)


def test_the_target_falls_to_the_ratio_at_shares_of_the_training() -> None:
    stage = make_stage(0.4, spatial_ratio=0.7)
    seen = {}
    for epoch in range(50):
        stage.begin_epoch(epoch, 50)
        seen[epoch] = stage.target
    assert [seen[e] for e in (0, 9, 10, 14, 15, 19, 20, 49)] == pytest.approx(
        [1, 1, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4]
    )
    assert stage.spatial_target == pytest.approx(0.7)
    assert stage.temperature == pytest.approx(0.01 ** (49 / 50))
    assert [stage.may_be_kept(e, 50) for e in (0, 10, 20, 21, 50)] == [False] * 3 + [True] * 2
    for n in range(1, 60):
        assert stage.may_be_kept(n, n), "the last epoch always may"
        stage.begin_epoch(n - 1, n)
        assert stage.target == pytest.approx(0.4)
    assert make_stage(1.0).may_be_kept(0, 5)


def test_gates_have_a_rate_of_their_own() -> None:
    """Every weight is in one of the two, and an optimizer's step moves it by its own rate."""
    stage = make_stage(spatial_ratio=0.5)
    names = {id(p): name for name, p in stage.network.named_parameters()}
    groups = {
        part: [names[id(p)] for p in network.parameters()]
        for part, network in stage.networks.items()
    }
    assert sorted(groups["afnet"] + groups["gates"]) == sorted(names.values())
    gate = [name for name in names.values() if "navigation" in name or ".spatial." in name]
    assert sorted(groups["gates"]) == sorted(gate)
    before = {name: p.clone() for name, p in stage.network.named_parameters()}
    train(stage, FitConfig(1, 6, {"gates": 0.1}, freeze_batch_norm=True))
    moved = {n for n, p in stage.network.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert moved <= set(gate), "what is not named is fixed"


def test_the_best_is_one_that_was_trained_for_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage()
    scores = iter([(0.9, -1.0), (0.8, -1.0), (0.5, -1.0), (0.6, -1.0), (0.55, -1.0)])
    loop = importlib.import_module("focusgym.recognizer.stages.fit")
    monkeypatch.setattr(loop, "validate", lambda *_: next(scores))
    kept = train(stage, FitConfig(4, 6, RATES))
    assert (kept.epoch, kept.val_accuracy) == (3, 0.6)  # not before the second epoch


@pytest.mark.parametrize(
    ("stop_after", "rates"), [(0, RATES), (2, RATES), (6, RATES), (6, {"afnet": 0.01})]
)
def test_going_on_is_not_having_been_interrupted(
    stop_after: int, rates: dict[str, float], tmp_path: Path
) -> None:
    """Bit for bit, from before the first batch, and from the midst of two epochs."""
    config = FitConfig(3, 3, rates)
    uninterrupted, resumed, how = make_stage(), make_stage(), {"checkpoint_s": 0.0}
    kept = train(uninterrupted, config, checkpoint=tmp_path / "whole", **how)
    with pytest.raises(Interrupted):
        train(make_stage(), config, stop_after, checkpoint=tmp_path / "c", **how)
    assert train(resumed, config, checkpoint=tmp_path / "c", **how) == kept
    assert (tmp_path / "c").read_bytes() == (tmp_path / "whole").read_bytes()
    for name, value in uninterrupted.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match="soft selection skips nothing: ratios must be 1; got 0.4"):
        make_stage(selection="soft")
    with pytest.raises(ValueError, match="ratio must be in"):
        make_stage(1.5)
    with pytest.raises(ValueError, match="loss_weight must not be negative; got -1"):
        make_stage(loss_weight=-1)
    with pytest.raises(ValueError, match="kind must be one of exponential"):
        make_stage(temperature="steep")
    with pytest.raises(ValueError, match="a spatial ratio is for a network with spatial gates"):
        AFNetStage(AFNet(AFNetConfig("small", C, T)), ratio=0.5, spatial_ratio=0.5)


def test_of_one_frame_there_is_nothing_to_choose() -> None:
    """The gates keep it, whatever they begin with, see, and are given as noise."""
    torch.manual_seed(0)
    network = AFNet(AFNetConfig("small", C, 1, keep_score=-5.0))
    frames = make_batch(4)[0][:, :1]
    assert network.eval()(frames).masks.min() == 0
    with pytest.raises(ValueError, match="nothing to choose among one frame: ratio must be 1; got"):
        AFNetStage(network, ratio=0.5)
    stage = AFNetStage(network, ratio=1.0)
    for drawn in (0.0, 0.5, 1 - 1e-7):
        outputs = stage.train()(frames, torch.full((4, 1, 4), drawn))
        assert (outputs.masks == 1).all()
    assert (stage.eval()(frames, torch.zeros(4, 1, 4)).masks == 1).all()
