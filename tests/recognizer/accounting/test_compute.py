"""Counted multiply-adds against formulas, another count and published figures."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from focusgym.recognizer import (
    AdaptiveRecognizer,
    AverageClassifier,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameCost,
    GruClassifier,
    PatchGrid,
    PolicyConfig,
    PolicyNetwork,
    count_gmacs,
    encoder_gmacs,
    frame_cost,
)

T = 16
# GMACs of a video: the paper prints 26.6 at P = 128 and 38.6 at P = 160.
PUBLISHED = {96: 17.24, 128: 26.58, 160: 38.59, 192: 53.27}


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    """The paper's networks: MobileNet-V2, ResNet-50, f_C for 200 classes, π, and π with π′."""
    torch.manual_seed(0)
    sizes = PolicyConfig(7, 7, 1280, 49, conv_channels=64, hidden=1024)
    return {
        "glance": Encoder(EncoderConfig("mobilenet_v2")).eval(),
        "local": Encoder(EncoderConfig("resnet50")).eval(),
        "f_c": GruClassifier(ClassifierConfig(1280, 2048, 200)),
        "pi": PolicyNetwork(sizes),
        "plus": PolicyNetwork(PolicyConfig(7, 7, 1280, threshold=0.5)),
    }


@contextmanager
def counted_by_hooks(*roots: nn.Module) -> Iterator[list[float]]:
    """Add up the GMACs of layers as they run: from the sizes of what they take and give."""
    total = [0.0]

    def convolution(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        height, width = module.kernel_size
        total[0] += output.numel() * module.in_channels // module.groups * height * width / 1e9

    def linear(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        total[0] += output.numel() * module.in_features / 1e9

    def gru(module: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        rows = output[0].numel() // module.hidden_size
        of_row = 3 * module.hidden_size * (module.input_size + module.hidden_size)
        total[0] += rows * of_row / 1e9

    kinds = ((nn.Conv2d, convolution), (nn.Linear, linear), (nn.GRU, gru))
    hooks = [
        module.register_forward_hook(count)
        for root in roots
        for module in root.modules()
        for kind, count in kinds
        if isinstance(module, kind)
    ]
    try:
        yield total
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize(("patch_px", "published"), PUBLISHED.items())
def test_a_video_costs_what_is_published(
    patch_px: int, published: float, networks: dict[str, Any]
) -> None:
    """T = 16, 64-channel π; the second count adds up what single layers say."""
    grid = PatchGrid(224, patch_px)
    parts = (networks["glance"], networks["local"], networks["f_c"])
    cost = frame_cost(*parts, networks["pi"], grid)
    total = cost.of_video(T, policy=True).total_gmacs
    assert total == pytest.approx(published, rel=0.005)
    by_frames = cost.of_frames(torch.ones(T, dtype=torch.bool), policy=True)
    assert float(by_frames.sum()) == pytest.approx(total, rel=1e-12)
    counted: list[float] = []
    with torch.no_grad():
        for module, inputs in (
            (networks["glance"], (torch.zeros(1, 3, 224, 224, dtype=torch.uint8),)),
            (networks["pi"], (torch.zeros(1, 1, 7, 7, 1280),)),
            (networks["local"], (torch.zeros(1, 3, patch_px, patch_px, dtype=torch.uint8),)),
            (networks["f_c"], (torch.zeros(1, 1, 1280), torch.zeros(1, 1, 2048))),
        ):
            with counted_by_hooks(module) as one:
                module(*inputs)
            counted.append(one[0])
    names = ("glance", "policy", "local", "classifier")
    assert [getattr(cost, f"{name}_gmacs") for name in names] == pytest.approx(counted, rel=1e-9)


def test_adafocus_plus_costs_what_its_frames_cost(networks: dict[str, Any]) -> None:
    """Half of 16 frames looked at, P = 128: π′ costs almost what π does, f_L half."""
    grid = PatchGrid(224, 128)
    parts = (networks["glance"], networks["local"], networks["f_c"])
    cost = frame_cost(*parts, networks["plus"], grid)
    alone = frame_cost(*parts, networks["pi"], grid)
    head = 1024 * (49 - 1) / 1e9
    assert cost.policy_gmacs == pytest.approx(2 * alone.policy_gmacs - head, rel=1e-12)
    assert cost.local_gmacs == alone.local_gmacs
    looks = torch.arange(T) % 2 == 0
    half = cost.of_frames(looks, policy=True)
    per_frame = cost.glance_gmacs + cost.policy_gmacs + cost.classifier_gmacs
    by_hand = [per_frame + cost.local_gmacs * (t % 2 == 0) for t in range(T)]
    assert half.tolist() == pytest.approx(by_hand, rel=1e-12)
    second = T * (cost.policy_gmacs - alone.policy_gmacs)
    total = PUBLISHED[128] + second - T / 2 * cost.local_gmacs
    assert float(half.sum()) == pytest.approx(total, rel=0.005)


def test_the_real_networks_really_do_what_is_charged(networks: dict[str, Any]) -> None:
    """A whole run with skipped frames, P = 96, counted layer by layer: fused and unfused."""
    parts = (networks["glance"], networks["local"], networks["f_c"], PatchGrid(224, 96))
    recognizer = AdaptiveRecognizer(*parts, networks["plus"])
    fused = recognizer.fused()
    once = recognizer.cost
    fused._cost = None  # counted again, on the fused networks
    assert fused.cost == once
    frames = torch.randint(0, 256, (1, 3, 3, 224, 224), dtype=torch.uint8)
    options, looks = torch.tensor([[48, 24, 0]]), torch.tensor([[True, False, True]])
    for plan in ((options, looks), (options, torch.zeros(1, 3).bool()), ()):
        with counted_by_hooks(fused) as spent:
            recognition = fused(frames, *plan)
        # π and π′ count what the linear layers and GRUs of both do.
        assert float(recognition.gmacs[0, -1]) == pytest.approx(spent[0], rel=1e-9)
        steps = torch.diff(recognition.gmacs[0], prepend=torch.zeros(1)).tolist()
        policy = 0 if plan else once.policy_gmacs
        every = once.glance_gmacs + once.classifier_gmacs + policy
        attended = recognition.attended[0].tolist()
        assert steps == pytest.approx([every + once.local_gmacs * look for look in attended])


def test_counting_leaves_no_trace() -> None:
    """Networks in training stay in training; statistics and torch's generator stay as they are."""
    glance, local = Encoder(EncoderConfig("small_glance")), Encoder(EncoderConfig("small_local"))
    f_c = GruClassifier(ClassifierConfig(32, 64, 4, hidden=8, dropout=0.5)).train()
    policy = PolicyNetwork(PolicyConfig(16, 16, 32, 9, 2, 4, threshold=0.5)).train()
    local.get_submodule("trunk.0").eval()  # frozen in part
    every = nn.ModuleList([glance, local, f_c, policy])
    modes = [module.training for module in every.modules()]
    before = copy.deepcopy(every.state_dict())
    f_c.dropout.keys = [[1], [2], [3]]  # of a batch in training
    state = torch.random.get_rng_state()
    cost = frame_cost(glance, local, f_c, policy, PatchGrid(32, 12, 3))
    assert encoder_gmacs(glance, 32) == cost.glance_gmacs
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [module.training for module in every.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in every.state_dict().items())
    assert f_c.dropout.keys == [[1], [2], [3]]


def test_counting_that_fails_leaves_no_trace_either() -> None:
    encoder = Encoder(EncoderConfig("small_local")).train()
    encoder.trunk = nn.Sequential(encoder.trunk, nn.Linear(3, 3))
    with pytest.raises(RuntimeError):
        encoder_gmacs(encoder, 32)
    assert all(module.training for module in encoder.modules())


@pytest.mark.parametrize("batch", [1, 3])
def test_gmacs_are_multiply_adds(batch: int) -> None:
    x, weight = torch.randn(batch, 5, 7), torch.randn(7, 11)
    assert count_gmacs(lambda: x @ weight) == pytest.approx(batch * 5 * 7 * 11 / 1e9)
    images, filters = torch.randn(batch, 6, 9, 9), torch.randn(4, 3, 3, 3)
    gmacs = count_gmacs(lambda: nn.functional.conv2d(images, filters, padding=1, groups=2))
    assert gmacs == pytest.approx(batch * 4 * 81 * 3 * 9 / 1e9)
    assert count_gmacs(lambda: images + 1) == 0


def test_averaging_costs_one_linear_layer() -> None:
    glance, local = Encoder(EncoderConfig("small_glance")), Encoder(EncoderConfig("small_local"))
    for reuse, inputs in ((True, 32 + 64), (False, 64)):
        config = ClassifierConfig(32, 64, 10, reuse_glance=reuse, aggregation="average")
        cost = frame_cost(glance, local, AverageClassifier(config), None, PatchGrid(32, 12))
        assert cost.classifier_gmacs == pytest.approx(inputs * 10 / 1e9)
        assert cost.policy_gmacs == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
def test_networks_on_cuda_are_counted_on_a_copy(networks: dict[str, Any]) -> None:
    parts = {name: copy.deepcopy(network).cuda() for name, network in networks.items()}
    grid = PatchGrid(224, 96)
    counts = [
        frame_cost(some["glance"], some["local"], some["f_c"], some["plus"], grid)
        for some in (networks, parts)
    ]
    assert counts[0] == counts[1]
    assert all(p.is_cuda for part in parts.values() for p in part.parameters())


@given(
    prices=st.tuples(*[st.floats(0, 100)] * 4),
    looks=st.lists(st.booleans(), min_size=1, max_size=20),
    policy=st.booleans(),
)
def test_frames_add_up_to_the_video(
    prices: tuple[float, ...], looks: list[bool], policy: bool
) -> None:
    cost = FrameCost(*prices)
    by_frames = cost.of_frames(torch.tensor([looks, looks]), policy=policy)
    assert (by_frames.dtype, by_frames.shape) == (torch.float64, (2, len(looks)))
    by_video = cost.of_video(len(looks), policy=policy, kept_share=sum(looks) / len(looks))
    assert by_frames.sum(dim=1).tolist() == pytest.approx([by_video.total_gmacs] * 2)
    parts = (
        by_video.glance_gmacs,
        by_video.policy_gmacs,
        by_video.local_gmacs,
        by_video.classifier_gmacs,
    )
    n, n_attended = len(looks), sum(looks)
    expected = [n * prices[0], n * policy * prices[1], n_attended * prices[2], n * prices[3]]
    assert parts == pytest.approx(expected)


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
