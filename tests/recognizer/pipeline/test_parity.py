"""Pixels and cache: the recognizer on video files, the engine and the environments agree."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from focusgym.agents import LearnedAgent, with_threshold
from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import (
    CacheConfig,
    DigitsConfig,
    FeatureCache,
    build_cache,
    clips_of,
    make_digits,
    make_encoder,
    read_many,
    video_table,
)
from focusgym.recognizer import (
    AdaptiveRecognizer,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    PatchGrid,
    Places,
    PolicyConfig,
    PolicyNetwork,
    Recognition,
    build_classifier,
    confidence,
    option_group,
    write_bundle,
)

KEEP_RATIO = 0.6  # η


@dataclass(frozen=True)
class World:
    """A cache of video files, the networks that were made for it, and the files' frames."""

    engine: FocusEngine
    classifier: Path
    frames: Tensor
    encoders: tuple[Encoder, Encoder]
    policies: dict[str, PolicyNetwork]

    @property
    def cache(self) -> FeatureCache:
        return self.engine.cache

    @property
    def videos(self) -> NDArray[np.int64]:
        return self.cache.split("test")

    @property
    def labels(self) -> Tensor:
        return self.cache.labels[self.videos]

    def recognizer(self, policy: str, *, fused: bool = True) -> AdaptiveRecognizer:
        """Assemble a recognizer with one of the policies."""
        recognizer = AdaptiveRecognizer(
            *self.encoders,
            self.engine.source.classifier,
            self.cache.places,
            self.policies[policy],
            self.cache.dtype,
            frames=self.cache.frames,
            classes=self.cache.classes,
        )
        return recognizer.fused() if fused else recognizer

    def env(self, policy: str, **config: Any) -> gymnasium.Env[Any, Any]:
        name = "AdaFocus" if self.policies[policy].keep is None else "AdaFocusPlus"
        return gymnasium.make(
            f"focusgym/{name}-v0",
            disable_env_checker=True,
            cache=str(self.cache.root),
            classifier=str(self.classifier),
            split="test",
            order="listed",
            **config,
        )


def make_world(
    root: Path,
    videos: pd.DataFrame,
    classes: list[str],
    encoders: tuple[Encoder, Encoder],
    frames: FrameConfig,
    places: Places,
) -> World:
    """Build the cache; f_C and π are random, but prefer something and are sure of something."""
    n_frames = frames.segment_frames
    group = option_group(places, "local", encoders[1], segment_frames=n_frames)
    config = CacheConfig(frames, (group,))
    networks = dict(zip(("glance", "local"), encoders, strict=True))
    cache = FeatureCache.open(build_cache(videos, classes, root / "cache", networks, config))
    height, width, channels = cache.map_shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = ClassifierConfig(channels, cache.local_channels, cache.n_classes, hidden=32)
        f_c = build_classifier(sizes).eval()
        options = cache.n_options
        policy = PolicyConfig(height, width, channels, options, conv_channels=8, hidden=16)
        pi = PolicyNetwork(policy).eval()
        plus = PolicyNetwork(replace(policy, threshold=0.5)).eval()
    rows = cache.split("test")
    chosen = np.arange(len(rows) * cache.steps).reshape(len(rows), -1) % options
    glance, local, _ = cache.sequences(rows, chosen)
    with torch.no_grad():
        spread(f_c.get_submodule("head"), lambda: f_c(glance, local))
        for network in (pi, plus):
            spread(network.actor, lambda network=network: network(cache.glance_maps(rows)))
        assert plus.keep is not None
        spread(plus.keep.actor, lambda: plus.choose(cache.glance_maps(rows)))
    write_bundle(root / "classifier", "classifier", f_c.config, f_c, cache.fingerprint)
    with torch.no_grad():
        keep = plus.keep(cache.glance_maps(rows)).flatten().sort().values.numpy()
    # In the widest gap near η: rounding moves no frame across it.
    near = slice(int(0.35 * len(keep)), int(0.45 * len(keep)) + 1)
    i = near.start + int(np.diff(keep[near]).argmax())
    policies = {"pi": pi, "plus": with_threshold(plus, float(keep[i] + keep[i + 1]) / 2)}
    decoded = read_many(clips_of(cache.videos.iloc[rows]), cache.frames)
    pixels = torch.stack([pixels for pixels, _ in decoded])
    engine = FocusEngine(FeatureSource(cache, f_c))
    return World(engine, root / "classifier", pixels, encoders, policies)


def spread(head: nn.Module, run: Any) -> None:
    """Scale and shift a linear layer: its outputs in a run have mean 0 and deviation 1.5."""
    outputs: list[Tensor] = []
    hook = head.register_forward_hook(
        lambda _, inputs, output: outputs.append(output.flatten(0, -2))
    )
    run()
    hook.remove()
    scale = 1.5 / outputs[0].std(dim=0)
    weight, bias = head.get_parameter("weight"), head.get_parameter("bias")
    weight.mul_(scale[:, None])
    bias.sub_(outputs[0].mean(dim=0)).mul_(scale)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Videos of the embedded digits, 204 frames of them in all, 49 options, float16."""
    frames = FrameConfig(steps=6, frame_px=64)
    return digits_world(tmp_path_factory.mktemp("digits"), frames, PatchGrid(64, 28), 34)


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Fifty of four segments of three frames; f_G glances at the middle one."""
    frames = FrameConfig(steps=4, frame_px=64, segment_frames=3, glance_frames=1)
    return digits_world(tmp_path_factory.mktemp("segments"), frames, PatchGrid(64, 28, 3), 50)


def digits_world(root: Path, frames: FrameConfig, places: Places, n: int) -> World:
    config = DigitsConfig(n_train=1, n_val=1, n_test=n, n_frames=math.prod(frames.shape) + 2)
    table = make_digits(config, root / "data")
    paths = [str(root / "data" / path) for path in table["path"]]
    videos = video_table(paths, table["label"].tolist(), table["split"].tolist())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        encoders = (
            Encoder(EncoderConfig("small_glance", input_px=12)).eval(),
            Encoder(EncoderConfig("small_local")).eval(),
        )
    return make_world(root, videos, [str(i) for i in range(10)], encoders, frames, places)


@pytest.fixture(scope="module")
def gestures(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> World:
    """Six real clips of 342×256 px, 4 frames each, nine options, real weights for both encoders."""
    root = tmp_path_factory.mktemp("gestures")
    lines = (real_data / "gestures" / "val.txt").read_text().splitlines()[::6][:6]
    names, _, labels = zip(*(line.split() for line in lines), strict=True)
    paths = [str(real_data / "gestures" / "videos" / name) for name in names]
    videos = video_table(paths, [int(label) for label in labels], ["test"] * len(paths))
    classes = (real_data / "gestures" / "classes.txt").read_text().split()
    weights = str(real_data / "weights" / "mobilenet_v2_features.pth")
    encoder = make_encoder(EncoderConfig("mobilenet_v2"), weights)
    frames, both = FrameConfig(4, 224, 256), (encoder, encoder)
    return make_world(root, videos, classes, both, frames, PatchGrid(224, 96, 3))


WORLDS = ["digits", "segments", "gestures"]


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    selected: World = request.getfixturevalue(request.param)
    return selected


def assert_agree(on_pixels: Tensor, on_cache: Tensor, labels: Tensor) -> None:
    """Predictions agree on 99.5 % of the (video, step) pairs, confidences within 0.02."""
    assert on_pixels.shape == on_cache.shape
    agreement = (on_pixels.argmax(-1) == on_cache.argmax(-1)).double().mean()
    assert agreement >= 0.995
    difference = confidence(on_pixels, labels) - confidence(on_cache, labels)
    assert difference.abs().max() <= 0.02


@pytest.mark.parametrize("policy", ["pi", "plus"])
def test_pixels_agree_with_the_engine_on_the_cache(world: World, policy: str) -> None:
    """Each side chooses by itself: the recognizer from pixels, the agent from the cache."""
    recognizer, engine = world.recognizer(policy), world.engine
    recognition = recognizer(world.frames)
    plan = LearnedAgent(world.policies[policy]).plan(engine, world.videos)
    assert (recognition.options.numpy() == plan.options).mean() >= 0.995
    assert (recognition.attended.numpy() == plan.attended).mean() >= 0.995
    on_cache = engine.rollout(world.videos, plan.options, plan.attended)
    assert_agree(recognition.logits, on_cache, world.labels)
    assert len(np.unique(plan.options)) > min(10, world.cache.n_options // 2), "choices vary"
    assert len(recognition.logits.argmax(-1).unique()) > 4, "predictions vary"
    share = float(recognition.attended.double().mean())
    assert share == (1.0 if policy == "pi" else pytest.approx(KEEP_RATIO, abs=0.06))


@pytest.mark.parametrize("world", ["digits", "segments"], indirect=True)
def test_given_options_agree_too(world: World) -> None:
    """Any patches, and skips where nobody would skip, with networks as they were trained."""
    n, k = world.frames.shape[:2], world.cache.n_options
    options = torch.randint(k, n, generator=torch.Generator().manual_seed(0)).numpy()
    for attended in (options > 0, np.zeros(n, dtype=bool)):
        recognition = world.recognizer("pi", fused=False)(world.frames, options, attended)
        on_cache = world.engine.rollout(world.videos, options, attended)
        assert_agree(recognition.logits, on_cache, world.labels)


@pytest.mark.parametrize(
    ("world", "policy"),
    [*((name, "plus") for name in WORLDS), ("digits", "pi")],
    indirect=["world"],
)
def test_online_agrees_with_the_environment_step_by_step(world: World, policy: str) -> None:
    """π sees what the environment shows, frame by frame; the recognizer sees the frames."""
    recognizer = world.recognizer(policy)
    network, shape = world.policies[policy], world.cache.map_shape
    env = world.env(policy, policy_gmacs=recognizer.cost.policy_gmacs)
    rows: list[dict[str, Any]] = []
    online = []
    for video, frames in zip(world.videos, world.frames, strict=True):
        observation, _ = env.reset()
        stream, state, done = recognizer.stream(), None, False
        parts: list[Recognition] = []
        while not done:
            maps = torch.from_numpy(observation).view(1, 1, *shape)
            with torch.no_grad():
                where, looks, state = network.advance(maps, state)
            action: Any = np.int64(where.item())
            if network.keep is not None:
                action = np.array([where.item(), looks.item()])
            observation, _, done, _, info = env.step(action)
            assert info["video_id"] == video
            parts.append(stream.push(frames[len(parts)]))
            rows.append({"attended": True, **info})
        online.append(Recognition.join(parts, dim=1))
    recognition = Recognition.join(online)

    def column(name: str) -> NDArray[Any]:
        values: NDArray[Any] = np.array([row[name] for row in rows])
        return values.reshape(*world.frames.shape[:2], *values.shape[1:])

    # Where two options are equally good, rounding decides; it does so in one video at most.
    attended, boxes_px = recognition.attended.numpy(), recognition.boxes_px.numpy()
    other = (boxes_px != column("box_px")).any(axis=-1) & attended
    same = ~((attended != column("attended")) | other).any(axis=1)
    assert (~same).sum() <= 1
    right = (recognition.logits.argmax(-1) == world.labels[:, None]).numpy()
    assert (right == column("correct"))[same].mean() >= 0.995
    confidences = confidence(recognition.logits, world.labels).numpy()
    assert np.abs(confidences - column("confidence"))[same].max() <= 0.02
    np.testing.assert_allclose(recognition.gmacs.numpy()[same], column("gmacs")[same], rtol=1e-9)
    offline = recognizer(world.frames)
    assert (recognition.options != offline.options).any(dim=1).sum() <= 1
    replayed = recognizer(world.frames, recognition.options, recognition.attended)
    torch.testing.assert_close(recognition.logits, replayed.logits, rtol=0, atol=5e-3)


@pytest.mark.parametrize("world", ["gestures"], indirect=True)
def test_a_bundle_agrees_as_well(world: World, tmp_path: Path) -> None:
    """Saved with the cache's fingerprint, read elsewhere, run on what the bundle says of frames."""
    world.recognizer("plus", fused=False).save(tmp_path / "bundle", world.cache.fingerprint)
    recognizer = AdaptiveRecognizer.from_bundle(tmp_path / "bundle")
    assert recognizer.frames == world.cache.frames.for_any_size()
    assert recognizer.classes == tuple(world.cache.classes)
    clips = clips_of(world.cache.videos.iloc[world.videos])
    frames = torch.stack([pixels for pixels, _ in read_many(clips, recognizer.frames)])
    plan = LearnedAgent(world.policies["plus"]).plan(world.engine, world.videos)
    on_cache = world.engine.rollout(world.videos, plan.options, plan.attended)
    assert_agree(recognizer(frames).logits, on_cache, world.labels)


@pytest.mark.parametrize("world", ["digits", "segments"], indirect=True)
def test_the_features_are_those_of_the_cache(world: World) -> None:
    """Within the storage dtype's rounding: vectors and maps, chosen patches, skipped ones zero."""
    recognizer = world.recognizer("plus")
    recognition = recognizer(world.frames)
    glance, local, options, attended, _, _ = recognizer.observe(world.frames, None, None, None)
    assert torch.equal(options, recognition.options)
    assert torch.equal(attended, recognition.attended)
    expected_glance, expected_local, _ = world.cache.sequences(
        world.videos, options.numpy(), attended.numpy()
    )
    for values, expected in ((glance, expected_glance), (local, expected_local)):
        scale = float(expected.abs().max())
        torch.testing.assert_close(values, expected, rtol=2e-3, atol=1e-3 * scale)
    assert (local[~recognition.attended] == 0).all()
