"""Which video an episode plays and what is drawn in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusgym.envs import Episodes

D, K = 3, 49


def episodes_of(
    n_videos: int, n_envs: int, seed: int, *, shuffled: bool = True, draws: int = 2
) -> Episodes:
    rows = np.arange(100, 100 + n_videos)
    first = np.arange(n_envs)
    return Episodes(rows, draws, D, np.arange(K), first, n_envs, seed, shuffled=shuffled)


def begin(episodes: Episodes) -> None:
    episodes.advance(np.ones(len(episodes.videos), dtype=bool))


def drawn(episodes: Episodes) -> np.ndarray:
    """Return the draws of the running episodes, ``(N, D, k)``."""
    n = len(episodes.videos)
    return np.stack([episodes.draws(np.full(n, t)) for t in range(D)], axis=1)


def play(episodes: Episodes, times: int) -> tuple[list[int], list[list[list[int]]]]:
    """Return videos and draws, environment after environment, then the next episodes."""
    played, draws = [], []
    for _ in range(times):
        begin(episodes)
        played += episodes.videos.tolist()
        draws += drawn(episodes).tolist()
    return played, draws


@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 5), st.booleans())
def test_an_epoch_visits_every_video_once_whatever_n_is(
    n_videos: int, n_envs: int, seed: int, shuffled: bool
) -> None:
    played, draws = play(episodes_of(n_videos, n_envs, seed, shuffled=shuffled), 3 * n_videos)
    for epoch in range(3):
        of_epoch = played[epoch * n_videos : (epoch + 1) * n_videos]
        assert sorted(of_epoch) == list(range(100, 100 + n_videos))
    alone = play(episodes_of(n_videos, 1, seed, shuffled=shuffled), 3 * n_videos)
    assert alone == (played[: 3 * n_videos], draws[: 3 * n_videos])


def test_n_environments_draw_what_one_draws_in_thousands_of_episodes() -> None:
    played, draws = play(episodes_of(7, 300, 4), 8)
    assert play(episodes_of(7, 1, 4), 2400) == (played, draws)


def test_draws_are_uniform_and_differ_between_steps_episodes_and_seeds() -> None:
    episodes = episodes_of(50, 2000, 0)
    begin(episodes)
    first = drawn(episodes)
    counts = np.bincount(first.ravel(), minlength=K)
    expected = 2000 * D * 2 / K
    assert ((counts - expected) ** 2 / expected).sum() < 85  # χ², 48 degrees, p ≈ 0.001
    for t in range(1, D):
        # Two independent draws of 49 agree in one of 49 cases.
        assert np.mean(first[:, t] == first[:, 0]) == pytest.approx(1 / K, abs=0.01)
    assert np.mean(first[1:] == first[:-1]) == pytest.approx(1 / K, abs=0.01)
    begin(episodes)
    assert np.mean(drawn(episodes) == first) == pytest.approx(1 / K, abs=0.01)
    other = episodes_of(50, 2000, 1)
    begin(other)
    assert np.mean(drawn(other) == first) == pytest.approx(1 / K, abs=0.01)


def test_only_the_given_options_are_drawn_each_as_often() -> None:
    episodes = Episodes(np.arange(5), 4, D, np.array([3, 8, 40]), np.arange(500), 500, 0)
    begin(episodes)
    options, counts = np.unique(drawn(episodes), return_counts=True)
    assert options.tolist() == [3, 8, 40]
    assert counts == pytest.approx(np.full(3, 500 * D * 4 / 3), rel=0.06)
    episodes.choose(0, 2)
    assert set(drawn(episodes)[0].ravel()) <= {3, 8, 40}


def test_a_shuffled_order_is_another_one_in_every_epoch_and_for_every_seed() -> None:
    played, _ = play(episodes_of(20, 1, 0), 40)
    other, _ = play(episodes_of(20, 1, 1), 20)
    assert len({tuple(played[:20]), tuple(played[20:]), tuple(other), tuple(range(100, 120))}) == 4


def test_every_video_is_as_often_the_first_of_a_shuffled_epoch() -> None:
    firsts = [play(episodes_of(4, 1, seed), 1)[0][0] for seed in range(400)]
    counts = np.bincount(np.array(firsts) - 100, minlength=4)
    assert ((counts - 100) ** 2 / 100).sum() < 16.3  # χ², 3 degrees, p ≈ 0.001


def test_a_listed_order_is_the_list_again_and_again() -> None:
    rows = np.array([5, 2, 9])
    episodes = Episodes(rows, 1, D, np.arange(K), np.arange(2), 2, 0, shuffled=False)
    assert play(episodes, 3)[0] == [5, 2, 9, 5, 2, 9]


def test_environments_that_do_not_begin_go_on_as_they_were() -> None:
    episodes = episodes_of(10, 3, 0)
    begin(episodes)
    videos, draws = episodes.videos.copy(), drawn(episodes)
    episodes.advance(np.array([False, True, False]))
    everything, all_draws = play(episodes_of(10, 1, 0), 5)
    assert episodes.videos.tolist() == [videos[0], everything[4], videos[2]]
    assert episodes.episodes.tolist() == [0, 4, 2]
    assert drawn(episodes).tolist() == [draws[0].tolist(), all_draws[4], draws[2].tolist()]


def test_first_and_stride_pick_one_environment_of_many() -> None:
    everything, draws = play(episodes_of(10, 1, 3), 20)
    alone = Episodes(np.arange(100, 110), 2, D, np.arange(K), np.array([2]), 5, 3)
    assert play(alone, 4) == (everything[2::5], draws[2::5])


def test_a_chosen_video_has_its_own_draws_and_leaves_the_order_alone() -> None:
    episodes, untouched = episodes_of(10, 2, 0), episodes_of(10, 2, 0)
    begin(episodes)
    begin(untouched)
    episodes.choose(1, 104)
    assert episodes.videos.tolist() == [untouched.videos[0], 104]
    first = drawn(episodes)
    assert np.array_equal(first[0], drawn(untouched)[0])
    begin(episodes)
    begin(untouched)
    assert np.array_equal(episodes.videos, untouched.videos)
    assert np.array_equal(drawn(episodes), drawn(untouched))
    episodes.choose(1, 104)
    assert not np.array_equal(drawn(episodes)[1], first[1]), "again draws something else"
    episodes.choose(0, 104)
    assert not np.array_equal(drawn(episodes)[0], first[1]), "so does another environment"
    alone = Episodes(
        np.arange(100, 110), 2, 3, np.arange(49), first=np.array([1]), stride=2, seed=0
    )
    alone.choose(0, 107)
    assert np.array_equal(drawn(alone)[0], first[1]), "environment 1 of 2, chosen the first time"
    other = episodes_of(10, 1, 1)
    other.choose(0, 104)
    assert not np.array_equal(drawn(other)[0], first[1]), "another seed draws something else"


def test_a_restart_is_a_new_beginning_under_another_seed() -> None:
    episodes = episodes_of(6, 4, 0)
    play(episodes, 5)
    episodes.choose(2, 103)
    episodes.restart(8)
    assert play(episodes, 6) == play(episodes_of(6, 4, 8), 6)


def test_no_draws_are_kept_where_none_are_wanted() -> None:
    episodes = episodes_of(6, 4, 0, draws=0)
    begin(episodes)
    assert episodes.draws(np.zeros(4, dtype=int)).shape == (4, 0)
