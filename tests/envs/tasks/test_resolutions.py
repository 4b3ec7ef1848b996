"""Several option groups of different widths in one environment, and skips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from support import C, G, L, T, enter_group, write_cache

from focusgym.envs import ResolutionConfig
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import (
    BundleError,
    ClassifierConfig,
    OptionGroup,
    WholeFrame,
    build_classifier,
    write_bundle,
)

WIDE, NAMES = 9, ["full32", "p12_3x3"]
K = 10  # the whole frame, then nine patches


@pytest.fixture(params=["gru", "average", "max_pool"])
def files(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A cache with a wide group besides the patches, and f_C for both."""
    cache = write_cache(tmp_path / "cache")
    group = OptionGroup("full32", WholeFrame(32, 32), "local", WIDE, 0.25)
    vectors = np.random.default_rng(2).normal(size=(cache.n_videos, T, 1, WIDE))
    np.save(cache.root / "local_vectors_full32.npy", vectors.astype(np.float16))
    enter_group(cache.root, json.loads((cache.root / "manifest.json").read_text()), group)
    both = FeatureCache.open(cache.root, NAMES)
    torch.manual_seed(0)
    config = ClassifierConfig(G, WIDE + L, C, hidden=7, aggregation=request.param, steps=T)
    classifier = build_classifier(config).eval()
    write_bundle(tmp_path / "f_c", "classifier", config, classifier, both.fingerprint)
    return {"cache": str(cache.root), "classifier": str(tmp_path / "f_c"), "group": NAMES}


def make(files: dict[str, Any], **config: Any) -> Any:
    return gymnasium.make("focusgym/Resolution-v0", **{"split": None, **files, **config}).unwrapped


def local_vector(root: str, video: int, segment: int, option: int) -> np.ndarray:
    """The option's features in the block of its group, zeros elsewhere."""
    name, column = ("full32", 0) if option == 0 else ("p12_3x3", option - 1)
    stored = np.load(f"{root}/local_vectors_{name}.npy")[video, segment, column].astype(np.float32)
    zeros = np.zeros(WIDE + L, dtype=np.float32)
    zeros[slice(0, WIDE) if option == 0 else slice(WIDE, None)] = stored
    return zeros


def test_vectors_of_groups_stand_in_blocks_of_their_own(files: dict[str, Any]) -> None:
    cache = FeatureCache.open(files["cache"], NAMES)
    assert (cache.n_options, cache.local_channels) == (K, WIDE + L)
    assert cache.option_gmacs.tolist() == [0.25] + [1.5] * 9
    assert cache.local_gmacs == 1.5, "of the dearest"
    videos, options = np.array([7, 2]), np.array([[0, 3, 9, 0], [1, 0, 5, 8]])
    vectors = cache.local_vectors(videos[:, None], np.arange(T), options)
    for i, video in enumerate(videos):
        for t in range(T):
            expected = local_vector(files["cache"], video, t, options[i, t])
            np.testing.assert_array_equal(vectors[i, t].numpy(), expected)
    every = cache.local_vectors(videos, np.array([1, 3]), slice(None))
    assert every.shape == (2, K, WIDE + L)
    for k in range(K):
        np.testing.assert_array_equal(every[1, k].numpy(), local_vector(files["cache"], 2, 3, k))
    at_once = cache.local_vectors(7, np.arange(T), slice(None))
    assert at_once.shape == (T, K, WIDE + L)
    torch.testing.assert_close(at_once[1], every[0], rtol=0, atol=0)


@pytest.mark.parametrize("projection_bytes", [2**31, 0])
def test_an_episode_of_options_and_skips(files: dict[str, Any], projection_bytes: int) -> None:
    env = make(files, skips=[1, 2], price_per_gmac=0.2, projection_bytes=projection_bytes)
    env.reset(options={"video": 4})
    assert env.action_space.n == K + 2
    cache = FeatureCache.open(files["cache"], NAMES)
    player, label = env.player, int(cache.labels[4])
    cost = player.prices.cost
    taken: list[tuple[int, int]] = []
    before, spent = 0.0, 0.0
    # The whole frame at 0; segment 1 skipped; a patch at 2; the last two... one skipped to the end.
    for segment, action in ((0, 0), (1, K), (2, 6), (3, K + 1)):
        observation, reward, over, _, info = env.step(action)
        charged = cost.glance_gmacs
        if action < K:
            taken.append((segment, action))
            charged += cost.classifier_gmacs + (0.25 if action == 0 else 1.5)
        spent += charged
        glance = np.load(f"{files['cache']}/glance_vectors.npy")[4, [s for s, _ in taken]]
        local = np.stack([local_vector(files["cache"], 4, s, k) for s, k in taken])
        f_c = player.task.engine.source.classifier
        features = torch.from_numpy(glance.astype(np.float32)), torch.from_numpy(local)
        with torch.no_grad():
            logits = f_c(*(each[None] for each in features))
        p = float(logits[0, -1].softmax(dim=-1)[label])
        assert info["confidence"] == pytest.approx(p, abs=1e-5)
        assert reward == pytest.approx(p - before - 0.2 * charged, abs=1e-5)
        assert info["gmacs"] == pytest.approx(spent)
        assert np.flatnonzero(observation["seen"]).tolist() == [s for s, _ in taken]
        before = p
    assert over
    assert info["skipped"] == 2
    assert env.record().fed.tolist() == [True, False, True, False]


def test_a_skip_by_several_is_not_glanced_at(files: dict[str, Any]) -> None:
    env = make(files)
    env.reset()
    env.step(0)
    observation, _, over, _, _ = env.step(K + 1)  # two: segments 1 and 2
    assert not over
    assert observation["now"].argmax() == 3
    assert np.abs(observation["glances"]).sum(axis=1).astype(bool).tolist() == [
        True,
        True,
        False,
        True,
    ]


def test_something_is_read(files: dict[str, Any]) -> None:
    """A skip to the end with nothing fed reads the cheapest allowed option instead."""
    env = make(files, skips=[4], options_allowed=[3, 5])
    env.reset()
    masks = env.action_masks()
    assert np.flatnonzero(masks).tolist() == [3, 5]
    _, _, over, _, info = env.step(K)
    assert not over
    assert env.record().options.tolist() == [3]
    assert np.flatnonzero(env.action_masks()).tolist() == [3, 5, K]
    assert env.step(K)[2]
    assert info["skipped"] == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"skips": [0]}, "skips must be an integer of at least 1; got 0"),
        ({"coarse": 1}, "coarse must be true or false; got 1"),
        ({"skips": [1, 1]}, "skips must be different numbers"),
        ({"reward": "padding"}, "compares with other options"),
    ],
)
def test_what_is_refused(files: dict[str, Any], config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(files, **config)


def test_a_classifier_of_other_groups_is_refused(files: dict[str, Any]) -> None:
    """And a forbidden option."""
    assert ResolutionConfig(**files).skips == (1, 2, 4)
    with pytest.raises(BundleError, match="trained on"):
        make(files, group="full32")
    env = make(files, options_allowed=[3])
    env.reset()
    with pytest.raises(ValueError, match=r"options_allowed \[3\]; got \[2\]"):
        env.step(2)


def test_a_coarse_segment_is_fed_without_a_look(files: dict[str, Any]) -> None:
    """f_C goes on with zeros in place of f_L's features, for which nothing is charged."""
    env = make(files, coarse=True, skips=[1], price_per_gmac=0.2)
    assert env.action_space.n == K + 2
    env.reset(options={"video": 4})
    assert np.flatnonzero(env.action_masks()).tolist() == [*range(K + 2)]
    player, looks, spent, before = env.player, [], 0.0, 0.0
    cost, f_c = player.prices.cost, player.task.engine.source.classifier
    label = int(FeatureCache.open(files["cache"], NAMES).labels[4])
    for segment, action in ((0, K), (1, 0), (2, K + 1), (3, K)):
        observation, reward, over, _, info = env.step(action)
        charged = cost.glance_gmacs + (0.25 if action == 0 else 0.0)
        if action <= K:
            zeros = np.zeros(WIDE + L, dtype=np.float32)
            looks.append(zeros if action else local_vector(files["cache"], 4, segment, 0))
            charged += cost.classifier_gmacs
        spent += charged
        fed = [0, 1, 3][: len(looks)]
        glance = np.load(f"{files['cache']}/glance_vectors.npy")[4, fed].astype(np.float32)
        with torch.no_grad():
            logits = f_c(torch.from_numpy(glance)[None], torch.from_numpy(np.stack(looks))[None])
        p = float(logits[0, -1].softmax(dim=-1)[label])
        assert info["confidence"] == pytest.approx(p, abs=1e-5)
        assert reward == pytest.approx(p - before - 0.2 * charged, abs=1e-5)
        assert info["gmacs"] == pytest.approx(spent)
        assert np.flatnonzero(observation["seen"]).tolist() == fed
        before = p
    assert over
    record = env.record()
    assert record.attended.tolist() == [False, True, False, False]
    assert record.fed.tolist() == [True, True, False, True]
    assert record.options.tolist() == [-1, 0, -1, -1]
