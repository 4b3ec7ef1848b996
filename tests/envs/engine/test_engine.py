"""The engine against torch's own GRU on the files' features, and against brute force."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import GRID, C, G, L, Literal, N, T, advance, engine_of, write_cache
from torch import nn

from focusgym.envs import FeatureSource, FocusEngine, FocusEnv, increment_over_random, regret
from focusgym.recognizer import ClassifierConfig, GruClassifier

K = GRID**2
close = torch.testing.assert_close
decisions = st.tuples(st.integers(0, K - 1), st.booleans()) | st.just((-1, False))
plays = st.lists(
    st.tuples(st.integers(0, N - 1), st.lists(decisions, min_size=T, max_size=T)),
    min_size=1,
    max_size=4,
)


def as_looks(options: Iterable[int], attended: Iterable[bool]) -> list[tuple[int, int]]:
    """Say it as Eq. 9 does: a location and b."""
    return [(max(k, 0), int(b)) for k, b in zip(options, attended, strict=True)]


def as_plan(played: list[tuple[int, list[tuple[int, bool]]]]) -> tuple[np.ndarray, ...]:
    """Return videos ``(B,)``, options ``(B, T)`` and whether they are attended, of `plays`."""
    options = np.array([[option for option, _ in chosen] for _, chosen in played])
    attended = np.array([[looks for _, looks in chosen] for _, chosen in played])
    return np.array([video for video, _ in played]), options, attended


def test_confidences_of_a_tiny_case_worked_out(tmp_path: Path) -> None:
    """One hidden unit, zero recurrence: p is a softmax of known numbers."""
    cache = write_cache(tmp_path / "tiny", n=5, steps=1)
    classifier = GruClassifier(ClassifierConfig(G, L, C, hidden=1)).eval()
    for parameter in classifier.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        classifier.gru.get_parameter("weight_ih_l0")[2, G] = 1.0  # candidate = tanh(local[0])
        classifier.head.weight[:, 0] = torch.tensor([2.0, 0.0, -1.0])
    engine = FocusEngine(FeatureSource(cache, classifier))
    engine.start(np.array([3]))
    attended = np.array([[True, True, True, False]])
    tried = engine.try_options(np.array([0]), np.array([[4, 7, 0, 0]]), attended)
    local = np.load(cache.root / "local_vectors_p12_3x3.npy").astype(np.float64)[3, 0, :, 0]

    def p(first_channel: float) -> float:
        h = 0.5 * np.tanh(first_channel)  # update gate = sigmoid(0)
        z = np.exp([2 * h, 0.0, -h])
        return float(z[int(cache.labels[3])] / z.sum())

    expected = [p(local[4]), p(local[7]), p(local[0]), 1 / 3]
    assert tried.confidences.tolist()[0] == pytest.approx(expected, abs=1e-6)
    assert engine.confidence.tolist() == [0.0], "nothing was fed"
    engine.commit(tried, np.array([1]))
    assert float(engine.confidence[0]) == pytest.approx(p(local[7]), abs=1e-6)
    close(engine.logits[0], tried.logits[0, 1], rtol=0, atol=0)


def test_segments_come_in_any_order_and_some_are_not_fed(literal: Literal) -> None:
    """The state is that of the segments that were fed, in the order in which they were."""
    engine, videos = engine_of(literal), np.array([2, 6, 9])
    segments = np.array([[3, 1, 0], [2, 0, 1], [1, 3, 2]])
    options = np.array([[4, K, 8], [1, 7, 2], [K, 0, 5]])
    fed = np.array([[True, False, True], [True, True, True], [False, False, True]])
    engine.start(videos)
    for d in range(3):
        before = engine.state, engine.logits, engine.confidence
        attended = options[:, d : d + 1] < K
        shown = np.where(attended, options[:, d : d + 1], 0)
        engine.commit(engine.try_options(segments[:, d], shown, attended, fed[:, d]))
        for row in np.flatnonzero(~fed[:, d]):
            for old, new in zip(
                before, (engine.state, engine.logits, engine.confidence), strict=True
            ):
                assert torch.equal(old[row], new[row])
    assert engine.step.tolist() == [2, 3, 1]
    cache = literal.cache
    for row, video in enumerate(videos):
        took = [d for d in range(3) if fed[row, d]]
        glance = cache.glance_vectors(np.array([video]))[0, segments[row, took]]
        local = [
            torch.zeros(L)
            if options[row, d] == K
            else cache.local_vectors(int(video), int(segments[row, d]), options[row, d : d + 1])[0]
            for d in took
        ]
        with torch.no_grad():
            expected = literal.classifier(glance[None], torch.stack(local)[None])[0, -1]
        close(engine.logits[row], expected, rtol=0, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    aggregation=st.sampled_from(["gru", "average"]),
    labels=st.sampled_from(["first", "mean"]),
    played=plays,
    n_random=st.integers(0, 3),
    data=st.data(),
)
def test_a_step_gives_the_literal_confidences_and_goes_on_with_what_was_done(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    aggregation: str,
    labels: str,
    played: list[tuple[int, list[tuple[int, bool]]]],
    n_random: int,
    data: st.DataObject,
) -> None:
    all_labels = [[(i + seed) % C, i % C][: 1 + (i + seed) % C % 2] for i in range(N)]
    folder = tmp_path_factory.mktemp("literal")
    literal = Literal(folder, seed=seed, aggregation=aggregation, all_labels=all_labels)
    videos, options, _ = as_plan(played)
    b_t = data.draw(st.lists(st.booleans(), min_size=options.size, max_size=options.size))
    looks = np.array(b_t).reshape(options.shape) & (options >= 0)
    engine = engine_of(literal, labels)
    engine.start(videos)
    for t in range(T):
        random = np.random.default_rng(seed).integers(K, size=(len(videos), n_random))
        named = options[:, t] >= 0
        columns = [np.where(named, options[:, t], 0)[:, None], random]
        tried = engine.try_options(
            np.full(len(videos), t),
            np.concatenate([*columns, np.zeros((len(videos), 1), dtype=int)], axis=1),
            np.concatenate(
                [named[:, None], random >= 0, np.zeros((len(videos), 1), dtype=bool)], axis=1
            ),
        )
        engine.commit(tried, np.where(looks[:, t], 0, n_random + 1))
        for i, video in enumerate(videos):
            before = as_looks(options[i, :t], looks[i, :t])

            def p(k: int, b: int, video: int = video, before: list = before) -> object:
                return pytest.approx(literal.confidence(video, [*before, (k, b)], labels), abs=1e-6)

            option, chosen_b, b = max(options[i, t], 0), int(named[i]), int(looks[i, t])
            assert float(tried.confidences[i, 0]) == p(option, chosen_b)
            assert float(engine.confidence[i]) == p(option, b)
            assert float(tried.confidences[i, -1]) == p(0, 0)
            for j in range(n_random):
                assert float(tried.confidences[i, 1 + j]) == p(random[i, j], 1)
            expected = literal.probabilities(video, [*before, (option, b)])
            close(engine.logits[i].softmax(-1).double(), expected, rtol=0, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(aggregation=st.sampled_from(["gru", "average"]), reuse=st.booleans(), played=plays)
def test_a_rollout_is_stepping_and_is_the_classifier_on_whole_sequences(
    tmp_path_factory: pytest.TempPathFactory,
    aggregation: str,
    reuse: bool,
    played: list[tuple[int, list[tuple[int, bool]]]],
) -> None:
    folder = tmp_path_factory.mktemp("literal")
    literal = Literal(folder, aggregation=aggregation, reuse_glance=reuse)
    videos, options, attended = as_plan(played)
    engine = engine_of(literal)
    options = np.maximum(options, 0)  # any where nothing is attended
    logits = engine.rollout(videos, options, attended)
    assert logits.shape == (len(videos), T, C)
    engine.start(videos)
    for t in range(T):
        assert engine.step.tolist() == [t] * len(videos)
        assert torch.equal(advance(engine, options[:, t], attended[:, t]), logits[:, t])
    root = literal.cache.root
    glance = np.load(root / "glance_vectors.npy")[videos].astype(np.float32)
    local = np.load(root / "local_vectors_p12_3x3.npy").astype(np.float32)
    picked = local[videos[:, None], np.arange(T), options] * attended[..., None]
    with torch.no_grad():
        at_once = literal.classifier(torch.from_numpy(glance), torch.from_numpy(picked))
    close(logits, at_once, rtol=0, atol=1e-5)


def test_counterfactuals_are_all_the_steps_not_taken(literal: Literal) -> None:
    videos, options = np.array([0, 5]), np.array([[1, 6, 3, 8], [2, 0, 4, 0]])
    attended = np.array([[True, False, True, True], [True, True, False, False]])
    engine = engine_of(literal)
    counterfactuals = engine.rollout_counterfactuals(videos, options, attended)
    assert (counterfactuals.options.shape, counterfactuals.skip.shape) == ((2, T, K), (2, T))
    for i, video in enumerate(videos):
        for t in range(T):
            for k in range(K + 1):
                before = as_looks(options[i, :t], attended[i, :t])
                p = literal.confidence(video, [*before, (k % K, int(k < K))])
                one = counterfactuals.options[i, t, k] if k < K else counterfactuals.skip[i, t]
                assert float(one) == pytest.approx(p, abs=1e-6)
    engine.start(videos)
    for t in range(T):
        now, again = (engine.counterfactuals(engine.step) for _ in range(2))
        assert torch.equal(now.options, again.options)
        assert engine.step.tolist() == [t, t], "asking does not step"
        close(now.options, counterfactuals.options[:, t], rtol=0, atol=0)
        close(now.skip, counterfactuals.skip[:, t], rtol=0, atol=0)
        advance(engine, options[:, t], attended[:, t])


def test_counterfactuals_of_more_videos_than_a_block_holds(literal: Literal) -> None:
    engine = engine_of(literal)
    videos = np.random.default_rng(0).integers(N, size=40_000)
    assert len(videos) * engine.source.row_bytes > 2 * 2**21
    engine.start(np.arange(N))
    advance(engine, np.arange(N) % K)  # from here on states differ
    few = engine.counterfactuals(engine.step)
    engine.start(videos)
    advance(engine, videos % K)
    many = engine.counterfactuals(engine.step)
    close(many.options, few.options[videos], rtol=0, atol=1e-6)
    close(many.skip, few.skip[videos], rtol=0, atol=1e-6)


def test_the_exact_expectation_is_the_mean_of_all_single_draws(literal: Literal) -> None:
    engine, history = engine_of(literal), [2, 7, 7]
    env = FocusEnv(**literal.files, reward={"name": "increment_over_random", "draws": None})
    engine.start(np.full(K, 4))
    env.reset(options={"video": 4})
    for option in [*history, 5]:
        options = np.stack([np.full(K, option), np.arange(K)], axis=1)
        tried = engine.try_options(engine.step, options)
        engine.commit(tried)
        singles = increment_over_random(tried.confidences[:, 0], tried.confidences[:, 1:])
        assert float(singles.max() - singles.min()) > 1e-3
        reward = env.step(np.int64(option))[1]
        assert reward == pytest.approx(float(singles.mean()), abs=1e-6)


@pytest.mark.parametrize("may_skip", [False, True])
def test_the_oracle_is_the_best_of_all_and_alone_without_regret(
    literal: Literal, may_skip: bool
) -> None:
    engine, videos = engine_of(literal), np.arange(N)
    plan = engine.oracle(videos, may_skip=may_skip)
    best, attended = plan.options, plan.attended
    assert best.shape == attended.shape == (N, T)
    for video in videos:
        for t in range(T):
            before = as_looks(best[video, :t], attended[video, :t])
            tried = [
                literal.confidence(video, [*before, (k % K, int(k < K))])
                for k in range(K + may_skip)
            ]
            choice = best[video, t] if attended[video, t] else K
            assert choice == int(np.argmax(tried))
    assert (~attended).any() == may_skip, "skipping is the best somewhere"
    assert plan.named is not None
    assert np.array_equal(plan.named, attended)
    tried = engine.rollout_counterfactuals(videos, best, attended)
    confidences, skip = tried.options, tried.skip if may_skip else None
    assert (regret(confidences, best, attended, skip) == 0).all()
    for option in range(K):
        others = regret(confidences, torch.full((N, T), option), skip=skip)
        assert (others >= 0).all()
        assert torch.equal(others == 0, torch.from_numpy(attended & (best == option)))
    if may_skip:
        others = regret(confidences, best, np.zeros((N, T), dtype=bool), skip)
        assert torch.equal(others == 0, torch.from_numpy(~attended))


def test_regret_by_hand() -> None:
    confidences = torch.tensor([[[0.1, 0.7, 0.4], [0.5, 0.2, 0.9]], [[0.3] * 3, [0.0, 1.0, 0.5]]])
    regrets = regret(confidences, np.array([[0, 0], [2, 1]]))
    close(regrets, torch.tensor([[0.6, 0.4], [0.0, 0.0]]))
    close(regret(confidences[0, 0], torch.tensor(2)), torch.tensor(0.3))
    looks, skip = np.array([[True, False], [False, True]]), torch.tensor([[0.8, 0.6], [0.3, 0.9]])
    regrets = regret(confidences, np.array([[0, 2], [0, 1]]), looks, skip)
    close(regrets, torch.tensor([[0.7, 0.3], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="expected looks everywhere; got decisions without one"):
        regret(confidences, np.array([[0, 2], [0, 1]]), looks)


def test_beginning_some_episodes_leaves_the_others_as_they_are(literal: Literal) -> None:
    options = np.array([[1, 5, 0, 8], [2, 0, 3, 4], [6, 7, 0, 1]])
    attended = np.ones((3, T), dtype=bool)
    attended[1, 1] = attended[2, 2] = False
    engine = engine_of(literal)
    expected = engine.rollout(np.array([0, 4, 9]), options, attended)
    again = engine.rollout(np.array([0, 7, 9]), options, attended)
    engine.start(np.array([0, 4, 9]))
    advance(engine, options[:, 0], attended[:, 0])
    advance(engine, options[:, 1], attended[:, 1])
    engine.start(np.array([0, 7, 9]), np.array([False, True, False]))
    assert engine.step.tolist() == [2, 0, 2]
    for t in (0, 1):
        now = [0, 1, 2], [t + 2, t, t + 2]
        logits = advance(engine, options[now], attended[now])
        close(logits[[0, 2]], expected[[0, 2], t + 2], rtol=0, atol=1e-6)
        close(logits[1], again[1, t], rtol=0, atol=1e-6)
    assert engine.step.tolist() == [4, 2, 4]
