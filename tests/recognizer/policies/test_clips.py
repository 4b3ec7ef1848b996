"""Policies for clips, against torch's own layers on maps whose frames are joined on channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from focusgym.agents import read_policy
from focusgym.recognizer import (
    BundleError,
    Policy,
    PolicyConfig,
    build_policy,
    policy_gmacs,
    write_bundle,
)
from focusgym.recognizer.policies.clips import ClipCenters, ClipNetwork
from focusgym.recognizer.policies.registry import POLICIES, policy_class

HEIGHT, WIDTH, F, G, CONV, H, K = 3, 4, 2, 3, 5, 8, 9
SIZES = PolicyConfig(HEIGHT, WIDTH, F * G, K, CONV, H, network="clip")
CONFIGS = {
    "clip": SIZES,
    "clip_centers": replace(SIZES, n_options=1, network="clip_centers"),
}
both = pytest.mark.parametrize("name", CONFIGS)


class Literal(nn.Module):
    """Of maps ``(B, F·G, h, w)``: convolution, norm, activation, linear, norm, activation, …"""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.centers = policy.names_centers
        half = H // 2
        self.conv = nn.Conv2d(F * G, CONV, 1, bias=False)
        self.conv_norm = nn.BatchNorm2d(CONV)
        self.linear = nn.Linear(CONV * HEIGHT * WIDTH, H)
        self.norm = nn.BatchNorm1d(H)
        if self.centers:
            self.second = nn.Linear(H, half)
            self.second_norm = nn.BatchNorm1d(half)
        self.actor = nn.Linear(half if self.centers else H, 2 if self.centers else K)
        state = {key.removeprefix("trunk."): value for key, value in policy.state_dict().items()}
        state["conv.weight"] = state["conv.weight"][:, :, None, None]
        state["linear.weight"] = of_channels(state["linear.weight"])
        self.load_state_dict(state)

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits ``(B, K)`` or centres ``(B, 2)``."""
        activation = torch.tanh if self.centers else torch.relu
        x = activation(self.conv_norm(self.conv(maps)))
        x = activation(self.norm(self.linear(x.flatten(1))))
        if not self.centers:
            logits: Tensor = self.actor(x)
            return logits
        x = torch.tanh(self.second_norm(self.second(x)))
        return 1 / (1 + (-self.actor(x)).exp())


def of_channels(weight: Tensor) -> Tensor:
    """Of each channel its cells, where the policy's own weights have of each cell its channels."""
    return weight.view(H, HEIGHT * WIDTH, CONV).transpose(1, 2).flatten(1)


def make(name: str, **sizes: Any) -> Policy:
    """With weights and statistics that are nothing special."""
    torch.manual_seed(0)
    policy = build_policy(replace(CONFIGS[name], **sizes))
    for module in policy.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.normal_()  # type: ignore[union-attr, operator]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    with torch.no_grad():
        policy.get_submodule("actor").weight.mul_(4)  # type: ignore[operator, union-attr]
    return policy


def clips(n: int = 6, steps: int = 1) -> Tensor:
    """Maps of frames ``(B·T, F, G, h, w)``."""
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n * steps, F, G, HEIGHT, WIDTH, generator=generator)


def as_stored(frames: Tensor, steps: int = 1) -> Tensor:
    """Maps ``(B, T, h, w, F·G)``, those of a clip's frames one after the other."""
    joined = torch.cat(list(frames.permute(1, 0, 3, 4, 2)), dim=-1)
    return joined.unflatten(0, (-1, steps))


def test_kinds_by_their_names() -> None:
    network, centers = (build_policy(config) for config in CONFIGS.values())
    assert (type(network), type(centers)) == (ClipNetwork, ClipCenters)
    assert (network.names_centers, centers.names_centers) == (False, True)
    assert network.keep is centers.keep is None


@both
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("steps", [1, 2])
def test_it_is_the_layers_in_turn(name: str, mode: str, steps: int) -> None:
    """Also its statistics, and its gradient with respect to weights and maps."""
    policy: Any = make(name)
    literal = Literal(policy)
    for network in (policy, literal):
        network.train(mode == "train")
    inputs = [clips(6, steps).requires_grad_() for _ in range(2)]
    outputs, expected = policy(as_stored(inputs[0], steps)), literal(inputs[1].flatten(1, 2))
    assert outputs.shape[:2] == (6, steps)
    assert float(outputs.detach().std()) > 0.05
    torch.testing.assert_close(outputs.flatten(0, 1), expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(expected.shape)
    for each in (outputs.flatten(0, 1), expected):
        (each * weights).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-3, atol=1e-5)
    by_name = dict(literal.named_parameters())
    for key, parameter in policy.named_parameters():
        gradient = by_name[key.removeprefix("trunk.")].grad
        mine = of_channels(parameter.grad) if key == "trunk.linear.weight" else parameter.grad
        assert gradient is not None
        torch.testing.assert_close(mine, gradient.view_as(mine), rtol=1e-3, atol=1e-5)
    for key, value in policy.named_buffers():
        if key != "_mask":
            other = literal.get_buffer(key.removeprefix("trunk."))
            torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6)


@both
@torch.no_grad()
def test_stored_maps_are_converted(name: str) -> None:
    policy: Any = make(name).eval()
    stored = [each.half() for each in as_stored(clips())]
    expected = policy(torch.stack(stored).float())
    torch.testing.assert_close(policy(stored), expected, rtol=1e-5, atol=1e-5)


@both
@torch.no_grad()
def test_nothing_passes_between_segments(name: str) -> None:
    """In another order, and one after the other, segments give what they gave."""
    policy: Any = make(name).eval()
    maps = as_stored(clips(4, 3), 3)
    _, looks = policy.choose(maps)
    assert looks.tolist() == [[True] * 3] * 4
    alone = [policy.choose(maps[:, t : t + 1])[0] for t in range(3)]
    apart = torch.cat(alone, dim=1)  # each segment by itself
    if name == "clip":  # one option serves all that are given at once, in any order
        logits = policy(maps).mean(dim=1)
        together = policy.choose(maps)[0]
        assert together.tolist() == [[k] * 3 for k in logits.argmax(dim=-1).tolist()]
        assert torch.equal(policy.choose(maps[:, [2, 0, 1]])[0], together)
        return
    order = [2, 0, 1]
    torch.testing.assert_close(policy.choose(maps[:, order])[0], apart[:, order])
    state, parts = None, []
    for t in range(3):
        where, _, state = policy.advance(maps[:, t : t + 1], state)
        parts.append(where)
        state = state.of(torch.arange(4))  # as streams take it along
    torch.testing.assert_close(torch.cat(parts, 1), apart)


@torch.no_grad()
def test_choices_are_the_largest_logits_and_draws_invert_cumulative_sums() -> None:
    policy: Any = make("clip").eval()
    maps = as_stored(clips(5, 2), 2)
    logits = policy(maps).mean(dim=1)  # (B, K): one option for both segments
    assert policy.choose(maps)[0].tolist() == [[k, k] for k in logits.argmax(-1).tolist()]
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        draws = torch.rand(5, 2, 2, generator=generator)
        options = policy.choose(maps, draws)[0]
        assert torch.equal(options[:, 0], options[:, 1])
        for video, option in enumerate(options[:, 0].tolist()):
            p = logits[video].double().softmax(-1).tolist()
            below = sum(p[:option])
            assert below - 1e-6 <= float(draws[video, 0, 0]) <= below + p[option] + 1e-6


@torch.no_grad()
def test_what_is_not_allowed_is_never_chosen() -> None:
    policy: Any = make("clip", options_allowed=(2, 5)).eval()
    policy.actor.weight.mul_(0.02)
    maps = as_stored(clips(40))
    p = policy(maps).softmax(-1)
    assert float(p[..., [2, 5]].sum(-1).min()) == pytest.approx(1)
    draws = torch.rand(40, 1, 2, generator=torch.Generator().manual_seed(0))
    for drawn in (None, draws, torch.zeros_like(draws), torch.full_like(draws, 1 - 1e-7)):
        assert set(policy.choose(maps, drawn)[0].flatten().tolist()) <= {2, 5}
    assert set(policy.choose(maps, draws)[0].flatten().tolist()) == {2, 5}


def test_what_it_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="policy for clips has no π′; got threshold=0.5: leave it"):
        build_policy(replace(CONFIGS["clip"], threshold=0.5))
    for wrong in ({"n_options": 9}, {"options_allowed": [0]}, {"threshold": 0.5}):
        changed: dict[str, Any] = dict(wrong)
        with pytest.raises(ValueError, match="has one option, which may be anywhere"):
            build_policy(replace(CONFIGS["clip_centers"], **changed))
    with pytest.raises(ValueError, match="draws nothing: leave the sampling out"):
        make("clip_centers").choose(as_stored(clips()), torch.rand(6, 1, 2))


def test_bundles(tmp_path: Any) -> None:
    """Agents on a cache take options, and refuse centres."""
    maps = as_stored(clips())
    for name in CONFIGS:
        policy = make(name).eval()
        write_bundle(tmp_path / name, "policy", policy.config, policy)
    policy = make("clip").eval()
    again = read_policy(tmp_path / "clip")
    assert type(again) is ClipNetwork
    torch.testing.assert_close(again(maps), policy(maps))
    with pytest.raises(BundleError, match="among options; got 'clip_centers', which names places"):
        read_policy(tmp_path / "clip_centers")


def test_only_options_of_a_clip_are_named_once() -> None:
    assert [name for name in POLICIES if policy_class(name).names_once] == ["clip"]


def test_its_compute_is_counted_by_hand() -> None:
    """Of Something-Something: the maps of 8 frames of MobileNet-V2."""
    config = PolicyConfig(7, 7, 8 * 1280, 49, 64, 1024, network="clip")
    shared = 49 * 8 * 1280 * 64 + 49 * 64 * 1024
    macs = shared + 1024 * 49
    assert policy_gmacs(build_policy(config)) == pytest.approx(macs / 1e9, rel=1e-12)
    centers = build_policy(replace(config, n_options=1, network="clip_centers"))
    macs = shared + 1024 * 512 + 512 * 2
    assert policy_gmacs(centers) == pytest.approx(macs / 1e9, rel=1e-12)
