"""Centres trained by gradient on a cache, and what they do there and on pixels."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digit_caches import digit_cache
from support import GRID, SIDE, C, G, L, T, write_cache, write_classifier
from torch import Tensor

from focusgym.agents import TaskRecognizer, centers
from focusgym.agents.centers import CentersOnFeatures, read_centers, train_centers
from focusgym.agents.systems import adafocus_v2
from focusgym.agents.systems.adafocus_v2 import ADAFOCUS_V2
from focusgym.agents.systems.gradient import GradientSystem
from focusgym.envs import FeatureSource, FocusEngine, PixelSource
from focusgym.feature_cache import CacheConfig, DigitsConfig, FeatureCache, read_many
from focusgym.recognizer import (
    AdaptiveRecognizer,
    Boxes,
    BundleError,
    CheckpointError,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FitConfig,
    FrameConfig,
    PatchGrid,
    Policy,
    PolicyConfig,
    build_classifier,
    build_policy,
    option_group,
    policy_gmacs,
    read_classifier,
)
from focusgym.recognizer.policies.base import PolicyState

CONFIG = PolicyConfig(SIDE, SIDE, G, 1, 4, 16, network="centers")
CORNERS = (0, 2, 6, 8)  # options of the 3×3 grid
HOW = FitConfig(12, 8, {"policy": 3e-2}, optimizer="adamw", schedule="one_cycle")


def make_policy(seed: int = 0, **sizes: Any) -> Policy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_policy(replace(CONFIG, **sizes))


class Listed(Policy):
    """Names the centres that it was given, whatever it sees; counts the segments in its state."""

    names_centers = True

    def __init__(self, listed: Sequence[Sequence[float]], config: PolicyConfig = CONFIG) -> None:
        super().__init__(config)
        self.register_buffer("listed", torch.tensor(listed))

    def advance(
        self, maps: Any, state: PolicyState | None, draws: Tensor | None = None
    ) -> tuple[Tensor, Tensor, PolicyState]:
        n, steps = len(maps), maps[0].shape[0]
        first = 0 if state is None else int(state.where[0, 0, 0])
        named = self.listed[first : first + steps].expand(n, -1, -1)  # type: ignore[index]
        after = torch.full((1, n, 1), float(first + steps))
        return named, torch.ones(n, steps, dtype=torch.bool), PolicyState(after, None)


@pytest.fixture
def source(tmp_path: Path) -> FeatureSource:
    """Random features and a GRU of random weights."""
    cache = write_cache(tmp_path / "cache", n=20)
    return FeatureSource(cache, read_classifier(write_classifier(cache, tmp_path / "f_c")))


@pytest.fixture
def corners(tmp_path: Path) -> FeatureSource:
    """Videos in which the glance map shows at which corner the label is to be seen.

    The nearer an option is to that corner, the more of it is of the label, and the less of another
    class; f_C takes the mean of what the local vectors say.
    """
    cache = write_cache(tmp_path / "cache", n=60)
    rng, n = np.random.default_rng(0), cache.n_videos
    at = rng.integers(4, size=(n, T))
    labels = cache.labels.numpy()
    others = (labels + rng.integers(1, C, size=n)) % C
    maps = rng.normal(scale=0.3, size=(n, T, SIDE, SIDE, G))
    local = np.zeros((n, T, GRID**2, L))
    for video, t in np.ndindex(n, T):
        row, column = divmod(CORNERS[at[video, t]], GRID)
        maps[video, t, row, column, 0] += 4  # the map has as many cells as the grid
        for option in range(GRID**2):
            away = abs(option // GRID - row) + abs(option % GRID - column)
            local[video, t, option, labels[video]] = 3 - away
            local[video, t, option, others[video]] = away
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


def test_it_learns_where_to_look(corners: FeatureSource) -> None:
    """Better than any place that does not depend on what is seen; f_C stays as it is."""
    cache, policy = corners.cache, make_policy()
    test, before = cache.split("test"), copy.deepcopy(corners.classifier.state_dict())
    untrained = read_centers(corners, test, policy.eval()).correct.mean()
    fitted = train_centers(corners, policy, HOW, [0])
    assert fitted.epoch > 0
    assert not policy.training
    trace = read_centers(corners, test, policy)
    engine = FocusEngine(corners)
    labels = cache.labels[test]
    fixed = [
        float(
            (engine.rollout(test, np.full((len(test), T), k))[:, -1].argmax(-1) == labels)
            .double()
            .mean()
        )
        for k in range(GRID**2)
    ]
    assert trace.correct.mean() >= 0.9
    assert fitted.val_accuracy >= 0.9
    assert max(untrained, *fixed) < 0.5
    after = corners.classifier.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(parameter.requires_grad for parameter in corners.classifier.parameters())


def test_the_stage_is_the_engine_in_one_pass(
    source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits after every segment; and what is told of the videos, by hand."""
    cache, policy = source.cache, make_policy(conv_channels=3).eval()
    with torch.no_grad():
        policy.get_submodule("actor").weight.mul_(20)  # type: ignore[operator, union-attr]
    videos = cache.split("train")
    stage = CentersOnFeatures(cache, source.classifier, policy)
    with torch.no_grad():
        expected = stage(torch.from_numpy(videos))
        named, _ = policy.choose(cache.stored_glance_maps(videos))
    assert named.std(dim=(0, 1)).min() > 0.05, "boxes at different places"
    engine, stepped = FocusEngine(source), []
    engine.start(videos)
    for t in range(T):
        tried = engine.try_boxes(np.full(len(videos), t), named[:, t, None])
        engine.commit(tried)
        stepped.append(engine.logits)
    torch.testing.assert_close(torch.stack(stepped, 1), expected, rtol=0, atol=1e-5)
    monkeypatch.setattr(centers, "N_ENVS", 5)  # in more than one part
    trace = read_centers(source, videos, policy)
    torch.testing.assert_close(trace.logits, expected, rtol=0, atol=1e-5)
    labels = cache.labels[videos]
    sure = expected[:, -1].softmax(-1)[torch.arange(len(videos)), labels]
    np.testing.assert_allclose(trace.confidence, sure, rtol=0, atol=1e-5)
    assert trace.correct.tolist() == (expected[:, -1].argmax(-1) == labels).tolist()
    offsets = torch.tensor([0.0, 10.0, 20.0])
    nearest = (named[..., None] * 20 - offsets).abs().argmin(-1)  # (B, T, 2)
    assert trace.options.tolist() == (nearest[..., 1] * GRID + nearest[..., 0]).tolist()
    cost = source.frame_cost
    each = cost.glance_gmacs + 1.5 + cost.classifier_gmacs + policy_gmacs(policy)
    np.testing.assert_allclose(trace.gmacs, np.tile(each * np.arange(1, T + 1), (12, 1)))
    assert trace.attended.all()
    assert trace.fed.all()
    assert trace.segments.tolist() == [[*range(T)]] * 12
    assert trace.decisions.tolist() == [T] * 12


def test_the_gradient_of_the_loss(source: FeatureSource) -> None:
    """Through features and f_C to the policy's last bias, against differences of the loss."""
    policy = make_policy().eval()
    stage = CentersOnFeatures(source.cache, source.classifier, policy)
    videos = torch.arange(6)
    labels = source.cache.labels[:6]
    bias: Any = policy.get_submodule("actor").bias

    def loss() -> Tensor:
        return stage.losses(stage(videos), labels).sum()

    loss().backward()
    for axis in range(2):
        with torch.no_grad():
            ends = []
            for change in (1e-2, -2e-2):
                bias[axis] += change
                ends.append(loss())
            bias[axis] += 1e-2
        assert bias.grad[axis] == pytest.approx(float(ends[0] - ends[1]) / 2e-2, rel=0.05, abs=0.02)
    assert all(parameter.grad is None for parameter in stage.classifier.parameters())


class _Stopped(Exception):
    pass


def test_a_training_that_was_interrupted(
    corners: FeatureSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the third epoch, gone on with: the same bits; another f_C is another training."""
    how, file = replace(HOW, epochs=4), tmp_path / "checkpoint"
    uninterrupted, stopped, other = make_policy(), make_policy(), make_policy(1)
    train_centers(corners, uninterrupted, how, [0])
    plain, calls = CentersOnFeatures.forward, 0

    def interrupted(stage: CentersOnFeatures, videos: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 17:
            raise _Stopped
        return plain(stage, videos)

    monkeypatch.setattr(CentersOnFeatures, "forward", interrupted)
    with pytest.raises(_Stopped):
        train_centers(corners, stopped, how, [0], file)
    monkeypatch.setattr(CentersOnFeatures, "forward", plain)
    train_centers(corners, other, how, [0], file)  # whose weights come from the file
    expected, weights = uninterrupted.state_dict(), other.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in expected.items())
    corners.classifier.get_submodule("head").bias.data += 1  # type: ignore[operator, union-attr]
    with pytest.raises(CheckpointError, match="of another training"):
        train_centers(corners, other, how, [0], file)


def test_what_is_kept_is_read(
    source: FeatureSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a system of other sizes too: the folder says what was trained."""
    system = replace(ADAFOCUS_V2, conv_channels=2, hidden=5, epochs=2, batch_size=4)
    videos, kept = source.cache.split("test"), tmp_path / "kept"
    first = system.reader(source, 1.0, 3, kept)(source, videos)
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "f_c", "kept"}
    unkept = system.reader(source, 1.0, 3)(source, videos)
    torch.testing.assert_close(unkept.logits, first.logits, rtol=0, atol=0)
    another = system.reader(source, 1.0, 4)(source, videos)
    assert not torch.equal(another.logits, first.logits), "a seed decides"
    monkeypatch.delattr(adafocus_v2, "train_centers")
    again = ADAFOCUS_V2.reader(source, 1.0, 3, kept)(source, videos)
    torch.testing.assert_close(again.logits, first.logits, rtol=0, atol=0)
    with pytest.raises(NameError):
        ADAFOCUS_V2.reader(source, 1.0, 3)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("antigravity:geohash", "which a file may not import"),
        ("gru", "expected a network that names centres; got 'gru'"),
    ],
)
def test_what_is_kept_is_data(
    source: FeatureSource, tmp_path: Path, network: str, message: str
) -> None:
    """A file that was changed imports no module, and is no policy of another kind."""
    kept = tmp_path / "kept"
    system = replace(ADAFOCUS_V2, conv_channels=2, hidden=5, epochs=1, batch_size=4)
    system.reader(source, 1.0, 3, kept)
    text = (kept / "bundle.json").read_text()
    (kept / "bundle.json").write_text(text.replace('"centers"', f'"{network}"'))
    with pytest.raises(BundleError, match=message):
        system.reader(source, 1.0, 3, kept)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hidden": 0}, "hidden must be an integer of at least 1; got 0"),
        ({"epochs": 1.5}, "epochs must be an integer of at least 1; got 1.5"),
        ({"lr": 0.0}, "lr must be positive; got 0"),
        ({"lr": "1e-3"}, "lr must be a finite number of at least 0; got '1e-3'"),
    ],
)
def test_sizes_that_are_none(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ADAFOCUS_V2, **sizes)
    assert isinstance(ADAFOCUS_V2, GradientSystem)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> FeatureSource:
    """A cache of digit videos with a 3×3 grid of patches, and an f_C."""
    root = tmp_path_factory.mktemp("digits")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = {
            "glance": Encoder(EncoderConfig("small_glance", input_px=12)).eval(),
            "local": Encoder(EncoderConfig("small_local")).eval(),
        }
    group = option_group(PatchGrid(64, 28, 3), "local", encoders["local"])
    config = CacheConfig(FrameConfig(steps=T, frame_px=64), (group,), dtype="float32")
    made = DigitsConfig(n_train=1, n_val=1, n_test=4, n_frames=6)
    cache = digit_cache(root, made, encoders, config)
    return FeatureSource(cache, read_classifier(write_classifier(cache, root / "classifier")))


def pixels_of(source: FeatureSource) -> PixelSource:
    cache = source.cache
    decoded = read_many(cache.clips(cache.split("test")), cache.frames)
    frames = torch.stack([frames for frames, _ in decoded])
    return PixelSource(cache, source.classifier, cache.fused_encoders(), frames)


def listed(source: FeatureSource, named: Sequence[Sequence[float]]) -> Listed:
    height, width, channels = source.cache.map_shape
    return Listed(named, PolicyConfig(height, width, channels, 1, network="centers"))


def test_pixels_and_cache_agree_at_the_options(digits: FeatureSource) -> None:
    """There nothing is interpolated, neither features nor pixels."""
    policy = listed(digits, [[0.0, 0.5], [1.0, 1.0], [0.5, 0.5], [0.5, 0.0]])
    videos, pixels = digits.cache.split("test"), pixels_of(digits)
    on_cache = read_centers(digits, videos, policy)
    on_pixels = read_centers(pixels, np.arange(len(videos)), policy)
    torch.testing.assert_close(on_pixels.logits, on_cache.logits, rtol=0, atol=1e-4)
    assert on_pixels.options.tolist() == on_cache.options.tolist() == [[3, 8, 4, 1]] * 4
    np.testing.assert_allclose(on_pixels.gmacs, on_cache.gmacs)
    cost = digits.frame_cost
    each = cost.glance_gmacs + cost.local_gmacs
    np.testing.assert_allclose(pixels.encoder_gmacs, T * each)


def test_on_pixels_boxes_are_cut_out_where_they_are(digits: FeatureSource) -> None:
    """The recognizer on pixels, and an agent of the environment, do the same."""
    named = [[0.13, 0.9], [0.77, 0.31], [0.5, 0.26], [1.0, 0.62]]
    policy, pixels = listed(digits, named), pixels_of(digits)
    on_pixels = read_centers(pixels, np.arange(4), policy)
    glance, local = (digits.cache.fused_encoders()[name] for name in ("glance", "local"))
    recognizer = AdaptiveRecognizer(
        glance, local, digits.classifier, Boxes(64, 28), policy, torch.float32
    )
    frames = pixels._frames
    expected = recognizer(frames)
    torch.testing.assert_close(on_pixels.logits, expected.logits, rtol=0, atol=1e-4)
    corners = 36 * np.array(named)  # of 64 − 28 pixels
    boxes = np.concatenate([corners, corners + 28], axis=1)
    np.testing.assert_allclose(on_pixels.boxes_px, np.tile(boxes, (4, 1, 1)), atol=1e-4)
    on_cache = read_centers(digits, digits.cache.split("test"), policy)
    assert (on_cache.logits - on_pixels.logits).abs().max() > 1e-3, "which comes near to it only"

    class Agent:
        def predict(
            self, observation: Any, state: Any = None, episode_start: Any = None, **_: Any
        ) -> tuple[np.ndarray, Any]:
            step = 0 if state is None else state
            return np.tile(np.float32(named[step]), (4, 1)), step + 1

    root = digits.cache.root
    files = {"cache": root, "classifier": root.parent / "classifier", "observation": "map"}
    agent = TaskRecognizer(Agent(), "focusgym/Boxes-v0", **files)
    played = agent.look(frames)
    torch.testing.assert_close(played.logits, expected.logits, rtol=0, atol=1e-4)
    assert played.options.tolist() == on_pixels.options.tolist()
