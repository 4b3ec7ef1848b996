"""Orders, draws and masks: keyed, uniform, and independent of how samples are batched."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from stage_trainings import G, K, T, make_policy

from focusgym.recognizer import (
    KeyedDropout,
    TensorSamples,
    draw_options,
    policy_choice,
    random_looks,
    random_options,
    shuffled,
    uniform_draws,
)
from focusgym.recognizer.policies.policy import FORBIDDEN

BELOW_ONE = 1 - 2.0**-53  # the largest number that NumPy draws from [0, 1)


@settings(deadline=None)
@given(n=st.integers(1, 40), batch_size=st.integers(1, 41), key=st.integers(0, 9))
def test_every_sample_is_visited_once_in_a_keyed_order(n: int, batch_size: int, key: int) -> None:
    batches = shuffled(n, batch_size, [key, 2])
    rows = torch.cat(batches)
    assert rows.dtype == torch.int64
    assert sorted(rows.tolist()) == list(range(n))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * ((n - 1) // batch_size)
    assert torch.equal(rows, torch.cat(shuffled(n, 7, [key, 2])))


def test_other_epochs_and_seeds_have_other_orders() -> None:
    orders = {
        tuple(shuffled(30, 30, [seed, epoch])[0].tolist()) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_samples_at_hand_are_loaded_batch_by_batch() -> None:
    samples = TensorSamples(5, lambda epoch, rows: (rows + 10 * epoch,))
    batches = [batch for (batch,) in samples.batches(2, [torch.tensor([3, 1]), torch.tensor([4])])]
    assert [batch.tolist() for batch in batches] == [[23, 21], [24]]


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 50), min_size=1, max_size=6), steps=st.integers(1, 4))
def test_draws_belong_to_their_row(rows: list[int], steps: int) -> None:
    draws = uniform_draws(rows, steps, [7, 1])
    assert (tuple(draws.shape), draws.dtype) == ((len(rows), steps, 2), torch.float64)
    assert draws.min() >= 0
    assert draws.max() < 1
    for row, drawn in zip(rows, draws, strict=True):
        assert torch.equal(drawn, uniform_draws([row], steps, [7, 1])[0])
    assert not torch.equal(draws, uniform_draws(rows, steps, [7, 2]))
    other = [row + 1 for row in rows]
    assert not (draws == uniform_draws(other, steps, [7, 1])).any()


def test_draws_are_uniform_and_both_numbers_independent() -> None:
    draws = uniform_draws(range(2000), 4, [3]).numpy()
    for part in (draws[..., 0], draws[..., 1], draws[:, 0], draws[:, -1]):
        assert stats.kstest(part.ravel(), "uniform").pvalue > 1e-3
    table = np.histogram2d(draws[..., 0].ravel(), draws[..., 1].ravel(), 5, [[0, 1], [0, 1]])[0]
    assert stats.chisquare(table.ravel()).pvalue > 1e-3


@pytest.mark.parametrize("n_options", [4, 9, 49])
def test_random_options_are_uniform(n_options: int) -> None:
    """A raster of draws gives every option equally often, exactly."""
    raster = (torch.arange(n_options * 8).double() + 0.5) / (n_options * 8)
    draws = torch.stack([raster, torch.zeros_like(raster)], dim=-1)[None]
    options = random_options(draws, n_options)
    assert options.dtype == torch.int64
    assert torch.bincount(options[0]).tolist() == [8] * n_options


@settings(deadline=None)
@given(n_options=st.integers(1, 10_000), draw=st.floats(0, BELOW_ONE))
def test_no_draw_leads_out_of_the_grid(n_options: int, draw: float) -> None:
    draws = torch.tensor([[[0.0, 0.5], [draw, 0.5], [BELOW_ONE, 0.5]]], dtype=torch.float64)
    first, option, last = random_options(draws, n_options)[0].tolist()
    assert (first, last) == (0, n_options - 1)
    assert option == math.floor(draw * n_options) < n_options


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9])
def test_skips_come_at_their_rate_whatever_the_option(rate: float) -> None:
    draws = uniform_draws(range(3000), 4, [11])
    options, skipped = random_options(draws, K), ~random_looks(draws, rate)
    assert (
        abs(float(skipped.double().mean()) - rate) < 4 * (rate * (1 - rate) / 12000) ** 0.5 + 1e-12
    )
    if rate:
        skips = torch.bincount(options[skipped], minlength=K).numpy()
        assert stats.chisquare(skips, skips.sum() * np.full(K, 1 / K)).pvalue > 1e-3
    assert random_looks(torch.tensor([[[0.5, rate]]], dtype=torch.float64), rate).all()
    if rate:
        below = torch.tensor([[[0.5, np.nextafter(rate, 0)]]], dtype=torch.float64)
        assert not random_looks(below, rate).any()


class TestKeyedDropout:
    def make(self, p: float) -> KeyedDropout:
        return KeyedDropout(p).train()

    def masks(self, p: float, keys: list[list[int]], shape: tuple[int, ...]) -> torch.Tensor:
        """Return the masks for inputs of ones, and check that what is kept is scaled up."""
        dropout = self.make(p)
        dropout.keys = keys
        out = dropout(torch.ones(len(keys), *shape))
        kept = out != 0
        assert torch.allclose(out[kept], torch.tensor(1 / (1 - p)))
        return kept

    @pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
    def test_rate_and_mean(self, p: float) -> None:
        dropout = self.make(p)
        dropout.keys = [[5, row] for row in range(400)]
        x = torch.linspace(1, 3, 400)[:, None].expand(400, 200)
        out = dropout(x)
        dropped = float((out == 0).float().mean())
        assert abs(dropped - p) < 4 * (p * (1 - p) / x.numel()) ** 0.5
        assert float(out.mean()) == pytest.approx(2.0, rel=0.02)

    def test_a_mask_belongs_to_its_sample(self) -> None:
        keys = [[1, 2, row] for row in (4, 9, 0, 7)]
        together = self.masks(0.5, keys, (3, 16))
        alone = torch.cat([self.masks(0.5, [key], (3, 16)) for key in keys])
        assert torch.equal(together, alone)
        assert torch.equal(together.flip(0), self.masks(0.5, keys[::-1], (3, 16)))
        assert len({mask.numpy().tobytes() for mask in together}) == 4
        assert len({mask.numpy().tobytes() for mask in together[0]}) == 3, "by step, too"
        others = self.masks(0.5, [[1, 3, row] for row in (4, 9, 0, 7)], (3, 16))
        assert not (together == others).all(dim=2).any()

    def test_gradients_flow_through_what_is_kept(self) -> None:
        dropout = self.make(0.8)
        dropout.keys = [[row] for row in range(3)]
        x = torch.randn(3, 50, requires_grad=True)
        dropout(x).sum().backward()
        expected = self.masks(0.8, [[row] for row in range(3)], (50,)) * 5.0
        assert x.grad is not None
        assert torch.allclose(x.grad, expected)

    @pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
    def test_without_keys_or_training_it_is_torchs(self, p: float) -> None:
        dropout, x = self.make(p), torch.randn(4, 30)
        torch.manual_seed(0)
        expected = torch.nn.functional.dropout(x, p)
        torch.manual_seed(0)
        assert torch.equal(dropout(x), expected)
        dropout.keys = [[row] for row in range(4)]
        assert torch.equal(dropout.eval()(x), x)
        if p in (0, 1):
            assert torch.equal(dropout.train()(x), x * (1 - p))


def logits_and_draws() -> st.SearchStrategy[tuple[list[float], float]]:
    logit = st.one_of(st.floats(-40, 40), st.just(FORBIDDEN), st.floats(-1e4, 1e4))
    draw = st.one_of(st.floats(0, BELOW_ONE), st.sampled_from([0.0, 5e-324, 0.5, BELOW_ONE]))
    return st.tuples(st.lists(logit, min_size=1, max_size=9), draw)


@settings(deadline=None)
@given(logits_and_draws())
def test_a_drawn_option_is_possible_and_where_the_sums_say(case: tuple[list[float], float]) -> None:
    """Brute force: probabilities in float64 by NumPy, summed up until the draw is passed."""
    logits, draw = case
    option = int(
        draw_options(torch.tensor([[logits]]), torch.tensor([[draw]], dtype=torch.float64))
    )
    stored = np.array(logits, dtype=np.float32).astype(np.float64)
    p = np.exp(stored - stored.max())
    p /= p.sum()
    assert 0 <= option < len(logits)
    assert p[option] > 0
    assert p[:option].sum() <= draw + 1e-12
    assert p[: option + 1].sum() >= draw - 1e-12


@settings(deadline=None)
@given(
    allowed=st.lists(st.booleans(), min_size=2, max_size=49).filter(any),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_forbidden_option_is_never_drawn(
    allowed: list[bool], seed: int, dtype: torch.dtype
) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(len(allowed), generator=rng, dtype=dtype)
    logits += FORBIDDEN * ~torch.tensor(allowed)
    edges = torch.tensor([0.0, BELOW_ONE], dtype=torch.float64)
    draws = torch.cat([torch.rand(50, generator=rng, dtype=torch.float64), edges])
    options = draw_options(logits.expand(52, -1), draws)
    assert all(allowed[option] for option in options.tolist())
    possible = [k for k, yes in enumerate(allowed) if yes]
    assert (int(options[-2]), int(options[-1])) == (possible[0], possible[-1])


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_a_policy_that_is_sampled_follows_its_probabilities(threshold: float | None) -> None:
    """Options by softmax(logits), looks by p^B, independent of each other; of one video, often."""
    torch.manual_seed(3)
    policy, n = make_policy(threshold, spread=12.0), 4000
    maps = torch.randn(1, T, 8, 8, G)
    with torch.no_grad():
        p = policy(maps)[0].double().softmax(-1).numpy()
        keep = np.ones(T) if policy.keep is None else policy.keep(maps)[0].double().numpy()
        draws = uniform_draws(range(n), T, [1])
        chosen, looks = policy_choice(
            policy, maps.expand(n, -1, -1, -1, -1), draws, sample=True, skip_rate=0
        )
    assert p.max() > 0.25
    for t in range(T):
        expected = n * np.append(p[t] * keep[t], 1 - keep[t])
        counts = np.bincount(chosen[:, t].where(looks[:, t], K).numpy(), minlength=K + 1)
        if threshold is None:
            assert counts[K] == 0
            expected, counts = expected[:K], counts[:K]
        assert stats.chisquare(counts, expected).pvalue > 1e-3
    if threshold is not None:
        assert np.ptp(keep) > 0
        assert 0.05 < keep.min() < keep.max() < 0.95


def test_a_policy_that_is_not_sampled_takes_its_best() -> None:
    """The most probable option, where p^B reaches ρ; draws decide nothing."""
    torch.manual_seed(4)
    policy, maps = make_policy(0.5, spread=4.0), torch.randn(40, T, 8, 8, G)
    with torch.no_grad():
        logits = policy(maps)
        assert policy.keep is not None
        policy.keep.actor.bias -= policy.keep(maps).logit().median()
        keep = policy.keep(maps)
        some = policy_choice(policy, maps, torch.zeros(40, T, 2), sample=False, skip_rate=0.9)
        others = policy_choice(
            policy, maps, torch.ones(40, T, 2) - 1e-9, sample=False, skip_rate=0.9
        )
    for video in range(40):
        for t in range(T):
            best = max(range(K), key=lambda k: float(logits[video, t, k]))
            assert some[0][video, t] == best
            assert some[1][video, t] == (keep[video, t] >= 0.5)
    assert all(map(torch.equal, some, others))
    assert 0 < int(some[1].sum()) < 40 * T


@pytest.mark.parametrize("sample", [False, True])
def test_without_a_second_policy_frames_are_skipped_at_random(sample: bool) -> None:
    policy, maps = make_policy(), torch.randn(500, T, 8, 8, G)
    draws = uniform_draws(range(500), T, [2])
    with torch.no_grad():
        chosen = policy_choice(policy, maps, draws, sample=sample, skip_rate=0.3)
        never = policy_choice(policy, maps, draws, sample=sample, skip_rate=0.0)
    assert never[1].all()
    assert torch.equal(chosen[0], never[0])
    assert torch.equal(chosen[1], draws[..., 1] >= 0.3)
    assert 0.6 < float(chosen[1].double().mean()) < 0.8
