"""π and π′ against layers of torch stepped frame by frame; stored maps against converted ones."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from focusgym.recognizer import PolicyConfig, PolicyNetwork, PolicyState, option_mask
from focusgym.recognizer.policies import blockwise
from focusgym.recognizer.policies.blockwise import blockwise_linear

CONFIG = PolicyConfig(3, 4, 5, n_options=9, conv_channels=2, hidden=6, threshold=0.5)


def make_policy(config: PolicyConfig = CONFIG, seed: int = 0) -> PolicyNetwork:
    torch.manual_seed(seed)
    policy = PolicyNetwork(config)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.ndim > 1:  # what frames show counts for more than biases
                parameter.mul_(3)
    return policy


def stepped(trunk: Any, actor: nn.Linear, maps: Tensor) -> Tensor:
    """Run a policy with layers of torch's own, one frame after the other: ``(B, T, outputs)``."""
    conv = nn.Conv2d(5, 2, 1, bias=False)
    conv.load_state_dict({"weight": trunk.conv.weight[:, :, None, None]})
    cell = nn.GRUCell(6, 6)
    cell.load_state_dict(
        {name.removesuffix("_l0"): value for name, value in trunk.gru.state_dict().items()}
    )
    state, outputs = torch.zeros(len(maps), 6), []
    for frame in maps.unbind(1):
        cells = conv(frame.permute(0, 3, 1, 2)).relu()
        state = cell(trunk.linear(cells.permute(0, 2, 3, 1).flatten(1)).relu(), state)
        outputs.append(actor(state))
    return torch.stack(outputs, dim=1)


def test_pi_prime_is_the_sigmoid_of_a_network_like_pi() -> None:
    policy, maps = make_policy(), torch.randn(3, 4, 3, 4, 5)
    keep = policy.keep
    assert keep is not None
    expected = stepped(policy.trunk, policy.actor, maps)
    torch.testing.assert_close(policy(maps), expected, rtol=0, atol=1e-5)
    expected = stepped(keep.trunk, keep.actor, maps)[..., 0].sigmoid()
    torch.testing.assert_close(keep(maps), expected, rtol=0, atol=1e-6)
    ours = {id(p) for p in keep.parameters()}
    rest = [p for p in policy.parameters() if id(p) not in ours]
    policy(maps).sum().backward()
    assert all(p.grad is None for p in keep.parameters()), "they share nothing"
    assert all(p.grad is not None for p in rest)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_stored_maps_give_what_converted_ones_give(dtype: torch.dtype) -> None:
    policy, maps = make_policy(), torch.randn(3, 4, 3, 4, 5).to(dtype)
    from_stored, expected = policy(list(maps)), policy(maps.float())
    torch.testing.assert_close(from_stored, expected, rtol=0, atol=1e-5)
    weighting = torch.randn_like(expected)
    gradients = []
    for logits in (from_stored, expected):
        policy.zero_grad()
        (logits * weighting).sum().backward()
        gradients.append([p.grad.clone() for p in policy.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_choose_takes_the_most_probable_option_where_p_b_reaches_rho() -> None:
    policy, maps = make_policy(), torch.randn(5, 4, 3, 4, 5)
    assert policy.keep is not None
    with torch.no_grad():
        logits, keep = policy(maps), policy.keep(maps)
        for rho in (0.0, float(keep.flatten().sort().values[7]), 0.5, 1.0):
            policy.config = replace(policy.config, threshold=rho)
            options, looks = policy.choose(maps)
            assert options.dtype == torch.int64
            for b in range(5):
                for t in range(4):
                    row = logits[b, t].tolist()
                    assert int(options[b, t]) == row.index(max(row))
                    assert bool(looks[b, t]) == (float(keep[b, t]) >= rho), "at ρ itself: looked at"
        assert float(keep.flatten().sort().values[7]) in keep.flatten().tolist()
    pi = make_policy(replace(CONFIG, threshold=None))
    assert pi.keep is None
    assert pi.choose(maps)[1].all()


def test_options_that_are_not_allowed_have_no_probability() -> None:
    config = replace(CONFIG, options_allowed=(7, 2))
    policy, maps = make_policy(config), 5 * torch.randn(50, 4, 3, 4, 5)
    free = make_policy()
    free.load_state_dict(policy.state_dict())  # the mask is no weight
    with torch.no_grad():
        p, all_p = policy(maps).softmax(-1), free(maps).softmax(-1)
    expected = all_p[..., [2, 7]] / all_p[..., [2, 7]].sum(-1, keepdim=True)
    torch.testing.assert_close(p[..., [2, 7]], expected, rtol=0, atol=1e-5)
    assert (p.sum(dim=(0, 1)) > 0).nonzero().flatten().tolist() == [2, 7]
    assert set(policy.choose(maps)[0].unique().tolist()) == {2, 7}
    assert set(free.choose(maps)[0].unique().tolist()) - {2, 7}
    assert option_mask(config).tolist() == [0 if i in (2, 7) else -1e9 for i in range(9)]
    assert option_mask(CONFIG).tolist() == [0] * 9


def drawn_by_hand(logits: Tensor, keep: Tensor, draws: Tensor) -> tuple[list[Any], list[Any]]:
    """Return options and looks: walk along the probabilities until the draw is used up."""
    options, looks = [], []
    for b, t in np.ndindex(*keep.shape):
        p = np.exp(logits[b, t].double().numpy() - float(logits[b, t].max()))
        left, option = float(draws[b, t, 0]) * p.sum(), 0
        while left >= p[option]:
            left -= p[option]
            option += 1
        options.append(option)
        looks.append(float(draws[b, t, 1]) < float(keep[b, t]))
    return options, looks


def test_with_draws_options_and_looks_are_sampled() -> None:
    policy, maps = make_policy(), torch.randn(40, 4, 3, 4, 5)
    draws = torch.rand(40, 4, 2, generator=torch.Generator().manual_seed(3))
    assert policy.keep is not None
    with torch.no_grad():
        logits, keep = policy(maps), policy.keep(maps)
        options, looks = policy.choose(maps, draws)
        expected_options, expected_looks = drawn_by_hand(logits, keep, draws)
        assert options.dtype == torch.int64
        assert looks.dtype == torch.bool
        assert options.shape == looks.shape == (40, 4)
        assert options.flatten().tolist() == expected_options
        assert looks.flatten().tolist() == expected_looks
        assert len(set(expected_options)) == 9
        assert (options != logits.argmax(-1)).any()
        assert (looks != policy.choose(maps)[1]).any(), "ρ plays no part"
        # What decides where does not decide whether.
        other = torch.stack([draws[..., 0], 1 - draws[..., 1]], dim=-1)
        assert torch.equal(policy.choose(maps, other)[0], options)
        other = torch.stack([1 - draws[..., 0], draws[..., 1]], dim=-1)
        assert torch.equal(policy.choose(maps, other)[1], looks)
        # As often as they are probable: 9 options, 20,000 draws at one frame of one video.
        many = torch.rand(20_000, 1, 2, generator=torch.Generator().manual_seed(4))
        drawn, attended = policy.choose(maps[:1, :1].expand(20_000, -1, -1, -1, -1), many)
        shares = drawn.flatten().bincount(minlength=9) / 20_000
        torch.testing.assert_close(shares, logits[0, 0].softmax(-1), rtol=0, atol=0.015)
        assert attended.double().mean() == pytest.approx(float(keep[0, 0]), abs=0.015)


def test_sampling_takes_allowed_options_only_and_without_pi_prime_looks_always() -> None:
    config = replace(CONFIG, options_allowed=(7, 2), threshold=None)
    policy, maps = make_policy(config), torch.randn(30, 4, 3, 4, 5)
    draws = torch.rand(30, 4, 2)
    draws[0] = 0.0
    draws[1] = 1 - 2**-24  # the largest number below 1
    options, looks = policy.choose(maps, draws)
    assert set(options.unique().tolist()) == {2, 7}
    assert set(options[0].tolist()) == {2}
    assert set(options[1].tolist()) == {7}
    assert looks.all()
    assert looks.dtype == torch.bool


@pytest.mark.parametrize("threshold", [None, 0.5])
@pytest.mark.parametrize("draw", [False, True])
@pytest.mark.parametrize("cuts", [[0, 1, 2, 3, 4, 5, 6], [0, 6], [0, 1, 6], [0, 4, 6]])
def test_advance_goes_on_from_the_frames_before(
    threshold: float | None, draw: bool, cuts: list[int]
) -> None:
    policy = make_policy(replace(CONFIG, threshold=threshold))
    maps = 2 * torch.randn(8, 6, 3, 4, 5)
    draws = torch.rand(8, 6, 2) if draw else None
    expected = policy.choose(maps, draws)
    state: PolicyState | None = None
    choices = []
    for start, stop in pairwise(cuts):
        before = [x.clone() for x in state or () if x is not None]
        part = maps[:, start:stop]
        some = None if draws is None else draws[:, start:stop]
        # As the cache stores them, and as the recognizer has them.
        options, looks, later = policy.advance(list(part) if start % 2 else part, state, some)
        assert all(map(torch.equal, [x for x in state or () if x is not None], before))
        state = later
        assert state.where.shape == (1, 8, 6)
        assert (state.whether is None) == (threshold is None)
        choices.append((options, looks))
    for one, other in zip(zip(*choices, strict=True), expected, strict=True):
        assert torch.equal(torch.cat(one, dim=1), other)
    with torch.no_grad():
        logits = stepped(policy.trunk, policy.actor, maps)
    if not draw:
        assert torch.equal(expected[0], logits.argmax(-1))
    without_memory = [policy.choose(maps[:, t : t + 1])[0] for t in range(6)]
    assert not torch.equal(torch.cat(without_memory, dim=1), policy.choose(maps)[0])


def test_the_states_are_those_of_the_two_grus() -> None:
    policy, maps = make_policy(), torch.randn(3, 4, 3, 4, 5)
    assert policy.keep is not None
    _, _, state = policy.advance(maps, None)
    assert isinstance(state, PolicyState)
    for trunk, hidden in ((policy.trunk, state.where), (policy.keep.trunk, state.whether)):
        assert hidden is not None
        features, last = trunk(maps)
        torch.testing.assert_close(hidden[0], features[:, -1])
        torch.testing.assert_close(hidden, last)
        first, middle = trunk(maps[:, :2])
        second, _ = trunk(maps[:, 2:], middle)
        torch.testing.assert_close(torch.cat([first, second], dim=1), features)


def linear_both_ways(blocks: list[Tensor], weight: Tensor, weighting: Tensor) -> list[list[Tensor]]:
    """Return output and gradient of our layer, and of torch's on converted features."""
    pairs = []
    for ours in (True, False):
        w = weight.clone().requires_grad_()
        if ours:
            out = blockwise_linear(blocks, w)
        else:
            out = nn.functional.linear(torch.stack([x.to(weight.dtype) for x in blocks]), w)
        (out * weighting).sum().backward()
        assert w.grad is not None
        pairs.append([out.detach(), w.grad])
    return pairs


@given(
    n_blocks=st.integers(1, 7),
    shape=st.lists(st.integers(1, 3), min_size=0, max_size=3),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    per_chunk=st.integers(0, 8),
)
@settings(deadline=None)
def test_blockwise_is_a_linear_layer(
    n_blocks: int, shape: list[int], sizes: tuple[int, int], dtype: torch.dtype, per_chunk: int
) -> None:
    """However many blocks are converted together, and whether they fill the last chunk."""
    inputs, outputs = sizes
    torch.manual_seed(0)
    blocks = [torch.randn(*shape, inputs).to(dtype) for _ in range(n_blocks)]
    weight = torch.randn(outputs, inputs).double()
    weighting = torch.randn(n_blocks, *shape, outputs).double()
    before = blockwise._CHUNK_BYTES
    blockwise._CHUNK_BYTES = per_chunk * blocks[0].numel() * 8 + 1
    try:
        ours, expected = linear_both_ways(blocks, weight, weighting)
    finally:
        blockwise._CHUNK_BYTES = before
    for one, other in zip(ours, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_blockwise_takes_views_and_expanded_gradients() -> None:
    file = torch.randn(6, 4, 3, 5).half()
    before = file.clone()
    blocks = list(file[::2].transpose(1, 2))  # not contiguous
    weight = torch.randn(2, 5)
    ours, expected = linear_both_ways(blocks, weight, torch.tensor(1.0))
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
    assert torch.equal(file, before)
    weight.requires_grad_()
    rows, weighting = file[:, 0], torch.randn(3, 6, 2)  # the gradient is in another order
    gradients = []
    for out in (
        blockwise_linear(list(rows), weight),
        nn.functional.linear(rows.float(), weight),
    ):
        weight.grad = None
        (out.transpose(0, 1) * weighting).sum().backward()
        gradients.append(weight.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(
        ValueError, match=rf"threshold must be in \[0, 1\], or None; got {threshold}"
    ):
        replace(CONFIG, threshold=threshold)


@pytest.mark.parametrize("allowed", [[], [9], [-1], [True], [1.0]])
def test_allowed_options_are_options(allowed: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"must be options in \[0, 9\), at least one; got \["):
        replace(CONFIG, options_allowed=allowed)


def test_weights_that_changed_in_between_are_noticed() -> None:
    weight = torch.randn(2, 5, requires_grad=True)
    out = blockwise_linear([torch.randn(3, 5)], weight)
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
