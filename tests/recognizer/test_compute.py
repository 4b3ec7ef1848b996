"""Counted multiply-adds against formulas and published figures."""

from __future__ import annotations

import pytest

from focusgym.recognizer import (
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameCost,
    GruClassifier,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
    encoder_gmacs,
    frame_cost,
)


@pytest.mark.parametrize(("side_px", "gmacs"), [(224, 0.29951), (112, 0.0809), (96, 0.0550)])
def test_mobilenet_v2_costs_what_is_published(side_px: int, gmacs: float) -> None:
    encoder = Encoder(EncoderConfig("mobilenet_v2"))
    assert encoder_gmacs(encoder, side_px) == pytest.approx(gmacs, rel=0.005)


def test_small_networks_cost_what_their_layers_multiply() -> None:
    local = Encoder(EncoderConfig("small_local"))
    layers = [(14, 3, 16), (7, 16, 32), (4, 32, 64), (4, 64, 64)]
    macs = sum(side**2 * 9 * n_in * n_out for side, n_in, n_out in layers)
    assert encoder_gmacs(local, 28) == pytest.approx(macs / 1e9)

    glance = Encoder(EncoderConfig("small_glance", input_px=12))
    classifier = GruClassifier(ClassifierConfig(32, 64, 10, hidden=20))
    policy = PolicyNetwork(PolicyConfig(6, 6, 32, n_options=49, conv_channels=4, hidden=30))
    cost = frame_cost(glance, local, classifier, policy, PatchGrid(64, 28))
    gru = 3 * 20 * (32 + 64 + 20) + 20 * 10
    assert cost.classifier_gmacs == pytest.approx(gru / 1e9)
    trunk = 36 * 32 * 4 + 36 * 4 * 30 + 3 * 30 * (30 + 30)
    assert cost.policy_gmacs == pytest.approx((trunk + 30 * 49) / 1e9)
    plus = PolicyNetwork(PolicyConfig(6, 6, 32, 49, conv_channels=4, hidden=30, threshold=0.5))
    both = frame_cost(glance, local, classifier, plus, PatchGrid(64, 28))
    assert both.policy_gmacs == pytest.approx((2 * trunk + 30 * 49 + 30) / 1e9)
    assert both.local_gmacs == cost.local_gmacs


def test_a_video_is_charged_for_what_is_run() -> None:
    cost = FrameCost(glance_gmacs=1, local_gmacs=10, policy_gmacs=100, classifier_gmacs=1000)
    assert cost.of_video(4, policy=False).total_gmacs == 4 * 1011
    assert cost.of_video(4, policy=True).total_gmacs == 4 * 1111
    assert cost.of_video(4, policy=False, patches=49).total_gmacs == 4 * (1 + 49 * 1010)
    # Of 4 frames 1 is looked at: f_G, f_C and π run on all of them, f_L on that one.
    assert cost.of_video(4, policy=True, kept_share=0.25).total_gmacs == 4 * 1101 + 10
    assert cost.of_video(4, policy=False, kept_share=0.0).total_gmacs == 4 * 1001
    assert cost.of_video(4, policy=False, patches=49, kept_share=0.5).total_gmacs == 4 * (
        1 + 49 * 1005
    )
