"""Where f_C's inputs come from: table or not, shared or not, never other numbers."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import GRID, C, G, L, Literal, N, T, write_cache
from torch import Tensor

from focusgym.envs import EnvConfig, FeatureSource, FocusEngine, FocusEnv, FocusVectorEnv
from focusgym.envs.engine.source import open_source
from focusgym.feature_cache import CacheError
from focusgym.recognizer import ClassifierConfig, GruClassifier, build_classifier, devices

K = GRID**2
close = torch.testing.assert_close


@pytest.fixture(params=["gru", "average"])
def literal(tmp_path: Path, request: pytest.FixtureRequest) -> Literal:
    return Literal(tmp_path, aggregation=request.param)


def rewards_of(files: dict[str, Any], n_envs: int = 4, **keywords: Any) -> np.ndarray:
    """Play two episodes in every environment with actions that are always the same."""
    env = FocusVectorEnv(n_envs, task="AdaFocusPlus", **files, **keywords)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    nvec = env.single_action_space.nvec
    return np.stack([env.step(rng.integers(nvec, size=(n_envs, 2)))[1] for _ in range(2 * T)])


@pytest.mark.parametrize(
    "reward", ["increment_over_random", {"name": "increment_over_random", "draws": None}, "padding"]
)
@pytest.mark.parametrize("reuse_glance", [True, False])
@pytest.mark.parametrize("aggregation", ["gru", "average"])
def test_rewards_are_the_same_with_and_without_a_table(
    tmp_path: Path, aggregation: str, reuse_glance: bool, reward: Any
) -> None:
    literal = Literal(tmp_path, aggregation=aggregation, reuse_glance=reuse_glance)
    tabled = rewards_of(literal.files, reward=reward)
    computed = rewards_of(literal.files, reward=reward, projection_bytes=0)
    np.testing.assert_allclose(computed, tabled, rtol=0, atol=1e-6)
    assert np.abs(tabled).mean() > 0.05


def test_there_is_a_table_where_a_full_one_fits(literal: Literal) -> None:
    width = {"gru": 3 * 7, "average": C}[literal.classifier.config.aggregation]
    fits = 4 * N * T * (K + 1) * width
    assert FeatureSource(literal.cache, literal.classifier, fits).tabled
    assert not FeatureSource(literal.cache, literal.classifier, fits - 1).tabled


class CompanyClassifier(GruClassifier):
    """Rounds by how many rows are projected together: what matrix products may do, but surely."""

    def project(self, glance: Tensor, local: Tensor | None) -> Tensor:
        return super().project(glance, local) + 1e-6 * glance.numel()


@settings(max_examples=15, deadline=None)
@given(company=st.lists(st.lists(st.integers(0, N - 1), min_size=1), min_size=1))
def test_a_table_is_the_same_bits_in_any_order_and_company(
    tmp_path_factory: pytest.TempPathFactory, company: list[list[int]]
) -> None:
    cache = write_cache(tmp_path_factory.mktemp("table") / "cache")
    classifier = CompanyClassifier(ClassifierConfig(G, L, C, hidden=7))
    mixed = FeatureSource(cache, classifier)
    for videos in company:
        mixed.prepare(np.array(videos))
    for video in {video for videos in company for video in videos}:
        alone = FeatureSource(cache, classifier)
        alone.prepare(np.array([video]))
        for t in range(T):
            at = np.array([video]), np.array([t])
            assert torch.equal(mixed.gather_all(*at), alone.gather_all(*at))


@pytest.mark.parametrize(
    ("projection_bytes", "free", "is_tabled"),
    [(None, 0, True), (0, 0, False), (None, 2**40, True), (0, 2**40, False)],
)
def test_inputs_are_projections_of_the_files_features(
    literal: Literal,
    projection_bytes: int | None,
    free: int,
    is_tabled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the table has its place from the beginning, as on a GPU."""
    monkeypatch.setattr(devices, "free_bytes", lambda device: free)
    source = FeatureSource(literal.cache, literal.classifier, projection_bytes)
    assert source.tabled == is_tabled
    assert (source._on_gpu is not None) == (is_tabled and free > 0)
    root, weights = literal.cache.root, literal.classifier.state_dict()
    names = ("gru.weight_ih_l0", "gru.bias_ih_l0")
    if literal.classifier.config.aggregation == "average":
        names = ("head.weight", "head.bias")
    weight, bias = (weights[name].numpy() for name in names)
    glance = np.load(root / "glance_vectors.npy").astype(np.float32)
    local = np.load(root / "local_vectors_p12_3x3.npy").astype(np.float32)
    videos, steps = np.array([7, 0, 7, 3]), np.array([3, 1, 0, 3])
    source.prepare(videos)
    options = np.array([[0, -1], [8, 8], [-1, 4], [2, 1]])
    attended = options >= 0
    picked = source.gather(videos, steps, np.where(attended, options, 0), attended)
    every = source.gather_all(videos, steps)
    for i, (video, t) in enumerate(zip(videos, steps, strict=True)):
        for k in range(K + 1):
            vector = local[video, t, k] if k < K else np.zeros(L, np.float32)
            expected = weight @ np.concatenate([glance[video, t], vector]) + bias
            np.testing.assert_allclose(every[i, k].numpy(), expected, rtol=0, atol=1e-5)
            for j in np.flatnonzero(np.where(attended[i], options[i], K) == k):
                close(picked[i, j], every[i, k], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("glance", "local", "n_classes"), [(G + 1, L, C), (G, L - 1, C), (G, L, C + 2), (G, L, C - 1)]
)
def test_a_classifier_of_other_features_is_refused(
    literal: Literal, glance: int, local: int, n_classes: int
) -> None:
    other = GruClassifier(ClassifierConfig(glance, local, n_classes, hidden=7))
    with pytest.raises(
        ValueError,
        match=rf"classifier is for \(G, L, C\) = \({glance}, {local}, {n_classes}\), but the cache "
        rf"holds \({G}, {L}, {C}\): give the classifier that was trained on this cache",
    ):
        FeatureSource(literal.cache, other)


@pytest.mark.parametrize("projection_bytes", [2**31, 0])
def test_training_a_classifier_on_changes_nothing(literal: Literal, projection_bytes: int) -> None:
    videos, options = np.arange(N), np.tile(np.arange(T), (N, 1))
    source = FeatureSource(literal.cache, literal.classifier, projection_bytes)
    expected = FocusEngine(source).rollout(videos, options)
    in_training = build_classifier(literal.classifier.config).train()
    in_training.load_state_dict(literal.classifier.state_dict())
    source = FeatureSource(literal.cache, in_training, projection_bytes)
    assert in_training.training, "the original is left as it is"
    with torch.no_grad():
        for weights in in_training.parameters():
            weights.add_(1)
    logits = FocusEngine(source).rollout(videos, options)
    assert torch.equal(logits, expected), "no dropout, and no later weights"
    assert not logits.requires_grad


def test_the_environments_of_a_process_share_a_source_while_there_are_any(
    literal: Literal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EnvConfig(**literal.files)
    source = weakref.ref(open_source(config))
    assert source() is None, "nothing is kept that nobody uses"
    envs = [FocusEnv(**literal.files) for _ in range(2)]
    source = weakref.ref(open_source(config))
    monkeypatch.chdir(tmp_path)
    assert open_source(EnvConfig("cache", "classifier", reward="padding", seed=5)) is source()
    assert open_source(EnvConfig(**literal.files, projection_bytes=0)) is not source()
    envs.pop()
    gc.collect()
    assert source() is not None
    envs.pop()
    gc.collect()
    assert source() is None


def test_a_classifier_that_is_written_anew_is_noticed(literal: Literal) -> None:
    before = FocusEnv(**literal.files)
    old = rewards_of(literal.files)
    literal.write_classifier(1, aggregation=literal.classifier.config.aggregation)
    new = rewards_of(literal.files)
    assert np.abs(new - old).mean() > 0.05
    _, info = before.reset(seed=0)
    after = FocusEnv(**literal.files)
    after.reset(seed=0)
    p = literal.confidence(info["video_id"], [(3, 1)])
    assert after.step(np.int64(3))[4]["confidence"] == pytest.approx(p, abs=1e-6)
    assert abs(before.step(np.int64(3))[4]["confidence"] - p) > 1e-6, "it goes on as it was"


def test_a_glance_map_that_is_not_numbers_names_the_video_and_the_frame(literal: Literal) -> None:
    stored = np.lib.format.open_memmap(literal.cache.root / "glance_maps.npy", "r+")
    stored[6, 2, 1, 0, 4], stored[7, 0, 0, 0, 0] = np.nan, np.inf
    stored.flush()
    message = r"video {0} \({0}.mp4\), segment {1}: the glance map holds NaN or infinite numbers: "
    message += "run `focusgym cache verify`, then build the cache again"
    env = FocusEnv(**literal.files, split=None)
    with pytest.raises(CacheError, match=message.format(7, 0)):
        env.reset(options={"video": 7})
    env.reset(options={"video": 6})
    env.step(np.int64(0))
    with pytest.raises(CacheError, match=message.format(6, 2)):
        env.step(np.int64(0))
    env = FocusEnv(**literal.files, split=None, observation="index")
    env.reset(options={"video": 6})
    assert [env.step(np.int64(0))[2] for _ in range(T)] == [False] * (T - 1) + [True]
