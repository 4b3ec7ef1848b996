"""Training with cubes: the gradient of Eq. 5 and 6, and the losses put together by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from focusgym.recognizer import (
    ClassifierConfig,
    CubePolicy,
    CubePolicyConfig,
    CubeRecognizer,
    Cubes,
    CubesEndToEnd,
    Encoder,
    EncoderConfig,
    FitConfig,
    FrameConfig,
    build_classifier,
    fit,
)
from focusgym.recognizer.stages.deep_features import between, cell_px, deep_gradient
from focusgym.recognizer.stages.samples import TensorSamples

S, P, T, D, B, C, G, L = 40, 16, 5, 3, 4, 3, 32, 64


def encoder(name: str = "small_local") -> Encoder:
    torch.manual_seed(0)
    return Encoder(EncoderConfig(name, 8 if name == "small_glance" else None)).eval()


def make_stage(frames: int = 1, policy: dict[str, Any] | None = None, **how: Any) -> CubesEndToEnd:
    glance, local = encoder("small_glance"), encoder()
    torch.manual_seed(1)
    f_c = build_classifier(ClassifierConfig(G, L, C, 10, 0.0, aggregation="max_pool", steps=D + 1))
    pi = CubePolicy(CubePolicyConfig(4, 4, G, T, D, 3, 6, **(policy or {})))
    return CubesEndToEnd(glance, local, f_c, Cubes(S, P, T, frames), pi, **how)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    coarse = 255 * torch.rand(B * T, 3, 5, 5, generator=generator)
    pixels = functional.interpolate(coarse, size=S, mode="bilinear").to(torch.uint8)
    draws = torch.rand(B, D, 6, generator=generator, dtype=torch.float64)
    return pixels.unflatten(0, (B, T)), draws, torch.arange(B) % C


@pytest.mark.parametrize(("name", "side", "cell"), [("small_local", 28, 8), ("resnet18", 96, 32)])
def test_a_cell_is_the_encoders_stride(name: str, side: int, cell: int) -> None:
    network = encoder(name)
    assert cell_px(network, side) == cell
    assert not network.training


def test_between_is_trilinear_interpolation() -> None:
    maps = torch.rand(2, 3, 4, 5, 6, dtype=torch.float64)
    place = torch.rand(2, 3, dtype=torch.float64)
    interpolated = between(maps, place, 2)
    for m in range(2):
        x, y, t = place[m].tolist()
        starts = zip((t, y, x), (2, 4, 5), strict=True)
        axes = (start + torch.arange(n, dtype=torch.float64) for start, n in starts)
        z, rows, columns = torch.meshgrid(*axes, indexing="ij")
        grid = torch.stack([2 * columns / 5, 2 * rows / 4, 2 * z / 2], dim=-1) - 1
        volume = maps[m].transpose(0, 1)[None]  # (1, L, F + 1, h + 1, w + 1)
        expected = functional.grid_sample(volume, grid[None], align_corners=True)
        torch.testing.assert_close(interpolated[m], expected[0].transpose(0, 1))
    place.requires_grad_()
    assert torch.autograd.gradcheck(lambda at: between(maps, at, 2), (place * 0.9,))


@pytest.mark.parametrize("frames", [1, 2, T])
def test_the_deep_gradient_is_that_of_equations_5_and_6(frames: int) -> None:
    """Features of the larger cube, element by element, by finite differences in float64."""
    network, cubes, (videos, _, _) = encoder().double(), Cubes(S, P, T, frames), batch()
    where = torch.tensor([[0.5, 0.4, 0.3], [0.0, 1.0, 0.9]]).repeat(B, 1, 1).requires_grad_()
    cell = cell_px(encoder(), P)
    assert cell == 8
    zeros = deep_gradient(encoder(), cubes, videos, where, cell)
    assert (zeros == 0).all()
    weights = torch.rand(zeros.shape, generator=torch.Generator().manual_seed(3))
    (zeros * weights).sum().backward()
    gradient = where.grad
    assert gradient is not None

    larger, place = cubes.crop_larger(videos, where, cell)
    images = network.prepare(larger.flatten(0, 2)).double()
    maps = network.trunk(images).unflatten(0, larger.shape[:3]).detach()

    def features(b: int, d: int, shift: list[float]) -> Tensor:
        """Eq. 5 with the coordinates of Eq. 6, pooled ``(L,)``."""
        x, y, t = (float(place[b, d, axis]) + shift[axis] for axis in range(3))
        total = torch.zeros(L, dtype=torch.float64)
        h, w = maps.shape[-2] - 1, maps.shape[-1] - 1
        for k in range(frames):
            for i in range(h):
                for j in range(w):
                    for dt, wt in ((0, 1 - t), (1, t)) if frames < T else ((0, 1.0),):
                        for dy, wy in ((0, 1 - y), (1, y)):
                            for dx, wx in ((0, 1 - x), (1, x)):
                                total += wt * wy * wx * maps[b, d, k + dt, :, i + dy, j + dx]
        return total / (frames * h * w)

    moves = [(S - P) / cell, (S - P) / cell, T - frames]
    for d in range(2):
        for axis in range(3):
            step = [1e-3 if each == axis else 0.0 for each in range(3)]
            change = features(0, d, step) - features(0, d, [-each for each in step])
            slope = (change * weights[0, d]).sum() / 2e-3 * moves[axis]
            assert float(gradient[0, d, axis]) == pytest.approx(float(slope), rel=1e-3, abs=1e-5)


def test_every_module_is_as_it_was_behind_the_gradient() -> None:
    """Statistics that are frozen stay frozen, in a network that is trained."""
    network = encoder().train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    before = [module.training for module in network.modules()]
    assert cell_px(network, P) == 8
    deep_gradient(network, Cubes(S, P, T), batch()[0], torch.full((B, 1, 3), 0.5), 8)
    assert [module.training for module in network.modules()] == before


def test_the_forward_pass_is_that_of_the_cubes_themselves() -> None:
    """So the training with deep features sees what is seen at test time."""
    stage, (videos, draws, _) = make_stage(), batch()
    stage.train()
    stage.local_encoder.eval()
    stage.policy.eval()  # type: ignore[union-attr]
    local_vectors: list[Tensor] = []
    stage.classifier.register_forward_hook(lambda _, inputs, __: local_vectors.append(inputs[1]))
    stage(videos, draws)
    maps = stage.glance_encoder(videos.flatten(0, 1)).float().permute(0, 2, 3, 1)
    where = stage.policy(maps.unflatten(0, (B, T)))  # type: ignore[misc]
    cubes = Cubes(S, P, T)
    cut = cubes.crop(videos, where, cubes.frames_at(where))[:, :, 0]
    plain = stage.local_encoder(cut.flatten(0, 1)).mean(dim=(2, 3)).unflatten(0, (B, D))
    torch.testing.assert_close(local_vectors[0][:, 1:], plain, atol=1e-5, rtol=0)
    assert (local_vectors[0][:, 0] == 0).all()


def test_with_pixels_f_l_is_shown_what_is_between_them_in_training_alone() -> None:
    """Of the policy's cubes; the random ones beside them are cut out as they are at test time."""
    stage, (videos, draws, _) = make_stage(gradient="pixel"), batch()
    images: list[Tensor] = []
    stage.local_encoder.trunk.register_forward_hook(lambda _, inputs, __: images.append(inputs[0]))
    named: list[Tensor] = []
    assert stage.policy is not None
    stage.policy.register_forward_hook(lambda _, __, where: named.append(where.detach()))
    stage.train()
    stage(videos, draws)
    stage.eval()
    stage(videos, draws)
    cubes, prepared = Cubes(S, P, T), stage.local_encoder.prepare(videos)
    beside = draws[..., 3:].float()
    plain = cubes.crop(prepared, beside, cubes.frames_at(beside))
    shown = torch.cat([cubes.crop_between(prepared, named[0]), plain]).flatten(0, 2)
    torch.testing.assert_close(images[0], shown)
    distinct_cubes = cubes.crop(prepared, named[1], cubes.frames_at(named[1], distinct=True))
    torch.testing.assert_close(images[1], distinct_cubes.flatten(0, 2))


@pytest.mark.parametrize("gradient", ["deep", "pixel"])
def test_the_loss_teaches_all_networks(gradient: str) -> None:
    stage, (videos, draws, labels) = make_stage(gradient=gradient), batch()
    stage.train()
    outputs = stage(videos, draws)
    cross = functional.cross_entropy
    repeated = labels.repeat_interleave(D + 1)
    terms = [outputs.logits, outputs.others[0]]  # of f_C
    expected = sum(0.5 * cross(each.flatten(0, 1), repeated) for each in terms)
    heads = [each.flatten(0, 1) for each in outputs.others[1:]]  # (B·D, C) each, of f_L's
    expected += sum(0.5 * cross(each, labels.repeat_interleave(D)) for each in heads)
    assert outputs.glance is not None
    expected += cross(outputs.glance.flatten(0, 1), labels.repeat_interleave(T))
    loss = stage.losses(outputs, labels).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    for name, network in stage.networks.items():
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters()), (
            name
        )


def test_a_policy_alone_leaves_the_other_networks_as_they_are() -> None:
    stage, (videos, draws, labels) = make_stage(auxiliary=False, diversity=False), batch()
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    samples = TensorSamples(B, lambda epoch, rows: (videos[rows], draws[rows], labels[rows]))
    fit(stage, samples, samples, FitConfig(2, 2, {"policy": 0.1}), seed=[0], name="cubes")
    for name, value in stage.state_dict().items():
        if not name.startswith(("policy", "_places")):
            assert torch.equal(value, before[name]), name


def test_in_eval_mode_it_predicts_what_the_recognizer_does() -> None:
    for policy in ({}, {"time": "random"}, {"time": "uniform", "space": "random"}):
        stage, (videos, draws, _) = make_stage(2, policy).eval(), batch()
        recognizer = CubeRecognizer(
            stage.glance_encoder,
            stage.local_encoder,
            stage.classifier,
            Cubes(S, P, T, 2),
            stage._places,
            frames=FrameConfig(T, S, S),
        )
        with torch.no_grad():
            expected = stage(videos, draws).logits
        logits = recognizer(videos, draws=draws[..., :3]).logits
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ValueError, match="gradient must be one of deep, pixel; got 'none'"):
        make_stage(gradient="none")
    glance, local = encoder("small_glance"), encoder()
    f_c = build_classifier(ClassifierConfig(G, L, C, 10, aggregation="max_pool", steps=2))
    pi = CubePolicy(CubePolicyConfig(4, 4, G, T, 1, 3, 6))
    with pytest.raises(ValueError, match="8 px around a cube of 36 px, which do not fit"):
        CubesEndToEnd(glance, local, f_c, Cubes(S, 36, T), pi)
