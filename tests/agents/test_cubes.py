"""Cubes trained by gradient on a cache, and what they do there and on pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digit_caches import digit_cache
from scipy.interpolate import RegularGridInterpolator
from support import GRID, SIDE, C, G, L, T, write_cache, write_classifier
from torch import Tensor

from focusgym.agents import cubes
from focusgym.agents.cubes import CubesOnFeatures, between_frames, read_cubes, train_cubes
from focusgym.agents.systems.adafocus_v3 import ADAFOCUS_V3
from focusgym.envs import FeatureSource, PixelSource, interpolated
from focusgym.feature_cache import CacheConfig, DigitsConfig, FeatureCache, read_many
from focusgym.recognizer import (
    BundleError,
    ClassifierConfig,
    CubePolicy,
    CubePolicyConfig,
    Encoder,
    EncoderConfig,
    FitConfig,
    FrameConfig,
    PatchGrid,
    build_classifier,
    cube_policy_gmacs,
    option_group,
    read_classifier,
)

CONFIG = CubePolicyConfig(SIDE, SIDE, G, steps=T, cubes=2, conv_channels=4, hidden=16)
CORNERS = (0, 2, 6, 8)  # options of the 3×3 grid


def make_policy(seed: int = 0, **sizes: Any) -> CubePolicy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CubePolicy(replace(CONFIG, **sizes))


class Listed(CubePolicy):
    """Names the same cubes in every video, whatever it sees."""

    def __init__(self, listed: Sequence[Sequence[float]], config: CubePolicyConfig) -> None:
        super().__init__(replace(config, cubes=len(listed)))
        self.register_buffer("listed", torch.tensor(listed))

    def forward(self, maps: Tensor, draws: Tensor | None = None) -> Tensor:
        """Return the list ``(B, D, 3)``."""
        listed = self.listed
        assert isinstance(listed, Tensor)
        return listed.expand(len(maps), -1, -1)


@pytest.fixture
def source(tmp_path: Path) -> FeatureSource:
    """Random features, and an f_C of random weights with a head per number of cubes."""
    cache = write_cache(tmp_path / "cache", n=20)
    path = write_classifier(cache, tmp_path / "f_c", aggregation="max_pool", steps=T)
    return FeatureSource(cache, read_classifier(path))


@pytest.fixture
def hidden(tmp_path: Path) -> FeatureSource:
    """Videos that show their label in one segment, near one corner, which the glance tells.

    Elsewhere another class is to be seen. f_C takes the mean of what the local vectors say.
    """
    cache = write_cache(tmp_path / "cache", n=80)
    rng, n = np.random.default_rng(0), cache.n_videos
    at, when, labels = rng.integers(4, size=n), rng.integers(T, size=n), cache.labels.numpy()
    others = (labels + rng.integers(1, C, size=n)) % C
    maps = rng.normal(scale=0.3, size=(n, T, SIDE, SIDE, G))
    local = np.zeros((n, T, GRID**2, L))
    for video in range(n):
        row, column = divmod(CORNERS[at[video]], GRID)
        maps[video, when[video], row, column, 0] += 4  # the map has as many cells as the grid
        local[video, :, :, others[video]] = 2
        for option in range(GRID**2):
            away = abs(option // GRID - row) + abs(option % GRID - column)
            local[video, when[video], option, labels[video]] = 2 * (3 - away)
    for name, values in (
        ("glance_maps", maps),
        ("glance_vectors", maps.mean((2, 3))),
        ("local_vectors_p12_3x3", local),
    ):
        np.save(cache.root / f"{name}.npy", values.astype(np.float16))
    f_c = build_classifier(ClassifierConfig(G, L, C, aggregation="average"))
    with torch.no_grad():
        head = f_c.get_submodule("head")
        head.bias.zero_()  # type: ignore[operator, union-attr]
        head.weight.zero_()  # type: ignore[operator, union-attr]
        head.weight[:, G : G + C] = torch.eye(C)  # type: ignore[index]
    return FeatureSource(FeatureCache.open(cache.root), f_c)


def test_it_learns_when_and_where(hidden: FeatureSource) -> None:
    """One cube suffices, while few of all places show the label."""
    how = FitConfig(25, 8, {"policy": 2e-2}, optimizer="adamw", schedule="one_cycle")
    policy, test = make_policy(cubes=1), hidden.cache.split("test")
    untrained = read_cubes(hidden, test, policy.eval()).correct.mean()
    fitted = train_cubes(hidden, policy, how, [0])
    assert fitted.epoch > 0
    assert not policy.training
    assert read_cubes(hidden, test, policy).correct.mean() >= 0.9
    assert untrained < 0.6


def test_between_frames_is_trilinear(source: FeatureSource) -> None:
    """As SciPy interpolates the stored features over time, rows and columns; with its slopes."""
    cache = source.cache
    rng, videos = np.random.default_rng(2), np.array([3, 11])
    where = torch.from_numpy(rng.uniform(size=(2, 5, 3))).requires_grad_()
    glance, local = between_frames(cache, videos, where)
    stored = np.load(cache.root / "local_vectors_p12_3x3.npy").astype(np.float64)
    vectors = np.load(cache.root / "glance_vectors.npy").astype(np.float64)
    times, places = np.linspace(0, 1, T), np.linspace(0, 1, GRID)
    slopes = torch.autograd.grad(local.sum(), where)[0]
    for i, video in enumerate(videos):
        grid = stored[video].reshape(T, GRID, GRID, L)
        exact = RegularGridInterpolator((times, places, places), grid)
        at = where[i].detach().numpy()[:, ::-1]  # (t, y, x)
        np.testing.assert_allclose(local[i].detach(), exact(at), atol=1e-5)
        in_time = RegularGridInterpolator((times,), vectors[video])
        np.testing.assert_allclose(glance[i].detach(), in_time(at[:, :1]), atol=1e-5)
        for axis in range(3):
            step = np.zeros(3)
            step[axis] = 1e-4
            slope = (exact(at + step) - exact(at - step)).sum(axis=1) / 2e-4
            np.testing.assert_allclose(slopes[i, :, 2 - axis], slope, rtol=1e-3, atol=1e-2)


def test_the_ends_of_a_video(source: FeatureSource) -> None:
    """A centre at 0 is in the first segment, one at 1 in the last one: nothing is interpolated."""
    videos, where = np.array([0, 1]), torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    glance, local = between_frames(source.cache, videos, where.expand(2, -1, -1))
    segments, options = np.array([[0, T - 1]]), np.array([[0, GRID**2 - 1]])
    expected = source.cache.local_vectors(videos[:, None], segments, options)
    torch.testing.assert_close(local, expected)
    torch.testing.assert_close(glance, source.cache.glance_vectors(videos)[:, [0, -1]])


def test_the_gradient_of_the_loss(source: FeatureSource) -> None:
    """Through features and f_C to where and when, against differences of the loss.

    The place is the same at all times here: what π says of it at a time has no gradient to that.
    """
    policy = make_policy().eval()
    policy.get_submodule("places").weight.data.zero_()  # type: ignore[operator, union-attr]
    stage = CubesOnFeatures(source.cache, source.classifier, policy)
    videos, labels = torch.arange(6), source.cache.labels[:6]
    places: Any = policy.get_submodule("places").bias
    moments: Any = policy.preferences

    def loss() -> Tensor:
        return stage.losses(stage(videos), labels).sum()

    loss().backward()
    for weights, at in ((places, 0), (places, 1), (moments, (0, 0)), (moments, (2, 1))):
        with torch.no_grad():
            ends = []
            for change in (2e-3, -4e-3):
                weights[at] += change
                ends.append(loss())
            weights[at] += 2e-3
        slope = float(ends[0] - ends[1]) / 4e-3
        assert weights.grad[at] == pytest.approx(slope, rel=0.05, abs=0.02)
    assert moments.grad.abs().max() > 0.02
    assert all(parameter.grad is None for parameter in stage.classifier.parameters())


def test_what_is_played(source: FeatureSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cube in a segment of its own; logits, costs and columns by hand."""
    cache = source.cache
    named = [[0.1, 0.9, 0.34], [0.6, 0.2, 0.3], [0.5, 0.5, 1.0]]
    policy, segments = Listed(named, CONFIG), [1, 0, 3]  # the second would be in segment 1 too
    videos = cache.split("train")
    monkeypatch.setattr(cubes, "N_ENVS", 5)  # in more than one part
    trace = read_cubes(source, videos, policy)
    n = len(videos)
    centers = torch.tensor(named)[:, :2].expand(n, -1, -1)
    local = interpolated(cache, videos[:, None], np.array([segments]), centers)
    with torch.no_grad():
        expected = source.classifier(cache.glance_vectors(videos)[:, segments], local)
    torch.testing.assert_close(trace.logits[:, :3], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(trace.logits[:, 3], expected[:, 2], rtol=0, atol=1e-5)
    assert trace.segments.tolist() == [[*segments, -1]] * n
    assert trace.options[:, :3].tolist() == [[6, 1, 4]] * n
    assert trace.named.tolist() == [[True] * 3 + [False]] * n
    assert trace.fed.tolist() == trace.attended.tolist() == [[True] * 3 + [False]] * n
    cost = source.frame_cost
    glances, each = T * 0.3 + cube_policy_gmacs(policy), 1.5 + cost.classifier_gmacs
    np.testing.assert_allclose(trace.gmacs, [[glances + d * each for d in (1, 2, 3, 3)]] * n)
    labels = cache.labels[videos]
    assert trace.correct.tolist() == (expected[:, -1].argmax(-1) == labels).tolist()
    sure = expected[:, -1].softmax(-1)[torch.arange(n), labels]
    np.testing.assert_allclose(trace.confidence, sure, rtol=0, atol=1e-5)
    assert trace.decisions.tolist() == [1] * n


def test_what_is_kept_is_read(source: FeatureSource, tmp_path: Path) -> None:
    """A seed decides; and no policy of another kind, or for another setting, is taken."""
    system = replace(ADAFOCUS_V3, conv_channels=2, hidden=5, epochs=2, batch_size=4)
    videos, kept = source.cache.split("test"), tmp_path / "kept"
    first = system.reader(source, 0.5, 3, kept)(source, videos)
    assert first.fed.sum(axis=1).tolist() == [2] * len(videos)
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "f_c", "kept"}
    again = ADAFOCUS_V3.reader(source, 0.5, 3, kept)(source, videos)
    torch.testing.assert_close(again.logits, first.logits, rtol=0, atol=0)
    with pytest.raises(BundleError, match="policy whose cubes is 1, as the cache, .*; got 2"):
        ADAFOCUS_V3.reader(source, 0.08, 3, kept)
    another = system.reader(source, 0.5, 4)(source, videos)
    assert not torch.equal(another.logits, first.logits)
    for before, after, message in (
        (
            '"time": "learned"',
            '"time": "uniform"',
            "learns when and where to look; got one with ti",
        ),
        ('"cubes": 2', '"cubes": 3', "config and weights do not make a policy"),
    ):
        text = (kept / "bundle.json").read_text()
        assert before in text
        (kept / "bundle.json").write_text(text.replace(before, after))
        with pytest.raises(BundleError, match=message):
            system.reader(source, 0.5, 3, kept)
        (kept / "bundle.json").write_text(text)


def test_pixels_and_cache(tmp_path: Path) -> None:
    """They agree at the options, where nothing is interpolated; elsewhere they come near only."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = {
            "glance": Encoder(EncoderConfig("small_glance", input_px=12)).eval(),
            "local": Encoder(EncoderConfig("small_local")).eval(),
        }
    group = option_group(PatchGrid(64, 28, 3), "local", encoders["local"])
    config = CacheConfig(FrameConfig(steps=T, frame_px=64), (group,), dtype="float32")
    made = DigitsConfig(n_train=1, n_val=1, n_test=4, n_frames=6)
    cache = digit_cache(tmp_path, made, encoders, config)
    path = write_classifier(cache, tmp_path / "f_c", aggregation="max_pool", steps=T)
    digits = FeatureSource(cache, read_classifier(path))
    videos, sizes = cache.split("test"), CubePolicyConfig(*cache.map_shape, steps=T, cubes=1)
    frames = torch.stack([f for f, _ in read_many(cache.clips(videos), cache.frames)])

    def play(named: Sequence[Sequence[float]]) -> tuple[Any, Any, PixelSource]:
        policy = Listed(named, sizes)
        pixels = PixelSource(cache, digits.classifier, cache.fused_encoders(), frames)
        return read_cubes(digits, videos, policy), read_cubes(pixels, np.arange(4), policy), pixels

    on_cache, on_pixels, pixels = play([[0.0, 0.5, 1.0], [1.0, 1.0, 0.0], [0.5, 0.0, 0.9]])
    torch.testing.assert_close(on_pixels.logits, on_cache.logits, rtol=0, atol=1e-4)
    assert on_pixels.segments.tolist() == on_cache.segments.tolist() == [[3, 0, 2, -1]] * 4
    assert on_pixels.named.tolist() == on_cache.named.tolist() == [[True] * 3 + [False]] * 4
    assert on_pixels.options.tolist() == on_cache.options.tolist()
    assert on_cache.options[:, :3].tolist() == [[3, 8, 1]] * 4
    np.testing.assert_allclose(on_pixels.gmacs, on_cache.gmacs)
    cost = digits.frame_cost
    np.testing.assert_allclose(pixels.encoder_gmacs, T * cost.glance_gmacs + 3 * cost.local_gmacs)
    on_cache, on_pixels, _ = play([[0.2, 0.7, 0.4]])
    assert (on_cache.logits - on_pixels.logits).abs().max() > 1e-4
