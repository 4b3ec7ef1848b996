"""The policy that names all cubes of a video at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from focusgym.recognizer import CubePolicy, CubePolicyConfig
from focusgym.recognizer.policies.cubes import evenly_spread

SIZES: dict[str, Any] = {
    "map_height": 2,
    "map_width": 3,
    "glance_channels": 4,
    "steps": 5,
    "cubes": 3,
    "conv_channels": 6,
    "hidden": 8,
}


def make(**how: Any) -> CubePolicy:
    torch.manual_seed(0)
    return CubePolicy(CubePolicyConfig(**{**SIZES, **how})).eval()


def maps(batch: int = 2) -> Tensor:
    return torch.rand(batch, 5, 2, 3, 4, generator=torch.Generator().manual_seed(0))


def test_times_are_means_over_frames_and_places_are_read_between_them() -> None:
    policy = make()
    outputs: dict[str, Tensor] = {}
    policy.moments.register_forward_hook(lambda _, __, out: outputs.update(moments=out))
    policy.places.register_forward_hook(lambda _, __, out: outputs.update(places=out))
    with torch.no_grad():
        named, preferences = policy(maps()), policy.preferences.detach()
    for b in range(2):
        for d in range(3):
            weights = (outputs["moments"][b, :, d] + preferences[:, d]).exp()
            when = sum(float(weights[t]) * t / 4 for t in range(5)) / float(weights.sum())
            assert float(named[b, d, 2]) == pytest.approx(when, abs=1e-5)
            first, rest = int(when * 4), when * 4 % 1
            track = outputs["places"][b].sigmoid()
            where = (1 - rest) * track[first] + rest * track[first + 1]
            torch.testing.assert_close(named[b, d, :2], where, atol=1e-4, rtol=0)


def test_axes_that_are_not_learned_are_drawn_or_spread() -> None:
    draws = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(make(time="random", space="random")(maps(), draws), draws)
    assert torch.equal(make(time="random")(maps(), draws)[..., 2], draws[..., 2])
    assert torch.equal(make(space="random")(maps(), draws)[..., :2], draws[..., :2])
    spread = evenly_spread(3).expand(2, -1, -1)
    assert torch.equal(make(time="uniform")(maps())[..., 2], spread[..., 2])
    assert torch.equal(make(space="uniform")(maps())[..., :2], spread[..., :2])
    assert not list(make(time="uniform", space="random").parameters())


def test_every_prefix_of_what_is_spread_covers_all_axes() -> None:
    points = evenly_spread(24)
    assert torch.equal(points[0], torch.full((3,), 0.5))
    for n in (1, 3, 7, 15):
        expected = torch.arange(1, n + 1)[:, None] / (n + 1)
        assert torch.equal(points[:n].sort(dim=0).values, expected.expand(-1, 3))


def test_no_cube_is_like_another_before_training() -> None:
    when = make(cubes=5)(maps())[..., 2].detach()
    assert float((when[:, :, None] - when[:, None] + torch.eye(5)).abs().min()) > 1e-3


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"cubes": 0}, "cubes must be an integer of at least 1; got 0"),
        ({"time": "late"}, "time must be one of learned, random, uniform; got 'late'"),
    ],
)
def test_wrong_sizes_are_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**how)


def test_what_it_cannot_use_is_refused() -> None:
    with pytest.raises(ValueError, match=r"for maps \(B, 5, 2, 3, 4\); got \(2, 4, 2, 3, 4\)"):
        make()(maps()[:, 1:])
    with pytest.raises(ValueError, match=r"give draws \(2, 3, 3\) in \[0, 1\); got None"):
        make(time="random")(maps())


def test_draws_follow_the_maps_to_another_device() -> None:
    with torch.device("meta"):
        policy = CubePolicy(CubePolicyConfig(**{**SIZES, "time": "random"})).eval()
    draws = torch.rand(2, 3, 3)
    assert policy(maps().to("meta"), draws).device.type == "meta"
    nothing = make(time="random", space="random")
    assert nothing(maps().to("meta"), draws).device.type == "meta"
