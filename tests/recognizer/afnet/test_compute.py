"""What AF networks cost: against torch's count of what ran, and the table, layer by layer."""

from __future__ import annotations

import pytest
import torch

from focusgym.recognizer import count_gmacs
from focusgym.recognizer.afnet.compute import AFNetCost, afnet_cost
from focusgym.recognizer.afnet.config import AFNetConfig
from focusgym.recognizer.afnet.network import AFNet


@pytest.mark.parametrize("shift", [None, "offline"])
def test_masks_are_paid_as_torch_counts_them(shift: None) -> None:
    network = AFNet(AFNetConfig("small", 5, 4, shift=shift)).eval()
    frames = torch.zeros(3, 4, 3, 36, 36, dtype=torch.uint8)
    cost = afnet_cost(network, 36)
    generator = torch.Generator().manual_seed(0)
    network(frames, masks=torch.zeros(3, 4, 4), gather=True)  # what it makes of zeros, once
    for share in (0.0, 0.3, 0.7, 1.0):
        masks = (torch.rand(3, 4, 4, generator=generator) < share).float()
        ran = network(frames, masks=masks, gather=True).ran
        counted = count_gmacs(lambda masks=masks: network(frames, masks=masks, gather=True))
        assert cost.of_videos(ran).sum().item() == pytest.approx(counted, rel=1e-6)
        alone = count_gmacs(lambda masks=masks: network(frames[:1], masks=masks[:1], gather=True))
        assert cost.of_videos(ran)[0].item() == pytest.approx(alone, rel=1e-6)


def test_a_masked_forward_pays_every_frame() -> None:
    network = AFNet(AFNetConfig("small", 5, 4, selection="soft")).eval()
    frames, cost = torch.zeros(1, 4, 3, 36, 36, dtype=torch.uint8), afnet_cost(network, 36)
    counted = count_gmacs(lambda: network(frames))
    assert cost.of_videos(network(frames).ran).item() == pytest.approx(counted, rel=1e-6)
    assert cost.at_ratio(1.0, 4) == pytest.approx(counted, rel=1e-6)


def bottleneck_macs(n_in: int, n_out: int, side: int, stride: int = 1, groups: int = 1) -> float:
    """Of the branch of a Bottleneck, before and after whose 3×3 convolution the sides differ."""
    inner, after = n_out // 4, side // stride
    wide, narrow = n_in * inner * side**2, inner * n_out * after**2
    return (wide + 9 * inner**2 * after**2 + narrow) / groups


def table(blocks: tuple[int, int, int], n_frames: int, n_classes: int) -> tuple[float, float]:
    """GMACs of Table 7 on a video: of the focal branches of one frame, and of all the rest."""
    focal, rest = 0.0, 3 * 64 * 49 * 112**2 + 2048.0 * n_classes
    n_in, side = 64, 56
    for n_out, n_blocks, stride in zip((256, 512, 1024), blocks, (2, 2, 1), strict=True):
        half, narrow = side // 2, n_out // 2
        for i in range(n_blocks - 1):
            first = i == 0
            focal += bottleneck_macs(n_in if first else n_out, n_out, side, 1, 2)
            rest += bottleneck_macs(
                n_in if first else narrow, narrow, side if first else half, 2 if first else 1
            )
            rest += 2 * (n_in if first else narrow) + 4  # the gate
            if first:
                rest += n_in * n_out * side**2  # around the focal branch
                rest += n_in * narrow * half**2 * (n_in != narrow)  # around the ample one
        rest += narrow * n_out * half**2  # back to all channels
        rest += 2 * n_out * n_out // 16  # the fusion
        rest += bottleneck_macs(n_out, n_out, side, stride)
        n_in, side = n_out, side // stride
    for i in range(3):
        rest += bottleneck_macs(1024 if i == 0 else 2048, 2048, 14 if i == 0 else 7, 1 + (i == 0))
    rest += 1024 * 2048 * 7**2  # around the last stage's first block
    return focal / 1e9, n_frames * rest / 1e9


@pytest.mark.parametrize(
    ("backbone", "blocks", "n_frames"),
    [("resnet50", (3, 4, 6), 16), ("resnet101", (4, 8, 18), 8)],
)
def test_residual_networks_cost_what_their_table_says(
    backbone: str, blocks: tuple[int, int, int], n_frames: int
) -> None:
    with torch.device("meta"):  # without data
        cost = afnet_cost(AFNet(AFNetConfig(backbone, 174, n_frames)), 224)
    focal, rest = table(blocks, n_frames, 174)
    assert sum(cost.focal_gmacs) == pytest.approx(focal, rel=1e-9)
    assert cost.always_gmacs == pytest.approx(rest, rel=1e-9)


@pytest.mark.parametrize(("n_frames", "gmacs"), [(8, 1.5), (12, 2.2)])
def test_mobilenet_costs_what_the_supplement_says(n_frames: int, gmacs: float) -> None:
    """Table 2 of the supplement, AFNet-TSM of MobileNet-V3 at RT 0.4; poolings count there."""
    with torch.device("meta"):
        network = AFNet(AFNetConfig("mobilenet_v3", 174, n_frames, shift="offline"))
    cost = afnet_cost(network, 224)
    assert len(cost.focal_gmacs) == 5
    assert cost.at_ratio(0.4, n_frames) == pytest.approx(gmacs, rel=0.04)


def test_a_wrong_number_of_gates_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"expected \(B, T, 2\), one of each gate; got \(1, 4, 3\)"
    ):
        AFNetCost(1.0, (0.5, 0.5)).of_videos(torch.ones(1, 4, 3))
