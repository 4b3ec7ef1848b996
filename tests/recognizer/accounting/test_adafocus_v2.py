"""What AdaFocusV2 costs: multiply-adds of the whole recognizer against the published figures."""

from __future__ import annotations

import pytest

from focusgym.recognizer import (
    AdaptiveRecognizer,
    Boxes,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    PolicyConfig,
    build_classifier,
    build_policy,
)

C, T = 200, 16
GLANCES = {
    "mobilenet_v2": (EncoderConfig("mobilenet_v2"), 7),
    "resnet50": (EncoderConfig("resnet50", 96, "bilinear"), 3),
}


@pytest.fixture(scope="module")
def local() -> Encoder:
    return Encoder(EncoderConfig("resnet50"))


@pytest.mark.parametrize(
    ("glance", "published"),
    [
        ("mobilenet_v2", {96: 1.10097, 128: 1.68484, 160: 2.43554, 192: 3.35306}),
        ("resnet50", {96: 1.54740, 128: 2.13128, 160: 2.88198}),
    ],
)
def test_a_frame_costs_what_is_published(
    glance: str, published: dict[int, float], local: Encoder
) -> None:
    config, side = GLANCES[glance]
    f_g = Encoder(config)
    g, n = f_g.channels, local.channels
    sizes = ClassifierConfig(g, n, C, hidden=4096, aggregation="max_pool", steps=T)
    f_c = build_classifier(sizes)
    policy = build_policy(PolicyConfig(side, side, g, n_options=1, hidden=2048, network="centers"))
    # The layers that come on top of both encoders, written out.
    gru = 3 * 2048 * (2048 + 2048)
    policy_macs = side**2 * g * 64 + side**2 * 64 * 2048 + gru + 2048 * 2
    classifier_macs = (g + n) * 4096 + 4096 * C
    for side_px, gmacs in published.items():
        cost = AdaptiveRecognizer(f_g, local, f_c, Boxes(224, side_px), policy).cost
        assert cost.policy_gmacs == pytest.approx(policy_macs / 1e9)
        assert cost.classifier_gmacs == pytest.approx(classifier_macs / 1e9)
        per_frame = cost.of_video(T, policy=True).total_gmacs / T
        assert per_frame == pytest.approx(gmacs, rel=0.005)
