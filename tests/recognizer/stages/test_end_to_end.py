"""The stage that trains everything at once: its losses and gradients, put together by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stage_trainings import SIDE_PX, C, G, L, T, make_frames
from torch import Tensor, nn
from torch.nn import functional

from focusgym.recognizer import (
    Boxes,
    Encoder,
    EncoderConfig,
    EndToEnd,
    FitConfig,
    FrameConfig,
    PatchGrid,
    PolicyConfig,
    PredictionError,
    build_classifier,
    build_policy,
    fit,
    fixed_places,
    uniform_draws,
)
from focusgym.recognizer import ClassifierConfig as Sizes
from focusgym.recognizer.stages.samples import TensorSamples

P, B = 12, 4
BOXES = Boxes(SIDE_PX, P)
OFF = ("auxiliary", "diversity", "stop_gradient")


def make_stage(fixed: str | None = None, frames: FrameConfig | None = None, **how: Any) -> EndToEnd:
    torch.manual_seed(0)
    glance = Encoder(EncoderConfig("small_glance", input_px=8))
    local = Encoder(EncoderConfig("small_local"))
    f_c = build_classifier(Sizes(G, L, C, 10, 0.0, aggregation="max_pool", steps=T))
    policy = build_policy(PolicyConfig(4, 4, G, 1, 3, 6, network="centers"))
    if fixed is not None:
        how["fixed"] = fixed
    pi = policy if fixed is None else None
    return EndToEnd(glance, local, f_c, BOXES, pi, frames=frames, **how)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Frames, draws and labels of four videos."""
    frames, labels = make_frames(B)
    return frames, uniform_draws(range(B), T, [1, 2]), labels


def by_hand(
    stage: EndToEnd, batch: tuple[Tensor, Tensor, Tensor], **off: bool
) -> dict[str, Tensor]:
    """Return the terms of the loss ``(B,)`` by name, and the centres; the networks do the rest."""
    frames, draws, labels = batch
    policy: Any = stage.policy
    flat = frames.flatten(0, 1)
    maps = stage.glance_encoder(flat)
    seen = maps if off.get("stop_gradient") else maps.detach()
    centers = policy(seen.permute(0, 2, 3, 1).unflatten(0, (B, T)))
    where = [centers.flatten(0, 1)]
    if stage.training and not off.get("diversity"):
        where.append(draws.float().flatten(0, 1))
    prepared = stage.local_encoder.prepare(flat)
    # Both branches in one batch, as its BatchNorms see them.
    crops = torch.cat([boxes_by_torch(prepared, each) for each in where])
    local = stage.local_encoder.encode(crops).mean((2, 3)).view(len(where), B, T, L)
    glance = maps.mean((2, 3)).view(B, T, G)

    def entropy(logits: Tensor) -> Tensor:
        target = functional.one_hot(labels, C).float()[:, None]
        return -(logits.log_softmax(-1) * target).sum(-1).mean(1)

    heads: dict[str, Any] = dict(stage.heads.items())
    terms = {"centers": centers}
    for name, each in zip(("policy", "random"), local, strict=False):
        terms[f"f_C {name}"] = entropy(stage.classifier(glance, each))
        if heads:
            terms[f"f_L {name}"] = entropy(heads["local"](each))
            terms[f"f_G {name}"] = entropy(heads["glance"](glance))
    return terms


def boxes_by_torch(prepared: Tensor, centers: Tensor) -> Tensor:
    shift = -1 + (2 * centers * (SIDE_PX - P) + P) / SIDE_PX
    theta = torch.diag_embed(torch.full_like(shift, P / SIDE_PX))
    theta = torch.cat([theta, shift[:, :, None]], 2)
    grid = functional.affine_grid(theta, [len(centers), 3, P, P], align_corners=False)
    return functional.grid_sample(prepared, grid, "bilinear", "border", align_corners=False)


def gradients(loss: Tensor, network: nn.Module) -> list[Tensor]:
    grads = torch.autograd.grad(
        loss, list(network.parameters()), retain_graph=True, allow_unused=True
    )
    pairs = zip(grads, network.parameters(), strict=True)
    return [torch.zeros_like(p) if g is None else g for g, p in pairs]


@pytest.mark.parametrize("off", [(), *((name,) for name in OFF), OFF], ids="-".join)
def test_the_loss_is_the_mean_of_both_branches(
    off: tuple[str, ...], batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Cross-entropies of f_C, and of both heads; what is switched off is missing, nothing else."""
    stage = make_stage(**dict.fromkeys(off, False)).train()
    frames, draws, labels = batch
    outputs = stage(frames, draws)
    losses = stage.losses(outputs, labels)
    terms = by_hand(stage, batch, **dict.fromkeys(off, True))
    centers = terms.pop("centers")
    assert float(centers.detach().std()) > 0.005
    assert len(terms) == (1 if "auxiliary" in off else 3) * (1 if "diversity" in off else 2)
    expected = torch.stack([*terms.values()]).sum(0) / (1 if "diversity" in off else 2)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    assert losses.shape == (B,)
    assert stage.logits(outputs) is outputs.logits
    for name, network in stage.networks.items():
        grads, literal = (gradients(each.sum(), network) for each in (losses, expected))
        for one, other in zip(grads, literal, strict=True):
            scale = float(other.abs().max())
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3 * scale + 1e-6, msg=name)


def test_the_policy_learns_from_its_own_branch_alone(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    frames, draws, _ = batch
    stage = make_stage().train()
    # BatchNorms of f_L would tie the branches together: each crop is normalised with all others.
    stage.local_encoder.eval()
    assert stage.policy is not None
    outputs = stage(frames, draws)
    weights = list(stage.policy.parameters())
    own = torch.autograd.grad(outputs.logits.sum(), weights, retain_graph=True)
    assert all(float(each.abs().max()) > 0 for each in own)
    random, head, random_head = outputs.others
    head_gradient = torch.autograd.grad(head.square().sum(), weights, retain_graph=True)
    assert any(float(each.abs().max()) > 0 for each in head_gradient)
    assert outputs.glance is not None
    nothing = (outputs.glance, random_head)
    for each in nothing:
        grads = torch.autograd.grad(each.sum(), weights, retain_graph=True, allow_unused=True)
        assert all(g is None or not g.any() for g in grads)
    # f_C's BatchNorm sees one branch at a time, so that the random one says nothing either.
    grads = torch.autograd.grad(random.sum(), weights, retain_graph=True, allow_unused=True)
    assert all(g is None or not g.any() for g in grads)


@pytest.mark.parametrize("stop", [True, False])
def test_the_gradient_ends_before_f_g(stop: bool, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """f_C reads local vectors alone, and there are no heads: only π can reach f_G."""
    frames, draws, labels = batch
    stage = make_stage(stop_gradient=stop, auxiliary=False, diversity=False).train()
    stage.classifier = build_classifier(Sizes(G, L, C, 10, 0.0, reuse_glance=False))
    losses = stage.losses(stage(frames, draws), labels)
    grads = gradients(losses.sum(), stage.glance_encoder)
    assert any(bool(each.any()) for each in grads) != stop


@torch.no_grad()
def test_a_validation_is_of_the_policy_alone(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    frames, draws, labels = batch
    stage = make_stage().eval()
    outputs = stage(frames, draws)
    assert outputs.others == ()
    assert outputs.glance is None
    again = stage(frames, 1 - draws)
    assert torch.equal(again.logits, outputs.logits), "no draw matters"
    terms = by_hand(stage, batch)
    torch.testing.assert_close(
        stage.losses(outputs, labels), terms["f_C policy"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["random", "central", "gaussian"])
def test_fixed_places_without_a_policy(kind: Any, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    frames, draws, labels = batch
    stage = make_stage(kind)
    assert [*stage.networks] == ["glance", "local", "classifier"]
    expected = fixed_places(kind, BOXES, draws).flatten(0, 1)
    for training in (True, False):
        stage.train(training)
        images: list[Tensor] = []
        hook = stage.local_encoder.trunk.register_forward_pre_hook(
            lambda _, inputs, images=images: images.append(inputs[0])
        )
        outputs = stage(frames, draws)
        hook.remove()
        prepared = stage.local_encoder.prepare(frames.flatten(0, 1))
        torch.testing.assert_close(images[0], boxes_by_torch(prepared, expected), rtol=0, atol=1e-4)
        assert len(outputs.others) == training, "the local head"
        losses = stage.losses(outputs, labels)
        terms = [outputs.logits, *outputs.others, *([outputs.glance] if training else [])]
        target = labels.repeat_interleave(T)
        each = [functional.cross_entropy(term.flatten(0, 1), target) for term in terms]
        literal = torch.stack(each).sum()
        assert float(losses.mean().detach()) == pytest.approx(float(literal.detach()), rel=1e-5)


def test_networks_hold_every_weight_once() -> None:
    stage = make_stage()
    assert [*stage.networks] == ["glance", "local", "classifier", "policy"]
    weights = [p for network in stage.networks.values() for p in network.parameters()]
    assert {*map(id, weights)} == {*map(id, stage.parameters())}
    assert len(weights) == len([*stage.parameters()])
    names = {name for name, _ in stage.named_parameters()}
    assert {"heads.glance.1.weight", "heads.local.1.bias"} <= names
    assert not make_stage(auxiliary=False).heads


def test_segments_of_several_frames(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """The box of a segment is cut out of all its frames; f_G reads the middle one."""
    frames, draws, labels = batch
    two = torch.stack([255 - frames, frames], 2)  # (B, T, F, 3, S, S)
    stage = make_stage(frames=FrameConfig(T, SIDE_PX, segment_frames=2, glance_frames=1)).eval()
    policy: Any = stage.policy
    with torch.no_grad():
        outputs = stage(two, draws)
        maps = stage.glance_encoder(frames.flatten(0, 1))
        centers = policy(maps.permute(0, 2, 3, 1).unflatten(0, (B, T))).flatten(0, 1)
        of_frames = [
            stage.local_encoder.encode(
                boxes_by_torch(stage.local_encoder.prepare(two[:, :, f].flatten(0, 1)), centers)
            )
            for f in (0, 1)
        ]
        local = (sum(of_frames) / 2).mean((2, 3)).unflatten(0, (B, T))
        expected = stage.classifier(maps.mean((2, 3)).unflatten(0, (B, T)), local)
    torch.testing.assert_close(outputs.logits, expected, rtol=1e-4, atol=1e-4)
    trained = stage.train()(two, draws)
    assert bool(stage.losses(trained, labels).isfinite().all())


def test_in_half_precision_the_policy_and_the_losses_stay_in_float32(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    frames, draws, labels = batch
    stage = make_stage().train()
    policy: Any = stage.policy
    seen: list[torch.dtype] = []
    for network in (policy.linear, stage.local_encoder.trunk, stage.classifier.layer):
        network.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    plain = stage.losses(stage(frames, draws), labels)
    with torch.autocast("cpu", torch.bfloat16):
        losses = stage.losses(stage(frames, draws), labels)
    half = torch.bfloat16
    assert seen[4:] == [torch.float32, half, half, half]
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, plain, rtol=0.05, atol=0.1)
    losses.sum().backward()
    assert float(policy.conv.weight.grad.abs().max()) > 0


def samples(n: int) -> TensorSamples:
    frames, labels = make_frames(n)
    return TensorSamples(
        n, lambda _, rows: (frames[rows], uniform_draws(rows.tolist(), T, [4]), labels[rows])
    )


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norms_are_frozen_everywhere(frozen: bool) -> None:
    """Those of π and of f_C too: three of f_G, four of f_L, one of f_C, two of π."""
    rates = dict.fromkeys(("glance", "local", "classifier", "policy"), 0.01)
    stage = make_stage()
    modes: list[tuple[bool, bool]] = []
    norms = [m for m in stage.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.register_forward_hook(lambda layer, *_: modes.append((stage.training, layer.training)))
    config = FitConfig(1, 4, rates, freeze_batch_norm=frozen)
    fit(stage, samples(4), samples(2), config, name="test", seed=[1])
    assert len(norms) == 3 + 4 + 1 + 2
    # f_C runs twice in training; before and after it there is a validation.
    assert modes == [(False, False)] * 10 + [(True, not frozen)] * 11 + [(False, False)] * 10


def test_what_cannot_be_trained_is_said(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    frames, draws, _ = batch
    stage = make_stage()
    policy: Any = stage.policy
    with torch.no_grad():
        policy.actor.bias.fill_(float("nan"))
    with pytest.raises(PredictionError, match="names a centre that is NaN or infinite.*lower the"):
        stage(frames, draws)
    parts = stage.glance_encoder, stage.local_encoder, stage.classifier
    with pytest.raises(ValueError, match="with the 9 options of p16_3x3; got one with 1"):
        EndToEnd(*parts, PatchGrid(SIDE_PX, 16, 3), policy)
    chooses = build_policy(PolicyConfig(4, 4, G, 1, 3, 6))
    with pytest.raises(ValueError, match="names indices of options, and boxes12 is named by cent"):
        EndToEnd(*parts, BOXES, chooses)
