"""AdaFocusV2 and AdaFocusV3 on encoders that shift: stages against recognizers, and by hand."""

from __future__ import annotations

import pytest
import torch
from recognizers import make_frames
from torch import Tensor

from focusgym.recognizer import (
    AdaptiveRecognizer,
    Boxes,
    Classifier,
    ClassifierConfig,
    CubePolicy,
    CubePolicyConfig,
    CubeRecognizer,
    Cubes,
    CubesEndToEnd,
    Encoder,
    EncoderConfig,
    EndToEnd,
    FrameConfig,
    PolicyConfig,
    build_classifier,
    build_policy,
    count_gmacs,
)

S, P, B, C, G, L = 24, 12, 3, 4, 32, 64
N_GLANCED, F = 3, 4
CLIP = FrameConfig(1, S, segment_frames=F, glance_frames=N_GLANCED, own_glance=True)


def networks(n_glanced: int, aggregation: str) -> tuple[Encoder, Encoder, Classifier]:
    glance = Encoder(EncoderConfig("small_residual_glance_tsm", input_px=12))
    local = Encoder(EncoderConfig("small_residual_tsm"))
    sizes = ClassifierConfig(G, L, C, 8, 0.0, aggregation=aggregation, steps=4)
    return glance, local, build_classifier(sizes)


def clip_stage() -> EndToEnd:
    torch.manual_seed(0)
    f_g, f_l, f_c = networks(N_GLANCED, "average_logits")
    policy = build_policy(PolicyConfig(6, 6, N_GLANCED * G, 1, 4, 6, network="clip_centers"))
    return EndToEnd(f_g, f_l, f_c, Boxes(S, P), policy, frames=CLIP)


@torch.no_grad()
def test_one_box_serves_all_frames_that_f_l_reads() -> None:
    stage = clip_stage().eval()
    frames = make_frames(B, N_GLANCED + F, side=S)[:, None]  # (B, 1, n + F, 3, S, S)
    logits = stage(frames, torch.zeros(B, 1, 2)).logits
    f_g, f_l, f_c = stage.glance_encoder, stage.local_encoder, stage.classifier
    for b in range(B):
        glanced, looked = frames[b, 0, :N_GLANCED], frames[b, 0, N_GLANCED:]
        maps = f_g.encode_frames(f_g.prepare(glanced)[None])[0]  # (n, G, h, w)
        joined = torch.cat([*maps.permute(0, 2, 3, 1)], dim=-1)[None, None]
        center = stage.policy.choose(joined)[0][0, 0]  # type: ignore[union-attr]
        boxes = stage._places.crop(f_l.prepare(looked), center.expand(F, 2))
        local = f_l.encode_frames(boxes[None])[0].mean(dim=(0, 2, 3))
        expected = f_c(maps.mean(dim=(0, 2, 3))[None, None], local[None, None])[0]
        torch.testing.assert_close(logits[b], expected, rtol=1e-4, atol=1e-5)
    recognizer = AdaptiveRecognizer(
        f_g, f_l, f_c, Boxes(S, P), stage.policy, torch.float32, frames=CLIP
    )
    torch.testing.assert_close(recognizer(frames).logits, logits, rtol=1e-4, atol=1e-5)
    one = frames[:1]
    spent = count_gmacs(lambda: recognizer(one))
    assert float(recognizer(one).gmacs[0, -1]) == pytest.approx(spent, rel=1e-6)


def test_the_loss_reaches_the_policy_through_all_frames() -> None:
    stage = clip_stage().train()
    frames, draws = make_frames(B, N_GLANCED + F, side=S)[:, None], torch.rand(B, 1, 2)
    labels = torch.tensor([0, 1, 2])

    def gradient(frames: Tensor) -> Tensor:
        stage.zero_grad()
        stage.losses(stage(frames, draws), labels).mean().backward()
        return stage.policy.actor.weight.grad.clone()  # type: ignore[union-attr, operator]

    of_all_frames = gradient(frames)
    assert float(of_all_frames.abs().sum()) > 0
    for f in range(F):  # each of the frames has a part in it
        others = frames.clone()
        others[:, :, N_GLANCED + f] = 128
        assert not torch.allclose(gradient(others), of_all_frames, rtol=1e-3, atol=0)


@torch.no_grad()
def test_cubes_are_clips_and_the_glance_is_one() -> None:
    torch.manual_seed(0)
    steps, n_glanced = 8, 4
    f_g, f_l, f_c = networks(n_glanced, "max_pool")
    cubes = Cubes(S, P, steps, 3)
    policy = CubePolicy(CubePolicyConfig(6, 6, G, n_glanced, 2, 4, 6))
    stage = CubesEndToEnd(f_g, f_l, f_c, cubes, policy).eval()
    frames, draws = make_frames(B, steps, side=S), torch.rand(B, 2, 6)
    logits = stage(frames, draws).logits  # (B, 3, C)
    recognizer = CubeRecognizer(f_g, f_l, f_c, cubes, policy, frames=FrameConfig(steps, S))
    recognized = recognizer(frames)
    torch.testing.assert_close(recognized.logits, logits, rtol=1e-4, atol=1e-5)
    # The first prediction by hand: the glance is a clip of the frames that f_G reads.
    glanced = frames[:, [1, 3, 5, 7]]
    maps = f_g.encode_frames(f_g.prepare(glanced))
    first = maps.mean(dim=(3, 4)).amax(dim=1)[:, None]
    expected = f_c(first, torch.zeros(B, 1, L))
    torch.testing.assert_close(logits[:, :1], expected, rtol=1e-4, atol=1e-5)
    # A cube is a clip: in another order of its frames it is another cube.
    cut = cubes.crop(frames, recognized.options[:, 1:], cubes.frames_at(recognized.options[:, 1:]))
    clip = f_l.prepare(cut.flatten(0, 1))
    assert not torch.allclose(f_l.encode(clip), f_l.encode(clip.flip(1)), rtol=1e-3, atol=1e-5)
    one = frames[:1]
    spent = count_gmacs(lambda: recognizer(one))
    assert float(recognizer(one).gmacs[0, -1]) == pytest.approx(spent, rel=1e-6)


def test_the_gradient_of_a_cube_s_place_goes_through_the_shifted_features() -> None:
    torch.manual_seed(0)
    f_g, f_l, f_c = networks(4, "max_pool")
    policy = CubePolicy(CubePolicyConfig(6, 6, G, 4, 2, 4, 6))
    stage = CubesEndToEnd(f_g, f_l, f_c, Cubes(S, P, 8, 3), policy).train()
    frames, draws = make_frames(B, 8, side=S), torch.rand(B, 2, 6)
    stage.losses(stage(frames, draws), torch.tensor([0, 1, 2])).mean().backward()
    gradients = [each.grad for each in policy.parameters() if each.grad is not None]
    assert gradients
    assert all(each.isfinite().all() for each in gradients)
    assert sum(float(each.abs().sum()) for each in gradients) > 0
