"""The network that names centres, against torch's own layers put together by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from focusgym.agents import read_policy
from focusgym.recognizer import (
    BundleError,
    CenterNetwork,
    PolicyConfig,
    PolicyNetwork,
    build_policy,
    policy_gmacs,
    write_bundle,
)

HEIGHT, WIDTH, G, CONV, H = 3, 4, 6, 5, 7
CONFIG = PolicyConfig(HEIGHT, WIDTH, G, 1, CONV, H, network="centers")


class Literal(nn.Module):
    """Of maps with their channels first: convolution, norm, tanh, linear, norm, tanh, GRU, …"""

    def __init__(self, policy: CenterNetwork) -> None:
        super().__init__()
        self.conv = nn.Conv2d(G, CONV, 1, bias=False)
        self.conv_norm = nn.BatchNorm2d(CONV)
        self.linear = nn.Linear(CONV * HEIGHT * WIDTH, H)
        self.norm = nn.BatchNorm1d(H)
        self.gru = nn.GRU(H, H, batch_first=True)
        self.actor = nn.Linear(H, 2)
        state = dict(policy.state_dict())
        state["conv.weight"] = state["conv.weight"][:, :, None, None]
        # Inputs of the linear layer: of each cell its channels; here of each channel its cells.
        weight = state["linear.weight"].view(H, HEIGHT * WIDTH, CONV)
        state["linear.weight"] = weight.transpose(1, 2).flatten(1)
        self.load_state_dict(state)

    def forward(self, maps: Tensor) -> Tensor:
        """Return centres ``(B, T, 2)`` of maps ``(B, T, h, w, G)``."""
        batch = maps.shape[:2]
        x = self.conv_norm(self.conv(maps.flatten(0, 1).permute(0, 3, 1, 2))).tanh()
        x = self.norm(self.linear(x.flatten(1))).tanh()
        states, _ = self.gru(x.unflatten(0, batch))
        centers: Tensor = torch.sigmoid(self.actor(states))
        return centers


@pytest.fixture
def policy() -> CenterNetwork:
    """With weights and statistics that are nothing special."""
    torch.manual_seed(0)
    policy = CenterNetwork(CONFIG)
    with torch.no_grad():
        for norm in (policy.conv_norm, policy.norm):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
            norm.running_mean.normal_()  # type: ignore[union-attr]
            norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        policy.actor.weight.mul_(4)
    return policy


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(3, 5, HEIGHT, WIDTH, G, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_it_is_the_layers_in_turn(mode: str, policy: CenterNetwork, maps: Tensor) -> None:
    """Also its statistics, and its gradient with respect to weights and maps."""
    literal = Literal(policy)
    for network in (policy, literal):
        network.train(mode == "train")
    inputs = [maps.clone().requires_grad_() for _ in range(2)]
    centers, expected = policy(inputs[0]), literal(inputs[1])
    assert centers.shape == (3, 5, 2)
    assert float(centers.detach().std()) > 0.05
    torch.testing.assert_close(centers, expected, rtol=1e-5, atol=1e-6)
    weights = torch.randn(centers.shape)
    for each in (centers, expected):
        (each * weights).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-6)
    assert float(inputs[0].grad.abs().min()) > 0  # type: ignore[union-attr]
    by_name = dict(literal.named_parameters())
    for name, parameter in policy.named_parameters():
        gradient = by_name[name].grad
        assert gradient is not None
        if name == "linear.weight":
            gradient = gradient.view(H, CONV, -1).transpose(1, 2).flatten(1)
        torch.testing.assert_close(
            parameter.grad, gradient.view_as(parameter), rtol=1e-4, atol=1e-6
        )
    for name, value in policy.named_buffers():
        torch.testing.assert_close(value, literal.get_buffer(name), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_step_by_step_is_all_at_once(policy: CenterNetwork, maps: Tensor) -> None:
    policy.eval()
    centers, looks = policy.choose(maps)
    assert torch.equal(centers, policy(maps))
    assert looks.dtype == torch.bool
    assert looks.tolist() == [[True] * 5] * 3
    state, steps = None, []
    for t in range(5):
        where, _, state = policy.advance(maps[:, t : t + 1], state)
        steps.append(where)
    torch.testing.assert_close(torch.cat(steps, 1), centers, rtol=1e-5, atol=1e-6)
    # Of some of the videos, as streams go on when others have stopped.
    _, _, state = policy.advance(maps[:, :2], None)
    kept = torch.tensor([True, False, True])
    later_centers, _, _ = policy.advance(maps[kept, 2:], state.of(kept))
    torch.testing.assert_close(later_centers, centers[kept, 2:], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_stored_maps_are_converted(policy: CenterNetwork, maps: Tensor) -> None:
    policy.eval()
    stored = [each.half() for each in maps]
    centers = policy(stored)
    torch.testing.assert_close(centers, policy(torch.stack(stored).float()), rtol=1e-5, atol=1e-6)


def test_it_is_found_by_its_name_and_refuses_what_it_has_not(maps: Tensor) -> None:
    policy = build_policy(CONFIG)
    assert type(policy) is CenterNetwork
    assert policy.names_centers
    assert policy.keep is None
    assert not build_policy(replace(CONFIG, network="gru")).names_centers
    for wrong, message in (
        ({"n_options": 49}, "n_options=49, options_allowed=None, threshold=None"),
        ({"options_allowed": [0]}, r"options_allowed=\[0\]"),
        ({"threshold": 0.5}, "threshold=0.5"),
    ):
        changed: dict[str, Any] = dict(wrong)
        with pytest.raises(ValueError, match=f"has one option, which may be.*; got .*{message}"):
            build_policy(replace(CONFIG, **changed))
    with pytest.raises(ValueError, match="draws nothing: leave the sampling out"):
        policy.choose(maps, torch.rand(3, 5, 2))


def test_agents_on_a_cache_refuse_it(tmp_path: Path, policy: CenterNetwork) -> None:
    write_bundle(tmp_path / "pi", "policy", policy.config, policy)
    with pytest.raises(BundleError, match="that chooses among options; got 'centers', which names"):
        read_policy(tmp_path / "pi")


def test_its_compute_is_counted_by_hand_and_leaves_no_trace(policy: CenterNetwork) -> None:
    policy.train()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    macs = HEIGHT * WIDTH * (G * CONV + CONV * H) + 3 * H * 2 * H + 2 * H
    assert policy_gmacs(policy) == pytest.approx(macs / 1e9, rel=1e-12)
    assert policy.training
    assert policy.norm.training
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())


# Of the released code: multiply-adds per frame at P, and those of f_L there; G. See f_G's too.
PUBLISHED = ((96, 1.10097, 0.75073), (128, 1.68484, 1.33460), (192, 3.35306, 3.00282))


def test_published_compute() -> None:
    """Of MobileNet-V2 and ResNet-50 as published, of π and f_C as they are counted here."""
    from focusgym.recognizer import ClassifierConfig, build_classifier, count_gmacs

    policy = CenterNetwork(PolicyConfig(7, 7, 1280, 1, 64, 2048, network="centers"))
    sizes = ClassifierConfig(1280, 2048, 200, 4096, aggregation="max_pool", steps=16)
    f_c = build_classifier(sizes).eval()
    features = torch.zeros(1, 1, 1280), torch.zeros(1, 1, 2048)
    ours = policy_gmacs(policy) + count_gmacs(lambda: f_c(*features))
    for _, total, local in PUBLISHED:
        assert 0.29951 + local + ours == pytest.approx(total, rel=5e-3)


def test_a_policy_with_options_is_no_such_network() -> None:
    assert not PolicyNetwork(PolicyConfig(HEIGHT, WIDTH, G, 9, CONV, H)).names_centers
