"""What the TSM family costs: multiply-adds of the real networks against the published figures.

Source: AdaFocus (arXiv:2105.03245) Table 3, GFLOPs per video on Something-Something V1.
"""

from __future__ import annotations

import pytest

from focusgym.recognizer import (
    Classifier,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    PatchGrid,
    Policy,
    PolicyConfig,
    WholeFrame,
    build_classifier,
    build_policy,
    encoder_gmacs,
    frame_cost,
)

S, C, GLANCES, LOOKS = 224, 174, 8, 12
# f_G reads 8 frames, f_L 12 others: a video is one segment.
FRAMES = FrameConfig(1, S, 256, segment_frames=LOOKS, glance_frames=GLANCES, own_glance=True)
PUBLISHED = {128: 18.45, 144: 23.53, 160: 27.46, 176: 33.71}


@pytest.fixture(scope="module")
def glance() -> Encoder:
    return Encoder(EncoderConfig("mobilenet_v2_tsm"))


@pytest.fixture(scope="module")
def local() -> Encoder:
    return Encoder(EncoderConfig("resnet50_tsm"))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return build_classifier(ClassifierConfig(1280, 2048, C, aggregation="average_logits"))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return build_policy(PolicyConfig(7, 7, GLANCES * 1280, 49, 64, 1024, network="clip"))


@pytest.mark.parametrize("patch_px", PUBLISHED)
def test_adafocus_tsm(
    patch_px: int, glance: Encoder, local: Encoder, classifier: Classifier, policy: Policy
) -> None:
    cost = frame_cost(glance, local, classifier, policy, PatchGrid(S, patch_px, 7), FRAMES)
    video = cost.of_video(1, policy=True)
    assert video.total_gmacs == pytest.approx(PUBLISHED[patch_px], rel=0.005)
    of_layers = 49 * GLANCES * 1280 * 64 + 49 * 64 * 1024 + 1024 * 49
    assert video.policy_gmacs == pytest.approx(of_layers / 1e9)
    assert video.classifier_gmacs == pytest.approx((1280 + 2048) * C / 1e9)


def test_the_shift_costs_no_multiply_adds(glance: Encoder, local: Encoder) -> None:
    """A clip of F frames costs F times what torchvision's network costs for one."""
    for encoder, name, frames in ((glance, "mobilenet_v2", GLANCES), (local, "resnet50", 2)):
        plain = encoder_gmacs(Encoder(EncoderConfig(name)), 128)
        assert encoder_gmacs(encoder, 128, frames) == pytest.approx(frames * plain, rel=1e-9)


def test_tsm_and_tsm_plus(glance: Encoder, local: Encoder, classifier: Classifier) -> None:
    """Both on 8 whole frames, to the printed digit."""
    whole_frames = FrameConfig(1, S, 256, segment_frames=GLANCES)
    cost = frame_cost(glance, local, classifier, None, WholeFrame(S, S), whole_frames)
    assert cost.local_gmacs == pytest.approx(32.7, abs=0.05)
    assert cost.of_video(1, policy=False).total_gmacs == pytest.approx(35.1, abs=0.05)
